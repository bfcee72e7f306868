package bench

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Markdown words a report: what it is of, the ratios, and all figures.
func (r *Report) Markdown() string {
	var b strings.Builder
	r.about(&b)
	for i, s := range r.Sides {
		if s.Aim {
			r.ratios(&b, s, i > 0)
		}
	}
	b.WriteString("\n### All figures\n\nMedians of the rounds; times in seconds.\n\n")
	b.WriteString(Table(r.Samples, r.sideNames()))
	return b.String()
}

// about says what the figures are of.
func (r *Report) about(b *strings.Builder) {
	m := r.Machine
	fmt.Fprintf(b, "`%s`, %s, %s.\n", r.Command, r.Date.UTC().Format("2 January 2006"), r.roundsDone())
	fmt.Fprintf(b, "%s, %s with %s (%s), %.0f GiB of memory, %s", r.Model, m.Processor, plural(m.Cores, "logical core"),
		strings.Join(m.Features, " "), m.Memory/(1<<30), m.System)
	if typical, most := r.others(); most >= 0 {
		fmt.Fprintf(b, "; other programs took %.0f %% of the processors' time, %.0f %% in the worst turn", 100*typical, 100*most)
	}
	fmt.Fprintf(b, "; %s in each server.\n\n", plural(r.Threads, "thread"))
	for _, s := range r.Sides {
		fmt.Fprintf(b, "- %s: %s\n", s.Name, s.Version)
	}
}

// roundsDone words the number of rounds, which can differ between scenarios that were measured one after the other.
func (r *Report) roundsDone() string {
	done := map[string]int{}
	for _, s := range r.Samples {
		done[s.Scenario] = max(done[s.Scenario], s.Round+1)
	}
	least, most := math.MaxInt, 0
	for _, s := range Scenarios {
		if n := done[s.Name]; n > 0 && !s.Once {
			least, most = min(least, n), max(most, n)
		}
	}
	if least < most {
		return fmt.Sprintf("%d to %s", least, plural(most, "round"))
	}
	return plural(max(most, 1), "round")
}

// others are the median and the largest share of the processors' time that other programs took, -1 where that is not known. A
// scenario that starts one is left out.
func (r *Report) others() (typical, most float64) {
	var v []float64
	for _, s := range r.Samples {
		if s.Others >= 0 && s.Scenario != "busy" {
			v = append(v, s.Others)
		}
	}
	if len(v) == 0 {
		return -1, -1
	}
	return median(v), slices.Max(v)
}

// ratios are the goals of a side. Those against itself say nothing new for a second Aim, but are what it was started for.
func (r *Report) ratios(b *strings.Builder, side SideInfo, other bool) {
	ratios := r.Ratios(side.Name)
	if len(ratios) == 0 {
		return
	}
	fmt.Fprintf(b, "\n### %s\n\n", side.Name)
	rows := [][]string{{"what", "figure", side.Name, "against", "ratio", "lowest to highest", "target"}}
	for _, x := range ratios {
		against := amount(x.Other, x.Metric.Unit)
		if x.Peer != "" {
			against += " (" + strings.TrimPrefix(x.Peer, "llama-server, ") + ")"
		}
		rows = append(rows, []string{
			x.What, x.Metric.Name, amount(x.Value, x.Metric.Unit), against, ratio(x.Median),
			ratio(x.Low) + " – " + ratio(x.High), x.target(other),
		})
	}
	b.WriteString(markdownTable(rows))
}

// optimized is the target of tokens/s on distinct prompts for a model in a faster format.
const optimized = 1.35

// target words a target and whether it is met.
func (r Ratio) target(other bool) string {
	if other && r.Scenario == "distinct" && r.Metric.higher() {
		r.Target = optimized
	}
	if r.Target == 0 {
		return ""
	}
	sign, met := "≤", "met"
	if r.Metric.higher() {
		sign = "≥"
	}
	if !r.Met() {
		met = "missed"
	}
	return fmt.Sprintf("%s %g, %s", sign, r.Target, met)
}

func (r *Report) sideNames() (names []string) {
	for _, s := range r.Sides {
		names = append(names, s.Name)
	}
	return names
}

