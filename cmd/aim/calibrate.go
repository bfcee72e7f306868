package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"strconv"
	"sync"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"aim/internal/calibrate"
	"aim/internal/eval"
	"aim/llama/cpp"
)

// calibrateOptions are the flags of calibrate.
type calibrateOptions struct {
	engineOptions
	prompts, verify string
	task            string
	limit           int
	noiseEnd        string
	steps, tokens   int
	force           bool
	levels          []float64
}

func newCalibrate() *cobra.Command {
	var o calibrateOptions
	cmd := &cobra.Command{
		Use:   "calibrate [MODEL]",
		Short: "Measure what the levels of utility mean for a model",
		Long: `Measures which noise gives which level of utility, and prints it. The level is the share of steps at which the model's
own best token stays the best; serve, run and requests may ask for one, and Aim then calibrates the model by itself, once, in
a few seconds. This command does it beforehand, more exactly (--steps), or on prompts of your own (--prompts), which then
hold for serve and run as well.

The result is kept in the state folder under the identity of the model and its chat template. Where it is there already, it
is printed; --force measures anew.

--task scores a task at many levels instead, and prints which level leaves how much of the full score: for "80 % of the score
on my task" ask for the level it prints at 0.80. It refuses a task that cannot tell levels apart.

--verify measures nothing but how well the calibration holds on other prompts: the mean exact probability that the best token
stays best, the share of steps at which it did, and 95 % bands by bootstrap over prompts.`,
		Example: `  aim calibrate
  aim calibrate SmolLM2-135M-Instruct.Q4_1 --steps 6000
  aim calibrate --prompts mine.txt --force
  aim calibrate --task exam.jsonl --limit 300
  aim calibrate --verify others.txt --levels 0.9,0.5`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if cmd.Flags().Changed("model") {
					return usageError{fmt.Errorf("the model is named twice, as %s and by --model", args[0])}
				}
				o.model = args[0]
			}
			ctx, stop := interruptible(cmd)
			defer stop()
			return runCalibrate(ctx, o, streamsOf(cmd))
		},
		ValidArgsFunction: completeModels,
	}
	f := cmd.Flags()
	o.flags(cmd)
	o.optimizeFlags(f, "calibrate the file that aim optimize kept, as auto of serve and run loads it")
	intVar(f, &o.slots, "slots", 16, 1, 256, "answers to generate at once")
	f.StringVar(&o.prompts, "prompts", "", "file with prompts to measure on, one a line (default: built-in ones)")
	intVar(f, &o.steps, "steps", calibrate.DefaultSteps, 64, 1<<24, "about how many steps to look at; more is more exact")
	choiceVar(f, &o.noiseEnd, "noise-end", "what utility noise does to the tokens that end an answer", endNoises()...)
	f.StringVar(&o.task, "task", "", "file with a task (as for eval), to see its score by level and which level takes how much of it")
	intVar(f, &o.limit, "limit", 0, 0, 1<<30, "items of --task to score; 0 is all")
	f.BoolVar(&o.force, "force", false, "measure though there is a calibration")
	f.StringVar(&o.verify, "verify", "", "file with other prompts, to see how well the calibration holds on them")
	f.Float64SliceVar(&o.levels, "levels", []float64{0.95, 0.9, 0.8, 0.7, 0.5}, "levels to verify")
	intVar(f, &o.tokens, "max-tokens", calibrate.AnswerLength, 1, 1<<20, "longest answer of --verify; of each the first "+
		strconv.Itoa(calibrate.AnswerLength)+" tokens are compared with the level")
	return cmd
}

// check tells what cannot be right whatever the model.
func (o *calibrateOptions) check() error {
	for _, l := range o.levels {
		if !(l > 0 && l <= 1) {
			return usageError{fmt.Errorf("--levels: %g is not above 0 and up to 1", l)}
		}
	}
	return o.engineOptions.check()
}

