package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"github.com/spf13/cobra"

	"aim/internal/bench"
)

// loadOptions are the flags that say what servers are measured with.
type loadOptions struct {
	bench.Options
	scenarios []string
	rounds    int
	quick     bool
	json      string
}

// flags defines them, with the scenarios that can be named.
func (o *loadOptions) flags(cmd *cobra.Command, names []string) {
	o.Options = bench.DefaultOptions()
	f := cmd.Flags()
	f.StringSliceVar(&o.scenarios, "scenario", nil, fmt.Sprintf("loads to run, of %v (default: all that apply)", names))
	f.IntSliceVar(&o.Clients, "clients", o.Clients, "numbers of clients for distinct prompts; other loads take the largest, up to --slots")
	intVar(f, &o.Requests, "requests", o.Requests, 1, 10000, "requests that each client sends, one after the other")
	intVar(f, &o.rounds, "rounds", 2, 1, 1000, "how often to run everything")
	intVar(f, &o.Prompt, "prompt-tokens", o.Prompt, 1, 1<<20, "length of distinct prompts")
	intVar(f, &o.Answer, "answer-tokens", o.Answer, 1, 1<<20, "length of their answers")
	intVar(f, &o.Prefix, "prefix-tokens", o.Prefix, 1, 1<<20, "length of what prompts share")
	intVar(f, &o.Long, "long-tokens", o.Long, 1, 1<<20, "length of the prompt that enters beside running answers")
	floatVar(f, &o.Sigma, "sigma", o.Sigma, "utility noise of modulated answers; the default is level 0.8 of SmolLM2-135M", sigmaParams)
	f.DurationVar(&o.Limit, "limit", o.Limit, "time after which a load is cut short; 0 is none")
	f.BoolVar(&o.quick, "quick", false, "smaller loads, fewer clients and one round, except where other flags say otherwise")
	f.StringVar(&o.json, "json", "", "file to write all figures to")
	_ = cmd.RegisterFlagCompletionFunc("scenario", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
}

// settle applies --quick and finds the scenarios.
func (o *loadOptions) settle(cmd *cobra.Command) ([]*bench.Scenario, error) {
	if o.quick {
		small, changed := o.Options, cmd.Flags().Changed
		small.Quick()
		for flag, keep := range map[string]func(){
			"clients": func() { small.Clients = o.Clients }, "requests": func() { small.Requests = o.Requests },
			"answer-tokens": func() { small.Answer = o.Answer }, "prefix-tokens": func() { small.Prefix = o.Prefix },
			"long-tokens": func() { small.Long = o.Long },
		} {
			if changed(flag) {
				keep()
			}
		}
		o.Options = small
		if !changed("rounds") {
			o.rounds = 1
		}
	}
	if o.Limit < 0 {
		return nil, usageError{fmt.Errorf("--limit %v: want at least 0", o.Limit)}
	}
	if err := o.Check(); err != nil {
		return nil, usageError{err}
	}
	found, err := bench.Find(o.scenarios)
	if err != nil {
		return nil, usageError{fmt.Errorf("--scenario: %w", err)}
	}
	return found, nil
}

// benchOptions are the flags of bench.
type benchOptions struct {
	loadOptions
	model, apiKey string
	seed          int
}

func newBench() *cobra.Command {
	var o benchOptions
	cmd := &cobra.Command{
		Use:   "bench URL",
		Short: "Measure a server that speaks the OpenAI API",
		Long: `Measures a server over streaming HTTP as its users see it: tokens/s, the time to the first token, and the gaps between
tokens. URL is the base of its API, such as http://127.0.0.1:8080/v1. Clients send one request after the other (a closed
loop); the server counts the tokens. Prompts are new in each run, unless --seed repeats those of another.

  distinct   prompts that have nothing in common       again      one long prompt, four times
  shared     one long beginning before every question  chat       the next turn of a conversation
  identical  one prompt from all clients at once       long       a long prompt enters beside running answers
  modulated  utility and words, a span; only on Aim    tiers      eight strengths in one batch; only on Aim

aim bench compare starts servers itself, side by side, and measures what needs that.`,
		Example: `  aim bench http://127.0.0.1:8080/v1
  aim bench http://127.0.0.1:11434/v1 --model smollm2:135m --scenario distinct --clients 1,8 --rounds 3`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			scenarios, err := o.settle(cmd)
			if err != nil {
				return err
			}
			ctx, stop := interruptible(cmd)
			defer stop()
			return runBench(ctx, args[0], o, scenarios, streamsOf(cmd))
		},
	}
	var names []string
	for _, s := range bench.Scenarios {
		if !s.Own {
			names = append(names, s.Name)
		}
	}
	o.flags(cmd, names)
	f := cmd.Flags()
	f.StringVar(&o.model, "model", "", "the model's id at the server (default: the first that it lists)")
	f.StringVar(&o.apiKey, "api-key", os.Getenv("OPENAI_API_KEY"), "API key (default: $OPENAI_API_KEY)")
	f.Lookup("api-key").DefValue = "" // which may be a secret
	intVar(f, &o.Slots, "slots", o.Slots, 1, bench.MaxClients, "clients at once in loads other than distinct prompts: what the server answers at once")
	intVar(f, &o.seed, "seed", -1, -1, math.MaxInt32, "which prompts; -1 takes new ones")
	cmd.AddCommand(newBenchCompare())
	return cmd
}

