package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"aim/internal/eval"
	"aim/sampler"
)

// attackOptions are the flags of eval attack.
type attackOptions struct {
	evalOptions
	gaps, sigmas, windows string
	targets, nonces       int
	draws, length         int
}

func newEvalAttack() *cobra.Command {
	var o attackOptions
	cmd := &cobra.Command{
		Use:   "attack",
		Short: "Measure how many queries see through utility noise",
		Long: `Measures how many queries a caller needs to tell the unmodulated model's best token with 95 % success: one who sees text at
temperature 0, and one who sees log-probabilities, too; by asking the same again, with a random string in the prompt, and in other
words; in each scope of the noise. Also measures what a window costs in repetition. Writes attack.json and the table attack.md to --out.`,
		Example: "  aim eval attack --out results",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := interruptible(cmd)
			defer stop()
			return runAttack(ctx, o, streamsOf(cmd))
		},
	}
	f := cmd.Flags()
	o.flags(cmd)
	o.evalSlots(cmd)
	f.StringVar(&o.out, "out", "", "folder for records and tables")
	f.StringVar(&o.gaps, "gaps", "0.5,1,2", "leads of the best token to attack, in logits")
	f.StringVar(&o.sigmas, "sigma", "0.5,1,2", "strengths of the noise")
	f.StringVar(&o.windows, "windows", "4,8,16", "scopes beside all tokens so far")
	intVar(f, &o.targets, "targets", 10, 1, len(eval.Questions), "tokens to attack for each lead")
	intVar(f, &o.nonces, "nonces", 16, 1, 1000, "random strings tried, at each of two places")
	intVar(f, &o.draws, "draws", 32, 1, 1000, "secrets tried")
	intVar(f, &o.length, "max-tokens", 96, 0, math.MaxInt32, "length of the answers whose repetition is measured; 0 leaves it out")
	intVar(f, &o.noiseSeed, "noise-seed", -1, -1, math.MaxInt32, "take the noise from this number instead of the owner's secret; -1 is the secret")
	return cmd
}

// attackReport is the content of attack.json.
type attackReport struct {
	Model      string            `json:"model"`
	Targets    []eval.Target     `json:"targets"`
	Rows       []eval.AttackRow  `json:"rows"`
	Repetition []eval.Repetition `json:"repetition,omitempty"`
}

// runAttack attacks the model and writes what came of it.
func runAttack(ctx context.Context, o attackOptions, std streams) error {
	a := &eval.Attack{Targets: o.targets, Nonces: o.nonces, Draws: o.draws}
	if err := o.parse(a); err != nil {
		return err
	}
	e, stop, err := o.open(std)
	if err != nil {
		return err
	}
	defer stop()
	a.Engine, a.Model, a.Secret = e.Engine, e.name, o.noiseSecret(e)
	r := attackReport{Model: e.name}
	if r.Targets, err = a.FindTargets(ctx, eval.Questions, o.out); err != nil {
		return err
	}
	outcomes, err := a.Outcomes(ctx, r.Targets, o.out, newProgress(std.err, "attack"))
	if err != nil {
		return stopped(ctx, err, o.out)
	}
	r.Rows = a.Rows(r.Targets, outcomes)
	if o.length > 0 {
		if r.Repetition, err = o.repetition(ctx, a, e, std); err != nil {
			return stopped(ctx, err, o.out)
		}
	}
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	var table strings.Builder
	printAttack(&table, &r)
	for name, content := range map[string][]byte{"attack.json": append(text, '\n'), "attack.md": []byte(table.String())} {
		if err := os.WriteFile(filepath.Join(o.out, name), content, 0o644); err != nil {
			return err
		}
	}
	fmt.Fprint(std.out, table.String())
	return nil
}

// stopped says of a run that was interrupted how it goes on.
func stopped(ctx context.Context, err error, where string) error {
	if ctx.Err() == nil {
		return err
	}
	return fmt.Errorf("stopped; %s keeps what is done, the same command goes on from there", where)
}

// parse reads the lists among the flags.
func (o *attackOptions) parse(a *eval.Attack) (err error) {
	if o.out == "" {
		return usageError{errors.New("--out is missing: the folder that the results go to")}
	}
	if a.Gaps, err = eval.ParsePoints(o.gaps, 0, 100); err != nil {
		return usageError{fmt.Errorf("--gaps: %w", err)}
	}
	if a.Sigmas, err = eval.ParsePoints(o.sigmas, 0.001, 100); err != nil {
		return usageError{fmt.Errorf("--sigma: %w", err)}
	}
	if o.windows == "" {
		return o.engineOptions.check()
	}
	windows, err := eval.ParsePoints(o.windows, 1, 1024) // the sampler's own bound
	if err != nil {
		return usageError{fmt.Errorf("--windows: %w", err)}
	}
	for _, w := range windows {
		if w != math.Trunc(w) {
			return usageError{fmt.Errorf("--windows: %v is not a whole number", w)}
		}
		a.Windows = append(a.Windows, int(w))
	}
	return o.engineOptions.check()
}

