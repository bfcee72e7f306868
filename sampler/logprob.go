package sampler

import "slices"

// report is the scratch of stage 16.
type report struct {
	on   bool
	heap []ranked
	top  []Candidate
}

func newReport(p *Params, vocab int) report {
	n := min(p.TopLogprobs, vocab)
	return report{on: p.Logprobs, heap: make([]ranked, 0, n), top: make([]Candidate, 0, n)}
}

// choice describes the chosen token: its log-softmax ln p = z - ln Σ e^zⱼ over the whole row at temperature 1, and the most
// probable tokens with theirs.
func (r *report) choice(v *view, top, chosen Token) Choice {
	if !r.on {
		return Choice{Token: chosen}
	}
	row := v.all()
	norm := logSum(row, row[top])
	r.top = r.top[:0]
	if cap(r.heap) > 0 {
		r.heap = leaders(row, r.heap)
		slices.SortFunc(r.heap, compareRank)
		for _, h := range r.heap {
			r.top = append(r.top, Candidate{Token(h.at), float64(h.logit) - norm})
		}
	}
	return Choice{Token: chosen, Logprob: float64(row[chosen]) - norm, Top: r.top}
}
