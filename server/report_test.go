package server

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"aim/llama"
	"aim/sampler"
)

// reported is a report as clients read it. Fields that are null, and those that are not there, differ.
type reported struct {
	Sigma, Level *float64
	Steps        uint64
	Flips        *uint64
	Retention    *float64
	KL           *float64
	Excluded     *float64
	Hits, Forced uint64
	Index        int
	Choices      []reported
	Tokens       []reportedToken
	raw          json.RawMessage
}

type reportedToken struct {
	Token     string
	ID        sampler.Token
	Bytes     []int
	Best      *struct{ ID sampler.Token }
	Flip      *bool
	Retention *float64
	KL        *float64
	Excluded  *float64
	Hits      uint64
	Forced    bool
}

// UnmarshalJSON keeps the text, too.
func (r *reported) UnmarshalJSON(data []byte) error {
	type plain reported
	err := json.Unmarshal(data, (*plain)(r))
	r.raw = slices.Clone(data)
	return err
}

// reportOf reads the report of a whole answer or of a chunk.
func reportOf(t testing.TB, body string) reported {
	t.Helper()
	a := decode[struct{ Aim *struct{ Report *reported } }](t, body)
	if a.Aim == nil || a.Aim.Report == nil {
		t.Fatalf("no report in %s", body)
	}
	return *a.Aim.Report
}

// direct is the report of what the engine says by itself to the chat prompt x.
func (s *site) direct(t testing.TB, maxTokens int, p sampler.Params) *llama.Report {
	t.Helper()
	p.Report = true
	prompt, err := fake.Tokenize([]llama.Part{{Text: "[user]x"}, {Text: marker, Trusted: true}}, true)
	if err != nil {
		t.Fatal(err)
	}
	var r *llama.Report
	for d, err := range s.engine.Generate(t.Context(), llama.Request{Prompt: prompt, MaxTokens: maxTokens, Params: p}) {
		if err != nil {
			t.Fatal(err)
		}
		r = d.Report
	}
	return r
}

func same(got *float64, want float64) bool {
	return got != nil && math.Abs(*got-want) <= 1e-12*(1+math.Abs(want))
}

// TestReport: it says what the engine says, once for all choices and once for each, token by token where that is asked for.
func TestReport(t *testing.T) {
	s := start(t, options{})
	const sigma, n = 2.5, 20
	want := s.direct(t, n, sampler.Params{Utility: sampler.Utility{Sigma: sigma, Key: sampler.UtilityKey([]byte("of the tests"), "fake", sigma)}})
	if want.Flips == 0 || want.KL == 0 || want.Retention == 1 {
		t.Fatalf("the report %+v shows nothing", want.Report)
	}
	const fields = `"temperature": 0, "max_tokens": 20, "aim": {"utility": {"sigma": 2.5}, "report": `
	whole := s.ask(t, "x", fields+`{"tokens": true}}`).ok(t)
	r := reportOf(t, whole.body)
	for _, got := range []reported{r, r.Choices[0]} {
		if got.Steps != n || *got.Flips != want.Flips || got.Hits != want.Hits || got.Forced != want.Forced || *got.Sigma != sigma || got.Level != nil {
			t.Errorf("report %s, want %+v", got.raw, want.Report)
		}
		if !same(got.Retention, want.Retention) || !same(got.KL, want.KL) || !same(got.Excluded, want.Excluded) {
			t.Errorf("report %s, want %+v", got.raw, want.Report)
		}
	}
	if len(r.Choices) != 1 || len(r.Choices[0].Tokens) != n {
		t.Fatalf("%d choices, %d tokens", len(r.Choices), len(r.Choices[0].Tokens))
	}
	var text []byte
	for i, tok := range r.Choices[0].Tokens {
		step := want.Tokens[i]
		for _, b := range tok.Bytes {
			text = append(text, byte(b))
		}
		if tok.ID != step.Token || tok.Best.ID != step.Best || *tok.Flip != step.Flip || !same(tok.Retention, step.Retention) || !same(tok.KL, step.KL) {
			t.Errorf("token %d: %+v, want %+v", i, tok, step)
		}
	}
	if got := whole.text(t); got != validUTF8(text) {
		t.Errorf("the tokens of the report spell %q, the text is %q", text, got)
	}
	if r := reportOf(t, s.ask(t, "x", fields+`true}`).ok(t).body); r.Choices[0].Tokens != nil || r.Steps != n {
		t.Errorf("without asking for tokens: %s", r.raw)
	}
	for _, off := range []string{"false", "null"} {
		if body := s.ask(t, "x", fields+off+`}`).ok(t).body; strings.Contains(body, "retention") || strings.Contains(body, `"aim"`) {
			t.Errorf("report: %s: %s", off, body)
		}
	}
}

