package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"aim/internal/eval"
	"aim/llama/cpp"
	"aim/sampler"
)

// evalOptions are the flags of eval.
type evalOptions struct {
	engineOptions
	sigma, level, strength, out     string
	url, apiKey                     string
	limit, fields, shots, maxTokens int
	concurrency, noiseSeed          int
	temperatures                    bool
}

func newEval() *cobra.Command {
	var o evalOptions
	cmd := &cobra.Command{
		Use:   "eval TASK.jsonl",
		Short: "Measure a task's score over a sweep of the dial",
		Long: `Runs a task under utility modulation of several strengths, and beside it at temperatures without modulation, which answers
the question whether the noise is only a temperature. Writes the records, a CSV table, JSON and a plot (SVG and PNG) with 95 %
bootstrap bands to --out. A run that was stopped goes on where it was when the same command is given again.

The kind of the task is seen from the fields of its lines:

  context, continuation     one right continuation, by exact match (LAMBADA)
  query, choices, gold      several continuations, by likelihood (PIQA, ARC)
  context, answer           free text that ends with a number (GSM8K)
  prompts, topics           a focus set: what aim eval focus does

The first two are scored in one pass of the model, whatever the number of strengths. With --url the task is put to a server
that speaks the OpenAI API instead.`,
		Example: `  aim eval lambada.jsonl --sigma 0:2:0.1 --out results
  aim eval piqa.jsonl --sigma 0:2:0.25 --limit 200 --out results
  aim eval lambada.jsonl --level 1,0.9,0.7,0.5 --out results
  aim eval lambada.jsonl --url http://127.0.0.1:8080/v1 --model my-model --limit 100 --out results`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := interruptible(cmd)
			defer stop()
			return runEval(ctx, args[0], o, streamsOf(cmd))
		},
	}
	f := cmd.Flags()
	o.flags(cmd)
	o.evalSlots(cmd)
	f.StringVar(&o.sigma, "sigma", "", "strengths to run: numbers with commas between them, or from:to:step")
	f.StringVar(&o.level, "level", "", "the same by level: the share of steps at which the best token stays best")
	f.StringVar(&o.strength, "strength", focusStrengths, "strengths of focus, for a focus set; see aim eval focus")
	f.StringVar(&o.out, "out", "", "folder for records, tables and plots")
	f.StringVar(&o.url, "url", "", "base URL of a server to ask, such as http://127.0.0.1:8080/v1; --model is then the model's id there")
	f.StringVar(&o.apiKey, "api-key", os.Getenv("OPENAI_API_KEY"), "API key for --url (default: $OPENAI_API_KEY)")
	intVar(f, &o.limit, "limit", 0, 0, math.MaxInt32, "items to run, the first ones; 0 is all")
	intVar(f, &o.fields, "fields", 1, 1, 1000, "noise fields to average over: the owner's and derived ones")
	intVar(f, &o.noiseSeed, "noise-seed", -1, -1, math.MaxInt32, "take the noise from this number instead of the owner's secret, so that others get the same figures; -1 is the secret")
	intVar(f, &o.shots, "shots", 0, 0, 100, "worked examples before each question of a generation")
	intVar(f, &o.maxTokens, "max-tokens", 0, 0, math.MaxInt32, fmt.Sprintf("most tokens of a generated answer; 0 is %d", eval.DefaultMaxTokens))
	intVar(f, &o.concurrency, "concurrency", 8, 1, 1024, "requests at once with --url")
	f.BoolVar(&o.temperatures, "temperatures", true, "also run the temperatures that compare with the noise")
	f.Lookup("api-key").DefValue = "" // which may be a secret
	cmd.AddCommand(newEvalFocus(), newEvalAttack())
	return cmd
}

// evalSlots defines how many sequences an evaluation decodes at once.
func (o *engineOptions) evalSlots(cmd *cobra.Command) {
	intVar(cmd.Flags(), &o.slots, "slots", 16, 1, 256, "sequences to decode at once")
}

// check tells what cannot be right whatever the task and the model.
func (o *evalOptions) check() error {
	switch {
	case o.out == "":
		return usageError{errors.New("--out is missing: the folder that the results go to")}
	case (o.sigma == "") == (o.level == ""):
		return usageError{errors.New("want either --sigma or --level: the strengths to run")}
	case o.url != "" && o.model == "":
		return usageError{errors.New("--url needs --model: the model's id at the server")}
	case o.url != "" && o.level != "":
		return usageError{errors.New("--level needs the model itself, to know its σ; with --url give --sigma")}
	}
	return o.engineOptions.check()
}

