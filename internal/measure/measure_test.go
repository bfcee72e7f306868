package measure

import (
	"math"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

func at(ms int) time.Time { return noon.Add(time.Duration(ms) * time.Millisecond) }

func TestStages(t *testing.T) {
	var r Request
	r.Begin(at(0))
	r.Mark(Parse, at(2))
	r.Mark(Policy, at(3))
	r.Tokens(0, 1)
	r.Arrived(at(103))
	r.Tokens(0, 3)
	r.Tokens(1, 1)
	r.Arrived(at(123))
	r.Waited(20 * time.Millisecond)
	r.Waited(10 * time.Millisecond)
	r.Generated(at(130))
	r.End(at(140))
	want := []Stage{
		{Parse, at(0), at(2)},
		{Policy, at(2), at(3)},
		{Queue, at(3), at(23)},
		{Prompt, at(23), at(103)},
		{Decode, at(103), at(123)},
		{Write, at(123), at(140)},
	}
	if len(r.Stages) != len(want) {
		t.Fatalf("stages %v", r.Stages)
	}
	for i, s := range r.Stages {
		if s != want[i] {
			t.Errorf("stage %d is %v, want %v", i, s, want[i])
		}
	}
	if r.Gaps.Count() != 2 || !(math.Abs(r.Gaps.Sum-0.02) < 1e-9) || r.Gaps.Counts[3] != 2 { // 10 ms each
		t.Errorf("gaps %+v", r.Gaps)
	}
}

// TestStagesUnfinished: what is not known is left out, and no stage ends before it begins.
func TestStagesUnfinished(t *testing.T) {
	var left Request
	left.Begin(at(0))
	left.Mark(Parse, at(1))
	left.Tokens(2, 1)
	left.Arrived(at(5))
	left.Generated(at(6))
	left.End(at(7))
	if s := left.Stages; len(s) != 4 || s[1] != (Stage{Prompt, at(1), at(5)}) || left.Queued >= 0 {
		t.Errorf("stages of who left: %v", s)
	}
	var waiting Request
	waiting.Begin(at(0))
	waiting.Generated(at(4))
	waiting.End(at(5))
	if s := waiting.Stages; len(s) != 2 || s[0] != (Stage{Queue, at(0), at(4)}) {
		t.Errorf("stages of who never got a token: %v", s)
	}
	var slow Request // the choice that waited longest came after another's first token
	slow.Begin(at(0))
	slow.Tokens(0, 1)
	slow.Arrived(at(10))
	slow.Waited(time.Second)
	slow.Generated(at(20))
	for _, s := range slow.Stages {
		if s.To.Before(s.From) {
			t.Errorf("%v ends before it begins", s)
		}
	}
	var none Request
	none.Begin(at(0))
	none.End(at(1))
	if len(none.Stages) != 0 {
		t.Errorf("stages of a request without any: %v", none.Stages)
	}
}

func TestGaps(t *testing.T) {
	var a, b Gaps
	a.add(time.Millisecond, 3) // a bound belongs to its bucket
	a.add(time.Minute, 1)
	b.add(2*time.Millisecond, 2)
	a.Add(&b)
	if a.Counts[0] != 3 || a.Counts[1] != 2 || a.Counts[len(a.Counts)-1] != 1 || a.Count() != 6 || !(math.Abs(a.Sum-60.007) < 1e-9) {
		t.Errorf("%+v", a)
	}
}
