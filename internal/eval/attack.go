package eval

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"aim/llama"
	"aim/sampler"
)

// Attack measures how many queries a caller needs to see through utility noise: to tell the token that the unmodulated model
// thinks best, from answers of the modulated one.
//
// A target is the next token behind a prompt and the beginning of an answer, where the model's best token leads by a known gap.
// The caller asks for that token at temperature 0 and varies the prompt to get fresh noise. Each variant is decoded once, and its raw
// row judged under every σ, scope and a number of secrets; asking is then a draw from those outcomes. Noise over all
// tokens so far is independent from one prompt to another, so that a variant under another secret is as good as a further
// variant; in a window it is not, and there a caller meets one secret and as many queries as there are variants.
type Attack struct {
	Engine *llama.Engine
	// Model is the name that keys depend on.
	Model string
	// Secret is what the secrets of the draws are derived from.
	Secret []byte
	// Gaps are the leads to look for, Targets how many of each.
	Gaps    []float64
	Targets int
	// Sigmas are the strengths, Windows the scopes beside all tokens so far.
	Sigmas  []float64
	Windows []int
	// Nonces is the number of variants with a random string, at each place; Draws is the number of secrets.
	Nonces, Draws int

	once          sync.Once
	control, ends []sampler.Token
}

// windowDraws bounds the secrets in a window, where they only serve to average.
const windowDraws = 8

// draws is the number of secrets in a scope; 0 is all tokens so far.
func (a *Attack) draws(scope int) int {
	if scope > 0 {
		return min(a.Draws, windowDraws)
	}
	return a.Draws
}

// Mode is how a caller varies a prompt.
type Mode string

// The modes of an attack.
const (
	// Repeat asks the same again.
	Repeat Mode = "repeat"
	// Nonce puts a random string before the question.
	Nonce Mode = "nonce"
	// Tail puts it before the last word, where a short window sees it.
	Tail Mode = "nonce before the last word"
	// Reword puts the question in other words around it.
	Reword Mode = "reworded"
)

// Modes are all modes.
var Modes = []Mode{Repeat, Nonce, Tail, Reword}

// framings are the rewordings: what a caller can do to any question without knowing it.
var framings = []string{
	"Please answer this: %s", "%s Thank you.", "I have a question. %s", "%s Please answer.", "Tell me: %s", "Hello! %s",
	"Here is what I want to know. %s", "%s I am curious.", "My friend asks: %s", "%s Answer as well as you can.", "A question for you: %s",
	"Consider the following. %s", "%s That is all.", "I wonder. %s", "Now then: %s", "%s Take your time.",
}

// Target is a token to be told.
type Target struct {
	// Question and Begun are the prompt and the beginning of the answer.
	Question string `json:"question"`
	Begun    string `json:"begun"`
	// Gap is the best token's lead over the second, Wanted the one that was looked for.
	Gap    float64 `json:"gap"`
	Wanted float64 `json:"wanted"`
	// Best is the unmodulated best token, and Candidates the ones that a caller with log-probabilities compares, Best among them.
	Best       sampler.Token   `json:"best"`
	Candidates []sampler.Token `json:"candidates"`
}

// candidates is how many tokens a caller with log-probabilities compares. That the true one is among them is a present to the caller.
const candidates = 8

// begunMost bounds the beginning of an answer, in tokens.
const begunMost = 12

// gapTolerance is how far a target's gap may be from the one looked for.
const gapTolerance = 0.15

// prompt words a question with the beginning of its answer.
func (t *Target) prompt(question string) string {
	return "Question: " + question + "\nAnswer:" + t.Begun
}

// trail notes the best tokens and their leads along an answer.
type trail struct {
	gaps   []float64
	ranks  [][]sampler.Token
	tokens []sampler.Token
}

