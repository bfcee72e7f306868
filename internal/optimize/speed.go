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

// Race measures two models in turns, so that what else the machine does meets both. The figures are the medians of the rounds, the
// speed-up the median of the speed-ups of each round.
func Race(ctx context.Context, original, candidate *Subject, tokens []sampler.Token, rounds int) (a, b Speed, speedup float64, err error) {
	var as, bs []Speed
	var ratios []float64
	for range rounds {
		x, err := lap(ctx, original, tokens)
		if err != nil {
			return a, b, 0, err
		}
		y, err := lap(ctx, candidate, tokens)
		if err != nil {
			return a, b, 0, err
		}
		as, bs, ratios = append(as, x), append(bs, y), append(ratios, Speedup(x, y))
	}
	return medians(as), medians(bs), median(ratios), nil
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
	if speed.Decode1, err = timed(ctx, s, steps1, single...); err != nil {
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
	speed.Decode8, err = timed(ctx, s, steps8*Streams, together...)
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

// timed decodes batches one after the other and returns tokens per second.
func timed(ctx context.Context, s *Subject, tokens int, batches ...[]llama.Row) (float64, error) {
	start := time.Now()
	for _, rows := range batches {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if err := s.Decoder.Decode(rows); err != nil {
			return 0, err
		}
	}
	return float64(tokens) / max(time.Since(start).Seconds(), 1e-9), nil
}

func medians(all []Speed) Speed {
	of := func(figure func(Speed) float64) float64 {
		var list []float64
		for _, s := range all {
			list = append(list, figure(s))
		}
		return median(list)
	}
	return Speed{
		of(func(s Speed) float64 { return s.Prefill }),
		of(func(s Speed) float64 { return s.Decode1 }),
		of(func(s Speed) float64 { return s.Decode8 }),
	}
}

// median is that of a list, which it sorts; 0 of none.
func median(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return (list[(len(list)-1)/2] + list[len(list)/2]) / 2
}
