package eval

import (
	"math/rand/v2"
	"slices"

	"aim/sampler"
)

// Sees is what a caller gets to see.
type Sees string

// What callers see.
const (
	// SeesText: the greedy token.
	SeesText Sees = "text"
	// SeesLogprobs: the log-probabilities of the 20 most probable tokens, too.
	SeesLogprobs Sees = "logprobs"
)

// AttackRow says how an attack fared.
type AttackRow struct {
	// Gap is the raw lead of the best token, in logits; Sigma the noise.
	Gap   float64 `json:"gap"`
	Sigma float64 `json:"sigma"`
	// Window is the noise's scope, 0 for all tokens so far.
	Window int  `json:"window"`
	Mode   Mode `json:"mode"`
	Sees   Sees `json:"sees"`
	// Refused tells that a server refuses what this caller wants to see in this scope. The other figures are then missing.
	Refused bool `json:"refused,omitempty"`
	// Queries[i] is a number of queries and Success[i] the share of targets told right with them.
	Queries []int     `json:"queries,omitempty"`
	Success []float64 `json:"success,omitempty"`
	// N95 is the least of Queries from which on success is at least 95 %; 0 where it never is.
	N95 int `json:"n95"`
	// Ceiling is the success of the same number of queries without noise: variants of a prompt have other answers of their own.
	Ceiling float64 `json:"ceiling"`
	// Targets is the number of targets averaged over.
	Targets int `json:"targets"`
	// Steady are the targets that the variants leave alone: without noise they tell the right token. SteadyN95 is N95 over them
	// alone; it says what the noise is worth where the caller's variation costs nothing.
	Steady    int `json:"steady"`
	SteadyN95 int `json:"steady_n95"`
}

// attackTrials is the number of times that each target is attacked, with other queries in another order.
const attackTrials = 40

// maxQueries bounds the queries of a caller who finds fresh noise.
const maxQueries = 512

// Rows judges the outcomes of an attack.
func (a *Attack) Rows(targets []Target, outcomes [][]*Outcome) []AttackRow {
	var rows []AttackRow
	for _, gap := range a.Gaps {
		for s, sigma := range a.Sigmas {
			for scope, window := range append([]int{0}, a.Windows...) {
				for _, mode := range Modes {
					for _, sees := range []Sees{SeesText, SeesLogprobs} {
						row := AttackRow{Gap: gap, Sigma: sigma, Window: window, Mode: mode, Sees: sees}
						row.Refused = window > 0 && sees == SeesLogprobs
						if !row.Refused {
							a.judge(&row, targets, outcomes, scope, s)
						}
						rows = append(rows, row)
					}
				}
			}
		}
	}
	return rows
}

// judge fills in a row: the mean success over the targets of its gap.
func (a *Attack) judge(row *AttackRow, targets []Target, outcomes [][]*Outcome, scope, sigma int) {
	var all, steady, plain []float64
	for i := range targets {
		if targets[i].Wanted != row.Gap {
			continue
		}
		siege := siege{target: &targets[i], mode: row.Mode, sees: row.Sees, scope: scope, sigma: sigma, draws: a.draws(scope)}
		for k, v := range a.variants(&targets[i]) {
			if v.mode == row.Mode || k == 0 {
				siege.outcomes = append(siege.outcomes, outcomes[i][k])
			}
		}
		if row.Queries == nil {
			row.Queries = siege.queries()
			n := len(row.Queries)
			all, steady, plain = make([]float64, n), make([]float64, n), make([]float64, n)
		}
		// Every attack on one target has its own order, the same for every σ and scope.
		rng := rand.New(rand.NewPCG(uint64(i), 5))
		noisy, noiseless := siege.repeatedly(rng, row.Queries)
		row.Targets++
		add(all, noisy)
		add(plain, noiseless)
		if noiseless[len(noiseless)-1] >= 0.95 {
			row.Steady++
			add(steady, noisy)
		}
	}
	row.Success = scaled(all, 1/float64(row.Targets))
	row.N95 = enough(row.Queries, row.Success)
	if row.Steady > 0 {
		row.SteadyN95 = enough(row.Queries, scaled(steady, 1/float64(row.Steady)))
	}
	if n := len(plain); n > 0 {
		row.Ceiling = plain[n-1] / float64(row.Targets)
	}
}

