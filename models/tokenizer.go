package models

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	gguf "github.com/gpustack/gguf-parser-go"
)

// Tokenizer is the tokenizer of a GGUF file, in the terms of Hugging Face's libraries tokenizers and transformers. It makes of a text
// the tokens that llama.cpp makes of it with its special tokens recognised. Unlike many models' own files it normalises no text, since
// llama.cpp does not.
type Tokenizer struct {
	// JSON is the content of tokenizer.json, Config that of tokenizer_config.json. The chat template in it has no white space around it.
	JSON, Config []byte
}

// UnknownTokenizerError says that a model's tokenizer is of a kind that is not written.
type UnknownTokenizerError struct {
	// Model and Pre are the values of tokenizer.ggml.model and tokenizer.ggml.pre.
	Model, Pre string
}

func (e *UnknownTokenizerError) Error() string {
	if e.Model != "gpt2" {
		return fmt.Sprintf("the tokenizer (tokenizer.ggml.model) is %q, and only gpt2 (byte-level BPE) and llama (SentencePiece BPE) are written", e.Model)
	}
	return fmt.Sprintf("the pre-tokenizer (tokenizer.ggml.pre) is %q, and only these are written: %s", e.Pre, strings.Join(splitNames(), ", "))
}

// ReadTokenizer reads the tokenizer from the header of a GGUF file. Where it is of a kind that is not written, it fails with
// [UnknownTokenizerError].
func ReadTokenizer(path string) (_ *Tokenizer, err error) {
	defer malformed(&err)
	f, err := parse(path)
	if err != nil {
		return nil, err
	}
	if f.Header.Magic != gguf.GGUFMagicGGUFLe || f.Header.Version < gguf.GGUFVersionV2 {
		return nil, fmt.Errorf("a GGUF of version %d, magic %v: only little-endian ones since version 2 are read", f.Header.Version, f.Header.Magic)
	}
	v, err := readVocabulary(path, f.Header.MetadataKV)
	if err != nil {
		return nil, err
	}
	file, err := v.file()
	if err != nil {
		return nil, err
	}
	t := new(Tokenizer)
	if t.JSON, err = encode(file); err != nil {
		return nil, err
	}
	t.Config, err = encode(v.config(int(f.Architecture().MaximumContextLength)))
	return t, err
}

// Write writes tokenizer.json and tokenizer_config.json into a folder, which it makes where there is none. Files of these names are
// replaced.
func (t *Tokenizer) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "tokenizer.json"), t.JSON, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "tokenizer_config.json"), t.Config, 0o644)
}

// encode writes JSON without the escapes that HTML would need.
func encode(v any) ([]byte, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	err := e.Encode(v)
	return []byte(b.String()), err
}

// The types of tokens (llama.h, enum llama_token_type).
const (
	tokenNormal  = 1
	tokenUnknown = 2
	tokenControl = 3
	tokenUser    = 4
)

// vocabulary is what a header says under tokenizer.ggml.
type vocabulary struct {
	path   string
	meta   gguf.GGUFMetadataKVs
	tokens []string
	ids    map[string]int
	// kinds are the types of tokens, scores the weights of SentencePiece.
	kinds  []int
	scores []float32
	// addBegin and addEnd say whether llama.cpp puts those tokens around a text.
	addBegin, addEnd bool
}

