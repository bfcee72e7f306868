package eval

import (
	"context"
	"fmt"
	"math"
	"sync"
	"unicode/utf8"

	"aim/llama"
	"aim/sampler"
)

// Values are an item's scores: metric → one value for each arm that was asked for.
type Values map[string][]float64

// Scorer gives the values of items.
type Scorer interface {
	// Whole tells that one call scores all arms as cheaply as one; else they are asked for one by one.
	Whole() bool
	// Score returns the values of an item under each of the arms, averaged over the noise fields. It may be called from
	// several goroutines.
	Score(ctx context.Context, it *Item, arms []Arm) (Values, error)
}

// Forced scores completions and choices by teacher forcing: the model reads prompt and continuation once, and each raw row of
// logits is judged under all arms.
//
// Under noise a completion is right where greedy decoding would produce it: at every step the largest modulated logit is
// the continuation's. That is exact, since noise depends on the tokens so far only. Under a temperature T it is right with the
// probability Π p_T(token), which is what sampling would give on average.
//
// A choice is right where its log-likelihood under the modulated distribution is the largest. Under a temperature T a choice c
// is drawn with probability ∝ exp(ll_c/T), ll its log-likelihood under the model: at T = 0 the largest, as with σ = 0. acc is the
// probability of the right one; acc_norm has no such counterpart.
type Forced struct {
	Engine *llama.Engine
	Noise  Noise
	// Params are what applies besides utility: the zero value is plain greedy decoding.
	Params sampler.Params

	once sync.Once
	// control and ends are the model's control tokens, which noise spares as it does in the engine.
	control, ends []sampler.Token
}

// Whole implements [Scorer].
func (f *Forced) Whole() bool { return true }

// Score implements [Scorer].
func (f *Forced) Score(ctx context.Context, it *Item, arms []Arm) (Values, error) {
	if len(it.Choices) == 0 {
		return nil, fmt.Errorf("an item without choices cannot be scored by likelihood")
	}
	scores := make([]*rowScores, len(it.Choices))
	for i, c := range it.Choices {
		var err error
		if scores[i], err = f.force(ctx, it, c, arms); err != nil {
			return nil, err
		}
	}
	if len(scores) == 1 {
		return scores[0].completion(), nil
	}
	return choose(it, scores, arms), nil
}

// force runs prompt and continuation through the engine and scores the rows.
func (f *Forced) force(ctx context.Context, it *Item, continuation string, arms []Arm) (*rowScores, error) {
	before, tokens, err := Split(f.Engine.Model(), it.Prompt, continuation, f.Engine.Config().Context)
	if err != nil {
		return nil, err
	}
	s, err := newRowScores(f, arms, before, tokens)
	if err != nil {
		return nil, err
	}
	s.choices = len(it.Choices) > 1
	r := llama.Request{Prompt: before, Forced: tokens, MaxTokens: len(tokens), Params: sampler.Params{Observer: s}}
	for _, err := range f.Engine.Generate(ctx, r) {
		if err != nil {
			return nil, err
		}
	}
	if s.err == nil && s.step < len(tokens) {
		s.err = fmt.Errorf("only %d of %d tokens of %q were scored", s.step, len(tokens), continuation)
	}
	return s, s.err
}

// Split tokenizes a prompt together with its continuation and cuts where the prompt alone would end, as
// lm-evaluation-harness does. A prompt that does not fit into context tokens loses its beginning.
func Split(m llama.Model, prompt, continuation string, context int) (before, after []sampler.Token, err error) {
	whole, err := m.Tokenize([]llama.Part{{Text: prompt + continuation}}, true)
	if err != nil {
		return nil, nil, err
	}
	alone, err := m.Tokenize([]llama.Part{{Text: prompt}}, true)
	if err != nil {
		return nil, nil, err
	}
	if len(alone) == 0 || len(alone) >= len(whole) {
		return nil, nil, fmt.Errorf("prompt %q and continuation %q cannot be told apart in tokens", prompt, continuation)
	}
	before, after = whole[:len(alone)], whole[len(alone):]
	if over := len(whole) - context; over > 0 {
		if over >= len(before) {
			return nil, nil, fmt.Errorf("a continuation of %d tokens leaves no room for a prompt in a context of %d", len(after), context)
		}
		before = before[over:]
	}
	return before, after, nil
}

// rowScores judges each raw row under all arms. It implements [sampler.Observer].
type rowScores struct {
	tokens []sampler.Token
	arms   []Arm
	// samplers are those of the noisy arms, field by field; the others are nil.
	samplers [][]*sampler.Sampler
	scratch  []float32

	step int
	err  error
	// choices tells that temperatures draw choices and not tokens; plain is then the log-likelihood under the model.
	choices bool
	plain   float64
	// ll[field][arm] is the log-likelihood so far, best[field][arm] whether every token was the largest.
	ll   [][]float64
	best [][]bool
}

