package llama

import (
	"bytes"
	"unicode/utf8"
)

// text assembles an answer from the bytes of its pieces. It releases valid UTF-8 only, and holds back what may still
// become a stop string or complete a rune.
type text struct {
	stop   []string
	held   []byte
	tokens []heldToken
	// start is the offset of held in the whole answer, in bytes of the model.
	start int
	// stopped is the stop string that ended the answer.
	stopped string
}

// heldToken is a token whose text has not been released entirely.
type heldToken struct {
	Sampled
	// from and to are offsets in the whole answer.
	from, to int
}

// add appends a token with its piece and returns what can be released. Once stopped is true, the answer is complete:
// what follows the stop string, and the string itself, is dropped.
func (t *text) add(s Sampled, piece []byte) (out string, tokens []Sampled, stopped bool) {
	from := t.start + len(t.held)
	t.held = append(t.held, piece...)
	t.tokens = append(t.tokens, heldToken{s, from, from + len(piece)})
	if cut := t.match(); cut >= 0 {
		end := t.start + cut
		out = t.release(cut)
		for _, tok := range t.tokens {
			// The empty text before a stop string at the very start still has no token of its own.
			if tok.from < end {
				tokens = append(tokens, tok.Sampled)
			}
		}
		t.held, t.tokens = nil, nil
		return out, tokens, true
	}
	out = t.release(min(t.partialStop(), incompleteRune(t.held)))
	return out, t.releaseTokens(), false
}

// flush returns what is still held, at the end of an answer.
func (t *text) flush() (out string, tokens []Sampled) {
	out = t.release(len(t.held))
	return out, t.releaseTokens()
}

// match is the offset in held of the stop string that is complete first, -1 without one. Of two that end together it is
// the longer. So the outcome does not depend on where the pieces were cut.
func (t *text) match() int {
	start, end := -1, len(t.held)+1
	for _, s := range t.stop {
		i := bytes.Index(t.held, []byte(s))
		if i < 0 {
			continue
		}
		if e := i + len(s); e < end || e == end && i < start {
			start, end, t.stopped = i, e, s
		}
	}
	return start
}

// partialStop is the offset in held from which a stop string may yet complete, len(held) without one.
func (t *text) partialStop() int {
	first := len(t.held)
	for _, s := range t.stop {
		for n := min(len(s)-1, len(t.held)); n > 0; n-- {
			if i := len(t.held) - n; bytes.HasPrefix([]byte(s), t.held[i:]) {
				first = min(first, i)
				break
			}
		}
	}
	return first
}

// release takes the first n held bytes as valid UTF-8. Each byte that belongs to no rune becomes one U+FFFD, so that the
// text does not depend on where the pieces were cut.
func (t *text) release(n int) string {
	b := t.held[:n]
	var out string
	if utf8.Valid(b) {
		out = string(b)
	} else {
		valid := make([]byte, 0, 2*n)
		for len(b) > 0 {
			r, size := utf8.DecodeRune(b)
			valid = utf8.AppendRune(valid, r)
			b = b[size:]
		}
		out = string(valid)
	}
	t.held = append(t.held[:0], t.held[n:]...) // hardly anything; so the next pieces find the room of these
	t.start += n
	return out
}

// releaseTokens takes the tokens whose bytes have all been released.
func (t *text) releaseTokens() (tokens []Sampled) {
	n := 0
	for n < len(t.tokens) && t.tokens[n].to <= t.start {
		n++
	}
	if n == 0 {
		return nil
	}
	tokens = make([]Sampled, n)
	for i := range tokens {
		tokens[i] = t.tokens[i].Sampled
	}
	t.tokens = append(t.tokens[:0], t.tokens[n:]...)
	return tokens
}

// incompleteRune is the offset of a rune that b ends inside of, len(b) without one.
func incompleteRune(b []byte) int {
	for i := len(b) - 1; i >= 0 && i > len(b)-utf8.UTFMax; i-- {
		if utf8.RuneStart(b[i]) {
			if !utf8.FullRune(b[i:]) {
				return i
			}
			break
		}
	}
	return len(b)
}
