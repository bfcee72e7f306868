// Package edge is what stands between the network and the API: which connections are taken, TLS and its certificates, which pages and names may
// reach the server, who a client is behind proxies, and the headers that browsers obey. It knows nothing of the API.
package edge

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"
)

// Settings are what a reload can change. The zero value lets no page of another origin in and trusts no proxy.
type Settings struct {
	// Origins are those whose pages may call the API, such as https://chat.example.com; "*" stands for all.
	Origins []string
	// Guarded says that the server is to be reached by name of this machine alone, and by no page of another origin: right where it listens
	// on loopback and asks for no key. Without it a web page could reach it through its visitor's browser.
	Guarded bool
	// Hosts are names that a guarded server answers to, beside addresses and localhost; "*" stands for all.
	Hosts []string
	// Proxies are the networks whose X-Forwarded-For or Forwarded is believed.
	Proxies []netip.Prefix
}

// Edge applies Settings to requests. Its methods are safe for concurrent use.
type Edge struct {
	settings atomic.Pointer[Settings]
	// foreign refuses what browsers send on behalf of pages of other origins.
	foreign *http.CrossOriginProtection
}

// New returns an Edge.
func New(s Settings) *Edge {
	e := &Edge{foreign: http.NewCrossOriginProtection()}
	e.Set(s)
	return e
}

// Set changes the settings, for requests that arrive from now on.
func (e *Edge) Set(s Settings) { e.settings.Store(&s) }

// Guarded says whether the settings guard the server.
func (e *Edge) Guarded() bool { return e.settings.Load().Guarded }

// Unguard ends that, until the next Set.
func (e *Edge) Unguard() {
	old := e.settings.Load()
	open := *old
	open.Guarded = false
	e.settings.CompareAndSwap(old, &open) // else they were just set anew
}

// Handler lets through to next what may reach it. [ClientAddr] works within next.
func (e *Edge) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := e.settings.Load()
		secure(w, r)
		if s.Guarded && !s.named(r.Host) {
			refuse(w, "host_not_allowed", "this server is not reached by the name in Host; add it to server.hosts, or use localhost")
			return
		}
		if s.cors(w, r) {
			return // a preflight
		}
		if s.Guarded && !s.allows(r.Header.Get("Origin")) && e.foreign.Check(r) != nil {
			refuse(w, "origin_not_allowed", "pages of this origin may not call the API; add it to server.cors.origins")
			return
		}
		next.ServeHTTP(w, withClient(r, s.client(r)))
	})
}

// secure sets the headers of every answer. A handler that serves pages sets its own Content-Security-Policy and Cache-Control.
func secure(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	if r.TLS != nil {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// refuse answers 403 in OpenAI's shape.
func refuse(w http.ResponseWriter, code, message string) {
	var body struct {
		Error struct {
			Message string  `json:"message"`
			Type    string  `json:"type"`
			Param   *string `json:"param"`
			Code    string  `json:"code"`
		} `json:"error"`
	}
	body.Error.Message, body.Error.Type, body.Error.Code = message, "permission_error", code
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusForbidden)
	_ = json.NewEncoder(w).Encode(body) // the client may be gone
}

// Limits are those of a server's connections. Zero fields take the defaults given.
type Limits struct {
	// MaxHeader bounds the head of a request in bytes; default 32 KiB. A larger one is answered 431.
	MaxHeader int
	// HeaderTimeout is how long a client may take for its TLS handshake, and for the head of a request; default 10 s.
	HeaderTimeout time.Duration
	// IdleTimeout is how long a connection stays without a request; default 2 minutes.
	IdleTimeout time.Duration
}

// NewServer returns a server with limits on what clients can hold without asking for anything. There is no limit on a whole request: answers
// take as long as they take, and the handler limits each read and write.
func NewServer(h http.Handler, l Limits, log *slog.Logger) *http.Server {
	if l.MaxHeader == 0 {
		l.MaxHeader = 32 << 10
	}
	if l.HeaderTimeout == 0 {
		l.HeaderTimeout = 10 * time.Second
	}
	if l.IdleTimeout == 0 {
		l.IdleTimeout = 2 * time.Minute
	}
	return &http.Server{
		Handler:           h,
		MaxHeaderBytes:    l.MaxHeader,
		ReadHeaderTimeout: l.HeaderTimeout,
		IdleTimeout:       l.IdleTimeout,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 100},
	}
}
