package server

import (
	"context"
	"crypto/rand"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"aim/internal/account"
	"aim/internal/limit"
	"aim/internal/measure"
)

// This file accounts for requests. A request is admitted by its key's limits once it is read (take), and what it took is recorded and charged before the
// end of its answer is sent (settle), so that whoever has an answer has paid for it.

// newRequestName is a name that no other request has, whatever its client calls it.
func newRequestName() string { return "use-" + strings.ToLower(rand.Text()) }

// take admits a request by its key's limits, where tokens is what it takes at least, and tells in headers what remains.
func (s *Server) take(c *gin.Context, tokens int) error {
	r := recordOf(c)
	if s.ledger != nil {
		if err := s.ledger.Healthy(); err != nil {
			return err
		}
	}
	if s.limits == nil || r.key == "" {
		return nil
	}
	hold, state, err := s.limits.Take(r.ctx, r.key, &r.grant, tokens)
	for name, rate := range map[string]limit.Rate{"Requests": state.Requests, "Tokens": state.Tokens} {
		if rate.Limit > 0 {
			c.Header("X-Ratelimit-Limit-"+name, strconv.Itoa(rate.Limit))
			c.Header("X-Ratelimit-Remaining-"+name, strconv.Itoa(max(rate.Remaining, 0)))
			c.Header("X-Ratelimit-Reset-"+name, rate.Reset.Round(time.Millisecond).String())
		}
	}
	r.hold = hold
	r.took.Mark(measure.Limits, time.Now())
	return err
}

// settle charges and records what a request took, once. Whoever serves a request calls it before the end of the answer is sent; for
// others, such as those that failed, it is called when they are over.
func (s *Server) settle(c *gin.Context) {
	r := recordOf(c)
	if r.settled {
		return
	}
	r.settled = true
	ctx := context.WithoutCancel(r.ctx) // who has left has taken it all the same
	s.record(ctx, c, r)
	if r.hold != nil { // only now: who asks the ledger what was spent must not miss what no hold stands for any more
		r.hold.Settle(ctx, r.usage.Prompt+r.usage.Completion)
	}
}

// record records what a request took.
func (s *Server) record(ctx context.Context, c *gin.Context, r *record) {
	if s.ledger == nil || !r.billed {
		return
	}
	err := s.ledger.Record(ctx, account.Usage{
		Request: r.name, Key: r.key, Model: r.model, Endpoint: c.FullPath(), Began: r.began.UTC(), Duration: time.Since(r.began), Status: r.sent(c),
		Code: r.code, PromptTokens: r.usage.Prompt, CachedTokens: r.usage.PromptDetails.Cached, CompletionTokens: r.usage.Completion,
	})
	if err != nil {
		s.log.Error("the usage of a request could not be recorded", slog.String("request", r.id), slog.Any("error", err))
	}
}

// accounted is a reply that is accounted for before its end.
type accounted struct {
	reply
	settle func()
}

func (a accounted) end(u *usage) error {
	a.settle()
	return a.reply.end(u)
}

// seconds are whole seconds, at least one.
func seconds(d time.Duration) int { return max(1, int(math.Ceil(d.Seconds()))) }
