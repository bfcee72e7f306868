package eval

import (
	"context"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"aim/llama"
	"aim/sampler"
)

// DefaultMaxTokens bounds the answers of a generation.
const DefaultMaxTokens = 256

// stopQuestion ends an answer where the model begins to ask itself the next question.
var stopQuestion = []string{"Question:"}

// Generated scores generations: the model answers under each arm, and the number that the answer comes to is compared.
type Generated struct {
	Engine *llama.Engine
	Noise  Noise
	// MaxTokens bounds an answer; 0 is [DefaultMaxTokens].
	MaxTokens int
}

// Whole implements [Scorer].
func (*Generated) Whole() bool { return false }

// Score implements [Scorer]. Arms with noise are averaged over the noise fields, temperatures over as many draws.
func (g *Generated) Score(ctx context.Context, it *Item, arms []Arm) (Values, error) {
	prompt, err := g.Engine.Model().Tokenize([]llama.Part{{Text: it.Prompt}}, true)
	if err != nil {
		return nil, err
	}
	v := Values{"acc": make([]float64, len(arms))}
	for i, a := range arms {
		n := max(g.Noise.Fields, 1)
		if a == (Arm{Level: a.Level}) {
			n = 1 // neither noise nor a draw to average over
		}
		for field := range n {
			text, err := g.answer(ctx, prompt, a, field)
			if err != nil {
				return nil, err
			}
			v["acc"][i] += indicator(SameNumber(Extract(text), it.Answer)) / float64(n)
		}
	}
	return v, nil
}

// answer generates under one arm.
func (g *Generated) answer(ctx context.Context, prompt []sampler.Token, a Arm, field int) (string, error) {
	if a.Temperature > 2 {
		return "", &sampler.DomainError{Param: "temperature", Value: a.Temperature, Want: "in [0, 2]"}
	}
	r := llama.Request{Prompt: prompt, MaxTokens: g.MaxTokens, Stop: stopQuestion, Params: sampler.Params{
		Utility:     sampler.Utility{Sigma: a.Sigma, Key: g.Noise.Key(field, a.Sigma)},
		Temperature: a.Temperature,
		Seed:        uint64(field),
	}}
	if r.MaxTokens == 0 {
		r.MaxTokens = DefaultMaxTokens
	}
	var b strings.Builder
	for d, err := range g.Engine.Generate(ctx, r) {
		if err != nil {
			return "", err
		}
		b.WriteString(d.Text)
	}
	return b.String(), nil
}

// BeginsWith tells whether generated text begins with a continuation, white space before it aside, and goes on with another
// word or none: "signs of" begins with "signs" but not with "sign".
func BeginsWith(text, continuation string) bool {
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), strings.TrimSpace(continuation))
	next, _ := utf8.DecodeRuneInString(rest)
	return ok && (rest == "" || !unicode.IsLetter(next) && !unicode.IsDigit(next))
}

// finite keeps a log-likelihood that JSON can hold: that of a forbidden token is -Inf.
func finite(ll float64) float64 { return math.Max(ll, -1e9) }