// points are the noisy arms asked for; sigmaOf translates levels.
func (o *evalOptions) points(sigmaOf func(level float64) (float64, error)) ([]eval.Arm, error) {
	var arms []eval.Arm
	if o.sigma != "" {
		sigmas, err := eval.ParsePoints(o.sigma, 0, 100)
		if err != nil {
			return nil, usageError{fmt.Errorf("--sigma: %w", err)}
		}
		for _, s := range sigmas {
			arms = append(arms, eval.Arm{Sigma: s})
		}
		return arms, nil
	}
	levels, err := eval.ParsePoints(o.level, 0.01, 1)
	if err != nil {
		return nil, usageError{fmt.Errorf("--level: %w", err)}
	}
	for _, l := range levels {
		s, err := sigmaOf(l)
		if err != nil {
			return nil, err
		}
		arms = append(arms, eval.Arm{Sigma: s, Level: l})
	}
	return arms, nil
}

// runEval runs a task over a sweep.
func runEval(ctx context.Context, path string, o evalOptions, std streams) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if eval.IsFocusSet(data) {
		f := focusOptions{evalOptions: o, methods: focusMethods, strength: o.strength, prompts: o.limit, spanMethod: string(eval.SpanDeleted)}
		if f.maxTokens == 0 {
			f.maxTokens = focusTokens
		}
		return runFocus(ctx, path, f, std)
	}
	if err := o.check(); err != nil {
		return err
	}
	task, err := eval.Parse(path, data)
	if err != nil {
		return err
	}
	if err := task.Shots(o.shots); err != nil {
		return usageError{fmt.Errorf("--shots: %w", err)}
	}
	n := len(task.Items)
	if o.limit > 0 {
		n = min(n, o.limit)
	}
	settings := eval.Settings{Task: task.Hash, Kind: task.Kind, Fields: o.fields}
	if task.Kind == eval.Generation {
		settings.Shots, settings.MaxTokens = o.shots, o.maxTokens
	}
	if o.url != "" {
		return o.remote(ctx, task, n, settings, std)
	}
	return o.local(ctx, task, n, settings, std)
}

// local runs a task on the model itself.
func (o *evalOptions) local(ctx context.Context, task *eval.Task, n int, settings eval.Settings, std streams) error {
	if _, err := o.points(func(float64) (float64, error) { return 0, nil }); err != nil {
		return err // before the model is loaded
	}
	e, stop, err := o.open(std)
	if err != nil {
		return err
	}
	defer stop()
	noisy, err := o.points(func(level float64) (float64, error) { return o.sigmaOf(ctx, e, level, std) })
	if err != nil {
		return err
	}
	noise := eval.Noise{Secret: o.noiseSecret(e), Model: e.name, Fields: o.fields}
	settings.Model, settings.Noise = e.name, noise.Fingerprint()
	var scorer eval.Scorer = &eval.Forced{Engine: e.Engine, Noise: noise}
	most := math.Inf(1)
	if task.Kind == eval.Generation {
		scorer, most = &eval.Generated{Engine: e.Engine, Noise: noise, MaxTokens: o.maxTokens}, 2
	}
	settings.Arms = noisy
	if o.temperatures {
		settings.Arms = eval.Arms(noisy, task.Kind != eval.Generation, most)
	}
	return o.sweep(ctx, task, n, &settings, scorer, o.slots, std)
}

// open loads the model and runs the engine until stop is called.
func (o *engineOptions) open(std streams) (e *engine, stop func(), err error) {
	quiet := slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	slog.SetDefault(quiet)
	cpp.SetLogger(quiet)
	o.queue = 4 * o.slots // a span takes two places or more
	e, err = openEngine(*o, progressLine(std.err, "the model"))
	if err != nil {
		return nil, nil, err
	}
	end := e.start()
	return e, func() { end(); e.close() }, nil
}

// noiseSecret is the owner's secret, or one that --noise-seed makes for all to share.
func (o *evalOptions) noiseSecret(e *engine) []byte {
	if o.noiseSeed < 0 {
		return e.secret
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "aim eval noise seed %d", o.noiseSeed))
	return sum[:]
}

