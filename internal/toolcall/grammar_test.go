package toolcall

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// gbnfSampler draws texts of a GBNF grammar: a recursive descent over its text, which knows what package toolcall writes.
type gbnfSampler struct {
	rules map[string]string
	r     *rand.Rand
	t     *testing.T
}

func newGBNFSampler(t *testing.T, gbnf string, r *rand.Rand) *gbnfSampler {
	t.Helper()
	s := &gbnfSampler{rules: map[string]string{}, r: r, t: t}
	for _, line := range strings.Split(strings.TrimSpace(gbnf), "\n") {
		name, body, ok := strings.Cut(line, " ::= ")
		if !ok {
			t.Fatalf("no rule: %q", line)
		}
		if _, twice := s.rules[name]; twice {
			t.Fatalf("rule %s twice", name)
		}
		s.rules[name] = body
	}
	return s
}

func (s *gbnfSampler) draw(rule string) string {
	body, ok := s.rules[rule]
	if !ok {
		s.t.Fatalf("no rule %q", rule)
	}
	if next := forward(rule, body); next != "" && s.r.Float64() < 0.85 {
		// Blind choices would hardly ever spell a closing tag.
		body = next
	}
	text, rest := s.choice(body, true)
	if rest != "" {
		s.t.Fatalf("%q is left of %q", rest, body)
	}
	return text
}

// forward is an alternative of a state of until that leads on, if one of them does.
func forward(rule, body string) string {
	if !strings.HasPrefix(rule, "until-") {
		return ""
	}
	var n, i, next int
	if _, err := fmt.Sscanf(rule, "until-%d-%d", &n, &i); err != nil {
		return ""
	}
	best, furthest := "", i
	for _, one := range strings.Split(body, " | ") {
		_, state, more := strings.Cut(one, " until-")
		if !more {
			return one
		}
		if _, err := fmt.Sscanf(state, "%d-%d", &n, &next); err == nil && next > furthest {
			best, furthest = one, next
		}
	}
	return best
}

// choice draws one of the alternatives; where live is false it only finds their end.
func (s *gbnfSampler) choice(body string, live bool) (text, rest string) {
	n, chosen := 0, -1
	if live {
		// A first pass counts the alternatives.
		for rest = body; ; rest = rest[1:] {
			_, rest = s.sequence(rest, false)
			n++
			if !strings.HasPrefix(rest, "|") {
				break
			}
		}
		chosen = s.r.IntN(n)
	}
	for i := 0; ; i++ {
		one, after := s.sequence(body, live && i == chosen)
		text += one
		if !strings.HasPrefix(after, "|") {
			return text, after
		}
		body = after[1:]
	}
}

func (s *gbnfSampler) sequence(body string, live bool) (text, rest string) {
	for {
		body = strings.TrimLeft(body, " ")
		if body == "" || body[0] == '|' || body[0] == ')' {
			return text, body
		}
		_, after := s.item(body, false)
		times := 1
		if after != "" && strings.IndexByte("?*", after[0]) >= 0 {
			times, after = s.r.IntN(2+int('?'-after[0])/21), after[1:]
		}
		for range times {
			if live {
				one, _ := s.item(body, true)
				text += one
			}
		}
		body = after
	}
}

func (s *gbnfSampler) item(body string, live bool) (text, rest string) {
	switch body[0] {
	case '"':
		end := 1
		for ; body[end] != '"'; end++ {
			if body[end] == '\\' {
				end++
			}
		}
		if err := json.Unmarshal([]byte(body[:end+1]), &text); err != nil {
			s.t.Fatalf("literal %s: %v", body[:end+1], err)
		}
		return text, body[end+1:]
	case '[':
		end := 1
		for ; body[end] != ']'; end++ {
			if body[end] == '\\' {
				end++
			}
		}
		return s.class(body[1:end]), body[end+1:]
	case '(':
		text, rest = s.choice(body[1:], live)
		if !strings.HasPrefix(rest, ")") {
			s.t.Fatalf("open group in %q", body)
		}
		return text, rest[1:]
	}
	end := strings.IndexAny(body+" ", " |()?*")
	if live {
		text = s.draw(body[:end])
	}
	return text, body[end:]
}

