package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"aim/internal/account"
	"aim/internal/limit"
	"aim/internal/measure"
	"aim/llama"
)

// record is what the request log says of a request: never what was asked or answered.
type record struct {
	// ctx is the request's own, id what it is called in the log, and name what it is called in accounts.
	ctx      context.Context
	id, name string
	began    time.Time
	// table is what was served when it came. key is the ID of its key, "" without one, and grant what it may do.
	table *table
	key   string
	grant account.Grant
	// billed says that what it takes is recorded, and settled that it was.
	billed, settled bool
	hold            limit.Hold
	releases        []func()

	model  string
	usage  usage
	status int // where it differs from the one sent
	code   string
	cause  error
	took   measure.Request
}

// sent is the status of the answer.
func (r *record) sent(c *gin.Context) int {
	if r.status != 0 {
		return r.status
	}
	return c.Writer.Status()
}

const recordKey = "aim.record"

func recordOf(c *gin.Context) *record {
	r, _ := c.Get(recordKey)
	rec, ok := r.(*record)
	if !ok {
		panic("server: a handler runs without the middleware")
	}
	return rec
}

// requestID is what a proxy may call a request.
var requestID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)

// observe names each request and logs it, one line when it is over.
func (s *Server) observe(c *gin.Context) {
	r := &record{
		ctx: c.Request.Context(), id: c.GetHeader("X-Request-Id"), name: newRequestName(), began: time.Now(), table: s.table.Load(), grant: owner,
	}
	if !requestID.MatchString(r.id) {
		r.id = "req-" + strings.ToLower(rand.Text())
	}
	r.took.Begin(r.began)
	c.Set(recordKey, r)
	c.Header("X-Request-Id", r.id)
	if ofMessages(c.Request.URL.Path) {
		c.Header("Request-Id", r.id) // which Anthropic's clients read
	}
	defer func() {
		s.settle(c)
		for _, release := range r.releases {
			release()
		}
		attrs := []slog.Attr{
			slog.String("method", c.Request.Method), slog.String("path", clip(c.Request.URL.Path)),
			slog.Int("status", r.sent(c)), slog.Duration("duration", time.Since(r.began)), slog.String("request", r.id),
		}
		if r.key != "" {
			attrs = append(attrs, slog.String("key", r.key))
		}
		if r.code != "" {
			attrs = append(attrs, slog.String("code", r.code))
		}
		if r.model != "" {
			attrs = append(attrs, slog.String("model", r.model),
				slog.Int("prompt_tokens", r.usage.Prompt), slog.Int("completion_tokens", r.usage.Completion),
				slog.Uint64("flips", r.usage.flips), slog.Uint64("hits", r.usage.hits))
		}
		level := slog.LevelInfo
		if r.cause != nil {
			level = slog.LevelError
			attrs = append(attrs, slog.Any("cause", r.cause))
		}
		s.log.LogAttrs(c.Request.Context(), level, "request", attrs...)
		s.tell(c, r)
	}()
	c.Next()
}

// tell ends what was measured of a request and tells the observers.
func (s *Server) tell(c *gin.Context, r *record) {
	t := &r.took
	t.End(time.Now())
	if len(s.observers) == 0 {
		return
	}
	t.ID, t.Method, t.Endpoint, t.Model, t.Code, t.Status = r.id, c.Request.Method, c.FullPath(), r.model, r.code, r.sent(c)
	t.Key = r.key
	t.PromptTokens, t.CachedTokens, t.CompletionTokens = r.usage.Prompt, r.usage.PromptDetails.Cached, r.usage.Completion
	t.Traceparent, t.Tracestate = c.GetHeader("Traceparent"), c.GetHeader("Tracestate")
	for _, o := range s.observers {
		o.Observe(t)
	}
}

// recovered answers a panic with a 500. One in the middle of a stream aborts the connection, so that the client does not
// take the answer for complete.
func (s *Server) recovered(c *gin.Context) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(p)
		}
		s.log.Error("panic", slog.Any("panic", p), slog.String("request", recordOf(c).id), slog.String("stack", string(debug.Stack())))
		err := fmt.Errorf("%w: %v", llama.ErrInternal, p)
		if c.Writer.Written() {
			s.report(c, asAPIError(err), err)
			panic(http.ErrAbortHandler)
		}
		c.Abort()
		s.fail(c, err)
	}()
	c.Next()
}

// admitting refuses new work once the server drains.
func (s *Server) admitting(c *gin.Context) {
	if s.draining.Load() {
		c.Abort()
		s.fail(c, llama.ErrClosed)
	}
}
