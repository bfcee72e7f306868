package cpp

import (
	"fmt"
	"testing"
	"time"

	"aim/llama"
)

// What the layout of the cache and the size of what is computed at once cost: processor time of one thread, which other
// processes on the machine hardly change, for prompts and for decodes of one token after it.
func BenchmarkLayouts(b *testing.B) {
	m := open(b)
	const answer = 24
	for _, prompt := range []int{128, 768} {
		for _, o := range []DecoderOptions{
			{FlashAttention: FlashOn},
			{FlashAttention: FlashOff},
			{FlashAttention: FlashOn, Ubatch: 128},
			{FlashAttention: FlashOff, Ubatch: 128},
			{FlashAttention: FlashOn, CacheK: CacheQ8_0, CacheV: CacheQ8_0},
		} {
			b.Run(fmt.Sprintf("prompt=%d/flash=%v,ubatch=%d,kv=%v", prompt, o.FlashAttention, o.Ubatch, o.CacheK), func(b *testing.B) {
				o.Context, o.Threads = 1024, 1
				var enter, step time.Duration
				for b.Loop() {
					d, err := m.NewDecoder(o)
					if err != nil {
						b.Fatal(err)
					}
					for pos := 0; pos < prompt+answer; {
						rows := make([]llama.Row, min(d.opt.Batch, max(1, prompt-pos)))
						for i := range rows {
							rows[i] = llama.Row{Token: 100, Pos: pos + i, Logits: i == len(rows)-1}
						}
						cpu := processTime()
						if err := d.Decode(rows); err != nil {
							b.Fatal(err)
						}
						if cpu = processTime() - cpu; pos < prompt {
							enter += cpu
						} else {
							step += cpu
						}
						pos += len(rows)
					}
					d.Close()
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64(b.N*prompt)/enter.Seconds(), "prompt-tok/cpu-s")
				b.ReportMetric(float64(b.N*answer)/step.Seconds(), "answer-tok/cpu-s")
			})
		}
	}
}
