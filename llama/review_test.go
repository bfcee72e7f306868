package llama

import (
	"testing"

	"aim/sampler"
)

// What a Drafter's guesses were worth is remembered where it is looked for: by their confidence.
func TestReviewRemembersByConfidence(t *testing.T) {
	const sure, unsure = 0.995, 0.45
	var known chances
	for range 200 {
		d := drafting{ahead: []Guess{{7, sure}, {8, unsure}}, asked: true}
		st := &step{seq: &sequence{tokens: []sampler.Token{1, 7, 9}}, drafted: []Row{{Token: 7}, {Token: 8}}, chosen: 2}
		d.review(st, &known, 1, 1, true)
	}
	if got := known.of(confidenceClass(sure), 0.5, beforehandWeight); !(got > 0.85) {
		t.Errorf("sure guesses that were always right have the chance %g", got)
	}
	if got := known.of(confidenceClass(unsure), 0.5, beforehandWeight); !(got < 0.15) {
		t.Errorf("unsure guesses that were never right have the chance %g", got)
	}
}
