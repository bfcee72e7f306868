package jinja

import (
	"errors"
	"runtime"
	"strings"
	"testing"
)

func compile(t testing.TB, source string) *Template {
	t.Helper()
	tmpl, err := Compile(source)
	if err != nil {
		t.Fatal(err)
	}
	return tmpl
}

// TestBounds: a template that would take for ever, or all memory, ends with an error soon.
func TestBounds(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute under the race detector, and has one goroutine")
	}
	for name, source := range map[string]string{
		"a long range":          "{% for i in range(10**9) %}{% endfor %}",
		"nested loops":          "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}",
		"nested comprehensions": "{{ range(99999)|map('string')|list|map('list')|map('join')|list|join|list|map('upper')|list|length }}{% for a in range(9999) %}{{ range(99999)|list|length }}{% endfor %}",
		"a long string":         "{{ 'x' * 10**9 }}",
		"many long strings":     "{% for i in range(99999) %}{% set x = 'x' * 10**6 %}{% endfor %}",
		"a long list":           "{{ ([1] * 10**9)|length }}",
		"doubling":              "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
		"doubling a list":       "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
		"an exponential value":  "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
		"its JSON":              "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x|tojson }}",
		"its equality":          "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}",
		"a deep value":          "{% set ns = namespace(x=[1]) %}{% for i in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
		"a deep key":            "{% set ns = namespace(x=(1,)) %}{% for i in range(99999) %}{% set ns.x = (ns.x,) %}{% endfor %}{{ {ns.x: 1} }}",
		"an exponential key":    "{% set ns = namespace(x=(1,)) %}{% for i in range(99) %}{% set ns.x = (ns.x, ns.x) %}{% endfor %}{{ {ns.x: 1} }}",
		"a value in itself":     "{% set ns = namespace() %}{% set ns.x = ns %}{{ [ns] }}",
		"a recursive macro":     "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
		"a macro that branches": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(150) }}",
		"a recursive loop":      "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
		"a big number":          "{{ 10 ** 10 ** 10 }}",
		"squares":               "{% set ns = namespace(x=3) %}{% for i in range(99) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
		"wide formats":          "{{ '%999999999d' % 1 }}",
		"wide fields":           "{{ '{:999999999}'.format(1) }}",
		"many wide formats":     "{% for i in range(99999) %}{{ '%60000d' % 1 }}{% endfor %}",
		"a wide center":         "{{ 'x'|center(10**9) }}",
		"a wide zfill":          "{{ 'x'.zfill(10**9) }}",
		"a wide indent":         "{{ 'x'|indent(10**9) }}",
		"a wide JSON":           "{{ [1]|tojson(indent=10**9) }}",
		"a deep indent":         "{% set ns = namespace(x=[1]) %}{% for i in range(900) %}{% set ns.x = [ns.x] %}{% endfor %}{{ [ns.x]|tojson(indent='x' * 10**6) }}",
		"replacing":             "{% set ns = namespace(x='aa') %}{% for i in range(99) %}{% set ns.x = ns.x|replace('a', 'aaaa') %}{% endfor %}",
		"replacing nothing":     "{% set x = 'a' * 10**6 %}{% for i in range(99) %}{{ x|replace('', 'aaaaaaaaaaaa')|length }}{% endfor %}",
		"joining":               "{% set x = ['a' * 10**6] * 1000 %}{{ x|join|length }}",
		"batches":               "{{ [1]|batch(10**9, 1)|list|length }}",
		"slices":                "{{ [1]|slice(10**9)|list|length }}",
		"output":                "{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}",
		"searching":             "{% set x = 'a' * 10**7 %}{% for i in range(99999) %}{{ 'b' in x }}{% endfor %}",
		"counting":              "{% set x = 'a' * 10**7 %}{% for i in range(99999) %}{{ x|length }}{% endfor %}",
		"indexing":              "{% set x = 'é' * 10**6 %}{% for i in range(99999) %}{{ x[-1] }}{% endfor %}",
		"comparing":             "{% set x = 'a' * 10**7 %}{% set y = 'a' * (10**7 - 1) + 'b' %}{% for i in range(99999) %}{{ x < y }}{{ x == y }}{% endfor %}",
		"lower tests":           "{% set x = 'a' * 10**7 %}{% for i in range(99999) %}{{ x is lower }}{% endfor %}",
		"stripping":             "{% set x = ' ' * 10**7 %}{% for i in range(99999) %}{{ x|trim }}{% endfor %}",
		"sorting":               "{% set x = range(99999)|list %}{% for i in range(999) %}{{ x|sort|length }}{% endfor %}",
		"words":                 "{% set x = 'a ' * 10**6 %}{% for i in range(999) %}{{ x|wordcount }}{% endfor %}",
		"macros with arguments": "{% macro m() %}{{ m(*varargs, *varargs) }}{% endmacro %}{{ m(1) }}",
		"slices of strings":     "{% set x = 'a' * 10**7 %}{% for i in range(99999) %}{{ x[::10**7] }}{% endfor %}",
		"numbers as text":       "{% set x = 2 ** 13000 %}{% for i in range(99999) %}{{ x|string|length }}{% endfor %}",
		"text as numbers":       "{% set x = '9' * 4000 %}{% for i in range(99999) %}{{ x|int == 1 }}{% endfor %}",
		"rounding":              "{% for i in range(99999) %}{{ 1|round(-4000) }}{{ 1.5|round(300) }}{% endfor %}",
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			tmpl, err := Compile(source)
			if err == nil {
				_, err = tmpl.Render(nil, testLimits)
			}
			runtime.ReadMemStats(&after)
			var e *Error
			if err != nil && !errors.As(err, &e) {
				t.Fatalf("%v is no Error", err)
			}
			if err == nil {
				t.Logf("ends by itself")
			}
			if mb := (after.TotalAlloc - before.TotalAlloc) >> 20; mb > 2000 {
				t.Errorf("allocated %d MiB", mb)
			} else {
				t.Logf("%d MiB: %v", mb, err)
			}
		})
	}
}