// runCalibrate measures, or finds the calibration, and prints what was asked for.
func runCalibrate(ctx context.Context, o calibrateOptions, std streams) error {
	if err := o.check(); err != nil {
		return err
	}
	quiet := slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	slog.SetDefault(quiet)
	cpp.SetLogger(quiet)
	prompts, err := readPrompts(o.prompts, "--prompts")
	if err != nil {
		return err
	}
	others, err := readPrompts(o.verify, "--verify")
	if err != nil {
		return err
	}
	var task *eval.Task
	if o.task != "" {
		if task, err = eval.Load(o.task); err != nil {
			return err
		}
	}
	if o.context == 0 {
		o.context = calibrationContext // that of serve would only cost memory
	}
	if err := o.useWeights(ctx, false, quiet, std.err); err != nil {
		return err
	}
	e, err := openEngine(o.engineOptions, progressLine(std.err, "loading the model"))
	if err != nil {
		return err
	}
	defer e.close()
	defer e.start()()
	g, err := newGauge(e, o.engineOptions, quiet, calibratingLine(std.err))
	if err != nil {
		return err
	}
	g.ends = endNoise(o.noiseEnd)
	r, err := g.wanted(ctx, calibrate.Options{Prompts: prompts, Steps: o.steps}, o.force)
	if err != nil {
		return err
	}
	if others != nil {
		return g.verify(ctx, &r.Curve, others, o, std.out)
	}
	if task != nil {
		return g.score(ctx, &r.Curve, task, o.limit, std)
	}
	return printCurve(std.out, r)
}

// calibrationContext is room for a prompt and an answer.
const calibrationContext = 1024

// readPrompts reads a file of prompts; none where path is empty.
func readPrompts(path, flag string) ([]string, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	prompts, err := calibrate.ParsePrompts(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", flag, path, err)
	}
	return prompts, nil
}

// wanted is the stored calibration where it is what o asks for, and a measurement otherwise. Without prompts of the owner's
// any stored one will do that looked at as many steps, less what answers that end early leave out.
func (g *gauge) wanted(ctx context.Context, o calibrate.Options, force bool) (*calibrate.Record, error) {
	key, err := g.key()
	if err != nil {
		return nil, err
	}
	if r := g.stored(key); r != nil && !force {
		fits := o.Prompts == nil || r.PromptSet == calibrate.PromptSet(o.Prompts)
		if fits && (o.Steps == calibrate.DefaultSteps || r.Steps >= o.Steps*2/3) {
			return r, nil
		}
	}
	return g.measure(ctx, key, o)
}

// printCurve writes a table of levels.
func printCurve(w io.Writer, r *calibrate.Record) error {
	set := "the built-in prompts"
	if r.PromptSet != calibrate.PromptSet(calibrate.Prompts()) {
		set = "prompts of your own"
	}
	fmt.Fprintf(w, "%s, measured %s on %s: %d prompts, %d answers, %d steps\n\n",
		r.Model, r.Measured.Local().Format("2006-01-02 15:04"), set, r.Prompts, r.Answers, r.Steps)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "LEVEL\tSIGMA\tSTD. ERROR OF THE LEVEL\t")
	for _, level := range []float64{0.99, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1} {
		sigma, err := r.Sigma(level)
		if err != nil {
			break
		}
		_, stdErr := r.At(sigma)
		fmt.Fprintf(table, "%.2f\t%.3f\t%.3f\t\n", level, sigma, stdErr)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\nThe lowest level is %.3f.\n", math.Ceil(r.Lowest()*1000)/1000)
	return err
}

// verify writes a table of how well the curve holds at the levels.
func (g *gauge) verify(ctx context.Context, c *calibrate.Curve, prompts []string, o calibrateOptions, w io.Writer) error {
	fmt.Fprintf(w, "%s on %d other prompts\n\n", g.name, len(prompts))
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "LEVEL\tSIGMA\tSTEPS\tMEAN EXACT\tKEPT\t95 % BAND\tKEPT - EXACT\t95 % BAND\tMEDIAN LENGTH\tENDED\t")
	for _, level := range o.levels {
		v, err := calibrate.Verify(ctx, g.subject(), c, prompts, level, o.tokens, g.progress)
		if err != nil {
			return err
		}
		fmt.Fprintf(table, "%.2f\t%.3f\t%d\t%.4f\t%.4f\t%.4f to %.4f\t%+.4f\t%+.4f to %+.4f\t%d\t%.2f\t\n",
			v.Level, v.Sigma, v.Steps, v.Mean, v.Share, v.Low, v.High, v.Excess, v.ExcessLow, v.ExcessHigh, v.Length, v.Ended)
	}
	return table.Flush()
}

