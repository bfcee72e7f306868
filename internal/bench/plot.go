package bench

import (
	"errors"
	"image/color"
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"aim/internal/figure"
)

// colours of the sides, told apart also by those who see no red or green.
var colours = []color.NRGBA{{0, 114, 178, 255}, {230, 159, 0, 255}, {150, 150, 150, 255}, {0, 158, 115, 255}, {204, 121, 167, 255}}

// Plot draws tokens/s and the time to the first token of distinct prompts over the number of clients, a bar for each side, and
// lines from the lowest to the highest round. The file's extension, .svg or .png, says in which format.
func (r *Report) Plot(path string) error {
	var counts []int
	for _, n := range r.Clients {
		if slices.Contains(cases(r.Samples, "distinct"), clients(n)) {
			counts = append(counts, n)
		}
	}
	if len(counts) == 0 {
		return errors.New("distinct prompts have not been measured, so there is nothing to draw")
	}
	var panels []*plot.Plot
	for _, x := range []struct {
		title  string
		metric Metric
	}{{"tokens/s: higher is better", TokensPerSecond}, {"time to first token, median, s: lower is better", FirstToken}} {
		p := plot.New()
		p.Title.Text, p.Title.Padding = x.title, vg.Points(6)
		p.X.Label.Text = "clients"
		bars, err := r.bars(p, counts, x.metric)
		if err != nil {
			return err
		}
		panels = append(panels, p)
		if len(panels) == 1 {
			continue
		}
		// One legend, where the bars begin low.
		p.Legend.Top, p.Legend.Left, p.Legend.Padding = true, true, vg.Points(3)
		for i, b := range bars {
			p.Legend.Add(r.Sides[i].Name, b)
		}
	}
	return savePanels(panels, path)
}

// bars adds the bars of a metric, grouped by the number of clients, and returns those of each side.
func (r *Report) bars(p *plot.Plot, counts []int, m Metric) (bars []*plotter.BarChart, err error) {
	const width = 14
	grid := plotter.NewGrid()
	grid.Vertical.Width = 0
	p.Add(grid)
	var labels []string
	for _, n := range counts {
		labels = append(labels, strconv.Itoa(n))
	}
	for i, side := range r.Sides {
		var heights plotter.Values
		spread := &ranges{offset: vg.Points(width * (float64(i) - float64(len(r.Sides)-1)/2))}
		for k, n := range counts {
			byRound := r.values("distinct", clients(n), side.Name, m)
			var v []float64
			for _, x := range byRound {
				v = append(v, x)
			}
			heights = append(heights, median(v))
			if len(v) > 1 {
				spread.lines = append(spread.lines, [3]float64{float64(k), slices.Min(v), slices.Max(v)})
			}
		}
		chart, err := plotter.NewBarChart(heights, vg.Points(width-1))
		if err != nil {
			return nil, err
		}
		chart.Color, chart.LineStyle.Width, chart.Offset = colours[i%len(colours)], 0, spread.offset
		p.Add(chart, spread)
		bars = append(bars, chart)
	}
	p.NominalX(labels...)
	p.X.Min, p.X.Max = -0.6, float64(len(counts))-0.4
	p.Y.Min = 0
	p.Y.Max *= 1.05
	return bars, nil
}

// ranges draws upright lines from a lowest to a highest value, beside their place by an offset as bars are.
type ranges struct {
	offset vg.Length
	lines  [][3]float64 // place, lowest, highest
}

// Plot implements [plot.Plotter].
func (s *ranges) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	for _, l := range s.lines {
		at := x(l[0]) + s.offset
		c.StrokeLine2(draw.LineStyle{Color: color.Black, Width: vg.Points(1)}, at, y(l[1]), at, y(l[2]))
	}
}

// DataRange implements [plot.DataRanger], so that the axes are long enough.
func (s *ranges) DataRange() (xmin, xmax, ymin, ymax float64) {
	xmin, xmax, ymin, ymax = math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)
	for _, l := range s.lines {
		xmin, xmax, ymin, ymax = min(xmin, l[0]), max(xmax, l[0]), min(ymin, l[1]), max(ymax, l[2])
	}
	return xmin, xmax, ymin, ymax
}

// savePanels writes plots side by side.
func savePanels(panels []*plot.Plot, path string) error {
	return figure.Save(path, 24*vg.Centimeter, 10*vg.Centimeter, func(area draw.Canvas) {
		tiles := draw.Tiles{Rows: 1, Cols: len(panels), PadX: 8 * vg.Millimeter}
		for i, canvas := range plot.Align([][]*plot.Plot{panels}, tiles, area)[0] {
			panels[i].Draw(canvas)
		}
	})
}
