package llama

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"aim/internal/words"
	"aim/sampler"
)

// Lexicon finds the tokens that have to do with a word. It is safe for concurrent use.
type Lexicon struct {
	model Model

	once sync.Once
	// folded is the text of all normal tokens, folded and sorted.
	folded []entry
	// joined is the same as one text, with a 0 between entries; entry i begins at begins[i].
	joined string
	begins []int32
	// glues says of each token whether its text goes on with a word that came before; glue lists those that do.
	glues []bool
	glue  []sampler.Token
}

type entry struct {
	text  string
	token sampler.Token
}

// NewLexicon returns the lexicon of a model. The vocabulary is sorted when it is first needed.
func NewLexicon(m Model) *Lexicon { return &Lexicon{model: m} }

func (l *Lexicon) build() {
	l.once.Do(func() {
		l.glues = make([]bool, l.model.Vocab())
		for t := range sampler.Token(l.model.Vocab()) {
			piece := l.model.Piece(t)
			if l.model.Kind(t) != Normal || len(piece) == 0 {
				continue
			}
			r, size := utf8.DecodeRune(piece)
			l.glues[t] = words.Inside(r) || r == utf8.RuneError && size == 1
			if l.glues[t] {
				l.glue = append(l.glue, t)
			}
			l.folded = append(l.folded, entry{string(words.Fold(slices.Clone(piece))), t})
		}
		slices.SortFunc(l.folded, func(a, b entry) int {
			return cmp.Or(cmp.Compare(a.text, b.text), cmp.Compare(a.token, b.token))
		})
		var b strings.Builder
		for _, e := range l.folded {
			l.begins = append(l.begins, int32(b.Len()))
			b.WriteString(e.text)
			b.WriteByte(0)
		}
		l.joined = b.String()
	})
}

// beginning are the tokens whose folded text begins with a prefix.
func (l *Lexicon) beginning(prefix string) []entry {
	lo, _ := slices.BinarySearchFunc(l.folded, prefix, func(e entry, p string) int { return cmp.Compare(e.text, p) })
	hi := lo
	for hi < len(l.folded) && strings.HasPrefix(l.folded[hi].text, prefix) {
		hi++
	}
	return l.folded[lo:hi]
}

// containing calls f for each token whose folded text contains another one.
func (l *Lexicon) containing(text string, f func(e entry)) {
	for from := 0; from < len(l.joined); {
		i := strings.Index(l.joined[from:], text)
		if i < 0 {
			return
		}
		k, found := slices.BinarySearch(l.begins, int32(from+i))
		if !found {
			k--
		}
		if e := l.folded[k]; strings.Contains(e.text, text) { // not across entries
			f(e)
		}
		from = len(l.joined)
		if k+1 < len(l.begins) {
			from = int(l.begins[k+1])
		}
	}
}

// Words are words of one model's tokens. They implement [sampler.Words].
type Words struct {
	lexicon *Lexicon
	list    []string
	set     *words.Set

	// starts are the tokens by which a word may begin; plain[i] says that starts[i] does so with its first letter, which
	// therefore must not follow another one.
	starts []sampler.Token
	plain  []bool
	// onward[i][n] are the tokens that go on after the first n bytes of the i-th pattern.
	onward []map[int][]sampler.Token
	// within are the tokens that contain a word wherever they come, first[i] those that begin with the i-th pattern, and
	// rest[i][n] those that begin with what is left of it after n bytes.
	within []sampler.Token
	first  [][]sampler.Token
	rest   [][][]sampler.Token
	most   int // tokens of the longest list that Next or Complete may return
}

// Words compiles a list of words.
func (l *Lexicon) Words(list []string) (*Words, error) {
	set, err := words.New(list)
	if err != nil {
		return nil, err
	}
	l.build()
	w := &Words{lexicon: l, list: slices.Clone(list), set: set}
	w.onward = make([]map[int][]sampler.Token, len(set.Patterns()))
	for _, word := range list {
		word = strings.TrimSpace(word)
		for _, form := range []string{word, words.Capitalize(word)} {
			for _, lead := range []string{" ", ""} {
				if err := w.spell(lead, form); err != nil {
					return nil, err
				}
			}
		}
	}
	w.complete()
	return w, nil
}

// String implements [sampler.Words].
func (w *Words) String() string { return strings.Join(w.list, "\x00") }

