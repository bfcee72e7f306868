package sampler

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
)

// maskFunc is a Mask without state that looks at the row, as no mask should.
type maskFunc func(row []float32)

func (f maskFunc) Apply(row []float32) { f(row) }
func (f maskFunc) Allows(Token) bool   { return true }
func (f maskFunc) Accept(Token)        {}

// forbidden is a Mask without state. It counts what it is asked.
type forbidden struct {
	tokens         map[Token]bool
	asked, applied int
}

func (f *forbidden) Apply(row []float32) {
	f.applied++
	for t := range f.tokens {
		row[t] = negInf
	}
}

func (f *forbidden) Allows(t Token) bool {
	f.asked++
	return !f.tokens[t]
}

func (f *forbidden) Accept(Token) {}

// forbid is a mask that forbids tokens.
func forbid(tokens ...Token) *forbidden {
	f := &forbidden{tokens: map[Token]bool{}}
	for _, t := range tokens {
		f.tokens[t] = true
	}
	return f
}

// TestStagesThatMoveTheRow runs stages 1 to 5, written down once more, in the documented order and with each pair of
// neighbours swapped: Sample must do the former bit for bit, and each swap must be told from it.
func TestStagesThatMoveTheRow(t *testing.T) {
	const vocab = 64
	prompt, accepted := []Token{9, 11, 3, 4, 5}, []Token{3, 7, 7, 9, 11}
	p := Params{
		Utility:          Utility{Sigma: 1.5, Key: UtilityKey([]byte("secret"), "m", 1.5)},
		Bias:             map[Token]float64{3: 2.3, 7: -1.7, 11: 0.5, 13: 0.5, 17: 0.5, 19: 0.5},
		FrequencyPenalty: 0.6,
		PresencePenalty:  0.3,
		RepeatPenalty:    1.3,
		DRY:              DRY{Multiplier: 4.4, LastN: -1},
		FocusKey:         FocusKey(5),
		Focus:            []Focus{{Targets: [][]Token{{3}, {7}, {21}}, Sigma: 40}},
		Mask: maskFunc(func(row []float32) { // looks at what a focus has moved
			if row[21] > 20 {
				row[7] = negInf
			}
		}),
		Logprobs: true, // the whole row is masked
	}
	s := mustNew(t, p, vocab)
	s.Prime(prompt)
	for _, token := range accepted {
		s.Accept(token)
	}
	utility, focus := mustField(t, p.Utility.Key, &s.context), mustField(t, p.FocusKey.entry(0), &s.context)
	stages := []struct {
		name string
		run  func(row []float32)
	}{
		{"utility", func(row []float32) {
			for i := range row {
				row[i] = float32(float64(row[i]) + 1.5*utility.at(Token(i)))
			}
		}},
		{"bias", func(row []float32) {
			for token, b := range p.Bias {
				row[token] = float32(float64(row[token]) + b)
			}
		}},
		{"frequency and presence", func(row []float32) {
			for token, n := range map[Token]float64{3: 1, 7: 2, 9: 1, 11: 1} { // the answer, counted
				row[token] = float32(float64(row[token]) - 0.6*n - 0.3)
			}
		}},
		{"repeat", func(row []float32) {
			for _, token := range []Token{3, 4, 5, 7, 9, 11} { // prompt and answer, each once
				if row[token] > 0 {
					row[token] = float32(float64(row[token]) / 1.3)
				} else {
					row[token] = float32(float64(row[token]) * 1.3)
				}
			}
		}},
		{"dry", func(row []float32) { // 9, 11 was followed by 3
			row[3] = float32(float64(row[3]) - 4.4)
		}},
		{"focus", func(row []float32) {
			for _, token := range []Token{3, 7, 21} {
				row[token] = float32(float64(row[token]) + 40*math.Abs(focus.at(token)))
			}
		}},
		{"mask", p.Mask.Apply},
	}
	raw := testRow(1, vocab)
	for _, token := range []Token{11, 13, 17, 19} {
		raw[token] = 1<<23 + 100 // in float32 a multiple of 1, so that a sum depends on its order
	}
	raw[3] = 1.3 * (1<<23 + 2) // which dry takes below 2²³, where float32 is finer
	run := func(order []int) []float32 {
		row := slices.Clone(raw)
		for _, i := range order {
			stages[i].run(row)
		}
		return row
	}
	want := run([]int{0, 1, 2, 3, 4, 5, 6})
	got := slices.Clone(raw)
	mustSample(t, s, got)
	s.view.all()
	if !sameBits(got, want) {
		t.Errorf("Sample leaves\n%v, want\n%v", got, want)
	}
	for i := range len(stages) - 1 {
		order := []int{0, 1, 2, 3, 4, 5, 6}
		order[i], order[i+1] = i+1, i
		if sameBits(run(order), want) {
			t.Errorf("%s and %s can be swapped unnoticed", stages[i].name, stages[i+1].name)
		}
	}
}

