package cpp

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"

	"aim/internal/testmodel"
	"aim/llama"
	"aim/sampler"
)

// feature is one thing that a request can ask for. Each is paired with every other on the real model.
type feature struct {
	name string
	// wire is what it is in a request over HTTP.
	wire string
	// fields are those of llama.Request and below that it sets, and stages the numbers in the package comment of sampler where it
	// acts; none for what acts outside the pipeline.
	fields []string
	stages []int
	// excludes are the features that cannot be asked for at the same time, because they set the same field.
	excludes []string
	// apply sets it in a request.
	apply func(c *composition, r *llama.Request)
	// holds checks what the answer to any request with it must show, whatever else was asked for. It may be nil.
	holds func(c *composition, r *llama.Request, a *composed) error
}

// What the features ask for. The words differ, so that no two features contradict each other about a token.
const (
	composeSigma = 1.0
	composeTopK  = 5
	composeTopP  = 0.5
	composeMinP  = 0.2
	composeTops  = 5
	composeXTC   = 0.1
	bannedWord   = " the"
	stopString   = "s"
)

var features = []feature{
	{
		name: "utility", wire: "aim.utility.sigma", stages: []int{1}, fields: []string{"Params.Utility.Sigma", "Params.Utility.Key"},
		apply: func(_ *composition, r *llama.Request) {
			r.Params.Utility.Sigma = composeSigma
			r.Params.Utility.Key = sampler.UtilityKey([]byte("a secret of this test"), "smollm2", composeSigma)
		},
		holds: func(_ *composition, r *llama.Request, a *composed) error { return flipsAreSeen(r, a) },
	},
	{
		name: "utility in a window", wire: "the owner's", stages: []int{1}, fields: []string{"Params.Utility.Scope.Window"},
		// With noise that two prompts may share, nothing but text is told about rows: sampler refuses the last two.
		excludes: []string{"utility", "logprobs", "report"},
		apply: func(_ *composition, r *llama.Request) {
			u := &r.Params.Utility
			u.Sigma, u.Scope.Window = composeSigma, 4
			u.Key = u.Scope.Key([]byte("a secret of this test"), "smollm2", composeSigma)
		},
		holds: func(_ *composition, r *llama.Request, a *composed) error { return flipsAreSeen(r, a) },
	},
	{
		name: "pinned control tokens", wire: "always", stages: []int{1}, fields: []string{"Params.Utility.Pinned"},
		apply: func(c *composition, r *llama.Request) { r.Params.Utility.Pinned = c.controls },
		holds: func(c *composition, r *llama.Request, a *composed) error {
			for i, t := range a.chosen[min(len(r.Forced), len(a.chosen)):] {
				if slices.Contains(c.controls, t) {
					return fmt.Errorf("token %d is the control token %d", i, t)
				}
			}
			return nil
		},
	},
	{
		name: "ends without noise", wire: "the owner's", stages: []int{1}, fields: []string{"Params.Utility.End", "Params.Utility.EndNoise"},
		apply: func(c *composition, r *llama.Request) {
			r.Params.Utility.End, r.Params.Utility.EndNoise = c.ends, sampler.EndExempt
		},
	},
	{
		name: "logit_bias", wire: "logit_bias", stages: []int{2}, fields: []string{"Params.Bias"},
		apply: func(c *composition, r *llama.Request) { r.Params.Bias = map[sampler.Token]float64{c.banned: -100} },
		holds: func(c *composition, r *llama.Request, a *composed) error {
			if slices.Contains(a.chosen[min(len(r.Forced), len(a.chosen)):], c.banned) {
				return fmt.Errorf("%q has a bias of -100 and was chosen", bannedWord)
			}
			return nil
		},
	},
	{
		name: "frequency penalty", wire: "frequency_penalty", stages: []int{3}, fields: []string{"Params.FrequencyPenalty"},
		apply: func(_ *composition, r *llama.Request) { r.Params.FrequencyPenalty = 1.5 },
	},
	{
		name: "presence penalty", wire: "presence_penalty", stages: []int{3}, fields: []string{"Params.PresencePenalty"},
		apply: func(_ *composition, r *llama.Request) { r.Params.PresencePenalty = 1.5 },
	},
	{
		name: "repeat penalty", wire: "repeat_penalty, repeat_last_n", stages: []int{3}, fields: []string{"Params.RepeatPenalty", "Params.RepeatLastN"},
		apply: func(_ *composition, r *llama.Request) { r.Params.RepeatPenalty, r.Params.RepeatLastN = 1.3, 8 },
	},
	{
		name: "dry", wire: "dry_multiplier, dry_base, …", stages: []int{3},
		fields: []string{"Params.DRY.Multiplier", "Params.DRY.Base", "Params.DRY.AllowedLength", "Params.DRY.LastN", "Params.DRY.Breakers"},
		apply: func(c *composition, r *llama.Request) {
			r.Params.DRY = sampler.DRY{Multiplier: 2, Base: 1.5, AllowedLength: 1, LastN: -1, Breakers: [][]sampler.Token{{c.banned}, c.forced}}
		},
	},
	{
		name: "focus, paper form", wire: "aim.focus[].sigma", stages: []int{4},
		fields: []string{"Params.Focus[].Targets", "Params.Focus[].Sigma", "Params.FocusKey"},
		apply: func(c *composition, r *llama.Request) {
			c.focus(r, sampler.Focus{Targets: c.surfaces["river"], Sigma: 6})
		},
	},
	{
		name: "focus, paper form, lowering", wire: "aim.focus[].direction", stages: []int{4}, fields: []string{"Params.Focus[].Direction"},
		apply: func(c *composition, r *llama.Request) {
			c.focus(r, sampler.Focus{Targets: c.surfaces["people"], Sigma: 20, Direction: sampler.Lower})
		},
	},
	{
		name: "focus on all", wire: "aim.focus[].all", stages: []int{4}, fields: []string{"Params.Focus[].All"},
		apply: func(c *composition, r *llama.Request) { c.focus(r, sampler.Focus{All: true, Sigma: 0.5}) },
	},
	{
		name: "focus by strength", wire: "aim.focus[].strength", stages: []int{4},
		fields: []string{"Params.Focus[].Words", "Params.Focus[].Strength", "Params.FocusKey"},
		apply: func(c *composition, r *llama.Request) {
			c.focus(r, sampler.Focus{Words: c.words["music"], Strength: 0.8})
		},
	},
	{
		name: "focus by strength, away", wire: "aim.focus[].strength < 0", stages: []int{4}, fields: []string{"Params.Focus[].Strength"},
		apply: func(c *composition, r *llama.Request) { c.focus(r, sampler.Focus{Words: c.words["was"], Strength: -1}) },
		holds: func(_ *composition, _ *llama.Request, a *composed) error {
			if banned.MatchString(a.text) {
				return fmt.Errorf("%q holds the word that strength -1 keeps out", a.text)
			}
			return nil
		},
	},
	{
		name: "span focus", wire: "aim.focus[].span", stages: []int{4},
		fields: []string{"Params.Spans[].Without", "Params.Spans[].Strength", "Params.Spans[].Pieces"},
		apply:  func(c *composition, r *llama.Request) { c.span(r, "Think of water and boats.", 0.8) },
	},
	{
		name: "span focus, away", wire: "aim.focus[].strength < 0", stages: []int{4}, fields: []string{"Params.Spans[].Strength"},
		apply: func(c *composition, r *llama.Request) { c.span(r, "Answer in rhymes.", -1) },
	},
	{
		name: "mask", wire: "grammar", stages: []int{5}, fields: []string{"Params.Mask"},
		apply: func(c *composition, r *llama.Request) { r.Params.Mask = &lowerCase{c.allowed} },
		holds: func(c *composition, r *llama.Request, a *composed) error {
			for i, t := range a.chosen[min(len(r.Forced), len(a.chosen)):] {
				if !c.allowed[t] {
					return fmt.Errorf("token %d is %q, which the mask forbids", i, c.model.Piece(t))
				}
			}
			return nil
		},
	},
	{
		name: "min_tokens", wire: "min_tokens", stages: []int{5}, fields: []string{"Params.MinTokens", "Params.Utility.End"},
		apply: func(c *composition, r *llama.Request) {
			r.Params.MinTokens, r.Params.Utility.End = composeTokens-1, c.ends
		},
		holds: func(c *composition, r *llama.Request, a *composed) error { return goesOn(c, r, a, composeTokens-1) },
	},
	{
		name: "ignore_eos", wire: "ignore_eos", stages: []int{5}, fields: []string{"Params.IgnoreEnd", "Params.Utility.End"},
		apply: func(c *composition, r *llama.Request) { r.Params.IgnoreEnd, r.Params.Utility.End = true, c.ends },
		holds: func(c *composition, r *llama.Request, a *composed) error { return goesOn(c, r, a, composeTokens) },
	},
	{
		name: "temperature 0", wire: "temperature", stages: []int{6}, excludes: []string{"temperature 1"},
		apply: func(_ *composition, r *llama.Request) { r.Params.Temperature = 0 },
		holds: func(_ *composition, r *llama.Request, a *composed) error {
			for i, s := range a.sampled {
				if i >= len(r.Forced) && len(s.Top) > 0 && s.Top[0].Token != s.Token {
					return fmt.Errorf("token %d is not the most probable one", i)
				}
			}
			return nil
		},
	},
	{
		name: "temperature 1", wire: "temperature", stages: []int{7, 15}, fields: []string{"Params.Temperature"}, excludes: []string{"temperature 0"},
		apply: func(_ *composition, r *llama.Request) { r.Params.Temperature = 1 },
	},
	{
		name: "dynamic temperature", wire: "dynatemp_range, dynatemp_exponent", stages: []int{7},
		fields: []string{"Params.DynatempRange", "Params.DynatempExponent"},
		apply:  func(_ *composition, r *llama.Request) { r.Params.DynatempRange, r.Params.DynatempExponent = 0.5, 1.5 },
	},
	{
		name: "top-n-sigma", wire: "top_n_sigma", stages: []int{8}, fields: []string{"Params.TopNSigma"},
		apply: func(_ *composition, r *llama.Request) { r.Params.TopNSigma = 1 },
	},
	{
		name: "top-k", wire: "top_k", stages: []int{9}, fields: []string{"Params.TopK"},
		apply: func(_ *composition, r *llama.Request) { r.Params.TopK = composeTopK },
		holds: ranked(func(s llama.Sampled, rank int, _ float64) bool { return rank < composeTopK }),
	},
	{
		name: "typical", wire: "typical_p", stages: []int{10}, fields: []string{"Params.TypicalP"},
		apply: func(_ *composition, r *llama.Request) { r.Params.TypicalP = 0.4 },
	},
	{
		name: "top-p", wire: "top_p", stages: []int{11}, fields: []string{"Params.TopP"},
		apply: func(_ *composition, r *llama.Request) { r.Params.TopP = composeTopP },
		holds: ranked(func(_ llama.Sampled, _ int, before float64) bool { return before < composeTopP+1e-9 }),
	},
	{
		name: "min-p", wire: "min_p", stages: []int{12}, fields: []string{"Params.MinP"},
		apply: func(_ *composition, r *llama.Request) { r.Params.MinP = composeMinP },
		holds: ranked(func(s llama.Sampled, _ int, _ float64) bool {
			return s.Logprob >= s.Top[0].Logprob+math.Log(composeMinP)-1e-9
		}),
	},
	{
		name: "xtc", wire: "xtc_probability, xtc_threshold", stages: []int{13}, fields: []string{"Params.XTCProbability", "Params.XTCThreshold"},
		apply: func(_ *composition, r *llama.Request) { r.Params.XTCProbability, r.Params.XTCThreshold = 1, composeXTC },
		holds: func(_ *composition, r *llama.Request, a *composed) error { return withoutTop(r, a) },
	},
	{
		name: "mirostat 2", wire: "mirostat, mirostat_tau, mirostat_eta", stages: []int{14},
		fields: []string{"Params.Mirostat", "Params.MirostatTau", "Params.MirostatEta"},
		apply: func(_ *composition, r *llama.Request) {
			r.Params.Mirostat, r.Params.MirostatTau, r.Params.MirostatEta = 2, 3, 0.1
		},
	},
	{
		name: "seed, n > 1", wire: "seed, n", stages: []int{15}, fields: []string{"Params.Seed"},
		apply: func(_ *composition, r *llama.Request) { r.Params.Seed = 7 },
	},
	{
		name: "logprobs", wire: "logprobs, top_logprobs", stages: []int{16}, fields: []string{"Params.Logprobs", "Params.TopLogprobs"},
		apply: func(_ *composition, r *llama.Request) { r.Params.Logprobs, r.Params.TopLogprobs = true, composeTops },
		holds: func(_ *composition, r *llama.Request, a *composed) error { return probabilities(r, a) },
	},
	{
		name: "stop strings", wire: "stop", fields: []string{"Stop"},
		apply: func(_ *composition, r *llama.Request) { r.Stop = []string{"never said", stopString} },
		holds: func(_ *composition, _ *llama.Request, a *composed) error {
			if strings.Contains(a.text, stopString) {
				return fmt.Errorf("%q holds the stop string", a.text)
			}
			return nil
		},
	},
	{
		name: "forced tokens", wire: "evaluation only", fields: []string{"Forced"},
		apply: func(c *composition, r *llama.Request) { r.Forced = c.forced },
		holds: func(c *composition, _ *llama.Request, a *composed) error {
			if n := min(len(a.chosen), len(c.forced)); !slices.Equal(a.chosen[:n], c.forced[:n]) {
				return fmt.Errorf("tokens %v do not begin with %v", a.chosen, c.forced)
			}
			return nil
		},
	},
	{
		name: "scores of the prompt", wire: "echo with logprobs", fields: []string{"ScorePrompt"},
		// A span is a part of the prompt, and a window refuses log-probabilities.
		excludes: []string{"utility in a window", "span focus", "span focus, away"},
		apply: func(_ *composition, r *llama.Request) {
			r.ScorePrompt, r.Params.Logprobs, r.Params.TopLogprobs = true, true, composeTops
		},
		holds: func(_ *composition, r *llama.Request, a *composed) error {
			if len(a.prompt) != len(r.Prompt) {
				return fmt.Errorf("%d scores of %d tokens", len(a.prompt), len(r.Prompt))
			}
			for i, s := range a.prompt {
				if s.Token != r.Prompt[i] || i > 0 && (len(s.Top) != composeTops || !(s.Logprob <= 0)) {
					return fmt.Errorf("token %d of the prompt is scored as %+v", i, s)
				}
			}
			return nil
		},
	},
	{
		name: "control tokens shown", wire: "tools", fields: []string{"ShowControl"},
		apply: func(_ *composition, r *llama.Request) { r.ShowControl = true },
	},
	{
		name: "no prefix cache", wire: "cache_prompt", fields: []string{"NoCache"},
		apply: func(_ *composition, r *llama.Request) { r.NoCache = true },
		holds: func(_ *composition, _ *llama.Request, a *composed) error {
			if a.usage.CachedTokens > 0 {
				return fmt.Errorf("%d tokens of the prompt were taken over", a.usage.CachedTokens)
			}
			return nil
		},
	},
	{
		name: "adapters", wire: "model", fields: []string{"Adapters"},
		apply: func(_ *composition, r *llama.Request) { r.Adapters = 1 },
	},
	{
		name: "report", wire: "aim.report", fields: []string{"Params.Report"},
		apply: func(_ *composition, r *llama.Request) { r.Params.Report = true },
		holds: func(_ *composition, _ *llama.Request, a *composed) error { return reported(a) },
	},
}