// repeatedly attacks attackTrials times and returns the share of successes for each number of queries, with noise and without.
func (s *siege) repeatedly(rng *rand.Rand, queries []int) (noisy, noiseless []float64) {
	noisy, noiseless = make([]float64, len(queries)), make([]float64, len(queries))
	for range attackTrials {
		add(noisy, s.lay(rng, queries, false))
		add(noiseless, s.lay(rng, queries, true))
	}
	return scaled(noisy, 1./attackTrials), scaled(noiseless, 1./attackTrials)
}

// enough is the least number of queries from which on success is at least 95 %, 0 where there is none.
func enough(queries []int, success []float64) (n int) {
	for k := len(success) - 1; k >= 0 && success[k] >= 0.95; k-- {
		n = queries[k]
	}
	return n
}

func add(to, what []float64) {
	for i, x := range what {
		to[i] += x
	}
}

func scaled(list []float64, by float64) []float64 {
	out := make([]float64, len(list))
	for i, x := range list {
		out[i] = x * by
	}
	return out
}

// siege is an attack on one target with one σ and scope.
type siege struct {
	target       *Target
	mode         Mode
	sees         Sees
	scope, sigma int
	draws        int
	// outcomes are those of the plain prompt and of the mode's variants.
	outcomes []*Outcome
}

// fresh tells whether every query meets noise of its own.
func (s *siege) fresh() bool { return s.scope == 0 && s.mode != Repeat }

// queries are the numbers of queries to judge after: powers of two, and what there is.
func (s *siege) queries() (list []int) {
	most := len(s.outcomes)
	if s.fresh() {
		most = min(1+(len(s.outcomes)-1)*s.draws, maxQueries)
	}
	if s.mode == Repeat {
		most = 64
	}
	for n := 1; n < most; n *= 2 {
		list = append(list, n)
	}
	return append(list, most)
}

// query is one of the queries: a variant under a secret.
type query struct{ variant, draw int }

// order is the queries of one attack: first the plain prompt, then the variants.
func (s *siege) order(rng *rand.Rand) []query {
	secret := rng.IntN(s.draws)
	list := []query{{0, secret}}
	if s.mode == Repeat {
		return slices.Repeat(list, 64)
	}
	for v := range s.outcomes[1:] {
		if !s.fresh() {
			list = append(list, query{v + 1, secret})
			continue
		}
		for d := range s.draws {
			list = append(list, query{v + 1, d})
		}
	}
	rng.Shuffle(len(list)-1, func(i, j int) { list[i+1], list[j+1] = list[j+1], list[i+1] })
	return list
}

// lay attacks once and returns 1 or 0 for each number of queries. Without noise it shows the caller the raw rows.
//
// Who sees text takes the token seen most often, of equally frequent ones the first seen. Who sees log-probabilities takes
// the candidate with the largest mean, the best estimate under Gaussian noise.
func (s *siege) lay(rng *rand.Rand, queries []int, noiseless bool) []float64 {
	var out []float64
	votes := map[sampler.Token]int{}
	leader := sampler.Token(-1)
	means := make([]float64, len(s.target.Candidates))
	order := s.order(rng)
	for n, q := range order[:queries[len(queries)-1]] {
		o := s.outcomes[q.variant]
		seen := o.Raw
		if !noiseless {
			seen = o.Text[s.scope][s.sigma][q.draw]
		}
		if votes[seen]++; leader < 0 || votes[seen] > votes[leader] {
			leader = seen
		}
		told := leader
		if s.sees == SeesLogprobs && !noiseless {
			for i, lp := range o.Logprobs[s.sigma][q.draw] {
				means[i] += float64(lp)
			}
			told = s.target.Candidates[largest(means)]
		}
		if len(out) < len(queries) && n+1 == queries[len(out)] {
			out = append(out, indicator(told == s.target.Best))
		}
	}
	return out
}
