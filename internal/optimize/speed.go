package optimize

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"aim/llama"
	"aim/sampler"
)

// The task that speeds are compared by: a prompt and an answer, in tokens.
const (
	promptTokens = 208
	answerTokens = 128
)

// Streams is the number of sequences that are decoded together in the second measurement of decoding, and so the least that a Subject has.
const Streams = 8

// Speed is what a model computes, in tokens per second.
type Speed struct {
	// Prefill is that of a prompt of 208 tokens, Decode1 that of one answer, Decode8 that of eight answers together.
	Prefill float64 `json:"prefill"`
	Decode1 float64 `json:"decode_1"`
	Decode8 float64 `json:"decode_8"`
}

// task is the time of a prompt of 208 tokens and an answer of 128, in seconds, when decoding yields so many tokens per second.
func (s Speed) task(decode float64) float64 { return promptTokens/s.Prefill + answerTokens/decode }

// Speedup is by which factor the candidate does prompts of 208 tokens with answers of 128 in less time than the original: the geometric
// mean of those for one client and for eight.
func Speedup(original, candidate Speed) float64 {
	return math.Sqrt(original.task(original.Decode1) / candidate.task(candidate.Decode1) *
		original.task(original.Decode8) / candidate.task(candidate.Decode8))
}

// Race measures two models in turns, so that what else the machine does meets both. The figures are the best of the rounds, because
// that can only slow a model down.
func Race(ctx context.Context, original, candidate *Subject, tokens []sampler.Token, rounds int) (a, b Speed, err error) {
	for range rounds {
		x, err := lap(ctx, original, tokens)
		if err != nil {
			return a, b, err
		}
		y, err := lap(ctx, candidate, tokens)
		if err != nil {
			return a, b, err
		}
		a, b = a.best(x), b.best(y)
	}
	return a, b, nil
}

// best takes the better of each figure.
func (s Speed) best(o Speed) Speed {
	return Speed{max(s.Prefill, o.Prefill), max(s.Decode1, o.Decode1), max(s.Decode8, o.Decode8)}
}

// Steps of decoding in a lap: of one sequence, and of Streams together.
const (
	steps1 = 32
	steps8 = 12
)

// lap measures a model once. What the tokens are does not matter to its speed.
func lap(ctx context.Context, s *Subject, tokens []sampler.Token) (speed Speed, err error) {
	if len(tokens) < promptTokens+steps1 {
		return speed, errors.New("the text is too short to measure speed with")
	}
	for seq := range Streams {
		if err := s.Decoder.Forget(seq, 0); err != nil {
			return speed, err
		}
	}
	prompt := make([]llama.Row, promptTokens)
	for i := range prompt {
		prompt[i] = llama.Row{Token: tokens[i], Pos: i, Logits: i == promptTokens-1}
	}
	// The first decode of a size also allocates, and finds the weights wherever they are.
	if err := s.Decoder.Decode(prompt); err != nil {
		return speed, err
	}
	if err := s.Decoder.Forget(0, 0); err != nil {
		return speed, err
	}
	if speed.Prefill, err = timed(ctx, s, promptTokens, prompt); err != nil {
		return speed, err
	}
	var single [][]llama.Row
	for i := range steps1 {
		single = append(single, []llama.Row{{Token: tokens[promptTokens+i], Pos: promptTokens + i, Logits: true}})
	}
	if speed.Decode1, err = timed(ctx, s, 1, single...); err != nil {
		return speed, err
	}
	var together [][]llama.Row
	for i := range steps8 {
		var rows []llama.Row
		for seq := range Streams {
			pos := promptTokens + i
			if seq == 0 {
				pos += steps1
			}
			rows = append(rows, llama.Row{Token: tokens[promptTokens+i], Seq: seq, Pos: pos, Logits: true})
		}
		together = append(together, rows)
	}
	for seq := 1; seq < Streams; seq++ {
		if err := copyPrompt(s, prompt, seq); err != nil {
			return speed, err
		}
	}
	speed.Decode8, err = timed(ctx, s, Streams, together...)
	return speed, err
}

// copyPrompt makes the prompt of sequence 0 also that of seq.
func copyPrompt(s *Subject, prompt []llama.Row, seq int) error {
	err := s.Decoder.Share(0, seq, promptTokens)
	if !errors.Is(err, llama.ErrUnsupported) {
		return err
	}
	rows := slices.Clone(prompt)
	for i := range rows {
		rows[i].Seq = seq
	}
	return s.Decoder.Decode(rows)
}

// timed decodes batches of so many tokens one after the other, and returns tokens per second in the one of median time.
func timed(ctx context.Context, s *Subject, tokens int, batches ...[]llama.Row) (float64, error) {
	times := make([]float64, len(batches))
	for i, rows := range batches {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		start := time.Now()
		if err := s.Decoder.Decode(rows); err != nil {
			return 0, err
		}
		times[i] = time.Since(start).Seconds()
	}
	slices.Sort(times)
	return float64(tokens) / max(times[len(times)/2], 1e-9), nil
}
