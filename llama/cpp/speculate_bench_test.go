package cpp

import (
	"context"
	"fmt"
	"testing"
	"time"

	"aim/internal/testmodel"
	"aim/llama"
	"aim/sampler"
)

const quotedText = "The harbour of Lindau was built in 1856, when the railway reached the island. Before that, ships from Bregenz and " +
	"Rorschach had to land at a wooden pier on the northern shore, which the winter storms of 1843 had damaged so badly that " +
	"merchants refused to pay the toll. The new harbour has two landmarks: a lion of Bavarian marble, six metres high, and a " +
	"lighthouse of thirty-three metres, the southernmost in the country. Its clock can be read from the water, and for many " +
	"years the keeper, Mrs Amalie Vogt, wound it every evening at seven. When the wind comes from the Rhine valley, the flag " +
	"on the gallery is changed from white to yellow, and small boats have to stay inside the mole. In 1911 a steamer ignored " +
	"the signal; it lost its rudder off Wasserburg, and eleven passengers were rescued by fishermen from Nonnenhorn."

// speculationPrompts are what answers repeat more or less of.
var speculationPrompts = []struct{ name, text string }{
	{"quote", fmt.Sprintf(chatFormat, "Repeat the following text word for word, and add nothing.\n\n"+quotedText)},
	{"edit", fmt.Sprintf(chatFormat, "Rewrite the following text with the lighthouse called \"tower\", and change nothing else.\n\n"+quotedText)},
	{"summary", fmt.Sprintf(chatFormat, "Summarize the following text in three sentences.\n\n"+quotedText)},
	{"free", benchPrompt},
}

// BenchmarkSpeculation answers with and without guesses in turns, one answer at a time: "ratio" is how many times as fast it is with
// them, "repeated" the share of tokens that lookup had guessed where everything is guessed, "accepted" that of the guesses tried here.
func BenchmarkSpeculation(b *testing.B) {
	m := open(b)
	for _, p := range speculationPrompts {
		prompt, err := m.Tokenize([]llama.Part{{Text: p.text, Trusted: true}}, true)
		if err != nil {
			b.Fatal(err)
		}
		for _, sigma := range []float64{0, 0.5, 1} {
			for _, streams := range []int{1, 4} {
				b.Run(fmt.Sprintf("%s/sigma=%g/streams=%d", p.name, sigma, streams), func(b *testing.B) {
					r := llama.Request{Prompt: prompt, MaxTokens: 192, Params: sampler.Params{
						Utility: sampler.Utility{Sigma: sigma, Key: sampler.FocusKey(1)}, Bias: testmodel.NoEnd(m),
					}}
					benchSpeculation(b, m, r, streams)
				})
			}
		}
	}
}

func benchSpeculation(b *testing.B, m *Model, r llama.Request, streams int) {
	off, stopOff := speculating(b, m, streams, 0)
	defer stopOff()
	on, stopOn := speculating(b, m, streams, 32)
	defer stopOn()
	var without, with time.Duration
	for b.Loop() {
		without += answersTake(b, off, r, streams)
		with += answersTake(b, on, r, streams)
	}
	s := on.Stats()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(b.N*streams*(r.MaxTokens-1))/without.Seconds(), "plain-tok/s")
	b.ReportMetric(without.Seconds()/with.Seconds(), "ratio")
	b.ReportMetric(float64(s.Accepted)/float64(max(1, s.Drafted)), "accepted")
	b.ReportMetric(float64(s.Drafted)/float64(s.CompletionTokens), "drafted")
}

func speculating(tb testing.TB, m *Model, streams, draft int) (*llama.Engine, func()) {
	tb.Helper()
	d, err := m.NewDecoder(DecoderOptions{Slots: streams, Context: 1024})
	if err != nil {
		tb.Fatal(err)
	}
	e := llama.New(m, d, llama.Config{Slots: streams, Context: 1024, Draft: draft})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- e.Run(ctx) }()
	return e, func() { stop(); <-ended; d.Close() }
}

// answersTake is how long it takes from the first token to the end of the same answer in several streams.
func answersTake(tb testing.TB, e *llama.Engine, r llama.Request, streams int) time.Duration {
	tb.Helper()
	took := make(chan time.Duration)
	for range streams {
		go func() {
			var usage llama.Usage
			for d, err := range e.Generate(context.Background(), r) {
				if err != nil {
					tb.Error(err)
				}
				usage = d.Usage
			}
			took <- usage.AnswerTime
		}()
	}
	var longest time.Duration
	for range streams {
		longest = max(longest, <-took)
	}
	return longest
}
