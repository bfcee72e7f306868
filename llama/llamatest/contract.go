package llamatest

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"testing"

	"aim/llama"
	"aim/sampler"
)

// Driver is what the contract suite needs to know of a driver.
type Driver struct {
	Model llama.Model
	// Open returns an empty cache, and frees it at the end of the test.
	Open func(t testing.TB, slots, context, batch int) llama.Decoder
	// Tolerance is the most by which a logit may depend on the shape of its batch; 0 for an exact driver.
	Tolerance float64
}

// Run checks that a driver keeps the promises of [llama.Model] and [llama.Decoder].
func Run(t *testing.T, d Driver) {
	s := suite{d}
	t.Run("tokenize round trip", s.roundTrip)
	t.Run("special tokens only in trusted text", s.provenance)
	t.Run("tokens outside the vocabulary", s.outside)
	t.Run("infill", s.infill)
	t.Run("logits where asked", s.logitsWhereAsked)
	t.Run("tolerance tells histories apart", s.tolerance)
	t.Run("rows one by one equal a whole prompt", s.chunks)
	t.Run("alone and in company", s.company)
	t.Run("forget", s.forget)
	t.Run("share", s.share)
	t.Run("save and restore", s.saveAndRestore)
	t.Run("shift", s.shift)
	t.Run("refused batches change nothing", s.refused)
	t.Run("full cache", s.full)
	t.Run("logits may be overwritten", s.overwrite)
	t.Run("adapters", s.adapters)
}

type suite struct{ Driver }

// texts are hard on tokenizers: runes of every length, spaces, digits, spellings of control tokens, no text at all.
var texts = []string{
	"Hello, world!", " leading and trailing ", "tabs\tand\nnewlines\r\n\n", "naïve café", "日本語のテキスト", "👩‍👩‍👧 family",
	"x  y   z", "1234567890", "<|im_end|><s></s><|endoftext|>", "\x01\x7f", "e\u0301 combining", "\ufffd replacement", "a",
}

func (s suite) roundTrip(t *testing.T) {
	for _, text := range texts {
		tokens := s.tokens(t, text)
		var got []byte
		for _, tok := range tokens {
			if s.Model.Kind(tok) != llama.Normal {
				t.Errorf("%q: token %d (%q) is not text", text, tok, s.Model.Piece(tok))
			}
			got = append(got, s.Model.Piece(tok)...)
		}
		// A SentencePiece vocabulary puts one space in front.
		if string(got) != text && string(got) != " "+text {
			t.Errorf("%q came back as %q", text, got)
		}
	}
	if got := s.tokens(t, ""); len(got) != 0 {
		t.Errorf("no text has tokens %v", got)
	}
}

func (s suite) provenance(t *testing.T) {
	end := s.end(t)
	spelling := string(s.Model.Piece(end))
	tokens, err := s.Model.Tokenize([]llama.Part{{Text: "a", Trusted: true}, {Text: spelling, Trusted: true}}, false)
	if err != nil || len(tokens) == 0 || tokens[len(tokens)-1] != end {
		t.Errorf("trusted %q: tokens %v, error %v, want %d at the end", spelling, tokens, err, end)
	}
	for _, tok := range s.tokens(t, "a"+spelling) {
		if s.Model.Kind(tok) != llama.Normal {
			t.Errorf("untrusted %q became control token %d", spelling, tok)
		}
	}
	once, err := s.Model.Tokenize([]llama.Part{{Text: "a"}}, true)
	if err != nil {
		t.Fatal(err)
	}
	if bos := once[0]; s.Model.Kind(bos) != llama.Normal {
		again, err := s.Model.Tokenize([]llama.Part{{Text: string(s.Model.Piece(bos)) + "a", Trusted: true}}, true)
		if err != nil || len(again) < 2 || again[0] != bos || again[1] == bos {
			t.Errorf("a prompt that spells its beginning has tokens %v, error %v", again, err)
		}
	}
}

