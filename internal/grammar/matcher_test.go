package grammar

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"aim/sampler"
)

var _ sampler.Mask = (*Matcher)(nil)

// row is the tokens that Apply leaves.
func row(m *Matcher) []bool {
	logits := make([]float32, m.v.size)
	m.Apply(logits)
	left := make([]bool, len(logits))
	for i, z := range logits {
		left[i] = !math.IsInf(float64(z), -1)
	}
	return left
}

func TestApplyIsAllows(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	v := realVocabulary(t)
	for _, name := range []string{"person", "tree", "any", "map"} {
		m := fixture(t, name).Matcher(v)
		for step := 0; step < 60 && !m.ended; step++ {
			left := row(m)
			var allowed []sampler.Token
			for i, ok := range left {
				if ok != m.Allows(sampler.Token(i)) {
					t.Fatalf("%s, step %d: token %d (%q): Apply leaves it: %v, Allows says the opposite", name, step, i, v.piece(sampler.Token(i)), ok)
				}
				if ok {
					allowed = append(allowed, sampler.Token(i))
				}
			}
			if len(allowed) == 0 || m.Err() != nil {
				t.Fatalf("%s, step %d: %d tokens, %v", name, step, len(allowed), m.Err())
			}
			m.Accept(allowed[r.IntN(len(allowed))])
		}
	}
}

// TestWalksAreJSON: whatever way a random walk takes, where it may end there is JSON.
func TestWalksAreJSON(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	ended := 0
	check := func(name string, g *Grammar) {
		for range 200 {
			if text, ok := randomText(g, r, 400); ok {
				ended++
				if !json.Valid([]byte(text)) {
					t.Errorf("%s: %q", name, text)
				}
				if !accepts(g, text) {
					t.Errorf("%s: %q is not accepted", name, text)
				}
			}
		}
	}
	check("JSON", mustParse(t, JSON()))
	for _, name := range []string{"person", "tree", "any", "map"} {
		check(name, fixture(t, name))
	}
	if ended < 100 {
		t.Errorf("only %d texts came to an end", ended)
	}
}

func TestJSON(t *testing.T) {
	g := mustParse(t, JSON())
	deep := strings.Repeat(`{"a":[`, 200) + strings.Repeat(`]}`, 200)
	for _, text := range []string{
		`{}`, `{"a": 1}`, `{"a":[1, 2.5e-3, "x\n\u00e9\ud83d\ude00", null, true, false, {}]}`, "{\n  \"a\": {\n    \"b\": -0.0\n  }\n}", `{"é😀":""}`, deep,
	} {
		if !json.Valid([]byte(text)) || !accepts(g, text) {
			t.Errorf("%.80q is not accepted", text)
		}
	}
	for _, text := range []string{``, `[]`, `1`, `{`, `{"a"}`, `{"a":01}`, `{"a":1,}`, "{\"a\":\"\n\"}", `{"a":"\x"}`, `{"a":"\ud83d"}`, `{}  `, `{    }`, `{"a":1e1000}`} {
		if accepts(g, text) {
			t.Errorf("%q is accepted", text)
		}
	}
}

func TestHalfRunes(t *testing.T) {
	m := mustParse(t, `root ::= [é-ü] "😀"`).Matcher(everyByte)
	for i, b := range []byte("ö😀") {
		if m.Complete() || m.Allows(256) {
			t.Errorf("complete before byte %d", i)
		}
		for _, other := range []byte{0x41, 0x80, 0xBF, 0xC0, 0xC4, 0xED, 0xF4, 0xFF} {
			if other != b && m.Allows(sampler.Token(other)) && (i != 1 || other == 0x80) { // the first rune has other second bytes
				t.Errorf("byte %d may be %#x", i, other)
			}
		}
		if !m.Allows(sampler.Token(b)) {
			t.Fatalf("byte %d may not be %#x", i, b)
		}
		m.Accept(sampler.Token(b))
	}
	if !m.Complete() {
		t.Error("not complete")
	}
	// What is no UTF-8 is no text: overlong forms, surrogates, beyond the last code point.
	for _, text := range []string{"\xC0\xAF", "\xE0\x80\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xF8\x88\x80\x80\x80"} {
		if accepts(mustParse(t, `root ::= .`), text) {
			t.Errorf("%q is accepted", text)
		}
	}
}

