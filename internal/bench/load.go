package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"time"
)

// MaxClients is the largest number of clients of a load.
const MaxClients = 256

// Probe sends a first request, which warms a server up. It is sent again for as long as patience while nobody listens or the
// model is loading. It finds out how many of our words a token is, and whether the server takes ignore_eos.
func (c *Client) Probe(ctx context.Context, p *Prompts, words int, patience time.Duration) (*Answer, error) {
	c.IgnoreEOS = true
	for until := time.Now().Add(patience); ; {
		a, err := c.Do(ctx, Request{Prompt: p.words(words, "probe"), MaxTokens: 8})
		var refused *StatusError
		switch {
		case err == nil:
			if a.Usage.Prompt > 0 {
				p.WordsPerToken = float64(words) / float64(a.Usage.Prompt)
			}
			return a, nil
		case errors.As(err, &refused) && refused.Status == http.StatusBadRequest && c.IgnoreEOS:
			c.IgnoreEOS = false
			continue
		case !starting(err) || time.Now().After(until):
			return a, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// starting tells that a request failed as it does while a server starts: nobody listens yet, the model is loading, or the
// connection was accepted and closed again.
func starting(err error) bool {
	var refused *StatusError
	if errors.As(err, &refused) {
		return refused.Status == http.StatusServiceUnavailable
	}
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF)
}

// errLimit is why answers are cut.
var errLimit = errors.New("the time limit of a load is over")

// loop runs a closed loop: each client sends so many requests, one after the other. Answers that the limit ends are cut; any
// other failure ends the load. A limit of 0 is none.
func (c *Client) loop(ctx context.Context, clients, requests int, limit time.Duration, request func(client, i int) Request) (load, error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	if limit > 0 {
		var end context.CancelFunc
		ctx, end = context.WithTimeoutCause(ctx, limit, errLimit)
		defer end()
	}
	l := load{answers: make([][]*Answer, clients)}
	start := time.Now()
	done := make(chan error, clients) // so that every client ends though the first error is all that counts
	for i := range clients {
		go func() {
			for k := range requests {
				a, err := c.Do(ctx, request(i, k))
				if err != nil {
					if !errors.Is(context.Cause(ctx), errLimit) {
						err = fmt.Errorf("client %d, request %d: %w", i, k, err)
						fail(err)
						done <- err
						return
					}
					a.cut()
				}
				l.answers[i] = append(l.answers[i], a)
				if a.Cut {
					break
				}
			}
			done <- nil
		}()
	}
	var first error
	for range clients {
		if err := <-done; err != nil && first == nil {
			first = err
		}
	}
	l.took = time.Since(start)
	return l, first
}

// cut makes the most of an answer that was not let end.
func (a *Answer) cut() {
	a.Cut = true
	a.End = time.Now()
	a.Usage = Usage{Cached: -1, Tokens: len(a.Pieces)}
}