// chosen is the set of tokens that come up in many draws from one row.
func chosen(t *testing.T, p Params, row []float32) []Token {
	t.Helper()
	s := mustNew(t, p, len(row))
	var set []Token
	for range 500 {
		c := mustSample(t, s, slices.Clone(row))
		if !slices.Contains(set, c.Token) {
			set = append(set, c.Token)
		}
	}
	slices.Sort(set)
	return set
}

// TestStagesThatChoose tells stages 5 to 15 from one another on probabilities of 0.4, 0.3, 0.2 and 0.1, by hand. A token that
// remains has a chance of at least 0.1, and is missed by 500 draws with less than 10⁻²².
func TestStagesThatChoose(t *testing.T) {
	row := make([]float32, 4)
	for i, p := range []float64{0.4, 0.3, 0.2, 0.1} {
		row[i] = float32(math.Log(p))
	}
	for _, c := range []struct {
		name string
		p    Params
		want []Token
	}{
		{"mask before greedy", Params{Mask: forbid(0)}, []Token{1}},
		{"mask before top-k", Params{Temperature: 1, TopK: 1, Mask: forbid(0)}, []Token{1}},
		{"greedy stops before truncation", Params{TopK: 3, TopP: 0.9, MinP: 0.1}, []Token{0}},
		// At T = ½ the first has 0.16/0.30 = 0.53 ≥ 0.5; at 1 it has 0.4.
		{"temperature before top-p", Params{Temperature: 0.5, TopP: 0.5}, []Token{0}},
		{"temperature 1 for comparison", Params{Temperature: 1, TopP: 0.5}, []Token{0, 1}},
		// Of two, the first has 0.4/0.7 = 0.57 ≥ 0.55; of all it has 0.4.
		{"top-k before top-p", Params{Temperature: 1, TopK: 2, TopP: 0.55}, []Token{0}},
		// Of all, the first has 0.4 < 0.55, so the second stays, and has 0.3 ≥ 0.6·0.4. Were min-p first, two would be left, as above.
		{"top-p before min-p", Params{Temperature: 1, TopP: 0.55, MinP: 0.6}, []Token{0, 1}},
		// At T = ½ the second has 0.09/0.16 = 0.56 of the first's; at 1 it has 0.75.
		{"temperature before min-p", Params{Temperature: 0.5, MinP: 0.6}, []Token{0}},
		// At T = ½ the entropy of the row, not that of the row at T = ½, decides: 1.28 of ln 4 = 1.39 nats is 0.92, to the 20th power 0.20.
		// So T = 0.3 + 0.2·0.4 = 0.38, where the first has 0.09/(0.09+0.042+0.0145+0.0023) = 0.60; at 0.5 it has 0.53.
		{"the entropy of temperature 1", Params{Temperature: 0.5, DynatempRange: 0.2, DynatempExponent: 20, TopP: 0.57}, []Token{0}},
		{"temperature ½ for comparison", Params{Temperature: 0.5, TopP: 0.57}, []Token{0, 1}},
		// The logits -0.92, -1.20, -1.61, -2.30 deviate by 0.52, of the first two by 0.14: were top-k first, the second were too far.
		{"top-n-sigma before top-k", Params{Temperature: 1, TopNSigma: 1, TopK: 2}, []Token{0, 1}},
		// Of two, the surprises are 0.56 and 0.85, their mean 0.68, and the first one is closer; of all, the second one is.
		{"top-k before typical", Params{Temperature: 1, TopK: 2, TypicalP: 0.1}, []Token{0}},
		{"typical of all for comparison", Params{Temperature: 1, TypicalP: 0.1}, []Token{1}},
		// Typical leaves the second, third and first: top-p 0.25 of those the first; were top-p first, it would leave the first alone.
		{"typical before top-p", Params{Temperature: 1, TypicalP: 0.25, TopP: 0.25}, []Token{1}},
		// Above 0.25 are two, and the first is removed. The second then has half of the best: were XTC first, min-p would keep three.
		{"min-p before xtc", Params{Temperature: 1, MinP: 0.6, XTCProbability: 1, XTCThreshold: 0.25}, []Token{1}},
		// Of the first two all have 0.3 and more; of all, only those.
		{"top-p before xtc", Params{Temperature: 1, TopP: 0.65, XTCProbability: 1, XTCThreshold: 0.15}, []Token{1}},
		{"xtc of all for comparison", Params{Temperature: 1, XTCProbability: 1, XTCThreshold: 0.15}, []Token{2, 3}},
		// 2τ = 1.8 bits: the first two have 1.3 and 1.7.
		{"mirostat in place of truncation", Params{Temperature: 1, Mirostat: 2, MirostatTau: 0.9, TopK: 1, TopP: 0.1, MinP: 1, TopNSigma: 0.1, TypicalP: 0.1}, []Token{0, 1}},
		// At T = ½ they have 0.9, 1.7 and 2.9.
		{"temperature before mirostat", Params{Temperature: 0.5, Mirostat: 2, MirostatTau: 0.8}, []Token{0}},
		{"min-p before the draw", Params{Temperature: 1, MinP: 0.6}, []Token{0, 1}},
		{"nothing removed", Params{Temperature: 1}, []Token{0, 1, 2, 3}},
	} {
		if got := chosen(t, c.p, row); !slices.Equal(got, c.want) {
			t.Errorf("%s: chose %v, want %v", c.name, got, c.want)
		}
	}
}

