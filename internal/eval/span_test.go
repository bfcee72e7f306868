package eval

import (
	"os"
	"strings"
	"testing"

	"aim/llama"
	"aim/llama/llamatest"
	"aim/sampler"
)

// spanCases reads the project's own cases.
func spanCases(t *testing.T) []SpanCase {
	t.Helper()
	f, err := os.Open("testdata/spans.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	set, err := ReadFocusSet(f)
	if err != nil {
		t.Fatal(err)
	}
	return set.Spans
}

func TestSpanCases(t *testing.T) {
	cases := spanCases(t)
	if len(cases) < 20 {
		t.Errorf("%d cases", len(cases))
	}
	seen := map[string]bool{}
	for i, c := range cases {
		if strings.Count(c.Prompt, c.Span) != 1 || len(c.Up) < 5 || seen[c.Prompt] {
			t.Errorf("case %d: %+v", i, c)
		}
		seen[c.Prompt] = true
	}
}

func TestSharedRun(t *testing.T) {
	m := llamatest.New() // a token is a byte, but " water" and its like
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"xyz", "abc", 0},
		{"", "abc", 0},
		{"the abc is", "ABCd", 3},
		{"ab ab abc", "abc", 3},
		{"Water", " water", 1},
		{"caba", "abab", 3},
	} {
		if got := SharedRun(m, c.a, c.b); got != c.want {
			t.Errorf("SharedRun(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestSpanWithout(t *testing.T) {
	c := SpanCase{Prompt: "One. Two. Three.", Span: "Two."}
	m := llamatest.New()
	for method, want := range map[SpanMethod]string{
		SpanDeleted: "One. Three.",
		SpanNeutral: "One. … … … … Three.",
	} {
		if got, err := c.without(m, method); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", method, got, err, want)
		}
	}
	c.Span = "Four."
	if _, err := c.without(m, SpanDeleted); err == nil {
		t.Error("a span that is not there was taken out")
	}
}

// On the fake: the row without focus comes first, -1 gives the answers without the span, and parrots are counted.
func TestSpans(t *testing.T) {
	e := startEngine(t, 4, llamatest.Options{})
	prompt := func(text string) ([]sampler.Token, error) {
		return e.Model().Tokenize([]llama.Part{{Text: text}}, true)
	}
	cases := spanCases(t)[:6]
	rows, err := Spans(t.Context(), e, prompt, cases, SpanDeleted, []float64{-1, 0.5}, 12)
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 3 || rows[0].Method != "none" || rows[1].Strength != -1 || rows[2].Method != "span deleted" || rows[2].Kind != "span" {
		t.Fatalf("rows %+v", rows)
	}
	for i, c := range cases {
		rest, err := c.without(e.Model(), SpanDeleted)
		if err != nil {
			t.Fatal(err)
		}
		tokens, err := prompt(rest)
		if err != nil {
			t.Fatal(err)
		}
		want := ""
		for d, err := range e.Generate(t.Context(), llama.Request{Prompt: tokens, MaxTokens: 12}) {
			if err != nil {
				t.Fatal(err)
			}
			want += d.Text
		}
		if got := rows[1].Tried[i].Text; got != want {
			t.Errorf("case %d at -1: %q, want %q", i, got, want)
		}
	}
	same := rows[0]
	same.Tried = append([]Tried{}, same.Tried...)
	same.Tried[2].Text = cases[2].Span
	same.compare(e.Model(), cases, rows[0].Tried)
	if same.Parrots != 1 || same.Excess < 3 {
		t.Errorf("an answer that recites its span: %d parrots, excess %d", same.Parrots, same.Excess)
	}
}
