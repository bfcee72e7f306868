package chat

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"aim/llama"
)

// goldens is the content of a *.cases.json beside a *.jinja: what Hugging Face's renderer makes of the template.
type goldens struct {
	Now   string
	Cases []goldenCase
}

type goldenCase struct {
	Name     string
	Messages []struct {
		Role       string
		Content    *string
		Name       string
		Reasoning  string `json:"reasoning_content"`
		ToolCallID string `json:"tool_call_id"`
		ToolCalls  []struct {
			ID       string
			Function struct {
				Name      string
				Arguments json.RawMessage
			}
		} `json:"tool_calls"`
	}
	Tools               []json.RawMessage
	AddGenerationPrompt bool   `json:"add_generation_prompt"`
	BOS                 string `json:"bos_token"`
	EOS                 string `json:"eos_token"`
	// Expected is the prompt, Error why there is none.
	Expected, Error string
}

func (g *goldenCase) conversation() Conversation {
	c := Conversation{Tools: g.Tools}
	for _, m := range g.Messages {
		message := Message{Role: m.Role, Name: m.Name, Reasoning: m.Reasoning, ToolCallID: m.ToolCallID, NoContent: m.Content == nil}
		if m.Content != nil {
			message.Content = *m.Content
		}
		for _, call := range m.ToolCalls {
			message.ToolCalls = append(message.ToolCalls, ToolCall{ID: call.ID, Name: call.Function.Name, Arguments: call.Function.Arguments})
		}
		c.Messages = append(c.Messages, message)
	}
	return c
}

func goldenFolder(t *testing.T) string {
	dir := os.Getenv("AIM_CHAT_GOLDENS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "testdata", "chat_templates")
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no golden templates, set AIM_CHAT_GOLDENS: %v", err)
	}
	return dir
}

// spelled finds what looks like a special token in a template.
var spelled = regexp.MustCompile(`<[|｜][^|｜<>{}'" ]+[|｜]>|</?[sS]>|\[/?INST\]|<(?:start|end)_of_turn>`)

// TestGoldens renders real templates with every special token guarded: provenance must not change a prompt.
func TestGoldens(t *testing.T) {
	dir := goldenFolder(t)
	files, err := filepath.Glob(filepath.Join(dir, "*.cases.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases in %s: %v", dir, err)
	}
	total, identical := 0, 0
	for _, file := range files {
		var g goldens
		data, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(data, &g)
		}
		if err != nil {
			t.Fatal(err)
		}
		source, err := os.ReadFile(strings.TrimSuffix(file, ".cases.json") + ".jinja")
		if err != nil {
			t.Fatal(err)
		}
		now, err := time.Parse("2006-01-02T15:04:05", g.Now)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range g.Cases {
			total++
			tmpl, err := Compile(string(source), Options{
				BOS: c.BOS, EOS: c.EOS,
				Specials: append(spelled.FindAllString(string(source), -1), c.BOS, c.EOS),
			})
			var parts []llama.Part
			if err == nil {
				tmpl.now = func() time.Time { return now }
				parts, err = tmpl.render(c.conversation(), c.AddGenerationPrompt)
			}
			id := strings.TrimSuffix(filepath.Base(file), ".cases.json") + " " + c.Name
			var refused *TemplateError
			switch got := joined(parts); {
			case err != nil && !errors.As(err, &refused):
				t.Errorf("%s: error %v is no TemplateError", id, err)
			case (err == nil) == (c.Error == "") && got == c.Expected:
				identical++
			default:
				t.Errorf("%s: got %q, %v\nwant %q, %q", id, got, err, c.Expected, c.Error)
			}
		}
	}
	t.Logf("%d of %d identical", identical, total)
}

// joined is the text of parts.
func joined(parts []llama.Part) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString(p.Text)
	}
	return b.String()
}
