package session

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"
)

// script is a Reader that types the lines of a test.
type script struct{ lines, history []string }

func (r *script) Prompt(string) (string, error) {
	if len(r.lines) == 0 {
		return "", io.EOF
	}
	line := r.lines[0]
	r.lines = r.lines[1:]
	if line == "^C" {
		return "", ErrInterrupted
	}
	return line, nil
}

func (r *script) AppendHistory(line string) { r.history = append(r.history, line) }

// converse types lines and returns what is shown.
func converse(t *testing.T, s *Session, lines ...string) (string, *script) {
	t.Helper()
	var b strings.Builder
	r := &script{lines: lines}
	if err := s.Loop(r, &b, func() (context.Context, context.CancelFunc) { return context.WithCancel(t.Context()) }); err != nil {
		t.Fatal(err)
	}
	return b.String(), r
}

func TestLoop(t *testing.T) {
	s := begin(t, Settings{})
	shown, r := converse(t, s, "your name?", "", "  ", "^C", "/bye", "never read")
	if want := "Aim\n\n/bye or Ctrl-D leaves\n"; shown != want {
		t.Errorf("shown %q, want %q", shown, want)
	}
	if !slices.Equal(r.history, []string{"your name?", "/bye"}) || len(r.lines) != 1 {
		t.Errorf("history %q, unread %q", r.history, r.lines)
	}
}

func TestLoopSurvivesErrors(t *testing.T) {
	shown, _ := converse(t, begin(t, Settings{}), strings.Repeat("long ", 100), "your name?")
	if !strings.Contains(shown, "/reset begins anew") || !strings.Contains(shown, "Aim") {
		t.Errorf("shown %q", shown)
	}
}

func TestStoppingAnAnswerDoesNotLeave(t *testing.T) {
	s := begin(t, Settings{})
	answers := 0
	var b strings.Builder
	err := s.Loop(&script{lines: []string{"go on", "your name?"}}, &b, func() (context.Context, context.CancelFunc) {
		ctx, stop := context.WithCancel(t.Context())
		if answers++; answers == 1 {
			stop()
		}
		return ctx, stop
	})
	if err != nil || answers != 2 || !strings.Contains(b.String(), "Aim\n\n") {
		t.Errorf("error %v, %d answers, shown %q", err, answers, b.String())
	}
}

func TestSet(t *testing.T) {
	s := begin(t, Settings{})
	shown, _ := converse(t, s,
		"/set utility 0.5", "/set focus water 4", "/set focus fresh air -2", "/set focus * 0.2", "/set focus water 5",
		"/set focus fresh air 0", "/set focus sun,sea -100%", "/set focus rain=25%", "/set focus snow 10%", "/set focus snow 0", "/set temperature 0.3", "/set top_p 0.9", "/set max_tokens 12", "/set seed 42",
		"/set system be brief")
	set := s.settings
	if set.Utility != 0.5 || set.Temperature != 0.3 || set.TopP != 0.9 || set.MaxTokens != 12 || *set.Seed != 42 ||
		set.System != "be brief" || !slices.Equal(set.Focus, []Focus{{Text: "water", Sigma: 5}, {Text: "*", Sigma: 0.2}, {Text: "sun,sea", Strength: -1}, {Text: "rain", Strength: 0.25}}) {
		t.Errorf("settings %+v after\n%s", set, shown)
	}
	for _, want := range []string{"σ = 0.5", "water raised by 4", "fresh air lowered by 2", "* raised by 0.2", "sun,sea taken out to 100%", "rain brought in by 25%", "be brief"} {
		if !strings.Contains(shown, want) {
			t.Errorf("%q is not shown in\n%s", want, shown)
		}
	}
	converse(t, s, "/set focus none", "/set seed none", "/set system")
	if s.settings.Focus != nil || s.settings.Seed != nil || s.settings.System != "" {
		t.Errorf("not removed: %+v", s.settings)
	}
}

func TestCommandsSayWhatIsWrong(t *testing.T) {
	s := begin(t, Settings{})
	before := s.settings
	for line, want := range map[string]string{
		"/set utility much":     `"much" is not a number`,
		"/set utility":          `"" is not a number`,
		"/set utility -1":       "utility.sigma is -1",
		"/set utility NaN":      "utility.sigma is NaN",
		"/set temperature 9":    "temperature is 9, must be in [0, 2]",
		"/set focus":            "such as: water 50%",
		"/set focus water":      "such as: water 50%",
		"/set focus 4":          "such as: water 50%",
		"/set focus water 1e9":  "focus[0].sigma",
		"/set focus water 101%": "focus[0].strength is 1.01",
		"/set focus ,sea 50%":   "a word is empty",
		"/set focus water NaN%": "focus[0]",
		"/set max_tokens 1.5":   "not a whole number",
		"/set seed -1":          "neither a whole number",
		"/set color red":        "/set knows level, utility, focus",
		"/frobnicate":           "no command /frobnicate",
	} {
		shown, _ := converse(t, s, line)
		if !strings.Contains(shown, want) {
			t.Errorf("%s shows %q, want %q", line, shown, want)
		}
	}
	if got := s.settings.String(); got != before.String() {
		t.Errorf("settings have changed:\n%s", got)
	}
}

func TestHelpListsEverything(t *testing.T) {
	shown, _ := converse(t, begin(t, Settings{}), "/help")
	for _, c := range commands() {
		if !strings.Contains(shown, c.name) || c.help == "" {
			t.Errorf("%s is missing in\n%s", c.name, shown)
		}
	}
	if got := Complete("/set t"); !slices.Equal(got, []string{"/set temperature", "/set top_p"}) {
		t.Errorf("completions %q", got)
	}
	if got := Complete("hello"); got != nil {
		t.Errorf("completions of a turn %q", got)
	}
}

func TestParseFocus(t *testing.T) {
	for text, want := range map[string]Focus{
		"water 4":       {Text: "water", Sigma: 4},
		"water=4":       {Text: "water", Sigma: 4},
		"fresh air -.5": {Text: "fresh air", Sigma: -0.5},
		"a=b=2":         {Text: "a=b", Sigma: 2},
		"日本 1":          {Text: "日本", Sigma: 1},
		"water 50%":     {Text: "water", Strength: 0.5},
		"a, b=-100%":    {Text: "a, b", Strength: -1},
	} {
		if got, err := ParseFocus(text); got != want || err != nil {
			t.Errorf("ParseFocus(%q) = %v, %v", text, got, err)
		}
	}
}
