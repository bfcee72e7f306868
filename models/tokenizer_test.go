package models

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// header is a model with a tokenizer in the making.
type header struct {
	model, pre string
	tokens     []string
	merges     []string
	kinds      []uint32
	scores     []float32
	begin      *bool
}

func (h header) bytes() []byte {
	f := tiny()
	f.text("tokenizer.ggml.model", h.model)
	if h.pre != "" {
		f.text("tokenizer.ggml.pre", h.pre)
	}
	f.texts("tokenizer.ggml.tokens", h.tokens)
	if h.merges != nil {
		f.texts("tokenizer.ggml.merges", h.merges)
	}
	if h.kinds != nil {
		f.numbers("tokenizer.ggml.token_type", typeUint32, len(h.kinds), h.kinds)
	}
	if h.scores != nil {
		f.numbers("tokenizer.ggml.scores", typeFloat32, len(h.scores), h.scores)
	}
	if h.begin != nil {
		f.flag("tokenizer.ggml.add_bos_token", *h.begin)
	}
	f.number("tokenizer.ggml.bos_token_id", 0)
	f.number("tokenizer.ggml.eos_token_id", 1)
	f.text("tokenizer.chat_template", "{{ messages[0].content }} & more")
	return f.bytes()
}

// bytePair and sentence are the smallest headers of either kind.
func bytePair() header {
	return header{model: "gpt2", pre: "smollm", tokens: []string{"<s>", "</s>", "a", "b", "ab", "Ġ", "Ġab", "\n  "}, merges: []string{"a b", "Ġ ab"}, kinds: []uint32{3, 3, 1, 1, 1, 1, 1, 4}}
}

func sentence() header {
	return header{
		model: "llama", tokens: []string{"<s>", "</s>", "a", "b", "ab", "aba", "ba", "<0x0A>", "\n\n"},
		kinds: []uint32{3, 3, 1, 1, 1, 1, 1, 6, 4}, scores: []float32{0, 0, -5, -6, -2, -3, -1, 0, 0},
	}
}

// parsed is what the tests look at in tokenizer.json.
type parsed struct {
	Added      []addedToken `json:"added_tokens"`
	Normalizer any
	Pre        any `json:"pre_tokenizer"`
	Post       any `json:"post_processor"`
	Model      bpe
}

func tokenizerOf(t *testing.T, h header) (*Tokenizer, parsed) {
	t.Helper()
	got, err := ReadTokenizer(write(t, t.TempDir(), "m.gguf", h.bytes()))
	if err != nil {
		t.Fatal(err)
	}
	var p parsed
	if err := json.Unmarshal(got.JSON, &p); err != nil {
		t.Fatal(err)
	}
	return got, p
}

func TestTokenizerOfBytePairs(t *testing.T) {
	got, p := tokenizerOf(t, bytePair())
	want := []addedToken{
		{ID: 0, Content: "<s>", Special: true},
		{ID: 1, Content: "</s>", Special: true},
		// The parser alone would make an empty text of it.
		{ID: 7, Content: "\n  "},
	}
	if !reflect.DeepEqual(p.Added, want) {
		t.Errorf("added tokens %+v, want %+v", p.Added, want)
	}
	if want := [][2]string{{"a", "b"}, {"Ġ", "ab"}}; !reflect.DeepEqual(p.Model.Merges, want) {
		t.Errorf("merges %q, want %q", p.Model.Merges, want)
	}
	if len(p.Model.Vocab) != 8 || p.Model.Vocab["Ġab"] != 6 || p.Model.WholeWords || p.Post != nil {
		t.Errorf("model %+v, post-processor %v", p.Model, p.Post)
	}
	var config map[string]any
	if err := json.Unmarshal(got.Config, &config); err != nil {
		t.Fatal(err)
	}
	if wantConfig := map[string]any{
		"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "model_max_length": 2048.0,
		"chat_template": "{{ messages[0].content }} & more", "clean_up_tokenization_spaces": false,
	}; !reflect.DeepEqual(config, wantConfig) {
		t.Errorf("config %v, want %v", config, wantConfig)
	}
}

