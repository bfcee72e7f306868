package server

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"testing"

	"aim/llama"
	"aim/sampler"
)

const (
	previewPath = "/v1/aim/preview"
	sweepPath   = "/v1/aim/sweep"
)

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
	whole, ok := w.whole(nil, usageField{}).(previewWhole)
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

// TestSweep: each point is answered as a request with that setting is, in every form.
func TestSweep(t *testing.T) {
	s := start(t, options{dial: &fakeDial{}})
	const fields = `"temperature": 0.8, "seed": 5, "max_tokens": 15`
	points := []string{`{"level": 1}`, `{"level": 0.75}`, `{"sigma": 0.5}`, `{"sigma": 6}`}
	sigmas := []float64{0, 2.5, 0.5, 6}
	for path, body := range map[string]string{chatPath: chatBody("x", fields+`%`), textPath: `{"prompt": "x", ` + fields + `%}`} {
		sweep := func(more string) response {
			return s.do(t, "POST", sweepPath, strings.Replace(body, "%", `, "levels": [1, 0.75], "sigmas": [0.5, 6]`+more, 1)).ok(t)
		}
		whole := sweep(``)
		streamed := assemble(t, sweep(`, "stream": true`))
		c, r := decode[completion](t, whole.body), reportOf(t, whole.body)
		if len(c.Choices) != 4 || len(r.Choices) != 4 || r.Sigma != nil || r.Level != nil {
			t.Fatalf("answer %s", whole.body)
		}
		texts := map[string]bool{}
		for i, p := range points {
			one := s.do(t, "POST", path, strings.Replace(body, "%", `, "aim": {"report": true, "utility": `+p+`}`, 1)).ok(t)
			want := one.text(t)
			texts[want] = true
			if got := c.Choices[i].Message.Content + c.Choices[i].Text; got != want || streamed.text[i] != want {
				t.Errorf("%s %s: %q, streamed %q, want %q", path, p, got, streamed.text[i], want)
			}
			got, alone := r.Choices[i], reportOf(t, one.body)
			if *got.Sigma != sigmas[i] || *got.Level != 1-sigmas[i]/10 || got.Steps != alone.Steps || *got.KL != *alone.KL || *got.Flips != *alone.Flips {
				t.Errorf("%s %s: %s, want %s", path, p, got.raw, alone.raw)
			}
		}
		if len(texts) < 3 {
			t.Errorf("%s: all points say the same, so the test shows nothing", path)
		}
	}
}

func TestBadSweeps(t *testing.T) {
	s := start(t, options{sigma: 2, level: 0.8, dial: &fakeDial{}, engine: llama.Config{Slots: 2, Context: 64, Batch: 64, Queue: 4}})
	for _, c := range []struct {
		fields, param, code string
		status              int
		says                string
	}{
		{``, "levels", codeMissing, 400, "levels is required, or sigmas"},
		{`"sigmas": []`, "levels", codeMissing, 400, "at least one"},
		{`"sigmas": 1`, "sigmas", codeType, 400, "must be an array"},
		{`"sigmas": [1, "2"]`, "sigmas[1]", codeType, 400, "must be a number"},
		{`"sigmas": [1, null]`, "sigmas[1]", codeType, 400, "not null"},
		{`"sigmas": [1, -1]`, "sigmas[1]", codeValue, 400, "sigmas[1] is -1, must be in [0, 100]"},
		{`"sigmas": [101]`, "sigmas[0]", codeValue, 400, "is 101"},
		{`"levels": [0]`, "levels[0]", codeValue, 400, "in (0, 1]"},
		{`"levels": [0.5, 1.1]`, "levels[1]", codeValue, 400, "is 1.1"},
		{`"levels": [0.5, 0.1]`, "levels[1]", codeValue, 400, "levels[1] is 0.1, must be in [0.2, 1]"},
		{`"sigmas": [` + strings.Repeat("1,", 16) + `1]`, "sigmas", codeValue, 400, "to 17, the most is 16"},
		{`"levels": [1, 1], "sigmas": [` + strings.Repeat("1,", 14) + `1]`, "sigmas", codeValue, 400, "to 17"},
		{`"sigmas": [1, 2, 3, 4, 5, 6, 7]`, "sigmas[6]", codeValue, 400, "the server can hold 6"},
		{`"sigmas": [1], "n": 2`, "n", codeValue, 400, "must be 1"},
		{`"sigmas": [1], "aim": {"utility": {"sigma": 1}}`, "aim.utility", codeValue, 400, "cannot be combined"},
		{`"sigmas": [2, 1], "model": "fake/imposed"`, "sigmas[1]", "utility_imposed", 403, "sigmas[1] is 1, the model fake/imposed imposes at least 2"},
		{`"levels": [0.9], "model": "fake/imposed"`, "levels[0]", "utility_imposed", 403, "at most 0.8"},
		{`"sigmas": [1], "top_p": 2`, "top_p", codeValue, 400, "in [0, 1]"},
	} {
		for _, stream := range []string{``, `, "stream": true`} {
			fields := c.fields + stream
			r := s.do(t, "POST", sweepPath, chatBody("x", strings.TrimPrefix(fields, ", ")))
			r.is(t, fields, c.status, c.param, c.code)
			if !strings.Contains(r.body, c.says) {
				t.Errorf("%s: %s does not say %q", fields, r.body, c.says)
			}
		}
	}
}