func newRowScores(f *Forced, arms []Arm, prompt, tokens []sampler.Token) (*rowScores, error) {
	vocab := f.Engine.Model().Vocab()
	f.once.Do(func() { f.control, f.ends = llama.ControlTokens(f.Engine.Model()) })
	s := &rowScores{tokens: tokens, arms: arms, scratch: make([]float32, vocab)}
	for field := range max(f.Noise.Fields, 1) {
		row := make([]*sampler.Sampler, len(arms))
		for i, a := range arms {
			if !a.Noisy() || (field > 0 && a.Sigma == 0) {
				continue
			}
			p := f.Params
			p.Utility.Sigma, p.Utility.Key = a.Sigma, f.Noise.Key(field, a.Sigma)
			p.Utility.Pinned, p.Utility.End = f.control, f.ends
			p.Logprobs, p.TopLogprobs = true, 1
			var err error
			if row[i], err = sampler.New(p, vocab); err != nil {
				return nil, err
			}
			row[i].Prime(prompt)
		}
		s.samplers = append(s.samplers, row)
		s.ll = append(s.ll, make([]float64, len(arms)))
		s.best = append(s.best, make([]bool, len(arms)))
		for i := range arms {
			s.best[field][i] = true
		}
	}
	return s, nil
}

// Observe implements [sampler.Observer].
func (s *rowScores) Observe(raw []float32) {
	if s.err != nil || s.step >= len(s.tokens) {
		return
	}
	t := s.tokens[s.step]
	if s.choices {
		s.plain += logSoftmax(raw, t, 1)
	}
	for field, row := range s.samplers {
		for i, a := range s.arms {
			if row[i] == nil {
				if field == 0 && !s.choices {
					s.ll[0][i] += logSoftmax(raw, t, a.Temperature)
				}
				continue
			}
			copy(s.scratch, raw)
			c, err := row[i].Score(s.scratch, t)
			if err != nil {
				s.err = err
				return
			}
			s.ll[field][i] += c.Logprob
			s.best[field][i] = s.best[field][i] && c.Top[0].Token == t
		}
	}
}

// Accept implements [sampler.Observer].
func (s *rowScores) Accept(t sampler.Token) {
	for _, row := range s.samplers {
		for _, sm := range row {
			if sm != nil {
				sm.Accept(t)
			}
		}
	}
	s.step++
}

// fields calls do for every noise field of an arm; arms that do not depend on the field have one.
func (s *rowScores) fields(arm int, do func(field int)) (n float64) {
	for field, row := range s.samplers {
		if field == 0 || row[arm] != nil {
			do(field)
			n++
		}
	}
	return n
}

// completion are the values of the only choice.
func (s *rowScores) completion() Values {
	v := Values{"acc": make([]float64, len(s.arms)), "ll": make([]float64, len(s.arms))}
	for i, a := range s.arms {
		n := s.fields(i, func(field int) {
			v["ll"][i] += finite(s.ll[field][i])
			switch {
			case !a.Noisy():
				v["acc"][i] += math.Exp(s.ll[field][i])
			case s.best[field][i]:
				v["acc"][i]++
			}
		})
		v["ll"][i] /= n
		v["acc"][i] /= n
	}
	return v
}

// choose are the values of several choices.
func choose(it *Item, scores []*rowScores, arms []Arm) Values {
	v := Values{"acc": make([]float64, len(arms)), "acc_norm": make([]float64, len(arms))}
	lls := make([]float64, len(scores))
	for i, a := range arms {
		if !a.Noisy() {
			for c, s := range scores {
				lls[c] = s.plain
			}
			v["acc"][i] = drawn(lls, it.Gold, a.Temperature)
			continue
		}
		n := scores[0].fields(i, func(field int) {
			for c, s := range scores {
				lls[c] = s.ll[field][i]
			}
			v["acc"][i] += indicator(largest(lls) == it.Gold)
			v["acc_norm"][i] += indicator(largest(perCharacter(it, lls)) == it.Gold)
		})
		v["acc"][i] /= n
		v["acc_norm"][i] /= n
	}
	return v
}

// largest is the index of the largest value, of equal ones the first.
func largest(values []float64) int {
	best := 0
	for i, x := range values {
		if x > values[best] {
			best = i
		}
	}
	return best
}

// perCharacter divides each choice's log-likelihood by its length, the space before it aside.
func perCharacter(it *Item, lls []float64) []float64 {
	means := make([]float64, len(lls))
	for i, ll := range lls {
		means[i] = ll / float64(utf8.RuneCountInString(it.Choices[i])-1)
	}
	return means
}

// drawn is the probability of one entry under softmax(values/temperature).
func drawn(values []float64, at int, temperature float64) float64 {
	top, sum := values[largest(values)], 0.0
	for _, x := range values {
		sum += math.Exp((x - top) / temperature)
	}
	return math.Exp((values[at]-top)/temperature) / sum
}

func indicator(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// logSoftmax is ln p(t) under softmax(row/temperature), temperature > 0.
func logSoftmax(row []float32, t sampler.Token, temperature float64) float64 {
	best := row[0]
	for _, z := range row {
		best = max(best, z)
	}
	// What lies deeper weighs less than e⁻⁴⁰ each: 10⁻¹² of the sum, for a million tokens.
	floor := float32(float64(best) - 40*temperature)
	sum := 0.0
	for _, z := range row {
		if z > floor {
			sum += math.Exp(float64(z-best) / temperature)
		}
	}
	return float64(row[t]-best)/temperature - math.Log(sum)
}
