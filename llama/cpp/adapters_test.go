package cpp

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"aim/internal/testmodel"
	"aim/llama"
	"aim/sampler"
)

// history is what the models of these tests are asked to go on from.
var history = []sampler.Token{72, 101, 108, 108, 111, 44, 32, 119, 111, 114, 108, 100}

// adapted is the row of logits after history under the only set of adapters.
func adapted(t *testing.T, g *testmodel.GGUF, set Adapters) []float32 {
	t.Helper()
	m := tiny(t, g)
	if err := m.LoadAdapters([]Adapters{set}); err != nil {
		t.Fatal(err)
	}
	return after(t, decoder(t, m, DecoderOptions{Slots: 1, Context: 64, Batch: 64, Threads: 1}), 0, history...)
}

// near fails where two rows differ by more than what keys and values of 16 bits round off. A row's logits spread by about 6.
func near(t *testing.T, what string, got, want []float32) {
	t.Helper()
	d := apart(got, want)
	t.Logf("%s: %.2g apart", what, d)
	if !(d <= 0.02) {
		t.Errorf("%s: the rows are %g apart", what, d)
	}
}

// far fails where two rows are nearly the same.
func far(t *testing.T, what string, a, b []float32) {
	t.Helper()
	if d := apart(a, b); !(d > 0.5) {
		t.Errorf("%s: the rows are only %g apart", what, d)
	}
}

// A model under a LoRA adapter computes what the model does whose weights have the adapter's products added.
func TestLoRAIsMerged(t *testing.T) {
	blocks := func(names ...string) (list []string) {
		for i := range testmodel.TinyLayers {
			for _, n := range names {
				list = append(list, fmt.Sprintf("blk.%d.%s.weight", i, n))
			}
		}
		return list
	}
	llamaNames := append(blocks("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"), "output.weight")
	for _, c := range []struct {
		name    string
		g       *testmodel.GGUF
		tensors []string
		rank    int
		alpha   float32
		scale   float64
	}{
		{"llama", testmodel.TinyLlama(1), llamaNames, 4, 4, 0.5},
		{"llama, alpha and rank differ", testmodel.TinyLlama(1), llamaNames, 2, 5, -0.2},
		{"one tensor", testmodel.TinyLlama(1), []string{"blk.1.ffn_up.weight"}, 1, 1, 1},
		{"mamba", testmodel.TinyMamba(2), blocks("ssm_in", "ssm_x", "ssm_dt", "ssm_out"), 3, 3, 0.3},
		{"hybrid", testmodel.TinyHybrid(3), append([]string{"blk.0.ssm_in.weight", "blk.1.attn_q.weight"}, blocks("ffn_up")...), 4, 8, 0.3},
	} {
		t.Run(c.name, func(t *testing.T) {
			lora := testmodel.LoRA(c.g, c.rank, c.alpha, c.tensors...)
			file := lora.Write(t)
			base := adapted(t, c.g, Adapters{})
			merged := adapted(t, testmodel.Merge(c.g, lora, c.scale), Adapters{})
			far(t, "the merged model and the base model", merged, base)
			near(t, "adapter and merged model", adapted(t, c.g, Adapters{LoRA: []AdapterFile{{file, c.scale}}}), merged)
			if d := apart(adapted(t, c.g, Adapters{LoRA: []AdapterFile{{file, 0}}}), base); d != 0 {
				t.Errorf("at scale 0 the row is %g away from the base model's", d)
			}
			// The same file twice adds up.
			near(t, "twice half of it", adapted(t, c.g, Adapters{LoRA: []AdapterFile{{file, c.scale / 2}, {file, c.scale / 2}}}), merged)
			other := testmodel.LoRA(c.g, 2, 2, c.tensors[0])
			near(t, "with a second adapter",
				adapted(t, c.g, Adapters{LoRA: []AdapterFile{{file, c.scale}, {other.Write(t), 0.4}}}),
				adapted(t, testmodel.Merge(testmodel.Merge(c.g, lora, c.scale), other, 0.4), Adapters{}))
		})
	}
}

