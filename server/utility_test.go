package server

import (
	"context"
	"strings"
	"testing"
	"time"

	"aim/sampler"
)

// fakeDial has σ = (1-level)·10 down to level 0.2. Where asked is set, it tells of each question and waits for the answer.
type fakeDial struct {
	asked chan float64
	err   chan error
}

func (d *fakeDial) Sigma(ctx context.Context, level float64) (float64, error) {
	if d.asked != nil {
		d.asked <- level
		select {
		case err := <-d.err:
			if err != nil {
				return 0, err
			}
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	if level < 0.2 {
		return 0, &sampler.DomainError{Param: "utility.level", Value: level, Want: "in [0.2, 1]"}
	}
	return (1 - level) * 10, nil
}

func (d *fakeDial) Level(sigma float64) (float64, bool) { return 1 - sigma/10, d.asked == nil }

func TestLevelIsItsSigma(t *testing.T) {
	s := start(t, options{sigma: 5, level: 0.5, dial: &fakeDial{}})
	for _, c := range []struct{ model, level, sigma string }{
		{"fake", "1", "0"},
		{"fake", "0.75", "2.5"},
		{"fake/imposed", "0.5", "5"},
		{"fake/imposed", "0.25", "7.5"},
	} {
		ask := func(utility string) string {
			return s.ask(t, "x", `"model": "`+c.model+`", "temperature": 0, "max_tokens": 20, "aim": {"utility": `+utility+`}`).text(t)
		}
		if got, want := ask(`{"level": `+c.level+`}`), ask(`{"sigma": `+c.sigma+`}`); got != want {
			t.Errorf("%s at level %s: %q, at σ = %s: %q", c.model, c.level, got, c.sigma, want)
		}
		if got, want := s.ask(t, "x", `"model": "`+c.model+`", "temperature": 0, "max_tokens": 20`).text(t), ask(`{"level": `+c.level+`}`); c.level == "0.75" && got == want {
			t.Error("a level has no effect, so the test shows nothing")
		}
	}
}

// TestLevelOfAnImposedModel: a request may only lower quality, and is told so in the words it used.
func TestLevelOfAnImposedModel(t *testing.T) {
	for _, c := range []struct {
		name          string
		sigma, level  float64 // imposed
		asked         string
		param, answer string
	}{
		{"level over level", 5, 0.5, `{"level": 0.6}`, "aim.utility.level", "aim.utility.level is 0.6, the model fake/imposed imposes at most 0.5"},
		{"no modulation", 5, 0.5, `{"level": 1}`, "aim.utility.level", "imposes at most 0.5"},
		{"σ over level", 5, 0.5, `{"sigma": 4.9}`, "aim.utility.sigma", "aim.utility.sigma is 4.9, the model fake/imposed imposes at least 5"},
		{"level over σ", 5, 0, `{"level": 0.6}`, "aim.utility.level", "aim.utility.level is 0.6, the model fake/imposed imposes at most 0.5"},
		{"no modulation over σ", 5, 0, `{"level": 1}`, "aim.utility.level", "imposes at most 0.5"},
	} {
		s := start(t, options{sigma: c.sigma, level: c.level, dial: &fakeDial{}})
		r := s.ask(t, "x", `"model": "fake/imposed", "aim": {"utility": `+c.asked+`}`)
		r.is(t, c.name, 403, c.param, "utility_imposed")
		if e := failed(t, r.body); !strings.Contains(e.Message, c.answer) {
			t.Errorf("%s: %q, want %q", c.name, e.Message, c.answer)
		}
	}
}

func TestLevelErrors(t *testing.T) {
	s := start(t, options{dial: &fakeDial{}})
	for _, c := range []struct{ utility, param, code, message string }{
		{`{"level": 0}`, "aim.utility.level", codeValue, "is 0, must be in (0, 1]"},
		{`{"level": 1.01}`, "aim.utility.level", codeValue, "is 1.01, must be in (0, 1]"},
		{`{"level": -0.5}`, "aim.utility.level", codeValue, "must be in (0, 1]"},
		{`{"level": "high"}`, "aim.utility.level", codeType, "must be a number"},
		{`{"level": 0.9, "sigma": 0.5}`, "aim.utility.level", codeValue, "cannot be combined with sigma"},
		{`{"level": 0.1}`, "aim.utility.level", codeValue, "aim.utility.level is 0.1, must be in [0.2, 1]"},
	} {
		r := s.ask(t, "x", `"aim": {"utility": `+c.utility+`}`)
		r.is(t, c.utility, 400, c.param, c.code)
		if e := failed(t, r.body); !strings.Contains(e.Message, c.message) {
			t.Errorf("%s: %q, want %q", c.utility, e.Message, c.message)
		}
	}
}

func TestLevelWithoutCalibration(t *testing.T) {
	s := start(t, options{})
	s.ask(t, "x", `"aim": {"utility": {"level": 0.9}}`).is(t, "no dial", 400, "aim.utility.level", codeUnsupported)
	s.ask(t, "hello", `"aim": {"utility": {"level": 1}}`).ok(t)
}

// TestLevelWhileCalibrating: a request that cannot wait any longer is told when to come back, and others are not delayed.
func TestLevelWhileCalibrating(t *testing.T) {
	dial := &fakeDial{make(chan float64), make(chan error)}
	s := start(t, options{dial: dial})
	answered := make(chan response)
	go func() { answered <- s.ask(t, "x", `"aim": {"utility": {"level": 0.9}}`) }()
	if level := <-dial.asked; level != 0.9 {
		t.Errorf("asked for level %v", level)
	}
	if got := s.ask(t, "hello", "").text(t); got != answers["hello"] {
		t.Errorf("meanwhile: %q", got)
	}
	dial.err <- ErrCalibrating
	r := <-answered
	r.is(t, "calibrating", 503, "", "calibrating")
	if r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

// TestLeaveWhileCalibrating: who leaves is waited for no longer.
func TestLeaveWhileCalibrating(t *testing.T) {
	dial := &fakeDial{make(chan float64), make(chan error)}
	m := &served{Model: Model{ID: "m", Dial: dial}}
	ctx, leave := context.WithTimeout(t.Context(), time.Minute)
	level := 0.9
	failed := make(chan error)
	go func() {
		_, err := m.utility(&record{ctx: ctx, table: &table{}}, asked{level: &level})
		failed <- err
	}()
	<-dial.asked
	leave()
	if err := <-failed; asAPIError(err).status != statusGone {
		t.Errorf("got %v", err)
	}
}
