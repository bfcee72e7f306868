package session

import (
	"context"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"aim/internal/chat"
	"aim/llama"
	"aim/llama/llamatest"
	"aim/sampler"
)

// prompt renders turns as [role]content and asks for the assistant's with marker.
const (
	prompt = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]"
	marker = "[assistant]"
)

// begin starts an engine on the fake model, which knows some answers, and a conversation with it.
func begin(t *testing.T, set Settings) *Session {
	t.Helper()
	return beginOn(t, set, nil)
}

// beginOn is begin on a decoder that runs before at the start of each decode.
func beginOn(t *testing.T, set Settings, before func([]llama.Row) error) *Session {
	t.Helper()
	model := llamatest.New()
	decoder := llamatest.NewDecoder(model, llamatest.Options{Context: 256, Before: before, Say: llamatest.Say(model, marker, map[string]string{
		"name?":  "Aim",
		"ring?":  "a\x07b\x1b[2Jc\nd",
		"pirate": "Arr",
	})})
	// The queue bridges the moment until a stopped answer has left its slot.
	engine := llama.New(model, decoder, llama.Config{Context: 256, Queue: 1})
	ctx, end := context.WithCancel(t.Context())
	t.Cleanup(end)
	go engine.Run(ctx)
	template, err := chat.Compile(prompt, chat.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Engine: engine, Template: template, Name: "fake", Secret: make([]byte, 32), Settings: set, Terminal: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func ask(t *testing.T, s *Session, text string) string {
	t.Helper()
	var b strings.Builder
	if err := s.Answer(t.Context(), text, &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestAnswerRemembersTheTurns(t *testing.T) {
	s := begin(t, Settings{System: "be a pirate"})
	if got := ask(t, s, "talk"); got != "Arr" {
		t.Errorf("first answer %q", got)
	}
	want := []chat.Message{{Role: "user", Content: "talk"}, {Role: "assistant", Content: "Arr"}}
	if !reflect.DeepEqual(s.turns, want) {
		t.Errorf("turns %v, want %v", s.turns, want)
	}
	s.Reset()
	if len(s.turns) > 0 || s.settings.System == "" {
		t.Errorf("after a reset: turns %v, settings %v", s.turns, s.settings)
	}
}

func TestAnswerHidesControlCharacters(t *testing.T) {
	s := begin(t, Settings{})
	if got, want := ask(t, s, "ring?"), "a\ufffdb\ufffd[2Jc\nd"; got != want {
		t.Errorf("shown %q, want %q", got, want)
	}
	if got, want := s.turns[1].Content, "a\x07b\x1b[2Jc\nd"; got != want {
		t.Errorf("remembered %q, want %q", got, want)
	}
}

func TestStoppedAnswerStaysPartOfTheConversation(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	decodes := 0
	s := beginOn(t, Settings{}, func([]llama.Row) error {
		if decodes++; decodes > 5 { // the fake would come to the end of the context before anybody could stop it
			<-ctx.Done()
		}
		return nil
	})
	err := s.Answer(ctx, "go on", stopper(stop))
	if !errors.Is(err, context.Canceled) || len(s.turns) != 2 {
		t.Errorf("error %v, turns %+v", err, s.turns)
	}
}

// stopper is a writer that has seen enough at its first write.
type stopper func()

func (stop stopper) Write(p []byte) (int, error) {
	stop()
	return len(p), nil
}

func TestFailedAnswerLeavesNoTrace(t *testing.T) {
	s := begin(t, Settings{})
	err := s.Answer(t.Context(), strings.Repeat("long ", 100), io.Discard)
	var long *llama.TooLongError
	if !errors.As(err, &long) || len(s.turns) != 0 {
		t.Errorf("error %v, turns %+v", err, s.turns)
	}
}

func TestSeedMakesAnswersRepeatable(t *testing.T) {
	seed := uint64(7)
	answer := func(set Settings) string {
		set.Temperature, set.MaxTokens = 1, 30
		return ask(t, begin(t, set), "babble")
	}
	base := answer(Settings{Seed: &seed})
	if again := answer(Settings{Seed: &seed}); again != base {
		t.Errorf("%q, then %q", base, again)
	}
	for name, set := range map[string]Settings{
		"utility": {Seed: &seed, Utility: 3},
		"focus":   {Seed: &seed, Focus: []Focus{{Text: "water", Sigma: 20}}},
	} {
		if other := answer(set); other == base {
			t.Errorf("%s changes nothing", name)
		}
	}
}

func TestFocusRaises(t *testing.T) {
	s := begin(t, Settings{MaxTokens: 40, Focus: []Focus{{Text: "water", Sigma: 40}}})
	if got := strings.ToLower(ask(t, s, "babble")); !strings.Contains(got, "water") {
		t.Errorf("raised water does not occur in %q", got)
	}
}

func TestTarget(t *testing.T) {
	s := begin(t, Settings{})
	for _, c := range []struct {
		focus     Focus
		sigma     float64
		direction sampler.Direction
		all       bool
		targets   int
	}{
		{Focus{Text: "water", Sigma: 4}, 4, sampler.Raise, false, 4}, // with and without a space, capitalized or not
		{Focus{Text: "water", Sigma: -4}, 4, sampler.Lower, false, 4},
		{Focus{Text: "*", Sigma: -0.5}, 0.5, sampler.Lower, true, 0},
	} {
		got, err := s.target(c.focus)
		if err != nil || got.Sigma != c.sigma || got.Direction != c.direction || got.All != c.all || len(got.Targets) != c.targets {
			t.Errorf("%v is %+v, %v", c.focus, got, err)
		}
	}
}

func TestNewRefusesWhatIsOutsideItsDomain(t *testing.T) {
	cfg := begin(t, Settings{}).cfg
	for want, set := range map[string]Settings{
		"utility.sigma":  {Utility: -1},
		"temperature":    {Temperature: 3},
		"top_p":          {TopP: 2},
		"max_tokens":     {MaxTokens: -1},
		"focus[0].sigma": {Focus: []Focus{{Text: "water", Sigma: 1000}}},
		`focus on ""`:    {Focus: []Focus{{Text: "", Sigma: 1}}},
	} {
		cfg.Settings = set
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want an error that names %s", set, err, want)
		}
	}
}