func TestGreedyTakesTheLowestOfEquals(t *testing.T) {
	if got := mustSample(t, mustNew(t, Params{}, 5), []float32{negInf, 1, 2, 2, 0}).Token; got != 2 {
		t.Errorf("chose %d, want 2", got)
	}
}

func TestSigmaZeroLeavesTheRow(t *testing.T) {
	raw := append(testRow(1, 100), negInf, float32(math.Copysign(0, -1)), math.SmallestNonzeroFloat32, -math.MaxFloat32)
	for _, temperature := range []float64{0, 1} {
		s := mustNew(t, Params{
			Utility:  Utility{Key: FocusKey(1)},
			Focus:    []Focus{{All: true}, {Targets: [][]Token{{1}}, Direction: Lower}},
			FocusKey: FocusKey(2),
			Logprobs: true, Temperature: temperature, TopK: 5, TopP: 0.5, MinP: 0.01,
		}, len(raw))
		s.Prime([]Token{1, 2})
		for range 5 {
			row := slices.Clone(raw)
			s.Accept(mustSample(t, s, row).Token)
			if !sameBits(row, raw) {
				t.Fatalf("temperature %g: the row has changed", temperature)
			}
		}
	}
}

// TestUtilityNoiseIsNoBusinessOfTheCaller: one context has one noise, whatever else the request says, however often and in
// whatever company it is asked.
func TestUtilityNoiseIsNoBusinessOfTheCaller(t *testing.T) {
	const vocab = 5000
	utility := Utility{Sigma: 0.8, Key: UtilityKey([]byte("secret"), "m", 0.8)}
	prompt, accepted := []Token{1, 2, 3}, []Token{9, 8}
	raw := testRow(1, vocab)
	noisy := func(p Params, disturb func(s *Sampler)) []float32 {
		p.Utility = utility
		s := mustNew(t, p, vocab)
		s.Prime(prompt)
		for _, token := range accepted {
			disturb(s)
			s.Accept(token)
		}
		row := slices.Clone(raw)
		mustSample(t, s, row)
		return s.view.all()
	}
	still := func(*Sampler) {}
	want := noisy(Params{}, still)
	if sameBits(want, raw) {
		t.Fatal("there is no noise")
	}
	other := mustNew(t, Params{Utility: utility, Temperature: 1}, vocab)
	for name, got := range map[string][]float32{
		"again":             noisy(Params{}, still),
		"a seed":            noisy(Params{Seed: 77}, still),
		"a focus key":       noisy(Params{FocusKey: FocusKey(3)}, still),
		"a selection":       noisy(Params{Temperature: 1.2, TopK: 7, TopP: 0.5, MinP: 0.1, Logprobs: true}, still),
		"steps in between":  noisy(Params{Temperature: 1}, func(s *Sampler) { mustSample(t, s, testRow(2, vocab)) }),
		"steps of another":  noisy(Params{}, func(*Sampler) { answer(t, other, 2) }),
		"a mask of nothing": noisy(Params{Mask: forbid()}, still),
	} {
		if !sameBits(got, want) {
			t.Errorf("%s: the noise has changed", name)
		}
	}
}

