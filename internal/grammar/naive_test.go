package grammar

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"aim/sampler"
)

// naive recognises by recursive descent over sets of positions, straight from the expressions: nothing of the network, the
// stacks or the automaton.
type naive struct {
	rules []rule
	text  []rune
	memo  map[naivePlace][]int
}

type naivePlace struct {
	e  *expr
	at int
}

// match returns the positions that e can end at.
func (n *naive) match(e *expr, at int) []int {
	if ends, ok := n.memo[naivePlace{e, at}]; ok {
		return ends
	}
	ends := map[int]bool{}
	switch e.form {
	case formSet:
		if at < len(n.text) && e.set.has(n.text[at]) {
			ends[at+1] = true
		}
	case formRef:
		for _, end := range n.match(n.rules[e.rule].body, at) {
			ends[end] = true
		}
	case formAlt:
		for _, part := range e.parts {
			for _, end := range n.match(part, at) {
				ends[end] = true
			}
		}
	case formSeq:
		ends = n.after(e.parts, at)
	case formRepeat:
		here := map[int]bool{at: true}
		for count := int32(0); len(here) > 0; count++ {
			fresh := false
			if count >= e.min {
				for end := range here {
					fresh = fresh || !ends[end]
					ends[end] = true
				}
				if !fresh {
					break
				}
			}
			if count == e.max {
				break
			}
			next := map[int]bool{}
			for from := range here {
				for _, end := range n.match(e.parts[0], from) {
					next[end] = true
				}
			}
			here = next
		}
	}
	list := []int{}
	for end := range ends {
		list = append(list, end)
	}
	n.memo[naivePlace{e, at}] = list
	return list
}

func (n *naive) after(parts []*expr, at int) map[int]bool {
	here := map[int]bool{at: true}
	for _, part := range parts {
		next := map[int]bool{}
		for from := range here {
			for _, end := range n.match(part, from) {
				next[end] = true
			}
		}
		here = next
	}
	return here
}

func naiveAccepts(p *parser, text string) bool {
	n := &naive{rules: p.rules, text: []rune(text), memo: map[naivePlace][]int{}}
	for _, end := range n.match(p.rules[p.names["root"]].body, 0) {
		if end == len(n.text) {
			return true
		}
	}
	return false
}

// parseNaive is what Parse does before it compiles.
func parseNaive(gbnf string) *parser {
	p := &parser{text: gbnf, names: map[string]int32{}, chars: map[rune]*expr{}}
	if p.grammar() != nil || p.check() != nil {
		return nil
	}
	return p
}

// randomGrammar writes rules over a small alphabet, with much repetition and emptiness.
func randomGrammar(r *rand.Rand) string {
	names := []string{"root", "a", "b"}
	var item func(depth int) string
	item = func(depth int) string {
		var s string
		switch k := r.IntN(8); {
		case k < 3 || depth == 0:
			s = []string{`"x"`, `"y"`, `"xy"`, `[xy]`, `[^x]`, `"é"`, `.`, `""`}[r.IntN(8)]
		case k == 3:
			s = names[1+r.IntN(2)]
		default:
			s = "(" + item(depth-1)
			for range r.IntN(3) {
				s += []string{" ", " | "}[r.IntN(2)] + item(depth-1)
			}
			s += []string{"", " |"}[r.IntN(2)] + ")"
		}
		return s + []string{"", "", "", "*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}", "{0}"}[r.IntN(11)]
	}
	var b strings.Builder
	for _, name := range names {
		b.WriteString(name + " ::= " + item(3))
		for range r.IntN(3) {
			b.WriteString([]string{" ", " | "}[r.IntN(2)] + item(2))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func checkNaive(t *testing.T, gbnf, text string) {
	t.Helper()
	p := parseNaive(gbnf)
	if p == nil {
		return
	}
	g, err := Parse(gbnf)
	if err != nil {
		return // too large
	}
	m := g.Matcher(everyByte)
	for i := range len(text) {
		m.Accept(sampler.Token(text[i]))
	}
	if errors.Is(m.Err(), ErrBudget) {
		return
	}
	if got, want := accepts(g, text), naiveAccepts(p, text); got != want {
		t.Errorf("%q: accepted %v, want %v by\n%s", text, got, want, gbnf)
	}
}

// TestAgreesWithNaive compares on random grammars, with random texts and with those that the matcher itself allows.
func TestAgreesWithNaive(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	parsed := 0
	rounds := 3000
	if testing.Short() {
		rounds = 300
	}
	for range rounds {
		gbnf := randomGrammar(r)
		if parseNaive(gbnf) == nil {
			continue
		}
		parsed++
		for range 12 {
			text := ""
			for range r.IntN(9) {
				text += []string{"x", "y", "é", "z"}[r.IntN(4)]
			}
			checkNaive(t, gbnf, text)
		}
		g := mustParse(t, gbnf)
		if text, ok := randomText(g, r, 12); ok && utf8.ValidString(text) {
			checkNaive(t, gbnf, text)
		}
	}
	if parsed < rounds/3 {
		t.Fatalf("only %d grammars had no left recursion", parsed)
	}
}

// randomText walks through what Allows allows, and reports whether it came to an end within limit tokens.
func randomText(g *Grammar, r *rand.Rand, limit int) (string, bool) {
	m := g.Matcher(everyByte)
	var text []byte
	for range limit {
		var allowed []byte
		for b := range 256 {
			if m.Allows(sampler.Token(b)) {
				allowed = append(allowed, byte(b))
			}
		}
		if m.Allows(256) && (len(allowed) == 0 || r.IntN(4) == 0) {
			return string(text), true
		}
		if len(allowed) == 0 {
			return string(text), false
		}
		b := allowed[r.IntN(len(allowed))]
		m.Accept(sampler.Token(b))
		text = append(text, b)
	}
	return string(text), m.Allows(256)
}

func FuzzMatcher(f *testing.F) {
	f.Add(uint64(1), "xxyé")
	f.Add(uint64(2), "")
	f.Fuzz(func(t *testing.T, seed uint64, text string) {
		if len(text) < 40 && utf8.ValidString(text) {
			checkNaive(t, randomGrammar(rand.New(rand.NewPCG(seed, 0))), text)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(jsonGrammar, `{"a":1}`)
	f.Add("root ::= a{2,3} | [^\\x00-z] .* # x\na ::= (\"\\u00e9\" |)", "é")
	f.Fuzz(func(t *testing.T, gbnf, text string) {
		g, err := Parse(gbnf)
		if err != nil {
			if e := (*Error)(nil); !errors.As(err, &e) || e.Line < 1 || e.Column < 1 {
				t.Errorf("%q: %v", gbnf, err)
			}
			return
		}
		m := g.Matcher(everyByte)
		for i := range min(len(text), 200) {
			m.Accept(sampler.Token(text[i]))
		}
		if m.Allows(sampler.Token('a')) && m.Err() != nil {
			t.Error("a stopped matcher allows text")
		}
	})
}
