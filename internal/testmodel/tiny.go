package testmodel

import (
	"fmt"
	"math"
)

// The sizes of the tiny models.
const (
	TinyWidth   = 32 // of a layer's output
	TinyHidden  = 64 // of a feed-forward network
	TinyLayers  = 3
	TinyHeads   = 4
	TinyContext = 512
)

// wordSpread is the standard deviation of the tiny models' token embeddings and weights, scaled so that rows of logits differ clearly
// from one another: by several units.
const wordSpread = 1.0

// spread is the deviation of the weights of a matrix with so many inputs, which keeps the size of what passes through.
func spread(inputs int) float64 { return 1 / math.Sqrt(float64(inputs)) }

// matrix adds the weights of a linear map.
func (g *GGUF) matrix(name string, in, out int) { g.Add(name, 0, spread(in), in, out) }

// norm adds the weights of a normalization.
func (g *GGUF) norm(name string, width int) { g.Add(name, 1, 0.1, width) }

// byteVocabulary gives a model a token for each byte, a few pairs, and control tokens. It returns the number of tokens.
func (g *GGUF) byteVocabulary() int {
	var tokens []string
	var types []int32
	add := func(text string, kind int32) { tokens, types = append(tokens, text), append(types, kind) }
	const normal, control = 1, 3
	for b := range 256 {
		add(string(byteRune(byte(b))), normal)
	}
	merges := []string{"l l", "o n", "e r", "Ġ a"}
	for _, pair := range []string{"ll", "on", "er", "Ġa"} {
		add(pair, normal)
	}
	start := len(tokens)
	for _, text := range []string{"<|im_start|>", "<|im_end|>", "<|endoftext|>"} {
		add(text, control)
	}
	g.Values["tokenizer.ggml.model"] = "gpt2"
	g.Values["tokenizer.ggml.pre"] = "gpt-2"
	g.Values["tokenizer.ggml.tokens"] = tokens
	g.Values["tokenizer.ggml.token_type"] = types
	g.Values["tokenizer.ggml.merges"] = merges
	g.Values["tokenizer.ggml.bos_token_id"] = uint32(start)
	g.Values["tokenizer.ggml.eos_token_id"] = uint32(start + 1)
	g.Values["tokenizer.ggml.add_bos_token"] = false
	return len(tokens)
}

// byteRune is the letter that stands for a byte in GPT-2's vocabulary: printable ones for themselves, others from U+0100 on.
func byteRune(b byte) rune {
	printable := func(b byte) bool { return b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae }
	if printable(b) {
		return rune(b)
	}
	r := rune(0x100)
	for c := range b {
		if !printable(c) {
			r++
		}
	}
	return r
}

// facts sets an architecture's keys.
func (g *GGUF) facts(values map[string]any) {
	for key, v := range values {
		g.Values[g.Values["general.architecture"].(string)+"."+key] = v
	}
}

func (g *GGUF) head(vocab int) {
	g.Add("token_embd.weight", 0, wordSpread, TinyWidth, vocab)
	g.norm("output_norm.weight", TinyWidth)
	g.Add("output.weight", 0, wordSpread, TinyWidth, vocab)
}

// TinyLlama is a llama of three layers with random weights.
func TinyLlama(seed uint64) *GGUF {
	g := NewGGUF("llama", seed)
	const headsKV, width = 2, TinyWidth / TinyHeads
	g.facts(map[string]any{
		"context_length": uint32(TinyContext), "embedding_length": uint32(TinyWidth), "block_count": uint32(TinyLayers),
		"feed_forward_length": uint32(TinyHidden), "attention.head_count": uint32(TinyHeads), "attention.head_count_kv": uint32(headsKV),
		"attention.layer_norm_rms_epsilon": float32(1e-5), "rope.dimension_count": uint32(width),
	})
	g.head(g.byteVocabulary())
	for i := range TinyLayers {
		g.attention(i, headsKV*width)
		g.feedForward(i)
	}
	return g
}

