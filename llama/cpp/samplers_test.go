package cpp

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"aim/internal/testmodel"
	"aim/sampler"
)

// What differs by definition, so that the cases below leave it out:
//
//   - llama.cpp's samplers have a least number of tokens to keep, min_keep; here it is 1.
//   - llama.cpp truncates before it applies the temperature, unless told otherwise. The references run in this project's order.
//   - llama.cpp adds and sorts in float32; a token whose distance to a bound is less than that can tell may stay in one and not in
//     the other. Of tokens with equal logits llama.cpp keeps any.
//   - The coins of XTC and Mirostat come from other generators. XTC is compared where it always acts, Mirostat for the same token.
//   - XTC with a threshold above 0.5 is off in llama.cpp, and has nothing to remove here.
//   - frequency_penalty and presence_penalty count the answer here, and in llama.cpp the same last tokens as repeat_penalty, after which it
//     applies them. They are compared for an answer without a prompt, and repeat_penalty for itself.
//   - typical has the entropy NaN in llama.cpp where a probability is 0, be it that it underflows float32 or that top-n-sigma removed
//     the token: what it keeps is then arbitrary. Where both are on, top-k leaves fewer tokens than top-n-sigma.

// comparedRows are rows of the real model, and random ones of several widths.
func comparedRows(t *testing.T) map[string][]float32 {
	t.Helper()
	rows := map[string][]float32{}
	for i, row := range realRows(t, testmodel.Path(t), chatFormat)[:12] {
		rows[fmt.Sprintf("real row %d", i)] = row
	}
	rng := rand.New(rand.NewPCG(1, 0))
	for i := range 12 {
		row := make([]float32, 100+rng.IntN(5000))
		for j := range row {
			row[j] = float32((1 + float64(i%4)) * rng.NormFloat64())
		}
		rows[fmt.Sprintf("random row %d", i)] = row
	}
	return rows
}

// compareCandidates holds what a sampler leaves of a row against what llama.cpp's leave. doubt is how much probability the tokens
// may have in sum that are in one set alone.
func compareCandidates(t *testing.T, name string, got []sampler.Candidate, want []scored, doubt float64) {
	t.Helper()
	best, sum := math.Inf(-1), 0.0
	for _, c := range want {
		best = max(best, c.logit)
	}
	for _, c := range want {
		sum += math.Exp(c.logit - best)
	}
	probs := map[sampler.Token]float64{}
	for _, c := range want {
		probs[c.token] = math.Exp(c.logit-best) / sum
	}
	apart := 0.0
	for _, c := range got {
		p, ok := probs[c.Token]
		delete(probs, c.Token)
		if q := math.Exp(c.Logprob); !ok {
			apart += q
		} else if math.Abs(p-q) > doubt {
			t.Errorf("%s: token %d has probability %g, in llama.cpp %g", name, c.Token, q, p)
			return
		}
	}
	for _, p := range probs {
		apart += p
	}
	if apart > doubt {
		t.Errorf("%s: %d candidates, in llama.cpp %d; those of one alone have probability %g", name, len(got), len(want), apart)
	}
}

