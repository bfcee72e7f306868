package config

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// plain is a file as a validator of JSON schema takes it.
func plain(t *testing.T, text string) any {
	t.Helper()
	b, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var x any
	if err := json.Unmarshal(b, &x); err != nil {
		t.Fatal(err)
	}
	return x
}

// FuzzParse holds that no file makes the parser panic or take long, and that what it accepts is printed so that it is accepted again.
func FuzzParse(f *testing.F) {
	f.Add(Example)
	for _, text := range []string{
		"", "version: 1", "version: 0\nvirtual_models: {a: {base: b, level: 1}}", "version: 1\nserver: &a {<<: *a}", "version: 1\nmodels:\n  a: {file: b}\nvirtual_models:\n- x",
		"version: 1\nmodels: {m: {file: \"a\\n#b\"}}\nvirtual_models: {v: {base: m, defaults: {x: [1.5, {y: ~}, .inf]}}}", "? a\n: b\n", "version: 1\r\nserver:\r\n  address: ':0'\r\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("aim.yaml", data, Options{})
		if err != nil {
			return
		}
		var b strings.Builder
		if err := c.Print(&b); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(b.String(), hidden) {
			return
		}
		again, err := Parse("printed.yaml", []byte(b.String()), Options{})
		if err != nil {
			t.Fatalf("%v\n%s", err, b.String())
		}
		if changes := Diff(c, again); len(changes) > 0 {
			t.Fatalf("%+v\n%s", changes, b.String())
		}
	})
}

// FuzzUpgrade holds that what was upgraded is of today.
func FuzzUpgrade(f *testing.F) {
	f.Add([]byte("version: 0\nvirtual_models:\n  a: {base: b, level: 1}\n  b:\n    sigma: 2 # x\n    base: c\n    noise_end: kept\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		out, _, err := Upgrade("aim.yaml", data)
		if err != nil {
			return
		}
		if _, notes, err := Upgrade("aim.yaml", out); err == nil && len(notes) > 0 {
			t.Fatalf("upgraded twice: %q", out)
		}
	})
}

// TestLoadReads has the errors of reading a file.
func TestLoadReads(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "none.yaml"), Options{}); !os.IsNotExist(err) {
		t.Error(err)
	}
}

// TestReference holds the table of docs/configuration.md to the types, and the example in it to the parser.
func TestReference(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "configuration.md")
	kept, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "-update -->\n", "<!-- the end"
	head, rest, _ := strings.Cut(string(kept), begin)
	_, tail, ok := strings.Cut(rest, end)
	if !ok {
		t.Fatal("the table has no end")
	}
	want := head + begin + Reference() + end + tail
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(kept) {
		t.Error("docs/configuration.md is not of today: run go test ./internal/config -run TestReference -update")
	}
	_, example, _ := strings.Cut(head, "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	if c := parsed(t, example); len(c.VirtualModels) != 2 {
		t.Errorf("the example is read as %+v", c)
	}
}
