package bench

import (
	"slices"
	"time"

	"gonum.org/v1/gonum/stat"
)

// Quantiles are the median and the 95th percentile of latencies, in seconds; zero where there were none.
type Quantiles struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
}

// quantiles sorts x.
func quantiles(x []float64) Quantiles {
	if len(x) == 0 {
		return Quantiles{}
	}
	slices.Sort(x)
	// Empirical: each is a latency that was seen.
	return Quantiles{stat.Quantile(0.5, stat.Empirical, x, nil), stat.Quantile(0.95, stat.Empirical, x, nil)}
}

// Figures are what one load on one server gave. What does not apply is zero.
type Figures struct {
	Requests int `json:"requests,omitempty"`
	// PromptTokens are the tokens of all prompts; CachedTokens those not computed again, negative where the server does not tell.
	PromptTokens int `json:"prompt_tokens,omitempty"`
	CachedTokens int `json:"cached_tokens,omitempty"`
	// Tokens are those of all answers, Seconds the time from the first request to the end of the last answer.
	Tokens          int     `json:"tokens,omitempty"`
	Seconds         float64 `json:"seconds,omitempty"`
	TokensPerSecond float64 `json:"tokens_per_second,omitempty"`
	// FirstToken is the time to the first token; AtOnce that of each client's first request, which all go out together.
	FirstToken Quantiles `json:"first_token,omitzero"`
	AtOnce     Quantiles `json:"first_token_at_once,omitzero"`
	// InterToken is the gap between two pieces of text of one answer.
	InterToken Quantiles `json:"inter_token,omitzero"`
	// PeakBytes is the most memory that the server held.
	PeakBytes float64 `json:"peak_bytes,omitempty"`
	// Cut says that the time limit ended answers, whose tokens then are the pieces that came.
	Cut bool `json:"cut,omitempty"`
}

// load is what a closed loop gave: answers[client][request].
type load struct {
	answers [][]*Answer
	took    time.Duration
}

// figures sums up loads of the same kind as if they were one.
func figures(loads ...load) Figures {
	var f Figures
	var first, atOnce, gaps []float64
	for _, l := range loads {
		f.Seconds += l.took.Seconds()
		for _, client := range l.answers {
			for i, a := range client {
				f.add(a)
				if len(a.Pieces) == 0 {
					continue
				}
				ttft := a.Pieces[0].Sub(a.Sent).Seconds()
				first = append(first, ttft)
				if i == 0 {
					atOnce = append(atOnce, ttft)
				}
				gaps = append(gaps, a.gaps(a.Sent, a.End)...)
			}
		}
	}
	if f.Seconds > 0 {
		f.TokensPerSecond = float64(f.Tokens) / f.Seconds
	}
	f.FirstToken, f.AtOnce, f.InterToken = quantiles(first), quantiles(atOnce), quantiles(gaps)
	return f
}

// add counts an answer.
func (f *Figures) add(a *Answer) {
	f.Requests++
	f.Cut = f.Cut || a.Cut
	f.PromptTokens += a.Usage.Prompt
	f.Tokens += a.Usage.Tokens
	switch {
	case a.Cut:
	case a.Usage.Cached < 0:
		f.CachedTokens = -1
	case f.CachedTokens >= 0:
		f.CachedTokens += a.Usage.Cached
	}
}

// gaps are the seconds between two pieces, as far as they overlap the time from one moment to another.
func (a *Answer) gaps(from, to time.Time) (seconds []float64) {
	for i := 1; i < len(a.Pieces); i++ {
		if a.Pieces[i].After(from) && a.Pieces[i-1].Before(to) {
			seconds = append(seconds, a.Pieces[i].Sub(a.Pieces[i-1]).Seconds())
		}
	}
	return seconds
}

// median is that of values, the mean of the middle two where they are even in number; 0 of none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