// Table has a row for every case on every side, with the medians of the rounds.
func Table(samples []Sample, sides []string) string {
	head := []string{"load", "side", "tokens/s", "first token p50", "p95", "all at once p50", "inter-token p50", "p95", "prompt", "cached", "memory"}
	if len(sides) < 2 {
		head = slices.Delete(head, 1, 2)
	}
	rows := [][]string{head}
	for _, s := range Scenarios {
		for _, name := range cases(samples, s.Name) {
			for _, side := range sides {
				if row := row(samples, s, name, side); row != nil {
					if len(sides) < 2 {
						row = slices.Delete(row, 1, 2)
					}
					rows = append(rows, row)
				}
			}
		}
	}
	return markdownTable(dropEmptyColumns(rows))
}

// cases are the cases of a scenario, in the order of their first sample.
func cases(samples []Sample, scenario string) (names []string) {
	for _, s := range samples {
		if s.Scenario == scenario && !slices.Contains(names, s.Case) {
			names = append(names, s.Case)
		}
	}
	return names
}

// row is the line of a case on a side, nil where that has not been measured.
func row(samples []Sample, s *Scenario, name, side string) []string {
	var all []Figures
	for _, x := range samples {
		if x.Scenario == s.Name && x.Case == name && x.Side == side {
			all = append(all, x.Figures)
		}
	}
	if len(all) == 0 {
		return nil
	}
	cell := func(unit string, of func(f *Figures) float64) string {
		var v []float64
		for i := range all {
			if x := of(&all[i]); x > 0 {
				v = append(v, x)
			}
		}
		if len(v) == 0 {
			return ""
		}
		return amount(median(v), unit)
	}
	title := s.Title + ": " + name
	if slices.ContainsFunc(all, func(f Figures) bool { return f.Cut }) {
		title += " (cut by the time limit)"
	}
	cached := ""
	if all[0].CachedTokens >= 0 && all[0].PromptTokens > 0 {
		cached = cell("", func(f *Figures) float64 { return f.each(f.CachedTokens) })
		if cached == "" {
			cached = "0"
		}
	}
	return []string{
		title, side,
		cell("", func(f *Figures) float64 { return f.TokensPerSecond }),
		cell("", func(f *Figures) float64 { return f.FirstToken.P50 }),
		cell("", func(f *Figures) float64 { return f.FirstToken.P95 }),
		cell("", func(f *Figures) float64 { return f.AtOnce.P50 }),
		cell("", func(f *Figures) float64 { return f.InterToken.P50 }),
		cell("", func(f *Figures) float64 { return f.InterToken.P95 }),
		cell("", func(f *Figures) float64 { return f.each(f.PromptTokens) }),
		cached,
		cell("bytes", func(f *Figures) float64 { return f.PeakBytes }),
	}
}

// each is a number of tokens by request.
func (f *Figures) each(tokens int) float64 { return float64(tokens) / float64(max(f.Requests, 1)) }

// dropEmptyColumns leaves out the columns that no row has anything in.
func dropEmptyColumns(rows [][]string) [][]string {
	for c := len(rows[0]) - 1; c >= 0; c-- {
		if slices.ContainsFunc(rows[1:], func(row []string) bool { return row[c] != "" }) {
			continue
		}
		for i := range rows {
			rows[i] = slices.Delete(rows[i], c, c+1)
		}
	}
	return rows
}

// amount words a figure with three significant digits and its unit.
func amount(x float64, unit string) string {
	switch unit {
	case "bytes":
		return significant(x/1e6) + " MB"
	case "":
		return significant(x)
	default:
		return significant(x) + " " + unit
	}
}

// significant rounds to three significant digits, and to none behind the point above 100.
func significant(x float64) string {
	if x == 0 {
		return "0"
	}
	digits := max(0, 2-int(math.Floor(math.Log10(math.Abs(x)))))
	return strconv.FormatFloat(x, 'f', min(digits, 4), 64)
}

func ratio(x float64) string { return strconv.FormatFloat(x, 'f', 2, 64) }

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// markdownTable sets a table whose first row is the head, with columns that line up in a terminal as well.
func markdownTable(rows [][]string) string {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for c, cell := range row {
			widths[c] = max(widths[c], utf8.RuneCountInString(cell), 3)
		}
	}
	var b strings.Builder
	line := func(row []string, fill string) {
		for c, cell := range row {
			b.WriteString("| " + cell + strings.Repeat(fill, widths[c]-utf8.RuneCountInString(cell)) + " ")
		}
		b.WriteString("|\n")
	}
	line(rows[0], " ")
	line(make([]string, len(widths)), "-")
	for _, row := range rows[1:] {
		line(row, " ")
	}
	return b.String()
}
