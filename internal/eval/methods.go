package eval

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"aim/llama"
	"aim/sampler"
)

// Method is a way to make answers turn to a topic.
type Method struct {
	// Name and Strength name it in tables.
	Name     string
	Strength float64
	// Params are what it asks of the sampler, given the topic's words; nil is nothing.
	Params func(words []string) (sampler.Params, error)
	// Prompt rewrites what the user says; nil leaves it. Perplexity is still taken given the prompt as it was.
	Prompt func(text string, t *Topic) string
}

// Plain is no focus at all.
var Plain = Method{Name: "none"}

// PromptMethod asks for the topic in words.
func PromptMethod() Method {
	return Method{Name: "prompt", Prompt: func(text string, t *Topic) string { return text + " Focus on " + t.Name + "." }}
}

// BiasMethod adds a bias to the tokens by which the topic's words begin, as logit_bias can.
func BiasMethod(m llama.Model, bias float64) Method {
	return Method{Name: "logit_bias", Strength: bias, Params: func(words []string) (sampler.Params, error) {
		targets, err := surfaces(m, words)
		p := sampler.Params{Bias: map[sampler.Token]float64{}}
		for _, t := range targets {
			p.Bias[t[0]] = bias
		}
		return p, err
	}}
}

// PaperMethod raises the topic's words by |ε|, ε ~ N(0, σ²), at every step (AIM, WWW'25, arXiv 2603.12755).
func PaperMethod(m llama.Model, sigma float64) Method {
	return Method{Name: "paper", Strength: sigma, Params: func(words []string) (sampler.Params, error) {
		targets, err := surfaces(m, words)
		return sampler.Params{Focus: []sampler.Focus{{Targets: targets, Sigma: sigma, Direction: sampler.Raise}}}, err
	}}
}

// LexicalMethod is the dial of lexical focus.
func LexicalMethod(l *llama.Lexicon, strength float64) Method {
	return Method{Name: "lexical", Strength: strength, Params: func(words []string) (sampler.Params, error) {
		w, err := l.Words(words)
		return sampler.Params{Focus: []sampler.Focus{{Words: w, Strength: strength}}}, err
	}}
}

// surfaces are the token sequences of all words.
func surfaces(m llama.Model, words []string) (targets [][]sampler.Token, err error) {
	for _, w := range words {
		forms, err := llama.Surfaces(m, w)
		if err != nil {
			return nil, err
		}
		targets = append(targets, forms...)
	}
	return targets, nil
}

// FocusRun measures methods on every topic and prompt of a set, greedily.
type FocusRun struct {
	Engine *llama.Engine
	// Render turns what a user says into a prompt, and Name is the model's name.
	Render Prompter
	Name   string
	Set    *FocusSet
	// Length is the most tokens of an answer.
	Length int
	// Program identifies the program: what it does about focus is in no setting, and answers of another one are not this one's.
	Program string
}

// cellSettings are what the answers of a run depend on.
type cellSettings struct {
	Program string    `json:"program"`
	Model   string    `json:"model"`
	Set     *FocusSet `json:"set"`
	Length  int       `json:"length"`
}

// cell are the answers of one method.
type cell struct {
	Method   string  `json:"method"`
	Strength float64 `json:"strength"`
	Answers  []Tried `json:"answers"`
}

// Rows answers with each method and returns a row for each, the first for none. A method with a negative strength is
// judged on the pairs of prompt and topic whose plain answer has a target word, beside the plain answers of those. The answers are
// kept in dir, so that a run that was stopped goes on with the method it was at.
func (f *FocusRun) Rows(ctx context.Context, methods []Method, dir string, progress func(done, total int)) (rows []FocusRow, err error) {
	settings := cellSettings{f.Program, f.Name, f.Set, f.Length}
	have := map[string][]Tried{}
	name := func(method string, strength float64) string { return fmt.Sprint(method, " ", strength) }
	l, err := openLog(filepath.Join(dir, "answers-"+settingsKey(settings)+".jsonl"), settings, func(line []byte) error {
		var c cell
		err := json.Unmarshal(line, &c)
		have[name(c.Method, c.Strength)] = c.Answers
		return err
	})
	if err != nil {
		return nil, err
	}
	defer l.f.Close()
	all := append([]Method{Plain}, methods...)
	report := f.reporter(len(all), progress)
	var base []Tried
	for i, m := range all {
		answers := have[name(m.Name, m.Strength)]
		if answers == nil {
			if answers, err = f.answers(ctx, &m, base, func() { report(i, 1) }); err != nil {
				return nil, fmt.Errorf("%s %g: %w", m.Name, m.Strength, err)
			}
			line, err := json.Marshal(cell{m.Name, m.Strength, answers})
			if err == nil {
				err = l.append(line)
			}
			if err != nil {
				return nil, err
			}
		}
		if i == 0 {
			base = answers
		}
		report(i, f.pairs())
		rows = append(rows, judge(&m, answers, base))
	}
	return rows, nil
}