func TestKinds(t *testing.T) {
	pieces := []string{"a", "<tool_call>", "<s>", "", "b", "ab", "a<"}
	kinds := []Kind{Text, Text, Control, Text, Text, End, End}
	v := NewVocabulary(len(pieces), func(t sampler.Token) []byte { return []byte(pieces[t]) }, func(t sampler.Token) Kind { return kinds[t] })
	m := mustParse(t, `root ::= "<tool_call>"? "<s>"? "a"+`).Matcher(v)
	expect := func(want string) {
		t.Helper()
		got := ""
		for i, ok := range row(m) {
			if ok != m.Allows(sampler.Token(i)) {
				t.Errorf("token %d: Apply and Allows differ", i)
			}
			got += map[bool]string{true: "x", false: "."}[ok]
		}
		if got != want {
			t.Errorf("allowed are %s, want %s", got, want)
		}
	}
	expect("xx.....") // neither the control token nor the empty one; no end yet
	m.Accept(1)
	expect("x......")
	m.Accept(0)
	expect("x....xx")
	if m.Allows(-1) || m.Allows(7) {
		t.Error("tokens outside the vocabulary are allowed")
	}
	m.Accept(5)
	expect(".....xx")
	if m.Err() != nil {
		t.Error(m.Err())
	}
}

func TestStops(t *testing.T) {
	m := mustParse(t, `root ::= "ab"`).Matcher(words("a", "c"))
	m.Accept(1)
	if m.Err() == nil || !strings.Contains(m.Err().Error(), `token 1 ("c")`) {
		t.Errorf("a forbidden token: %v", m.Err())
	}
	if m.Allows(0) || !m.Allows(2) || m.Complete() {
		t.Error("a stopped matcher allows the ends and nothing else")
	}
	m = mustParse(t, `root ::= "ab"`).Matcher(words("a", "c"))
	m.Accept(0)
	if got := row(m); !errors.Is(m.Err(), ErrStuck) || got[0] || got[1] || !got[2] {
		t.Errorf("no token goes on: %v, %v", got, m.Err())
	}
}

func TestClone(t *testing.T) {
	m := mustParse(t, JSON()).Matcher(everyByte)
	feed := func(m *Matcher, text string) {
		for i := range len(text) {
			m.Accept(sampler.Token(text[i]))
		}
	}
	feed(m, `{"é`[:len(`{"é`)-1]) // in the middle of a rune
	c := m.Clone()
	feed(c, "\xa9\":[")
	if c.Err() != nil || !c.Allows(']') || m.Allows(']') || !m.Allows(0xA9) {
		t.Errorf("the clone and the original do not go their own ways: %v", c.Err())
	}
	feed(m, "\xa8\":1}")
	if !m.Complete() || c.Complete() {
		t.Errorf("complete: original %v, clone %v", m.Complete(), c.Complete())
	}
}

// TestReclaim: the tables are emptied many times along a long text, and nobody notices.
func TestReclaim(t *testing.T) {
	g := mustParse(t, `root ::= ("a" | "b" [0-9]{0,50000})* "."`)
	m := g.Matcher(everyByte)
	reclaimed, before := 0, 0
	for i := range 20000 {
		if i%9000 == 0 {
			m.Accept('b')
		}
		m.Accept(sampler.Token('0' + i%10))
		if n := len(m.a.states); n < before {
			reclaimed++
		}
		before = len(m.a.states)
		if i%97 == 0 && (!m.Allows('.') || !m.Allows('a') || m.Allows('c')) {
			t.Fatalf("step %d: wrong tokens", i)
		}
	}
	if m.Err() != nil || reclaimed < 3 {
		t.Errorf("%d times emptied, %v", reclaimed, m.Err())
	}
}

