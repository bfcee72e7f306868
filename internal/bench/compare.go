package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Sample is what a case of a scenario gave on one side in one round.
type Sample struct {
	Scenario string  `json:"scenario"`
	Case     string  `json:"case"`
	Side     string  `json:"side"`
	Round    int     `json:"round"`
	Figures  Figures `json:"figures"`
	// Others is the share of the processors' time that other programs took during the turn, so far; -1 where it is not known.
	Others float64 `json:"others"`
}

// Comparison is what is to be compared.
type Comparison struct {
	Options
	Sides     []Side
	Scenarios []*Scenario
	// Rounds ≥ 1; in each, every side has its turn.
	Rounds int
	// Model is the path of the model file, which is read once beforehand so that everybody finds it in the file cache.
	Model string
	// Dir is a folder for what the servers write.
	Dir string
	// Took, where given, is called with every sample.
	Took func(Sample)
	// Refused is called where a server refuses a request of a scenario, which then has no sample of it: a model without a
	// template, for instance, has no chat.
	Refused func(*Scenario, *Side, error)
	// Done is called when all rounds of a scenario are over.
	Done func(*Scenario, []Sample) error

	// wordsPerToken is what the first server said, so that all get the same prompts though they may count a token more or less.
	wordsPerToken float64
}

// Run runs the scenarios one after the other. In each round of one, every side gets a fresh server in turn, alone on the
// machine and with the same prompts.
func (c *Comparison) Run(ctx context.Context) error {
	if err := readThrough(c.Model); err != nil {
		return err
	}
	for _, s := range c.Scenarios {
		var samples []Sample
		rounds := c.Rounds
		if s.Once {
			rounds = 1
		}
		for round := range rounds {
			for i := range c.Sides {
				if s.OnlyAim && !c.Sides[i].Aim {
					continue
				}
				err := c.turn(ctx, s, &c.Sides[i], round, func(x Sample) {
					samples = append(samples, x)
					if c.Took != nil {
						c.Took(x)
					}
				})
				var refused *StatusError
				if errors.As(err, &refused) {
					c.Refused(s, &c.Sides[i], err)
				} else if err != nil {
					return fmt.Errorf("%s, %s: %w", s.Name, c.Sides[i].Name, err)
				}
			}
		}
		if err := c.Done(s, samples); err != nil {
			return err
		}
	}
	return nil
}

// turn measures a scenario on one side.
func (c *Comparison) turn(ctx context.Context, s *Scenario, side *Side, round int, took func(Sample)) error {
	p, err := side.Start(ctx, s.shape(&c.Options), c.Dir)
	if err != nil {
		return err
	}
	defer p.Stop()
	alive, end := p.While(ctx)
	defer end()
	meter := startMeter(p.cmd.Process.Pid)
	r := &Run{
		Options: c.Options, Client: &Client{URL: p.URL}, Prompts: Prompts{Seed: c.Seed}, Round: round, Process: p,
		Record: func(name string, f Figures) { took(Sample{s.Name, name, side.Name, round, f, meter.others()}) },
	}
	if err := r.Warm(alive, s.Cold); err != nil {
		return p.explain(err)
	}
	if c.wordsPerToken > 0 {
		r.Prompts.WordsPerToken = c.wordsPerToken
	} else if !s.Cold { // whose first prompt is too short to tell
		c.wordsPerToken = r.Prompts.WordsPerToken
	}
	if err := s.Measure(alive, r); err != nil {
		return p.explain(err)
	}
	return nil
}

// startUp is how long a server may take until its model answers.
const startUp = 5 * time.Minute

// Warm sends a first request and finds out what the server can do. Where a cold start is measured, the prompt is short. A server
// of ours is waited for.
func (r *Run) Warm(ctx context.Context, cold bool) (err error) {
	words, patience := 64, time.Duration(0)
	if cold {
		words = 16
	}
	if r.Process != nil {
		patience = startUp
	}
	r.First, err = r.Client.Probe(ctx, &r.Prompts, words, patience)
	return err
}

// readThrough reads a file to its end.
func readThrough(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(io.Discard, f)
	return err
}