// pairs is the number of prompts times topics.
func (f *FocusRun) pairs() int { return len(f.Set.Prompts) * len(f.Set.Topics) }

// reporter counts answers over all methods for progress.
func (f *FocusRun) reporter(methods int, progress func(done, total int)) func(method, more int) {
	var mu sync.Mutex
	at, done := -1, 0
	return func(method, more int) {
		if progress == nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if method != at {
			at, done = method, 0
		}
		done = min(done+more, f.pairs())
		progress(method*f.pairs()+done, methods*f.pairs())
	}
}

// judge compares a method's answers with the plain ones. Of a negative strength those count that had something to avoid.
func judge(m *Method, answers, base []Tried) FocusRow {
	if m.Strength < 0 {
		var mine, theirs []Tried
		for i, b := range base {
			if b.Hits > 0 {
				mine, theirs = append(mine, answers[i]), append(theirs, b)
			}
		}
		answers, base = mine, theirs
	}
	return Judge(m.Name, "lexical", m.Strength, answers, base)
}

// answers generates with one method: prompt by prompt, topic by topic.
func (f *FocusRun) answers(ctx context.Context, m *Method, base []Tried, done func()) ([]Tried, error) {
	var tries []Try
	for i, prompt := range f.Set.Prompts {
		for k := range f.Set.Topics {
			t, err := f.try(m, prompt, &f.Set.Topics[k])
			if err != nil {
				return nil, err
			}
			t.Group = i
			t.Request.Params.FocusKey = sampler.FocusKey(uint64(len(tries)))
			tries = append(tries, t)
		}
	}
	if m.Params == nil && m.Prompt == nil {
		return f.plain(ctx, tries)
	}
	if m.Strength < 0 { // only the pairs that judge looks at
		return f.some(ctx, tries, base, done)
	}
	answers, err := Answer(ctx, f.Engine, tries, func(int) { done() })
	if err != nil || m.Prompt == nil {
		return answers, err
	}
	return answers, f.surprise(ctx, answers)
}

// try is one request.
func (f *FocusRun) try(m *Method, prompt string, topic *Topic) (t Try, err error) {
	t.Words = topic.Words
	t.Request.MaxTokens = f.Length
	if m.Prompt != nil {
		prompt = m.Prompt(prompt, topic)
	}
	if t.Request.Prompt, err = f.Render(prompt); err != nil {
		return t, err
	}
	if m.Params != nil {
		t.Request.Params, err = m.Params(topic.Words)
	}
	return t, err
}

// plain answers each prompt once, which serves all topics.
func (f *FocusRun) plain(ctx context.Context, tries []Try) ([]Tried, error) {
	var once []Try
	for i := 0; i < len(tries); i += len(f.Set.Topics) {
		once = append(once, tries[i])
	}
	answers, err := Answer(ctx, f.Engine, once, nil)
	if err != nil {
		return nil, err
	}
	all := make([]Tried, len(tries))
	for i, t := range tries {
		all[i] = answers[t.Group]
		all[i].Hits = Hits(all[i].Text, t.Words)
	}
	return all, nil
}

// some answers where the plain answer has a target word; the other answers are empty.
func (f *FocusRun) some(ctx context.Context, tries []Try, base []Tried, done func()) ([]Tried, error) {
	var wanted []Try
	for i, t := range tries {
		if base[i].Hits > 0 {
			wanted = append(wanted, t)
		}
	}
	if len(wanted) == 0 {
		return nil, fmt.Errorf("no plain answer has a target word: there is nothing to avoid")
	}
	answers, err := Answer(ctx, f.Engine, wanted, func(int) { done() })
	if err != nil {
		return nil, err
	}
	all := make([]Tried, len(tries))
	for i := range tries {
		if base[i].Hits > 0 {
			all[i], answers = answers[0], answers[1:]
		}
	}
	return all, nil
}

// surprise takes the answers' likelihood anew, given the prompts as they were.
func (f *FocusRun) surprise(ctx context.Context, answers []Tried) error {
	var tries []Try
	for _, a := range answers {
		prompt, err := f.Render(f.Set.Prompts[a.Group])
		if err != nil {
			return err
		}
		tries = append(tries, Try{Group: a.Group, Request: llama.Request{Prompt: prompt, Forced: a.Tokens, MaxTokens: len(a.Tokens)}})
	}
	forced, err := Answer(ctx, f.Engine, tries, nil)
	if err != nil {
		return err
	}
	for i := range answers {
		answers[i].NLL = forced[i].NLL
	}
	return nil
}

// IsFocusSet tells whether a file's content looks like a focus set and not like a task.
func IsFocusSet(data []byte) bool {
	var fields map[string]json.RawMessage
	if json.NewDecoder(strings.NewReader(string(data))).Decode(&fields) != nil {
		return false
	}
	return fields["prompts"] != nil && fields["topics"] != nil || fields["span_cases"] != nil
}