// TestDeepSource: what nests too deep, or is too long, is an error and no stack overflow.
func TestDeepSource(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute under the race detector, and has one goroutine")
	}
	for _, source := range []string{
		"{{ " + strings.Repeat("(", 1<<18) + " }}",
		"{{ " + strings.Repeat("[", 1<<18) + " }}",
		"{{ " + strings.Repeat("not ", 1<<17) + "1 }}",
		"{{ " + strings.Repeat("-", 1<<18) + "1 }}",
		"{{ x" + strings.Repeat(".x", 1<<18) + " }}",
		"{{ x" + strings.Repeat("|e", 1<<18) + " }}",
		"{{ 1" + strings.Repeat("+1", 1<<18) + " }}",
		"{{ 1" + strings.Repeat(" if 1", 1<<16) + " }}",
		"{{ 1" + strings.Repeat(" if 1 else 1", 1<<15) + " }}",
		"{{ 1" + strings.Repeat(" and 1", 1<<15) + " }}",
		strings.Repeat("{% if 1 %}", 1<<15),
		strings.Repeat("{% for x in y %}", 1<<15),
		"{% set a = " + strings.Repeat("a,(", 1<<15) + " %}",
		strings.Repeat("x", maxSource+1),
	} {
		tmpl, err := Compile(source)
		if err == nil {
			_, err = tmpl.Render(nil, testLimits)
		}
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%.40q: %v", source, err)
		}
	}
}

