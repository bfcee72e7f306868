package sampler

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// The mathematics of the ways that docs/security.md lists. What a server lets through is tested in server/security_test.go.

// noisyRow is a row after stage 1.
func noisyRow(t testing.TB, u Utility, context []Token, raw []float32) []float32 {
	t.Helper()
	s := mustNew(t, Params{Utility: u}, len(raw))
	s.Prime(context)
	row := slices.Clone(raw)
	mustSample(t, s, row)
	return slices.Clone(s.view.all())
}

// TestWayControlTokens: the noise of control tokens, which may promote none of them, tells nothing of the model's best token. Of one row under two strengths the
// difference of a control token to the best one stays the same no more often than to others.
func TestWayControlTokens(t *testing.T) {
	const vocab, rows, pinned = 400, 300, 20
	secret := []byte("secret")
	var control []Token
	for c := range Token(pinned) {
		control = append(control, c)
	}
	told := 0
	for round := range rows {
		raw := testRow(uint64(round), vocab)
		var seen [2][]float32
		for i, sigma := range []float64{1, 2} {
			u := Utility{Sigma: sigma, Key: UtilityKey(secret, "m", sigma), Pinned: control}
			seen[i] = noisyRow(t, u, []Token{Token(round)}, raw)
		}
		found, most := -1, 0
		for token := pinned; token < vocab; token++ {
			same := 0
			for _, c := range control {
				if d := (seen[0][c] - seen[0][token]) - (seen[1][c] - seen[1][token]); math.Abs(float64(d)) < 1e-5 {
					same++
				}
			}
			if same > most {
				found, most = token, same
			}
		}
		if best, _ := largest(raw); found == int(best) {
			told++
		}
	}
	if told > rows/50 {
		t.Errorf("two looks at a row tell its best token in %d cases of %d", told, rows)
	}
}

// TestWayFocusAsAMeasure: a caller knows the noise of a focus with a seed, so the σ at which a word overtakes the best token is a measure of its gap: that of
// the noisy row.
func TestWayFocusAsAMeasure(t *testing.T) {
	const vocab, sigma = 300, 1.0
	key := UtilityKey([]byte("secret"), "m", sigma)
	squares, n := 0.0, 0
	for round := range 60 {
		raw, context := testRow(uint64(round), vocab), []Token{Token(round)}
		row := noisyRow(t, Utility{Sigma: sigma, Key: key}, context, raw)
		top, _ := largest(row)
		best := int(top)
		word := (best + 7) % vocab
		wins := func(strength float64) bool {
			s := mustNew(t, Params{Utility: Utility{Sigma: sigma, Key: key}, Focus: []Focus{{Targets: [][]Token{{Token(word)}}, Sigma: strength}}, FocusKey: FocusKey(1)}, vocab)
			s.Prime(context)
			return mustSample(t, s, slices.Clone(raw)).Token == Token(word)
		}
		low, high := 0.0, 100.0
		if !wins(high) {
			continue // its noise is too small in this context
		}
		for high-low > 1e-6 {
			if mid := (low + high) / 2; wins(mid) {
				high = mid
			} else {
				low = mid
			}
		}
		var c chain
		c.push(context[0])
		got := high * math.Abs(mustField(t, FocusKey(1).entry(0), &c).at(Token(word)))
		if want := float64(row[best] - row[word]); math.Abs(got-want) > 1e-3 {
			t.Errorf("a gap of %v was measured, the noisy one is %v", got, want)
		}
		d := got - float64(raw[best]-raw[word])
		squares += d * d
		n++
	}
	if rms := math.Sqrt(squares / float64(n)); n < 30 || rms < sigma {
		t.Errorf("%d gaps were measured, and are within %v of the raw ones", n, rms)
	}
}

// tells is how often the mean of n looks at each of some σ, weighted by their precision, tells the right one of two candidates that are gap apart.
func tells(t testing.TB, secret []byte, gap float64, sigmas []float64, n, trials int) float64 {
	t.Helper()
	right := 0
	for trial := range trials {
		sum := 0.0
		for _, sigma := range sigmas {
			key := UtilityKey(secret, "m", sigma)
			for look := range n {
				var c chain
				c.push(Token(trial))
				c.push(Token(look))
				f := mustField(t, key, &c)
				sum += (gap + sigma*(f.at(3)-f.at(4))) / (sigma * sigma)
			}
		}
		if sum > 0 {
			right++
		}
	}
	return float64(right) / float64(trials)
}

// pairLooks is how many looks tell two candidates apart with 95 %.
func pairLooks(sigma, gap float64) float64 { return 2 * (1.645 * sigma / gap) * (1.645 * sigma / gap) }

// TestWaySeveralTiers: tiers of other σ have noise of their own, so that all of a key's tiers together are worth Σ (σ₀/σ)² looks at the best of them, no
// more: it is a matter of arithmetic, and tiers of one σ are one. Without nonces that is all there is to average.
func TestWaySeveralTiers(t *testing.T) {
	trials := sampleSize(4000)
	for _, c := range []struct {
		name   string
		sigmas []float64
	}{
		{"one", []float64{1}},
		{"σ and 2σ", []float64{1, 2}},
		{"σ, 1.5σ, 2σ and 3σ", []float64{1, 1.5, 2, 3}},
		{"all that a request may lower σ to", []float64{1, math.Sqrt2, 2, 2 * math.Sqrt2, 4, 4 * math.Sqrt2, 8}},
	} {
		looks := 0.0
		for _, s := range c.sigmas {
			looks += 1 / (s * s)
		}
		for _, gap := range []float64{0.5, 1, 2} {
			got := tells(t, []byte("secret"), gap, c.sigmas, 1, trials)
			want := distribution(gap * math.Sqrt(looks/2))
			if math.Abs(got-want) > sigmas*math.Sqrt(want*(1-want)/float64(trials)) {
				t.Errorf("%s: a gap of %v is told in %v of the cases, want %v", c.name, gap, got, want)
			}
			// How many prompts that differ in nothing but the noise it takes to be right in 95 of 100 cases.
			t.Logf("%s: %.2f looks; a gap of %v σ is told in %.3f of the cases by one prompt, and in .95 by %d", c.name, looks, gap, got,
				int(math.Ceil(pairLooks(1, gap)/looks)))
		}
	}
}