// An adapter of the token embeddings has its matrices the other way round: a row for each token, and one for each dimension.
func TestLoRAOfEmbeddings(t *testing.T) {
	g := testmodel.TinyLlama(1)
	const rank, scale = 2, 0.5
	lora := testmodel.LoRA(g, rank, rank, "blk.0.attn_q.weight")
	lora.Tensors = nil
	vocab := g.Tensor("token_embd.weight").Shape[1]
	lora.Add("token_embd.weight.lora_a", 0, 1, rank, vocab)
	lora.Add("token_embd.weight.lora_b", 0, 1, rank, testmodel.TinyWidth)
	merged := g.Clone()
	a, b, w := lora.Tensors[0].Data, lora.Tensors[1].Data, merged.Tensor("token_embd.weight").Data
	for tok := range vocab {
		for i := range testmodel.TinyWidth {
			for k := range rank {
				w[tok*testmodel.TinyWidth+i] += scale * b[i*rank+k] * a[tok*rank+k]
			}
		}
	}
	want := adapted(t, merged, Adapters{})
	far(t, "merged and base", want, adapted(t, g, Adapters{}))
	near(t, "adapter and merged model", adapted(t, g, Adapters{LoRA: []AdapterFile{{lora.Write(t), scale}}}), want)
}

// A control vector is added to the output of layers, which is what a bias of the layer's last linear map does.
func TestControlVectorIsABias(t *testing.T) {
	g := testmodel.TinyLlama(1)
	vector := testmodel.ControlVector(g, 1, 2)
	second := testmodel.ControlVector(g, 1)
	file, other := vector.Write(t), second.Write(t)
	// biased is the model with the directions of some layers as biases.
	biased := func(scale float64, layers ...int) []float32 {
		b := g.Clone()
		for _, il := range layers {
			bias := fmt.Sprintf("blk.%d.ffn_down.bias", il)
			b.Add(bias, 0, 0, testmodel.TinyWidth)
			for i, x := range vector.Tensor(fmt.Sprintf("direction.%d", il)).Data {
				b.Tensor(bias).Data[i] = float32(scale) * x
			}
		}
		return adapted(t, b, Adapters{})
	}
	base := adapted(t, g, Adapters{})
	one := []AdapterFile{{file, 1}}
	far(t, "the vector and the base model", adapted(t, g, Adapters{ControlVectors: one}), base)
	near(t, "the vector", adapted(t, g, Adapters{ControlVectors: one}), biased(1, 1, 2))
	near(t, "the other way round, twice as strong", adapted(t, g, Adapters{ControlVectors: []AdapterFile{{file, -2}}}), biased(-2, 1, 2))
	near(t, "from layer 2 on", adapted(t, g, Adapters{ControlVectors: one, FirstLayer: 2}), biased(1, 2))
	near(t, "up to layer 1", adapted(t, g, Adapters{ControlVectors: one, LastLayer: 1}), biased(1, 1))
	if d := apart(adapted(t, g, Adapters{ControlVectors: []AdapterFile{{file, 0}}}), base); d != 0 {
		t.Errorf("at scale 0 the row is %g away from the base model's", d)
	}
	sum := vector.Clone()
	for i, x := range second.Tensors[0].Data {
		sum.Tensors[0].Data[i] += 0.5 * x
	}
	near(t, "a sum of vectors", adapted(t, g, Adapters{ControlVectors: []AdapterFile{{file, 1}, {other, 0.5}}}),
		adapted(t, g, Adapters{ControlVectors: []AdapterFile{{sum.Write(t), 1}}}))
}