// TestReportsOfSeveralChoices: their sums and means are those of all steps, whichever endpoint and however sent. In streams the
// report is in the last chunk and nowhere else.
func TestReportsOfSeveralChoices(t *testing.T) {
	s := start(t, options{})
	const fields = `"temperature": 1, "seed": 4, "n": 3, "max_tokens": 12, "aim": {"utility": {"sigma": 1.5}, "report": true}`
	for path, body := range map[string]string{
		chatPath: chatBody("x", fields+`%`),
		textPath: `{"prompt": ["a", "hello<|ctl|>"], ` + fields + `%}`,
	} {
		whole := reportOf(t, s.do(t, "POST", path, strings.Replace(body, "%", "", 1)).ok(t).body)
		var steps, flips uint64
		var kl, retention float64
		for i, c := range whole.Choices {
			if c.Index != i || *c.Sigma != 1.5 {
				t.Errorf("%s: choice %d is %s", path, i, c.raw)
			}
			steps += c.Steps
			flips += *c.Flips
			kl += *c.KL * float64(c.Steps)
			retention += *c.Retention * float64(c.Steps)
		}
		if whole.Steps != steps || *whole.Flips != flips || !same(whole.KL, kl/float64(steps)) || !same(whole.Retention, retention/float64(steps)) {
			t.Errorf("%s: %s does not sum up its choices", path, whole.raw)
		}
		for _, more := range []string{`, "stream": true`, `, "stream": true, "stream_options": {"include_usage": true}`} {
			r := s.do(t, "POST", path, strings.Replace(body, "%", more, 1)).ok(t)
			assemble(t, r)
			chunks := events(t, r.body)
			last := len(chunks) - 2 // before [DONE]
			if got := reportOf(t, chunks[last]); string(got.raw) != string(whole.raw) {
				t.Errorf("%s%s: streamed %s, whole %s", path, more, got.raw, whole.raw)
			}
			if n := strings.Count(r.body, `"aim"`); n != 1 {
				t.Errorf("%s%s: %d reports", path, more, n)
			}
		}
	}
}

// TestReportHidesRawRows: where utility is imposed, no figure that tells about raw rows is shown, in no form, unless the owner
// allows it; those about focus are.
func TestReportHidesRawRows(t *testing.T) {
	secret := []string{"flips", "retention", "kl", "excluded", "best", "flip"}
	for _, allowed := range []bool{false, true} {
		s := start(t, options{sigma: 2, report: allowed})
		const fields = `"model": "fake/imposed", "max_tokens": 8, "aim": {"report": {"tokens": true}, "focus": [{"text": "a", "sigma": 30}]}`
		stream := s.ask(t, "x", fields+`, "stream": true`).ok(t)
		chunks := events(t, stream.body)
		sweep := s.do(t, "POST", sweepPath, chatBody("x", fields+`, "sigmas": [2, 3]`)).ok(t).body
		for _, body := range []string{s.ask(t, "x", fields).ok(t).body, chunks[len(chunks)-2], sweep} {
			r := reportOf(t, body)
			if r.Steps < 8 || len(r.Choices[0].Tokens) != 8 {
				t.Errorf("report %s", r.raw)
			}
			for _, name := range secret {
				shown := 0
				for _, after := range strings.SplitAfter(string(r.raw), `"`+name+`":`)[1:] {
					if !strings.HasPrefix(after, "null") {
						shown++
					}
				}
				if !strings.Contains(string(r.raw), `"`+name+`":`) {
					t.Errorf("no %s in %s, so the test shows nothing", name, r.raw)
				}
				if (shown > 0) != allowed {
					t.Errorf("allowed %v, but %s is shown %d times: %s", allowed, name, shown, r.raw)
				}
			}
		}
		preview := s.do(t, "POST", previewPath, chatBody("x", `"model": "fake/imposed"`))
		if allowed {
			preview.ok(t)
		} else {
			preview.is(t, "preview", 403, "model", "report_not_allowed")
			if strings.Contains(preview.body, "logit") {
				t.Errorf("a refused preview says %s", preview.body)
			}
		}
	}
}

