// Package server is the HTTP API: OpenAI's chat completions, completions, responses and models, and Anthropic's messages, with the extension aim that
// modulates an answer and tells what that did, and with /v1/aim/preview and /v1/aim/sweep, which show it before and side by side.
//
// A request goes through it in one direction: request.go and its neighbours make a call that can be generated of JSON, reading the
// fields that fields.go declares; policy.go bounds its modulation, generate.go runs its choices and merges what they yield, a
// reader for each tells answer, thoughts and calls apart, and a reply writes that as one JSON document or as server-sent events, in
// the shapes of an endpoint's wire. Errors of all packages meet in the table of
// errors.go. This is the only package that knows Gin and go-sse.
package server

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"

	"aim/internal/limit"
	"aim/internal/measure"
)

// Serving is what a Server serves, which can be replaced while it runs.
type Serving struct {
	// Models are served under their names; requests that name none get the first.
	Models []Model
	// Secret is the owner's, from which the keys of utility noise are derived.
	Secret []byte
	// QueuePatience is how long a request may wait for a slot, and Longest how long it may take in all; 0 is without end.
	QueuePatience, Longest time.Duration
	// LogText logs what is asked and answered, which is otherwise never done.
	LogText bool
}

// Config is what a Server serves, and how. Zero fields take the defaults given.
type Config struct {
	Serving
	// Build says which version of the program serves, for /props; it may be empty.
	Build string
	// Metrics answers GET /metrics for administrators; nil leaves it out.
	Metrics http.Handler
	// Log gets a line for each request, without its text; default slog.Default().
	Log *slog.Logger
	// MaxBody bounds a request's body in bytes; default 4 MiB.
	MaxBody int64
	// KeepAlive is how long a stream may be silent before a comment is sent, also while it waits for its first token;
	// default 15 s. Negative sends none.
	KeepAlive time.Duration
	// Patience is how long one read or write may wait for a client; default one minute. It takes the place of
	// http.Server's ReadTimeout and WriteTimeout, which bound whole requests and would cut long answers off.
	Patience time.Duration

	// Keys knows the API keys. Without, whoever can reach the server is its owner.
	Keys Keys
	// Limits bounds what a key takes, as its grant says; nil does not.
	Limits limit.Limiter
	// Ledger records what each request took; nil records nothing.
	Ledger Ledger
	// Admin answers the endpoints of keys and usage under /admin; nil has none. Calibrator does for calibrations.
	Admin      Admin
	Calibrator Calibrator
	// SharePrefixes lets requests of one key take over what others' prompts left in the prefix cache. What is cached can be told by the time an answer takes,
	// so that a key could try whether another has sent a text.
	SharePrefixes bool
	// ClientAddr is the address of a client; default that of the connection. Behind a proxy that is the proxy's.
	ClientAddr func(*http.Request) netip.Addr
	// Observers hear of each request when it is over, in the goroutine of its handler.
	Observers []Observer
	// Stuck is how long one decode may take before the server is not ready any more; default one minute. See [Server.Watch].
	Stuck time.Duration
}

// Observer makes something of what was measured of requests. Observe is called by many at once, must not keep r and must return soon.
type Observer interface {
	Observe(r *measure.Request)
}

// Server answers requests. Its methods are safe for concurrent use.
type Server struct {
	table     atomic.Pointer[table]
	engines   engines
	build     string
	log       *slog.Logger
	maxBody   int64
	keepAlive time.Duration
	patience  time.Duration
	observers []Observer
	stuck     time.Duration
	draining  atomic.Bool

	keys       Keys
	limits     limit.Limiter
	ledger     Ledger
	admin      Admin
	calibrator Calibrator
	recent     recent
	began      time.Time
	shared     bool
	metrics    http.Handler
	clientOf   func(*http.Request) netip.Addr
}

