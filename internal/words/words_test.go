package words

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

func mustNew(t testing.TB, words ...string) *Set {
	t.Helper()
	s, err := New(words)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCount(t *testing.T) {
	for _, c := range []struct {
		words, text string
		want        int
	}{
		{"water", "Water, water-based WATER's water", 4},
		{"water", "waters underwater water2 wateré", 0},
		{"water", "", 0},
		{"water|river", "water by the river; waterriver", 2},
		{"sea|sea salt", "sea salt", 2},
		{"water|Water|WATER", "Water", 1},
		{"$", "$5 or US$6", 2},
		{"don't", "I don't, I Don't, I don'ts", 2},
		{"lighthouse keeper", "A Lighthouse keeper, two lighthouse keepers.", 1},
		{"über", "Über ÜBER über hinüber", 3},
		{"水", "飲み水を", 1},
		{"a", "a a\na", 3},
		{" water ", "water", 1},
	} {
		if got := mustNew(t, strings.Split(c.words, "|")...).Count(c.text); got != c.want {
			t.Errorf("%q in %q: %d, want %d", c.words, c.text, got, c.want)
		}
	}
}

func TestEmptyWord(t *testing.T) {
	for _, word := range []string{"", " \n"} {
		if _, err := New([]string{"water", word}); !errors.Is(err, ErrEmpty) {
			t.Errorf("%q: %v", word, err)
		}
	}
}

// FuzzCount compares with a regular expression on ASCII, and that the cuts between pieces make no difference on anything.
func FuzzCount(f *testing.F) {
	f.Add("water", "Water waters, the water", uint(3))
	f.Add("aa", "aaa aa aa", uint(1))
	f.Add("é", "caf\xc3\xa9 \xc3\xa9", uint(1))
	f.Add("a b a", "a b a b a", uint(2))
	f.Fuzz(func(t *testing.T, word, text string, size uint) {
		s, err := New([]string{word})
		if err != nil {
			t.Skip()
		}
		want := s.Count(text)
		m := s.Match()
		got := 0
		step := int(size%7) + 1
		for i := 0; i < len(text); i += step {
			got += m.Write([]byte(text[i:min(i+step, len(text))]))
		}
		if got += m.End(); got != want {
			t.Fatalf("%q in %q: %d in pieces of %d, %d at once", word, text, got, step, want)
		}
		if !ascii(word) || !ascii(text) {
			return
		}
		word = strings.TrimSpace(word)
		at := regexp.MustCompile(`(?i)^` + regexp.QuoteMeta(word))
		count := 0
		for i := range text {
			if at.MatchString(text[i:]) &&
				(!Inside(rune(word[0])) || i == 0 || !Inside(rune(text[i-1]))) &&
				(!Inside(rune(word[len(word)-1])) || i+len(word) == len(text) || !Inside(rune(text[i+len(word)]))) {
				count++
			}
		}
		if count != want {
			t.Fatalf("%q in %q: %d, a regular expression finds %d", word, text, want, count)
		}
	})
}

func ascii(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

func TestBegun(t *testing.T) {
	m := mustNew(t, "a b a c").Match()
	for _, c := range []struct {
		piece string
		want  []int
	}{{"x", nil}, {" a", []int{1}}, {" b", []int{3}}, {" A", []int{5, 1}}, {" ", []int{6, 2}}, {"c", nil}} {
		m.Write([]byte(c.piece))
		var got []int
		m.Begun(func(_, n int) { got = append(got, n) })
		if len(got) != len(c.want) || (len(got) > 0 && got[0] != c.want[0]) {
			t.Errorf("after %q: begun %v, want %v", c.piece, got, c.want)
		}
	}
	if !m.Pending() || m.Write([]byte("!")) != 1 || m.Pending() {
		t.Error("the word was not found")
	}
}

func TestMatcherAllocatesNothing(t *testing.T) {
	m := mustNew(t, "water", "lighthouse keeper").Match()
	piece := []byte(" the lighthouse")
	if n := testing.AllocsPerRun(100, func() { m.Write(piece); m.Begun(func(int, int) {}) }); n != 0 {
		t.Errorf("%g allocations per piece", n)
	}
}