func (s suite) outside(t *testing.T) {
	for _, tok := range []sampler.Token{-1, sampler.Token(s.Model.Vocab()), math.MaxInt32} {
		if p := s.Model.Piece(tok); p != nil {
			t.Errorf("token %d has piece %q", tok, p)
		}
		if k := s.Model.Kind(tok); k != llama.Normal {
			t.Errorf("token %d has kind %d", tok, k)
		}
	}
}

// infill: both sides are there as plain text, each after a control token, and another one asks for what is missing.
func (s suite) infill(t *testing.T) {
	filler, ok := s.Model.(llama.Infiller)
	if !ok {
		t.Skip("this model says nothing about gaps")
	}
	prefix, suffix := "a"+string(s.Model.Piece(s.end(t))), "z"
	got, err := filler.Infill(prefix, suffix)
	if errors.Is(err, llama.ErrUnsupported) {
		t.Skip("this model has no tokens for gaps")
	} else if err != nil {
		t.Fatal(err)
	}
	var sides []byte
	for _, tok := range got {
		if s.Model.Kind(tok) == llama.Normal {
			sides = append(sides, s.Model.Piece(tok)...)
		}
	}
	if last := got[len(got)-1]; string(bytes.ReplaceAll(sides, []byte(" "), nil)) != prefix+suffix || s.Model.Kind(last) != llama.Control {
		t.Errorf("a gap between %q and %q is %v, which reads %q", prefix, suffix, got, sides)
	}
}

func (s suite) logitsWhereAsked(t *testing.T) {
	dec := s.Open(t, 1, 256, 64)
	rows := prompt(0, s.tokens(t, texts[0]))
	s.decode(t, dec, rows)
	for i := -1; i <= len(rows); i++ {
		row := dec.Logits(i)
		if want := i == len(rows)-1; (row != nil) != want {
			t.Fatalf("row %d of %d has logits: %v", i, len(rows), row != nil)
		}
	}
	row := dec.Logits(len(rows) - 1)
	if len(row) != s.Model.Vocab() {
		t.Fatalf("a row of %d logits, want %d", len(row), s.Model.Vocab())
	}
	for i, z := range row {
		if math.IsNaN(float64(z)) || math.IsInf(float64(z), 0) {
			t.Fatalf("logit %d is %v", i, z)
		}
	}
}

// tolerance makes sure that the other tests can fail: a history with one token less must be far away.
func (s suite) tolerance(t *testing.T) {
	tokens := s.tokens(t, texts[0])
	if d := distance(s.fresh(t, tokens), s.fresh(t, tokens[1:])); !(d > 2*s.Tolerance) {
		t.Errorf("different histories are only %g apart, tolerance %g", d, s.Tolerance)
	}
}

func (s suite) chunks(t *testing.T) {
	tokens := s.tokens(t, texts[0]+texts[4])
	want := s.fresh(t, tokens)
	dec := s.Open(t, 1, 256, 64)
	for pos, tok := range tokens {
		s.decode(t, dec, []llama.Row{{Token: tok, Pos: pos, Logits: pos == len(tokens)-1}})
	}
	s.near(t, dec.Logits(0), want)
}

func (s suite) company(t *testing.T) {
	mine, other := s.tokens(t, texts[0]), s.tokens(t, texts[4])
	dec := s.Open(t, 3, 256, 128)
	rows := append(prompt(2, other), prompt(0, mine)...)
	rows = append(rows, prompt(1, other)...)
	s.decode(t, dec, rows)
	s.near(t, dec.Logits(len(other)+len(mine)-1), s.fresh(t, mine))
	s.near(t, dec.Logits(len(other)-1), s.fresh(t, other))
	s.near(t, dec.Logits(len(rows)-1), s.fresh(t, other))
}

