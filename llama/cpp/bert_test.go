package cpp

import (
	"fmt"
	"math"
	"testing"

	"aim/internal/testmodel"
	"aim/sampler"
)

// What an encoder gives is what a plain computation gives that follows the paper (Devlin et al. 2018), with the mean of all tokens'
// vectors or the first one's scaled to length 1.
func TestEncoderIsBERT(t *testing.T) {
	g := testmodel.TinyBERT(4)
	m := tiny(t, g)
	var inputs [][]sampler.Token
	for _, text := range []string{"a", "the quick brown fox", "jumps over a lazy dog", "zzz"} {
		tokens := []sampler.Token{2}
		for i, r := range text { // letters at the start of a word have tokens of their own
			if r == ' ' {
				continue
			}
			tok := sampler.Token(5 + 26 + r - 'a')
			if i == 0 || text[i-1] == ' ' {
				tok -= 26
			}
			tokens = append(tokens, tok)
		}
		inputs = append(inputs, append(tokens, 3))
	}
	b := bert{g}
	for name, pooling := range map[string]Pooling{"mean": PoolingMean, "first": PoolingModel, "last": PoolingLast} {
		vectors, err := embedder(t, m, EmbedderOptions{Pooling: pooling}).Embed(t.Context(), inputs)
		if err != nil {
			t.Fatal(err)
		}
		worst := 0.0
		for i, input := range inputs {
			want := b.vector(input, name)
			for j := range want {
				worst = math.Max(worst, math.Abs(float64(vectors[i][j])-want[j]))
			}
		}
		// Entries are about 0.18. llama.cpp looks GELU up in a table of 16-bit numbers.
		if t.Logf("%s: %.2g apart", name, worst); !(worst < 2e-3) {
			t.Errorf("%s: the vectors are %g apart", name, worst)
		}
	}
}

// bert computes an encoder in the plainest way.
type bert struct{ g *testmodel.GGUF }

type matrix [][]float64 // a row for each token

func (b bert) vector(tokens []sampler.Token, pooling string) []float64 {
	x := make(matrix, len(tokens))
	for i, tok := range tokens {
		x[i] = make([]float64, testmodel.TinyWidth)
		for j := range x[i] {
			x[i][j] = b.at("token_embd.weight", int(tok), j) + b.at("position_embd.weight", i, j) + b.at("token_types.weight", 0, j)
		}
	}
	x = b.norm(x, "token_embd_norm")
	for layer := range testmodel.TinyLayers {
		at := fmt.Sprintf("blk.%d.", layer)
		x = b.norm(sum(x, b.linear(b.attend(x, at), at+"attn_output")), at+"attn_output_norm")
		hidden := b.linear(x, at+"ffn_up")
		for _, row := range hidden {
			for j, v := range row {
				row[j] = v / 2 * (1 + math.Erf(v/math.Sqrt2)) // GELU
			}
		}
		x = b.norm(sum(x, b.linear(hidden, at+"ffn_down")), at+"layer_output_norm")
	}
	out := x[0]
	switch pooling {
	case "last":
		out = x[len(x)-1]
	case "mean":
		for _, row := range x[1:] {
			for j, v := range row {
				out[j] += v
			}
		}
	}
	length := 0.0
	for _, v := range out {
		length += v * v
	}
	for j := range out {
		out[j] /= math.Sqrt(length)
	}
	return out
}

// attend is what each token takes from all of them, head by head.
func (b bert) attend(x matrix, at string) matrix {
	q, k, v := b.linear(x, at+"attn_q"), b.linear(x, at+"attn_k"), b.linear(x, at+"attn_v")
	const width = testmodel.TinyWidth / testmodel.TinyHeads
	out := make(matrix, len(x))
	for i := range x {
		out[i] = make([]float64, testmodel.TinyWidth)
		for h := 0; h < testmodel.TinyWidth; h += width {
			weights, total := make([]float64, len(x)), 0.0
			for o := range x {
				for j := h; j < h+width; j++ {
					weights[o] += q[i][j] * k[o][j]
				}
				weights[o] = math.Exp(weights[o] / math.Sqrt(width))
				total += weights[o]
			}
			for o, w := range weights {
				for j := h; j < h+width; j++ {
					out[i][j] += w / total * v[o][j]
				}
			}
		}
	}
	return out
}

// at is an entry of a tensor.
func (b bert) at(name string, row, column int) float64 {
	t := b.g.Tensor(name)
	return float64(t.Data[row*t.Shape[0]+column])
}

func (b bert) linear(x matrix, name string) matrix {
	shape := b.g.Tensor(name + ".weight").Shape
	out := make(matrix, len(x))
	for i, row := range x {
		out[i] = make([]float64, shape[1])
		for o := range out[i] {
			out[i][o] = b.at(name+".bias", 0, o)
			for j, v := range row {
				out[i][o] += v * b.at(name+".weight", o, j)
			}
		}
	}
	return out
}

// norm makes each row's mean 0 and its variance 1 before it is scaled and shifted.
func (b bert) norm(x matrix, name string) matrix {
	for _, row := range x {
		mean, variance := 0.0, 0.0
		for _, v := range row {
			mean += v / float64(len(row))
		}
		for _, v := range row {
			variance += (v - mean) * (v - mean) / float64(len(row))
		}
		for j, v := range row {
			row[j] = (v-mean)/math.Sqrt(variance)*b.at(name+".weight", 0, j) + b.at(name+".bias", 0, j)
		}
	}
	return x
}

func sum(a, b matrix) matrix {
	out := make(matrix, len(a))
	for i := range a {
		out[i] = make([]float64, len(a[i]))
		for j := range a[i] {
			out[i][j] = a[i][j] + b[i][j]
		}
	}
	return out
}