// TestProvenance: what is done to a foreign string, and to the template's own beside it, keeps the two apart. The wanted text
// has foreign bytes in ⟨⟩.
func TestProvenance(t *testing.T) {
	vars := map[string]Value{"x": Foreign("ab cd"), "q": Foreign(`"<é`)}
	v, err := FromJSON([]byte(`{"k": ["v", 1], "n": 5}`))
	if err != nil {
		t.Fatal(err)
	}
	vars["d"] = v
	for source, want := range map[string]string{
		"{{ '(' + x + ')' }}":                               "(⟨ab cd⟩)",
		"{{ '(' ~ x ~ ')' }}":                               "(⟨ab cd⟩)",
		"{{ ('(' + x + ')')[1:-2] }}":                       "⟨ab c⟩",
		"{{ ('(' + x + ')')[::-1] }}":                       ")⟨dc ba⟩(",
		"{{ ('(' + x + ')')[0] }}{{ ('(' + x)[1] }}":        "(⟨a⟩",
		"{{ x.split(' ')|join('-') }}":                      "⟨ab⟩-⟨cd⟩",
		"{{ x.split() }}":                                   "[⟨'ab'⟩, ⟨'cd'⟩]",
		"{{ x|replace('b', 'B') }}":                         "⟨a⟩B⟨ cd⟩",
		"{{ 'a-b'|replace('-', x) }}":                       "a⟨ab cd⟩b",
		"{{ ('a' + x)|upper }}":                             "A⟨AB CD⟩",
		"{{ ('é' + x)|title }}":                             "É⟨ab Cd⟩",
		"{{ ('  ' + x + '  ')|trim }}":                      "⟨ab cd⟩",
		"{{ '%s:%5s|' % (x, 'y') }}":                        "⟨ab cd⟩:    y|",
		"{{ '{}-{:>7}'.format(x, x) }}":                     "⟨ab cd⟩-  ⟨ab cd⟩",
		"{{ x|tojson }}":                                    `⟨"ab cd"⟩`,
		"{{ {'a': x}|tojson }}":                             `{"a": ⟨"ab cd"⟩}`,
		"{{ d|tojson }}":                                    `⟨{"k": ["v", 1], "n": 5}⟩`,
		"{{ d }}":                                           `⟨{'k': ['v', 1], 'n': 5}⟩`,
		"{% for k, v in d|items %}{{ k }}{% endfor %}":      "⟨kn⟩",
		"{{ q|e }}":                                         "⟨&#34;&lt;é⟩",
		"{% for c in 'a' + x[:1] %}{{ c }},{% endfor %}":    "a,⟨a⟩,",
		"{% set y %}<{{ x }}>{% endset %}{{ y }}":           "<⟨ab cd⟩>",
		"{% macro m(a) %}<{{ a }}>{% endmacro %}{{ m(x) }}": "<⟨ab cd⟩>",
		"{{ x|indent(2, true) }}":                           "  ⟨ab cd⟩",
		"{{ x|center(9) }}|":                                "  ⟨ab cd⟩  |",
		"{{ (x ~ '|' ~ x)|truncate(9, leeway=0) }}":         "⟨ab⟩...",
		"{{ x * 2 }}{{ ('-' ~ x[:1]) * 2 }}":                "⟨ab cdab cd⟩-⟨a⟩-⟨a⟩",
		"{{ x|list|sort|join }}":                            "⟨ abcd⟩",
		"{{ [x, 'z']|map('upper')|join(',') }}":             "⟨AB CD⟩,Z",
		"{{ x == 'ab cd' }}{{ x|length }}{{ 'b' in x }}":    "True5True",
		"{{ x.partition(' ')|join('/') }}":                  "⟨ab⟩/⟨ ⟩/⟨cd⟩",
		"{{ x|wordwrap(2) }}":                               "⟨ab⟩\n⟨cd⟩",
		"{{ x|urlencode }}":                                 "⟨ab%20cd⟩",
	} {
		out, err := compile(t, source).Render(vars, testLimits)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		if got := marked(out); got != want {
			t.Errorf("%s: got %s, want %s", source, got, want)
		}
	}
}

func marked(s *Str) string {
	var b strings.Builder
	at := 0
	for _, f := range s.Foreign() {
		b.WriteString(s.s[at:f.From] + "⟨" + s.s[f.From:f.To] + "⟩")
		at = f.To
	}
	return b.String() + s.s[at:]
}

// FuzzTemplate: no template and no value is a panic, or more than the limits allow.
func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"{{ x|tojson(indent=2) }}", "{% for a, b in x %}{{ loop.index }}{% endfor %}", "{{ '%5.2f' % 3 }}", "{{ x[1:2:-1].y is z }}", "{%- raw -%}{% endraw %}", "{{ '{:>5}'.format(x) }}"} {
		f.Add(s, "text")
	}
	f.Fuzz(func(t *testing.T, source, x string) {
		defer func() {
			if p := recover(); p != nil {
				t.Fatalf("panic %v", p)
			}
		}()
		tmpl, err := Compile(source)
		if err != nil {
			return
		}
		_, err = tmpl.Render(map[string]Value{"x": Foreign(x)}, Limits{Steps: 1 << 16, Memory: 1 << 22, Output: 1 << 20})
		var e *Error
		if errors.As(err, &e) && e.Kind == RuntimeError && strings.Contains(e.Message, "runtime error") {
			t.Fatalf("a panic: %v", err)
		}
	})
}