// What is in force is the set that was asked for, and nothing stays of the one before.
func TestSetsLeaveNothingBehind(t *testing.T) {
	g := testmodel.TinyLlama(1)
	lora := testmodel.LoRA(g, 4, 4, "blk.0.attn_q.weight", "blk.2.ffn_down.weight").Write(t)
	both, first := testmodel.ControlVector(g, 1, 2).Write(t), testmodel.ControlVector(g, 1).Write(t)
	sets := []Adapters{
		{},
		{LoRA: []AdapterFile{{lora, 1}}},
		{ControlVectors: []AdapterFile{{both, 1}}},
		{ControlVectors: []AdapterFile{{first, 1}}}, // says nothing of layer 2
		{LoRA: []AdapterFile{{lora, -0.5}}, ControlVectors: []AdapterFile{{both, -1}}},
		{ControlVectors: []AdapterFile{{both, 1}}, FirstLayer: 2},
	}
	m := tiny(t, g)
	if err := m.LoadAdapters(sets); err != nil {
		t.Fatal(err)
	}
	d := decoder(t, m, DecoderOptions{Slots: 1, Context: 64, Batch: 64, Threads: 1})
	want := make([][]float32, len(sets))
	for i, set := range sets {
		want[i] = adapted(t, g, set)
		for j := range i {
			far(t, fmt.Sprintf("sets %d and %d", i, j), want[i], want[j])
		}
	}
	for from := range sets {
		for to := range sets {
			for _, set := range []int{from, to} {
				if err := d.Adapt(llama.AdapterSet(set)); err != nil {
					t.Fatal(err)
				}
				if diff := apart(after(t, d, 0, history...), want[set]); diff > 1e-3 {
					t.Errorf("set %d, between sets %d and %d: %g away", set, from, to, diff)
				}
			}
		}
	}
}

// Whatever is in a file, loading it ends in an error that says why, or in an adapter that works.
func TestAdaptersRefuse(t *testing.T) {
	g := testmodel.TinyLlama(1)
	good := testmodel.LoRA(g, 2, 2, "blk.0.attn_q.weight")
	with := func(change func(l *testmodel.GGUF)) string {
		l := good.Clone()
		change(l)
		return l.Write(t)
	}
	value := func(key string, v any) string { return with(func(l *testmodel.GGUF) { l.Values[key] = v }) }
	whole, err := os.ReadFile(good.Write(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ path, want string }{
		"missing":              {"none.gguf", "no such file"},
		"text":                 {writeFile(t, "a.gguf", []byte("LoRA")), "not a GGUF file"},
		"cut":                  {writeFile(t, "a.gguf", whole[:300]), "incomplete or damaged"},
		"cut weights":          {writeFile(t, "a.gguf", whole[:len(whole)-64]), "incomplete or damaged"},
		"a model":              {g.Write(t), `general.type is ""`},
		"of mamba":             {value("general.architecture", "mamba"), `architecture "mamba", and this one is of "llama"`},
		"type of another type": {value("general.type", uint32(3)), "general.type is no text"},
		"another kind":         {value("adapter.type", "ia3"), `adapter.type "ia3"`},
		"alpha of text":        {value("adapter.lora.alpha", "16"), "adapter.lora.alpha is no finite number"},
		"alpha NaN":            {value("adapter.lora.alpha", float32(math.NaN())), "adapter.lora.alpha is no finite number"},
		"activated":            {value("adapter.alora.invocation_tokens", []uint32{1, 2}), "activated LoRA"},
		"no tensors":           {with(func(l *testmodel.GGUF) { l.Tensors = nil }), "no tensors of an adapter"},
		"half a pair":          {with(func(l *testmodel.GGUF) { l.Tensors = l.Tensors[:1] }), "missing one component"},
		"unknown tensor":       {with(func(l *testmodel.GGUF) { l.Tensors[0].Name = "blk.9.attn_q.weight.lora_a" }), `no tensor "blk.9.attn_q.weight"`},
		"another suffix":       {with(func(l *testmodel.GGUF) { l.Add("blk.0.attn_q.bias", 0, 1, 32) }), "unexpected suffix"},
		"a norm":               {with(func(l *testmodel.GGUF) { l.Add("blk.0.attn_norm.weight", 0, 1, 32) }), "does not apply"},
		"another width": {with(func(l *testmodel.GGUF) {
			l.Tensors = nil
			l.Add("blk.0.attn_q.weight.lora_a", 0, 1, 16, 2)
			l.Add("blk.0.attn_q.weight.lora_b", 0, 1, 2, 32)
		}), "incorrect shape"},
		"three dimensions": {with(func(l *testmodel.GGUF) {
			l.Tensors = nil
			l.Add("blk.0.attn_q.weight.lora_a", 0, 1, 32, 2, 2)
			l.Add("blk.0.attn_q.weight.lora_b", 0, 1, 2, 32, 2)
		}), "shape"},
		"no rank": {with(func(l *testmodel.GGUF) {
			l.Tensors = nil
			l.Add("blk.0.attn_q.weight.lora_a", 0, 1, 32, 0)
			l.Add("blk.0.attn_q.weight.lora_b", 0, 1, 0, 32)
		}), "shape"},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, g, Adapters{LoRA: []AdapterFile{{c.path, 1}}}, c.want)
		})
	}
}

