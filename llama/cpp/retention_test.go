package cpp

import (
	"math"
	"slices"
	"testing"

	"aim/llama"
	"aim/sampler"
)

var questions = []string{
	"Tell me about the city of Paris.", "Write a short story about a dog.", "Describe a day at school.",
	"What should I do on the weekend?", "Explain how a bicycle works.", "Give me advice for moving to a new town.",
	"Describe your favourite season.", "What makes a good friend?", "Write a letter to a neighbour.",
	"Tell me about the ocean.", "How do I bake bread?", "Why is the sky blue?", "Name three uses of a rope.",
	"What is a computer?", "Plan a birthday party for a child.", "How does a seed become a tree?",
	"Summarize the story of Robinson Crusoe.", "What is the difference between a lake and a river?",
	"Write a poem about winter.", "How can I learn to play the piano?",
}

// outcome is what one σ did to the answers of all questions.
type outcome struct {
	answers [][]sampler.Token
	// steps is their number, kept the number at which the model's own best token was chosen, expected the sum over the
	// steps of the probability of that, and variance the sum of p(1-p).
	steps, kept        int
	expected, variance float64
}

// answerAll answers every question greedily, side by side in one batch, with at most most tokens each.
func answerAll(t *testing.T, m *Model, sigma float64, most int) (o outcome) {
	t.Helper()
	d := decoder(t, m, DecoderOptions{Slots: len(questions), Context: 256, Batch: 1024})
	o.answers = make([][]sampler.Token, len(questions))
	samplers := make([]*sampler.Sampler, len(questions))
	var rows []llama.Row
	var running []int // the question of each row with logits
	for q, text := range questions {
		tokens, err := m.Tokenize([]llama.Part{{Text: "<|im_start|>user\n" + text + "<|im_end|>\n<|im_start|>assistant\n", Trusted: true}}, true)
		if err != nil {
			t.Fatal(err)
		}
		key := sampler.UtilityKey([]byte("a secret of this test"), "smollm2", sigma)
		s, err := sampler.New(sampler.Params{Utility: sampler.Utility{Sigma: sigma, Key: key}}, m.Vocab())
		if err != nil {
			t.Fatal(err)
		}
		s.Prime(tokens)
		samplers[q] = s
		for pos, tok := range tokens {
			rows = append(rows, llama.Row{Token: tok, Seq: q, Pos: pos, Logits: pos == len(tokens)-1})
		}
		running = append(running, q)
	}
	var gaps []float64
	for len(running) > 0 {
		if err := d.Decode(rows); err != nil {
			t.Fatal(err)
		}
		var next []llama.Row
		var left []int
		for i, r := range rows {
			if !r.Logits {
				continue
			}
			row := d.Logits(i)
			best := argmax(row)
			var err error
			if gaps, err = sampler.Gaps(row, gaps[:0]); err != nil {
				t.Fatal(err)
			}
			p := sampler.Retention(gaps, sigma)
			choice, err := samplers[r.Seq].Sample(row)
			if err != nil {
				t.Fatal(err)
			}
			samplers[r.Seq].Accept(choice.Token)
			o.steps++
			if choice.Token == best {
				o.kept++
			}
			o.expected += p
			o.variance += p * (1 - p)
			o.answers[r.Seq] = append(o.answers[r.Seq], choice.Token)
			if m.Kind(choice.Token) != llama.End && len(o.answers[r.Seq]) < most {
				left = append(left, r.Seq)
				next = append(next, llama.Row{Token: choice.Token, Seq: r.Seq, Pos: r.Pos + 1, Logits: true})
			}
		}
		rows, running = next, left
	}
	return o
}

func argmax(row []float32) sampler.Token {
	best := 0
	for i, z := range row {
		if z > row[best] {
			best = i
		}
	}
	return sampler.Token(best)
}

// On the real model at temperature 0, the share of steps at which the model's own best token is kept falls with σ, is what
// the integral says, and every answer is the same when asked again.
func TestRetentionFollowsSigma(t *testing.T) {
	if testing.Short() {
		t.Skip("half a minute of decoding")
	}
	m := open(t)
	last := 2.0
	for _, sigma := range []float64{0, 0.5, 1, 2, 3} {
		o := answerAll(t, m, sigma, 32)
		share, expected := float64(o.kept)/float64(o.steps), o.expected/float64(o.steps)
		se := math.Sqrt(o.variance) / float64(o.steps)
		t.Logf("σ = %-3g kept %.4f, integral %.4f ± %.4f, %d steps", sigma, share, expected, se, o.steps)
		if !(share < last) {
			t.Errorf("σ = %g: the share %.4f does not fall below %.4f", sigma, share, last)
		}
		// Four standard errors: wrong once in 16 000 runs of another secret; this one is fixed.
		if !(math.Abs(share-expected) <= 4*se+1e-9) {
			t.Errorf("σ = %g: kept %.4f of the steps, the integral says %.4f ± %.4f", sigma, share, expected, se)
		}
		last = share
		again := answerAll(t, m, sigma, 32)
		for q := range questions {
			if !slices.Equal(o.answers[q], again.answers[q]) {
				t.Errorf("σ = %g: %q was answered differently the second time", sigma, questions[q])
			}
		}
	}
}
