package llama

import (
	"maps"
	"sync"

	"aim/sampler"
)

// countEvery is how many tokens of an answer may pass before the counters hear of them; they always hear of its end.
const countEvery = 64

// counters sums up what the samplers of ended and running answers count, by the names of their requests. The samplers count
// for themselves, so a step takes no lock.
type counters struct {
	mu     sync.Mutex
	byName map[string]sampler.Counts
}

// update adds what an answer's sampler has counted since the last call for it. Its sampler must be at rest.
func (c *counters) update(a *answer) {
	now := a.sampler.Counts()
	grown := subtract(now, a.counted)
	a.counted = now
	if grown == (sampler.Counts{}) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byName == nil {
		c.byName = map[string]sampler.Counts{}
	}
	c.byName[a.name] = add(c.byName[a.name], grown)
}

// Counters returns the sums of what the samplers of all answers have counted, by Request.Name. Those of an answer still running may
// lag behind by a few dozen steps.
func (e *Engine) Counters() map[string]sampler.Counts {
	e.counters.mu.Lock()
	defer e.counters.mu.Unlock()
	return maps.Clone(e.counters.byName)
}

func add(a, b sampler.Counts) sampler.Counts {
	return sampler.Counts{
		Steps: a.Steps + b.Steps, Flips: a.Flips + b.Flips, Exact: a.Exact + b.Exact,
		Hits: a.Hits + b.Hits, Forced: a.Forced + b.Forced,
	}
}

func subtract(a, b sampler.Counts) sampler.Counts {
	return sampler.Counts{
		Steps: a.Steps - b.Steps, Flips: a.Flips - b.Flips, Exact: a.Exact - b.Exact,
		Hits: a.Hits - b.Hits, Forced: a.Forced - b.Forced,
	}
}

// newReport returns nil unless p asks for a report.
func newReport(p *sampler.Params) *Report {
	if !p.Report {
		return nil
	}
	return &Report{}
}

// finalReport is the report of an answer at its end, nil unless it was asked for.
func (a *answer) finalReport() *Report {
	if a.report != nil {
		a.report.Report = a.sampler.Report()
	}
	return a.report
}
