package eval

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestParseRecognisesTasks(t *testing.T) {
	for _, c := range []struct {
		name, line string
		kind       Kind
		want       Item
	}{
		{
			"LAMBADA", `{"context": "He said,\n", "continuation": "no"}`, Completion,
			Item{Prompt: "He said,", Choices: []string{" no"}},
		},
		{
			"PIQA", `{"choices": ["cut it", " paste it"], "gold": 1, "query": "Question: paper?\n"}`,
			Choice,
			Item{Prompt: "Question: paper?\nAnswer:", Choices: []string{" cut it", " paste it"}, Gold: 1},
		},
		{
			"GSM8K", `{"context": "How many?", "chain_of_thought": "1+1", "answer": "2"}`,
			Generation,
			Item{Prompt: "Question: How many?\nAnswer:", Answer: "2", Reasoning: "1+1"},
		},
	} {
		task, err := Parse("f", []byte("\n"+c.line+"\n\n"))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		got := task.Items[0]
		if task.Kind != c.kind || len(task.Items) != 1 || got.Prompt != c.want.Prompt || !slices.Equal(got.Choices, c.want.Choices) ||
			got.Gold != c.want.Gold || got.Answer != c.want.Answer || got.Reasoning != c.want.Reasoning {
			t.Errorf("%s: kind %s, items %+v, want %+v", c.name, task.Kind, task.Items, c.want)
		}
	}
}

func TestParseNamesTheLine(t *testing.T) {
	const good = `{"context": "a", "continuation": "b"}` + "\n"
	for _, c := range []struct{ line, want string }{
		{`{"context": "a"}`, "fields of no kind of task"},
		{`[1]`, "not an item"},
		{`{"context": "a", "continuation": "b"`, "not an item"},
		{`{"query": "q", "choices": ["a", "b"], "gold": 0}`, "an item of kind choice among items of kind completion"},
		{`{"query": "q", "choices": ["a", "b"], "gold": 2}`, "gold is 2, want an index into 2 choices"},
		{`{"query": "q", "choices": ["a", "b"]}`, "gold is missing"},
		{`{"query": "q", "choices": ["a"], "gold": 0}`, "choices has 1 entries, want at least 2"},
		{`{"query": "q", "choices": ["a", " "], "gold": 0}`, "choices[1] is empty"},
		{`{"query": " ", "choices": ["a", "b"], "gold": 0}`, "query is empty"},
		{`{"context": "a", "continuation": " "}`, "continuation is empty"},
		{`{"context": " ", "continuation": "b"}`, "context is empty"},
		{`{"context": "a", "answer": "two"}`, `answer "two" is not a number`},
	} {
		_, err := Parse("file.jsonl", []byte(good+c.line+"\n"))
		var at *LineError
		if !errors.As(err, &at) || at.Line != 2 || !strings.HasPrefix(err.Error(), "file.jsonl:2: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q in line 2", c.line, err, c.want)
		}
	}
	if _, err := Parse("f", []byte("\n")); err == nil || !strings.Contains(err.Error(), "no items") {
		t.Errorf("an empty file: %v", err)
	}
}

// TestLoadRealTasks reads the files that the project is judged on.
func TestLoadRealTasks(t *testing.T) {
	dir := os.Getenv("AIM_SHARED")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared")
	}
	dir = filepath.Join(dir, "testdata", "eval")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no test data (set AIM_SHARED): %v", err)
	}
	for file, want := range map[string]Kind{
		"lambada.jsonl": Completion, "piqa.jsonl": Choice, "arc_easy.jsonl": Choice, "gsm8k.jsonl": Generation,
	} {
		task, err := Load(filepath.Join(dir, file))
		if err != nil || task.Kind != want || len(task.Items) < 100 {
			t.Errorf("%s: %+v, %v", file, task, err)
		}
	}
}

func TestShots(t *testing.T) {
	task, err := Parse("f", []byte(`{"context": "A?", "answer": "1"}
{"context": "B?", "answer": "2"}
{"context": "C?", "chain_of_thought": "so three", "answer": "3"}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := task.Shots(3); err == nil {
		t.Error("as many examples as items were accepted")
	}
	if err := task.Shots(1); err != nil || len(task.Items) != 2 {
		t.Fatalf("%v, %d items", err, len(task.Items))
	}
	const want = "Question: C?\nAnswer: so three\n#### 3\n\nQuestion: B?\nAnswer:"
	if got := task.Items[1].Prompt; got != want {
		t.Errorf("prompt %q, want %q", got, want)
	}
}

func TestExtract(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "",
		"no number":                    "",
		"3 + 4 = 7.":                   "7",
		"so $1,234.50 it is":           "1,234.50",
		"first 5\n#### 42\nand then 7": "42",
		"#### none, but 8":             "8",
		"####\nno, 2 and ####":         "2",
		"from 5-3":                     "-3",
		"1, 2, 3":                      "3",
		"in 12,34 parts":               "34",
	} {
		if got := Extract(text); got != want {
			t.Errorf("Extract(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestSameNumber(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"70000", "70,000", true},
		{"$5", "5.00", true},
		{"5", "6", false},
		{"", "0", false},
		{"-3", "3", false},
		{"0.1", "0.10", true},
		{"1e3", "1000", false},
		{"1/2", "0.5", false},
	} {
		if got := SameNumber(c.a, c.b); got != c.want {
			t.Errorf("SameNumber(%q, %q) = %v", c.a, c.b, got)
		}
	}
}

func TestBeginsWith(t *testing.T) {
	for _, c := range []struct {
		text, want string
		is         bool
	}{
		{" signs of", " signs", true},
		{" signs.", "signs", true},
		{" signs", "signs", true},
		{" signs of", "sign", false},
		{"", "sign", false},
		{" a sign", "sign", false},
	} {
		if got := BeginsWith(c.text, c.want); got != c.is {
			t.Errorf("BeginsWith(%q, %q) = %v", c.text, c.want, got)
		}
	}
}

func TestParsePoints(t *testing.T) {
	got, err := ParsePoints("0:2:0.1", 0, 100)
	if err != nil || len(got) != 21 || got[3] != 0.3 || got[20] != 2 {
		t.Errorf("0:2:0.1 gave %v, %v", got, err)
	}
	got, err = ParsePoints("1, 0.9,0.5", 0, 1)
	if err != nil || !slices.Equal(got, []float64{1, 0.9, 0.5}) {
		t.Errorf("a list gave %v, %v", got, err)
	}
	for text, want := range map[string]string{
		"":            "not a number",
		"a":           "not a number",
		"NaN":         "not a number",
		"0:1":         "not a number",
		"0:1:0":       "step above 0",
		"1:0:0.1":     "from ≤ to",
		"0:1:0.00001": "more than 1000 points",
		"0,101":       "101 is outside [0, 100]",
		"1,2,1":       "1 occurs twice",
	} {
		if _, err := ParsePoints(text, 0, 100); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