func (g *GGUF) attention(layer, widthKV int) {
	at := fmt.Sprintf("blk.%d.", layer)
	g.norm(at+"attn_norm.weight", TinyWidth)
	g.matrix(at+"attn_q.weight", TinyWidth, TinyWidth)
	g.matrix(at+"attn_k.weight", TinyWidth, widthKV)
	g.matrix(at+"attn_v.weight", TinyWidth, widthKV)
	g.matrix(at+"attn_output.weight", TinyWidth, TinyWidth)
}

func (g *GGUF) feedForward(layer int) {
	at := fmt.Sprintf("blk.%d.", layer)
	g.norm(at+"ffn_norm.weight", TinyWidth)
	g.matrix(at+"ffn_gate.weight", TinyWidth, TinyHidden)
	g.matrix(at+"ffn_up.weight", TinyWidth, TinyHidden)
	g.matrix(at+"ffn_down.weight", TinyHidden, TinyWidth)
}

// The sizes of the layers with a state of constant size.
const (
	mambaConv  = 4
	mambaInner = 2 * TinyWidth
	mambaState = 8
	mambaRank  = 4
)

var mambaFacts = map[string]any{
	"context_length": uint32(TinyContext), "embedding_length": uint32(TinyWidth), "block_count": uint32(TinyLayers),
	"ssm.conv_kernel": uint32(mambaConv), "ssm.inner_size": uint32(mambaInner), "ssm.state_size": uint32(mambaState),
	"ssm.time_step_rank": uint32(mambaRank), "attention.layer_norm_rms_epsilon": float32(1e-5),
}

// TinyMamba is a Mamba of three layers with random weights. Its state cannot be taken back.
func TinyMamba(seed uint64) *GGUF {
	g := NewGGUF("mamba", seed)
	g.facts(mambaFacts)
	g.facts(map[string]any{"feed_forward_length": uint32(0), "attention.head_count": uint32(0)})
	g.head(g.byteVocabulary())
	for i := range TinyLayers {
		g.mamba(i)
	}
	return g
}

func (g *GGUF) mamba(layer int) {
	at := fmt.Sprintf("blk.%d.", layer)
	g.norm(at+"attn_norm.weight", TinyWidth)
	g.matrix(at+"ssm_in.weight", TinyWidth, 2*mambaInner)
	g.matrix(at+"ssm_conv1d.weight", mambaConv, mambaInner)
	g.Add(at+"ssm_conv1d.bias", 0, 0.1, mambaInner)
	g.matrix(at+"ssm_x.weight", mambaInner, mambaRank+2*mambaState)
	g.matrix(at+"ssm_dt.weight", mambaRank, mambaInner)
	g.Add(at+"ssm_dt.bias", 0, 0.1, mambaInner)
	g.Add(at+"ssm_a", -1, 0.2, mambaState, mambaInner)
	g.Add(at+"ssm_d", 1, 0.1, mambaInner)
	g.matrix(at+"ssm_out.weight", mambaInner, TinyWidth)
}

// TinyHybrid is a Jamba with random weights: its middle layer attends, the others keep a state.
func TinyHybrid(seed uint64) *GGUF {
	g := NewGGUF("jamba", seed)
	const headsKV = 2
	g.facts(mambaFacts)
	g.facts(map[string]any{
		"feed_forward_length": uint32(TinyHidden), "attention.head_count": uint32(TinyHeads),
		"attention.head_count_kv": []int32{0, headsKV, 0},
	})
	g.head(g.byteVocabulary())
	for i := range TinyLayers {
		if i == 1 {
			g.attention(i, headsKV*TinyWidth/TinyHeads)
		} else {
			g.mamba(i)
			at := fmt.Sprintf("blk.%d.", i)
			g.norm(at+"ssm_dt_norm.weight", mambaRank)
			g.norm(at+"ssm_b_norm.weight", mambaState)
			g.norm(at+"ssm_c_norm.weight", mambaState)
		}
		g.feedForward(i)
	}
	return g
}

