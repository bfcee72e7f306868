package eval

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// Kind is the kind of a task.
type Kind string

// The kinds of tasks, recognised by the fields of their items.
const (
	// Completion: the one right continuation of a text, by exact match (context, continuation; LAMBADA).
	Completion Kind = "completion"
	// Choice: the right one of several continuations, by likelihood (query, choices, gold; PIQA, ARC).
	Choice Kind = "choice"
	// Generation: an answer in free text that ends with a number (context, answer; GSM8K).
	Generation Kind = "generation"
)

// Metrics are the names of what a task of this kind is scored by, the main one first.
//
//   - acc: the share of items answered rightly
//   - acc_norm: the same, with each choice's log-likelihood divided by its length in characters
//   - ll: the natural log-likelihood of the right continuation under the modulated distribution
func (k Kind) Metrics() []string {
	switch k {
	case Choice:
		return []string{"acc", "acc_norm"}
	case Completion:
		return []string{"acc", "ll"}
	case Generation:
	}
	return []string{"acc"}
}

// Item is one question.
type Item struct {
	// Prompt is what the model is given, without trailing white space.
	Prompt string
	// Choices are what may follow, with their leading space: one for a completion, none for a generation.
	Choices []string
	// Gold is the index of the right choice.
	Gold int
	// Answer is the right number of a generation, Reasoning a text that leads to it, for examples.
	Answer, Reasoning string
}

// Task is a list of questions of one kind.
type Task struct {
	// Name is the file's name.
	Name  string
	Kind  Kind
	Items []Item
	// Hash identifies the content: SHA-256 of the file, in hexadecimal.
	Hash string
}

// LineError is a mistake in a line of a file.
type LineError struct {
	File string
	// Line counts from 1.
	Line int
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err) }

// Unwrap returns the mistake.
func (e *LineError) Unwrap() error { return e.Err }

// Load reads a task from a file of JSON lines. The error is a [LineError] where a line is wrong.
func Load(path string) (*Task, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, data)
}

// Parse is Load for a file that was read already.
func Parse(name string, data []byte) (*Task, error) {
	sum := sha256.Sum256(data)
	t := &Task{Name: name, Hash: hex.EncodeToString(sum[:])}
	for i, line := range bytes.Split(data, []byte("\n")) {
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		kind, item, err := parseItem(line)
		if err == nil && t.Kind != "" && kind != t.Kind {
			err = fmt.Errorf("an item of kind %s among items of kind %s", kind, t.Kind)
		}
		if err != nil {
			return nil, &LineError{File: name, Line: i + 1, Err: err}
		}
		t.Kind = kind
		t.Items = append(t.Items, item)
	}
	if len(t.Items) == 0 {
		return nil, fmt.Errorf("%s has no items", name)
	}
	return t, nil
}

// line is the union of the fields of all kinds.
type line struct {
	Context      *string   `json:"context"`
	Continuation *string   `json:"continuation"`
	Query        *string   `json:"query"`
	Choices      *[]string `json:"choices"`
	Gold         *int      `json:"gold"`
	Answer       *string   `json:"answer"`
	Reasoning    string    `json:"chain_of_thought"`
}

// parseItem recognises an item by its fields. The wording around them is that of lm-evaluation-harness (EleutherAI):
// LAMBADA as it is, "Question: …\nAnswer:" elsewhere, and one space before a continuation.
func parseItem(raw []byte) (Kind, Item, error) {
	var l line
	if err := json.Unmarshal(raw, &l); err != nil {
		return "", Item{}, fmt.Errorf("not an item: %w", err)
	}
	switch {
	case l.Context != nil && l.Continuation != nil:
		return completionItem(&l)
	case l.Query != nil && l.Choices != nil:
		return choiceItem(&l)
	case l.Context != nil && l.Answer != nil:
		return generationItem(&l)
	}
	return "", Item{}, fmt.Errorf("fields of no kind of task: want context and continuation, query, choices and gold, or context and answer")
}

func completionItem(l *line) (Kind, Item, error) {
	it := Item{Prompt: strings.TrimRight(*l.Context, " \t\r\n"), Choices: []string{spaced(*l.Continuation)}}
	if it.Prompt == "" {
		return "", Item{}, fmt.Errorf("context is empty")
	}
	if it.Choices[0] == " " {
		return "", Item{}, fmt.Errorf("continuation is empty")
	}
	return Completion, it, nil
}

func choiceItem(l *line) (Kind, Item, error) {
	query := strings.TrimSpace(*l.Query)
	if query == "" {
		return "", Item{}, fmt.Errorf("query is empty")
	}
	if len(*l.Choices) < 2 {
		return "", Item{}, fmt.Errorf("choices has %d entries, want at least 2", len(*l.Choices))
	}
	if l.Gold == nil {
		return "", Item{}, fmt.Errorf("gold is missing")
	}
	if *l.Gold < 0 || *l.Gold >= len(*l.Choices) {
		return "", Item{}, fmt.Errorf("gold is %d, want an index into %d choices", *l.Gold, len(*l.Choices))
	}
	it := Item{Prompt: question(query), Gold: *l.Gold}
	for i, c := range *l.Choices {
		if strings.TrimSpace(c) == "" {
			return "", Item{}, fmt.Errorf("choices[%d] is empty", i)
		}
		it.Choices = append(it.Choices, spaced(c))
	}
	return Choice, it, nil
}

func generationItem(l *line) (Kind, Item, error) {
	context := strings.TrimSpace(*l.Context)
	if context == "" {
		return "", Item{}, fmt.Errorf("context is empty")
	}
	if _, ok := number(*l.Answer); !ok {
		return "", Item{}, fmt.Errorf("answer %q is not a number", *l.Answer)
	}
	return Generation, Item{Prompt: question(context), Answer: *l.Answer, Reasoning: l.Reasoning}, nil
}

// question words a question for a model that continues text.
func question(text string) string {
	if !strings.HasPrefix(text, "Question:") {
		text = "Question: " + text
	}
	return text + "\nAnswer:"
}

// spaced gives a continuation the one space that separates it from what it continues.
func spaced(s string) string { return " " + strings.TrimSpace(s) }

// Shots puts n examples with their reasoning before every question of a generation, taken from the end of the task; these
// items are no longer asked. Other kinds are left alone.
func (t *Task) Shots(n int) error {
	if n == 0 || t.Kind != Generation {
		return nil
	}
	if n < 0 || n >= len(t.Items) {
		return fmt.Errorf("%d examples of %d items leave none to ask", n, len(t.Items))
	}
	var b strings.Builder
	for _, it := range t.Items[len(t.Items)-n:] {
		fmt.Fprintf(&b, "%s %s\n#### %s\n\n", it.Prompt, strings.TrimSpace(it.Reasoning), it.Answer)
	}
	t.Items = t.Items[:len(t.Items)-n]
	for i := range t.Items {
		t.Items[i].Prompt = b.String() + t.Items[i].Prompt
	}
	return nil
}
