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

// goldenFloor is how many of the golden cases must be identical. In the others a template written for tools fails at Hugging
// Face where there are none (iterating none, an undefined name), and renders here.
const goldenFloor = 144

// goldens is the content of a *.cases.json beside a *.jinja: what Hugging Face's renderer makes of the template.
type goldens struct {
	Now   string
	Cases []struct {
		Name     string
		Messages []struct {
			Role, Content string
			ToolCalls     []any `json:"tool_calls"`
		}
		Tools               []any
		AddGenerationPrompt bool   `json:"add_generation_prompt"`
		BOS                 string `json:"bos_token"`
		EOS                 string `json:"eos_token"`
		// Expected is the prompt, Error why there is none.
		Expected, Error string
	}
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
			var messages []Message
			tools := len(c.Tools) > 0
			for _, m := range c.Messages {
				messages = append(messages, Message{Role: m.Role, Content: m.Content})
				tools = tools || len(m.ToolCalls) > 0
			}
			if tools {
				continue
			}
			total++
			tmpl, err := Compile(string(source), Options{
				BOS: c.BOS, EOS: c.EOS,
				Specials: append(spelled.FindAllString(string(source), -1), c.BOS, c.EOS),
			})
			var parts []llama.Part
			if err == nil {
				tmpl.now = func() time.Time { return now }
				parts, err = tmpl.render(messages, c.AddGenerationPrompt)
			}
			var refused *TemplateError
			switch got := joined(parts); {
			case err != nil && !errors.As(err, &refused):
				t.Errorf("%s %s: error %v is no TemplateError", filepath.Base(file), c.Name, err)
			case (err != nil) != (c.Error != ""), got != c.Expected:
				t.Logf("%s %s: got %q, %v\nwant %q, %q", filepath.Base(file), c.Name, got, err, c.Expected, c.Error)
			default:
				identical++
			}
		}
	}
	t.Logf("%d of %d identical", identical, total)
	if identical < goldenFloor {
		t.Errorf("%d of %d cases are identical, want at least %d", identical, total, goldenFloor)
	}
}

// joined is the text of parts.
func joined(parts []llama.Part) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString(p.Text)
	}
	return b.String()
}
