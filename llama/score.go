package llama

import (
	"slices"
	"time"

	"aim/sampler"
)

// scores are the log-probabilities of a prompt's tokens in the making. They have a sampler of their own, so that scoring
// changes nothing about the answer: what it says of a token is what it would say of it as the first of an answer to the tokens before.
type scores struct {
	prompt  []sampler.Token
	sampler *sampler.Sampler
	list    []Sampled
}

// newScores returns nil unless the request asks for them.
func newScores(r *Request, vocab int) (*scores, error) {
	if !r.ScorePrompt {
		return nil, nil
	}
	p := r.Params
	// These are about an answer, which a prompt is not.
	p.Mask, p.Observer, p.Report, p.MinTokens, p.IgnoreEnd = nil, nil, false, 0, false
	s, err := sampler.New(p, vocab)
	if err != nil {
		return nil, err
	}
	s.Prime(r.Prompt[:1])
	return &scores{prompt: slices.Clone(r.Prompt), sampler: s, list: []Sampled{{Token: r.Prompt[0]}}}, nil
}

// checkScores refuses what cannot be scored.
func checkScores(r *Request) error {
	if !r.ScorePrompt {
		return nil
	}
	if !r.Params.Logprobs {
		return &sampler.DomainError{Param: "logprobs", Value: false, Want: "true where the prompt is to be scored"}
	}
	if n := len(r.Params.Spans); n > 0 {
		return &sampler.DomainError{Param: "spans", Value: n, Want: "0 where the prompt is to be scored: a span is a part of it"}
	}
	return nil
}

// add scores the next token by the row that predicts it.
func (s *scores) add(row []float32) error {
	t := s.prompt[len(s.list)]
	c, err := s.sampler.Score(row, t)
	if err != nil {
		return err
	}
	s.sampler.Prime([]sampler.Token{t})
	s.list = append(s.list, sampledOf(c))
	return nil
}

// take returns the scores once all are there, and nil afterwards.
func (a *answer) take() []Sampled {
	if a.scores == nil || len(a.scores.list) < len(a.scores.prompt) {
		return nil
	}
	list := a.scores.list
	a.scores = nil
	return list
}

// score looks at the rows that score the sequence's prompt.
func (seq *sequence) score(st *step) error {
	for _, row := range st.scores {
		if err := seq.scores.add(row); err != nil {
			return err
		}
		seq.scored++
	}
	st.delta.Prompt = seq.take()
	if seq.mute && seq.scored == seq.toScore {
		seq.clock.token(&seq.usage)
		st.delta.Finish, st.delta.Usage, st.delta.Report = FinishLength, seq.usage, seq.finalReport()
	}
	return nil
}

// silence is the whole answer to a request that needs no decode.
func (seq *sequence) silence() Delta {
	return Delta{Prompt: seq.take(), Finish: FinishLength, Usage: seq.usage, Report: seq.finalReport()}
}

// clock tells how long a request took. Its times are monotonic; those that have not come are zero.
type clock struct{ arrived, begun, first time.Time }

// begin says that a decode is about to compute the first tokens of a prompt.
func (e *Engine) begin() {
	var now time.Time
	for _, seq := range e.loop.sched.running {
		if !seq.clock.begun.IsZero() || seq.next == seq.done {
			continue
		}
		if now.IsZero() {
			now = time.Now()
		}
		seq.clock.begun = now
		seq.usage.Queued = now.Sub(seq.clock.arrived)
	}
}

// token says that a token was chosen, or that there was nothing to choose.
func (c *clock) token(u *Usage) {
	now := time.Now()
	if c.first.IsZero() {
		c.first = now
		u.PromptTime = now.Sub(c.begun)
	}
	u.AnswerTime = now.Sub(c.first)
}
