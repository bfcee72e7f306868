package eval

import (
	"fmt"
	"image/color"
	"path/filepath"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"aim/internal/figure"
)

// style is how a curve is drawn. The colours are told apart by all common kinds of colour vision (Okabe and Ito, 2008).
type style struct {
	curve  Curve
	label  string
	colour color.RGBA
	dashes []vg.Length
	// band is the opacity of the band.
	band uint8
}

var styles = []style{
	{NoiseCurve, "utility noise, temperature 0", color.RGBA{0, 114, 178, 255}, nil, 60},
	{MatchedCurve, "temperature 0.78 σ, no noise", color.RGBA{213, 94, 0, 255}, []vg.Length{vg.Points(6), vg.Points(3)}, 35},
	{FittedCurve, "temperature %.2f σ (fitted), no noise", color.RGBA{0, 158, 115, 255}, []vg.Length{vg.Points(1.5), vg.Points(2.5)}, 25},
}

// yLabels say what the metrics are.
var yLabels = map[string]string{
	"acc":      "share of items right",
	"acc_norm": "share of items right, by likelihood per character",
	"ll":       "mean log-likelihood of the right continuation",
}

// byLevel tells whether the sweep was asked for by level.
func (s *Summary) byLevel() bool {
	return slices.ContainsFunc(s.Settings.Arms, func(a Arm) bool { return a.Level > 0 })
}

// plot draws the main metric over σ or the level; the file's extension says in which format.
func (s *Summary) plot(path string) error {
	p := plot.New()
	p.Title.Text = fmt.Sprintf("%s, %s, %d items", filepath.Base(s.Name), s.Settings.Model, s.Items)
	p.X.Label.Text = "σ of the utility noise, in logits"
	if s.byLevel() {
		p.X.Label.Text = "level: share of steps at which the best token stays best"
	}
	metric := s.Settings.Kind.Metrics()[0]
	p.Y.Label.Text = yLabels[metric]
	p.Legend.Top = !s.byLevel()
	p.Legend.Left = s.byLevel()
	p.Legend.Padding = vg.Points(3)
	p.Title.Padding = vg.Points(6)
	p.Add(plotter.NewGrid())
	for _, st := range styles {
		points := s.curve(metric, st.curve)
		if len(points) == 0 {
			continue
		}
		if err := s.draw(p, st, points); err != nil {
			return err
		}
	}
	p.Y.Min = min(p.Y.Min, 0)
	p.Y.Max *= 1.2 // room for the legend
	p.X.Tick.Marker = plot.TickerFunc(quarters)
	return figure.Save(path, 18*vg.Centimeter, 11*vg.Centimeter, p.Draw)
}

// quarters marks an axis at its ends and at three places between.
func quarters(lo, hi float64) (ticks []plot.Tick) {
	for i := range 5 {
		x := lo + (hi-lo)*float64(i)/4
		ticks = append(ticks, plot.Tick{Value: x, Label: strconv.FormatFloat(x, 'g', 3, 64)})
	}
	return ticks
}

// curve are the points of one curve, in ascending order of what they are drawn over.
func (s *Summary) curve(metric string, c Curve) (points []Point) {
	for _, p := range s.Points {
		start := c == MatchedCurve && p.Curve == NoiseCurve && p.Sigma == 0 // where all curves begin
		if p.Metric == metric && (p.Curve == c || start) {
			points = append(points, p)
		}
	}
	if len(points) == 1 && points[0].Curve != c {
		return nil
	}
	slices.SortFunc(points, func(a, b Point) int {
		if s.x(a) < s.x(b) {
			return -1
		}
		return 1
	})
	return points
}

// x is what a point is drawn over.
func (s *Summary) x(p Point) float64 {
	if !s.byLevel() {
		return p.Sigma
	}
	for _, a := range s.Settings.Arms {
		if a.Noisy() && a.Sigma == p.Sigma {
			return a.Level
		}
	}
	return 0
}

// draw adds a curve with its band.
func (s *Summary) draw(p *plot.Plot, st style, points []Point) error {
	var line, band plotter.XYs
	for _, q := range points {
		line = append(line, plotter.XY{X: s.x(q), Y: q.Value})
		band = append(band, plotter.XY{X: s.x(q), Y: q.High})
	}
	for _, q := range slices.Backward(points) {
		band = append(band, plotter.XY{X: s.x(q), Y: q.Low})
	}
	if len(points) > 1 {
		area, err := plotter.NewPolygon(band)
		if err != nil {
			return err
		}
		area.Width = 0
		area.Color = color.NRGBA{st.colour.R, st.colour.G, st.colour.B, st.band}
		p.Add(area)
	}
	curve, err := plotter.NewLine(line)
	if err != nil {
		return err
	}
	curve.Color, curve.Width, curve.Dashes = st.colour, vg.Points(1.6), st.dashes
	p.Add(curve)
	label := st.label
	if st.curve == FittedCurve {
		label = fmt.Sprintf(label, s.Fits[0].Value)
	}
	p.Legend.Add(label, curve)
	return nil
}