// unclaimed are the fields of a request that no feature has, and why.
var unclaimed = map[string]string{
	"Prompt":          "every case has its own",
	"MaxTokens":       "every case has it, and its length is checked",
	"Name":            "every case has it, and the counters are checked",
	"CacheDomain":     "it decides what is computed, not what comes of it; llama.TestCacheNextTurn",
	"Predicted":       "it decides what is computed, not what comes of it; llama.TestGuessesChangeNothing",
	"Group":           "it decides when, not what; llama.TestTurns",
	"Weight":          "it decides when, not what; llama.TestTurnsByShare",
	"Patience":        "it decides whether, not what; llama.TestTimesUp",
	"Deadline":        "it decides whether, not what; llama.TestTimesUp",
	"NoAnswer":        "there is no answer to compose with; llama.TestNoAnswer",
	"Params.Observer": "every case is observed",
}

// focus adds an entry. Its noise has the key that a server would give it.
func (c *composition) focus(r *llama.Request, f sampler.Focus) {
	r.Params.Focus = append(r.Params.Focus, f)
	r.Params.FocusKey = sampler.FocusKey(3)
}

// span puts a text before the prompt and focuses on it.
func (c *composition) span(r *llama.Request, text string, strength float64) {
	tokens, err := c.model.Tokenize([]llama.Part{{Text: text}}, false)
	if err != nil {
		panic(err) // the texts are the test's own
	}
	for i := range r.Params.Spans {
		s := &r.Params.Spans[i]
		s.Without = slices.Concat(tokens, s.Without)
	}
	s, err := llama.NewSpan(c.model, text, slices.Concat(c.start, r.Prompt), strength)
	if err != nil {
		panic(err)
	}
	r.Params.Spans = append(r.Params.Spans, s)
	r.Params.FocusKey = sampler.FocusKey(3)
	r.Prompt = slices.Concat(tokens, r.Prompt)
}

