package bench

import (
	"strings"
	"testing"
)

func TestPromptsAreTheSameForever(t *testing.T) {
	p := Prompts{Seed: 1}
	if a, b := p.Text(50, "distinct", 0, 1), p.Text(50, "distinct", 0, 1); a != b {
		t.Errorf("%q and then %q", a, b)
	}
	// Figures of different versions are comparable only where the prompts are the same.
	if got, want := p.Text(8, "distinct", 0, 1), "doctor gas make along follow five miss stone"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPromptsDifferFromTheStart(t *testing.T) {
	seen := map[string]bool{}
	for _, seed := range []uint64{0, 1, 2} {
		for _, load := range []string{"distinct", "shared", "1", "11"} {
			for round := range 5 {
				for client := range 16 {
					words := strings.Fields(Prompts{Seed: seed}.Text(20, load, round, client))
					start := strings.Join(words[:4], " ")
					if seen[start] {
						t.Errorf("two prompts begin with %q", start)
					}
					seen[start] = true
				}
			}
		}
	}
}

func TestPromptsHaveTheirLength(t *testing.T) {
	for _, c := range []struct {
		tokens int
		ratio  float64
		words  int
	}{{1, 0, 1}, {0, 0, 1}, {208, 0, 208}, {208, 0.5, 104}, {1500, 0.9, 1350}} {
		text := Prompts{WordsPerToken: c.ratio}.Text(c.tokens, "x")
		if got := len(strings.Fields(text)); got != c.words {
			t.Errorf("%d tokens at %g words a token: %d words, want %d", c.tokens, c.ratio, got, c.words)
		}
	}
}
