package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"aim/internal/calibrate"
	"aim/llama/cpp"
)

// calibrateOptions are the flags of calibrate.
type calibrateOptions struct {
	engineOptions
	prompts, verify string
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

--verify measures nothing but how well the calibration holds on other prompts: the mean exact probability that the best token
stays best, the share of steps at which it did, and 95 % bands by bootstrap over prompts.`,
		Example: `  aim calibrate
  aim calibrate SmolLM2-135M-Instruct.Q4_1 --steps 6000
  aim calibrate --prompts mine.txt --force
  aim calibrate --verify others.txt --levels 0.9,0.5`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if cmd.Flags().Changed("model") {
					return usageError{fmt.Errorf("the model is named twice, as %s and by --model", args[0])}
				}
				o.model = args[0]
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return runCalibrate(ctx, o, streams{cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()})
		},
		ValidArgsFunction: completeModels,
	}
	f := cmd.Flags()
	o.flags(cmd)
	intVar(f, &o.slots, "slots", 16, 1, 256, "answers to generate at once")
	f.StringVar(&o.prompts, "prompts", "", "file with prompts to measure on, one a line (default: built-in ones)")
	intVar(f, &o.steps, "steps", calibrate.DefaultSteps, 64, 1<<24, "about how many steps to look at; more is more exact")
	choiceVar(f, &o.noiseEnd, "noise-end", "what utility noise does to the tokens that end an answer", endNoises()...)
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
	if o.context == 0 {
		o.context = calibrationContext // that of serve would only cost memory
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