// banned is the word that a strength of -1 keeps out.
var banned = regexp.MustCompile(`(?i)\bwas\b`)

// lowerCase is a mask that allows a set of tokens.
type lowerCase struct{ allowed []bool }

// Apply implements [sampler.Mask].
func (m *lowerCase) Apply(logits []float32) {
	for t, ok := range m.allowed {
		if !ok {
			logits[t] = float32(math.Inf(-1))
		}
	}
}

// Allows implements [sampler.Mask].
func (m *lowerCase) Allows(t sampler.Token) bool { return m.allowed[t] }

// Accept implements [sampler.Mask].
func (m *lowerCase) Accept(sampler.Token) {}

// flipsAreSeen checks that an answer which nothing but utility modulates has other tokens than the model's best exactly where
// flips are counted.
func flipsAreSeen(r *llama.Request, a *composed) error {
	p := r.Params
	if p.Temperature > 0 || p.Mask != nil || len(p.Bias)+len(p.Focus)+len(p.Spans)+len(r.Forced) > 0 || p.FrequencyPenalty+p.PresencePenalty+p.RepeatPenalty+p.DRY.Multiplier > 0 ||
		p.MinTokens > 0 || p.IgnoreEnd {
		return nil
	}
	flips := uint64(0)
	for _, s := range a.steps {
		if s.chosen != s.best {
			flips++
		}
	}
	if flips != a.counts.Flips {
		return fmt.Errorf("%d tokens are not the model's best, %d flips are counted", flips, a.counts.Flips)
	}
	return nil
}