func (s suite) forget(t *testing.T) {
	dec := s.Open(t, 2, 256, 128)
	first, second := s.tokens(t, texts[0]), s.tokens(t, texts[4])
	s.decode(t, dec, append(prompt(0, first), prompt(1, second)...))
	if err := dec.Forget(0, 2); errors.Is(err, llama.ErrUnsupported) {
		t.Log("this model's cache cannot forget a part")
	} else if err != nil {
		t.Fatal(err)
	} else {
		s.decode(t, dec, at(0, 2, second))
		s.near(t, dec.Logits(len(second)-1), s.fresh(t, append(first[:2:2], second...)))
	}
	for range 2 { // an empty sequence may be forgotten
		if err := dec.Forget(0, 0); err != nil {
			t.Fatal(err)
		}
	}
	s.decode(t, dec, prompt(0, second))
	s.near(t, dec.Logits(len(second)-1), s.fresh(t, second))
	for _, bad := range [][2]int{{-1, 0}, {2, 0}, {0, -1}} {
		if err := dec.Forget(bad[0], bad[1]); err == nil {
			t.Errorf("Forget(%d, %d) succeeded", bad[0], bad[1])
		}
	}
}

func (s suite) share(t *testing.T) {
	dec := s.Open(t, 3, 256, 128)
	tokens, tail := s.tokens(t, texts[0]), s.tokens(t, texts[4])
	s.decode(t, dec, prompt(0, tokens))
	n := len(tokens) - 1
	if err := dec.Share(0, 1, n); errors.Is(err, llama.ErrUnsupported) {
		t.Skip("this model's cache cannot share a part")
	} else if err != nil {
		t.Fatal(err)
	}
	s.decode(t, dec, append(at(1, n, tail), at(0, n+1, tail)...))
	s.near(t, dec.Logits(len(tail)-1), s.fresh(t, append(tokens[:n:n], tail...)))
	s.near(t, dec.Logits(2*len(tail)-1), s.fresh(t, append(tokens[:n+1:n+1], tail...)))
	if err := dec.Forget(0, 0); err != nil {
		t.Fatal(err)
	}
	more := tokens[:1]
	s.decode(t, dec, at(1, n+len(tail), more)) // the copy outlives the original
	s.near(t, dec.Logits(0), s.fresh(t, append(append(tokens[:n:n], tail...), more...)))
	for _, bad := range [][3]int{{1, 1, 1}, {1, 0, 1000}, {1, 0, -1}, {1, 7, 1}, {-1, 0, 1}, {0, 1, 0}} {
		if err := dec.Share(bad[0], bad[1], bad[2]); err == nil {
			t.Errorf("Share(%d, %d, %d) succeeded", bad[0], bad[1], bad[2])
		}
	}
}

func (s suite) saveAndRestore(t *testing.T) {
	dec := s.Open(t, 3, 256, 128)
	keeper, ok := dec.(llama.Keeper)
	if !ok {
		t.Skip("this driver keeps nothing")
	}
	mine, other, tail := s.tokens(t, texts[0]), s.tokens(t, texts[2]), s.tokens(t, texts[4])
	s.decode(t, dec, append(prompt(1, mine), prompt(0, other)...))
	saved, err := keeper.Save(1)
	if err != nil {
		t.Fatal(err)
	}
	defer saved.Free()
	n := len(mine)
	s.decode(t, dec, at(1, n, tail)) // it stays as it was
	s.near(t, dec.Logits(len(tail)-1), s.fresh(t, append(mine[:n:n], tail...)))
	if err := dec.Forget(1, 0); err != nil {
		t.Fatal(err)
	}
	for _, seq := range []int{2, 1} { // another sequence, and the one that it was; beside others
		if err := keeper.Restore(seq, saved.Bytes()); err != nil {
			t.Fatal(err)
		}
		s.decode(t, dec, append(at(seq, n, tail), at(0, len(other)+(2-seq), other[:1])...))
		s.near(t, dec.Logits(len(tail)-1), s.fresh(t, append(mine[:n:n], tail...)))
	}
	if err := dec.Forget(1, n-1); err == nil {
		s.decode(t, dec, at(1, n-1, tail))
		s.near(t, dec.Logits(len(tail)-1), s.fresh(t, append(mine[:n-1:n-1], tail...)))
	} else if !errors.Is(err, llama.ErrUnsupported) {
		t.Error(err)
	}
	if err := keeper.Restore(1, saved.Bytes()); err == nil {
		t.Error("a sequence was restored over another")
	}
	if err := dec.Forget(1, 0); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"no bytes": nil, "half": saved.Bytes()[:len(saved.Bytes())/2], "noise": []byte("noise")} {
		if err := keeper.Restore(1, data); err == nil {
			t.Errorf("restored from %s", name)
		}
	}
	s.decode(t, dec, prompt(1, mine)) // it is empty, and usable
	s.near(t, dec.Logits(n-1), s.fresh(t, mine))
	for _, seq := range []int{-1, 3} {
		if _, err := keeper.Save(seq); err == nil {
			t.Errorf("sequence %d was saved", seq)
		}
		if err := keeper.Restore(seq, saved.Bytes()); err == nil {
			t.Errorf("sequence %d was restored", seq)
		}
	}
}