// TestReportTellsTheLevel: what was asked for, else what the calibration says without waiting.
func TestReportTellsTheLevel(t *testing.T) {
	for _, c := range []struct {
		dial    Dial
		utility string
		sigma   float64
		level   float64 // NaN for null
	}{
		{&fakeDial{}, `"utility": {"level": 0.75}`, 2.5, 0.75},
		{&fakeDial{}, `"utility": {"sigma": 2}`, 2, 0.8},
		{&fakeDial{}, `"utility": null`, 0, 1},
		{nil, `"utility": {"sigma": 2}`, 2, math.NaN()},
		{nil, `"utility": {"sigma": 0}`, 0, 1},
	} {
		s := start(t, options{dial: c.dial})
		r := reportOf(t, s.ask(t, "hello", `"aim": {"report": true, `+c.utility+`}`).ok(t).body)
		if *r.Sigma != c.sigma || (r.Level == nil) != math.IsNaN(c.level) || r.Level != nil && *r.Level != c.level {
			t.Errorf("%s: %s, want σ = %g, level %g", c.utility, r.raw, c.sigma, c.level)
		}
	}
	s := start(t, options{sigma: 5, level: 0.5})
	if r := reportOf(t, s.ask(t, "hello", `"model": "fake/imposed", "aim": {"report": true}`).ok(t).body); *r.Level != 0.5 || *r.Sigma != 5 {
		t.Errorf("imposed: %s", r.raw)
	}
}

// TestCountsAreLoggedAndKept: the owner sees flips and hits in the log, and the engine's counters go by model.
func TestCountsAreLoggedAndKept(t *testing.T) {
	s := start(t, options{sigma: 2.5})
	s.ask(t, "x", `"model": "fake/imposed", "temperature": 0, "max_tokens": 20`).ok(t)
	s.ask(t, "x", `"temperature": 0, "max_tokens": 7, "n": 2`).ok(t)
	eventually(t, "two lines", func() bool { return len(s.lines(t)) == 2 })
	counters := s.engine.Counters()
	imposed, plain := counters["fake/imposed"], counters["fake"]
	if imposed.Steps != 20 || imposed.Flips == 0 || plain.Steps != 14 || plain.Flips != 0 {
		t.Errorf("counters %+v", counters)
	}
	if line := s.lines(t)[0]; line["flips"] != float64(imposed.Flips) || line["hits"] != 0.0 {
		t.Errorf("log %v, counters %+v", line, imposed)
	}
}

// TestWindowRefusesReports: where two prompts may share their noise, nothing but text is told about rows, whoever asks.
func TestWindowRefusesReports(t *testing.T) {
	s := start(t, options{sigma: 1, report: true, scope: sampler.Scope{Window: 4}})
	const model = `"model": "fake/imposed"`
	for _, c := range []struct{ path, body, param string }{
		{chatPath, chatBody("x", model+`, "aim": {"report": true}`), "aim.report"},
		{chatPath, chatBody("x", model+`, "aim": {"report": {"tokens": true}}, "stream": true`), "aim.report"},
		{textPath, `{"prompt": "x", ` + model + `, "aim": {"report": true}}`, "aim.report"},
		{chatPath, chatBody("x", model+`, "logprobs": true`), "logprobs"},
		{previewPath, chatBody("x", model), "aim.report"},
		{sweepPath, chatBody("x", model+`, "sigmas": [2, 3]`), "aim.report"},
	} {
		r := s.do(t, "POST", c.path, c.body)
		r.is(t, c.path+" "+c.body, 400, c.param, codeUnsupported)
		if !strings.Contains(r.body, "last 4 tokens") {
			t.Errorf("%s does not give the reason", r.body)
		}
	}
	if text := s.ask(t, "hello", model+`, "aim": {"report": false}`).text(t); text == "" {
		t.Error("an empty answer")
	}
}
