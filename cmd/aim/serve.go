package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"aim/internal/config"
	"aim/llama/cpp"
	"aim/models"
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
	config   string
	database string
	metrics  string
	stuck    time.Duration
	// exitStuck ends the process where a decode does not end.
	exitStuck bool
	// changed are the flags that were given.
	changed []*pflag.Flag
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

With --config (or $AIM_CONFIG) a file says all that and more: several base models, virtual models with what each imposes and allows, keys, limits,
TLS; flags override it where only one thing can be meant. On SIGHUP the file is read again. ` + "`aim config`" + ` checks and explains it.

Requests need an API key as soon as there is one (` + "`aim keys create`" + `); until then the server listens on loopback alone.

On SIGTERM or Ctrl-C no new requests are taken, running answers get --drain-timeout to finish, then the server ends;
a second signal ends it at once.`,
		Example: `  aim serve
  aim serve --model SmolLM2-135M-Instruct.Q4_1 --addr 0.0.0.0:8080 --slots 8   # for others once there is a key
  aim serve --model ~/Downloads/model.gguf --ctx 8192 --level 0.9
  aim serve --config aim.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneUtility(cmd.Flags()); err != nil {
				return err
			}
			cmd.Flags().Visit(func(f *pflag.Flag) { o.changed = append(o.changed, f) })
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
	f.StringVar(&o.config, "config", "", "configuration file (default: $AIM_CONFIG; without one the flags say all)")
	addDatabase(f, &o.database)
	f.StringVar(&o.metrics, "metrics-addr", "", "address to answer /metrics on, apart from the API, where administrators find it otherwise")
	f.DurationVar(&o.stuck, "stuck-timeout", time.Minute, "how long one decode may take before the server counts as stuck, and is not ready")
	f.BoolVar(&o.exitStuck, "watchdog-exit", false, "end the process when a decode does not end, for a supervisor to start it again")
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

// setting is what the flags, the environment and the file say together.
func (o *serveOptions) setting() (*setting, error) {
	path := o.config
	if path == "" {
		path = os.Getenv("AIM_CONFIG")
	}
	if path == "" {
		return o.ofFlags()
	}
	c, err := config.Load(path, configOptions())
	if err != nil {
		return nil, mistakes(err)
	}
	if len(c.Models) == 0 {
		return nil, fmt.Errorf("%s: there are no models in it", path)
	}
	if err := o.override(c, config.Flags()); err != nil {
		return nil, err
	}
	if err := c.Check(configOptions()); err != nil {
		return nil, mistakes(err)
	}
	return configured(c)
}

// ofFlags is the setting where there is no file: one model, as the flags say.
func (o *serveOptions) ofFlags() (*setting, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	c, err := config.FromEnviron(configOptions())
	if err != nil {
		return nil, mistakes(err)
	}
	if err := o.override(c, serverFlags); err != nil {
		return nil, err
	}
	name := "model"
	if path, err := o.find(); err == nil { // else loading says so, once the server listens
		name = models.Name(path)
	}
	o.stateDir, o.secretFile = c.StateDir, c.SecretFile
	return o.flagged(c, name)
}

// serverFlags are those that say something about the server and not about a model.
var serverFlags = []string{"addr", "state-dir", "pprof", "keep-alive", "drain-timeout", "log-level", "log-format", "database", "metrics-addr", "stuck-timeout", "watchdog-exit"}

// override lets the flags that were given override settings.
func (o *serveOptions) override(c *config.Config, known []string) error {
	for _, f := range o.changed {
		if !slices.Contains(known, f.Name) {
			continue
		}
		if err := c.SetFlag(f.Name, f.Value.String()); err != nil {
			return usageError{err}
		}
		if f.Name == "database" {
			c.Accounts.DatabaseFile = ""
		}
	}
	return nil
}

// serve listens at once, answers "loading" until the models are there, then serves them until ctx ends.
func serve(ctx context.Context, o serveOptions, std streams) error {
	s, err := o.setting()
	if err != nil {
		return err
	}
	level := new(slog.LevelVar)
	log := newLogger(std.err, level, s.Server.Log.Level, s.Server.Log.Format)
	slog.SetDefault(log)
	cpp.SetLogger(log)
	for _, w := range s.Warnings {
		log.Warn(w)
	}
	a, err := openAccounts(ctx, s.Config, log)
	if err != nil {
		return err
	}
	defer a.close()

	listener, err := listen(ctx, s.Config, a, log)
	if err != nil {
		return err
	}
	endProfiles, err := serveProfiles(ctx, s.Server.ProfileAddress, log)
	if err != nil {
		_ = listener.Close()
		return err
	}
	defer endProfiles()
	hangups, ignore := hangup() // one that comes while models are loaded is heard afterwards
	defer ignore()
	site := &site{options: o, stderr: std.err, log: log, level: level, accounts: a, door: &frontDoor{}, address: listener.Addr()}
	web, err := site.open(ctx, s.Config, listener)
	if err != nil {
		_ = listener.Close()
		return err
	}
	defer web.Close() //nolint:errcheck // where shutdown was not reached
	defer site.free()
	if err := site.load(ctx, s); err != nil || ctx.Err() != nil {
		if ctx.Err() != nil {
			return nil // it was asked to end
		}
		return err
	}
	site.greet(ctx, std.out)
	for {
		select {
		case err := <-site.failed:
			return err
		case <-hangups:
			site.reload(ctx)
			continue
		case <-ctx.Done():
		}
		site.shutdown(web)
		return nil
	}
}

// facts are what clients are told of the model.
func (e *engine) facts() server.Facts {
	return server.Facts{
		File: filepath.Base(e.path), Context: e.model.TrainContext(), Parameters: e.model.Parameters(), Size: e.model.Size(),
	}
}

// lastWrites is how long clients may take to read what was generated for them, after the engine is idle or has ended.
const lastWrites = 5 * time.Second

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
	if r.URL.Path == "/health/live" { // who loads lives
		_, _ = io.WriteString(w, `{"status":"loading"}`)
		return
	}
	w.Header().Set("Retry-After", "1")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = io.WriteString(w, `{"error":{"message":"the model is still loading","type":"service_unavailable_error","param":null,"code":"loading"}}`)
}

// newLogger logs from the level that leveler has at the time.
func newLogger(w io.Writer, leveler *slog.LevelVar, level, form string) *slog.Logger {
	setLevel(leveler, level)
	o := &slog.HandlerOptions{Level: leveler}
	if form == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// setLevel changes a level to one of the words that --log-level takes.
func setLevel(leveler *slog.LevelVar, level string) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err == nil { // which was checked, so always
		leveler.Set(l)
	}
}

var errNoTemplate = errors.New("the model has no chat template; give one with --chat-template")