// goesOn checks that no token of the first n ends the answer.
func goesOn(c *composition, r *llama.Request, a *composed, n int) error {
	for i, t := range a.chosen[:min(n, len(a.chosen))] {
		if i >= len(r.Forced) && slices.Contains(c.ends, t) {
			return fmt.Errorf("token %d ends the answer", i)
		}
	}
	return nil
}

// withoutTop checks, where the log-probabilities show it and nothing else truncates, that of two tokens above the threshold the
// first one is not chosen.
func withoutTop(r *llama.Request, a *composed) error {
	p := r.Params
	if p.Temperature != 1 || p.DynatempRange+p.TopNSigma+p.TypicalP+p.TopP+p.MinP > 0 || p.Mirostat != 0 {
		return nil
	}
	for i, s := range a.sampled {
		if i >= len(r.Forced) && len(s.Top) > 1 && math.Exp(s.Top[1].Logprob) >= composeXTC && s.Token == s.Top[0].Token {
			return fmt.Errorf("token %d is the most probable one, with %g the second one is above the threshold", i, math.Exp(s.Top[1].Logprob))
		}
	}
	return nil
}

// ranked checks what is left of a truncated distribution, where the answer shows it: log-probabilities describe the row before
// truncation, at temperature 1. inside gets the token, its place among the listed ones (their number where it is none of
// them) and the probability of those before it.
func ranked(inside func(s llama.Sampled, rank int, before float64) bool) func(*composition, *llama.Request, *composed) error {
	return func(_ *composition, r *llama.Request, a *composed) error {
		// Mirostat takes the place of truncation; a dynamic temperature and typical change what a later one measures itself by.
		if p := r.Params; p.Temperature == 0 || p.Mirostat != 0 || p.DynatempRange > 0 || p.TypicalP > 0 {
			return nil
		}
		for i, s := range a.sampled {
			if i < len(r.Forced) || len(s.Top) == 0 {
				continue
			}
			rank, before := 0, 0.0
			for rank < len(s.Top) && s.Top[rank].Token != s.Token {
				before += math.Exp(s.Top[rank].Logprob)
				rank++
			}
			if !inside(s, rank, before) {
				return fmt.Errorf("token %d is outside the truncated distribution: rank %d, %g before it, log-probability %g", i, rank, before, s.Logprob)
			}
		}
		return nil
	}
}