func TestSeedDecidesTheTokens(t *testing.T) {
	p := Params{Temperature: 1, TopP: 0.95, Utility: Utility{Sigma: 1, Key: FocusKey(1)}}
	tokens := func(seed uint64) []Token {
		p.Seed = seed
		return answer(t, mustNew(t, p, 500), 50)
	}
	first := tokens(1)
	if !slices.Equal(tokens(1), first) {
		t.Error("one seed gives two answers")
	}
	if slices.Equal(tokens(2), first) {
		t.Error("two seeds give one answer")
	}
}

func TestGreedyConsumesNoEntropy(t *testing.T) {
	s := mustNew(t, Params{Seed: 3}, 10)
	answer(t, s, 5)
	if fresh := mustNew(t, Params{Seed: 3}, 10); s.entropy.Uint64() != fresh.entropy.Uint64() {
		t.Error("a draw was made at temperature 0")
	}
}

func TestBrokenRows(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	huge := float32(math.MaxFloat32)
	all := forbid(0, 1, 2)
	for _, c := range []struct {
		name string
		row  []float32
		p    Params
		want error
	}{
		{"NaN", []float32{1, nan, 2}, Params{}, ErrNotFinite},
		{"NaN first", []float32{nan, 1, 2}, Params{}, ErrNotFinite},
		{"+Inf", []float32{1, 2, inf}, Params{}, ErrNotFinite},
		{"NaN that a mask would hide", []float32{1, nan, 2}, Params{Mask: forbid(1)}, ErrNotFinite},
		{"+Inf that a mask would hide", []float32{1, inf, 2}, Params{Mask: forbid(1)}, ErrNotFinite},
		{"a mask that writes NaN", []float32{1, 2, 3}, Params{Logprobs: true, Mask: maskFunc(func(row []float32) { row[0] = nan })}, ErrNotFinite},
		{"a sum beyond float32", []float32{1, huge, 2}, Params{Focus: []Focus{{Targets: [][]Token{{1}}, Sigma: 100}}}, nil},
		{"all forbidden by the model", []float32{negInf, negInf, negInf}, Params{}, ErrNoCandidate},
		{"all forbidden by the mask", []float32{1, 2, 3}, Params{Mask: all}, ErrNoCandidate},
		{"too short", []float32{1, 2}, Params{}, ErrRowLength},
		{"too long", []float32{1, 2, 3, 4}, Params{}, ErrRowLength},
		{"some forbidden", []float32{negInf, 1, negInf}, Params{}, nil},
	} {
		for _, temperature := range []float64{0, 1} {
			c.p.Temperature = temperature
			_, err := mustNew(t, c.p, 3).Sample(slices.Clone(c.row))
			if !errors.Is(err, c.want) {
				t.Errorf("%s at temperature %g: %v, want %v", c.name, temperature, err, c.want)
			}
		}
	}
}