// refused checks that neither loading a set nor making a decoder under it succeeds, and that the error has a text.
func refused(t *testing.T, g *testmodel.GGUF, set Adapters, want string) {
	t.Helper()
	m := tiny(t, g)
	err := m.LoadAdapters([]Adapters{{}, set})
	if err == nil {
		var d *Decoder
		if d, err = m.NewDecoder(DecoderOptions{Slots: 1, Context: 64, Batch: 64}); err == nil {
			d.Close()
			t.Fatal("accepted")
		}
	}
	t.Log(err)
	if !strings.Contains(err.Error(), want) {
		t.Errorf("error %q does not say %q", err, want)
	}
}

func TestControlVectorsRefuse(t *testing.T) {
	g := testmodel.TinyLlama(1)
	good := testmodel.ControlVector(g, 1, 2)
	with := func(change func(v *testmodel.GGUF)) []AdapterFile {
		v := good.Clone()
		change(v)
		return []AdapterFile{{v.Write(t), 1}}
	}
	rename := func(to string) []AdapterFile { return with(func(v *testmodel.GGUF) { v.Tensors[0].Name = to }) }
	path := []AdapterFile{{good.Write(t), 1}}
	for name, c := range map[string]struct {
		set  Adapters
		want string
	}{
		"missing":         {Adapters{ControlVectors: []AdapterFile{{"none.gguf", 1}}}, "no such file"},
		"a model":         {Adapters{ControlVectors: []AdapterFile{{g.Write(t), 1}}}, "no control vector"},
		"no tensors":      {Adapters{ControlVectors: with(func(v *testmodel.GGUF) { v.Tensors = nil })}, "no tensors"},
		"layer 0":         {Adapters{ControlVectors: rename("direction.0")}, "only 1 to 2"},
		"layer 3 of 3":    {Adapters{ControlVectors: rename("direction.3")}, "only 1 to 2"},
		"layer -1":        {Adapters{ControlVectors: rename("direction.-1")}, "want direction.1"},
		"layer 1x":        {Adapters{ControlVectors: rename("direction.1x")}, "want direction.1"},
		"no layer":        {Adapters{ControlVectors: rename("direction.")}, "want direction.1"},
		"a huge layer":    {Adapters{ControlVectors: rename("direction.99999999999999999999")}, "want direction.1"},
		"another width":   {Adapters{ControlVectors: with(func(v *testmodel.GGUF) { v.Add("direction.1", 0, 1, 16); v.Tensors = v.Tensors[2:] })}, "has 16 numbers"},
		"a matrix":        {Adapters{ControlVectors: with(func(v *testmodel.GGUF) { v.Add("direction.1", 0, 1, 32, 2); v.Tensors = v.Tensors[2:] })}, "no vector"},
		"scale NaN":       {Adapters{ControlVectors: []AdapterFile{{path[0].Path, math.NaN()}}}, "finite number"},
		"scale 1e39":      {Adapters{LoRA: []AdapterFile{{path[0].Path, 1e39}}}, "finite number"},
		"layers 3 to 2":   {Adapters{ControlVectors: path, FirstLayer: 3}, "within 1 to 2"},
		"up to layer 3":   {Adapters{ControlVectors: path, LastLayer: 3}, "within 1 to 2"},
		"layers 2 to 1":   {Adapters{ControlVectors: path, FirstLayer: 2, LastLayer: 1}, "within 1 to 2"},
		"from layer -1":   {Adapters{ControlVectors: path, FirstLayer: -1}, "within 1 to 2"},
		"as if of a LoRA": {Adapters{LoRA: path}, "no LoRA adapter"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, g, c.set, c.want) })
	}
}