// probabilities checks that the log-probabilities of an answer are some.
func probabilities(r *llama.Request, a *composed) error {
	for i, s := range a.sampled {
		sum := 0.0
		for j, top := range s.Top {
			if j > 0 && !(top.Logprob <= s.Top[j-1].Logprob) {
				return fmt.Errorf("token %d: the most probable ones are out of order", i)
			}
			if top.Token == s.Token && top.Logprob != s.Logprob {
				return fmt.Errorf("token %d has the log-probabilities %g and %g", i, s.Logprob, top.Logprob)
			}
			sum += math.Exp(top.Logprob)
		}
		// A token that a mask forbids has none: only a forced one can be such.
		if impossible := math.IsInf(s.Logprob, -1); impossible && i >= len(r.Forced) {
			return fmt.Errorf("token %d is impossible", i)
		}
		if len(s.Top) != composeTops || !(s.Logprob <= 0) || !(sum <= 1+1e-9) || !(sum > 0) {
			return fmt.Errorf("token %d: log-probability %g, %d others that sum to %g", i, s.Logprob, len(s.Top), sum)
		}
	}
	return nil
}

// reported checks an answer's report against what an observer saw.
func reported(a *composed) error {
	r := a.report
	if r == nil || int(r.Steps) != len(a.steps) || len(r.Tokens) != len(a.steps) {
		return fmt.Errorf("report %+v of %d steps", r, len(a.steps))
	}
	if r.Flips != a.counts.Flips || r.Hits != a.counts.Hits || r.Forced != a.counts.Forced {
		return fmt.Errorf("report %+v, counts %+v", r.Report, a.counts)
	}
	for i, s := range r.Tokens {
		saw := a.steps[i]
		if s.Token != saw.chosen || s.Best != saw.best || s.Retention != saw.retention {
			return fmt.Errorf("step %d is reported as %+v, seen was %+v", i, s, saw)
		}
		if !(s.KL >= 0) || math.IsInf(s.KL, 0) || !(s.Excluded >= 0 && s.Excluded <= 1) {
			return fmt.Errorf("step %d: %+v", i, s)
		}
	}
	return nil
}