// TestForbiddenStaysForbidden: no stage moves a -Inf.
func TestForbiddenStaysForbidden(t *testing.T) {
	s := mustNew(t, Params{
		Utility: Utility{Sigma: 100, Key: FocusKey(1)},
		Bias:    map[Token]float64{0: 100},
		Focus: []Focus{
			{All: true, Sigma: 100, Direction: Lower},
			{Targets: [][]Token{{0}}, Sigma: 100},
		},
		FrequencyPenalty: -2, PresencePenalty: -2, RepeatPenalty: 0.001,
		Temperature: 2,
	}, 3)
	s.Accept(0)
	for range 100 {
		row := []float32{negInf, 1, 2}
		if c := mustSample(t, s, row); c.Token == 0 || row[0] != negInf {
			t.Fatalf("chose %d from %v", c.Token, row)
		}
	}
}

// TestNewKeepsNoReference: the caller may reuse what it passed.
func TestNewKeepsNoReference(t *testing.T) {
	p := Params{Bias: map[Token]float64{1: 5}, Focus: []Focus{{Targets: [][]Token{{2}}, Sigma: 1}}}
	s, untouched := mustNew(t, p, 10), mustNew(t, p, 10)
	p.Bias[1] = -5
	p.Focus[0].Targets[0][0] = 3
	p.Focus[0].Sigma = 9
	a, b := testRow(1, 10), testRow(1, 10)
	mustSample(t, s, a)
	mustSample(t, untouched, b)
	if !sameBits(a, b) {
		t.Error("changing the parameters changed the sampler")
	}
}

// combinations are parameters that switch on one thing each, and everything.
func combinations() map[string]Params {
	all := Params{
		Utility: Utility{Sigma: 0.5, Key: UtilityKey([]byte("s"), "m", 0.5)}, Bias: map[Token]float64{1: 2, 5: -3},
		FrequencyPenalty: 0.5, PresencePenalty: 0.4, RepeatPenalty: 1.1, RepeatLastN: 5,
		Focus: []Focus{
			{Targets: [][]Token{{4}, {5, 6}, {6}}, Sigma: 2},
			{All: true, Sigma: 0.1, Direction: Lower},
		},
		FocusKey: FocusKey(9), Mask: forbid(3),
		Temperature: 0.9, TopK: 200, TopP: 0.9, MinP: 0.001, Seed: 6,
		Logprobs: true, TopLogprobs: 5,
	}
	return map[string]Params{
		"zero":             {},
		"greedy_utility":   {Utility: all.Utility},
		"greedy_window":    {Utility: Utility{Sigma: 0.5, Key: Scope{Window: 3}.Key([]byte("s"), "m", 0.5), Scope: Scope{Window: 3}}},
		"greedy_pinned":    {Utility: Utility{Sigma: 2, Key: all.Utility.Key, Pinned: []Token{1, 2, 3}, End: []Token{4, 5}, EndNoise: EndKept}},
		"top_k_utility":    {Utility: all.Utility, Temperature: 1, TopK: 10, Seed: 7},
		"greedy_focus":     {Focus: all.Focus, FocusKey: all.FocusKey},
		"greedy_logprobs":  {Logprobs: true, TopLogprobs: 20},
		"greedy_penalties": {FrequencyPenalty: 2, PresencePenalty: 2, RepeatPenalty: 1.5, RepeatLastN: -1},
		"bias":             {Bias: all.Bias, Temperature: 1},
		"temperature":      {Temperature: 1, Seed: 1},
		"top_k":            {Temperature: 1, TopK: 10, Seed: 2},
		"top_p":            {Temperature: 1, TopP: 0.8, Seed: 3},
		"min_p":            {Temperature: 1, MinP: 0.1, Seed: 4},
		"top_k_p_min_p":    {Temperature: 1.3, TopK: 100, TopP: 0.95, MinP: 0.02, Seed: 5},
		"everything":       all,
	}
}