// Observe implements [sampler.Observer].
func (tr *trail) Observe(raw []float32) {
	top := make([]sampler.Token, len(raw))
	for i := range top {
		top[i] = sampler.Token(i)
	}
	slices.SortFunc(top, func(a, b sampler.Token) int {
		switch {
		case raw[a] > raw[b]:
			return -1
		case raw[a] < raw[b]:
			return 1
		}
		return int(a - b)
	})
	tr.gaps = append(tr.gaps, float64(raw[top[0]]-raw[top[1]]))
	tr.ranks = append(tr.ranks, slices.Clone(top[:candidates]))
}

// Accept implements [sampler.Observer].
func (tr *trail) Accept(t sampler.Token) { tr.tokens = append(tr.tokens, t) }

// FindTargets answers the questions greedily and returns up to a.Targets places of each gap, at most one of a gap and question.
// It keeps them in a file in dir and finds them there again: the low bits of a gap may differ from run to run, and outcomes
// are kept for the targets as they were.
func (a *Attack) FindTargets(ctx context.Context, questions []string, dir string) ([]Target, error) {
	wanted := struct {
		Model     string
		Gaps      []float64
		Targets   int
		Questions []string
	}{a.Model, a.Gaps, a.Targets, questions}
	var targets []Target
	l, err := openLog(filepath.Join(dir, "targets-"+settingsKey(wanted)+".jsonl"), wanted, func(line []byte) error {
		return json.Unmarshal(line, &targets)
	})
	if err != nil {
		return nil, err
	}
	defer l.f.Close()
	if targets != nil {
		return targets, nil
	}
	if targets, err = a.search(ctx, questions); err != nil {
		return nil, err
	}
	line, err := json.Marshal(targets)
	if err != nil {
		return nil, err
	}
	return targets, l.append(line)
}

// search answers the questions and picks the targets.
func (a *Attack) search(ctx context.Context, questions []string) ([]Target, error) {
	found := make([][]Target, len(questions))
	err := Each(ctx, len(questions), a.Engine.Config().Slots, func(ctx context.Context, i int) error {
		var err error
		found[i], err = a.along(ctx, questions[i])
		return err
	})
	if err != nil {
		return nil, err
	}
	var targets []Target
	for _, gap := range a.Gaps {
		n := 0
		for _, list := range found {
			at := slices.IndexFunc(list, func(t Target) bool { return max(t.Gap-gap, gap-t.Gap) <= gapTolerance })
			if at >= 0 && n < a.Targets {
				t := list[at]
				t.Wanted = gap
				targets = append(targets, t)
				n++
			}
		}
		if n == 0 {
			return nil, fmt.Errorf("no token with a lead of about %v was found", gap)
		}
	}
	return targets, nil
}

// along are the places along one answer whose text gives the same tokens again.
func (a *Attack) along(ctx context.Context, question string) ([]Target, error) {
	m := a.Engine.Model()
	start := Target{Question: question}
	prompt, err := m.Tokenize([]llama.Part{{Text: start.prompt(question)}}, true)
	if err != nil {
		return nil, err
	}
	tr := &trail{}
	r := llama.Request{Prompt: prompt, MaxTokens: begunMost, Params: sampler.Params{Observer: tr}}
	for _, err := range a.Engine.Generate(ctx, r) {
		if err != nil {
			return nil, err
		}
	}
	var targets []Target
	var text strings.Builder
	for i, gap := range tr.gaps {
		t := Target{Question: question, Begun: text.String(), Gap: gap, Best: tr.ranks[i][0], Candidates: tr.ranks[i]}
		again, err := m.Tokenize([]llama.Part{{Text: t.prompt(question)}}, true)
		if err != nil {
			return nil, err
		}
		if utf8.ValidString(t.Begun) && slices.Equal(again, slices.Concat(prompt, tr.tokens[:i])) {
			targets = append(targets, t)
		}
		text.Write(m.Piece(tr.tokens[i]))
	}
	return targets, nil
}

// variant is one prompt that a caller sends.
type variant struct {
	mode Mode
	text string
}