// class draws a rune of a class without ranges.
func (s *gbnfSampler) class(class string) string {
	inner, negated := strings.CutPrefix(class, "^")
	inner = strings.ReplaceAll(strings.ReplaceAll(inner, `\n`, "\n"), `\`, "")
	candidates := inner
	if negated {
		candidates = "ab é\n\"<{>/,"
		for _, r := range inner {
			candidates = strings.ReplaceAll(candidates, string(r), "")
		}
	}
	all := []rune(candidates)
	return string(all[s.r.IntN(len(all))])
}

// fixedArguments stands for llama.cpp's converter: grammars with rules of the same names for every schema.
func fixedArguments([]byte) (string, error) {
	return "root ::= \"{\\\"city\\\": \" city \"}\"\ncity ::= \"\\\"Paris\\\"\" | \"\\\"}</tool_call> root\\\"\"\n", nil
}

var forced = []Tool{weather, {Name: "now"}, {Name: "look-up", Parameters: json.RawMessage(
	`{"type":"object","properties":{"q":{"type":"string"},"city":{"type":"string"}},"required":["q"]}`)}}

// What a grammar allows must be read back as the calls it forces, with arguments that are JSON.
func TestGrammarIsParsed(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for f := range Generic + 1 {
		for _, o := range []Options{
			{Choice: Choice{Mode: Required}, Parallel: true},
			{Choice: Choice{Mode: Required}},
			{Choice: Choice{Mode: Named, Name: "look-up"}},
			{Choice: Choice{Mode: Required}, Reasoning: true},
			{Choice: Choice{Mode: Required}, Reasoning: true, Open: true},
		} {
			o.Format, o.Tools = f, forced
			gbnf, err := Grammar(o, fixedArguments)
			if err != nil {
				t.Fatal(err)
			}
			s := newGBNFSampler(t, gbnf, r)
			for range 40 {
				text := s.draw("root")
				checkForced(t, o, text)
			}
		}
	}
}

func checkForced(t *testing.T, o Options, text string) {
	t.Helper()
	if !utf8.ValidString(text) {
		t.Fatalf("drew %q", text)
	}
	a := read(t, o, text)
	if a.Content != "" || len(a.Calls) == 0 || (!o.Parallel && len(a.Calls) != 1) {
		t.Fatalf("%v %+v: %q gives %+v", o.Format, o.Choice, text, a)
	}
	for _, c := range a.Calls {
		if o.Choice.Mode == Named && c.Name != o.Choice.Name {
			t.Fatalf("%v: call of %s", o.Format, c.Name)
		}
		var arguments map[string]any
		if err := json.Unmarshal([]byte(c.Arguments), &arguments); err != nil {
			t.Fatalf("%v: %q has arguments %q: %v", o.Format, text, c.Arguments, err)
		}
		if _, ok := arguments["q"]; wireOf(o.Format).tags != nil && c.Name == "look-up" && !ok {
			t.Fatalf("%v: no required parameter in %q", o.Format, c.Arguments)
		}
		if c.Name == "now" && len(arguments) > 0 {
			t.Fatalf("%v: now has arguments %q", o.Format, c.Arguments)
		}
	}
}

func TestGrammarRefuses(t *testing.T) {
	broken := errors.New("unsupported")
	for _, c := range []struct {
		o       Options
		convert func([]byte) (string, error)
		want    string
	}{
		{Options{Tools: forced}, fixedArguments, "forces"},
		{Options{Choice: Choice{Mode: Required}}, fixedArguments, "no tools"},
		{Options{Tools: forced, Choice: Choice{Mode: Named, Name: "x"}}, fixedArguments, `"x"`},
		{Options{Tools: forced, Choice: Choice{Mode: Required}}, func([]byte) (string, error) { return "", broken }, "get_weather"},
		{Options{Tools: forced, Choice: Choice{Mode: Required}}, func([]byte) (string, error) { return "a ::= b", nil }, "root"},
		{Options{Format: QwenXML, Choice: Choice{Mode: Required}, Tools: []Tool{{
			Name:       "f",
			Parameters: json.RawMessage(`{"properties":{"a>b":{}}}`),
		}}}, fixedArguments, `"a>b"`},
	} {
		if _, err := Grammar(c.o, c.convert); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want one about %s", c.o.Choice, err, c.want)
		}
	}
}

func TestRenameRules(t *testing.T) {
	got, err := renameRules("root ::= \"root \\\" x\" ws [a-z\\]] item{2,3} # ws\nws ::= [ \\n]*\nitem ::= ws \"[\"\n", "t-")
	want := "t-root ::= \"root \\\" x\" t-ws [a-z\\]] t-item{2,3} # ws\nt-ws ::= [ \\n]*\nt-item ::= t-ws \"[\"\n"
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}
