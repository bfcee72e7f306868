package calibrate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"aim/llama"
	"aim/sampler"
)

// Subject is a model to measure.
type Subject struct {
	// Engine answers; somebody else runs it, and may let it answer others meanwhile.
	Engine *llama.Engine
	// Render turns a prompt's text into tokens, by the chat template where the model has one.
	Render func(text string) ([]sampler.Token, error)
	// Adapters is the set of adapters that it is measured under.
	Adapters llama.AdapterSet
	// Streams is how many answers to generate at once, by default one.
	Streams int
	// EndNoise is what the noise does to the tokens that end an answer. Under [sampler.EndExempt] the probability of a step takes
	// them for tokens with noise.
	EndNoise sampler.EndNoise
}

// quiet is the tokens that noise does not bring to the front.
type quiet struct {
	tokens []sampler.Token
	// kept are those that noise does not take from there either.
	kept map[sampler.Token]bool
}

func (s Subject) quiet() quiet {
	q := quiet{kept: map[sampler.Token]bool{}}
	model := s.Engine.Model()
	for t := range sampler.Token(model.Vocab()) {
		switch model.Kind(t) {
		case llama.Control:
			q.tokens = append(q.tokens, t)
		case llama.End:
			if s.EndNoise == sampler.EndKept {
				q.tokens = append(q.tokens, t)
				q.kept[t] = true
			}
		case llama.Normal:
		}
	}
	return q
}

// step is one step of an answer.
type step struct {
	// kept says whether the model's best token was chosen.
	kept bool
	// p is the exact probability of that, at each σ that was asked for.
	p []float64
}

// answer is one answer, step by step.
type answer struct {
	prompt int     // its index
	sigma  float64 // of the noise it was generated under
	steps  []step
	// ended is true where the model ended it, false where its length was bounded.
	ended bool
}

// job is an answer to generate.
type job struct {
	prompt int
	tokens []sampler.Token
	sigma  float64
	// at are the σ at which to compute the probability of each step.
	at        []float64
	maxTokens int
	key       sampler.Key
}

// probe is a [sampler.Observer] that records the steps of an answer.
type probe struct {
	quiet      quiet
	at         int // the number of σ
	retentions *sampler.Retentions
	row        []float32
	gaps       []float64
	best       sampler.Token
	p          []float64
	steps      []step
	err        error
}

// Observe implements [sampler.Observer].
func (o *probe) Observe(raw []float32) {
	o.best = 0
	for t, z := range raw {
		if z > raw[o.best] { // of equals the first, as in the sampler
			o.best = sampler.Token(t)
		}
	}
	if o.quiet.kept[o.best] {
		o.p = slices.Repeat([]float64{1}, o.at)
		return
	}
	o.row = append(o.row[:0], raw...)
	for _, t := range o.quiet.tokens {
		if t != o.best {
			o.row[t] = float32(math.Inf(-1)) // no rival
		}
	}
	gaps, err := sampler.Gaps(o.row, o.gaps[:0])
	if err != nil {
		o.err = err // the sampler fails on this row, too
		return
	}
	o.gaps = gaps
	o.p = o.retentions.Of(gaps, nil)
}

// Accept implements [sampler.Observer].
func (o *probe) Accept(t sampler.Token) { o.steps = append(o.steps, step{t == o.best, o.p}) }

// generate runs the jobs and returns their answers in the same order. tick, when set, is called after each answer with
// the number of its steps, by one goroutine at a time.
func (s Subject) generate(ctx context.Context, jobs []job, tick func(steps int)) ([]answer, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	answers := make([]answer, len(jobs))
	q := s.quiet()
	next := make(chan int)
	var running sync.WaitGroup
	var ticking sync.Mutex
	for range max(1, min(s.Streams, len(jobs))) {
		running.Go(func() {
			for i := range next {
				a, err := s.one(ctx, jobs[i], q)
				if err != nil {
					cancel(err) // the first one counts
					return
				}
				answers[i] = a
				if tick != nil {
					ticking.Lock()
					tick(len(a.steps))
					ticking.Unlock()
				}
			}
		})
	}
	for i := 0; i < len(jobs) && ctx.Err() == nil; i++ {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	running.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return answers, nil
}

// busyPause is how long to wait for a place in an engine that others keep busy.
const busyPause = 100 * time.Millisecond

// one generates one answer. It waits for its turn as long as ctx allows.
func (s Subject) one(ctx context.Context, j job, q quiet) (answer, error) {
	for {
		a, err := s.attempt(ctx, j, q)
		if !errors.Is(err, llama.ErrBusy) {
			return a, err
		}
		select {
		case <-ctx.Done():
			return a, ctx.Err()
		case <-time.After(busyPause):
		}
	}
}

func (s Subject) attempt(ctx context.Context, j job, q quiet) (answer, error) {
	a := answer{prompt: j.prompt, sigma: j.sigma}
	retentions, err := sampler.NewRetentions(j.at)
	if err != nil {
		return a, err
	}
	o := &probe{quiet: q, at: len(j.at), retentions: retentions}
	request := llama.Request{
		Prompt:    j.tokens,
		MaxTokens: j.maxTokens,
		Adapters:  s.Adapters,
		Params:    sampler.Params{Utility: sampler.Utility{Sigma: j.sigma, Key: j.key, EndNoise: s.EndNoise}, Observer: o},
	}
	for d, err := range s.Engine.Generate(ctx, request) {
		if err != nil {
			return a, fmt.Errorf("answer prompt %d at σ = %g: %w", j.prompt+1, j.sigma, err)
		}
		a.ended = d.Finish == llama.FinishStop
	}
	a.steps = o.steps
	return a, o.err
}
