package server

import (
	"strings"
	"testing"

	"aim/llama"
)

const sweepPath = "/v1/aim/sweep"

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
		{``, "levels", codeMissing, 400, "levels is required, or sigmas or strengths"},
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
		{`"strengths": [1.5]`, "strengths[0]", codeValue, 400, "is 1.5, must be in [-1, 1]"},
		{`"strengths": [0.5]`, "strengths[0]", codeValue, 400, "needs entries of aim.focus with a strength"},
		{`"strengths": [0.5], "aim": {"focus": [{"text": "a", "sigma": 1}]}`, "strengths[0]", codeValue, 400, "with a strength"},
		{`"strengths": [0.5], "aim": {"focus": [{"span": "x", "strength": -1}]}`, "strengths[0]", codeValue, 400, "must be above 0"},
		{`"sigmas": [1], "strengths": [1, "a"]`, "strengths[1]", codeType, 400, "must be a number"},
		{`"strengths": [1], "model": "fake/imposed", "aim": {"utility": {"sigma": 1}, "focus": [{"text": "a", "strength": 1}]}`, "aim.utility.sigma", "utility_imposed", 403, "at least 2"},
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

// TestSweepOfStrengths: each point is answered as the request with that strength is, with the utility of the request.
func TestSweepOfStrengths(t *testing.T) {
	s := start(t, options{})
	for _, entry := range []string{`{"text": "water", "strength": %}`, `{"span": "x", "strength": %}`} {
		for _, more := range []string{``, `, "seed": 9`} {
			request := func(strength, fields string) string {
				return chatBody("x", `"temperature": 0, "max_tokens": 24`+more+fields+
					`, "aim": {"report": true, "utility": {"sigma": 1}, "focus": [`+strings.Replace(entry, "%", strength, 1)+`]}`)
			}
			body := s.do(t, "POST", sweepPath, request("1", `, "strengths": [-1, 0.5, 1]`)).ok(t).body
			c, r := decode[completion](t, body), reportOf(t, body)
			texts := map[string]bool{}
			for i, strength := range []string{"-1", "0.5", "1"} {
				one := s.do(t, "POST", chatPath, request(strength, "")).ok(t)
				want, alone := one.text(t), reportOf(t, one.body)
				texts[want] = true
				got := r.Choices[i]
				if c.Choices[i].Message.Content != want || *got.KL != *alone.KL || got.Hits != alone.Hits || *got.Sigma != 1 {
					t.Errorf("%s at %s: %q, %s; want %q, %s", entry, strength, c.Choices[i].Message.Content, got.raw, want, alone.raw)
				}
				if !strings.Contains(string(got.raw), `"strength":`+strength) {
					t.Errorf("%s at %s: %s does not tell the strength", entry, strength, got.raw)
				}
			}
			if len(texts) < 2 {
				t.Errorf("%s: all points say the same, so the test shows nothing", entry)
			}
		}
	}
}
