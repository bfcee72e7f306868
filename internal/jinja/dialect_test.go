package jinja

import (
	"encoding/json"
	"errors"
	"os"
	"testing"
	"time"
)

var testLimits = Limits{Steps: 4 << 20, Memory: 128 << 20, Output: 32 << 20}

// dialect is testdata/dialect.json, which testdata/gen.py writes.
type dialect struct {
	Context map[string]json.RawMessage
	Cases   []struct {
		Template string
		// Expected is jinja2's output, Error the class of what it raised.
		Expected, Error string
	}
}

// TestDialect renders what Python's jinja2 rendered, and fails where it failed.
func TestDialect(t *testing.T) {
	data, err := os.ReadFile("testdata/dialect.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dialect
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	vars := map[string]Value{
		"raise_exception": NewFunc("raise_exception", func(args []Value) (Value, error) {
			if len(args) != 1 {
				return nil, errors.New("one argument")
			}
			return nil, &Error{Kind: Raised, Message: "raised"}
		}),
		"strftime_now": NewFunc("strftime_now", func(args []Value) (Value, error) {
			at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
			layouts := map[string]string{"%d %b %Y": "02 Jan 2006", "%Y-%m-%d": "2006-01-02", "%Y": "2006"}
			return Text(at.Format(layouts[args[0].(*Str).String()])), nil
		}),
	}
	for id, text := range d.Context {
		v, err := FromJSON(text)
		if err != nil {
			t.Fatal(err)
		}
		vars[id] = v
	}
	identical := 0
	for _, c := range d.Cases {
		var out *Str
		tmpl, err := Compile(c.Template)
		if err == nil {
			out, err = tmpl.Render(vars, testLimits)
		}
		var e *Error
		switch {
		case err != nil && !errors.As(err, &e):
			t.Errorf("%q: error %v is no Error", c.Template, err)
		case err != nil && c.Error == "":
			t.Errorf("%q: got error %v, want %q", c.Template, err, c.Expected)
		case err == nil && c.Error != "":
			t.Errorf("%q: got %q, want error %s", c.Template, out.String(), c.Error)
		case err == nil && out.String() != c.Expected:
			t.Errorf("%q:\n got %q\nwant %q", c.Template, out.String(), c.Expected)
		default:
			identical++
		}
	}
	t.Logf("%d of %d identical", identical, len(d.Cases))
}