// New returns a Server over engines that run elsewhere. It fails where the policy of a model cannot be.
func New(cfg Config) (*Server, error) {
	s := &Server{
		build:      cfg.Build,
		keys:       cfg.Keys,
		limits:     cfg.Limits,
		ledger:     cfg.Ledger,
		admin:      cfg.Admin,
		calibrator: cfg.Calibrator,
		began:      time.Now(),
		shared:     cfg.SharePrefixes,
		patience:   cfg.Patience,
		metrics:    cfg.Metrics,
		clientOf:   cfg.ClientAddr,
		log:        cfg.Log,
		maxBody:    cfg.MaxBody,
		keepAlive:  cfg.KeepAlive,
		stuck:      cfg.Stuck,
	}
	s.observers = append([]Observer{&s.recent}, cfg.Observers...)
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.maxBody == 0 {
		s.maxBody = 4 << 20
	}
	if s.keepAlive == 0 {
		s.keepAlive = 15 * time.Second
	}
	if s.patience == 0 {
		s.patience = time.Minute
	}
	if s.clientOf == nil {
		s.clientOf = peerAddr
	}
	if s.stuck == 0 {
		s.stuck = time.Minute
	}
	return s, s.Serve(cfg.Serving)
}

// Drain makes new requests fail with 503, and /health with them; those that run go on.
func (s *Server) Drain() { s.draining.Store(true) }

// releaseMode silences Gin, which by default prints its routes to the standard output. There is no switch but the global
// one.
var releaseMode = sync.OnceFunc(func() { gin.SetMode(gin.ReleaseMode) })

// Handler returns the routes.
func (s *Server) Handler() http.Handler {
	releaseMode()
	r := gin.New()
	_ = r.SetTrustedProxies(nil) // no address is looked at, so none may be claimed; fails for malformed ones only
	r.RedirectTrailingSlash = false
	r.HandleMethodNotAllowed = true
	r.Use(s.observe, s.recovered)
	r.NoRoute(func(c *gin.Context) {
		s.fail(c, notFound("", "not_found", "there is no %s", clip(c.Request.URL.Path)))
	})
	r.NoMethod(func(c *gin.Context) {
		e := invalid("", "method_not_allowed", "%s does not answer %s", clip(c.Request.URL.Path), clip(c.Request.Method))
		e.status = http.StatusMethodNotAllowed
		s.fail(c, e)
	})
	r.GET("/", s.root)
	for _, route := range s.routes() {
		if route.when != nil && !route.when() {
			continue
		}
		var before []gin.HandlerFunc
		if !route.always {
			before = append(before, s.admitting)
		}
		if !route.open {
			before = append(before, s.authenticate)
		}
		if route.admin {
			before = append(before, s.forAdmins)
		}
		r.Handle(route.method, route.path, append(before, route.handle)...)
	}
	return r
}

func (s *Server) root(c *gin.Context) {
	c.String(http.StatusOK, "Aim serves language models over the OpenAI API and modulates them; GET /openapi.json describes it\n")
}

// modelInfo is an entry of /v1/models.
type modelInfo struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
	// Max is what vLLM tells: the most tokens of a prompt and its answer.
	Max  int       `json:"max_model_len"`
	Meta modelMeta `json:"meta"`
	// Description is the owner's.
	Description string `json:"description,omitempty"`
}

// modelMeta is what llama-server tells of a model.
type modelMeta struct {
	Vocab      int    `json:"n_vocab,omitempty"`
	Context    int    `json:"n_ctx_train,omitempty"`
	Parameters uint64 `json:"n_params,omitempty"`
	Size       int64  `json:"size,omitempty"`
}

// modelList is the answer of /v1/models.
type modelList struct {
	Object string      `json:"object"`
	Data   []modelInfo `json:"data"`
}

func (s *Server) listModels(c *gin.Context) {
	list := modelList{"list", []modelInfo{}}
	r := recordOf(c)
	for _, e := range r.table.entries {
		if r.grant.Allows(e.ID) {
			list.Data = append(list.Data, e.info())
		}
	}
	writeJSON(c, http.StatusOK, list)
}

