package sampler

import (
	"crypto/aes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// windowUtility is the noise in a window of h tokens after a prompt and an answer.
func windowUtility(t testing.TB, h int, prompt, answer []Token) *utility {
	t.Helper()
	scope := Scope{Window: h}
	s := mustNew(t, Params{Utility: Utility{Sigma: 1, Key: scope.Key([]byte("the owner's secret"), "smollm2", 0.5), Scope: scope}}, 1<<18)
	s.Prime(prompt)
	for _, token := range answer {
		s.Accept(token)
	}
	u := s.view.noise
	u.begin()
	return u
}

// TestWindowContext computes the context as scope.go documents it, by other means.
func TestWindowContext(t *testing.T) {
	prompt, answer := []Token{7, 1, 7, 200_000, 2}, []Token{5, 6, 7, 8}
	for _, h := range []int{1, 3, 6, 9, 20} {
		u := windowUtility(t, h, prompt, answer)
		noise := Scope{Window: h}.Key([]byte("the owner's secret"), "smollm2", 0.5)
		key := derive(noise[:], []byte("aim prompt fingerprint 1"))
		block, err := aes.NewCipher(key[:])
		if err != nil {
			t.Fatal(err)
		}
		least := uint64(math.MaxUint64)
		for _, token := range prompt {
			var b [16]byte
			binary.LittleEndian.PutUint32(b[:], uint32(token))
			block.Encrypt(b[:], b[:])
			least = min(least, binary.LittleEndian.Uint64(b[:]))
		}
		all := slices.Concat(prompt, answer)
		text := []byte{byte(least % 4)}
		for _, token := range all[max(0, len(all)-h):] {
			text = binary.LittleEndian.AppendUint32(text, uint32(token))
		}
		if want := sha256.Sum256(text); *u.field.context != want {
			t.Errorf("h = %d: the context is %x, want %x", h, *u.field.context, want)
		}
	}
}

// TestWindowNoiseDependsOnTheWindow and the fingerprint only.
func TestWindowNoiseDependsOnTheWindow(t *testing.T) {
	noise := func(prompt, answer []Token) float64 { return windowUtility(t, 3, prompt, answer).field.at(11) }
	prompt := []Token{1, 2, 3}
	want := noise(prompt, []Token{4, 5, 6, 7})
	for name, got := range map[string]float64{
		"again":                   noise(prompt, []Token{4, 5, 6, 7}),
		"a longer answer":         noise(prompt, []Token{4, 4, 4, 5, 6, 7}),
		"the prompt in disorder":  noise([]Token{3, 1, 2, 2, 1}, []Token{5, 6, 7}),
		"an answer of the window": noise(prompt, []Token{5, 6, 7}),
	} {
		if got != want {
			t.Errorf("%s: the noise differs", name)
		}
	}
	if noise(prompt, []Token{5, 6, 8}) == want || noise(prompt, []Token{4, 6, 7}) == want {
		t.Error("another window has the same noise")
	}
	fields := map[float64]int{}
	for token := range Token(400) {
		fields[noise([]Token{token, 1000 + token}, []Token{5, 6, 7})]++
	}
	if len(fields) != 1<<FingerprintBits {
		t.Errorf("400 prompts have %d noise fields in one window, want %d", len(fields), 1<<FingerprintBits)
	}
	for _, n := range fields { // binomial: 400 draws of chance ¼
		if !near(float64(n), 100, sigmas*math.Sqrt(400*0.25*0.75)) {
			t.Errorf("a noise field is shared by %d of 400 prompts, want about 100", n)
		}
	}
}

// TestFingerprintIsMinwise: over keys, two prompts have the same fingerprint with probability J + (1-J)/2^b.
func TestFingerprintIsMinwise(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	fingerprint := func(k Key, tokens []Token) byte {
		w, err := newWindow(4, k)
		if err != nil {
			t.Fatal(err)
		}
		for _, token := range tokens {
			w.prompt(token)
		}
		return w.fingerprint()
	}
	for _, shared := range []int{0, 10, 30, 38} {
		n, same := sampleSize(20_000), 0
		jaccard := float64(shared) / float64(80-shared)
		for range n {
			k := FocusKey(rng.Uint64())
			a, b := make([]Token, 40), make([]Token, 40)
			for i := range a {
				a[i], b[i] = Token(i), Token(i)
				if i >= shared {
					b[i] += 1000
				}
			}
			if fingerprint(k, a) == fingerprint(k, b) {
				same++
			}
		}
		want := jaccard + (1-jaccard)/4
		if tol := sigmas * math.Sqrt(want*(1-want)/float64(n)); !near(float64(same)/float64(n), want, tol) {
			t.Errorf("similarity %.3f: %d of %d fingerprints survive, want %.1f %% ± %.1f", jaccard, same, n, 100*want, 100*tol)
		}
	}
}

// TestWindowsAreIndependent: neighbouring windows, and one window under two fingerprints, have noise that is not correlated.
func TestWindowsAreIndependent(t *testing.T) {
	n := 1 << 16
	row := func(prompt, answer []Token) []float64 {
		u := windowUtility(t, 2, prompt, answer)
		row := make([]float32, n)
		u.field.add(row, 1, make([]uint64, n/64))
		e := make([]float64, n)
		for i, z := range row {
			e[i] = float64(z)
		}
		return e
	}
	want := row([]Token{1}, []Token{5, 6})
	other := Token(2)
	for windowUtility(t, 2, []Token{other}, nil).window.fingerprint() == windowUtility(t, 2, []Token{1}, nil).window.fingerprint() {
		other++
	}
	for name, e := range map[string][]float64{
		"the next window":     row([]Token{1}, []Token{5, 6, 7}),
		"the same reversed":   row([]Token{1}, []Token{6, 5}),
		"another fingerprint": row([]Token{other}, []Token{5, 6}),
	} {
		tol := sigmas / math.Sqrt(float64(n))
		if r, m := correlation(want, e), correlation(magnitudes(want), magnitudes(e)); !near(r, 0, tol) || !near(m, 0, tol) {
			t.Errorf("%s: correlation %.5f, of magnitudes %.5f, want 0 ± %.5f", name, r, m, tol)
		}
	}
}

func TestWindowRefusesLogprobs(t *testing.T) {
	p := Params{Utility: Utility{Sigma: 1, Scope: Scope{Window: 8}}, Logprobs: true}
	var domain *DomainError
	if err := p.Validate(10); !errors.As(err, &domain) || domain.Param != "logprobs" {
		t.Errorf("got %v", err)
	}
	p.Utility.Sigma = 0
	if err := p.Validate(10); err != nil {
		t.Errorf("without noise: %v", err)
	}
	for _, h := range []int{-1, 1025} {
		if err := (Params{Utility: Utility{Scope: Scope{Window: h}}}).Validate(10); !errors.As(err, &domain) || domain.Param != "utility.window" {
			t.Errorf("a window of %d: %v", h, err)
		}
	}
}
