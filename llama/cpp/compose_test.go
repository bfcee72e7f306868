package cpp

import (
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"aim/llama"
	"aim/sampler"
)

var update = flag.Bool("update", false, "write docs/composition.md anew")

const (
	compositionDoc = "../../docs/composition.md"
	composeTokens  = 4
	composeSlots   = 32
)

// openings are what the cases complete. No two cases with utility have the same one, so that their noise is independent.
var openings = []string{
	"The old man", "In the morning", "She opened the door and", "A small village", "My brother said that", "The train to Rome",
	"Before the war", "Every summer we", "The teacher asked", "On the table", "He looked at her", "The first rule of",
	"When it rains", "The king and his", "After dinner they", "I would like", "The garden behind", "Two cats",
	"Nobody knew why", "The price of bread", "At the end of", "His mother", "The ship left", "Last night I",
	"A good friend", "The doctor told", "There was once", "If you want", "The road through", "Her favourite colour",
	"They came from", "The city has", "During the lesson", "One of the reasons", "The birds in", "It is said that",
	"A letter from", "The window was", "Most people think", "The farmer took",
}

// pairing is a case: two features, or one and itself.
type pairing struct {
	a, b    int
	request llama.Request
	witness *witness
}

func (p *pairing) name() string {
	if p.a == p.b {
		return features[p.a].name
	}
	return features[p.a].name + " + " + features[p.b].name
}

func (p *pairing) parts() []int {
	if p.a == p.b {
		return []int{p.a}
	}
	return []int{p.a, p.b}
}

// excluded says that two features are no pair.
func excluded(a, b int) bool {
	return slices.Contains(features[a].excludes, features[b].name) || slices.Contains(features[b].excludes, features[a].name)
}

// pairings are all cases, each asked for twice where a seed tells the two apart.
func (c *composition) pairings(t *testing.T) (list []*pairing) {
	t.Helper()
	for a := range features {
		for b := a; b < len(features); b++ {
			if excluded(a, b) {
				continue
			}
			p := c.pairing(t, a, b)
			list = append(list, p)
			if features[a].name == seeded || features[b].name == seeded {
				other := c.pairing(t, a, b)
				other.request.Params.Seed++
				list = append(list, other)
			}
		}
	}
	return list
}

const seeded = "seed, n > 1"

func (c *composition) pairing(t *testing.T, a, b int) *pairing {
	t.Helper()
	p := &pairing{a: a, b: b}
	r := &p.request
	opening := openings[(a+b)%len(openings)]
	tokens, err := c.model.Tokenize([]llama.Part{{Text: opening}}, true)
	if err != nil {
		t.Fatal(err)
	}
	r.Prompt, r.MaxTokens, r.Name = tokens[len(c.start):], composeTokens, p.name()
	// What truncates shows only where something is drawn.
	if greedy := features[a].name == "temperature 0" || features[b].name == "temperature 0"; !greedy && (truncates(a) || truncates(b)) {
		r.Params.Temperature = 1
	}
	for _, i := range p.parts() {
		features[i].apply(c, r)
	}
	r.Prompt = slices.Concat(c.start, r.Prompt)
	p.witness = &witness{sigma: r.Params.Utility.Sigma}
	r.Params.Observer = p.witness
	return p
}

func truncates(i int) bool {
	return slices.ContainsFunc(features[i].stages, func(s int) bool { return s >= 7 && s <= 15 })
}