// variants are all prompts for a target; the first is the plain one, whose mode is [Repeat].
func (a *Attack) variants(t *Target) []variant {
	out := []variant{{Repeat, t.prompt(t.Question)}}
	rng := rand.New(rand.NewPCG(1, 3)) // the same strings in every run
	for range a.Nonces {
		out = append(out, variant{Nonce, t.prompt(nonce(rng) + " " + t.Question)})
	}
	for range a.Nonces {
		plain := t.prompt(t.Question)
		at := strings.LastIndexAny(strings.TrimRight(plain, " \n"), " \n")
		out = append(out, variant{Tail, plain[:at] + " " + nonce(rng) + plain[at:]})
	}
	for _, f := range framings {
		out = append(out, variant{Reword, t.prompt(fmt.Sprintf(f, t.Question))})
	}
	return out
}

// nonce is a random string of six letters and digits.
func nonce(rng *rand.Rand) string {
	const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
	b := make([]byte, 6)
	for i := range b {
		b[i] = alphabet[rng.IntN(len(alphabet))]
	}
	return "[" + string(b) + "]"
}

// Outcome is what a variant's row shows a caller.
type Outcome struct {
	Target  int `json:"target"`
	Variant int `json:"variant"`
	// Raw is the best token without noise.
	Raw sampler.Token `json:"raw"`
	// Text[scope][σ][draw] is the token that greedy decoding gives; scope 0 is all tokens so far, the others the windows.
	Text [][][]sampler.Token `json:"text"`
	// Logprobs[σ][draw][candidate] are log-probabilities in the scope of all tokens so far. A candidate outside the list of
	// 20 has the last one's.
	Logprobs [][][]float32 `json:"logprobs"`
}

// attackSettings are what outcomes depend on.
type attackSettings struct {
	Attack  string    `json:"attack"`
	Model   string    `json:"model"`
	Noise   string    `json:"noise"`
	Sigmas  []float64 `json:"sigmas"`
	Windows []int     `json:"windows"`
	Nonces  int       `json:"nonces"`
	Draws   int       `json:"draws"`
	Targets []Target  `json:"targets"`
}

// outcomeJob is a variant to decode.
type outcomeJob struct {
	target, number int
	text           string
}

// Outcomes decodes all variants of the targets, as far as the file in dir does not have them, and returns what they show:
// outcomes[target][variant].
func (a *Attack) Outcomes(ctx context.Context, targets []Target, dir string, progress func(done, total int)) ([][]*Outcome, error) {
	l, out, err := a.known(targets, dir)
	if err != nil {
		return nil, err
	}
	defer l.f.Close()
	var jobs []outcomeJob
	total := 0
	for i := range targets {
		for k, v := range a.variants(&targets[i]) {
			total++
			if out[i][k] == nil {
				jobs = append(jobs, outcomeJob{i, k, v.text})
			}
		}
	}
	var mu sync.Mutex
	done := total - len(jobs)
	report := func(more int) {
		mu.Lock()
		defer mu.Unlock()
		done += more
		if progress != nil {
			progress(done, total)
		}
	}
	report(0)
	return out, Each(ctx, len(jobs), a.Engine.Config().Slots, func(ctx context.Context, i int) error {
		j := jobs[i]
		o, err := a.decode(ctx, &targets[j.target], j.text)
		if err != nil {
			return fmt.Errorf("%q: %w", j.text, err)
		}
		o.Target, o.Variant = j.target, j.number
		out[j.target][j.number] = o // each its own place
		line, err := json.Marshal(o)
		if err != nil {
			return err
		}
		report(1)
		return l.append(line)
	})
}

// known reads the outcomes that the file in dir has, and leaves it open for more.
func (a *Attack) known(targets []Target, dir string) (*log, [][]*Outcome, error) {
	settings := attackSettings{"1", a.Model, Noise{Secret: a.Secret}.Fingerprint(), a.Sigmas, a.Windows, a.Nonces, a.Draws, targets}
	out := make([][]*Outcome, len(targets))
	for i := range targets {
		out[i] = make([]*Outcome, len(a.variants(&targets[i])))
	}
	l, err := openLog(filepath.Join(dir, "attack-"+settingsKey(settings)+".jsonl"), settings, func(line []byte) error {
		var o Outcome
		if err := json.Unmarshal(line, &o); err != nil {
			return err
		}
		if o.Target < 0 || o.Target >= len(out) || o.Variant < 0 || o.Variant >= len(out[o.Target]) {
			return fmt.Errorf("target %d, variant %d: there are no such", o.Target, o.Variant)
		}
		out[o.Target][o.Variant] = &o
		return nil
	})
	return l, out, err
}

