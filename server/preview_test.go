package server

import (
	"cmp"
	"math"
	"slices"
	"testing"

	"aim/llama"
	"aim/sampler"
)

const previewPath = "/v1/aim/preview"

// previewed is a preview as clients read it.
type previewed struct {
	Object, Model string
	Tokens        []struct {
		Token         string
		ID            sampler.Token
		Bytes         []int
		Before, After *standing
	}
	Usage *usage
}

// rowsOf are the rows before and after modulation of the first step after the chat prompt x, or of another prompt.
func (s *site) rowsOf(t testing.TB, p sampler.Params, prompt ...sampler.Token) (before, after []float32) {
	t.Helper()
	if prompt == nil {
		var err error
		if prompt, err = fake.Tokenize([]llama.Part{{Text: "[user]x"}, {Text: marker, Trusted: true}}, true); err != nil {
			t.Fatal(err)
		}
	}
	rows := &bothRows{}
	p.Observer = rows
	for _, err := range s.engine.Generate(t.Context(), llama.Request{Prompt: prompt, MaxTokens: 1, Params: p}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	return rows.before, rows.after
}

// place is where a token stands in a row, by definition.
func place(row []float32, t sampler.Token) (rank int, prob float64) {
	rank, sum := 1, 0.0
	for i, z := range row {
		if z > row[t] || z == row[t] && i < int(t) {
			rank++
		}
		sum += math.Exp(float64(z) - float64(row[t]))
	}
	return rank, 1 / sum
}

// TestPreview: each token listed stands where the rows say, before and after; the first of both sides are listed, and the
// report describes the same step.
func TestPreview(t *testing.T) {
	s := start(t, options{})
	utility := sampler.Utility{Sigma: 2, Key: sampler.UtilityKey([]byte("of the tests"), "fake", 2)}
	for _, c := range []struct {
		fields string
		params sampler.Params
		top    int
	}{
		{``, sampler.Params{}, 20},
		{`"aim": {"utility": {"sigma": 2}}`, sampler.Params{Utility: utility}, 20},
		{`"top_n": 1, "aim": {"utility": {"sigma": 2}}`, sampler.Params{Utility: utility}, 1},
		{
			`"top_n": 100, "seed": 3, "logit_bias": {"97": -100}, "aim": {"utility": {"sigma": 2}, "focus": [{"tokens": [98], "sigma": 40}]}`,
			sampler.Params{
				Utility: utility, Bias: map[sampler.Token]float64{97: -100},
				Focus: []sampler.Focus{{Targets: [][]sampler.Token{{98}}, Sigma: 40}}, FocusKey: sampler.FocusKey(3),
			},
			100,
		},
	} {
		body := s.do(t, "POST", previewPath, chatBody("x", c.fields)).ok(t).body
		p := decode[previewed](t, body)
		before, after := s.rowsOf(t, c.params)
		listed := map[sampler.Token]bool{}
		for i, tok := range p.Tokens {
			listed[tok.ID] = true
			if want := validUTF8(fake.Piece(tok.ID)); tok.Token != want {
				t.Errorf("%s: token %d is %q, want %q", c.fields, tok.ID, tok.Token, want)
			}
			for side, row := range map[*standing][]float32{tok.Before: before, tok.After: after} {
				rank, prob := place(row, tok.ID)
				if side.Rank != rank || side.Logit != float64(row[tok.ID]) || !same(&side.Prob, prob) || !same(&side.Logprob, math.Log(side.Prob)) {
					t.Errorf("%s: token %d stands at %+v, want rank %d, probability %g, logit %g", c.fields, tok.ID, side, rank, prob, row[tok.ID])
				}
			}
			if i > 0 && p.Tokens[i-1].After.Rank >= tok.After.Rank {
				t.Errorf("%s: token %d is not in order", c.fields, tok.ID)
			}
		}
		for id := range sampler.Token(fake.Vocab()) {
			a, _ := place(before, id)
			b, _ := place(after, id)
			if want := min(a, b) <= c.top; listed[id] != want {
				t.Errorf("%s: token %d, of ranks %d and %d, listed: %v", c.fields, id, a, b, listed[id])
			}
		}
		r := reportOf(t, body)
		want := s.direct(t, 1, c.params)
		if r.Steps != 1 || *r.Flips != want.Flips || !same(r.KL, want.KL) || !same(r.Retention, want.Retention) || *r.Sigma != c.params.Utility.Sigma {
			t.Errorf("%s: report %s, want %+v", c.fields, r.raw, want.Report)
		}
		if p.Object != "aim.preview" || p.Model != "fake" || p.Usage.Prompt != 9 {
			t.Errorf("%s: %s of %s, usage %+v", c.fields, p.Object, p.Model, p.Usage)
		}
	}
}

func TestPreviewOfAPlainPrompt(t *testing.T) {
	s := start(t, options{})
	p := decode[previewed](t, s.do(t, "POST", previewPath, `{"model": "fake/plain", "prompt": [72, 101], "top_n": 3}`).ok(t).body)
	before, _ := s.rowsOf(t, sampler.Params{}, 72, 101)
	ids := make([]sampler.Token, len(before))
	for i := range ids {
		ids[i] = sampler.Token(i)
	}
	slices.SortStableFunc(ids, func(a, b sampler.Token) int { return cmp.Compare(before[b], before[a]) })
	for i, tok := range p.Tokens {
		if tok.ID != ids[i] || *tok.Before != *tok.After {
			t.Errorf("place %d: %+v, want token %d", i, tok, ids[i])
		}
	}
	if len(p.Tokens) != 3 {
		t.Errorf("%d tokens", len(p.Tokens))
	}
}

// TestPreviewOfImpossibleTokens: what modulation excludes has no place after it and comes last.
func TestPreviewOfImpossibleTokens(t *testing.T) {
	inf := float32(math.Inf(-1))
	w := &previewWire{model: fake, top: 3, rows: &bothRows{before: []float32{1, 4, 3, 2, inf}, after: []float32{1, inf, inf, 2, inf}}}
	whole, ok := w.whole(nil, extra{}).(previewWhole)
	if !ok {
		t.Fatal("no preview")
	}
	var ids []sampler.Token
	for _, tok := range whole.Tokens {
		ids = append(ids, tok.ID)
		if (tok.After == nil) != (tok.ID == 1 || tok.ID == 2) || tok.Before == nil {
			t.Errorf("token %d: before %v, after %v", tok.ID, tok.Before, tok.After)
		}
	}
	if !slices.Equal(ids, []sampler.Token{3, 0, 1, 2}) {
		t.Errorf("tokens %v", ids)
	}
}

func TestBadPreviews(t *testing.T) {
	s := start(t, options{sigma: 1})
	for _, c := range []struct {
		body, param, code string
		status            int
	}{
		{chatBody("x", `"top_n": 0`), "top_n", codeValue, 400},
		{chatBody("x", `"top_n": 101`), "top_n", codeValue, 400},
		{chatBody("x", `"top_n": "all"`), "top_n", codeType, 400},
		{chatBody("x", `"n": 2`), "n", codeValue, 400},
		{chatBody("x", `"stream": true`), "stream", codeValue, 400},
		{chatBody("x", `"prompt": "x"`), "prompt", codeValue, 400},
		{chatBody("x", `"aim": {"utility": {"sigma": -1}}`), "aim.utility.sigma", codeValue, 400},
		{chatBody("x", `"model": "fake/plain"`), "model", "no_chat_template", 400},
		{chatBody("x", `"model": "fake/imposed"`), "model", "report_not_allowed", 403},
		{`{"prompt": ["a", "b"]}`, "prompt", codeValue, 400},
		{`{}`, "messages", codeMissing, 400},
	} {
		s.do(t, "POST", previewPath, c.body).is(t, c.body, c.status, c.param, c.code)
	}
}
