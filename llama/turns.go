package llama

import (
	"math"
	"slices"
)

// turns divides the work fairly between groups of requests, such as those of one API key: whoever has been served least goes first. It
// counts as the Virtual Token Counter does ("Fairness in Serving Large Language Models", OSDI 2024, arXiv 2401.00588): a group is
// charged for each token that is computed for it, prompt and answer alike, and one that comes back after a pause begins with the
// least count of those present, so that nobody saves up. The zero value knows no group.
type turns struct {
	served map[string]float64
}

// arrive says that a request of a group has come, which is among those that wait. Groups that have nothing left are forgotten.
func (t *turns) arrive(group string, waiting, running []*sequence) {
	if t.served == nil {
		t.served = map[string]float64{}
	}
	present := map[string]int{}
	for _, list := range [][]*sequence{waiting, running} {
		for _, seq := range list {
			present[seq.group]++
		}
	}
	least := math.Inf(1)
	for g, n := range t.served {
		if present[g] == 0 {
			delete(t.served, g)
		} else if g != group {
			least = min(least, n)
		}
	}
	if present[group] == 1 && !math.IsInf(least, 1) {
		t.served[group] = max(t.served[group], least)
	}
}

// next is the index of the sequence whose turn it is. Those that were preempted are served before any other.
func (t *turns) next(waiting []*sequence) int {
	if i := slices.IndexFunc(waiting, func(seq *sequence) bool { return seq.resumed }); i >= 0 {
		return i
	}
	best := 0
	for i, seq := range waiting {
		if t.served[seq.group] < t.served[waiting[best].group] {
			best = i
		}
	}
	return best
}

// charge counts tokens that were computed for a sequence's group, each as less the more its group's share is.
func (t *turns) charge(seq *sequence, tokens int) {
	if tokens <= 0 || t.served == nil {
		return
	}
	weight := seq.weight
	if weight <= 0 {
		weight = 1
	}
	t.served[seq.group] += float64(tokens) / weight
}
