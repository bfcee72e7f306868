package llama

import (
	"strings"
	"testing"
	"unicode/utf8"

	"aim/sampler"
)

// assemble feeds pieces one by one and returns the whole text, the deltas and the tokens that came out.
func assemble(stop []string, pieces ...string) (whole string, deltas []string, tokens []sampler.Token, stopped bool) {
	a := text{stop: stop}
	for i, p := range pieces {
		out, released, end := a.add(Sampled{Token: sampler.Token(i)}, []byte(p))
		deltas = append(deltas, out)
		whole += out
		for _, r := range released {
			tokens = append(tokens, r.Token)
		}
		if end {
			stopped = true
			break
		}
	}
	out, released := a.flush()
	for _, r := range released {
		tokens = append(tokens, r.Token)
	}
	return whole + out, append(deltas, out), tokens, stopped
}

func TestText(t *testing.T) {
	for _, c := range []struct {
		name    string
		stop    []string
		pieces  []string
		deltas  []string
		tokens  int
		stopped bool
	}{
		{"plain", nil, []string{"Hel", "lo"}, []string{"Hel", "lo", ""}, 2, false},
		{"rune over three pieces", nil, []string{"a\xe2", "\x82", "\xacb"}, []string{"a", "", "€b", ""}, 3, false},
		{"rune never completed", nil, []string{"a\xe2\x82"}, []string{"a", "\ufffd\ufffd"}, 1, false},
		{"rune broken off", nil, []string{"\xe2\x82", "a"}, []string{"", "\ufffd\ufffda", ""}, 2, false},
		{"lone continuation", nil, []string{"\x82a"}, []string{"\ufffda", ""}, 1, false},
		{"stop in one piece", []string{"END"}, []string{"abENDcd"}, []string{"ab", ""}, 1, true},
		{"stop over pieces", []string{"END"}, []string{"abE", "N", "Dcd", "ef"}, []string{"ab", "", "", ""}, 1, true},
		{"stop that was none", []string{"END"}, []string{"abE", "N", "T"}, []string{"ab", "", "ENT", ""}, 3, false},
		{"stop begun at the end", []string{"END"}, []string{"abEN"}, []string{"ab", "EN"}, 1, false},
		{"stop that restarts", []string{"aab"}, []string{"aa", "a", "b"}, []string{"", "a", "", ""}, 1, true},
		{"first of two stops", []string{"d", "bc"}, []string{"abcd"}, []string{"a", ""}, 1, true},
		{"longer stop begins earlier", []string{"bcd", "c"}, []string{"abc"}, []string{"ab", ""}, 1, true},
		{"stop at the start", []string{"x"}, []string{"xa"}, []string{"", ""}, 0, true},
		{"stop of many bytes", []string{"。"}, []string{"日", "本\xe3", "\x80", "\x82"}, []string{"日", "本", "", "", ""}, 2, true},
		{"stop after a broken rune", []string{"END"}, []string{"\xe2\x82", "END"}, []string{"", "\ufffd\ufffd", ""}, 1, true},
		{"piece without text", nil, []string{"a", "", "b"}, []string{"a", "", "b", ""}, 3, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, deltas, tokens, stopped := assemble(c.stop, c.pieces...)
			if strings.Join(deltas, "|") != strings.Join(c.deltas, "|") || stopped != c.stopped || len(tokens) != c.tokens {
				t.Errorf("deltas %q, %d tokens, stopped %v; want %q, %d, %v", deltas, len(tokens), stopped, c.deltas, c.tokens, c.stopped)
			}
		})
	}
}

// reference is the text of an answer in one go, looking for stop strings byte by byte.
func reference(stop []string, all string) (string, bool) {
	cut := -1
	for end := 0; end <= len(all) && cut < 0; end++ {
		for _, s := range stop {
			if strings.HasSuffix(all[:end], s) && (cut < 0 || end-len(s) < cut) {
				cut = end - len(s)
			}
		}
	}
	if cut >= 0 {
		all = all[:cut]
	}
	var b strings.Builder
	for _, r := range all { // ranging yields one U+FFFD for each byte that belongs to no rune
		b.WriteRune(r)
	}
	return b.String(), cut >= 0
}

// However the bytes are cut into pieces, the text is that of the whole, each delta is valid UTF-8, and no token is lost or
// told twice.
func FuzzText(f *testing.F) {
	f.Add([]byte("Hello, wörld. END of it"), "END", "of", uint64(1))
	f.Add([]byte("\xe2\x82\xac\xff\xf0\x9f\x91"), "€", "", uint64(7))
	f.Add([]byte("aaaaaaab"), "aab", "aaaaab", uint64(0x5555))
	f.Fuzz(func(t *testing.T, all []byte, stop1, stop2 string, cuts uint64) {
		var stop []string
		for _, s := range []string{stop1, stop2} {
			if s != "" && utf8.ValidString(s) {
				stop = append(stop, s)
			}
		}
		var pieces []string
		rest := string(all)
		for i := 0; rest != ""; i++ {
			n := 1 + int(cuts>>(3*(i%21)))&7
			n = min(n, len(rest))
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		got, deltas, tokens, stopped := assemble(stop, pieces...)
		want, wantStopped := reference(stop, string(all))
		if got != want || stopped != wantStopped {
			t.Errorf("pieces %q, stop %q: %q, stopped %v; want %q, %v", pieces, stop, got, stopped, want, wantStopped)
		}
		for _, d := range deltas {
			if !utf8.ValidString(d) {
				t.Errorf("delta %q", d)
			}
		}
		for i, tok := range tokens {
			if int(tok) != i {
				t.Fatalf("tokens %v", tokens)
			}
		}
		if !stopped && len(tokens) != len(pieces) {
			t.Errorf("%d tokens of %d", len(tokens), len(pieces))
		}
	})
}
