package eval

import (
	"context"
	"encoding/json"
	"path/filepath"

	"aim/llama"
	"aim/sampler"
)

// Repetition says how much greedy answers repeat themselves.
type Repetition struct {
	// Window is the noise's scope, 0 for all tokens so far; Sigma its strength.
	Window int     `json:"window"`
	Sigma  float64 `json:"sigma"`
	// D2 is the mean share of distinct bigrams, Repeated4 the share of runs of four tokens that occurred before in the answer.
	D2        Estimate `json:"d2"`
	Repeated4 Estimate `json:"repeated4"`
	Answers   int      `json:"answers"`
}

// repeated is the share of an answer's runs of n tokens that occurred in it before.
func repeated(tokens []sampler.Token, n int) float64 {
	if len(tokens) < n {
		return 0
	}
	seen := map[string]bool{}
	again := 0
	for i := range len(tokens) - n + 1 {
		var key []byte
		for _, t := range tokens[i : i+n] {
			key = append(key, byte(t), byte(t>>8), byte(t>>16), byte(t>>24))
		}
		if seen[string(key)] {
			again++
		}
		seen[string(key)] = true
	}
	return float64(again) / float64(len(tokens)-n+1)
}

// Repetitive summarizes answers.
func Repetitive(window int, sigma float64, answers []Tried) Repetition {
	rows := make([][]float64, len(answers))
	for i, a := range answers {
		rows[i] = []float64{a.D2, repeated(a.Tokens, 4)}
	}
	means := weightedMeans(rows, nil)
	draws := Bootstrap(len(rows), Resamples, 1, func(counts []int) []float64 { return weightedMeans(rows, counts) })
	estimate := func(k int) Estimate {
		low, high := Band(column(draws, k))
		return Estimate{means[k], low, high}
	}
	return Repetition{Window: window, Sigma: sigma, D2: estimate(0), Repeated4: estimate(1), Answers: len(answers)}
}

// repetitionSettings are what the repetition of answers depends on.
type repetitionSettings struct {
	Model   string            `json:"model"`
	Noise   string            `json:"noise"`
	Length  int               `json:"length"`
	Prompts [][]sampler.Token `json:"prompts"`
}

// Repetitions answers prompts greedily without noise and with each σ in each scope, and tells how much the answers repeat
// themselves: what a window costs. The rows are kept in dir, so that a run that was stopped goes on.
func (a *Attack) Repetitions(ctx context.Context, prompts [][]sampler.Token, length int, dir string, progress func(done, total int)) ([]Repetition, error) {
	cells := []Repetition{{}}
	for _, w := range append([]int{0}, a.Windows...) {
		for _, s := range a.Sigmas {
			cells = append(cells, Repetition{Window: w, Sigma: s})
		}
	}
	have := map[[2]float64]Repetition{}
	settings := repetitionSettings{a.Model, Noise{Secret: a.Secret, Model: a.Model}.Fingerprint(), length, prompts}
	l, err := openLog(filepath.Join(dir, "repetition-"+settingsKey(settings)+".jsonl"), settings, func(line []byte) error {
		var r Repetition
		err := json.Unmarshal(line, &r)
		have[[2]float64{float64(r.Window), r.Sigma}] = r
		return err
	})
	if err != nil {
		return nil, err
	}
	defer l.f.Close()
	for i := range cells {
		c := &cells[i]
		if r, ok := have[[2]float64{float64(c.Window), c.Sigma}]; ok {
			*c = r
		} else if err := a.repeat(ctx, c, prompts, length, l); err != nil {
			return nil, err
		}
		if progress != nil {
			progress(i+1, len(cells))
		}
	}
	return cells, nil
}

// repeat fills in a row and appends it to the log.
func (a *Attack) repeat(ctx context.Context, c *Repetition, prompts [][]sampler.Token, length int, l *log) error {
	sc := sampler.Scope{Window: c.Window}
	var tries []Try
	for i, p := range prompts {
		tries = append(tries, Try{Group: i, Request: llama.Request{Prompt: p, MaxTokens: length, Params: sampler.Params{
			Utility: sampler.Utility{Sigma: c.Sigma, Key: sc.Key(a.Secret, a.Model, c.Sigma), Scope: sc},
		}}})
	}
	answers, err := Answer(ctx, a.Engine, tries, nil)
	if err != nil {
		return err
	}
	*c = Repetitive(c.Window, c.Sigma, answers)
	line, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return l.append(line)
}
