package session

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// errLeave ends the conversation.
var errLeave = errors.New("leave")

// command is something to type instead of a turn.
type command struct {
	name, args, help string
	// run does it and returns what to show.
	run func(s *Session, args string) (string, error)
}

// commands are in the order of /help. A function, because /help lists itself.
func commands() []command {
	list := []command{
		{"/show", "", "show the settings", func(s *Session, _ string) (string, error) { return s.settings.String(), nil }},
		{"/reset", "", "forget the conversation, keep the settings", func(s *Session, _ string) (string, error) {
			s.Reset()
			return "a new conversation begins\n", nil
		}},
		{"/help", "", "show this list", func(*Session, string) (string, error) { return help(), nil }},
		{"/bye", "", "leave; Ctrl-D does so, too", func(*Session, string) (string, error) { return "", errLeave }},
	}
	for i := range settings {
		set := &settings[i]
		list = slices.Insert(list, i, command{"/set " + set.name, set.args, set.help, set.run})
	}
	return list
}

// setting is one thing that /set changes.
type setting struct {
	name, args, help string
	// parse turns the arguments into a change.
	parse func(args string) (func(*Settings), error)
}

var settings = []setting{
	{"level", "U", "how often the likeliest token stays so: 1 always, 0.9 mostly, 0.5 every other time", parseLevel},
	{"utility", "σ", "the same by the noise on all logits: 0 none, 0.5 some, 3 much", number(func(set *Settings, v float64) {
		set.Utility, set.Level = v, 0
	})},
	{
		"focus", "WORD S%",
		"bring a word in, up to 100%, or with -S% take it out; a,b are two; none removes all; WORD σ is noise as in the paper, * all words",
		parseFocus,
	},
	{"temperature", "T", "0 takes the likeliest token, 2 is wild", number(func(set *Settings, v float64) { set.Temperature = v })},
	{"top_p", "P", "draw from the likeliest tokens that make up P; 1 from all", number(func(set *Settings, v float64) { set.TopP = v })},
	{"max_tokens", "N", "longest answer; 0 for no limit", parseMaxTokens},
	{"seed", "N", "make answers repeatable; none for chance", parseSeed},
	{"system", "TEXT", "instruct the model before the first turn; nothing removes it", parseSystem},
}

// run changes the setting, and shows them all where that went well.
func (set *setting) run(s *Session, args string) (string, error) {
	f, err := set.parse(args)
	if err == nil {
		err = s.change(f)
	}
	if err != nil {
		return "", err
	}
	return s.settings.String(), nil
}

// number parses an argument that is a number. Its domain is the sampler's affair.
func number(assign func(*Settings, float64)) func(string) (func(*Settings), error) {
	return func(args string) (func(*Settings), error) {
		v, err := strconv.ParseFloat(args, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is not a number", args)
		}
		return func(set *Settings) { assign(set, v) }, nil
	}
}

// parseLevel refuses 0, which in Settings means that no level is set.
func parseLevel(args string) (func(*Settings), error) {
	v, err := strconv.ParseFloat(args, 64)
	if err != nil || !(v > 0 && v <= 1) {
		return nil, fmt.Errorf("%q is not a number above 0 and up to 1", args)
	}
	return func(set *Settings) { set.Level = v }, nil
}

func parseFocus(args string) (func(*Settings), error) {
	if args == "none" {
		return func(set *Settings) { set.Focus = nil }, nil
	}
	f, err := ParseFocus(args)
	return func(set *Settings) { set.focus(f) }, err
}

// ParseFocus reads a word and its strength in percent or its σ, apart by a space or "=": "water 50%", "food,bread=-100%",
// "water 4", "fresh water -2".
func ParseFocus(text string) (Focus, error) {
	at := strings.LastIndexAny(text, " =")
	if at > 0 {
		word := strings.TrimSpace(text[:at])
		figure, percent := strings.CutSuffix(text[at+1:], "%")
		if v, err := strconv.ParseFloat(figure, 64); err == nil && word != "" {
			if percent {
				return Focus{Text: word, Strength: v / 100}, nil
			}
			return Focus{Text: word, Sigma: v}, nil
		}
	}
	return Focus{}, fmt.Errorf("%q is not a word and how much of it, such as: water 50%% or water 4", text)
}

func parseMaxTokens(args string) (func(*Settings), error) {
	v, err := strconv.Atoi(args)
	if err != nil {
		return nil, fmt.Errorf("%q is not a whole number", args)
	}
	return func(set *Settings) { set.MaxTokens = v }, nil
}

func parseSeed(args string) (func(*Settings), error) {
	if args == "none" {
		return func(set *Settings) { set.Seed = nil }, nil
	}
	v, err := strconv.ParseUint(args, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%q is neither a whole number from 0 nor none", args)
	}
	return func(set *Settings) { set.Seed = &v }, nil
}

func parseSystem(args string) (func(*Settings), error) {
	return func(set *Settings) { set.System = args }, nil
}

// Command runs a line that begins with a slash and returns what to show. The error is errLeave for /bye.
func (s *Session) command(line string) (string, error) {
	line = strings.TrimSpace(line)
	for _, c := range commands() {
		if args, ok := strings.CutPrefix(line, c.name); ok && (args == "" || args[0] == ' ') {
			return c.run(s, strings.TrimSpace(args))
		}
	}
	if strings.HasPrefix(line, "/set") {
		return "", fmt.Errorf("/set knows %s", strings.Join(names(settings), ", "))
	}
	return "", fmt.Errorf("there is no command %s; /help lists them", strings.Fields(line)[0])
}

func names(list []setting) (names []string) {
	for _, set := range list {
		names = append(names, set.name)
	}
	return names
}

// Complete returns the commands that a line may become.
func Complete(line string) (list []string) {
	for _, c := range commands() {
		if strings.HasPrefix(c.name, line) {
			list = append(list, c.name)
		}
	}
	return list
}

func help() string {
	var b strings.Builder
	for _, c := range commands() {
		fmt.Fprintf(&b, "  %-18s %s\n", c.name+" "+c.args, c.help)
	}
	b.WriteString("  Ctrl-C             stop the answer\n")
	return b.String()
}