// spell learns the tokens of one form of a word, of which lead is not a part.
func (w *Words) spell(lead, form string) error {
	tokens, err := w.lexicon.model.Tokenize([]Part{{Text: lead + form}}, false)
	if err != nil {
		return err
	}
	var text []byte
	for _, t := range tokens {
		text = append(text, w.lexicon.model.Piece(t)...)
	}
	at := -strings.Index(string(text), form) // where the token begins, in bytes of the word
	if at > 0 {
		return nil // the model cannot spell it
	}
	pattern := slices.IndexFunc(w.set.Patterns(), func(p words.Pattern) bool { return p.Text == string(words.Fold([]byte(form))) })
	for _, t := range tokens {
		size := len(w.lexicon.model.Piece(t))
		switch {
		case at > 0 && at < len(form):
			w.goOn(pattern, at, t)
		case at <= 0 && at+size > 0 && !slices.Contains(w.starts, t):
			w.starts = append(w.starts, t)
			w.plain = append(w.plain, at == 0 && w.lexicon.glues[t])
		}
		at += size
	}
	// Whatever cut the model has chosen itself, one token may be all that is left.
	for n := 1; n < len(form); n++ {
		for _, e := range w.lexicon.beginning(string(words.Fold([]byte(form[n:])))) {
			if string(w.lexicon.model.Piece(e.token)) == form[n:] {
				w.goOn(pattern, n, e.token)
			}
		}
	}
	return nil
}

func (w *Words) goOn(pattern, n int, t sampler.Token) {
	if w.onward[pattern] == nil {
		w.onward[pattern] = map[int][]sampler.Token{}
	}
	if !slices.Contains(w.onward[pattern][n], t) {
		w.onward[pattern][n] = append(w.onward[pattern][n], t)
	}
}

// complete finds the tokens that complete a word.
func (w *Words) complete() {
	for _, p := range w.set.Patterns() {
		rest := make([][]sampler.Token, len(p.Text))
		for n := range len(p.Text) {
			for _, e := range w.lexicon.beginning(p.Text[n:]) {
				if mayEnd(e.text[len(p.Text)-n:], p.Right) {
					rest[n] = append(rest[n], e.token)
				}
			}
		}
		w.rest = append(w.rest, rest)
		w.first = append(w.first, rest[0])
		w.lexicon.containing(p.Text, func(e entry) {
			if inner(p, e.text) && !slices.Contains(w.within, e.token) {
				w.within = append(w.within, e.token)
			}
		})
	}
	w.most = len(w.starts) + len(w.within)
	for i, rest := range w.rest {
		for n, list := range rest {
			w.most += len(list) + len(w.onward[i][n])
		}
	}
}

// inner reports whether a word is inside a token, not at its beginning.
func inner(p words.Pattern, text string) bool {
	for at := 1; at+len(p.Text) <= len(text); at++ {
		i := strings.Index(text[at:], p.Text)
		if i < 0 {
			return false
		}
		at += i
		before, _ := utf8.DecodeLastRuneInString(text[:at])
		if (!p.Left || !words.Inside(before)) && mayEnd(text[at+len(p.Text):], p.Right) {
			return true
		}
	}
	return false
}

// mayEnd reports whether a word that has to end somewhere may do so before what follows in a token.
func mayEnd(after string, right bool) bool {
	r, _ := utf8.DecodeRuneInString(after)
	return !right || after == "" || !words.Inside(r)
}

// Follow implements [sampler.Words].
func (w *Words) Follow() sampler.Follower {
	return &follower{words: w, match: w.set.Match(), next: make([]sampler.Token, 0, w.most), complete: make([]sampler.Token, 0, w.most)}
}

// follower follows one answer.
type follower struct {
	words          *Words
	match          *words.Matcher
	next, complete []sampler.Token
}

// Next implements [sampler.Follower].
func (f *follower) Next(onward bool) []sampler.Token {
	w := f.words
	f.next = f.next[:0]
	f.match.Begun(func(i, n int) { f.next = append(f.next, w.onward[i][n]...) })
	if onward {
		return f.next
	}
	inside := f.match.InsideWord()
	for i, t := range w.starts {
		if !inside || !w.plain[i] {
			f.next = append(f.next, t)
		}
	}
	return f.next
}

// Complete implements [sampler.Follower].
func (f *follower) Complete() []sampler.Token {
	w := f.words
	f.complete = append(f.complete[:0], w.within...)
	inside := f.match.InsideWord()
	for i, p := range w.set.Patterns() {
		if !p.Left || !inside {
			f.complete = append(f.complete, w.first[i]...)
		}
	}
	f.match.Begun(func(i, n int) { f.complete = append(f.complete, w.rest[i][n]...) })
	return f.complete
}

// Glue implements [sampler.Follower].
func (f *follower) Glue() []sampler.Token { return f.words.lexicon.glue }

// Moment implements [sampler.Follower].
func (f *follower) Moment(t sampler.Token) sampler.Moment {
	switch {
	case f.words.lexicon.model.Kind(t) == End:
		return sampler.Ending
	case f.words.lexicon.glues[t] && f.match.InsideWord():
		return sampler.Within
	}
	return sampler.Between
}

// Accept implements [sampler.Follower].
func (f *follower) Accept(t sampler.Token) (p sampler.Progress) {
	switch f.words.lexicon.model.Kind(t) {
	case Normal:
		p.Hits = f.match.Write(f.words.lexicon.model.Piece(t))
	case End:
		p.Hits = f.match.End()
	case Control: // no text
	}
	p.Whole = f.match.Pending()
	f.match.Begun(func(i, n int) { p.Begun = p.Begun || len(f.words.onward[i][n]) > 0 })
	return p
}