// taskLevels are the levels at which a task is scored, where the model reaches them.
var taskLevels = []float64{1, 0.98, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.4, 0.3, 0.2}

// taskShares are the shares of the full score for which levels are printed.
var taskShares = []float64{0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.25}

// score writes a task's score by level, and the level for shares of its full score.
func (g *gauge) score(ctx context.Context, c *calibrate.Curve, task *eval.Task, limit int, std streams) error {
	var levels []float64
	var arms []eval.Arm
	for _, level := range taskLevels {
		sigma, err := c.Sigma(level)
		if err != nil {
			break
		}
		levels = append(levels, level)
		arms = append(arms, eval.Arm{Sigma: sigma, Level: level})
	}
	items := task.Items
	if limit > 0 && limit < len(items) {
		items = items[:limit]
	}
	scores, err := g.scoreItems(ctx, task.Kind, items, arms, progressLine(std.err, "scoring the task"))
	if err != nil {
		return err
	}
	curve, err := calibrate.NewTaskCurve(levels, scores)
	if err != nil {
		return fmt.Errorf("%s: %w", task.Name, err)
	}
	return printTask(std.out, fmt.Sprintf("%s on %s, %d items", g.name, task.Name, len(items)), c, curve, curve.Levels(scores, taskShares))
}

// scoreItems returns the main score of each item under each arm.
func (g *gauge) scoreItems(ctx context.Context, kind eval.Kind, items []eval.Item, arms []eval.Arm, progress func(float64)) ([][]float64, error) {
	noise := eval.Noise{Secret: g.secret, Model: g.name, Fields: 1}
	var scorer eval.Scorer = &eval.Forced{Engine: g.Engine, Noise: noise}
	if kind == eval.Generation {
		scorer = &eval.Generated{Engine: g.Engine, Noise: noise}
	}
	scores := make([][]float64, len(items))
	var mu sync.Mutex
	done := 0
	err := eval.Each(ctx, len(items), g.streams, func(ctx context.Context, i int) error {
		values, err := scorer.Score(ctx, &items[i], arms)
		if err != nil {
			return fmt.Errorf("item %d: %w", i+1, err)
		}
		scores[i] = values[kind.Metrics()[0]]
		mu.Lock()
		defer mu.Unlock()
		if done++; progress != nil {
			progress(float64(done) / float64(len(items)))
		}
		return nil
	})
	return scores, err
}

func printTask(w io.Writer, title string, c *calibrate.Curve, t *calibrate.TaskCurve, wanted []calibrate.TaskLevel) error {
	fmt.Fprintf(w, "%s\n\n", title)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "LEVEL\tSIGMA\tSCORE\tISOTONIC FIT\t95 % BAND\tOF THE FULL SCORE\t")
	for _, p := range t.Points {
		sigma, err := c.Sigma(p.Level)
		if err != nil {
			return err
		}
		fmt.Fprintf(table, "%.2f\t%.3f\t%.3f\t%.3f\t%.3f to %.3f\t%.2f\t\n",
			p.Level, sigma, p.Mean, p.Fit.Value, p.Fit.Low, p.Fit.High, p.Fit.Value/t.Points[0].Fit.Value)
	}
	fmt.Fprintln(table, "\t\t\t\t\t\t\nOF THE FULL SCORE\tSCORE\tLEVEL\t95 % BAND\tSIGMA\t\t")
	for _, l := range wanted {
		if math.IsNaN(l.Level.Value) {
			fmt.Fprintf(table, "%.2f\t%.3f\tbelow %.2g\t\t\t\t\n", l.Share, l.Score, t.Points[len(t.Points)-1].Level)
			continue
		}
		sigma, err := c.Sigma(l.Level.Value)
		if err != nil {
			return err
		}
		fmt.Fprintf(table, "%.2f\t%.3f\t%.3f\t%.3f to %.3f\t%.3f\t\t\n", l.Share, l.Score, l.Level.Value, l.Level.Low, l.Level.High, sigma)
	}
	return table.Flush()
}
