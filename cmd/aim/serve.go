package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"aim/llama/cpp"
	"aim/sampler"
	"aim/server"
)

// serveOptions are the flags of serve.
type serveOptions struct {
	engineOptions
	addr     string
	sigma    float64
	window   int
	noiseEnd string
	level    float64 // 0 where sigma was given
	drain    time.Duration
	reports  bool
	embed    string
	alive    time.Duration
	pprof    string
	logLevel string
	logAs    string
}

func newServe() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve a model over the OpenAI HTTP API",
		Long: `Serves a model over the OpenAI HTTP API: /v1/chat/completions, /v1/completions, /v1/models and /health.

The model's id on the wire is its file's name without .gguf. Requests may ask for modulation in a field of their own,
"aim": {"utility": {"level": 0.9}, "focus": [{"text": "water", "sigma": 4, "direction": "raise"}]}; what --level or
--sigma imposes, no request can undo.

On SIGTERM or Ctrl-C no new requests are taken, running answers get --drain-timeout to finish, then the server ends;
a second signal ends it at once.`,
		Example: `  aim serve
  aim serve --model SmolLM2-135M-Instruct.Q4_1 --addr 0.0.0.0:8080 --slots 8
  aim serve --model ~/Downloads/model.gguf --ctx 8192 --level 0.9`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneUtility(cmd.Flags()); err != nil {
				return err
			}
			ctx, stop := interruptible(cmd)
			defer stop()
			context.AfterFunc(ctx, stop) // the second signal finds its default: the end
			return serve(ctx, o, streamsOf(cmd))
		},
	}
	f := cmd.Flags()
	o.adapters.named = true
	o.flags(cmd)
	o.sequenceFlags(f)
	o.optimizeFlags(f, "load the file that aim optimize kept in place of the model's own; auto looks for it once, in less than a minute")
	o.speculation.flags(cmd)
	o.speculation.modelFlags(cmd)
	f.StringVar(&o.addr, "addr", "127.0.0.1:8080", "address to listen on; port 0 takes a free one")
	floatVar(f, &o.sigma, "sigma", 0, "utility modulation to impose: standard deviation of the noise on all logits", sigmaParams)
	intVar(f, &o.window, "noise-window", 0, 0, 1024, "tokens that utility noise depends on, beside a fingerprint of the prompt; 0 is all tokens so far")
	choiceVar(f, &o.noiseEnd, "noise-end", "what utility noise does to the tokens that end an answer", endNoises()...)
	levelVar(f, &o.level, "utility modulation to impose, by its effect: the share of steps at which the model's best token stays best")
	f.DurationVar(&o.drain, "drain-timeout", 30*time.Second, "how long running answers may go on after SIGTERM")
	f.BoolVar(&o.reports, "allow-reports", false, "show requests what tells about unmodulated logits (reports in full, previews) although utility is imposed")
	choiceVar(f, &o.embed, "embeddings", "whether /v1/embeddings answers; auto is on unless utility is imposed, since hidden states tell raw logits", "auto", "on", "off")
	f.DurationVar(&o.alive, "keep-alive", 15*time.Second, "how long a stream may be silent, such as during a long prompt, before a comment is sent; negative for never")
	f.StringVar(&o.pprof, "pprof", "", "address to answer Go's profiles on, such as 127.0.0.1:6060, beside the API; for operators alone")
	choiceVar(f, &o.logLevel, "log-level", "least level to log", "info", "debug", "warn", "error")
	choiceVar(f, &o.logAs, "log-format", "form of the log", "text", "json")
	return cmd
}

// check tells what cannot be right whatever the model.
func (o *serveOptions) check() error {
	if _, _, err := net.SplitHostPort(o.addr); err != nil {
		return usageError{fmt.Errorf("--addr %q: want host:port, such as 127.0.0.1:8080", o.addr)}
	}
	if _, _, err := net.SplitHostPort(o.pprof); o.pprof != "" && err != nil {
		return usageError{fmt.Errorf("--pprof %q: want host:port, such as 127.0.0.1:6060", o.pprof)}
	}
	if o.alive == 0 {
		return usageError{errors.New("--keep-alive 0s: want a duration, or a negative one for no comments")}
	}
	if o.drain < 0 {
		return usageError{fmt.Errorf("--drain-timeout %v: want at least 0", o.drain)}
	}
	if err := o.prefixes.check(); err != nil {
		return err
	}
	return o.engineOptions.check()
}

// serve listens at once, answers "loading" until the model is there, then serves it until ctx ends.
func serve(ctx context.Context, o serveOptions, std streams) error {
	if err := o.check(); err != nil {
		return err
	}
	log := newLogger(std.err, o.logLevel, o.logAs)
	slog.SetDefault(log)
	cpp.SetLogger(log)

	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", o.addr)
	if err != nil {
		return err
	}
	endProfiles, err := serveProfiles(ctx, o.pprof, log)
	if err != nil {
		_ = listener.Close()
		return err
	}
	defer endProfiles()
	var front frontDoor
	web := newHTTPServer(&front, log)
	failed := make(chan error, 1) // one send, so that the goroutine ends though nobody may listen any more
	go func() { failed <- web.Serve(listener) }()
	defer web.Close() //nolint:errcheck // where shutdown was not reached

	if err := o.useWeights(ctx, true, log, std.err); ctx.Err() != nil {
		return nil // it was asked to end
	} else if err != nil {
		return err
	}
	e, err := load(ctx, o, std.err)
	if err != nil || e == nil {
		return err
	}
	defer e.close()
	stopEngine := e.start()
	defer stopEngine()
	list, err := o.models(ctx, e, log, std.err)
	if ctx.Err() != nil {
		return nil // it was asked to end
	}
	if err != nil {
		return err
	}
	api := server.New(server.Config{
		Models:    list,
		Build:     "aim " + version(),
		Secret:    e.secret,
		Log:       log,
		KeepAlive: o.alive,
	})
	front.open(api.Handler())
	greet(std.out, baseURL(listener.Addr()), e)
	log.Info("serving", "model", e.name, "variants", len(list)-1, "address", listener.Addr().String(), "slots", o.slots, "context", e.Config().Context, "sigma", list[0].Sigma, "level", o.level)

	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	shutdown(o.drain, api, e, stopEngine, web, log)
	return nil
}