func TestTokenizerAddsTheBeginningAsLlamaDoes(t *testing.T) {
	yes, no := true, false
	for _, c := range []struct {
		pre   string
		begin *bool
		want  bool
	}{
		{"gpt-2", nil, false},
		{"gpt-2", &yes, true},
		{"llama-bpe", nil, true},
		{"llama-bpe", &no, false},
	} {
		h := bytePair()
		h.pre, h.begin = c.pre, c.begin
		_, p := tokenizerOf(t, h)
		if (p.Post != nil) != c.want || p.Model.WholeWords != (c.pre == "llama-bpe") {
			t.Errorf("%s: post-processor %v, whole words %v", c.pre, p.Post, p.Model.WholeWords)
		}
	}
}

func TestTokenizerOfSentencePieceMergesByScore(t *testing.T) {
	_, p := tokenizerOf(t, sentence())
	// ba scores -1, ab -2, aba -3; of the two ways to aba the one with the lower tokens is first.
	want := [][2]string{{"b", "a"}, {"a", "b"}, {"a", "ba"}, {"ab", "a"}}
	if !reflect.DeepEqual(p.Model.Merges, want) || !p.Model.ByteFallback || p.Pre != nil || p.Post == nil {
		t.Errorf("merges %q, want %q; %+v", p.Model.Merges, want, p.Model)
	}
}

func TestTokenizerRefuses(t *testing.T) {
	for want, change := range map[string]func(*header){
		`(tokenizer.ggml.model) is "bert"`:     func(h *header) { h.model = "bert" },
		`(tokenizer.ggml.pre) is "tekken"`:     func(h *header) { h.pre = "tekken" },
		"merge 1, \"a c\", does not":           func(h *header) { h.merges[1] = "a c" },
		"merge 0, \"ab\", does not":            func(h *header) { h.merges[0] = "ab" },
		"no tokenizer.ggml.merges in it":       func(h *header) { h.merges = nil },
		`tokens 2 and 3 are both "a"`:          func(h *header) { h.tokens[3] = "a" },
		"8 tokens, 7 token types and 8 scores": func(h *header) { h.kinds = h.kinds[1:] },
		"8 tokens, 8 token types and 1 scores": func(h *header) { h.scores = []float32{0} },
		`token 3, "\xff", is not UTF-8`:        func(h *header) { h.tokens[3] = "\xff" },
	} {
		h := bytePair()
		change(&h)
		_, err := ReadTokenizer(write(t, t.TempDir(), "m.gguf", h.bytes()))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		var unknown *UnknownTokenizerError
		if errors.As(err, &unknown) != strings.Contains(want, ") is") {
			t.Errorf("%v is a %T", err, err)
		}
	}
	if _, err := ReadTokenizer(write(t, t.TempDir(), "m.gguf", tiny().bytes())); err == nil || !strings.Contains(err.Error(), "no tokenizer.ggml.tokens") {
		t.Errorf("without a tokenizer: %v", err)
	}
	f := tiny()
	f.text("tokenizer.ggml.tokens", "a")
	if _, err := ReadTokenizer(write(t, t.TempDir(), "m.gguf", f.bytes())); err == nil || !strings.Contains(err.Error(), "malformed") {
		t.Errorf("with a text for tokens: %v", err)
	}
}

func TestTokenizerIsWritten(t *testing.T) {
	tok, _ := tokenizerOf(t, bytePair())
	dir := filepath.Join(t.TempDir(), "new", "folder")
	for range 2 { // the second time over the first
		if err := tok.Write(dir); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string][]byte{"tokenizer.json": tok.JSON, "tokenizer_config.json": tok.Config} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != string(want) {
			t.Errorf("%s: %v, %q", name, err, got)
		}
	}
}

// FuzzReadTokenizer holds that no file makes ReadTokenizer panic or hang, and that what it reads is JSON.
func FuzzReadTokenizer(f *testing.F) {
	f.Add(bytePair().bytes())
	f.Add(sentence().bytes())
	f.Fuzz(func(t *testing.T, content []byte) {
		got, err := ReadTokenizer(write(t, t.TempDir(), "m.gguf", content))
		if err == nil && (!json.Valid(got.JSON) || !json.Valid(got.Config)) {
			t.Errorf("not JSON: %s, %s", got.JSON, got.Config)
		}
	})
}
