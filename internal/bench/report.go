package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"time"
)

// Report is a comparison with all that its figures depend on.
type Report struct {
	Date    time.Time `json:"date"`
	Command string    `json:"command"`
	Machine Machine   `json:"machine"`
	// Model is the name of the model file; Threads compute in each server.
	Model   string `json:"model"`
	Threads int    `json:"threads"`
	Rounds  int    `json:"rounds"`
	Options
	Sides   []SideInfo `json:"sides"`
	Samples []Sample   `json:"samples"`
}

// SideInfo is what a report says of a [Side].
type SideInfo struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Aim     bool   `json:"aim,omitempty"`
	Peer    bool   `json:"peer,omitempty"`
}

// Metric is one of the figures.
type Metric struct {
	Name string
	// Unit is s, tokens/s or bytes.
	Unit string
	Of   func(*Figures) float64
}

// The metrics that goals are about.
var (
	TokensPerSecond = Metric{"tokens/s", "tokens/s", func(f *Figures) float64 { return f.TokensPerSecond }}
	FirstToken      = Metric{"first token p50", "s", func(f *Figures) float64 { return f.FirstToken.P50 }}
	AtOnce          = Metric{"first token p50, all at once", "s", func(f *Figures) float64 { return f.AtOnce.P50 }}
	InterToken      = Metric{"inter-token p95", "s", func(f *Figures) float64 { return f.InterToken.P95 }}
	PeakMemory      = Metric{"peak memory", "bytes", func(f *Figures) float64 { return f.PeakBytes }}
)

// Goal is a ratio to reach.
type Goal struct {
	What           string
	Scenario, Case string
	Metric         Metric
	// Against is the case of the same side to divide by; empty for the same case of the faster peer.
	Against string
	// Target of the ratio: at least that much of tokens/s, at most that much of the rest. 0 is none.
	Target float64
}

// Goals are the ratios that a comparison reports, with the targets of the project.
func (o *Options) Goals() []Goal {
	crowd := clients(o.crowd())
	var goals []Goal
	for _, n := range o.Clients {
		goals = append(goals, Goal{"distinct prompts, " + clients(n), "distinct", clients(n), TokensPerSecond, "", 1})
	}
	return append(goals, []Goal{
		{"distinct prompts, " + crowd, "distinct", crowd, AtOnce, "", 0.6},
		{"shared prefix, " + crowd, "shared", crowd, TokensPerSecond, "", 1.5},
		{"shared prefix, " + crowd, "shared", crowd, AtOnce, "", 0.3},
		{"one prompt from " + crowd, "identical", crowd, AtOnce, "", 0},
		{"the same prompt again", "again", "again", FirstToken, "", 1},
		{"the next turn of a chat", "chat", "next turns", FirstToken, "", 1},
		{"running answers while a long prompt enters", "long", "running answers", InterToken, "", 0.5},
		{"16 slots of 1024", "memory", "peak", PeakMemory, "", 0.8},
		{"process start to first token", "start", "first token", FirstToken, "", 1},
		{"one core busy elsewhere, 4 clients", "busy", "4 clients", TokensPerSecond, "", 1.2},
		{"cache full of idle prefixes / empty", "idle", "full", TokensPerSecond, "empty", 0.97},
		{"utility and words / plain", "modulated", "utility and words", TokensPerSecond, "plain", 0.98},
		{"span / plain", "modulated", "span", TokensPerSecond, "plain", 0},
		{"eight tiers / one", "tiers", "eight tiers", TokensPerSecond, "one tier", 0.98},
	}...)
}

// higher says that more is better.
func (m Metric) higher() bool { return m.Unit == "tokens/s" }

// values are a metric of a case on a side, by round. Figures of cut loads count, as what they are.
func (r *Report) values(scenario, name, side string, m Metric) map[int]float64 {
	v := map[int]float64{}
	for _, s := range r.Samples {
		if s.Scenario == scenario && s.Case == name && s.Side == side {
			if x := m.Of(&s.Figures); x > 0 {
				v[s.Round] = x
			}
		}
	}
	return v
}

