package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"aim/internal/config"
	"aim/llama/cpp"
)

// TestConfigFlags holds that every flag of serve has a place in the file, and the file's words are those of the flags.
func TestConfigFlags(t *testing.T) {
	have := config.Flags()
	// What says which file to read, or where to find help, has none.
	apart := []string{"config", "help"}
	newServe().Flags().VisitAll(func(f *pflag.Flag) {
		if !slices.Contains(have, f.Name) && !slices.Contains(apart, f.Name) {
			t.Errorf("--%s has no setting", f.Name)
		}
		have = slices.DeleteFunc(have, func(name string) bool { return name == f.Name })
	})
	if len(have) > 0 {
		t.Errorf("settings name flags that serve does not have: %s", strings.Join(have, ", "))
	}
	schema := string(config.Schema())
	for _, words := range [][]string{cpp.CacheTypes(), cpp.FlashAttentions(), cpp.NUMAs(), endNoises()} {
		list := `"` + strings.Join(words, `","`) + `"`
		if !strings.Contains(strings.Join(strings.Fields(schema), ""), list) {
			t.Errorf("the schema does not have the words %v", words)
		}
	}
	c := config.Single("m", "m.gguf")
	newServe().Flags().VisitAll(func(f *pflag.Flag) {
		if slices.Contains(config.Flags(), f.Name) && f.DefValue != "" && f.DefValue != "[]" && !strings.HasPrefix(f.Name, "control-") {
			if err := c.SetFlag(f.Name, f.DefValue); err != nil {
				t.Error(err)
			}
		}
	})
	for _, change := range config.Diff(config.Single("m", "m.gguf"), c) {
		// These are what the defaults of the flags come to.
		if !slices.Contains([]string{"models.m.compute.threads", "virtual_models.m.show.reports", "virtual_models.m.show.previews"}, change.Path) {
			t.Errorf("%s is %q by default, and its flag's default is %q", change.Path, change.Old, change.New)
		}
	}
}

// TestConfigCommands runs the commands on files.
func TestConfigCommands(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("AIM_MODELS", dir)
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	aim := func(args ...string) (string, error) {
		var out strings.Builder
		err := run(t.Context(), append([]string{"config"}, args...), streams{strings.NewReader("version: 1\n"), &out, &out})
		return out.String(), err
	}
	example, err := aim("example")
	if err != nil {
		t.Fatal(err)
	}
	path := write("aim.yaml", example)
	if out, err := aim("check", "--no-files", path); err != nil || !strings.Contains(out, "is fine: 1 base models, 2 virtual models") {
		t.Errorf("check: %q %v", out, err)
	}
	if _, err := aim("check", path); err == nil || !strings.Contains(err.Error(), "aim.yaml:") || !strings.Contains(err.Error(), "adapters/poet.gguf: no such file") {
		t.Errorf("check: %v", err)
	}
	if _, err := aim("check", write("bad.yaml", "version: 1\nsevrer: {}\nmemory: x\n")); err == nil || !strings.HasPrefix(err.Error(), "2 mistakes\n") || exitCode(err) != 1 {
		t.Errorf("check: %v", err)
	}
	if out, err := aim("print", "-"); err != nil || !strings.Contains(out, "# standard input:1") {
		t.Errorf("print: %q %v", out, err)
	}
	if out, err := aim("print", "--variables"); err != nil || !strings.Contains(out, "AIM_SERVER_ADDRESS") {
		t.Errorf("print: %q %v", out, err)
	}
	if out, err := aim("schema"); err != nil || !strings.HasPrefix(out, "{") {
		t.Errorf("schema: %q %v", out, err)
	}
	old := write("old.yaml", "version: 0\nmodels: {m: {file: m.gguf}}\nvirtual_models: {v: {base: m, level: 0.5}}\n")
	if out, err := aim("upgrade", "--print", old); err != nil || !strings.Contains(out, "utility: {level: 0.5}") {
		t.Errorf("upgrade: %q %v", out, err)
	}
	if out, err := aim("upgrade", old); err != nil || !strings.Contains(out, "is of version 1 now") {
		t.Errorf("upgrade: %q %v", out, err)
	}
	if kept, err := os.ReadFile(old + ".bak"); err != nil || !strings.HasPrefix(string(kept), "version: 0") {
		t.Errorf("%q %v", kept, err)
	}
	if out, err := aim("upgrade", old); err != nil || !strings.Contains(out, "already") {
		t.Errorf("upgrade: %q %v", out, err)
	}
}
