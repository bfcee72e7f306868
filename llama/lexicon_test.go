package llama

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"aim/internal/words"
	"aim/sampler"
)

// vocabulary is a Model whose tokens are the given texts; the last one ends an answer.
type vocabulary []string

func (v vocabulary) Vocab() int { return len(v) }

func (v vocabulary) Piece(t sampler.Token) []byte { return []byte(v[t]) }

func (v vocabulary) Kind(t sampler.Token) Kind {
	if int(t) == len(v)-1 {
		return End
	}
	return Normal
}

// Tokenize takes the longest token each time.
func (v vocabulary) Tokenize(parts []Part, _ bool) (tokens []sampler.Token, err error) {
	text := parts[0].Text
	for text != "" {
		best := -1
		for t, piece := range v[:len(v)-1] {
			if strings.HasPrefix(text, piece) && (best < 0 || len(piece) > len(v[best])) {
				best = t
			}
		}
		if best < 0 {
			return nil, errors.New("no token for " + text)
		}
		tokens = append(tokens, sampler.Token(best))
		text = text[len(v[best]):]
	}
	return tokens, nil
}

func (v vocabulary) tokens(pieces ...string) (list []sampler.Token) {
	for _, p := range pieces {
		list = append(list, sampler.Token(slices.Index(v, p)))
	}
	slices.Sort(list)
	return list
}

func follow(t testing.TB, v vocabulary, list ...string) sampler.Follower {
	t.Helper()
	w, err := NewLexicon(v).Words(list)
	if err != nil {
		t.Fatal(err)
	}
	return w.Follow()
}

func sorted(list []sampler.Token) []sampler.Token {
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}

var someWords = vocabulary{
	" water", "water", " Water", "Water", " WATER", "ater", "er", " w", "w", "a", "t", "e", "r", "wat", " water,", "the water", "underwater", "s", "melon", " ",
	" lighthouse", " keeper", " keep", "keeper", "lighthouse", "L", "l", "ighthouse", "k", "p", "i", "g", "h", "o", "u", "W", "!", "end",
}

func TestNext(t *testing.T) {
	v := someWords
	for _, c := range []struct {
		word, text string
		onward     bool
		want       []sampler.Token
	}{
		{"water", "", false, v.tokens(" water", "water", " Water", "Water")},
		{"water", "w", false, v.tokens(" water", " Water", "ater")},
		{"water", "w", true, v.tokens("ater")},
		{"water", " wat", true, v.tokens("er")},
		{"water", "swat", true, nil},
		{"water", "!", true, nil},
		{"lighthouse keeper", "!", false, v.tokens(" lighthouse", "lighthouse", " ", "L")},
		{"lighthouse keeper", " lighthouse", true, v.tokens(" keeper")},
		{"lighthouse keeper", "L", true, v.tokens("ighthouse")},
		{"lighthouse keeper", "lighthouse keep", true, v.tokens("er")},
	} {
		f := follow(t, v, c.word)
		said, err := v.Tokenize([]Part{{Text: c.text}}, false)
		if err != nil {
			t.Fatal(err)
		}
		for _, token := range said {
			f.Accept(token)
		}
		got := sorted(f.Next(c.onward))
		want := c.want
		if c.word == "lighthouse keeper" && c.text == "!" { // " Lighthouse" is spelled " ", "L", …: a space begins no word
			want = v.tokens(" lighthouse", "lighthouse", "L")
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q after %q, onward %v: %v, want %v", c.word, c.text, c.onward, got, want)
		}
	}
}

