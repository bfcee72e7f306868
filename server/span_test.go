package server

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"aim/llama"
)

// At strength -1 the answer is that of the prompt without the span, at 0 the plain one, on both endpoints; between the
// words that stay one space is left.
func TestSpanTakenAway(t *testing.T) {
	s := start(t, options{})
	fields := func(strength float64) string {
		return fmt.Sprintf(`"temperature": 0, "max_tokens": 20, "aim": {"focus": [{"span": "Use only vegetables.", "strength": %g}]}`, strength)
	}
	const plain = `"temperature": 0, "max_tokens": 20`
	for _, c := range []struct{ with, without string }{
		{"Name three dinners. Use only vegetables. Be short.", "Name three dinners. Be short."},
		{"Use only vegetables. Name three dinners.", "Name three dinners."},
		{"Name three dinners. Use only vegetables.", "Name three dinners."},
		{"Dinners.\nUse only vegetables. Be short.", "Dinners.\nBe short."},
	} {
		want := s.ask(t, c.without, plain).text(t)
		if got := s.ask(t, c.with, fields(-1)).text(t); got != want {
			t.Errorf("%q at -1: %q, without the span %q", c.with, got, want)
		}
		if got, want := s.ask(t, c.with, fields(0)).text(t), s.ask(t, c.with, plain).text(t); got != want {
			t.Errorf("%q at 0: %q, plain %q", c.with, got, want)
		}
		text := func(prompt, fields string) string {
			return s.do(t, "POST", textPath, `{"prompt": `+quote(prompt)+`, `+fields+`}`).text(t)
		}
		if got, want := text(c.with, fields(-1)), text(c.without, plain); got != want {
			t.Errorf("%q completed at -1: %q, without the span %q", c.with, got, want)
		}
	}
	if s.ask(t, "One. Use only vegetables.", plain).text(t) == s.ask(t, "One.", plain).text(t) {
		t.Error("the span makes no difference to the fake")
	}
}

// An index says which occurrence is meant, counted over all messages.
func TestSpanIndex(t *testing.T) {
	s := start(t, options{})
	body := func(second, third, extra string) string {
		return `{"temperature": 0, "max_tokens": 12, "messages": [{"role": "system", "content": "be kind"},
			{"role": "user", "content": ` + quote(second) + `}, {"role": "assistant", "content": "yes"},
			{"role": "user", "content": ` + quote(third) + `}]` + extra + `}`
	}
	const second, third = "so kind and so on", "and so what"
	for index, want := range []string{
		body("kind and so on", third, ""), body("so kind and on", third, ""), body(second, "and what", ""),
	} {
		extra := fmt.Sprintf(`, "aim": {"focus": [{"span": "so", "strength": -1, "index": %d}]}`, index)
		got := s.do(t, "POST", chatPath, body(second, third, extra)).text(t)
		if want := s.do(t, "POST", chatPath, want).text(t); got != want {
			t.Errorf("index %d: %q, want %q", index, got, want)
		}
	}
}

func TestSpanErrors(t *testing.T) {
	s := start(t, options{})
	focus := func(entries ...string) string {
		return `"max_tokens": 4, "aim": {"focus": [` + strings.Join(entries, ", ") + `]}`
	}
	long := `{"span": "often", "strength": 1}`
	for _, c := range []struct{ fields, param, message string }{
		{focus(`{"span": "never", "strength": 1}`), "aim.focus[0].span", `does not occur in the messages: "never"`},
		{focus(`{"span": "rain", "strength": 1}`), "aim.focus[0].span", "occurs 3 times in the messages; add index, from 0 to 2"},
		{focus(`{"span": "rain", "strength": 1, "index": 3}`), "aim.focus[0].index", "is 3, but the span occurs 3 times"},
		{focus(`{"span": "rain", "strength": 1, "index": -1}`), "aim.focus[0].index", "is -1, must be at least 0"},
		{focus(`{"span": "", "strength": 1}`), "aim.focus[0].span", "is empty"},
		{focus(`{"span": "often"}`), "aim.focus[0].strength", "is required"},
		{focus(`{"span": "often", "strength": 1.5}`), "aim.focus[0].strength", "is 1.5, must be in [-1, 1]"},
		{focus(`{"text": "water", "sigma": 1}`, `{"span": "often", "strength": -2}`), "aim.focus[1].strength", "is -2"},
		{focus(`{"span": "often", "strength": 1, "sigma": 2}`), "aim.focus[0].sigma", "not a known field"},
		{focus(`{"span": 7, "strength": 1}`), "aim.focus[0].span", "must be a string"},
		{focus(long, long, long, long, long), "aim.focus", "has 5 spans, the most is 4"},
		{focus(long, long, long, long), "aim.focus", "has 4 spans, which take 5 slots with the answer's own; the server has 4"},
		{`"n": 11, ` + focus(long), "n", "asks for 11 answers, the server can hold 10 at once"},
		{focus(`{"span": "` + strings.Repeat("x", maxSpan+1) + `", "strength": 1}`), "aim.focus[0].span", "has 65537 bytes, the most is 65536"},
	} {
		r := s.ask(t, "rain, rain, often rain", c.fields)
		e := decode[struct {
			Error struct{ Message, Param string }
		}](t, r.body).Error
		if r.status != http.StatusBadRequest || e.Param != c.param || !strings.Contains(e.Message, c.message) {
			t.Errorf("%.80s: status %d, %.200s", c.fields, r.status, r.body)
		}
	}
	for body, want := range map[string]string{
		`{"prompt": [1, 2, 3], `:             "needs a prompt that is text",
		`{"prompt": [[1, 2], [3]], `:         "needs a prompt that is text",
		`{"prompt": ["it often", "rains"], `: "does not occur in the prompt",
	} {
		if r := s.do(t, "POST", textPath, body+focus(long)+"}"); r.status != http.StatusBadRequest || !strings.Contains(r.body, want) {
			t.Errorf("%s: status %d: %s", body, r.status, r.body)
		}
	}
}

// All choices of a request get their places and those of their twins at once, or none does; they are free afterwards.
func TestSpanPlaces(t *testing.T) {
	s := start(t, options{engine: llama.Config{Slots: 3, Context: 512, Batch: 64, Queue: 3, NoCache: true}})
	const focus = `"max_tokens": 3, "aim": {"focus": [{"span": "often", "strength": 0.5}]}`
	r := s.ask(t, "it rains often", `"n": 3, `+focus)
	if c := decode[completion](t, r.ok(t).body); len(c.Choices) != 3 {
		t.Errorf("%d choices", len(c.Choices))
	}
	if r := s.ask(t, "it rains often", `"n": 4, `+focus); r.status != http.StatusBadRequest {
		t.Errorf("n = 4 in six places: status %d: %s", r.status, r.body)
	}
	if got := s.ask(t, "it rains often", `"stream": true, `+focus).ok(t); assemble(t, got).finish[0] == "" {
		t.Errorf("a stream: %s", got.body)
	}
}

// A seed gives the same answer again, and words and spans go together.
func TestSpanRepeats(t *testing.T) {
	s := start(t, options{sigma: 0.5})
	const fields = `"model": "fake/imposed", "seed": 5, "max_tokens": 30, "logprobs": true, "aim": {"focus": [
		{"span": "often", "strength": 0.7}, {"text": "water", "sigma": 2}, {"span": "rains", "strength": -0.5}]}`
	one, two := s.ask(t, "it rains often", fields).ok(t), s.ask(t, "it rains often", fields).ok(t)
	if stable(one.body) != stable(two.body) {
		t.Errorf("two answers to one request:\n%s\n%s", one.body, two.body)
	}
}