// llama.cpp would end the process on these when the adapter is first used.
func TestAdaptersThatCannotBeComputed(t *testing.T) {
	t.Run("tied embeddings", func(t *testing.T) {
		g := testmodel.TinyLlama(1)
		g.Tensors = slices.DeleteFunc(g.Tensors, func(w testmodel.Tensor) bool { return w.Name == "output.weight" })
		lora := testmodel.LoRA(g, 2, 2, "blk.0.attn_q.weight")
		lora.Tensors = nil
		lora.Add("token_embd.weight.lora_a", 0, 1, 2, g.Tensor("token_embd.weight").Shape[1])
		lora.Add("token_embd.weight.lora_b", 0, 1, 2, testmodel.TinyWidth)
		refused(t, g, Adapters{LoRA: []AdapterFile{{lora.Write(t), 1}}}, "also makes the logits")
	})
	t.Run("more than a graph holds", func(t *testing.T) {
		g := testmodel.TinyLlama(1)
		var names []string
		for _, w := range g.Tensors {
			if strings.HasPrefix(w.Name, "blk.") && len(w.Shape) == 2 {
				names = append(names, w.Name)
			}
		}
		var files []AdapterFile
		for range 12 {
			files = append(files, AdapterFile{testmodel.LoRA(g, 1, 1, names...).Write(t), 0.1})
		}
		refused(t, g, Adapters{LoRA: files}, "graph has no room")
		adapted(t, g, Adapters{LoRA: files[:4]})
	})
	t.Run("a tensor that is no matrix", func(t *testing.T) {
		g := testmodel.TinyMamba(2)
		lora := testmodel.LoRA(g, 2, 2, "blk.0.ssm_in.weight", "blk.0.ssm_conv1d.weight")
		refused(t, g, Adapters{LoRA: []AdapterFile{{lora.Write(t), 1}}}, "to 1 of the 2 tensors")
	})
}

// An embedder computes under a set, too.
func TestEmbedderUnderAdapters(t *testing.T) {
	g := testmodel.TinyBERT(4)
	lora := testmodel.LoRA(g, 4, 4, "blk.0.attn_q.weight", "blk.1.ffn_up.weight", "blk.2.attn_output.weight")
	input := [][]sampler.Token{{2, 10, 11, 12, 3}}
	vector := func(g *testmodel.GGUF, set llama.AdapterSet, sets ...Adapters) []float32 {
		m := tiny(t, g)
		if err := m.LoadAdapters(sets); err != nil {
			t.Fatal(err)
		}
		v, err := embedder(t, m, EmbedderOptions{Adapters: set}).Embed(t.Context(), input)
		if err != nil {
			t.Fatal(err)
		}
		return v[0]
	}
	set := Adapters{LoRA: []AdapterFile{{lora.Write(t), 0.8}}}
	base, got, want := vector(g, 0, Adapters{}, set), vector(g, 1, Adapters{}, set), vector(testmodel.Merge(g, lora, 0.8), 0)
	if d := apart(got, want); d > 1e-4 || apart(base, want) < 100*d {
		t.Errorf("adapter and merged model are %g apart, merged and base model %g", d, apart(base, want))
	}
	m := tiny(t, g)
	if err := m.LoadAdapters([]Adapters{{}, {ControlVectors: []AdapterFile{{testmodel.ControlVector(g, 1).Write(t), 1}}}}); err != nil {
		t.Fatal(err)
	}
	for set, want := range map[llama.AdapterSet]string{1: "control vectors in 0 of", 2: "[0, 1]", -1: "[0, 1]"} {
		if e, err := m.NewEmbedder(EmbedderOptions{Adapters: set}); err == nil {
			e.Close()
			t.Errorf("set %d was accepted", set)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("set %d: error %q does not say %q", set, err, want)
		}
	}
	if _, err := m.NewDecoder(DecoderOptions{}); err == nil || errors.Is(err, llama.ErrUnsupported) {
		t.Errorf("a decoder of an encoder: error %v", err)
	}
}
