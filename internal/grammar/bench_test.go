package grammar

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	gguf "github.com/gpustack/gguf-parser-go"

	"aim/internal/testmodel"
	"aim/models"
	"aim/sampler"
)

// realVocabulary is that of the real model, read from its file without C; where there is none, a synthetic one of the same size.
func realVocabulary(t testing.TB) *Vocabulary {
	t.Helper()
	loadOnce.Do(func() {
		dir, _ := models.Folder()
		loaded = loadVocabulary(cmp.Or(os.Getenv("AIM_TEST_MODEL"), filepath.Join(dir, testmodel.File)))
	})
	return loaded
}

var (
	loadOnce sync.Once
	loaded   *Vocabulary
)

func loadVocabulary(path string) *Vocabulary {
	pieces, control := syntheticPieces()
	if f, err := gguf.ParseGGUFFile(path); err == nil {
		if tokens, ok := f.Header.MetadataKV.Get("tokenizer.ggml.tokens"); ok {
			pieces, control = nil, map[sampler.Token]bool{}
			types, _ := f.Header.MetadataKV.Get("tokenizer.ggml.token_type")
			kinds := types.ValueArray().ValuesInt32()
			for i, token := range tokens.ValueArray().ValuesString() {
				pieces = append(pieces, unmapBytes(token))
				control[sampler.Token(i)] = kinds[i] == 3
			}
		}
	}
	return NewVocabulary(len(pieces), func(t sampler.Token) []byte { return pieces[t] }, func(t sampler.Token) Kind {
		switch {
		case t == 2: // <|im_end|>
			return End
		case control[t]:
			return Control
		}
		return Text
	})
}

// unmapBytes undoes GPT-2's map of bytes to printable runes: bytes that print stand for themselves, the others for U+0100 on.
func unmapBytes(token string) (piece []byte) {
	for _, r := range token {
		if b, ok := byteOf[r]; ok {
			piece = append(piece, b)
		}
	}
	return piece
}

var byteOf = func() map[rune]byte {
	m := map[rune]byte{}
	next := rune(0x100)
	for b := range 256 {
		if b > ' ' && b < 0x7F || b > 0xA0 && b != 0xAD {
			m[rune(b)] = byte(b)
		} else {
			m[next] = byte(b)
			next++
		}
	}
	return m
}()

func syntheticPieces() ([][]byte, map[sampler.Token]bool) {
	r := rand.New(rand.NewPCG(1, 1))
	pieces := [][]byte{nil, nil, nil}
	for b := range 256 {
		pieces = append(pieces, []byte{byte(b)})
	}
	for len(pieces) < 49152 {
		piece := []byte(fmt.Sprintf("%*s", r.IntN(2), ""))
		for range 2 + r.IntN(8) {
			piece = append(piece, byte('a'+r.IntN(26)))
		}
		pieces = append(pieces, piece)
	}
	return pieces, map[sampler.Token]bool{0: true, 1: true}
}

// inString is a matcher in the middle of a string, where nearly every token is allowed.
func inString(b testing.TB, v *Vocabulary) *Matcher {
	m := fixture(b, "person").Matcher(v)
	feed(b, m, `{"name":"Ada`)
	return m
}

// feed accepts a text letter by letter.
func feed(t testing.TB, m *Matcher, text string) {
	t.Helper()
	byText := map[string]sampler.Token{}
	for _, token := range m.v.tokens {
		byText[string(m.v.piece(token))] = token
	}
	for _, r := range text {
		m.Accept(byText[string(r)])
	}
	if m.Err() != nil {
		t.Fatal(m.Err())
	}
}

func BenchmarkAllows(b *testing.B) {
	m := inString(b, realVocabulary(b))
	t := letterA(m.v)
	for b.Loop() {
		m.Allows(t)
	}
}

func BenchmarkApply(b *testing.B) {
	v := realVocabulary(b)
	logits := make([]float32, v.size)
	places := []struct{ name, text string }{
		{"key", `{`}, {"string", `{"name":"Ada`}, {"number", `{"name":"Ada","age":3`}, {"enum", `{"name":"Ada","age":3,"tags":["`},
	}
	for _, p := range places {
		m := fixture(b, "person").Matcher(v)
		feed(b, m, p.text)
		b.Run(p.name+"/first", func(b *testing.B) {
			for b.Loop() {
				m.Clone().Apply(logits)
			}
		})
		b.Run(p.name+"/walk", func(b *testing.B) {
			m.Apply(logits)
			for b.Loop() {
				m.a.states[m.at].mask = -1
				m.Apply(logits)
			}
		})
		b.Run(p.name+"/again", func(b *testing.B) {
			for b.Loop() {
				m.Apply(logits)
			}
		})
		b.Run(p.name+"/plain loop", func(b *testing.B) {
			for b.Loop() {
				for t := range sampler.Token(v.size) {
					m.Allows(t)
				}
			}
		})
	}
}

func BenchmarkAccept(b *testing.B) {
	v := realVocabulary(b)
	m := mustParse(b, JSON()).Matcher(v)
	feed(b, m, `{"a":"`)
	t := letterA(v)
	for b.Loop() {
		m.Accept(t)
	}
}

func BenchmarkParse(b *testing.B) {
	for b.Loop() {
		mustParse(b, JSON())
	}
}

func BenchmarkVocabulary(b *testing.B) {
	v := realVocabulary(b)
	for b.Loop() {
		NewVocabulary(v.size, v.piece, func(sampler.Token) Kind { return Text })
	}
}

func TestNoAllocations(t *testing.T) {
	v := realVocabulary(t)
	m := mustParse(t, JSON()).Matcher(v)
	feed(t, m, `{"a":"`)
	token, logits := letterA(v), make([]float32, v.size)
	step := func() {
		m.Allows(token)
		m.Apply(logits)
		m.Accept(token)
	}
	step()
	if n := testing.AllocsPerRun(100, step); n > 0 {
		t.Errorf("%v allocations in a step", n)
	}
}
