package sampler

import (
	"encoding/binary"
	"errors"
	"math"
	"testing"
)

// FuzzSample lets any bits be logits and any parameters within their domains be asked for: a step ends with a documented
// error or with an allowed token, described by finite numbers.
func FuzzSample(f *testing.F) {
	nan := binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(math.NaN())))
	f.Add([]byte{0, 0, 128, 63, 0, 0, 0, 64, 0, 0, 128, 255}, 1.0, 0.5, 0.1, 2, 0.5, 1.1, uint64(1)) // 1, 2, -Inf
	f.Add([]byte{255, 255, 127, 127, 255, 255, 127, 255}, 5e-324, 1.0, 1.0, 1, 100.0, 1e-300, uint64(2))
	f.Add([]byte{0, 0, 128, 63, 0, 0, 0, 64, 0, 0, 128, 255}, 1.0, 0.5, 0.1, 0, 0.5, 1.1, uint64(255))
	f.Add([]byte{0, 0, 128, 63, 0, 0, 0, 64, 255, 255, 127, 255}, 1.0, 0.5, 0.0, 0, 0.5, 1.1, uint64(223))
	f.Add(nan, 0.0, 0.0, 0.0, 0, 0.0, 0.0, uint64(0))
	f.Fuzz(func(t *testing.T, data []byte, temperature, topP, minP float64, topK int, sigma, repeat float64, seed uint64) {
		row := make([]float32, len(data)/4)
		for i := range row {
			row[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		}
		bit := func(n int) float64 { return float64(seed >> n & 1) }
		var mask Mask
		if bit(7) == 1 && len(row) > 1 {
			mask = forbid(1)
		}
		s, err := New(Params{
			Utility:     Utility{Sigma: sigma, Key: FocusKey(seed), End: []Token{0}},
			Bias:        map[Token]float64{0: 1},
			Temperature: temperature, TopP: topP, MinP: minP, TopK: topK, Seed: seed,
			FrequencyPenalty: 1, RepeatPenalty: repeat,
			Focus:    []Focus{{All: true, Sigma: sigma}, {Targets: [][]Token{{0}}, Sigma: sigma, Direction: Lower}},
			Logprobs: true, TopLogprobs: 3,
			// The rest follows from the seed.
			TopNSigma: bit(0) * minP * 100, TypicalP: bit(1) * topP, XTCProbability: bit(2) * topP, XTCThreshold: minP,
			DRY:           DRY{Multiplier: bit(3) * temperature, Base: 1 + 50*minP, LastN: -1, Breakers: [][]Token{{0, 0, 0}}},
			DynatempRange: bit(4) * temperature, DynatempExponent: 100 * minP,
			Mirostat: 2 * int(bit(5)), MirostatTau: temperature, MirostatEta: topP,
			MinTokens: 2 * int(bit(6)),
			Mask:      mask,
		}, len(row))
		var domainErr *DomainError
		if err != nil {
			if !errors.As(err, &domainErr) {
				t.Fatal(err)
			}
			return
		}
		s.Prime([]Token{0})
		for range 3 {
			c, err := s.Sample(row)
			if errors.Is(err, ErrNotFinite) || errors.Is(err, ErrNoCandidate) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			checkChoice(t, c, row)
			s.Accept(c.Token)
		}
	})
}

// checkChoice holds a choice against the row it was made from.
func checkChoice(t *testing.T, c Choice, row []float32) {
	t.Helper()
	finite := func(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
	if z := float64(row[c.Token]); !finite(z) || !finite(c.Logprob) || c.Logprob > 1e-9 {
		t.Fatalf("token %d with logit %g and log-probability %g", c.Token, z, c.Logprob)
	}
	if len(c.Top) == 0 {
		t.Fatal("no top tokens")
	}
	for i, top := range c.Top {
		if !finite(top.Logprob) || i > 0 && top.Logprob > c.Top[i-1].Logprob {
			t.Fatalf("top tokens %v", c.Top)
		}
	}
	if c.Logprob > c.Top[0].Logprob {
		t.Fatalf("token %d has %g, the most probable one %v", c.Token, c.Logprob, c.Top[0])
	}
}
