package eval

import (
	"context"
	"fmt"
	"strings"

	"aim/llama"
	"aim/sampler"
)

// Prompter turns what a user says into the prompt of a model: its chat template, as a rule.
type Prompter func(text string) ([]sampler.Token, error)

// SpanMethod is what takes the place of a span in the twin's prompt.
type SpanMethod string

const (
	// SpanDeleted: nothing.
	SpanDeleted SpanMethod = "deleted"
	// SpanNeutral: as many neutral tokens as the span has.
	SpanNeutral SpanMethod = "neutral"
)

// SpanRow is what span focus at one strength did over a set.
type SpanRow struct {
	FocusRow
	// Parrots is the number of answers whose longest run of tokens shared with the span is more than two longer than in
	// the answer without focus; Excess is the most that any is longer.
	Parrots int `json:"parrots"`
	Excess  int `json:"excess"`
	// Down is the number of words per token that an answer which heeds the span avoids.
	Down float64 `json:"down"`
	// Tried are the answers, in the order of the cases.
	Tried []Tried `json:"-"`
}

// Spans answers the cases of a set greedily with at most length tokens, without focus and at each strength, and judges the
// answers. The first row is that without focus, whose strength is 0.
func Spans(ctx context.Context, e *llama.Engine, prompt Prompter, cases []SpanCase, method SpanMethod, strengths []float64, length int) ([]SpanRow, error) {
	var rows []SpanRow
	for _, s := range append([]float64{0}, strengths...) {
		var tries []Try
		for i, c := range cases {
			t, err := c.try(e.Model(), prompt, method, s)
			if err != nil {
				return nil, fmt.Errorf("span_cases[%d]: %w", i, err)
			}
			t.Group = i
			t.Request.MaxTokens = length
			tries = append(tries, t)
		}
		answers, err := Answer(ctx, e, tries, nil)
		if err != nil {
			return nil, err
		}
		base := answers
		if len(rows) > 0 {
			base = rows[0].Tried
		}
		name := "span " + string(method)
		if len(rows) == 0 {
			name = "none"
		}
		row := SpanRow{FocusRow: Judge(name, "span", s, answers, base), Tried: answers}
		row.compare(e.Model(), cases, base)
		rows = append(rows, row)
	}
	return rows, nil
}

// compare counts what a span set needs beside the figures of every focus.
func (r *SpanRow) compare(m llama.Model, cases []SpanCase, base []Tried) {
	for i, c := range cases {
		r.Down += float64(Hits(r.Tried[i].Text, c.Down)) / float64(r.Tokens)
		more := SharedRun(m, r.Tried[i].Text, c.Span) - SharedRun(m, base[i].Text, c.Span)
		r.Excess = max(r.Excess, more)
		if more > 2 {
			r.Parrots++
		}
	}
}

// try makes a greedy request of a case.
func (c *SpanCase) try(m llama.Model, prompt Prompter, method SpanMethod, strength float64) (Try, error) {
	t := Try{Words: c.Up}
	var err error
	if t.Request.Prompt, err = prompt(c.Prompt); err != nil || strength == 0 {
		return t, err
	}
	rest, err := c.without(m, method)
	if err != nil {
		return t, err
	}
	without, err := prompt(rest)
	if err != nil {
		return t, err
	}
	span, err := llama.NewSpan(m, c.Span, without, strength)
	t.Request.Params.Spans = []sampler.Span{span}
	t.Request.Params.FocusKey = sampler.FocusKey(1)
	return t, err
}

// without is the prompt as the twin has it.
func (c *SpanCase) without(m llama.Model, method SpanMethod) (string, error) {
	from := strings.Index(c.Prompt, c.Span)
	if from < 0 {
		return "", fmt.Errorf("the span %q does not occur in the prompt", c.Span)
	}
	to := from + len(c.Span)
	if method == SpanDeleted {
		return llama.Cut(c.Prompt, from, to), nil
	}
	tokens, err := m.Tokenize([]llama.Part{{Text: c.Span}}, false)
	return c.Prompt[:from] + strings.TrimSpace(strings.Repeat(" …", len(tokens))) + c.Prompt[to:], err
}

// SharedRun is the length of the longest run of tokens that occurs in both texts, each tokenized by itself; case and
// leading spaces make no difference.
func SharedRun(m llama.Model, a, b string) int {
	x, y := folded(m, a), folded(m, b)
	best := 0
	run := make([]int, len(y)+1) // run[j]: the run that ends at the last token of x seen and at y[j-1]
	for i := range x {
		for j := len(y); j > 0; j-- {
			if x[i] != y[j-1] {
				run[j] = 0
				continue
			}
			run[j] = run[j-1] + 1
			best = max(best, run[j])
		}
	}
	return best
}

// folded is the text of each token, in lower case and without spaces around it.
func folded(m llama.Model, text string) []string {
	tokens, err := m.Tokenize([]llama.Part{{Text: text}}, false)
	if err != nil {
		return nil // a model that wrote the text can read it
	}
	words := make([]string, 0, len(tokens))
	for _, t := range tokens {
		words = append(words, strings.ToLower(strings.TrimSpace(string(m.Piece(t)))))
	}
	return words
}
