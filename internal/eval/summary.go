package eval

import (
	"cmp"
	"math"
	"slices"

	"gonum.org/v1/gonum/interp"
)

// Curve names what a point of a summary belongs to.
type Curve string

// The curves of a sweep, each over σ (or the level).
const (
	// NoiseCurve is what was asked for.
	NoiseCurve Curve = "noise"
	// MatchedCurve is temperature [MatchedTemperature]·σ without noise.
	MatchedCurve Curve = "temperature"
	// FittedCurve is temperature c·σ, c fitted so that the curves differ least.
	FittedCurve Curve = "temperature_fitted"
)

// Point is one figure of a sweep.
type Point struct {
	Metric string `json:"metric"`
	Curve  Curve  `json:"curve"`
	// Sigma is the σ of the noise, or the one that the temperature stands for.
	Sigma       float64 `json:"sigma"`
	Level       float64 `json:"level,omitempty"`
	Temperature float64 `json:"temperature"`
	Estimate
}

// Fit is the temperature per σ whose curve comes closest to the noise's.
type Fit struct {
	Metric string `json:"metric"`
	// Estimate is c of T = c·σ.
	Estimate
	// RMS is the root of the mean squared difference of the two curves over the sweep.
	RMS float64 `json:"rms"`
	// MatchedRMS is the same for c = [MatchedTemperature].
	MatchedRMS float64 `json:"matched_rms"`
}

// Summary is the outcome of a sweep.
type Summary struct {
	// Name is the task's.
	Name     string   `json:"name"`
	Settings Settings `json:"settings"`
	// Items is the number of items that were scored under all arms.
	Items int `json:"items"`
	// Band says what the bands cover.
	Band   string  `json:"band"`
	Points []Point `json:"points"`
	Fits   []Fit   `json:"fits,omitempty"`
}

// Find is the point of a curve at a σ, nil where there is none.
func (s *Summary) Find(metric string, c Curve, sigma float64) *Point {
	for i, p := range s.Points {
		if p.Metric == metric && p.Curve == c && p.Sigma == sigma {
			return &s.Points[i]
		}
	}
	return nil
}

// bandText says what a band covers.
const bandText = "95 % percentile bootstrap, resampled by item; each item's value is its mean over the noise fields, each item's noise its own"

// Summarize turns the records of the first n items into means with bands. It has no points where no item is complete.
func Summarize(t *Task, n int, settings *Settings, store *Store) *Summary {
	s := &Summary{Name: t.Name, Settings: *settings, Band: bandText}
	complete := store.Complete(n)
	for _, metric := range t.Kind.Metrics() {
		if rows := complete[metric]; len(rows) > 0 {
			s.Items = len(rows)
			s.add(metric, rows)
		}
	}
	return s
}

// add summarizes one metric, given rows[item][arm]. Only of acc temperatures give a counterpart.
func (s *Summary) add(metric string, rows [][]float64) {
	arms := s.Settings.Arms
	means := weightedMeans(rows, nil)
	curves := newCurves(arms)
	c := curves.fit(means)
	draws := Bootstrap(len(rows), Resamples, 1, func(counts []int) []float64 {
		m := weightedMeans(rows, counts)
		c := curves.fit(m) // anew, so that the band of the fitted curve covers the fit
		return append(append(m, curves.at(m, c)...), c)
	})
	estimate := func(k int, value float64) Estimate {
		low, high := Band(column(draws, k))
		return Estimate{Value: value, Low: low, High: high}
	}
	for i, a := range arms {
		p := Point{Metric: metric, Curve: NoiseCurve, Sigma: a.Sigma, Level: a.Level, Estimate: estimate(i, means[i])}
		if !a.Noisy() {
			if a.For == 0 || metric != "acc" {
				continue
			}
			p.Curve, p.Sigma, p.Temperature = MatchedCurve, a.For, a.Temperature
		}
		s.Points = append(s.Points, p)
	}
	if math.IsNaN(c) || metric != "acc" {
		return
	}
	for k, y := range curves.at(means, c) {
		if math.IsNaN(y) {
			continue
		}
		a := arms[curves.noise[k]]
		s.Points = append(s.Points, Point{
			Metric: metric, Curve: FittedCurve, Sigma: a.Sigma, Level: a.Level, Temperature: c * a.Sigma,
			Estimate: estimate(len(arms)+k, y),
		})
	}
	curve := curves.temperature(means)
	s.Fits = append(s.Fits, Fit{
		Metric: metric, Estimate: estimate(len(arms)+len(curves.noise), c),
		RMS: curves.rms(means, curve, c), MatchedRMS: curves.rms(means, curve, MatchedTemperature),
	})
}