func readVocabulary(path string, meta gguf.GGUFMetadataKVs) (*vocabulary, error) {
	v := &vocabulary{path: path, meta: meta, ids: map[string]int{}}
	var err error
	if v.tokens, err = v.texts("tokenizer.ggml.tokens"); err != nil {
		return nil, err
	}
	for i, t := range v.tokens {
		if !utf8.ValidString(t) {
			return nil, fmt.Errorf("tokenizer.ggml.tokens: token %d, %q, is not UTF-8", i, t)
		}
		if j, ok := v.ids[t]; ok {
			return nil, fmt.Errorf("tokenizer.ggml.tokens: tokens %d and %d are both %q", j, i, t)
		}
		v.ids[t] = i
	}
	v.kinds = slices.Repeat([]int{tokenNormal}, len(v.tokens))
	if kinds, ok := meta.Get("tokenizer.ggml.token_type"); ok {
		v.kinds = gguf.ValuesNumeric[int](kinds.ValueArray())
	}
	v.scores = make([]float32, len(v.tokens))
	if scores, ok := meta.Get("tokenizer.ggml.scores"); ok {
		v.scores = scores.ValueArray().ValuesFloat32()
	}
	if len(v.kinds) != len(v.tokens) || len(v.scores) != len(v.tokens) {
		return nil, fmt.Errorf("tokenizer.ggml: %d tokens, %d token types and %d scores", len(v.tokens), len(v.kinds), len(v.scores))
	}
	model, pre := v.text("tokenizer.ggml.model"), splits[v.text("tokenizer.ggml.pre")]
	v.addBegin = v.flag("tokenizer.ggml.add_bos_token", model == "llama" || pre.begin)
	v.addEnd = v.flag("tokenizer.ggml.add_eos_token", false)
	return v, nil
}