// runBench measures a server.
func runBench(ctx context.Context, url string, o benchOptions, scenarios []*bench.Scenario, std streams) error {
	o.Seed = uint64(o.seed)
	if o.seed < 0 {
		o.Seed = uint64(time.Now().UnixNano())
	}
	warm := &bench.Run{Options: o.Options, Client: &bench.Client{URL: url, Model: o.model, Key: o.apiKey}, Prompts: bench.Prompts{Seed: o.Seed}}
	knows, err := o.meet(ctx, warm)
	if err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	var samples []bench.Sample
	var failed error
	for _, s := range scenarios {
		switch missing := lacking(s, knows); {
		case missing == "":
		case len(o.scenarios) > 0:
			return usageError{fmt.Errorf("--scenario %s needs %s", s.Name, missing)}
		default:
			continue
		}
		of, err := o.repeat(ctx, s, *warm, std.err)
		samples = append(samples, of...)
		var refused *bench.StatusError
		switch {
		case errors.As(err, &refused) && ctx.Err() == nil: // the other loads may do
			failed = errors.Join(failed, err)
		case err != nil:
			return err
		}
	}
	fmt.Fprintf(std.out, "%s, model %s, rounds: %d, seed: %d; times in seconds, medians of the rounds\n\n%s",
		url, warm.Client.Model, o.rounds, o.Seed, bench.Table(samples, []string{""}))
	if o.json != "" {
		report := &bench.Report{
			Date: time.Now(), Command: "aim bench " + url, Machine: bench.ThisMachine(), Model: warm.Client.Model,
			Rounds: o.rounds, Options: o.Options, Sides: []bench.SideInfo{{Aim: knows}}, Samples: samples,
		}
		failed = errors.Join(failed, report.Save(o.json))
	}
	return failed
}

// meet finds out about a server: the model where none is named, what it can do, and whether it knows modulation.
func (o *benchOptions) meet(ctx context.Context, r *bench.Run) (knowsAim bool, err error) {
	if r.Client.Model == "" {
		if r.Client.Model, err = r.Client.FirstModel(ctx); err != nil {
			return false, err
		}
	}
	if err := r.Warm(ctx, false); err != nil {
		return false, err
	}
	return r.Client.KnowsAim(ctx)
}

// lacking is what a server at some URL does not have for a scenario, "" where nothing.
func lacking(s *bench.Scenario, knowsAim bool) string {
	switch {
	case s.Own:
		return "a server that it starts itself: see aim bench compare"
	case s.OnlyAim && !knowsAim:
		return "a server that knows modulation"
	}
	return ""
}

// repeat measures a scenario in all rounds, and returns what was measured before it failed, too.
func (o *benchOptions) repeat(ctx context.Context, s *bench.Scenario, r bench.Run, stderr io.Writer) (samples []bench.Sample, err error) {
	for round := range o.rounds {
		r.Round = round
		r.Record = func(name string, f bench.Figures) {
			samples = append(samples, bench.Sample{Scenario: s.Name, Case: name, Round: round, Figures: f, Others: -1})
			tellSample(stderr, samples[len(samples)-1], o.rounds)
		}
		if err := s.Measure(ctx, &r); err != nil {
			return samples, fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	return samples, nil
}

// tellSample says in one line what has just been measured.
func tellSample(w io.Writer, s bench.Sample, rounds int) {
	f := &s.Figures
	fmt.Fprintf(w, "round %d/%d  %-10s %-26s %-18s", s.Round+1, rounds, s.Scenario, s.Side, s.Case)
	if f.TokensPerSecond > 0 {
		fmt.Fprintf(w, "  %6.1f tokens/s", f.TokensPerSecond)
	}
	if f.FirstToken.P50 > 0 {
		fmt.Fprintf(w, "  first token %6.3f s", f.FirstToken.P50)
	}
	if f.InterToken.P95 > 0 {
		fmt.Fprintf(w, "  inter-token p95 %6.3f s", f.InterToken.P95)
	}
	if f.PeakBytes > 0 {
		fmt.Fprintf(w, "  peak %.0f MB", f.PeakBytes/1e6)
	}
	if f.Cut {
		fmt.Fprint(w, "  (cut)")
	}
	fmt.Fprintln(w)
}