// hostile are grammars that make a matcher of whole stacks explode.
func hostile() map[string]string {
	var many, chain, choices strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&many, "%q | ", fmt.Sprintf("a%d", i))
	}
	for i := range 5000 {
		fmt.Fprintf(&chain, "r%d ::= r%d? r%d?\n", i, i+1, i+1)
		fmt.Fprintf(&choices, "c%d ::= \"a\" c%d | \"a\" c%d \"b\"\n", i, i+1, i+1)
	}
	return map[string]string{
		"nested stars":         `root ::= (((("a"*)*)*)*)*`,
		"nested maybe":         `root ::= ` + strings.Repeat("(", 100) + `"a"` + strings.Repeat("?)*", 100),
		"ambiguous":            `root ::= ("a" | "a" "a" | "a" "a" "a" | "a"{1,20})*`,
		"two ways to recurse":  "root ::= \"a\" root root | \"a\" root | \"a\"",
		"three ways":           "root ::= (\"a\" | \"b\" | \"c\") root root root |",
		"counted in counted":   `root ::= (("a" | "aa"){0,1000} "b"?){0,1000} `,
		"counted ambiguity":    `root ::= (("a"{1,100}){1,100}){1,100}`,
		"huge repetition":      `root ::= ("a"{100000}){100000}`,
		"empty in empty":       `root ::= (("a"?){0,100000}){0,100000} "b"`,
		"thousands":            "root ::= (" + many.String() + "\"z\")*",
		"empty chain":          "root ::= r0\n" + chain.String() + "r5000 ::= \"a\"",
		"chain of choices":     "root ::= c0\n" + choices.String() + "c5000 ::= \"a\"",
		"every start":          `root ::= .* ("a" .{500})? .* "b"`,
		"deep":                 "root ::= \"a\" root \"b\" | \"a\"",
		"classes of all kinds": `root ::= ([a-z] [^b] . | . [a-c] [^x-z] . | .{2,7})*`,
	}
}

func TestHostileGrammars(t *testing.T) {
	v := realVocabulary(t)
	for name, gbnf := range hostile() {
		t.Run(name, func(t *testing.T) {
			g, err := Parse(gbnf)
			if err != nil {
				t.Logf("refused: %v", err)
				return
			}
			start := time.Now()
			m := g.Matcher(v)
			worst := time.Since(start)
			logits := make([]float32, v.size)
			steps := 0
			for ; steps < 200 && m.Err() == nil; steps++ {
				start := time.Now()
				m.Apply(logits)
				m.Accept(letterA(v))
				worst = max(worst, time.Since(start))
			}
			t.Logf("%d steps, worst %v, %d states, %d frames: %v", steps, worst, len(m.a.states), len(m.a.frames), m.Err())
			if len(m.a.states) > hardStates || len(m.a.configs) > hardConfigs || len(m.a.frames) > hardFrames {
				t.Errorf("the tables have %d states, %d configurations and %d frames", len(m.a.states), len(m.a.configs), len(m.a.frames))
			}
		})
	}
}

// TestManyValues: as many values as a schema may have are matched within the budget, even where they agree at first.
func TestManyValues(t *testing.T) {
	v := realVocabulary(t)
	var b strings.Builder
	b.WriteString(`root ::= ( "\"none\""`)
	for i := range MaxValues {
		fmt.Fprintf(&b, ` | "\"user-%d%04d\""`, i*7919%10, i)
	}
	m := mustParse(t, b.String()+` ) "."`).Matcher(v)
	logits := make([]float32, v.size)
	for _, r := range `"user-30017".` {
		start := time.Now()
		m.Apply(logits)
		t.Logf("%q: %v, %d of the budget are left", r, time.Since(start), m.a.work)
		feed(t, m, string(r))
	}
	if !m.Complete() {
		t.Error("not complete")
	}
}

// letterA is the token that spells a.
func letterA(v *Vocabulary) sampler.Token {
	for _, t := range v.tokens {
		if string(v.piece(t)) == "a" {
			return t
		}
	}
	panic("no token spells a")
}

func fixture(t testing.TB, name string) *Grammar {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".gbnf"))
	if err != nil {
		t.Fatal(err)
	}
	return mustParse(t, string(text))
}
