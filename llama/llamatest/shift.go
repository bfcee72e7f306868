package llamatest

import (
	"errors"
	"slices"
	"testing"

	"aim/llama"
)

var _ llama.Shifter = (*Decoder)(nil)

// CanShift implements [llama.Shifter].
func (d *Decoder) CanShift() bool { return !d.opt.NoShift }

// Shift implements [llama.Shifter].
func (d *Decoder) Shift(seq, keep, discard int) error {
	tokens := 0
	if seq >= 0 && seq < len(d.seqs) {
		tokens = len(d.seqs[seq])
	}
	if err := llama.CheckShift(seq, len(d.seqs), keep, discard, tokens); err != nil {
		return err
	}
	if d.opt.NoShift {
		return llama.ErrUnsupported
	}
	d.seqs[seq] = slices.Delete(d.seqs[seq], keep, keep+discard)
	return nil
}

// shift: what follows the hole moves up and the sequence goes on from there. An exact driver then answers as to the tokens that are
// left; a real one answers as far from that as what it understood of them depends on those that are gone, which is no error.
func (s suite) shift(t *testing.T) {
	dec := s.Open(t, 2, 256, 256)
	shifter, ok := dec.(llama.Shifter)
	if !ok {
		t.Skip("this driver has no shift")
	}
	tokens, tail := s.tokens(t, texts[0]+texts[4]), s.tokens(t, texts[3])
	n, keep, discard := len(tokens), 2, 3
	s.decode(t, dec, append(prompt(0, tokens), prompt(1, tail)...))
	if !shifter.CanShift() {
		if err := shifter.Shift(0, keep, discard); !errors.Is(err, llama.ErrUnsupported) {
			t.Fatalf("a cache that cannot shift: error %v", err)
		}
		s.decode(t, dec, at(0, n, tail))
		s.near(t, dec.Logits(len(tail)-1), s.fresh(t, append(tokens[:n:n], tail...)))
		return
	}
	for _, bad := range [][3]int{{-1, 0, 1}, {2, 0, 1}, {0, -1, 1}, {0, 0, 0}, {0, n, 1}, {0, 1, n}} {
		if err := shifter.Shift(bad[0], bad[1], bad[2]); err == nil {
			t.Errorf("Shift(%d, %d, %d) succeeded", bad[0], bad[1], bad[2])
		}
	}
	if err := shifter.Shift(0, keep, discard); err != nil {
		t.Fatal(err)
	}
	n -= discard
	if err := dec.Decode(at(0, n+discard, tail)); err == nil {
		t.Error("a sequence goes on where it would have without the shift")
	}
	s.decode(t, dec, at(0, n, tail))
	if s.Tolerance == 0 {
		left := slices.Concat(tokens[:keep], tokens[keep+discard:], tail)
		s.near(t, dec.Logits(len(tail)-1), s.fresh(t, left))
	}
	// A hole that reaches the end leaves what was kept, of which nothing depends on the hole.
	if err := shifter.Shift(0, keep, n+len(tail)-keep); err != nil {
		t.Fatal(err)
	}
	s.decode(t, dec, at(0, keep, tail))
	s.near(t, dec.Logits(len(tail)-1), s.fresh(t, append(tokens[:keep:keep], tail...)))
	// The neighbour has noticed nothing.
	s.decode(t, dec, at(1, len(tail), tokens))
	s.near(t, dec.Logits(len(tokens)-1), s.fresh(t, append(tail[:len(tail):len(tail)], tokens...)))
}