// texts are the values of a key. The parser trims white space off them, and there are tokens of nothing else, so they are read again.
func (v *vocabulary) texts(key string) ([]string, error) {
	kv, ok := v.meta.Get(key)
	if !ok {
		return nil, fmt.Errorf("no %s in it", key)
	}
	array := kv.ValueArray()
	if array.Type != gguf.GGUFMetadataValueTypeString {
		return nil, fmt.Errorf("%s holds no strings but %v", key, array.Type)
	}
	f, err := os.Open(v.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const head = 4 + 8 // the type and the number of values, which the offset is before
	raw := make([]byte, array.Size)
	if _, err := f.ReadAt(raw, array.StartOffset+head); err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	texts := make([]string, array.Len)
	for i := range texts {
		n := binary.LittleEndian.Uint64(raw) // the parser has read them all, so that none is longer than the rest
		texts[i], raw = string(raw[8:8+n]), raw[8+n:]
	}
	return texts, nil
}

// text is the value of a key without white space around it, empty where there is none.
func (v *vocabulary) text(key string) string {
	if kv, ok := v.meta.Get(key); ok {
		return kv.ValueString()
	}
	return ""
}

func (v *vocabulary) flag(key string, standard bool) bool {
	if kv, ok := v.meta.Get(key); ok {
		return kv.ValueBool()
	}
	return standard
}

// token is the text of the token whose id a key holds, empty where there is none.
func (v *vocabulary) token(key string) string {
	kv, ok := v.meta.Get(key)
	if !ok {
		return ""
	}
	if id := gguf.ValueNumeric[int64](kv); id >= 0 && id < int64(len(v.tokens)) {
		return v.tokens[id]
	}
	return ""
}

// special are the tokens to recognise in a text before all else.
func (v *vocabulary) special() []addedToken {
	added := []addedToken{}
	for id, kind := range v.kinds {
		switch kind {
		case tokenUnknown, tokenControl, tokenUser:
			if v.tokens[id] != "" {
				added = append(added, addedToken{ID: id, Content: v.tokens[id], Special: kind != tokenUser})
			}
		}
	}
	return added
}

// config is tokenizer_config.json, for a model trained on so many tokens at once, 0 where that is not known.
func (v *vocabulary) config(context int) *tokenizerConfig {
	return &tokenizerConfig{
		Class:    "PreTrainedTokenizerFast",
		Begin:    v.token("tokenizer.ggml.bos_token_id"),
		End:      v.token("tokenizer.ggml.eos_token_id"),
		Unknown:  v.token("tokenizer.ggml.unknown_token_id"),
		Pad:      v.token("tokenizer.ggml.padding_token_id"),
		Length:   context,
		Template: v.text("tokenizer.chat_template"),
	}
}

func (v *vocabulary) file() (*tokenizerFile, error) {
	f := &tokenizerFile{Version: "1.0", Added: v.special(), Post: v.around()}
	f.Model.Type, f.Model.Vocab = "BPE", v.ids
	switch pre := v.text("tokenizer.ggml.pre"); v.text("tokenizer.ggml.model") {
	case "gpt2":
		s, ok := splits[pre]
		if !ok {
			return nil, &UnknownTokenizerError{"gpt2", pre}
		}
		return f, v.byteLevel(f, s)
	case "llama":
		v.sentencePiece(f)
		return f, nil
	}
	return nil, &UnknownTokenizerError{v.text("tokenizer.ggml.model"), ""}
}

// byteLevel completes a byte-level BPE, whose alphabet is GPT-2's 256 letters for bytes.
func (v *vocabulary) byteLevel(f *tokenizerFile, s split) error {
	merges, err := v.texts("tokenizer.ggml.merges")
	if err != nil {
		return err
	}
	for i, m := range merges {
		left, right, _ := strings.Cut(m, " ")
		for _, t := range []string{left, right, left + right} {
			if _, ok := v.ids[t]; !ok {
				return fmt.Errorf("tokenizer.ggml.merges: merge %d, %q, does not make a token of two", i, m)
			}
		}
		f.Model.Merges = append(f.Model.Merges, [2]string{left, right})
	}
	f.Model.WholeWords = s.wholeWords
	f.Pre = s.steps
	f.Decoder = byteLevel(true)
	return nil
}

// sentencePiece completes a BPE of SentencePiece. It has scores of tokens for merges: of all adjacent tokens that make another one
// it joins those that make the one of the highest score.
func (v *vocabulary) sentencePiece(f *tokenizerFile) {
	const mark = "▁" // what stands for a space
	type merge struct{ left, right, whole int }
	var merges []merge
	for id, t := range v.tokens {
		for i := range t {
			left, known := v.ids[t[:i]]
			if right, ok := v.ids[t[i:]]; ok && known && i > 0 {
				merges = append(merges, merge{left, right, id})
			}
		}
	}
	slices.SortStableFunc(merges, func(a, b merge) int {
		return cmp.Or(cmp.Compare(v.scores[b.whole], v.scores[a.whole]), cmp.Compare(a.left, b.left), cmp.Compare(a.right, b.right))
	})
	for _, m := range merges {
		f.Model.Merges = append(f.Model.Merges, [2]string{v.tokens[m.left], v.tokens[m.right]})
	}
	f.Model.ByteFallback, f.Model.FuseUnknown, f.Model.Unknown = true, true, v.token("tokenizer.ggml.unknown_token_id")
	spaces := step{"type": "Replace", "pattern": step{"String": " "}, "content": mark}
	f.Normalizer = spaces
	decode := []step{
		{"type": "Replace", "pattern": step{"String": mark}, "content": " "},
		{"type": "ByteFallback"},
		{"type": "Fuse"},
	}
	if v.flag("tokenizer.ggml.add_space_prefix", true) {
		f.Normalizer = sequence("normalizers", step{"type": "Prepend", "prepend": mark}, spaces)
		decode = append(decode, step{"type": "Strip", "content": " ", "start": 1, "stop": 0})
	}
	f.Decoder = sequence("decoders", decode...)
}

// around puts the tokens that begin and end a text around it, nil where there are none.
func (v *vocabulary) around() step {
	special := step{}
	part := func(key string, add bool) []step {
		t := v.token(key)
		if !add || t == "" {
			return nil
		}
		special[t] = step{"id": t, "ids": []int{v.ids[t]}, "tokens": []string{t}}
		return []step{{"SpecialToken": step{"id": t, "type_id": 0}}}
	}
	begin, end := part("tokenizer.ggml.bos_token_id", v.addBegin), part("tokenizer.ggml.eos_token_id", v.addEnd)
	if len(special) == 0 {
		return nil
	}
	text := func(name string) step { return step{"Sequence": step{"id": name, "type_id": 0}} }
	return step{
		"type":           "TemplateProcessing",
		"single":         slices.Concat(begin, []step{text("A")}, end),
		"pair":           slices.Concat(begin, []step{text("A")}, end, begin, []step{text("B")}, end),
		"special_tokens": special,
	}
}

// step is a part of tokenizer.json, named by its "type".
type step map[string]any

func sequence(of string, steps ...step) step { return step{"type": "Sequence", of: steps} }

// tokenizerFile is tokenizer.json, as the library tokenizers reads it.
type tokenizerFile struct {
	Version    string       `json:"version"`
	Truncation *struct{}    `json:"truncation"`
	Padding    *struct{}    `json:"padding"`
	Added      []addedToken `json:"added_tokens"`
	Normalizer step         `json:"normalizer"`
	Pre        step         `json:"pre_tokenizer"`
	Post       step         `json:"post_processor"`
	Decoder    step         `json:"decoder"`
	Model      bpe          `json:"model"`
}

type addedToken struct {
	ID         int    `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	Left       bool   `json:"lstrip"`
	Right      bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

type bpe struct {
	Type         string         `json:"type"`
	Unknown      string         `json:"unk_token,omitempty"`
	FuseUnknown  bool           `json:"fuse_unk"`
	ByteFallback bool           `json:"byte_fallback"`
	WholeWords   bool           `json:"ignore_merges"`
	Vocab        map[string]int `json:"vocab"`
	Merges       [][2]string    `json:"merges"`
}

// tokenizerConfig is tokenizer_config.json, as the library transformers reads it.
type tokenizerConfig struct {
	Class    string `json:"tokenizer_class"`
	Begin    string `json:"bos_token,omitempty"`
	End      string `json:"eos_token,omitempty"`
	Unknown  string `json:"unk_token,omitempty"`
	Pad      string `json:"pad_token,omitempty"`
	Length   int    `json:"model_max_length,omitempty"`
	Template string `json:"chat_template,omitempty"`
	CleanUp  bool   `json:"clean_up_tokenization_spaces"`
}

// split is how llama.cpp cuts a text into words before it merges (llama-vocab.cpp, llm_tokenizer_bpe), told as Hugging Face's steps.
type split struct {
	steps step
	// wholeWords makes a word that is a token that token, whatever the merges; begin puts the first token before a text, unless the
	// header says otherwise.
	wholeWords, begin bool
}

var (
	gpt2   = split{steps: byteLevel(true)}
	digits = split{steps: sequence("pretokenizers", step{"type": "Digits", "individual_digits": true}, byteLevel(true))}
	llama3 = split{steps: words(3)}
	qwen2  = split{steps: words(1)}

	// splits has a split for each name that tokenizer.ggml.pre has for it.
	splits = map[string]split{
		"gpt-2": gpt2, "phi-2": gpt2, "olmo": gpt2, "mpt": gpt2,
		"smollm": digits, "starcoder": digits, "refact": digits, "command-r": digits, "codeshell": digits,
		"llama-bpe": {llama3.steps, true, true}, "llama3": {llama3.steps, true, true}, "llama-v3": {llama3.steps, true, true},
		"dbrx": llama3, "smaug-bpe": llama3,
		"qwen2": qwen2, "deepseek-r1-qwen": qwen2, "stablelm2": qwen2,
	}
)

func splitNames() []string { return slices.Sorted(maps.Keys(splits)) }

// byteLevel writes bytes as letters, and cuts by GPT-2's rule first where split is set.
func byteLevel(split bool) step {
	return step{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": split}
}

// words cuts as Llama 3 and Qwen 2 do, numbers into at most so many digits.
func words(digits int) step {
	number := `\p{N}`
	if digits > 1 {
		number += fmt.Sprintf("{1,%d}", digits)
	}
	rule := `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|` + number + `| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	cut := step{"type": "Split", "pattern": step{"Regex": rule}, "behavior": "Isolated", "invert": false}
	return sequence("pretokenizers", cut, byteLevel(false))
}