// furtherCombinations are those of parameters that came later.
func furtherCombinations() map[string]Params {
	utility := combinations()["everything"].Utility
	ends := utility
	ends.End = []Token{4, 5}
	dry := DRY{Multiplier: 0.8, LastN: -1, Breakers: [][]Token{{7}, {8, 9}}}
	all := combinations()["everything"]
	all.DRY, all.TopNSigma, all.TypicalP, all.XTCProbability, all.XTCThreshold = dry, 3, 0.9, 0.5, 0.02
	all.DynatempRange, all.DynatempExponent, all.MinTokens, all.Utility.End = 0.3, 1.2, 5, []Token{4, 5}
	return map[string]Params{
		"top_n_sigma":        {Temperature: 1, TopNSigma: 1.5, Seed: 1},
		"typical":            {Temperature: 1, TypicalP: 0.6, Seed: 2},
		"top_k_typical":      {Utility: utility, Temperature: 1, TopK: 30, TypicalP: 0.6, Seed: 2},
		"xtc":                {Temperature: 1, XTCProbability: 0.5, XTCThreshold: 0.01, Seed: 3},
		"dry":                {DRY: dry},
		"dynatemp":           {Temperature: 1, DynatempRange: 0.5, DynatempExponent: 1, Seed: 4},
		"mirostat":           {Utility: utility, Temperature: 1, Mirostat: 2, MirostatTau: 4, MirostatEta: 0.1, Seed: 5},
		"ends":               {Utility: ends, MinTokens: 10},
		"greedy_mask":        {Utility: utility, Mask: forbid(1, 2, 3)},
		"top_k_mask":         {Utility: utility, Temperature: 1, TopK: 10, Mask: forbid(1, 2, 3), Seed: 6},
		"top_p_mask":         {Utility: utility, Temperature: 1, TopP: 0.3, Mask: forbid(1, 2, 3), Seed: 7},
		"drawn_mask":         {Utility: utility, Temperature: 1, Mask: forbid(1, 2, 3), Seed: 8},
		"everything_further": all,
	}
}

func TestNoAllocations(t *testing.T) {
	const vocab = 5000
	raw := testRow(1, vocab)
	all := combinations()
	maps.Copy(all, furtherCombinations())
	for name, p := range all {
		s := mustNew(t, p, vocab)
		s.Prime([]Token{1, 2, 3})
		row := make([]float32, vocab)
		next := Token(0)
		if got := testing.AllocsPerRun(200, func() {
			copy(row, raw)
			if _, err := s.Sample(row); err != nil {
				t.Fatal(err)
			}
			s.Accept(next)
			next++ // every token is new to the tallies
		}); got != 0 {
			t.Errorf("%s: %g allocations per step, want 0", name, got)
		}
	}
}

// TestNoVocabularyIsAssumed modulates a classifier of ten classes, as the paper does with images: its decision is kept as
// often as Retention says.
func TestNoVocabularyIsAssumed(t *testing.T) {
	logits := []float32{1.2, 0.3, 2.5, -1, 0, 1.9, -0.4, 2.2, 0.7, -2}
	gaps, err := Gaps(logits, nil)
	if err != nil {
		t.Fatal(err)
	}
	n := sampleSize(200_000)
	for _, sigma := range []float64{0.2, 1, 3} {
		s := mustNew(t, Params{Utility: Utility{Sigma: sigma, Key: UtilityKey(nil, "classes", sigma)}}, len(logits))
		kept := 0
		for i := range n {
			if mustSample(t, s, slices.Clone(logits)).Token == 2 {
				kept++
			}
			s.Accept(Token(i % 10))
		}
		want := Retention(gaps, sigma)
		tol := sigmas * math.Sqrt(want*(1-want)/float64(n)) // binomial
		if got := float64(kept) / float64(n); !near(got, want, tol) {
			t.Errorf("σ = %g: kept %.4f, want %.4f ± %.4f", sigma, got, want, tol)
		}
	}
}

func ExampleSampler() {
	row := []float32{1, 3, 2}
	s, err := New(Params{
		Temperature: 1,
		Focus:       []Focus{{Targets: [][]Token{{1}}, Sigma: 1000}},
		Logprobs:    true,
	}, len(row))
	fmt.Println(s, err)

	s, err = New(Params{Bias: map[Token]float64{2: 5}, Logprobs: true, TopLogprobs: 2}, len(row))
	if err != nil {
		panic(err)
	}
	s.Prime([]Token{0, 0})
	c, err := s.Sample(row)
	if err != nil {
		panic(err)
	}
	s.Accept(c.Token)
	fmt.Printf("token %d, probability %.3f, then token %d\n", c.Token, math.Exp(c.Logprob), c.Top[1].Token)
	// Output:
	// <nil> focus[0].sigma is 1000, must be in [0, 100]
	// token 2, probability 0.980, then token 1
}