// facts are what clients are told of the model.
func (e *engine) facts() server.Facts {
	return server.Facts{
		File: filepath.Base(e.path), Context: e.model.TrainContext(), Parameters: e.model.Parameters(), Size: e.model.Size(),
	}
}

// imposedLevel is the level to impose, 0 where that is none or comes from σ.
func (o *serveOptions) imposedLevel() float64 {
	if o.level == 1 {
		return 0
	}
	return o.level
}

// models are what is served: the model itself, and the model under each set of adapters. Each has a calibration of its own, which gives
// the σ of the level to impose.
func (o *serveOptions) models(ctx context.Context, e *engine, log *slog.Logger, stderr io.Writer) (list []server.Model, err error) {
	g, err := newGauge(e, o.engineOptions, log, calibratingLine(stderr))
	if err != nil {
		return nil, err
	}
	g.ends = endNoise(o.noiseEnd)
	created := time.Now()
	for _, v := range e.variants {
		m := server.Model{
			ID: v.name, Engine: e.Engine, Adapters: v.set, Template: e.template, BOS: e.model.BOS(), EOS: e.model.EOS(), Created: created,
			Sigma: o.sigma, Level: o.imposedLevel(), Scope: sampler.Scope{Window: o.window}, EndNoise: endNoise(o.noiseEnd),
			Report: o.reports, Facts: e.facts(),
		}
		var sigma float64
		if m.Dial, sigma, err = g.under(v).served(ctx, o.level); err != nil {
			return nil, fmt.Errorf("--level %g: %w", o.level, err)
		}
		if o.level > 0 {
			m.Sigma = sigma
		}
		if o.embed == "on" || o.embed == "auto" && m.Sigma == 0 {
			vectors := &embedder{model: e.model, threads: o.threads, set: v.set}
			e.vectors, m.Embedder = append(e.vectors, vectors), vectors
		}
		list = append(list, m)
	}
	return list, nil
}

// lastWrites is how long clients may take to read what was generated for them, after the engine is idle or has ended.
const lastWrites = 5 * time.Second

// shutdown ends a server in this order: stop admitting; drain up to a limit; end what is left, so that its clients hear of
// it; let the handlers finish; end the engine. Freeing the decoder and the model is what remains to be done.
func shutdown(limit time.Duration, api *server.Server, e *engine, stopEngine func(), web *http.Server, log *slog.Logger) {
	log.Info("shutting down", "running", e.Stats().Busy, "queued", e.Stats().Queued)
	api.Drain()
	e.Close()
	if !drained(e, limit) {
		log.Warn("the drain timeout is over", "running", e.Stats().Busy)
		stopEngine()
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastWrites)
	defer cancel()
	if err := web.Shutdown(ctx); err != nil {
		log.Warn("clients do not read their answers", "error", err)
		_ = web.Close() // the reason is logged
	}
	stopEngine()
	log.Info("bye")
}

// drained waits until the engine has nothing to do, for as long as limit.
func drained(e *engine, limit time.Duration) bool {
	deadline := time.After(limit)
	for {
		if e.idle() {
			return true
		}
		select {
		case <-deadline:
			return false
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// load opens the engine. It returns nil where ctx ended first; what is loaded by then ends with the process.
func load(ctx context.Context, o serveOptions, stderr io.Writer) (*engine, error) {
	type result struct {
		e   *engine
		err error
	}
	loaded := make(chan result, 1) // so that the goroutine ends though ctx did first
	go func() {
		e, err := openEngine(o.engineOptions, progressLine(stderr, "loading the model"))
		loaded <- result{e, err}
	}()
	select {
	case r := <-loaded:
		return r.e, r.err
	case <-ctx.Done():
		return nil, nil //nolint:nilnil // it was asked to end
	}
}

// newHTTPServer sets no time limit on writing: an answer takes as long as it takes.
func newHTTPServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// frontDoor answers 503 until it is opened. Listening before the model is loaded shows at once that an address is taken,
// and lets health checks tell a slow start from a dead server.
type frontDoor struct{ inside atomic.Pointer[http.Handler] }

func (d *frontDoor) open(h http.Handler) { d.inside.Store(&h) }

// ServeHTTP implements [http.Handler].
func (d *frontDoor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := d.inside.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Retry-After", "1")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = io.WriteString(w, `{"error":{"message":"the model is still loading","type":"service_unavailable_error","param":null,"code":"loading"}}`)
}

func newLogger(w io.Writer, level, form string) *slog.Logger {
	o := &slog.HandlerOptions{}
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err == nil { // a choiceValue, so always
		o.Level = l
	}
	if form == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

var errNoTemplate = errors.New("the model has no chat template; give one with --chat-template")
