package calibrate

import (
	_ "embed" // the built-in prompts
	"fmt"
	"strings"
)

//go:embed prompts.txt
var builtIn string

// Prompts are the built-in prompts.
func Prompts() []string {
	prompts, err := ParsePrompts(builtIn)
	if err != nil {
		panic(err) // a test reads them, too
	}
	return prompts
}

// ParsePrompts reads one prompt from each line. Empty lines and those that begin with # are left out, and \n stands for a new
// line, \\ for a backslash.
func ParsePrompts(text string) ([]string, error) {
	var prompts []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		prompts = append(prompts, unescape.Replace(line))
	}
	if len(prompts) == 0 {
		return nil, fmt.Errorf("no prompts in it: want one a line")
	}
	return prompts, nil
}

var unescape = strings.NewReplacer(`\\`, `\`, `\n`, "\n")