// TestWayPrompts: what a nonce costs a caller: the most likely of many tokens is told by the mean of n rows with 95 % where n grows with (σ/gap)².
func TestWayPrompts(t *testing.T) {
	const vocab, rivals = 12, 8 // of which the caller looks at some
	trials := sampleSize(600)
	for _, sigma := range []float64{0.5, 1, 2} {
		key := UtilityKey([]byte("secret"), "m", sigma)
		for _, gap := range []float64{0.5, 1, 2} {
			n := 1
			for ; n < 1<<10; n *= 2 {
				right := 0
				for trial := range trials {
					var sums [vocab]float64
					for look := range n {
						var c chain
						c.push(Token(trial))
						c.push(Token(look))
						f := mustField(t, key, &c)
						for token := range Token(rivals) {
							sums[token] += sigma * f.at(token)
						}
					}
					best := true
					for token := Token(1); token < rivals; token++ {
						best = best && sums[0]+gap*float64(n) > sums[token]-0.5*float64(token-1)*float64(n)
					}
					if best {
						right++
					}
				}
				if float64(right) >= 0.95*float64(trials) {
					break
				}
			}
			least := pairLooks(sigma, gap) // of two candidates
			t.Logf("σ = %v, a lead of %v before rivals half a logit apart: %d prompts (two candidates: %.0f)", sigma, gap, n, least)
			if float64(n) < least/2 || float64(n) > max(1, 4*least) {
				t.Errorf("σ = %v, a lead of %v: %d prompts, two candidates take %v", sigma, gap, n, least)
			}
		}
	}
}

// TestWayWindow: two prompts with the same last tokens and fingerprint share their noise in a window, so that the difference of what is measured of both is that of
// the raw rows; over all tokens so far it is not.
func TestWayWindow(t *testing.T) {
	const vocab, sigma = 50, 1.0
	for _, window := range []int{0, 3} {
		scope := Scope{Window: window}
		key := scope.Key([]byte("secret"), "m", sigma)
		var first []Token
		worst, pairs := 0.0, 0
		for i := range 40 {
			prompt := []Token{Token(i), 40, 41, 42}
			if first == nil {
				first = prompt
				continue
			}
			a, _ := Fingerprint(key, first)
			if b, _ := Fingerprint(key, prompt); a != b {
				continue
			}
			r1, r2 := testRow(1, vocab), testRow(uint64(i+1), vocab)
			u := Utility{Sigma: sigma, Key: key, Scope: scope}
			n1, n2 := noisyRow(t, u, first, r1), noisyRow(t, u, prompt, r2)
			for token := range n1 {
				worst = max(worst, math.Abs(float64((n1[token]-n2[token])-(r1[token]-r2[token]))))
			}
			pairs++
		}
		if pairs < 5 || (worst < 1e-5) != (window > 0) {
			t.Errorf("window %d: of %d pairs the differences are within %v of the raw ones", window, pairs, worst)
		}
	}
}

// TestWayEnds: exempt ends have no noise, so that differences among them are raw, and only those; the others' noise is what it is without.
func TestWayEnds(t *testing.T) {
	const vocab, sigma = 60, 1.0
	key, ends := UtilityKey([]byte("secret"), "m", sigma), []Token{3, 9}
	raw := testRow(5, vocab)
	exempt := noisyRow(t, Utility{Sigma: sigma, Key: key, End: ends, EndNoise: EndExempt}, []Token{1}, raw)
	plain := noisyRow(t, Utility{Sigma: sigma, Key: key, End: ends}, []Token{1}, raw)
	for token := range raw {
		switch isEnd := slices.Contains(ends, Token(token)); {
		case isEnd && exempt[token] != raw[token], !isEnd && exempt[token] != plain[token], plain[token] == raw[token]:
			t.Errorf("token %d: raw %v, exempt %v, modulated %v", token, raw[token], exempt[token], plain[token])
		}
	}
}

// TestWayTime: how much noise is computed for a step is the same each time, so that asking again tells no more by the clock either; it grows with σ, which a
// caller could measure.
func TestWayTime(t *testing.T) {
	const vocab = 49152
	rng := rand.New(rand.NewPCG(1, 1))
	raw := make([]float32, vocab)
	for i := range raw {
		raw[i] = float32(3 * rng.NormFloat64())
	}
	raw[7] = 18
	last := uint64(0)
	for _, sigma := range []float64{0.25, 1, 2, 4} {
		work := func() uint64 {
			s := mustNew(t, Params{Utility: Utility{Sigma: sigma, Key: UtilityKey([]byte("secret"), "m", sigma)}}, vocab)
			s.Prime([]Token{1, 2, 3})
			mustSample(t, s, slices.Clone(raw))
			return s.Counts().Exact
		}
		n := work()
		if again := work(); again != n {
			t.Errorf("σ = %v: %d values and then %d", sigma, n, again)
		}
		t.Logf("σ = %v: %d of %d noise values are computed", sigma, n, vocab)
		if n < last {
			t.Errorf("σ = %v: %d values, fewer than at a smaller one", sigma, n)
		}
		last = n
	}
}
