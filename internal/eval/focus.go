package eval

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	"aim/internal/words"
	"aim/llama"
	"aim/sampler"
)

// FocusSet is what focus is measured on: every topic on every prompt, and spans on prompts of their own.
type FocusSet struct {
	Prompts []string   `json:"prompts"`
	Topics  []Topic    `json:"topics"`
	Spans   []SpanCase `json:"span_cases"`
}

// Topic is a list of words to focus on.
type Topic struct {
	Name  string   `json:"name"`
	Words []string `json:"words"`
}

// SpanCase is a prompt, a part of it, and words that an answer which heeds that part uses or avoids.
type SpanCase struct {
	Prompt string   `json:"prompt"`
	Span   string   `json:"span"`
	Up     []string `json:"words_up"`
	Down   []string `json:"words_down"`
}

// ReadFocusSet reads a set as JSON.
func ReadFocusSet(r io.Reader) (*FocusSet, error) {
	var s FocusSet
	if err := json.NewDecoder(r).Decode(&s); err != nil {
		return nil, fmt.Errorf("not a focus set: %w", err)
	}
	if len(s.Spans) == 0 && (len(s.Prompts) == 0 || len(s.Topics) == 0) {
		return nil, fmt.Errorf("not a focus set: it has neither prompts with topics nor span_cases")
	}
	for i, t := range s.Topics {
		if len(t.Words) == 0 || slices.Contains(t.Words, "") {
			return nil, fmt.Errorf("topics[%d].words must be non-empty words", i)
		}
	}
	for i, c := range s.Spans {
		if c.Span == "" || !strings.Contains(c.Prompt, c.Span) {
			return nil, fmt.Errorf("span_cases[%d].span %q does not occur in its prompt", i, c.Span)
		}
	}
	return &s, nil
}

// Try is one answer to be generated and judged.
type Try struct {
	// Group is the number of the prompt: bands are taken over groups.
	Group int
	// Request is what to generate; its observer is replaced.
	Request llama.Request
	// Words are the targets that are counted in the answer.
	Words []string
}

// Tried is an answer, judged.
type Tried struct {
	Group  int
	Text   string
	Tokens []sampler.Token
	Finish llama.Finish
	// Hits is the number of times that a target word occurs.
	Hits int
	// NLL is the sum over the answer's tokens of -ln p under the unmodulated model at temperature 1.
	NLL float64
	// D2 is the number of distinct bigrams of tokens divided by that of bigrams; 1 for fewer than two tokens.
	D2 float64
}