func candidates(t *testing.T, p sampler.Params, row []float32) []sampler.Candidate {
	t.Helper()
	c, err := newSampler(t, p, len(row)).Candidates(slices.Clone(row))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestTruncationsAreLlamaCpps: each stage, with each temperature, leaves the same candidates with the same probabilities.
func TestTruncationsAreLlamaCpps(t *testing.T) {
	temperature := func(p *sampler.Params) reference {
		return referenceTemperature(p.Temperature, p.DynatempRange, p.DynatempExponent)
	}
	cases := []struct {
		name string
		p    sampler.Params
		then func() []reference
	}{
		{"temperature", sampler.Params{}, nil},
		{"dynatemp", sampler.Params{DynatempRange: 0.5, DynatempExponent: 1}, nil},
		{"dynatemp, squared", sampler.Params{DynatempRange: 0.4, DynatempExponent: 2}, nil},
		{"dynatemp down to 0", sampler.Params{DynatempRange: 2, DynatempExponent: 0.7}, nil},
		{"top_n_sigma 1", sampler.Params{TopNSigma: 1}, func() []reference { return []reference{referenceTopNSigma(1)} }},
		{"top_n_sigma 2.5", sampler.Params{TopNSigma: 2.5}, func() []reference { return []reference{referenceTopNSigma(2.5)} }},
		{"top_k 1", sampler.Params{TopK: 1}, func() []reference { return []reference{referenceTopK(1)} }},
		{"top_k 40", sampler.Params{TopK: 40}, func() []reference { return []reference{referenceTopK(40)} }},
		{"typical 0.3", sampler.Params{TypicalP: 0.3}, func() []reference { return []reference{referenceTypical(0.3)} }},
		{"typical 0.9", sampler.Params{TypicalP: 0.9}, func() []reference { return []reference{referenceTypical(0.9)} }},
		{"top_p 0.5", sampler.Params{TopP: 0.5}, func() []reference { return []reference{referenceTopP(0.5)} }},
		{"top_p 0.95", sampler.Params{TopP: 0.95}, func() []reference { return []reference{referenceTopP(0.95)} }},
		{"min_p 0.05", sampler.Params{MinP: 0.05}, func() []reference { return []reference{referenceMinP(0.05)} }},
		{"xtc", sampler.Params{XTCProbability: 1, XTCThreshold: 0.1}, func() []reference { return []reference{referenceXTC(1, 0.1, 1)} }},
		{"xtc, low", sampler.Params{XTCProbability: 1, XTCThreshold: 0.002}, func() []reference { return []reference{referenceXTC(1, 0.002, 1)} }},
		{"xtc, never", sampler.Params{XTCThreshold: 0.002}, func() []reference { return []reference{referenceXTC(0, 0.002, 1)} }},
		{"xtc, above a half", sampler.Params{XTCProbability: 1, XTCThreshold: 0.6}, func() []reference { return []reference{referenceXTC(1, 0.6, 1)} }},
		{"mirostat", sampler.Params{Mirostat: 2, MirostatTau: 3, MirostatEta: 0.1}, func() []reference { return []reference{referenceMirostat(3, 0.1, 1)} }},
		{"mirostat, strict", sampler.Params{Mirostat: 2, MirostatTau: 0.001, MirostatEta: 0.1}, func() []reference { return []reference{referenceMirostat(0.001, 0.1, 1)} }},
		{
			"all",
			sampler.Params{TopNSigma: 3, TopK: 40, TypicalP: 0.95, TopP: 0.9, MinP: 0.02, XTCProbability: 1, XTCThreshold: 0.05},
			func() []reference {
				return []reference{referenceTopNSigma(3), referenceTopK(40), referenceTypical(0.95), referenceTopP(0.9), referenceMinP(0.02), referenceXTC(1, 0.05, 1)}
			},
		},
	}
	rows := comparedRows(t)
	for _, c := range cases {
		for _, temp := range []float64{0.6, 1, 1.4} {
			for name, row := range rows {
				p := c.p
				p.Temperature = temp
				list := []reference{temperature(&p)}
				if c.then != nil {
					list = append(list, c.then()...)
				}
				want, _ := applyReferences(row, list...)
				compareCandidates(t, fmt.Sprintf("%s at %g, %s", c.name, temp, name), candidates(t, p, row), want, 1e-3)
				for _, r := range list {
					r.free()
				}
			}
		}
	}
}

// TestMirostatMovesAsInLlamaCpp: after the same first token both have the same bound, so that the same candidates are left of the next row.
func TestMirostatMovesAsInLlamaCpp(t *testing.T) {
	rows := comparedRows(t)
	moved := 0
	for _, eta := range []float64{0.1, 1} {
		for i := range uint32(12) {
			row := rows[fmt.Sprintf("real row %d", i)]
			r := referenceMirostat(6, eta, i)
			_, token := applyReferences(row, r)
			p := sampler.Params{Temperature: 1, Mirostat: 2, MirostatTau: 6, MirostatEta: eta}
			var s *sampler.Sampler
			for { // until a seed draws the same token
				s = newSampler(t, p, len(row))
				c, err := s.Sample(slices.Clone(row))
				if err != nil {
					t.Fatal(err)
				}
				if c.Token == token {
					break
				}
				if p.Seed++; p.Seed == 20_000 {
					t.Fatalf("real row %d: no seed draws llama.cpp's token %d", i, token)
				}
			}
			flat := make([]float32, 4000) // whose surprises lie close to one another, so that the bound shows
			for j := range flat {
				flat[j] = -float32(j) / 200
			}
			whole := slices.Concat(flat, make([]float32, len(row)-len(flat)))
			for j := len(flat); j < len(whole); j++ {
				whole[j] = -100
			}
			got, err := s.Candidates(slices.Clone(whole))
			if err != nil {
				t.Fatal(err)
			}
			want, _ := applyReferences(whole, r)
			r.free()
			compareCandidates(t, fmt.Sprintf("η = %g, real row %d", eta, i), got, want, 1e-2) // a token may differ
			if d := len(got) - len(want); d < -1 || d > 1 {
				t.Errorf("η = %g, real row %d: %d candidates, in llama.cpp %d", eta, i, len(got), len(want))
			}
			if fresh := candidates(t, p, whole); len(fresh) != len(got) {
				moved++
			}
		}
	}
	if moved < 12 {
		t.Errorf("the bound moved in %d of 24 cases", moved)
	}
}

// TestPenaltiesAreLlamaCpps on texts that repeat themselves.
func TestPenaltiesAreLlamaCpps(t *testing.T) {
	m := open(t)
	rng := rand.New(rand.NewPCG(2, 0))
	row := make([]float32, m.Vocab())
	for i := range row {
		row[i] = float32(3 * rng.NormFloat64())
	}
	newline := newlines(m)
	for round := range 40 {
		text := repetitive(rng, 60, newline[0][0])
		lastN := []int{16, 64, 200}[round%3]
		dry := sampler.DRY{Multiplier: 0.8, Base: 1.75, AllowedLength: 2, LastN: []int{-1, 20, 200}[round%3]}
		var breakers []string
		if round%2 == 0 {
			breakers, dry.Breakers = []string{"\n"}, newline
		}
		for _, c := range []struct {
			name string
			p    sampler.Params
			r    reference
		}{
			{"repeat", sampler.Params{RepeatPenalty: 1.3, RepeatLastN: lastN}, referencePenalties(lastN, 1.3, 0, 0)},
			{"frequency and presence", sampler.Params{FrequencyPenalty: 0.7, PresencePenalty: -0.4}, referencePenalties(1000, 1, 0.7, -0.4)},
			{"dry", sampler.Params{DRY: dry}, m.referenceDRY(dry, 1000, breakers)},
		} {
			c.p.Temperature = 1
			s := newSampler(t, c.p, len(row))
			for _, token := range text {
				c.r.accept(token)
				s.Accept(token)
			}
			got, err := s.Candidates(slices.Clone(row))
			if err != nil {
				t.Fatal(err)
			}
			want, _ := applyReferences(row, c.r)
			c.r.free()
			compareLogits(t, fmt.Sprintf("round %d, %s", round, c.name), row, got, want)
		}
	}
}

// compareLogits holds all logits against llama.cpp's, which the log-probabilities are but for one norm.
func compareLogits(t *testing.T, name string, row []float32, got []sampler.Candidate, want []scored) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d tokens, in llama.cpp %d", name, len(got), len(want))
	}
	last, moved := len(got)-1, 0
	norm := want[last].logit - got[last].Logprob // no text holds the last token
	for i, c := range got {
		if z := c.Logprob + norm; math.Abs(z-want[i].logit) > 1e-4 {
			t.Fatalf("%s: token %d has the logit %g, in llama.cpp %g", name, c.Token, z, want[i].logit)
		}
		if want[i].logit != float64(row[i]) {
			moved++
		}
	}
	if moved == 0 && !strings.HasSuffix(name, "dry") { // which finds no repetition behind a breaker
		t.Errorf("%s: no logit is moved", name)
	}
}

// repetitive is a text of few different tokens, with whole phrases again.
func repetitive(rng *rand.Rand, n int, newline sampler.Token) (text []sampler.Token) {
	for len(text) < n {
		if len(text) > 8 && rng.IntN(4) > 0 {
			at := rng.IntN(len(text) - 6)
			text = append(text, text[at:at+2+rng.IntN(5)]...)
			continue
		}
		text = append(text, 1000+sampler.Token(rng.IntN(20)))
		if rng.IntN(12) == 0 {
			text = append(text, newline)
		}
	}
	return text
}

// newlines are the tokens with a newline, the shortest first; each breaks by itself.
func newlines(m *Model) (list [][]sampler.Token) {
	for token := range sampler.Token(m.Vocab()) {
		if strings.Contains(string(m.Piece(token)), "\n") {
			list = append(list, []sampler.Token{token})
		}
	}
	slices.SortStableFunc(list, func(a, b []sampler.Token) int { return len(m.Piece(a[0])) - len(m.Piece(b[0])) })
	return list
}