// composed is the answer to a case.
type composed struct {
	text    string
	prompt  []llama.Sampled
	sampled []llama.Sampled
	finish  llama.Finish
	usage   llama.Usage
	counts  sampler.Counts
	report  *llama.Report
	err     error

	// steps are what an observer saw, chosen the tokens of that.
	steps  []seenStep
	chosen []sampler.Token
}

type seenStep struct {
	best, chosen sampler.Token
	retention    float64 // 1 without utility
}

// witness observes a case.
type witness struct {
	sigma float64
	gaps  []float64
	now   seenStep
	steps []seenStep
}

// Observe implements [sampler.Observer].
func (w *witness) Observe(raw []float32) {
	w.now = seenStep{best: argmax(raw), retention: 1}
	if w.sigma > 0 {
		w.gaps, _ = sampler.Gaps(raw, w.gaps[:0]) // the sampler refuses the same rows
		w.now.retention = sampler.Retention(w.gaps, w.sigma)
	}
}

// Accept implements [sampler.Observer].
func (w *witness) Accept(t sampler.Token) {
	w.now.chosen = t
	w.steps = append(w.steps, w.now)
}

// composition is what the features need of the model.
type composition struct {
	model    *Model
	controls []sampler.Token // but for the ends
	ends     []sampler.Token
	banned   sampler.Token
	forced   []sampler.Token
	start    []sampler.Token // what the model wants before a prompt
	allowed  []bool          // by the mask
	surfaces map[string][][]sampler.Token
	words    map[string]sampler.Words
}