func TestProgressAndMoment(t *testing.T) {
	v := someWords
	f := follow(t, v, "water", "lighthouse keeper")
	for _, c := range []struct {
		piece  string
		want   sampler.Progress
		moment sampler.Moment // of "s" afterwards
	}{
		{" w", sampler.Progress{Begun: true}, sampler.Within},
		{"ater", sampler.Progress{Whole: true}, sampler.Within},
		{"melon", sampler.Progress{}, sampler.Within},
		{" water", sampler.Progress{Whole: true}, sampler.Within},
		{"!", sampler.Progress{Hits: 1}, sampler.Between},
		{"the water", sampler.Progress{Whole: true}, sampler.Within},
		{" lighthouse", sampler.Progress{Hits: 1, Begun: true}, sampler.Within},
		{" keeper", sampler.Progress{Whole: true}, sampler.Within},
		{"end", sampler.Progress{Hits: 1}, sampler.Within},
	} {
		if got := f.Accept(v.tokens(c.piece)[0]); got != c.want {
			t.Errorf("after %q: %+v, want %+v", c.piece, got, c.want)
		}
		if got := f.Moment(v.tokens("s")[0]); got != c.moment {
			t.Errorf("after %q: moment %d, want %d", c.piece, got, c.moment)
		}
	}
	if got := f.Moment(v.tokens("end")[0]); got != sampler.Ending {
		t.Errorf("the end is moment %d", got)
	}
}

// TestCompleteIsExact, over random vocabularies and answers: a token is listed if and only if the text with it contains or ends
// in a word, and so an answer without the listed tokens never does, however it is cut. Few letters make many near misses.
func TestCompleteIsExact(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	letters := []string{"a", "b", "A", "B", " ", "é", "É", ",", "水", "1"}
	random := func(most int) string {
		var b strings.Builder
		for range 1 + rng.IntN(most) {
			b.WriteString(letters[rng.IntN(len(letters))])
		}
		return b.String()
	}
	trials := 60
	if testing.Short() {
		trials = 20
	}
	for range trials {
		v := slices.Clone(vocabulary(letters))
		for range 60 {
			v = append(v, random(5))
		}
		v = append(v, "end")
		list := []string{random(4), random(3)}
		set, err := words.New(list)
		if err != nil {
			continue // only spaces
		}
		f := follow(t, v, list...)
		text := ""
		for range 40 {
			listed := map[sampler.Token]bool{}
			for _, token := range f.Complete() {
				listed[token] = true
			}
			var free []sampler.Token
			for token := range sampler.Token(len(v) - 1) {
				if hits := set.Count(text + v[token]); (hits > 0) != listed[token] {
					t.Fatalf("words %q, text %q: %q is listed: %v, but leads to %d hits", list, text, v[token], listed[token], hits)
				}
				if !listed[token] {
					free = append(free, token)
				}
			}
			if len(free) == 0 {
				break
			}
			next := free[rng.IntN(len(free))]
			f.Accept(next)
			text += v[next]
		}
	}
}

// TestBytesCannotSpellAWord: a word is kept out even where its characters are cut into bytes.
func TestBytesCannotSpellAWord(t *testing.T) {
	v := vocabulary{"caf", "\xc3", "\xa9", "é", " ", "x", "\xc3\xa9s", "C", "a", "f", "end"}
	f := follow(t, v, "café")
	f.Accept(0)
	if got := sorted(f.Complete()); !slices.Equal(got, v.tokens("é")) {
		t.Errorf("after caf: %v", got)
	}
	f.Accept(1)
	if got := sorted(f.Complete()); !slices.Equal(got, v.tokens("\xa9")) {
		t.Errorf("after half a character: %v", got)
	}
}

func TestFollowerAllocatesNothing(t *testing.T) {
	f := follow(t, someWords, "water", "lighthouse keeper")
	i := 0
	if n := testing.AllocsPerRun(500, func() {
		f.Next(false)
		f.Next(true)
		f.Complete()
		f.Accept(sampler.Token(i % len(someWords)))
		i++
	}); n != 0 {
		t.Errorf("%g allocations per token", n)
	}
}

func TestWordsRefusesNothing(t *testing.T) {
	if _, err := NewLexicon(someWords).Words([]string{"water", " "}); err == nil {
		t.Error("an empty word: no error")
	}
	a, _ := NewLexicon(someWords).Words([]string{"water"})
	b, _ := NewLexicon(someWords).Words([]string{"water", "light"})
	if a.String() == b.String() {
		t.Error("two lists have one name")
	}
}