// curves tells which arms make the curve over σ and which the curve over T.
type curves struct {
	arms        []Arm
	noise, temp []int // in ascending order of σ and T; T = 0 is the noise of σ = 0
}

func newCurves(arms []Arm) *curves {
	c := &curves{arms: arms}
	for i, a := range arms {
		if a.Noisy() {
			c.noise = append(c.noise, i)
		}
		if !a.Noisy() || a.Sigma == 0 {
			c.temp = append(c.temp, i)
		}
	}
	slices.SortFunc(c.noise, func(a, b int) int { return cmp.Compare(arms[a].Sigma, arms[b].Sigma) })
	slices.SortFunc(c.temp, func(a, b int) int { return cmp.Compare(arms[a].Temperature, arms[b].Temperature) })
	return c
}

// at reads the temperature curve at T = rate·σ for every σ, by interpolation between the temperatures that were measured;
// NaN beyond them.
func (c *curves) at(means []float64, rate float64) []float64 {
	return c.along(c.temperature(means), rate)
}

// along is at for a temperature curve that was made before.
func (c *curves) along(curve interp.Predictor, rate float64) []float64 {
	out := make([]float64, len(c.noise))
	for k, i := range c.noise {
		out[k] = math.NaN()
		if t := rate * c.arms[i].Sigma; curve != nil && t <= c.arms[c.temp[len(c.temp)-1]].Temperature && t >= c.arms[c.temp[0]].Temperature {
			out[k] = curve.Predict(t)
		}
	}
	return out
}

// temperature is the curve over T, nil where there are not two temperatures.
func (c *curves) temperature(means []float64) interp.Predictor {
	if len(c.temp) < 2 {
		return nil
	}
	x, y := make([]float64, len(c.temp)), make([]float64, len(c.temp))
	for k, i := range c.temp {
		x[k], y[k] = c.arms[i].Temperature, means[i]
		if k > 0 && x[k] == x[k-1] {
			return nil
		}
	}
	var p interp.PiecewiseLinear
	if p.Fit(x, y) != nil {
		return nil
	}
	return p
}

// rms is the root mean square of the difference between the noise's curve and that of T = rate·σ.
func (c *curves) rms(means []float64, curve interp.Predictor, rate float64) float64 {
	sum, n := 0.0, 0
	for k, y := range c.along(curve, rate) {
		if !math.IsNaN(y) {
			d := y - means[c.noise[k]]
			sum += d * d
			n++
		}
	}
	if n < 2 {
		return math.NaN()
	}
	return math.Sqrt(sum / float64(n))
}

// fit minimizes rms over the rate, on a grid of hundredths. Only rates are tried that leave every σ among the temperatures measured.
// It is NaN without temperatures to compare.
func (c *curves) fit(means []float64) float64 {
	if len(c.temp) < 2 || len(c.noise) < 2 {
		return math.NaN()
	}
	most := c.arms[c.temp[len(c.temp)-1]].Temperature / c.arms[c.noise[len(c.noise)-1]].Sigma
	curve := c.temperature(means)
	best, least := math.NaN(), math.Inf(1)
	for k := 1; float64(k)/100 <= most; k++ {
		if d := c.rms(means, curve, float64(k)/100); d < least {
			best, least = float64(k)/100, d
		}
	}
	return best
}