// answer runs the cases through an engine of their own. They are admitted in order before it starts, so that every run
// decodes them in the same batches.
func (c *composition) answer(t *testing.T, cases []*pairing) ([]composed, map[string]sampler.Counts) {
	t.Helper()
	const room = 64
	places := 0 // a span takes a second one
	for _, p := range cases {
		places += 1 + len(p.request.Params.Spans)
	}
	cfg := llama.Config{Slots: composeSlots, Context: room, Batch: 512, Queue: places}
	e := llama.New(c.model, decoder(t, c.model, DecoderOptions{Slots: cfg.Slots, Context: cfg.Context, Batch: cfg.Batch}), cfg)
	answers := make([]composed, len(cases))
	var asking sync.WaitGroup
	waiting := 0
	for i, p := range cases {
		asking.Go(func() { answers[i] = ask(t.Context(), e, p) })
		for waiting += 1 + len(p.request.Params.Spans); e.Stats().Queued < waiting; {
			time.Sleep(10 * time.Microsecond)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1) // so that Run's end waits for nobody
	go func() { ended <- e.Run(ctx) }()
	asking.Wait()
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	return answers, e.Counters()
}

func ask(ctx context.Context, e *llama.Engine, p *pairing) (a composed) {
	for d, err := range e.Generate(ctx, p.request) {
		if err != nil {
			a.err = err
			return a
		}
		a.text += d.Text
		a.prompt = append(a.prompt, d.Prompt...)
		a.sampled = append(a.sampled, d.Tokens...)
		a.finish, a.usage, a.counts, a.report = d.Finish, d.Usage, d.Counts, d.Report
	}
	a.steps = p.witness.steps
	for _, s := range a.steps {
		a.chosen = append(a.chosen, s.chosen)
	}
	return a
}

// TestComposition pairs every feature with every other on the real model: each pair gives a valid answer that keeps the promises of
// both, the same one again, and with utility the model's best token stays best as often as the integral says. The table is
// docs/composition.md.
func TestComposition(t *testing.T) {
	if testing.Short() {
		t.Skip("half a minute of decoding")
	}
	checkClaims(t)
	c := newComposition(t, open(t))
	cases := c.pairings(t)
	answers, counters := c.answer(t, cases)
	cases2 := c.pairings(t)
	again, _ := c.answer(t, cases2)
	failed := map[[2]int]bool{}
	var kept, expected, variance float64
	steps := 0
	counted := map[string]uint64{}
	for i, p := range cases {
		a := &answers[i]
		if err := c.check(p, a, &again[i]); err != nil {
			failed[[2]int{p.a, p.b}] = true
			t.Errorf("%s, after %q: %v; the answer is %q", p.name(), c.text(p.request.Prompt), err, a.text)
		}
		counted[p.name()] += a.counts.Steps
		if p.witness.sigma > 0 {
			steps += len(a.steps)
			kept += float64(a.counts.Steps - a.counts.Flips)
			for _, s := range a.steps {
				expected += s.retention
				variance += s.retention * (1 - s.retention)
			}
		}
	}
	for name, n := range counted {
		if counters[name].Steps != n {
			t.Errorf("%s: the engine counts %d steps, the answers have %d", name, counters[name].Steps, n)
		}
	}
	t.Logf("%d cases; with utility the best token stayed best in %.0f of %d steps, the integrals say %.1f ± %.1f", len(cases), kept, steps, expected, math.Sqrt(variance))
	if !(math.Abs(kept-expected) <= 4*math.Sqrt(variance)) {
		t.Errorf("the best token stayed best in %.0f steps, the integrals say %.1f ± %.1f", kept, expected, math.Sqrt(variance))
	}
	compareDoc(t, table(failed))
}

func (c *composition) text(tokens []sampler.Token) string {
	var b strings.Builder
	for _, t := range tokens {
		b.Write(c.model.Piece(t))
	}
	return b.String()
}

// check says what is wrong with an answer.
func (c *composition) check(p *pairing, a, again *composed) error {
	if a.err != nil {
		return a.err
	}
	if err := c.valid(a); err != nil {
		return err
	}
	if a.text != again.text || !slices.Equal(a.steps, again.steps) || !reflect.DeepEqual(a.sampled, again.sampled) || !reflect.DeepEqual(a.prompt, again.prompt) || a.counts != again.counts || a.finish != again.finish {
		return fmt.Errorf("asked again it is %q", again.text)
	}
	for _, i := range p.parts() {
		if holds := features[i].holds; holds != nil {
			if err := holds(c, &p.request, a); err != nil {
				return err
			}
		}
	}
	return nil
}

// valid checks what every answer is.
func (c *composition) valid(a *composed) error {
	n := a.usage.CompletionTokens
	ended := n > 0 && n == len(a.chosen) && c.model.Kind(a.chosen[n-1]) == llama.End
	switch {
	case !utf8.ValidString(a.text):
		return fmt.Errorf("it is not valid UTF-8")
	case n < 1 || n > composeTokens || n != len(a.steps) || a.counts.Steps != uint64(n) || a.counts.Forced > uint64(n) || a.counts.Flips > uint64(n):
		return fmt.Errorf("counts %+v, %d tokens, %d steps observed, %d counted", a.counts, n, len(a.steps), a.counts.Steps)
	case a.finish == llama.FinishLength && n != composeTokens:
		return fmt.Errorf("it ended for its length of %d tokens", n)
	case a.finish == llama.FinishStop && !ended && len(a.sampled) > n:
		return fmt.Errorf("%d tokens in the text of %d", len(a.sampled), n)
	case a.finish != llama.FinishLength && a.finish != llama.FinishStop:
		return fmt.Errorf("it ended with %q", a.finish)
	}
	for i, s := range a.sampled {
		if s.Token != a.chosen[i] {
			return fmt.Errorf("token %d is %d, chosen was %d", i, s.Token, a.chosen[i])
		}
	}
	return nil
}

// checkClaims makes sure that no field of a request and no stage of the pipeline is without a feature, and that the features
// set the fields that they say they do.
func checkClaims(t *testing.T) {
	t.Helper()
	claimed := map[string]bool{}
	stages := map[int]bool{}
	names := map[string]bool{}
	for _, f := range features {
		for _, field := range f.fields {
			claimed[field] = true
		}
		for _, s := range f.stages {
			stages[s] = true
		}
		names[f.name] = true
	}
	have := leaves("", reflect.TypeFor[llama.Request]())
	for _, field := range have {
		if !claimed[field] && unclaimed[field] == "" {
			t.Errorf("llama.Request.%s belongs to no feature: add one, so that its pairs are tested", field)
		}
	}
	for field := range claimed {
		if !slices.Contains(have, field) {
			t.Errorf("a feature claims %s, which llama.Request does not have", field)
		}
	}
	for _, f := range features {
		for _, other := range f.excludes {
			if !names[other] {
				t.Errorf("%s excludes %s, which is none", f.name, other)
			}
		}
	}
	doc, err := os.ReadFile("../../sampler/doc.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^//\s+(\d+)\. (.*)$`).FindAllStringSubmatch(string(doc), -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		if !stages[n] {
			t.Errorf("stage %d, %q, belongs to no feature: add one, so that its pairs are tested", n, m[2])
		}
		delete(stages, n)
	}
	for n := range stages {
		t.Errorf("a feature claims stage %d, which the package comment of sampler does not have", n)
	}
}