// TinyBERT is an encoder with random weights, for vectors of texts of lower-case letters. Its pooling is the first token's.
func TinyBERT(seed uint64) *GGUF {
	g := NewGGUF("bert", seed)
	tokens := []string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
	types := []int32{3, 3, 3, 3, 3}
	for _, start := range []string{"\u2581", ""} { // of a word, and inside one
		for c := 'a'; c <= 'z'; c++ {
			tokens, types = append(tokens, start+string(c)), append(types, 1)
		}
	}
	g.facts(map[string]any{
		"context_length": uint32(64), "embedding_length": uint32(TinyWidth), "feed_forward_length": uint32(TinyHidden),
		"block_count": uint32(TinyLayers), "attention.head_count": uint32(TinyHeads), "attention.layer_norm_epsilon": float32(1e-12),
		"attention.causal": false, "pooling_type": uint32(2),
	})
	for key, v := range map[string]any{
		"model": "bert", "pre": "default", "tokens": tokens, "token_type": types, "token_type_count": uint32(2), "bos_token_id": uint32(2),
		"eos_token_id": uint32(3), "unknown_token_id": uint32(1), "seperator_token_id": uint32(3), "padding_token_id": uint32(0), //nolint:misspell // llama.cpp spells it so
		"mask_token_id": uint32(4), "add_bos_token": true,
	} {
		g.Values["tokenizer.ggml."+key] = v
	}
	g.Add("token_embd.weight", 0, wordSpread, TinyWidth, len(tokens))
	g.Add("position_embd.weight", 0, wordSpread, TinyWidth, 64)
	g.Add("token_types.weight", 0, wordSpread, TinyWidth, 2)
	both := func(name string, mean float64, width int) {
		g.Add(name+".weight", mean, 0.1, width)
		g.Add(name+".bias", 0, 0.1, width)
	}
	linear := func(name string, in, out int) {
		g.matrix(name+".weight", in, out)
		g.Add(name+".bias", 0, 0.1, out)
	}
	both("token_embd_norm", 1, TinyWidth)
	for i := range TinyLayers {
		at := fmt.Sprintf("blk.%d.", i)
		for _, name := range []string{"attn_q", "attn_k", "attn_v", "attn_output"} {
			linear(at+name, TinyWidth, TinyWidth)
		}
		linear(at+"ffn_up", TinyWidth, TinyHidden)
		linear(at+"ffn_down", TinyHidden, TinyWidth)
		both(at+"attn_output_norm", 1, TinyWidth)
		both(at+"layer_output_norm", 1, TinyWidth)
	}
	return g
}

// LoRA is an adapter for a model that changes some of its tensors at random, by matrices of a rank. Each product is as large as the
// tensor it is added to, if alpha is the rank.
func LoRA(base *GGUF, rank int, alpha float32, tensors ...string) *GGUF {
	g := NewGGUF(base.Values["general.architecture"].(string), base.rng.Uint64())
	g.Values["general.type"] = "adapter"
	g.Values["adapter.type"] = "lora"
	g.Values["adapter.lora.alpha"] = alpha
	for _, name := range tensors {
		shape := base.Tensor(name).Shape
		g.Add(name+".lora_a", 0, spread(shape[0]), shape[0], rank)
		g.Add(name+".lora_b", 0, spread(rank), rank, shape[1])
	}
	return g
}

// Merge adds a LoRA adapter's products to the weights of a copy of the model: W + scale·alpha/rank·B·A.
func Merge(base, lora *GGUF, scale float64) *GGUF {
	g := base.Clone()
	for _, w := range g.Tensors {
		a, b := lora.Tensor(w.Name+".lora_a"), lora.Tensor(w.Name+".lora_b")
		if a == nil || b == nil {
			continue
		}
		in, rank := a.Shape[0], a.Shape[1]
		factor := scale * float64(lora.Values["adapter.lora.alpha"].(float32)) / float64(rank)
		for o := range w.Shape[1] {
			for i := range in {
				sum := 0.0
				for k := range rank {
					sum += float64(b.Data[o*rank+k]) * float64(a.Data[k*in+i])
				}
				w.Data[o*in+i] += float32(factor * sum)
			}
		}
	}
	return g
}

// ControlVector has a random direction for each of the layers.
func ControlVector(base *GGUF, layers ...int) *GGUF {
	g := NewGGUF("controlvector", base.rng.Uint64())
	for _, il := range layers {
		g.Add(fmt.Sprintf("direction.%d", il), 0, 0.5, TinyWidth)
	}
	return g
}
