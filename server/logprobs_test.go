package server

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"aim/llama"
	"aim/sampler"
)

// logprobsOf is the field of the first choice.
func logprobsOf[T any](t testing.TB, r response) T {
	t.Helper()
	return decode[T](t, string(decode[completion](t, r.ok(t).body).Choices[0].Logprobs))
}

type chatLogprobFields struct {
	Content []map[string]json.RawMessage
	Refusal *string
}

func TestChatLogprobs(t *testing.T) {
	s := start(t, options{})
	r := s.ask(t, "unicode", `"logprobs": true, "top_logprobs": 3`)
	raw := logprobsOf[chatLogprobFields](t, r)
	var all []byte
	for _, entry := range raw.Content {
		for _, name := range []string{"token", "logprob", "bytes", "top_logprobs"} {
			if _, ok := entry[name]; !ok {
				t.Errorf("an entry without %s: %v", name, entry)
			}
		}
		var top []chatCandidate
		var bytes []byte
		ints := decode[[]int](t, string(entry["bytes"]))
		for _, b := range ints {
			bytes = append(bytes, byte(b))
		}
		all = append(all, bytes...)
		top = decode[[]chatCandidate](t, string(entry["top_logprobs"]))
		if len(top) != 3 || top[0].Logprob < top[1].Logprob || top[1].Logprob < top[2].Logprob {
			t.Errorf("top_logprobs %v", top)
		}
		if got, want := decode[string](t, string(entry["token"])), validUTF8(bytes); got != want || top[0].Token != got {
			t.Errorf("token %q of bytes %q, the top one is %q", got, bytes, top[0].Token)
		}
		if p := decode[float64](t, string(entry["logprob"])); p > 0 || p < -0.1 {
			t.Errorf("what is all but certain has log-probability %g", p)
		}
	}
	if string(all) != answers["unicode"] {
		t.Errorf("the bytes spell %q, want %q", all, answers["unicode"])
	}
	if got := decode[string](t, string(raw.Content[0]["token"])); got != "日本" {
		t.Errorf("the first token is %q", got)
	}
	if last := raw.Content[len(raw.Content)-1]; decode[string](t, string(last["token"])) != "\uFFFD" {
		t.Errorf("a piece of a rune is shown as %s", last["token"])
	}
}

// TestChatLogprobsStreamed: piece by piece they are those of the whole answer.
func TestChatLogprobsStreamed(t *testing.T) {
	s := start(t, options{})
	raw := logprobsOf[chatLogprobFields](t, s.ask(t, "unicode", `"logprobs": true, "top_logprobs": 3`))
	stream := s.ask(t, "unicode", `"logprobs": true, "top_logprobs": 3, "stream": true`)
	var streamed []map[string]json.RawMessage
	for _, c := range assemble(t, stream).chunks {
		if raw := c.Choices[0].Logprobs; string(raw) != "null" {
			streamed = append(streamed, decode[chatLogprobFields](t, string(raw)).Content...)
		} else if c.Choices[0].FinishReason == nil && c.Choices[0].Delta.Role == nil {
			t.Errorf("a text chunk without logprobs: %+v", c)
		}
	}
	if !slices.EqualFunc(streamed, raw.Content, func(a, b map[string]json.RawMessage) bool {
		return string(a["token"]) == string(b["token"]) && string(a["logprob"]) == string(b["logprob"]) && string(a["bytes"]) == string(b["bytes"])
	}) {
		t.Errorf("streamed %d entries, whole %d", len(streamed), len(raw.Content))
	}
}

func TestWhichChatLogprobs(t *testing.T) {
	s := start(t, options{})
	for fields, want := range map[string]string{
		`"logprobs": true`:                     `{"token":"H"`,
		`"logprobs": false`:                    "null",
		`"logprobs": null, "top_logprobs": 0`:  "null",
		`"logprobs": true, "top_logprobs": 0`:  `"top_logprobs":[]`,
		`"logprobs": true, "max_tokens": 1`:    `"refusal":null`,
		`"logprobs": true, "top_logprobs": 20`: `"top_logprobs":[`,
	} {
		c := decode[completion](t, s.ask(t, "hello", fields).ok(t).body)
		if got := string(c.Choices[0].Logprobs); !strings.Contains(got, strings.ReplaceAll(want, `"H"`, `"He"`)) {
			t.Errorf("%s: %s", fields, got)
		}
	}
	if got := decode[completion](t, s.ask(t, "nothing", `"logprobs": true`).ok(t).body).Choices[0].Logprobs; string(got) != `{"content":[],"refusal":null}` {
		t.Errorf("of no tokens: %s", got)
	}
}

type textLogprobFields struct {
	Tokens        []string
	TokenLogprobs []float64            `json:"token_logprobs"`
	TopLogprobs   []map[string]float64 `json:"top_logprobs"`
	TextOffset    []int                `json:"text_offset"`
}