// repetition generates greedy answers in every scope.
func (o *attackOptions) repetition(ctx context.Context, a *eval.Attack, e *engine, std streams) ([]eval.Repetition, error) {
	const answers = 16
	var prompts [][]sampler.Token
	for _, q := range eval.Questions[:answers] {
		prompt, err := e.prompt(q)
		if err != nil {
			return nil, err
		}
		prompts = append(prompts, prompt)
	}
	return a.Repetitions(ctx, prompts, o.length, o.out, newProgress(std.err, "repetition"))
}

// printAttack writes the tables in Markdown.
func printAttack(w io.Writer, r *attackReport) {
	fmt.Fprintf(w, "Queries for 95 %% success, and in parentheses the success of the first query and of the most queries tried. Behind the semicolon "+
		"the same for those targets alone that the variants leave alone, and their number of %d.\n\n", len(r.Targets)/max(1, leads(r)))
	fmt.Fprintf(w, "| lead | σ | scope | sees |%s\n| --- | --- | --- | --- |%s\n", modeHeads(" %s |"), modeHeads(" --- |"))
	type key struct {
		gap, sigma float64
		window     int
		sees       eval.Sees
	}
	var keys []key
	cells := map[key][]string{}
	for _, row := range r.Rows {
		k := key{row.Gap, row.Sigma, row.Window, row.Sees}
		if cells[k] == nil {
			keys = append(keys, k)
		}
		cells[k] = append(cells[k], attackCell(&row))
	}
	for _, k := range keys {
		if k.window > 0 && k.sees == eval.SeesLogprobs {
			continue // refused, which is said below
		}
		fmt.Fprintf(w, "| %g | %g | %s | %s | %s |\n", k.gap, k.sigma, scopeName(k.window), k.sees, strings.Join(cells[k], " | "))
	}
	fmt.Fprintf(w, "\nIn a window log-probabilities are refused, so that nobody sees them.\n")
	if len(r.Repetition) == 0 {
		return
	}
	fmt.Fprintf(w, "\nRepetition of greedy answers: distinct bigrams (d2), and runs of four tokens that occurred before.\n\n")
	fmt.Fprintf(w, "| scope | σ | d2 | repeated runs of 4 | answers |\n| --- | --- | --- | --- | --- |\n")
	for _, row := range r.Repetition {
		scope := scopeName(row.Window)
		if row.Sigma == 0 {
			scope = "no noise"
		}
		fmt.Fprintf(w, "| %s | %g | %.3f [%.3f, %.3f] | %.3f [%.3f, %.3f] | %d |\n", scope, row.Sigma,
			row.D2.Value, row.D2.Low, row.D2.High, row.Repeated4.Value, row.Repeated4.Low, row.Repeated4.High, row.Answers)
	}
}

// leads is the number of leads that were attacked.
func leads(r *attackReport) int {
	seen := map[float64]bool{}
	for _, t := range r.Targets {
		seen[t.Wanted] = true
	}
	return len(seen)
}

// modeHeads formats all modes.
func modeHeads(format string) string {
	var b strings.Builder
	for _, m := range eval.Modes {
		b.WriteString(strings.ReplaceAll(format, "%s", string(m)))
	}
	return b.String()
}

func scopeName(window int) string {
	if window == 0 {
		return "prefix"
	}
	return "window " + strconv.Itoa(window)
}

// attackCell is the outcome of one attack in few characters.
func attackCell(r *eval.AttackRow) string {
	if r.Refused {
		return "refused"
	}
	last := len(r.Queries) - 1
	queries := func(n int) string {
		if n == 0 {
			return fmt.Sprintf("never in %d", r.Queries[last])
		}
		return strconv.Itoa(n)
	}
	text := fmt.Sprintf("%s (%.2f → %.2f)", queries(r.N95), r.Success[0], r.Success[last])
	if r.Mode == eval.Repeat || r.Steady == 0 {
		return text
	}
	return fmt.Sprintf("%s; %s of %d", text, queries(r.SteadyN95), r.Steady)
}
