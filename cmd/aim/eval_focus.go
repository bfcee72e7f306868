package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"aim/internal/eval"
)

// focusMethods are the names of what eval focus can measure, beside none.
var focusMethods = []string{"prompt", "bias", "paper", "lexical", "span"}

// The strengths and the length of answers where a command does not say.
const (
	focusStrengths = "-1,0.25,0.5,0.75,1"
	focusTokens    = 128
)

// focusOptions are the flags of eval focus.
type focusOptions struct {
	evalOptions
	methods         []string
	strength        string
	prompts, topics int
	spanMethod      string
}

func newEvalFocus() *cobra.Command {
	var o focusOptions
	cmd := &cobra.Command{
		Use:   "focus SET.json",
		Short: "Measure what focus does to answers, and what it costs",
		Long: `Answers every prompt of a set with every topic, greedily, with several methods, and measures: the share of answers with a target
word (include), target words per token (rate), perplexity under the unmodulated model given the unmodulated prompt (ppl, and
ppl_ratio to the answers without focus), and the mean share of distinct bigrams (d2). The set's span_cases are answered with span
focus. Writes focus.json, a list of rows, to --out and prints the table. Bands are 95 % bootstrap, resampled by prompt.

Methods: prompt ("Focus on ..." behind the prompt), bias (logit_bias +4 and +6), paper (sigma 2, 4 and 6), lexical and span at each
--strength. A negative strength is measured where the plain answer has a target word.`,
		Example: `  aim eval focus dev.json --out results
  aim eval focus dev.json --out results --methods lexical --strength 0.5,1 --prompts 4 --topics 4`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := interruptible(cmd)
			defer stop()
			return runFocus(ctx, args[0], o, streamsOf(cmd))
		},
	}
	f := cmd.Flags()
	o.flags(cmd)
	o.evalSlots(cmd)
	f.StringVar(&o.out, "out", "", "folder for records and focus.json")
	f.StringSliceVar(&o.methods, "methods", focusMethods, "what to measure beside no focus")
	f.StringVar(&o.strength, "strength", focusStrengths, "strengths of lexical and span focus")
	intVar(f, &o.maxTokens, "max-tokens", focusTokens, 1, math.MaxInt32, "most tokens of an answer")
	intVar(f, &o.prompts, "prompts", 0, 0, math.MaxInt32, "prompts to answer, the first ones; 0 is all")
	intVar(f, &o.topics, "topics", 0, 0, math.MaxInt32, "topics to focus on, the first ones; 0 is all")
	choiceVar(f, &o.spanMethod, "span-method", "what takes the place of a span in the second prompt", string(eval.SpanDeleted), string(eval.SpanNeutral))
	return cmd
}

// check tells what cannot be right whatever the set and the model, and reads the strengths.
func (o *focusOptions) check() ([]float64, error) {
	if o.out == "" {
		return nil, usageError{errors.New("--out is missing: the folder that the results go to")}
	}
	for _, m := range o.methods {
		if !slices.Contains(focusMethods, m) {
			return nil, usageError{fmt.Errorf("--methods: %q is none of %s", m, strings.Join(focusMethods, ", "))}
		}
	}
	strengths, err := eval.ParsePoints(o.strength, -1, 1)
	if err != nil {
		return nil, usageError{fmt.Errorf("--strength: %w", err)}
	}
	return slices.DeleteFunc(strengths, func(s float64) bool { return s == 0 }), o.engineOptions.check()
}

// readFocusSet reads the part of a set that was asked for.
func (o *focusOptions) readFocusSet(path string) (*eval.FocusSet, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	set, err := eval.ReadFocusSet(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if o.prompts > 0 {
		set.Prompts = set.Prompts[:min(o.prompts, len(set.Prompts))]
	}
	if o.topics > 0 {
		set.Topics = set.Topics[:min(o.topics, len(set.Topics))]
	}
	return set, nil
}

// runFocus measures a focus set.
func runFocus(ctx context.Context, path string, o focusOptions, std streams) error {
	strengths, err := o.check()
	if err != nil {
		return err
	}
	set, err := o.readFocusSet(path)
	if err != nil {
		return err
	}
	e, stop, err := o.open(std)
	if err != nil {
		return err
	}
	defer stop()
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	var rows []eval.FocusRow
	var list []any
	if len(set.Topics) > 0 && len(set.Prompts) > 0 {
		f := &eval.FocusRun{Engine: e.Engine, Render: e.prompt, Name: e.name, Set: set, Length: o.maxTokens, Program: program()}
		if rows, err = f.Rows(ctx, o.lexical(e, strengths), o.out, newProgress(std.err, filepath.Base(path))); err != nil {
			return stopped(ctx, err, o.out)
		}
		for _, r := range rows {
			list = append(list, r)
		}
	}
	if len(set.Spans) > 0 && slices.Contains(o.methods, "span") {
		spans, err := eval.Spans(ctx, e.Engine, e.prompt, set.Spans, eval.SpanMethod(o.spanMethod), strengths, o.maxTokens)
		if err != nil {
			return stopped(ctx, err, o.out)
		}
		for _, r := range spans {
			list, rows = append(list, r), append(rows, r.FocusRow)
		}
	}
	text, err := json.MarshalIndent(list, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(o.out, "focus.json"), append(text, '\n'), 0o644); err != nil {
		return err
	}
	printFocus(std.out, rows)
	return nil
}

// program tells this build from others by its file.
func program() string {
	path, err := os.Executable()
	if err != nil {
		return ""
	}
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	return fmt.Sprint(info.Size(), " ", info.ModTime().UTC().Format(time.RFC3339Nano))
}

// lexical are the methods asked for that focus on words.
func (o *focusOptions) lexical(e *engine, strengths []float64) (methods []eval.Method) {
	for _, name := range o.methods {
		switch name {
		case "prompt":
			methods = append(methods, eval.PromptMethod())
		case "bias":
			methods = append(methods, eval.BiasMethod(e.model, 4), eval.BiasMethod(e.model, 6))
		case "paper":
			methods = append(methods, eval.PaperMethod(e.model, 2), eval.PaperMethod(e.model, 4), eval.PaperMethod(e.model, 6))
		case "lexical":
			for _, s := range strengths {
				methods = append(methods, eval.LexicalMethod(e.Lexicon(), s))
			}
		}
	}
	return methods
}

// printFocus prints the rows as a table in Markdown.
func printFocus(w io.Writer, rows []eval.FocusRow) {
	fmt.Fprintf(w, "| method | kind | strength | include | rate | ppl | ppl ratio | d2 | answers |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, r := range rows {
		band := func(name string, value float64, digits int) string {
			b := r.Bands[name]
			return fmt.Sprintf("%.*f [%.*f, %.*f]", digits, value, digits, b[0], digits, b[1])
		}
		fmt.Fprintf(w, "| %s | %s | %g | %s | %s | %s | %s | %s | %d |\n", r.Method, r.Kind, r.Strength,
			band("include", r.Include, 2), band("rate", r.Rate, 3), band("ppl", r.PPL, 2), band("ppl_ratio", r.PPLRatio, 2), band("d2", r.D2, 2), r.Answers)
	}
}
