package server

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"aim/llama"
	"aim/sampler"
)

// babble is what the engine says by itself to the chat prompt x.
func (s *site) babble(t testing.TB, maxTokens int, p sampler.Params) string {
	t.Helper()
	prompt, err := fake.Tokenize([]llama.Part{{Text: "[user]x"}, {Text: marker, Trusted: true}}, true)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for d, err := range s.engine.Generate(t.Context(), llama.Request{Prompt: prompt, MaxTokens: maxTokens, Params: p}) {
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(d.Text)
	}
	return b.String()
}

// TestParametersReachTheSampler: each field does what the parameter of its name does, and absent ones have OpenAI's
// defaults. It is long for its table.
func TestParametersReachTheSampler(t *testing.T) {
	s := start(t, options{})
	base := func() sampler.Params {
		return sampler.Params{Temperature: 1, TopP: 1, Seed: 3, FocusKey: sampler.FocusKey(3)}
	}
	water := [][]sampler.Token{tokens(t, " water"), tokens(t, "water"), tokens(t, " Water"), tokens(t, "Water")}
	plain := s.babble(t, 20, base())
	for _, c := range []struct {
		fields string
		set    func(p *sampler.Params)
	}{
		{``, func(*sampler.Params) {}},
		{`"temperature": 0`, func(p *sampler.Params) { p.Temperature = 0 }},
		{`"temperature": 1.7`, func(p *sampler.Params) { p.Temperature = 1.7 }},
		{`"top_p": 0.3`, func(p *sampler.Params) { p.TopP = 0.3 }},
		{`"top_p": 0`, func(p *sampler.Params) { p.Temperature = 0 }},
		{`"top_k": 2`, func(p *sampler.Params) { p.TopK = 2 }},
		{`"min_p": 0.4`, func(p *sampler.Params) { p.MinP = 0.4 }},
		{`"typical_p": 0.2`, func(p *sampler.Params) { p.TypicalP = 0.2 }},
		{`"top_n_sigma": 0.4`, func(p *sampler.Params) { p.TopNSigma = 0.4 }},
		{`"xtc_probability": 1, "xtc_threshold": 0.001`, func(p *sampler.Params) { p.XTCProbability, p.XTCThreshold = 1, 0.001 }},
		{
			`"dry_multiplier": 50, "dry_base": 2, "dry_allowed_length": 1, "dry_penalty_last_n": 20, "dry_sequence_breakers": [], "logit_bias": {"65": 50}`,
			func(p *sampler.Params) {
				p.Bias = map[sampler.Token]float64{65: 50}
				p.DRY = sampler.DRY{Multiplier: 50, Base: 2, AllowedLength: 1, LastN: 20}
			},
		},
		{`"dynatemp_range": 1, "dynatemp_exponent": 2`, func(p *sampler.Params) { p.DynatempRange, p.DynatempExponent = 1, 2 }},
		{
			`"mirostat": 2, "mirostat_tau": 1, "mirostat_eta": 0.5`,
			func(p *sampler.Params) { p.Mirostat, p.MirostatTau, p.MirostatEta = 2, 1, 0.5 },
		},
		{`"frequency_penalty": 2, "temperature": 0`, func(p *sampler.Params) { p.FrequencyPenalty, p.Temperature = 2, 0 }},
		{`"logit_bias": {"65": 100}`, func(p *sampler.Params) { p.Bias = map[sampler.Token]float64{65: 100} }},
		{
			`"logit_bias": {"65": 100, "66": 100}, "presence_penalty": 2`,
			func(p *sampler.Params) { p.Bias, p.PresencePenalty = map[sampler.Token]float64{65: 100, 66: 100}, 2 },
		},
		{
			`"logit_bias": {"65": 50, "66": 50}, "repeat_penalty": 1.1`,
			func(p *sampler.Params) { p.Bias, p.RepeatPenalty = map[sampler.Token]float64{65: 50, 66: 50}, 1.1 },
		},
		{
			`"logit_bias": {"65": 50, "66": 50}, "repeat_penalty": 1.1, "repeat_last_n": 1`,
			func(p *sampler.Params) {
				p.Bias, p.RepeatPenalty, p.RepeatLastN = map[sampler.Token]float64{65: 50, 66: 50}, 1.1, 1
			},
		},
		{
			`"aim": {"focus": [{"text": "water", "sigma": 50}]}`,
			func(p *sampler.Params) { p.Focus = []sampler.Focus{{Targets: water, Sigma: 50}} },
		},
		{
			`"aim": {"focus": [{"tokens": [97, 98], "sigma": 30, "direction": "raise"}, {"all": true, "sigma": 2, "direction": "lower"}]}`,
			func(p *sampler.Params) {
				p.Focus = []sampler.Focus{
					{Targets: [][]sampler.Token{{97}, {98}}, Sigma: 30}, {All: true, Sigma: 2, Direction: sampler.Lower},
				}
			},
		},
		{
			`"aim": {"utility": {"sigma": 2.5}}`,
			func(p *sampler.Params) {
				p.Utility = sampler.Utility{Sigma: 2.5, Key: sampler.UtilityKey([]byte("of the tests"), "fake", 2.5)}
			},
		},
	} {
		p := base()
		c.set(&p)
		want := s.babble(t, 20, p)
		fields := `"seed": 3, "max_completion_tokens": 20, "max_tokens": 1`
		if c.fields != "" {
			fields += ", " + c.fields
			if want == plain {
				t.Errorf("%s: has no effect on %q, so the test shows nothing", c.fields, want)
			}
		}
		if got := s.ask(t, "x", fields).text(t); got != want {
			t.Errorf("%s: got %q, want %q", c.fields, got, want)
		}
	}
	counted := len(s.ask(t, "count", `"max_tokens": 60`).text(t))
	for _, fields := range []string{`"ignore_eos": true`, `"min_tokens": 55`} {
		if got := s.ask(t, "count", `"max_tokens": 60, `+fields).text(t); len(got) <= counted {
			t.Errorf("with %s the answer is no longer than without: %q", fields, got)
		}
	}
	if got := s.ask(t, "count", `"stop": ["three", "four"]`).text(t); got != "one two " {
		t.Errorf("with stop: %q", got)
	}
	if got := s.ask(t, "count", `"stop": " f"`).text(t); got != "one two three" {
		t.Errorf("with one stop: %q", got)
	}
}