func (s *Server) getModel(c *gin.Context) {
	e, err := recordOf(c).find(strings.TrimPrefix(c.Param("id"), "/"))
	if err != nil {
		s.fail(c, err)
		return
	}
	writeJSON(c, http.StatusOK, e.info())
}

// complete serves a request for an answer: parse it, then generate it in the form it asks for.
func (s *Server) complete(c *gin.Context, parse func(*object) (*call, error)) {
	call, err := s.admitted(c, parse, (*call).promptTokens)
	if err != nil {
		s.fail(c, err)
		return
	}
	if !call.stream {
		if err := s.run(c, call, newWhole(c, call, s.patience)); err != nil {
			s.fail(c, err)
		}
		return
	}
	st, err := newStream(c, call, s.patience)
	if err == nil {
		err = s.run(c, call, st)
	}
	switch {
	case err == nil:
	case st == nil || !st.started:
		s.fail(c, err)
	default:
		e := asAPIError(err)
		s.report(c, e, err)
		s.settle(c)
		if e.status != statusGone {
			_ = st.fail(e) // that the client also left changes nothing
		}
	}
}

// admitted reads a call, and admits it by its key's limits where it takes at least so many tokens. A request that cannot be read counts, too.
func (s *Server) admitted(c *gin.Context, parse func(*object) (*call, error), tokens func(*call) int) (*call, error) {
	call, err := s.parse(c, parse)
	n := 0
	if err == nil {
		n = tokens(call)
	}
	if refused := s.take(c, n); refused != nil {
		return nil, refused
	}
	return call, err
}

// answer serves a request that no engine generates for: read it, and write what it asks for.
func (s *Server) answer(c *gin.Context, find func(*object) (any, error)) {
	r := recordOf(c)
	o, err := s.read(c)
	r.took.Mark(measure.Parse, time.Now())
	if err == nil {
		err = s.take(c, 0)
	}
	if err == nil {
		var v any
		v, err = find(o)
		r.took.Mark(measure.Compute, time.Now())
		if err == nil {
			s.logUnread(o, r.id)
			s.settle(c)
			writeJSON(c, http.StatusOK, v)
			return
		}
	}
	s.fail(c, err)
}

// parse reads a call.
func (s *Server) parse(c *gin.Context, parse func(*object) (*call, error)) (*call, error) {
	r := recordOf(c)
	o, err := s.read(c)
	var call *call
	if err == nil {
		call, err = parse(o)
	}
	r.took.Mark(measure.Parse, time.Now())
	if err != nil {
		return nil, err
	}
	s.logUnread(o, r.id)
	if err = call.permits(r); err == nil {
		err = s.impose(r, call)
	}
	r.took.Mark(measure.Policy, time.Now())
	return call, err
}

// read reads the body.
func (s *Server) read(c *gin.Context) (*object, error) {
	control := http.NewResponseController(c.Writer)
	// A writer without deadlines, as in tests, has no client that could be slow.
	_ = control.SetReadDeadline(time.Now().Add(s.patience))
	body, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, s.maxBody))
	if err == nil { // else the deadline holds for what is left of the body, too, which net/http reads before it answers
		_ = control.SetReadDeadline(time.Time{})
	}
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) || errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, err
	}
	if err != nil {
		return nil, invalid("", "invalid_body", "the body could not be read: %v", err)
	}
	o, err := parseBody(body)
	if err == nil {
		o.asker = recordOf(c)
	}
	return o, err
}

// run generates the answer to a call.
func (s *Server) run(c *gin.Context, call *call, r reply) error {
	rec := recordOf(c)
	rec.took.Answers, rec.took.Stream = true, call.stream
	err := s.generate(c.Request.Context(), call, accounted{r, func() { s.settle(c) }}, &rec.took, &rec.usage)
	rec.took.Generated(time.Now())
	if rec.table.LogText {
		s.logText(rec.id, call, r)
	}
	if gone := c.Request.Context().Err(); gone != nil {
		return gone // whatever else failed, failed because of it
	}
	return err
}
