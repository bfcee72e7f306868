package server

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestCompatibilityNamesTests: what docs/compatibility.md says is shown by a test, is.
func TestCompatibilityNamesTests(t *testing.T) {
	table, err := os.ReadFile(filepath.Join("..", "docs", "compatibility.md"))
	if err != nil {
		t.Fatal(err)
	}
	var sources strings.Builder
	for _, pattern := range []string{"*_test.go", "../llama/cpp/*_test.go", "../tests/e2e/*.py"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			sources.Write(text)
		}
	}
	named := regexp.MustCompile("`(Test[A-Za-z]+|test_[a-z_]+)`").FindAllStringSubmatch(string(table), -1)
	if len(named) < 40 {
		t.Errorf("only %d tests are named", len(named))
	}
	for _, m := range named {
		if !regexp.MustCompile(`(?m)^(func|def) ` + m[1] + `\(`).MatchString(sources.String()) {
			t.Errorf("there is no test %s", m[1])
		}
	}
	for row := range strings.Lines(string(table)) {
		if cells := strings.Split(row, "|"); len(cells) > 2 && strings.HasPrefix(strings.TrimSpace(cells[2]), "yes") && !strings.Contains(cells[2], "`") {
			t.Errorf("a yes without a test: %s", row)
		}
	}
}