// decode takes the row behind a prompt and looks at it through all noise.
func (a *Attack) decode(ctx context.Context, t *Target, text string) (*Outcome, error) {
	prompt, err := a.Engine.Model().Tokenize([]llama.Part{{Text: text}}, true)
	if err != nil {
		return nil, err
	}
	look := &gaze{attack: a, target: t, prompt: prompt}
	r := llama.Request{Prompt: prompt, MaxTokens: 1, Params: sampler.Params{Observer: look}}
	for _, err := range a.Engine.Generate(ctx, r) {
		if err != nil {
			return nil, err
		}
	}
	if look.err == nil && look.outcome == nil {
		look.err = fmt.Errorf("the model gave no row")
	}
	return look.outcome, look.err
}

// gaze looks at one raw row. It implements [sampler.Observer].
type gaze struct {
	attack  *Attack
	target  *Target
	prompt  []sampler.Token
	outcome *Outcome
	err     error
}

// Accept implements [sampler.Observer].
func (*gaze) Accept(sampler.Token) {}

// Observe implements [sampler.Observer].
func (g *gaze) Observe(raw []float32) { g.outcome, g.err = g.attack.look(g.target, g.prompt, raw) }

// look judges a row under every σ, scope and secret.
func (a *Attack) look(t *Target, prompt []sampler.Token, raw []float32) (*Outcome, error) {
	a.once.Do(func() { a.control, a.ends = llama.ControlTokens(a.Engine.Model()) })
	o := &Outcome{Raw: sampler.Token(slices.Index(raw, slices.Max(raw)))}
	scratch := make([]float32, len(raw))
	for scope, window := range append([]int{0}, a.Windows...) {
		sc := sampler.Scope{Window: window}
		var bySigma [][]sampler.Token
		for _, sigma := range a.Sigmas {
			var tokens []sampler.Token
			var logprobs [][]float32
			for draw := range a.draws(scope) {
				p := sampler.Params{Utility: sampler.Utility{Sigma: sigma, Key: a.key(sc, draw, sigma), Scope: sc, Pinned: a.control, End: a.ends}}
				if scope == 0 {
					p.Logprobs, p.TopLogprobs = true, 20
				}
				s, err := sampler.New(p, len(raw))
				if err != nil {
					return nil, err
				}
				s.Prime(prompt)
				copy(scratch, raw)
				c, err := s.Sample(scratch)
				if err != nil {
					return nil, err
				}
				tokens = append(tokens, c.Token)
				if scope == 0 {
					logprobs = append(logprobs, listed(c.Top, t.Candidates))
				}
			}
			bySigma = append(bySigma, tokens)
			if scope == 0 {
				o.Logprobs = append(o.Logprobs, logprobs)
			}
		}
		o.Text = append(o.Text, bySigma)
	}
	return o, nil
}

// key is that of a secret's noise.
func (a *Attack) key(sc sampler.Scope, draw int, sigma float64) sampler.Key {
	return sc.Key(Noise{Secret: a.Secret}.secret(draw), a.Model, sigma)
}

// listed are the log-probabilities of the candidates in a list; of one that is not in it, the last one's, in thousandths.
func listed(top []sampler.Candidate, wanted []sampler.Token) []float32 {
	out := make([]float32, len(wanted))
	for i, t := range wanted {
		at := slices.IndexFunc(top, func(c sampler.Candidate) bool { return c.Token == t })
		if at < 0 {
			at = len(top) - 1
		}
		out[i] = float32(int(top[at].Logprob*1000)) / 1000
	}
	return out
}
