package eval

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"aim/sampler"
)

// MatchedTemperature is the temperature whose Gumbel noise has the variance of Gaussian noise of σ = 1. Taking the
// largest of z + T·G, G standard Gumbel, samples from softmax(z/T), and Var G = π²/6, so T = σ·√6/π ≈ 0.78 σ.
var MatchedTemperature = math.Sqrt(6) / math.Pi

// Arm is one condition of a sweep: utility noise at temperature 0, or a temperature without noise.
type Arm struct {
	// Sigma in [0, 100] is the standard deviation of the noise, in logits.
	Sigma float64 `json:"sigma"`
	// Level is the level that Sigma was derived from, 0 where σ was asked for.
	Level float64 `json:"level,omitempty"`
	// Temperature in [0, 2] or, where only likelihoods are taken, any T ≥ 0.
	Temperature float64 `json:"temperature,omitempty"`
	// For is the σ that a temperature is matched to, 0 for those that only serve to fit.
	For float64 `json:"for,omitempty"`
}

// Noisy tells whether the arm belongs to the noise's curve: all but the temperatures do.
func (a Arm) Noisy() bool { return a.Temperature == 0 }

// Noise selects the noise fields of a sweep.
type Noise struct {
	// Secret is what the first field's keys are derived from, as a server does.
	Secret []byte
	// Model is the model's name, which the keys depend on.
	Model string
	// Fields ≥ 1 is the number of fields to average over.
	Fields int
}

// Key is the key of a field, from 0, at a σ.
func (n Noise) Key(field int, sigma float64) sampler.Key {
	return sampler.UtilityKey(n.secret(field), n.Model, sigma)
}

// secret of a field: the owner's own for the first, and derived ones, which no server uses, for the others.
func (n Noise) secret(field int) []byte {
	if field == 0 {
		return n.Secret
	}
	h := sha256.New()
	h.Write([]byte("aim eval field"))
	h.Write(binary.LittleEndian.AppendUint64(nil, uint64(field)))
	h.Write(n.Secret)
	return h.Sum(nil)
}

// Fingerprint tells noise apart without revealing the secret: it depends on the secret and on what the noise of its key does to
// a row, so that records of another version's noise are not taken for this one's.
func (n Noise) Fingerprint() string {
	h := sha256.New()
	h.Write([]byte("aim eval fingerprint"))
	h.Write(n.Secret)
	row := make([]float32, 64)
	p := sampler.Params{Logprobs: true, TopLogprobs: 20, Utility: sampler.Utility{Sigma: 1, Key: n.Key(0, 1)}}
	if s, err := sampler.New(p, len(row)); err == nil {
		c, err := s.Sample(row)
		fmt.Fprint(h, c.Top, err)
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}

// maxPoints bounds the points of a range.
const maxPoints = 1000

// ParsePoints reads the points of a sweep: numbers with commas between them, or from:to:step with both ends, which rounds
// the points to nine decimals so that 0:2:0.1 has 0.3 and not 0.30000000000000004. Each must lie in [lo, hi].
func ParsePoints(text string, lo, hi float64) ([]float64, error) {
	var points []float64
	if parts := strings.Split(text, ":"); len(parts) == 3 {
		var r [3]float64
		for i, p := range parts {
			x, err := parsePoint(p)
			if err != nil {
				return nil, err
			}
			r[i] = x
		}
		if r[2] <= 0 || r[1] < r[0] {
			return nil, fmt.Errorf("%q: want from:to:step with from ≤ to and a step above 0", text)
		}
		n := math.Floor((r[1]-r[0])/r[2] + 1e-9)
		if n >= maxPoints {
			return nil, fmt.Errorf("%q has more than %d points", text, maxPoints)
		}
		for i := range int(n) + 1 {
			points = append(points, math.Round((r[0]+float64(i)*r[2])*1e9)/1e9)
		}
	} else {
		for p := range strings.SplitSeq(text, ",") {
			x, err := parsePoint(p)
			if err != nil {
				return nil, err
			}
			points = append(points, x)
		}
	}
	for i, x := range points {
		if x < lo || x > hi {
			return nil, fmt.Errorf("%v is outside [%v, %v]", x, lo, hi)
		}
		if slices.Contains(points[:i], x) {
			return nil, fmt.Errorf("%v occurs twice", x)
		}
	}
	return points, nil
}

func parsePoint(text string) (float64, error) {
	x, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
		return 0, fmt.Errorf("%q is not a number", text)
	}
	return x, nil
}

// Arms lays out a sweep: the noise at each of the points, the temperatures of equal variance and, with extend, further
// temperatures beyond, so that a fitted one has room. maxTemperature bounds them all.
func Arms(noise []Arm, extend bool, maxTemperature float64) []Arm {
	arms := slices.Clone(noise)
	var last, step float64
	for _, a := range noise {
		t := MatchedTemperature * a.Sigma
		if t == 0 || t > maxTemperature {
			continue
		}
		arms = append(arms, Arm{Temperature: t, For: a.Sigma})
		if t > last {
			step = t - last
			last = t
		}
	}
	if extend && last > 0 {
		end := min(1.6*last, maxTemperature)
		for t := last + step; t <= end; t += step {
			arms = append(arms, Arm{Temperature: t})
		}
	}
	return arms
}