func medianOf(byRound map[int]float64) float64 {
	var v []float64
	for _, x := range byRound {
		v = append(v, x)
	}
	return median(v)
}

// Ratio is the outcome of a goal: medians, and the ratios of the rounds.
type Ratio struct {
	Goal
	// Value and Other are the medians that are compared, Peer the side that Other is of, if it is one of the peers.
	Value, Other float64
	Peer         string
	// Median, Low and High are those of the ratios of the rounds.
	Median, Low, High float64
}

// Met says that the target is reached, or that there is none.
func (r *Ratio) Met() bool {
	return r.Target == 0 || r.Metric.higher() && r.Median >= r.Target || !r.Metric.higher() && r.Median <= r.Target
}

// Ratios are the outcomes of the goals for a side, as far as both parts were measured. Each goal takes the peer that is best
// at it by the median.
func (r *Report) Ratios(side string) (ratios []Ratio) {
	for _, g := range r.Goals() {
		mine := r.values(g.Scenario, g.Case, side, g.Metric)
		var other map[int]float64
		peer := ""
		if g.Against != "" {
			other = r.values(g.Scenario, g.Against, side, g.Metric)
		} else {
			peer, other = r.best(g)
		}
		var each []float64
		for round, x := range mine {
			if y := other[round]; y > 0 {
				each = append(each, x/y)
			}
		}
		if len(each) > 0 {
			ratios = append(ratios, Ratio{g, medianOf(mine), medianOf(other), peer, median(each), slices.Min(each), slices.Max(each)})
		}
	}
	return ratios
}

// best is the peer that is best at a goal.
func (r *Report) best(g Goal) (peer string, values map[int]float64) {
	for _, s := range r.Sides {
		v := r.values(g.Scenario, g.Case, s.Name, g.Metric)
		if !s.Peer || len(v) == 0 {
			continue
		}
		if peer == "" || (medianOf(v) > medianOf(values)) == g.Metric.higher() {
			peer, values = s.Name, v
		}
	}
	return peer, values
}

// Merge takes over the scenarios of an earlier report that are not in this one. The two must be of the same machine, programs
// and sizes, for figures that depend on other things do not belong into one table.
func (r *Report) Merge(earlier *Report) error {
	for _, same := range []struct {
		what string
		a, b any
	}{
		{"machine", r.Machine, earlier.Machine},
		{"model", r.Model, earlier.Model},
		{"number of threads", r.Threads, earlier.Threads},
		{"sizes of loads", r.Options, earlier.Options},
		{"servers or their versions", r.Sides, earlier.Sides},
	} {
		if !reflect.DeepEqual(same.a, same.b) {
			return fmt.Errorf("it is not of the same %s: %v, and not %v", same.what, same.b, same.a)
		}
	}
	fresh := map[string]bool{}
	for _, s := range r.Samples {
		fresh[s.Scenario] = true
	}
	for _, s := range earlier.Samples {
		if !fresh[s.Scenario] {
			r.Samples = append(r.Samples, s)
		}
	}
	return nil
}

// Load reads a report; nil where there is no file.
func Load(path string) (*Report, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil //nolint:nilnil // there is none, which is no error
	}
	if err != nil {
		return nil, err
	}
	r := new(Report)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// Save writes a report.
func (r *Report) Save(path string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

// The marks in a document between which a report is written.
const (
	markBegin = "<!-- bench: begin -->\n"
	markEnd   = "<!-- bench: end -->\n"
)

// WriteInto replaces what is between the marks of a Markdown document.
func WriteInto(path, markdown string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head, rest, begins := bytes.Cut(text, []byte(markBegin))
	_, tail, ends := bytes.Cut(rest, []byte(markEnd))
	if !begins || !ends {
		return fmt.Errorf("%s has no lines %q and %q to write between", path, markBegin[:len(markBegin)-1], markEnd[:len(markEnd)-1])
	}
	return os.WriteFile(path, slices.Concat(head, []byte(markBegin+markdown+markEnd), tail), 0o644)
}