func TestTextLogprobs(t *testing.T) {
	s := start(t, options{})
	r := s.do(t, "POST", textPath, `{"prompt": "unicode<|ctl|>", "logprobs": 2}`)
	got := logprobsOf[textLogprobFields](t, r)
	// The tokens of "日本 né 👩": a word, bytes, and the bytes of two runes.
	wantTokens := []string{"日本", " ", "n", `bytes:\xc3`, `bytes:\xa9`, " ", `bytes:\xf0`, `bytes:\x9f`, `bytes:\x91`, `bytes:\xa9`}
	wantOffsets := []int{0, 2, 3, 4, 4, 5, 6, 6, 6, 6}
	if !slices.Equal(got.Tokens, wantTokens) || !slices.Equal(got.TextOffset, wantOffsets) {
		t.Errorf("tokens %q at %v, want %q at %v", got.Tokens, got.TextOffset, wantTokens, wantOffsets)
	}
	if len(got.TokenLogprobs) != len(wantTokens) || len(got.TopLogprobs) != len(wantTokens) {
		t.Fatalf("lists of different lengths: %+v", got)
	}
	for i, top := range got.TopLogprobs {
		if p, ok := top[got.Tokens[i]]; len(top) != 2 || !ok || p != got.TokenLogprobs[i] {
			t.Errorf("token %d: %v among %v", i, got.TokenLogprobs[i], top)
		}
	}
	stream := textLogprobFields{}
	for _, c := range assemble(t, s.do(t, "POST", textPath, `{"prompt": "unicode<|ctl|>", "logprobs": 2, "stream": true}`)).chunks {
		if raw := c.Choices[0].Logprobs; string(raw) != "null" {
			part := decode[textLogprobFields](t, string(raw))
			stream.Tokens = append(stream.Tokens, part.Tokens...)
			stream.TextOffset = append(stream.TextOffset, part.TextOffset...)
		}
	}
	if !slices.Equal(stream.Tokens, wantTokens) || !slices.Equal(stream.TextOffset, wantOffsets) {
		t.Errorf("streamed: tokens %q at %v", stream.Tokens, stream.TextOffset)
	}
	// Zero asks for the chosen token alone; one that was not among the top ones is there besides.
	zero := logprobsOf[textLogprobFields](t, s.do(t, "POST", textPath, `{"prompt": "hello<|ctl|>", "logprobs": 0, "max_tokens": 2}`))
	if len(zero.TopLogprobs) != 2 || len(zero.TopLogprobs[0]) != 1 {
		t.Errorf("logprobs 0: %+v", zero)
	}
	most := 0
	drawn := logprobsOf[textLogprobFields](t, s.do(t, "POST", textPath, `{"prompt": "x", "logprobs": 1, "temperature": 2, "seed": 1, "max_tokens": 50}`))
	for i, top := range drawn.TopLogprobs {
		most = max(most, len(top))
		if _, ok := top[drawn.Tokens[i]]; !ok {
			t.Errorf("%q is not in %v", drawn.Tokens[i], top)
		}
	}
	if most != 2 {
		t.Errorf("at temperature 2 the most probable token was drawn 50 times")
	}
	if r := s.do(t, "POST", textPath, `{"prompt": "hello<|ctl|>", "logprobs": null}`); logprobsOf[*textLogprobFields](t, r) != nil {
		t.Errorf("without logprobs: %s", r.body)
	}
}

// TestControlTokens in an answer have a name but no text, and what is impossible has a number that JSON can hold.
func TestControlTokens(t *testing.T) {
	l := &logprobs{fake, true}
	control, impossible := llama.Sampled{Token: 258}, llama.Sampled{Token: 97, Logprob: math.Inf(-1)}
	impossible.Top = []sampler.Candidate{{Token: 98, Logprob: math.Inf(-1)}}
	chat := string(encode(l.chat([]llama.Sampled{control, impossible})))
	want := `{"content":[{"token":"<|ctl|>","logprob":0,"bytes":null,"top_logprobs":[]},{"token":"a","logprob":-9999,"bytes":[97],"top_logprobs":[{"token":"b","logprob":-9999,"bytes":[98]}]}],"refusal":null}`
	if chat != want {
		t.Errorf("got %s\nwant %s", chat, want)
	}
	text := l.text([]llama.Sampled{control, impossible}, &offset{})
	if !slices.Equal(text.TextOffset, []int{0, 0}) || text.Tokens[0] != "<|ctl|>" || text.Top[1]["a"] != lowest || text.Top[1]["b"] != lowest {
		t.Errorf("got %+v", text)
	}
}

// FuzzOffset: however a text is cut, each piece begins at the rune of its first byte. Where the text is not valid, a piece
// may seem to continue a rune that only the next one breaks off; the count is right again after it.
func FuzzOffset(f *testing.F) {
	f.Add([]byte("né 👩"), uint64(0b1011))
	f.Add([]byte{'a', 0xE2, 'b', 0xE2, 0x82, 0xF0, 0x9F, 'c', 0xFF}, uint64(math.MaxUint64))
	f.Fuzz(func(t *testing.T, text []byte, cuts uint64) {
		// rune numbers of each byte, each invalid byte a rune of its own
		var runes []int
		for rest, n := text, 0; len(rest) > 0; n++ {
			_, size := utf8.DecodeRune(rest)
			for range size {
				runes = append(runes, n)
			}
			rest = rest[size:]
		}
		var at offset
		for from := 0; from < len(text); {
			to := from + 1
			for to < len(text) && cuts>>(to%64)&1 == 0 {
				to++
			}
			got := at.next(text[from:to])
			if got != runes[from] && (utf8.Valid(text) || got > runes[from] || got < runes[from]-utf8.UTFMax) {
				t.Fatalf("%q: the piece %q is at %d, want %d", text, text[from:to], got, runes[from])
			}
			from = to
		}
		if got := at.runes + utf8.RuneCount(at.open); got != utf8.RuneCount(text) {
			t.Fatalf("%q: counted %d runes", text, got)
		}
	})
}