func TestImposedUtility(t *testing.T) {
	const imposed = 1.5
	s := start(t, options{sigma: imposed})
	modulated := func(sigma float64) string {
		key := sampler.UtilityKey([]byte("of the tests"), "fake/imposed", sigma)
		return s.babble(t, 20, sampler.Params{Utility: sampler.Utility{Sigma: sigma, Key: key}})
	}
	ask := func(fields string) string {
		return s.ask(t, "x", `"model": "fake/imposed", "temperature": 0, "max_tokens": 20`+fields).text(t)
	}
	for fields, want := range map[string]string{
		``:                                     modulated(imposed),
		`, "aim": {"focus": []}`:               modulated(imposed),
		`, "aim": {"utility": {"sigma": 1.5}}`: modulated(imposed),
		`, "aim": {"utility": {"sigma": 4}}`:   modulated(4.242640687119286), // 1.5·2^(3/2)
		// Neither a seed nor who asks changes the owner's noise.
		`, "seed": 1, "user": "Ann"`: modulated(imposed),
	} {
		if got := ask(fields); got != want {
			t.Errorf("%s: got %q, want %q", fields, got, want)
		}
	}
	if modulated(imposed) == modulated(4.242640687119286) || modulated(imposed) == s.babble(t, 20, sampler.Params{}) {
		t.Error("modulation changes nothing, so the test shows nothing")
	}
	r := s.ask(t, "x", `"model": "fake/imposed", "aim": {"utility": {"sigma": 0}}`)
	r.is(t, "lower", 403, "aim.utility.sigma", "utility_imposed")
	if e := failed(t, r.body); e.Type != typePermission {
		t.Errorf("type %s", e.Type)
	}
}

// TestFewNoiseFields: however many σ a caller asks for, an imposed utility shows each row under few of them, which together tell
// no more than two looks at the imposed one. Where nothing is imposed, σ is what was asked for.
func TestFewNoiseFields(t *testing.T) {
	const imposed = 0.75
	m, free := &served{Model: Model{Sigma: imposed}}, &served{}
	told := map[float64]float64{} // the precision of a look, in those at the imposed σ
	last := 0.0
	for i := range 100_000 {
		asked := imposed + (maxSigma-imposed)*float64(i)/99_999
		got := m.coarse(asked)
		if !(got >= asked) || !(got <= asked*math.Sqrt2*(1+1e-12)) || got < last || got > maxSigma {
			t.Fatalf("σ = %g becomes %g after %g", asked, got, last)
		}
		if again := m.coarse(got); again != got {
			t.Fatalf("σ = %g becomes %g", got, again)
		}
		if free.coarse(asked) != asked {
			t.Fatalf("σ = %g becomes %g where none is imposed", asked, free.coarse(asked))
		}
		last, told[got] = got, imposed*imposed/got/got
	}
	sum := 0.0
	for _, p := range told {
		sum += p
	}
	if told[imposed] != 1 || sum > 2.001 || len(told) < 10 {
		t.Errorf("%d fields, which tell as much as %g looks", len(told), sum)
	}
}

