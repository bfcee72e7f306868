package optimize

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"

	"aim/llama"
	"aim/sampler"
)

// Subject is an open model with a cache of at least two sequences.
type Subject struct {
	Model   llama.Model
	Decoder llama.Decoder
}

// Quality says how far a model is from the original on a text. All logarithms are natural.
type Quality struct {
	// Tokens is how many next tokens were looked at.
	Tokens int `json:"tokens"`
	// Original and Perplexity are the perplexities of the original and of the candidate: exp of the mean of -log p(next token).
	Original   float64 `json:"original_perplexity"`
	Perplexity float64 `json:"perplexity"`
	// LogRatio is the mean over tokens of log p(original) - log p(candidate), which is log(Perplexity/Original), and StdErr its
	// standard error: the tokens are the same, so that their difference is known better than either perplexity.
	LogRatio float64 `json:"log_ratio"`
	StdErr   float64 `json:"std_err"`
	// KL is the mean over rows of the divergence Σ p log(p/q) of the candidate's distribution q from the original's p, in nats.
	KL float64 `json:"kl"`
	// SameTop is the share of rows in which both have the same largest logit.
	SameTop float64 `json:"same_top"`
}

// Loss is by which share the candidate's perplexity is above the original's; negative where it is below.
func (q *Quality) Loss() float64 { return math.Expm1(q.LogRatio) }

// difference is what one pair of rows contributes.
type difference struct {
	original, candidate float64 // -log p(next)
	kl                  float64
	same                bool
}

// differ compares two rows of logits over the same vocabulary, of which next is the token that followed. All sums are float64.
func differ(p, q []float32, next sampler.Token) difference {
	topP, logP := logNormalizer(p)
	topQ, logQ := logNormalizer(q)
	kl := 0.0
	for i := range p {
		lp := float64(p[i]) - logP
		// Below e^-40 of probability a term is nothing, and 0 · -Inf, of a masked token, would be NaN.
		if lp > -40 {
			kl += math.Exp(lp) * (lp - (float64(q[i]) - logQ))
		}
	}
	return difference{logP - float64(p[next]), logQ - float64(q[next]), max(0, kl), topP == topQ}
}

// logNormalizer is the index of the largest logit, the first of equals, and log Σ exp z.
func logNormalizer(z []float32) (top int, logSum float64) {
	for i, v := range z {
		if v > z[top] {
			top = i
		}
	}
	most, sum := float64(z[top]), 0.0
	for _, v := range z {
		sum += math.Exp(float64(v) - most)
	}
	return top, most + math.Log(sum)
}

// summarize makes the figures of all pairs.
func summarize(all []difference) (*Quality, error) {
	n := float64(len(all))
	if n < 2 {
		return nil, fmt.Errorf("%d tokens are too few to compare on", len(all))
	}
	q := &Quality{Tokens: len(all)}
	var original, ratio, squares float64
	for _, d := range all {
		original += d.original
		ratio += d.candidate - d.original
		q.KL += d.kl / n
		if d.same {
			q.SameTop += 1 / n
		}
	}
	q.LogRatio = ratio / n
	for _, d := range all {
		e := d.candidate - d.original - q.LogRatio
		squares += e * e
	}
	q.StdErr = math.Sqrt(squares / (n - 1) / n)
	q.Original, q.Perplexity = math.Exp(original/n), math.Exp(original/n+q.LogRatio)
	if math.IsNaN(q.Perplexity) || math.IsInf(q.Perplexity, 0) || math.IsNaN(q.KL) {
		return nil, errors.New("its logits are not finite")
	}
	return q, nil
}

// The text is cut into windows of so many tokens, each of them alone in the cache; within one, logits of so many bytes are asked for at once.
const (
	// Window is the least context of a Subject.
	Window   = 512
	rowBytes = 32 << 20
)

// Compare runs both models over a text and compares the rows of each token but the first of a window. A window begins with the first of
// tokens where that is a control token of the model, such as a beginning-of-sequence.
func Compare(ctx context.Context, original, candidate *Subject, tokens []sampler.Token, progress func(float64)) (*Quality, error) {
	if a, b := original.Model.Vocab(), candidate.Model.Vocab(); a != b {
		return nil, fmt.Errorf("the vocabularies have %d and %d tokens", a, b)
	}
	var start []sampler.Token
	if len(tokens) > 0 && original.Model.Kind(tokens[0]) == llama.Control {
		start, tokens = tokens[:1], tokens[1:]
	}
	rows := min(128, max(1, rowBytes/(4*original.Model.Vocab())))
	var all []difference
	for from := 0; from+1 < len(tokens); from += Window - len(start) {
		window := append(append(make([]sampler.Token, 0, Window), start...), tokens[from:min(len(tokens), from+Window-len(start))]...)
		for at := 0; at < len(window); at += rows {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			to := min(at+rows, len(window))
			if err := feed(original, window, at, to); err != nil {
				return nil, fmt.Errorf("the original: %w", err)
			}
			if err := feed(candidate, window, at, to); err != nil {
				return nil, fmt.Errorf("the candidate: %w", err)
			}
			// What follows the last row of a window is not known to it, and a start is no text.
			all = append(all, pairs(original, candidate, window, at, min(to, len(window)-1))...)
		}
		if progress != nil {
			progress(float64(min(len(tokens), from+Window)) / float64(len(tokens)))
		}
	}
	return summarize(all)
}

// feed decodes window[at:to] in sequence 0, which is emptied before a window's first.
func feed(s *Subject, window []sampler.Token, at, to int) error {
	if at == 0 {
		if err := s.Decoder.Forget(0, 0); err != nil {
			return err
		}
	}
	rows := make([]llama.Row, 0, to-at)
	for i := at; i < to; i++ {
		rows = append(rows, llama.Row{Token: window[i], Pos: i, Logits: true})
	}
	return s.Decoder.Decode(rows)
}

// pairs compares the rows of window[at:to] in parallel.
func pairs(original, candidate *Subject, window []sampler.Token, at, to int) []difference {
	out := make([]difference, max(0, to-at))
	ps, qs := make([][]float32, len(out)), make([][]float32, len(out))
	for i := range out { // a Decoder is for one goroutine
		ps[i], qs[i] = original.Decoder.Logits(i), candidate.Decoder.Logits(i)
	}
	var wg sync.WaitGroup
	workers := min(len(out), runtime.GOMAXPROCS(0))
	for w := range workers {
		wg.Go(func() {
			for i := w; i < len(out); i += workers {
				out[i] = differ(ps[i], qs[i], window[at+i+1])
			}
		})
	}
	wg.Wait()
	return out
}
