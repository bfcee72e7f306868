package cpp

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"aim/internal/testmodel"
	"aim/llama"
	"aim/sampler"
)

// loraOfSmolLM2 is a random adapter of rank 16 of all the matrices in the layers of the default model.
func loraOfSmolLM2(t testing.TB) string {
	g := testmodel.NewGGUF("llama", 1)
	var names []string
	for i := range 30 {
		for name, shape := range map[string][]int{
			"attn_q": {576, 576}, "attn_k": {576, 192}, "attn_v": {576, 192}, "attn_output": {576, 576},
			"ffn_gate": {576, 1536}, "ffn_up": {576, 1536}, "ffn_down": {1536, 576},
		} {
			names = append(names, fmt.Sprintf("blk.%d.%s.weight", i, name))
			g.Tensors = append(g.Tensors, testmodel.Tensor{Name: names[len(names)-1], Shape: shape})
		}
	}
	return testmodel.LoRA(g, 16, 1, names...).Write(t)
}

// BenchmarkSets measures what sets of adapters cost: eight answers under one set, and under two that take turns, in neighbouring slots
// and in alternate ones. Sets 0 and 1 change nothing, so that what they cost is the turns; set 2 is a LoRA adapter. The cases are
// interleaved, and the metrics are medians of the time of a token for all, as ratios to that of a model without sets.
func BenchmarkSets(b *testing.B) {
	const slots, steps = 8, 4
	plain, adapted := open(b), open(b)
	if err := adapted.LoadAdapters([]Adapters{{}, {}, {LoRA: []AdapterFile{{loraOfSmolLM2(b), 1}}}}); err != nil {
		b.Fatal(err)
	}
	all := func(set llama.AdapterSet) func(int) llama.AdapterSet {
		return func(int) llama.AdapterSet { return set }
	}
	cases := []struct {
		name string
		of   func(slot int) llama.AdapterSet
	}{
		{"no-sets", all(0)},
		{"one-set", all(0)},
		{"two-sets", func(slot int) llama.AdapterSet { return llama.AdapterSet(slot / (slots / 2)) }},
		{"two-sets-alternate", func(slot int) llama.AdapterSet { return llama.AdapterSet(slot % 2) }},
		{"lora", all(2)},
		{"base-and-lora", func(slot int) llama.AdapterSet { return llama.AdapterSet(2 * (slot / (slots / 2))) }},
	}
	o := DecoderOptions{Slots: slots, Context: 256, Batch: slots}
	decoders := []*Decoder{decoder(b, plain, o), decoder(b, adapted, o)}
	times := make([][]float64, len(cases))
	for b.Loop() {
		for i, c := range cases {
			d := decoders[min(i, 1)]
			for slot := range slots {
				_ = d.Forget(slot, 0) // by contract this never fails
			}
			start := time.Now()
			for pos := range steps {
				if err := stepInTurns(d, slots, pos, c.of); err != nil {
					b.Fatal(err)
				}
			}
			times[i] = append(times[i], time.Since(start).Seconds()/steps)
		}
	}
	for i, c := range cases {
		slices.Sort(times[i])
		b.ReportMetric(times[i][len(times[i])/2]/times[0][len(times[0])/2], c.name)
	}
	b.ReportMetric(slots/times[0][len(times[0])/2], "tokens/s")
}

// stepInTurns decodes a token for each slot, the slots of one set after those of another.
func stepInTurns(d *Decoder, slots, pos int, of func(slot int) llama.AdapterSet) error {
	for set := range llama.AdapterSet(d.Sets()) {
		var rows []llama.Row
		for slot := range slots {
			if of(slot) == set {
				rows = append(rows, llama.Row{Token: sampler.Token(1000 + pos), Seq: slot, Pos: pos, Logits: true})
			}
		}
		if len(rows) == 0 {
			continue
		}
		if err := d.Adapt(set); err != nil {
			return err
		}
		if err := d.Decode(rows); err != nil {
			return err
		}
	}
	return nil
}