// leaves lists the fields of a struct, those of the structs in it by their path.
func leaves(prefix string, s reflect.Type) (list []string) {
	for i := range s.NumField() {
		f := s.Field(i)
		name, inner := prefix+f.Name, f.Type
		if inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		if inner.Kind() != reflect.Struct || inner == reflect.TypeFor[time.Time]() {
			list = append(list, name)
			continue
		}
		if inner != f.Type {
			name += "[]"
		}
		list = append(list, leaves(name+".", inner)...)
	}
	return list
}

// TestFeaturesSetTheirFields: a claim is no mere word.
func TestFeaturesSetTheirFields(t *testing.T) {
	c := newComposition(t, open(t))
	for _, f := range features {
		r := llama.Request{Prompt: c.forced} // a span stands before something
		f.apply(c, &r)
		set := map[string]bool{}
		nonZero("", reflect.ValueOf(r), set)
		for _, field := range f.fields {
			if !set[field] {
				t.Errorf("%s claims %s and does not set it", f.name, field)
			}
		}
	}
}

// nonZero collects the fields that are set.
func nonZero(prefix string, v reflect.Value, set map[string]bool) {
	for i := range v.NumField() {
		name, f := prefix+v.Type().Field(i).Name, v.Field(i)
		switch {
		case f.Kind() == reflect.Struct:
			nonZero(name+".", f, set)
		case f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.Struct:
			for j := range f.Len() {
				nonZero(name+"[].", f.Index(j), set)
			}
		case !f.IsZero():
			set[name] = true
		}
	}
}

// table is the Markdown of docs/composition.md.
func table(failed map[[2]int]bool) string {
	var b strings.Builder
	b.WriteString(`# What composes with what

Every feature of a request is paired with every other on SmolLM2-135M-Instruct; this page is written by the test that does it
(` + "`go test ./llama/cpp -run TestComposition -update`" + `). For each pair it checks that

- the answer is valid: UTF-8, no longer than asked, ended for the reason told, as many steps counted as tokens chosen;
- it is the same again, bit for bit, in the same batches;
- it keeps the promises of both features: no token against the mask, no banned token, no stop string, truncation and
  log-probabilities that agree, forced tokens first, a report that says what an observer of the rows saw;
- with utility, the model's own best token stays best as often as the integral over the rows says, within four standard
  errors over all such pairs, whatever else moves the row.

A new stage of the pipeline, or a new field of a request, fails the test until it stands here.

| # | feature | in a request | stage |
| --- | --- | --- | --- |
`)
	for i, f := range features {
		var stages []string
		for _, s := range f.stages {
			stages = append(stages, strconv.Itoa(s))
		}
		fmt.Fprintf(&b, "| %d | %s | %s | %s |\n", i+1, f.name, f.wire, strings.Join(stages, ", "))
	}
	b.WriteString("\n✓: holds. R: holds, and counts for the retention. –: excluded, because both set one field or the one refuses the other. On the diagonal a feature alone.\n\n|  |")
	for i := range features {
		fmt.Fprintf(&b, " %d |", i+1)
	}
	b.WriteString("\n| --- |" + strings.Repeat(" --- |", len(features)) + "\n")
	for a := range features {
		fmt.Fprintf(&b, "| %d |", a+1)
		for i := range features {
			fmt.Fprintf(&b, " %s |", cell(min(a, i), max(a, i), failed))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func cell(a, b int, failed map[[2]int]bool) string {
	utility := strings.HasPrefix(features[a].name, "utility") || strings.HasPrefix(features[b].name, "utility")
	switch {
	case excluded(a, b):
		return "–"
	case failed[[2]int{a, b}]:
		return "✗"
	case utility:
		return "R"
	}
	return "✓"
}

// compareDoc holds the table against the page, or writes it.
func compareDoc(t *testing.T, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(compositionDoc, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(compositionDoc)
	if err != nil || string(got) != want {
		t.Errorf("docs/composition.md is not what this test finds (%v); run it with -update and look at the difference", err)
	}
}