// Answer generates all tries, as many at once as the engine has slots, and judges them. The end of an answer counts as
// one of its tokens.
func Answer(ctx context.Context, e *llama.Engine, tries []Try, done func(n int)) ([]Tried, error) {
	out := make([]Tried, len(tries))
	errs := make([]error, len(tries))
	var wg sync.WaitGroup
	var mu sync.Mutex
	finished := 0
	places := make(chan struct{}, e.Config().Slots) // as many wait for the engine as it can answer
	for i := range tries {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			out[i], errs[i] = answerOne(ctx, e, tries[i])
			mu.Lock()
			defer mu.Unlock()
			if finished++; done != nil {
				done(finished)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func answerOne(ctx context.Context, e *llama.Engine, t Try) (Tried, error) {
	watch := &likelihood{}
	r := t.Request
	r.Params.Observer = watch
	a := Tried{Group: t.Group}
	var text strings.Builder
	for d, err := range e.Generate(ctx, r) {
		if err != nil {
			return a, err
		}
		text.WriteString(d.Text)
		a.Finish = d.Finish
	}
	a.Text, a.Tokens, a.NLL = text.String(), watch.tokens, watch.nll
	a.Hits = Hits(a.Text, t.Words)
	a.D2 = distinctBigrams(a.Tokens)
	return a, nil
}

// likelihood is an observer that adds up the surprise of the unmodulated model at the tokens chosen.
type likelihood struct {
	row    []float32
	tokens []sampler.Token
	nll    float64
}

// Observe implements [sampler.Observer].
func (l *likelihood) Observe(raw []float32) { l.row = append(l.row[:0], raw...) }

// Accept implements [sampler.Observer].
func (l *likelihood) Accept(t sampler.Token) {
	l.tokens = append(l.tokens, t)
	l.nll += logSumExp(l.row) - float64(l.row[t])
}

// logSumExp is ln Σ e^zᵢ.
func logSumExp(row []float32) float64 {
	best := float64(slices.Max(row))
	sum := 0.0
	for _, z := range row {
		if d := float64(z) - best; d > -40 { // what is deeper adds less than 10⁻¹¹ to any vocabulary's sum
			sum += math.Exp(d)
		}
	}
	return best + math.Log(sum)
}

func distinctBigrams(tokens []sampler.Token) float64 {
	if len(tokens) < 2 {
		return 1
	}
	seen := map[[2]sampler.Token]bool{}
	for i := 1; i < len(tokens); i++ {
		seen[[2]sampler.Token{tokens[i-1], tokens[i]}] = true
	}
	return float64(len(seen)) / float64(len(tokens)-1)
}

// Hits counts the occurrences of words in a text, as package words defines them; an empty word has none.
func Hits(text string, list []string) int {
	set, err := words.New(slices.DeleteFunc(slices.Clone(list), func(w string) bool { return strings.TrimSpace(w) == "" }))
	if err != nil {
		return 0
	}
	return set.Count(text)
}

// FocusRow is what one method at one strength did over a set.
type FocusRow struct {
	// Method is what was done to the answers, Kind what was focused on: "lexical" or "span".
	Method string `json:"method"`
	Kind   string `json:"kind"`
	// Strength is the dial's, or the method's own parameter.
	Strength float64 `json:"strength"`
	FocusFigures
	// Bands are the 95 % bootstrap intervals of the figures, resampled by prompt.
	Bands map[string][2]float64 `json:"bands"`
	// Answers and Tokens are how many the figures are taken over.
	Answers int `json:"answers"`
	Tokens  int `json:"tokens"`
}

// FocusFigures say how much focus there was and what it cost.
type FocusFigures struct {
	// Include is the share of answers with a target word.
	Include float64 `json:"include"`
	// Rate is the number of target words per token.
	Rate float64 `json:"rate"`
	// PPL is e^(Σ NLL / Σ tokens) under the unmodulated model at temperature 1, given the unmodulated prompt; PPLRatio is
	// PPL over that of the answers without focus.
	PPL      float64 `json:"ppl"`
	PPLRatio float64 `json:"ppl_ratio"`
	// D2 is the mean over answers of the share of distinct bigrams.
	D2 float64 `json:"d2"`
}

// Judge sums answers up; base are those to the same prompts without focus.
func Judge(method, kind string, strength float64, answers, base []Tried) FocusRow {
	row := FocusRow{Method: method, Kind: kind, Strength: strength, Answers: len(answers), Bands: map[string][2]float64{}}
	row.FocusFigures = figures(answers, base)
	for _, a := range answers {
		row.Tokens += len(a.Tokens)
	}
	const resamples = 1000
	rng := rand.New(rand.NewPCG(1, 2)) // the bands of the same answers are the same again
	mine, theirs := byGroup(answers), byGroup(base)
	groups := slices.Sorted(maps.Keys(mine))
	draws := make([]FocusFigures, resamples)
	for i := range draws {
		var a, b []Tried
		for range groups {
			g := groups[rng.IntN(len(groups))]
			a, b = append(a, mine[g]...), append(b, theirs[g]...)
		}
		draws[i] = figures(a, b)
	}
	for name, get := range map[string]func(FocusFigures) float64{
		"include":   func(f FocusFigures) float64 { return f.Include },
		"rate":      func(f FocusFigures) float64 { return f.Rate },
		"ppl":       func(f FocusFigures) float64 { return f.PPL },
		"ppl_ratio": func(f FocusFigures) float64 { return f.PPLRatio },
		"d2":        func(f FocusFigures) float64 { return f.D2 },
	} {
		values := make([]float64, len(draws))
		for i, d := range draws {
			values[i] = get(d)
		}
		slices.Sort(values)
		row.Bands[name] = [2]float64{values[resamples*25/1000], values[resamples*975/1000]}
	}
	return row
}

func byGroup(answers []Tried) map[int][]Tried {
	m := map[int][]Tried{}
	for _, a := range answers {
		m[a.Group] = append(m[a.Group], a)
	}
	return m
}

func figures(answers, base []Tried) FocusFigures {
	var f FocusFigures
	hits, tokens := 0, 0
	for _, a := range answers {
		if a.Hits > 0 {
			f.Include++
		}
		hits += a.Hits
		tokens += len(a.Tokens)
		f.D2 += a.D2
	}
	n := float64(len(answers))
	f.Include /= n
	f.D2 /= n
	f.Rate = float64(hits) / float64(tokens)
	f.PPL = perplexity(answers)
	f.PPLRatio = f.PPL / perplexity(base)
	return f
}

func perplexity(answers []Tried) float64 {
	nll, tokens := 0.0, 0
	for _, a := range answers {
		nll += a.NLL
		tokens += len(a.Tokens)
	}
	return math.Exp(nll / float64(tokens))
}