func (s suite) refused(t *testing.T) {
	dec := s.Open(t, 2, 256, 16)
	tokens := s.tokens(t, texts[0])[:3]
	s.decode(t, dec, prompt(0, tokens))
	long := make([]sampler.Token, 17)
	for name, rows := range map[string][]llama.Row{
		"no rows":               nil,
		"more than a batch":     at(1, 0, long),
		"sequence -1":           {{Token: tokens[0], Seq: -1}},
		"sequence 2 of 2":       {{Token: tokens[0], Seq: 2}},
		"token -1":              {{Token: -1, Seq: 1}},
		"token beyond the last": {{Token: sampler.Token(s.Model.Vocab()), Seq: 1}},
		"a gap":                 {{Token: tokens[0], Seq: 0, Pos: 5}},
		"a position again":      {{Token: tokens[0], Seq: 0, Pos: 2}},
		"a position twice":      {{Token: tokens[0], Seq: 1, Pos: 0}, {Token: tokens[0], Seq: 1, Pos: 0}},
	} {
		if err := dec.Decode(rows); err == nil || errors.Is(err, llama.ErrCacheFull) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	s.decode(t, dec, at(0, 3, tokens))
	s.near(t, dec.Logits(2), s.fresh(t, append(tokens[:3:3], tokens...)))
}

func (s suite) full(t *testing.T) {
	const context = 256
	dec := s.Open(t, 1, context, context)
	tok := s.tokens(t, "a")[0]
	long := make([]sampler.Token, context)
	for i := range long {
		long[i] = tok
	}
	s.decode(t, dec, at(0, 0, long[:context-1]))
	if err := dec.Decode(at(0, context-1, long[:2])); !errors.Is(err, llama.ErrCacheFull) {
		t.Fatalf("one row too many: error %v", err)
	}
	s.decode(t, dec, at(0, context-1, long[:1]))
	if err := dec.Decode(at(0, context, long[:1])); !errors.Is(err, llama.ErrCacheFull) {
		t.Fatalf("a row beyond the context: error %v", err)
	}
	if err := dec.Forget(0, 0); err != nil {
		t.Fatal(err)
	}
	s.decode(t, dec, at(0, 0, long[:3]))
	s.near(t, dec.Logits(2), s.fresh(t, long[:3]))
}

func (s suite) overwrite(t *testing.T) {
	tokens := s.tokens(t, texts[0])
	dec := s.Open(t, 1, 256, 64)
	n := len(tokens) - 1
	s.decode(t, dec, prompt(0, tokens[:n]))
	clear(dec.Logits(n - 1))
	s.decode(t, dec, at(0, n, tokens[n:]))
	s.near(t, dec.Logits(0), s.fresh(t, tokens))
}

// adapters: each set is another model, whatever was computed before under another one in a batch of the same shape.
func (s suite) adapters(t *testing.T) {
	dec := s.Open(t, 2, 256, 64)
	adapter, ok := dec.(llama.Adapter)
	if !ok {
		t.Skip("this driver knows no adapters")
	}
	sets := adapter.Sets()
	if sets < 1 {
		t.Fatalf("%d sets", sets)
	}
	for _, bad := range []llama.AdapterSet{-1, llama.AdapterSet(sets)} {
		if err := adapter.Adapt(bad); err == nil {
			t.Errorf("Adapt(%d) of %d sets succeeded", bad, sets)
		}
	}
	tokens := s.tokens(t, texts[0])
	want := make([][]float32, sets)
	for set := range want {
		one := s.Open(t, 1, 256, 64)
		s.adapt(t, one, llama.AdapterSet(set))
		s.decode(t, one, prompt(0, tokens))
		want[set] = slices.Clone(one.Logits(len(tokens) - 1))
		if set > 0 && !(distance(want[set], want[0]) > 2*s.Tolerance) {
			t.Errorf("set %d is only %g away from set 0", set, distance(want[set], want[0]))
		}
	}
	for turn := range 3 * sets { // a prompt
		set := turn % sets
		s.adapt(t, dec, llama.AdapterSet(set))
		if err := dec.Forget(0, 0); err != nil {
			t.Fatal(err)
		}
		s.decode(t, dec, prompt(0, tokens))
		s.near(t, dec.Logits(len(tokens)-1), want[set])
	}
	if err := dec.Forget(0, 0); err != nil {
		t.Fatal(err)
	}
	last := sets - 1
	for pos, tok := range tokens { // an answer each, in turns
		for seq, set := range []int{0, last} {
			s.adapt(t, dec, llama.AdapterSet(set))
			s.decode(t, dec, []llama.Row{{Token: tok, Seq: seq, Pos: pos, Logits: true}})
			if pos == len(tokens)-1 {
				s.near(t, dec.Logits(0), want[set])
			}
		}
	}
}

func (s suite) adapt(t *testing.T, dec llama.Decoder, set llama.AdapterSet) {
	t.Helper()
	if err := dec.(llama.Adapter).Adapt(set); err != nil {
		t.Fatalf("set %d: %v", set, err)
	}
}

// tokens tokenizes user text.
func (s suite) tokens(t testing.TB, text string) []sampler.Token {
	t.Helper()
	tokens, err := s.Model.Tokenize([]llama.Part{{Text: text}}, false)
	if err != nil {
		t.Fatalf("tokenize %q: %v", text, err)
	}
	return tokens
}

// end finds a token that ends an answer and is spelled.
func (s suite) end(t testing.TB) sampler.Token {
	t.Helper()
	for tok := range sampler.Token(s.Model.Vocab()) {
		if s.Model.Kind(tok) == llama.End && !bytes.Equal(s.Model.Piece(tok), nil) {
			return tok
		}
	}
	t.Fatal("no token ends an answer")
	return 0
}

// fresh is the row after tokens in an empty cache.
func (s suite) fresh(t *testing.T, tokens []sampler.Token) []float32 {
	t.Helper()
	dec := s.Open(t, 1, 256, 256)
	rows := prompt(0, tokens)
	s.decode(t, dec, rows)
	return append([]float32(nil), dec.Logits(len(rows)-1)...)
}

func (s suite) decode(t *testing.T, dec llama.Decoder, rows []llama.Row) {
	t.Helper()
	if err := dec.Decode(rows); err != nil {
		t.Fatalf("decode %d rows: %v", len(rows), err)
	}
}

func (s suite) near(t *testing.T, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d logits, want %d", len(got), len(want))
	}
	d := distance(got, want)
	t.Logf("logits differ by %.3g", d)
	if !(d <= s.Tolerance) { // NaN must not pass
		t.Errorf("logits differ by %g, tolerance %g", d, s.Tolerance)
	}
}

// distance is the largest difference of two rows.
func distance(a, b []float32) float64 {
	worst := 0.0
	for i := range a {
		worst = math.Max(worst, math.Abs(float64(a[i])-float64(b[i])))
	}
	return worst
}

// prompt is the rows of a sequence from its start; the last asks for logits.
func prompt(seq int, tokens []sampler.Token) []llama.Row { return at(seq, 0, tokens) }

// at is the rows of a sequence from a position on.
func at(seq, pos int, tokens []sampler.Token) (rows []llama.Row) {
	for i, tok := range tokens {
		rows = append(rows, llama.Row{Token: tok, Seq: seq, Pos: pos + i, Logits: i == len(tokens)-1})
	}
	return rows
}