// TestSeeds: a seed fixes the draw and the focus, and without one only the draw varies.
func TestSeeds(t *testing.T) {
	s := start(t, options{})
	const fields = `"max_tokens": 16, `
	ask := func(more string) string { return s.ask(t, "x", fields+more).text(t) }
	if a, b := ask(`"seed": 5`), ask(`"seed": 5`); a != b {
		t.Errorf("one seed, two answers: %q, %q", a, b)
	}
	if ask(`"seed": 5`) == ask(`"seed": 6`) {
		t.Error("two seeds, one answer")
	}
	for _, free := range []string{`"seed": null`, `"seed": -1`} {
		if a, b := ask(free), ask(free); a == b {
			t.Errorf("%s: the same answer twice: %q", free, a)
		}
	}
	for _, extreme := range []int64{math.MinInt64, -2, 0, math.MaxInt64} {
		p := sampler.Params{Temperature: 1, Seed: uint64(extreme)}
		if got, want := ask(fmt.Sprintf(`"seed": %d`, extreme)), s.babble(t, 16, p); got != want {
			t.Errorf("seed %d: %q, want %q", extreme, got, want)
		}
	}
	const focus = `"temperature": 0, "aim": {"focus": [{"all": true, "sigma": 5}]}`
	if a, b := ask(focus), ask(focus); a != b {
		t.Errorf("without a seed the focus of one request varies: %q, %q", a, b)
	}
	if ask(focus) == ask(focus+`, "seed": 5`) {
		t.Error("a seed does not change the focus")
	}
	if a, b := ask(focus), ask(strings.Replace(focus, "5}", "6}", 1)); a == b {
		t.Error("the strength of a focus does not change it")
	}
}

func TestFocusKeys(t *testing.T) {
	prompt := tokens(t, "hello")
	entry := sampler.Focus{Targets: [][]sampler.Token{{1, 2}, {3}}, Sigma: 2}
	base := seed{}.focusKey(prompt, []sampler.Focus{entry})
	if again := (seed{value: 9}).focusKey(prompt, []sampler.Focus{entry}); again != base {
		t.Error("a seed that was not given changes the focus")
	}
	if given := (seed{9, true}).focusKey(prompt, []sampler.Focus{entry}); given != sampler.FocusKey(9) {
		t.Error("a given seed is not used")
	}
	seen := map[sampler.Key]string{base: "itself"}
	add := func(name string, key sampler.Key) {
		if other, ok := seen[key]; ok {
			t.Errorf("%s has the key of %s", name, other)
		}
		seen[key] = name
	}
	add("another prompt", seed{}.focusKey(tokens(t, "hell"), []sampler.Focus{entry}))
	add("twice", seed{}.focusKey(prompt, []sampler.Focus{entry, entry}))
	for name, change := range map[string]func(f *sampler.Focus){
		"another direction": func(f *sampler.Focus) { f.Direction = sampler.Lower },
		"another sigma":     func(f *sampler.Focus) { f.Sigma = 2.5 },
		"another split":     func(f *sampler.Focus) { f.Targets = [][]sampler.Token{{1}, {2, 3}} },
		"all":               func(f *sampler.Focus) { f.Targets, f.All = nil, true },
	} {
		changed := entry
		change(&changed)
		add(name, seed{}.focusKey(prompt, []sampler.Focus{changed}))
	}
}

// TestChoiceSeeds: no two of the many draws of neighbouring seeds are the same.
func TestChoiceSeeds(t *testing.T) {
	seen := map[uint64]bool{}
	for value := range uint64(100) {
		for i := range maxChoices {
			seen[seed{value: value}.choice(i)] = true
		}
	}
	if len(seen) != 100*maxChoices {
		t.Errorf("%d different seeds of %d", len(seen), 100*maxChoices)
	}
	if got := (seed{value: 77}).choice(0); got != 77 {
		t.Errorf("the first choice has seed %d, want the caller's", got)
	}
}