// sigmaOf is the σ of a level on this model, by its calibration.
func (o *evalOptions) sigmaOf(ctx context.Context, e *engine, level float64, std streams) (float64, error) {
	g, err := newGauge(e, o.engineOptions, slog.Default(), calibratingLine(std.err))
	if err != nil {
		return 0, err
	}
	curve, err := g.obtain(ctx)
	if err != nil {
		return 0, err
	}
	return curve.Sigma(level)
}

// prompt words what a user says as the model's template has it.
func (e *engine) prompt(text string) ([]sampler.Token, error) {
	return (&gauge{engine: e}).subject().Render(text)
}

// remote puts a task to a server.
func (o *evalOptions) remote(ctx context.Context, task *eval.Task, n int, settings eval.Settings, std streams) error {
	noisy, err := o.points(nil)
	if err != nil {
		return err
	}
	settings.Model, settings.URL, settings.Arms = o.model, o.url, noisy
	r := &eval.Remote{URL: o.url, Model: o.model, Key: o.apiKey, Kind: task.Kind, MaxTokens: o.maxTokens, Draws: o.fields}
	for _, a := range noisy {
		if a.Sigma > 0 {
			if err := r.Check(ctx); err != nil {
				return err
			}
			break
		}
	}
	if o.temperatures && task.Kind != eval.Choice {
		settings.Arms = eval.Arms(noisy, false, 2)
	}
	return o.sweep(ctx, task, n, &settings, r, o.concurrency, std)
}

// sweep scores what is not there yet and writes the outcome.
func (o *evalOptions) sweep(ctx context.Context, task *eval.Task, n int, settings *eval.Settings, sc eval.Scorer, workers int, std streams) error {
	store, err := eval.OpenStore(o.out, settings)
	if err != nil {
		return err
	}
	defer store.Close() //nolint:errcheck // each record was written through
	bar := newProgress(std.err, filepath.Base(task.Name))
	err = eval.Run(ctx, task, n, settings.Arms, sc, store, workers, bar)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("stopped; %s keeps what is done, the same command goes on from there", store.Path)
	}
	if err != nil {
		return err
	}
	s := eval.Summarize(task, n, settings, store)
	name := strings.TrimSuffix(filepath.Base(task.Name), filepath.Ext(task.Name))
	paths, err := s.Save(o.out, name)
	if err != nil {
		return err
	}
	printSummary(std.out, s)
	fmt.Fprintf(std.out, "\nwritten: %s\n", strings.Join(append(paths, store.Path), " "))
	return nil
}

// printSummary prints the main metrics as a table.
func printSummary(w io.Writer, s *eval.Summary) {
	fmt.Fprintf(w, "%s, %s, %d items; %s\n", s.Name, s.Settings.Model, s.Items, s.Band)
	for _, metric := range s.Settings.Kind.Metrics() {
		fmt.Fprintf(w, "\n%-9s  %-24s  %-24s  %s\n", "sigma", metric+" (noise)", "temperature 0.78 sigma", "fitted temperature")
		for _, p := range s.Points {
			if p.Metric != metric || p.Curve != eval.NoiseCurve {
				continue
			}
			fmt.Fprintf(w, "%-9.4g  %-24s  %-24s  %s\n", p.Sigma, band(&p),
				band(s.Find(metric, eval.MatchedCurve, p.Sigma)), band(s.Find(metric, eval.FittedCurve, p.Sigma)))
		}
	}
	for _, f := range s.Fits {
		fmt.Fprintf(w, "\n%s: T = %.2f sigma [%.2f, %.2f] fits best, with a root mean square difference of %.4f (T = 0.78 sigma: %.4f)\n",
			f.Metric, f.Value, f.Low, f.High, f.RMS, f.MatchedRMS)
	}
}

func band(p *eval.Point) string {
	if p == nil {
		return "-"
	}
	return fmt.Sprintf("%.4f [%.4f, %.4f]", p.Value, p.Low, p.High)
}

// newProgress shows a bar on a terminal, and nothing elsewhere.
func newProgress(w io.Writer, what string) func(done, total int) {
	if !isTerminal(w) {
		return nil
	}
	var bar *progressbar.ProgressBar
	return func(done, total int) {
		if bar == nil {
			bar = progressbar.NewOptions(total, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what),
				progressbar.OptionShowCount(), progressbar.OptionThrottle(100*time.Millisecond),
				progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true))
		}
		_ = bar.Set(done) // a bar that cannot be drawn stops nothing
	}
}
