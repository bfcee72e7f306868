package eval

import (
	"strings"
	"testing"

	"aim/llama/llamatest"
	"aim/sampler"
)

// TestFocusRows measures methods on the fake: the paper's raises the word, the plain answers come first, and the run goes on where it
// was without generating anything again.
func TestFocusRows(t *testing.T) {
	e := startEngine(t, 4, llamatest.Options{})
	set, err := ReadFocusSet(strings.NewReader(`{"prompts": ["one", "two", "three"], "topics": [{"name": "rain", "words": ["water"]}, {"name": "stream", "words": ["river"]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	render := func(text string) ([]sampler.Token, error) { return fake.Tokenize(parts(text), true) }
	f := &FocusRun{Engine: e, Render: render, Name: "fake", Set: set, Length: 24}
	methods := []Method{PromptMethod(), BiasMethod(fake, 20), PaperMethod(fake, 40)}
	dir := t.TempDir()
	var done, total int
	rows, err := f.Rows(t.Context(), methods, dir, func(d, n int) { done, total = d, n })
	if err != nil || len(rows) != 4 || done != total || total != 4*6 {
		t.Fatalf("%d rows, %v, progress %d/%d", len(rows), err, done, total)
	}
	none, prompt, bias, paper := rows[0], rows[1], rows[2], rows[3]
	if none.Method != "none" || none.PPLRatio != 1 || none.Answers != 6 {
		t.Errorf("plain: %+v", none)
	}
	if prompt.Method != "prompt" || prompt.PPL == none.PPL {
		t.Errorf("prompt: %+v", prompt)
	}
	for _, r := range []FocusRow{bias, paper} {
		if r.Include != 1 || r.Rate <= none.Rate || r.PPLRatio <= 1 || r.Kind != "lexical" {
			t.Errorf("%s: %+v, plain %+v", r.Method, r, none)
		}
	}
	before := e.Stats().CompletionTokens
	again, err := f.Rows(t.Context(), methods, dir, nil)
	if err != nil || e.Stats().CompletionTokens != before || again[3].FocusFigures != paper.FocusFigures {
		t.Errorf("again: %v, %d tokens, %+v", err, e.Stats().CompletionTokens-before, again[3])
	}
}

// TestPromptIsJudgedAsItWas: the perplexity of a method that rewrites the prompt is taken given the prompt as it was.
func TestPromptIsJudgedAsItWas(t *testing.T) {
	e := startEngine(t, 2, llamatest.Options{})
	set := &FocusSet{Prompts: []string{"one"}, Topics: []Topic{{Name: "a", Words: []string{"a"}}}}
	render := func(text string) ([]sampler.Token, error) { return fake.Tokenize(parts(text), true) }
	f := &FocusRun{Engine: e, Render: render, Name: "fake", Set: set, Length: 8}
	m := PromptMethod()
	answers, err := f.answers(t.Context(), &m, nil, func() {})
	if err != nil {
		t.Fatal(err)
	}
	prompt, err := render("one")
	if err != nil {
		t.Fatal(err)
	}
	scored, err := (&Forced{Engine: e, Noise: Noise{Fields: 1}}).Score(t.Context(), &Item{Prompt: "one", Choices: []string{fake.Text(answers[0].Tokens)}}, []Arm{{}})
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := render("one" + fake.Text(answers[0].Tokens)); len(again) != len(prompt)+len(answers[0].Tokens) {
		t.Skip("the answer's text is cut into other tokens")
	}
	if !near(answers[0].NLL, -scored["ll"][0], 1e-6) {
		t.Errorf("NLL %v, teacher forcing says %v", answers[0].NLL, -scored["ll"][0])
	}
}

// TestAvoidingIsJudgedWhereItCounts: a negative strength is compared on the pairs with something to avoid.
func TestAvoidingIsJudgedWhereItCounts(t *testing.T) {
	base := []Tried{
		{Group: 0, Tokens: []sampler.Token{1, 2}, Hits: 1, NLL: 2, D2: 1},
		{Group: 0, Tokens: []sampler.Token{1, 2}, NLL: 2, D2: 1},
		{Group: 1, Tokens: []sampler.Token{1, 2}, Hits: 2, NLL: 2, D2: 1},
	}
	answers := []Tried{{Group: 0, Tokens: []sampler.Token{1, 2}, NLL: 4, D2: 1}, {}, {Group: 1, Tokens: []sampler.Token{1, 2}, Hits: 1, NLL: 4, D2: 1}}
	row := judge(&Method{Name: "m", Strength: -1}, answers, base)
	if row.Answers != 2 || row.Include != 0.5 || !near(row.Rate, 0.25, 1e-12) || !near(row.PPLRatio, 2.718281828, 1e-6) {
		t.Errorf("%+v", row)
	}
}

func TestIsFocusSet(t *testing.T) {
	for text, want := range map[string]bool{
		`{"prompts": [], "topics": []}`:            true,
		`{"span_cases": []}`:                       true,
		`{"context": "a", "continuation": "b"}`:    false,
		`{"query": "a", "choices": [], "gold": 0}`: false,
		`[]`: false,
		``:   false,
	} {
		if got := IsFocusSet([]byte(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}