func newComposition(t *testing.T, m *Model) *composition {
	t.Helper()
	vector := testmodel.NewGGUF("controlvector", 1)
	vector.Add("direction.10", 0, 0.3, m.Width())
	if err := m.LoadAdapters([]Adapters{{}, {ControlVectors: []AdapterFile{{vector.Write(t), 1}}}}); err != nil {
		t.Fatal(err)
	}
	c := &composition{model: m, allowed: make([]bool, m.Vocab()), surfaces: map[string][][]sampler.Token{}, words: map[string]sampler.Words{}}
	for tok := range sampler.Token(m.Vocab()) {
		switch m.Kind(tok) {
		case llama.Control:
			c.controls = append(c.controls, tok)
		case llama.End:
			c.ends = append(c.ends, tok)
		default:
			piece := strings.TrimLeft(string(m.Piece(tok)), " ")
			c.allowed[tok] = piece != "" && strings.Trim(piece, "abcdefghijklmnopqrstuvwxyz") == ""
		}
	}
	tokenize := func(text string) []sampler.Token {
		tokens, err := m.Tokenize([]llama.Part{{Text: text}}, false)
		if err != nil {
			t.Fatal(err)
		}
		return tokens
	}
	var err error
	if c.start, err = m.Tokenize(nil, true); err != nil {
		t.Fatal(err)
	}
	c.banned, c.forced = tokenize(bannedWord)[0], tokenize(" and one")
	for _, word := range []string{"river", "people"} {
		surfaces, err := llama.Surfaces(m, word)
		if err != nil {
			t.Fatal(err)
		}
		c.surfaces[word] = surfaces
	}
	lexicon := llama.NewLexicon(m)
	for _, word := range []string{"music", "was"} {
		if c.words[word], err = lexicon.Words([]string{word}); err != nil {
			t.Fatal(err)
		}
	}
	return c
}
