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
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"

	"aim/internal/chat"
	"aim/internal/toolcall"
	"aim/llama"
	"aim/sampler"
)

// Model is what a name in /v1/models serves.
type Model struct {
	// ID is the name.
	ID string
	// Engine runs it; several models may share one.
	Engine *llama.Engine
	// Adapters is the set of adapters that it is computed under; see [llama.Adapter]. Models of one engine may differ in nothing else.
	Adapters llama.AdapterSet
	// Template renders its conversations; without one the model only completes text.
	Template *chat.Template
	// BOS and EOS are the spellings of the tokens that begin and end a sequence, told to clients; "" where the model has none.
	BOS, EOS string
	// Created is told to clients.
	Created time.Time
	// Sigma ≥ 0 is the utility modulation imposed on all requests, in logits. A request may raise it, not lower it,
	// and only to the next of a few coarse steps (see coarse).
	Sigma float64
	// Scope is what utility noise depends on; see [sampler.Scope]. Where it is a window, requests for log-probabilities, or
	// for the prompt to be echoed, are refused while there is noise.
	Scope sampler.Scope
	// EndNoise is what utility noise does to the tokens that end an answer.
	EndNoise sampler.EndNoise
	// Level in (0, 1) is the level that the owner asked for and of which Sigma is the σ; 0 where the owner gave σ itself.
	Level float64
	// Report lets requests see what tells about raw rows although utility is imposed: the figures of reports that otherwise are
	// null, and previews. Where none is imposed they always may.
	Report bool
	// Facts are told to clients.
	Facts Facts
	// Embedder gives vectors of texts, under the same adapters; nil gives none. A model's hidden state times its output matrix is the raw row of logits, so whoever
	// imposes utility should think twice.
	Embedder llama.Embedder
	// Dial is the model's calibration; without one no request can ask for a level.
	Dial Dial
}

// Facts are what a file says of its model. What is zero is not told.
type Facts struct {
	// File is the file's name, without its folder.
	File string
	// Context is the number of tokens the model was trained on at once, Parameters that of its weights and Size that of their bytes.
	Context    int
	Parameters uint64
	Size       int64
}

// Config is what a Server serves, and how. Zero fields take the defaults given.
type Config struct {
	// Models are served under their names; requests that name none get the first.
	Models []Model
	// Build says which version of the program serves, for /props; it may be empty.
	Build string
	// Secret is the owner's, from which the keys of utility noise are derived.
	Secret []byte
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
}

// Server answers requests. Its methods are safe for concurrent use.
type Server struct {
	models    []*served
	build     string
	gates     map[*llama.Engine]*gate
	secret    []byte
	log       *slog.Logger
	maxBody   int64
	keepAlive time.Duration
	patience  time.Duration
	draining  atomic.Bool
}

// served is a Model with what is derived from it.
type served struct {
	Model
	fingerprint string
	breakers    breakers
	// words are those of the engine, for grammars.
	words *vocabularies
	// format is how the template's model spells calls, and thoughtful says that it may think before it answers.
	format     toolcall.Format
	thoughtful bool
	// vectors has the places of requests for vectors, as many as answers have.
	vectors gate
}

// New returns a Server over engines that run elsewhere.
func New(cfg Config) *Server {
	s := &Server{
		gates:     map[*llama.Engine]*gate{},
		build:     cfg.Build,
		secret:    cfg.Secret,
		log:       cfg.Log,
		maxBody:   cfg.MaxBody,
		keepAlive: cfg.KeepAlive,
		patience:  cfg.Patience,
	}
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
	words := map[*llama.Engine]*vocabularies{}
	for _, m := range cfg.Models {
		if words[m.Engine] == nil {
			words[m.Engine] = newVocabularies(m.Engine.Model())
		}
		size := m.Engine.Config()
		places := size.Slots + size.Queue
		one := &served{Model: m, fingerprint: fingerprint(m), words: words[m.Engine], vectors: gate{free: places}}
		one.format, one.thoughtful = speech(m.Template)
		s.models = append(s.models, one)
		s.gates[m.Engine] = &gate{free: places}
	}
	return s
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
		handlers := []gin.HandlerFunc{route.handle}
		if !route.always {
			handlers = []gin.HandlerFunc{s.admitting, route.handle}
		}
		r.Handle(route.method, route.path, handlers...)
	}
	return r
}

func (s *Server) root(c *gin.Context) {
	c.String(http.StatusOK, "Aim serves language models over the OpenAI API and modulates them; GET /openapi.json describes it\n")
}

// health is the answer of /health.
type health struct {
	Status string `json:"status"`
}

// health answers without asking an engine, which may be at work on a long prompt.
func (s *Server) health(c *gin.Context) {
	if s.draining.Load() {
		writeJSON(c, http.StatusServiceUnavailable, health{"draining"})
		return
	}
	writeJSON(c, http.StatusOK, health{"ok"})
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
}

// modelMeta is what llama-server tells of a model.
type modelMeta struct {
	Vocab      int    `json:"n_vocab"`
	Context    int    `json:"n_ctx_train,omitempty"`
	Parameters uint64 `json:"n_params,omitempty"`
	Size       int64  `json:"size,omitempty"`
}

func (m *served) info() modelInfo {
	meta := modelMeta{m.Engine.Model().Vocab(), m.Facts.Context, m.Facts.Parameters, m.Facts.Size}
	return modelInfo{m.ID, "model", m.Created.Unix(), "aim", m.Engine.Config().Context, meta}
}

// modelList is the answer of /v1/models.
type modelList struct {
	Object string      `json:"object"`
	Data   []modelInfo `json:"data"`
}

func (s *Server) listModels(c *gin.Context) {
	list := modelList{"list", []modelInfo{}}
	for _, m := range s.models {
		list.Data = append(list.Data, m.info())
	}
	writeJSON(c, http.StatusOK, list)
}

func (s *Server) getModel(c *gin.Context) {
	m, err := s.find(strings.TrimPrefix(c.Param("id"), "/"))
	if err != nil {
		s.fail(c, err)
		return
	}
	writeJSON(c, http.StatusOK, m.info())
}

// complete serves a request for an answer: parse it, then generate it in the form it asks for.
func (s *Server) complete(c *gin.Context, parse func(*object) (*call, error)) {
	call, err := s.parse(c, parse)
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
		if e.status != statusGone {
			_ = st.fail(e) // that the client also left changes nothing
		}
	}
}

// answer serves a request that no engine generates for: read it, and write what it asks for.
func (s *Server) answer(c *gin.Context, find func(*object) (any, error)) {
	o, err := s.read(c)
	if err == nil {
		var v any
		if v, err = find(o); err == nil {
			s.logUnread(o, recordOf(c).id)
			writeJSON(c, http.StatusOK, v)
			return
		}
	}
	s.fail(c, err)
}

// parse reads a call.
func (s *Server) parse(c *gin.Context, parse func(*object) (*call, error)) (*call, error) {
	o, err := s.read(c)
	if err != nil {
		return nil, err
	}
	call, err := parse(o)
	if err != nil {
		return nil, err
	}
	s.logUnread(o, recordOf(c).id)
	return call, s.impose(c.Request.Context(), call)
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
	return parseBody(body)
}

// run generates the answer to a call.
func (s *Server) run(c *gin.Context, call *call, r reply) error {
	rec := recordOf(c)
	rec.model = call.model.ID
	var err error
	rec.usage, err = s.generate(c.Request.Context(), call, r)
	if gone := c.Request.Context().Err(); gone != nil {
		return gone // whatever else failed, failed because of it
	}
	return err
}
