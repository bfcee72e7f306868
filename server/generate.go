package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"aim/llama"
)

// event is what one choice contributes to an answer.
type event struct {
	choice int
	delta  llama.Delta
	err    error
}

// errUnfinished says that the engine ended an answer without a reason, which it promises not to do.
var errUnfinished = errors.New("an answer ended without a reason")

// generate runs all choices of a call at once and hands what they yield to r, until all have finished or the first one
// fails, which ends the others. It is the only goroutine that writes; the answer's usage is returned.
func (s *Server) generate(ctx context.Context, c *call, r reply) (usage, error) {
	total := usage{Prompt: c.promptTokens()}
	places := s.gates[c.model.Engine]
	if !places.take(c.choices() * c.width()) {
		return total, llama.ErrBusy
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	box := newInbox()
	for i, req := range c.requests() {
		running.Go(func() {
			defer places.give(c.width())
			s.produce(ctx, c.model.Engine, req, func(d llama.Delta, err error) { box.put(event{i, d, err}) })
		})
	}

	idle := newIdleTimer(s.keepAlive)
	defer idle.stop()
	for open := c.choices(); open > 0; {
		select {
		case <-box.more:
			sent := false
			for _, e := range box.take() {
				if e.err != nil {
					if sent { // what was said before
						_ = r.flush() // who has left need not be told why it fails
					}
					return total, e.err
				}
				sent = r.delta(e.choice, e.delta) || sent
				if e.delta.Finish != "" {
					open--
					total.Completion += e.delta.Usage.CompletionTokens
					total.CompletionDetails.Accepted += e.delta.Usage.AcceptedTokens
					total.CompletionDetails.Rejected += e.delta.Usage.DraftedTokens - e.delta.Usage.AcceptedTokens
					if e.choice%c.n == 0 {
						total.PromptDetails.Cached += e.delta.Usage.CachedTokens
					}
					total.flips += e.delta.Counts.Flips
					total.hits += e.delta.Counts.Hits
				}
			}
			if sent && open > 0 { // the end goes out with the last of them
				if err := r.flush(); err != nil {
					return total, err
				}
				idle.reset()
			}
		case <-idle.C():
			if err := r.alive(); err != nil {
				return total, err
			}
			idle.reset()
		case <-ctx.Done():
			return total, ctx.Err()
		}
	}
	total.Total = total.Prompt + total.Completion
	return total, r.end(&total)
}

// produce generates one choice.
func (s *Server) produce(ctx context.Context, e *llama.Engine, req llama.Request, put func(llama.Delta, error)) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("panic", slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			put(llama.Delta{}, fmt.Errorf("%w: %v", llama.ErrInternal, p))
		}
	}()
	for d, err := range e.Generate(ctx, req) {
		if err == nil && d.Finish != "" {
			err = maskError(req.Params.Mask)
		}
		put(d, err)
		if err != nil || d.Finish != "" {
			return
		}
	}
	put(llama.Delta{}, errUnfinished)
}

// inbox brings the events of all choices to the one that writes. It never makes them wait, so that a client who reads
// slowly holds none of the engine's places: an answer is at most as long as the context.
type inbox struct {
	mu   sync.Mutex
	list []event
	// more has a buffer of one, which lets put leave its notice and go.
	more chan struct{}
}

func newInbox() *inbox { return &inbox{more: make(chan struct{}, 1)} }

func (b *inbox) put(e event) {
	b.mu.Lock()
	b.list = append(b.list, e)
	b.mu.Unlock()
	select {
	case b.more <- struct{}{}:
	default: // a notice is waiting, and take will find this event, too
	}
}

// take empties the box.
func (b *inbox) take() []event {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := b.list
	b.list = nil
	return list
}

// gate hands out an engine's places for answers and their twins. All choices of a request get theirs at once or none does, which the engine,
// who sees one at a time, cannot tell.
type gate struct {
	mu   sync.Mutex
	free int
}

func (g *gate) take(n int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if n > g.free {
		return false
	}
	g.free -= n
	return true
}

// give brings n places back.
func (g *gate) give(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.free += n
}

// idleTimer fires when nothing was sent for a while; never where that is negative.
type idleTimer struct {
	timer *time.Timer
	after time.Duration
}

func newIdleTimer(after time.Duration) *idleTimer {
	if after < 0 {
		return &idleTimer{}
	}
	return &idleTimer{time.NewTimer(after), after}
}

func (t *idleTimer) C() <-chan time.Time {
	if t.timer == nil {
		return nil
	}
	return t.timer.C
}

func (t *idleTimer) reset() {
	if t.timer != nil {
		t.timer.Reset(t.after)
	}
}

func (t *idleTimer) stop() {
	if t.timer != nil {
		t.timer.Stop()
	}
}
