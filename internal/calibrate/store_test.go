package calibrate

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func record() Record {
	return Record{
		Model: "a/b: c", Key: Key("file", "template"), PromptSet: PromptSet([]string{"x"}),
		Curve: Curve{Points: []Point{{1, 0.5, 0.01}, {2, 0.25, 0.01}}, Prompts: 1, Answers: 1, Steps: 9, Drift: 1},
	}
}

func TestStore(t *testing.T) {
	s := Store{filepath.Join(t.TempDir(), "not yet")}
	want := record()
	if _, err := s.Load(want.Model, want.Key); !errors.Is(err, ErrNone) {
		t.Errorf("before anything is stored: %v", err)
	}
	path, err := s.Save(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Load(want.Model, want.Key)
	if err != nil {
		t.Fatal(err)
	}
	if got.Measured.IsZero() || time.Since(got.Measured) > time.Minute {
		t.Errorf("measured %v", got.Measured)
	}
	want.Version, want.Measured = version, got.Measured
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("got %+v, want %+v", *got, want)
	}
	for _, other := range []string{Key("file", "other"), Key("other", "template")} {
		if _, err := s.Load(want.Model, other); !errors.Is(err, ErrNone) {
			t.Errorf("another key: %v", err)
		}
	}
	left, err := filepath.Glob(filepath.Join(s.Dir, "*", "*"))
	if err != nil || len(left) != 1 || left[0] != path {
		t.Errorf("files %q, %v", left, err)
	}
}

// TestStoreRefusesDamage: what is damaged is told, what is stale is none.
func TestStoreRefusesDamage(t *testing.T) {
	s := Store{t.TempDir()}
	r := record()
	path, err := s.Save(r)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, content, want string }{
		{"cut", string(whole[:len(whole)/2]), "damaged"},
		{"empty", "", "damaged"},
		{"text", "hello", "damaged"},
		{"rising", strings.Replace(string(whole), "0.25", "0.75", 1), "damaged"},
		{"another model's", strings.Replace(string(whole), r.Key, Key("x", "y"), 1), "of another model"},
		{"another version", strings.Replace(string(whole), `"version": 1`, `"version": 0`, 1), ErrNone.Error()},
	} {
		if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Load(r.Model, r.Key); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %+v, %v, want %q", c.name, got, err, c.want)
		}
	}
	if _, err := s.Save(Record{Model: "m", Key: r.Key}); err == nil {
		t.Error("a calibration without points was stored")
	}
}

func TestStoreCannotWrite(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (Store{file}).Save(record()); err == nil {
		t.Error("stored below a file")
	}
}

// TestDigest: no two lists of texts share one.
func TestDigest(t *testing.T) {
	seen := map[string]bool{}
	for _, texts := range [][]string{{}, {""}, {"", ""}, {"ab"}, {"a", "b"}, {"b", "a"}, {"1:a"}} {
		if d := digest(texts...); seen[d] || len(d) != 32 {
			t.Errorf("%q has digest %s", texts, d)
		} else {
			seen[d] = true
		}
	}
}

// TestDialMeasuresOnce however many ask at once, and keeps what it has.
func TestDialMeasuresOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var measured atomic.Int32
		r := record()
		d := &Dial{Patience: time.Minute, Obtain: func(context.Context) (*Curve, error) {
			measured.Add(1)
			time.Sleep(10 * time.Second)
			return &r.Curve, nil
		}}
		if _, known := d.Level(1); known {
			t.Error("a level is known before anything was measured")
		}
		if sigma, err := d.Sigma(t.Context(), 1); sigma != 0 || err != nil || measured.Load() != 0 {
			t.Errorf("level 1: %g, %v, measured %d times", sigma, err, measured.Load())
		}
		var asking sync.WaitGroup
		for range 8 {
			asking.Go(func() {
				if sigma, err := d.Sigma(t.Context(), 0.5); sigma != 1 || err != nil {
					t.Errorf("σ = %g, %v", sigma, err)
				}
			})
		}
		asking.Wait()
		if _, err := d.Sigma(t.Context(), 0.1); err == nil {
			t.Error("a level out of reach: no error")
		}
		if level, known := d.Level(2); level != 0.25 || !known {
			t.Errorf("level %g, known %v", level, known)
		}
		if measured.Load() != 1 {
			t.Errorf("measured %d times", measured.Load())
		}
	})
}

// TestDialLosesPatience: who waits too long hears so, while the work goes on for those who come later.
func TestDialLosesPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record()
		d := &Dial{Patience: time.Second, Obtain: func(context.Context) (*Curve, error) {
			time.Sleep(3500 * time.Millisecond)
			return &r.Curve, nil
		}}
		for range 3 {
			if _, err := d.Sigma(t.Context(), 0.5); !errors.Is(err, ErrMeasuring) {
				t.Errorf("after a second: %v", err)
			}
		}
		ctx, leave := context.WithTimeout(t.Context(), time.Millisecond)
		defer leave()
		if _, err := d.Sigma(ctx, 0.5); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who leaves: %v", err)
		}
		if sigma, err := d.Sigma(t.Context(), 0.5); sigma != 1 || err != nil {
			t.Errorf("in the end: %g, %v", sigma, err)
		}
	})
}

// TestDialTriesAgain after a failure, which all hear of who waited or come soon after.
func TestDialTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken, tries := errors.New("broken"), 0
		r := record()
		d := &Dial{Obtain: func(context.Context) (*Curve, error) {
			if tries++; tries == 1 {
				time.Sleep(time.Second)
				return nil, broken
			}
			return &r.Curve, nil
		}}
		var asking sync.WaitGroup
		for range 2 {
			asking.Go(func() {
				if _, err := d.Sigma(t.Context(), 0.5); !errors.Is(err, broken) {
					t.Errorf("got %v", err)
				}
			})
		}
		asking.Wait()
		if _, err := d.Sigma(t.Context(), 0.5); !errors.Is(err, broken) || tries != 1 {
			t.Errorf("at once: %v, tries %d", err, tries)
		}
		time.Sleep(rest)
		if sigma, err := d.Sigma(t.Context(), 0.5); sigma != 1 || err != nil || tries != 2 {
			t.Errorf("the second time: %g, %v, tries %d", sigma, err, tries)
		}
	})
}
