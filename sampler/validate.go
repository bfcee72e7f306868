package sampler

import (
	"fmt"
	"maps"
	"slices"
)

// Validate returns a [DomainError] for the first parameter outside its domain, or nil. It is the one place where the
// domains are checked; New calls it.
func (p Params) Validate(vocab int) error {
	if vocab < 1 || vocab > maxVocab {
		return &DomainError{"vocab", vocab, fmt.Sprintf("in [1, %d]", maxVocab)}
	}
	for _, d := range []struct {
		param     string
		value     float64
		low, high float64
	}{
		{"temperature", p.Temperature, 0, 2},
		{"top_p", p.TopP, 0, 1},
		{"min_p", p.MinP, 0, 1},
		{"top_n_sigma", p.TopNSigma, 0, maxTopNSigma},
		{"typical_p", p.TypicalP, 0, 1},
		{"xtc_probability", p.XTCProbability, 0, 1},
		{"xtc_threshold", p.XTCThreshold, 0, 1},
		{"dynatemp_range", p.DynatempRange, 0, 2},
		{"dynatemp_exponent", p.DynatempExponent, 0, maxExponent},
		{"mirostat_tau", p.MirostatTau, 0, maxSurprise},
		{"mirostat_eta", p.MirostatEta, 0, 1},
		{"frequency_penalty", p.FrequencyPenalty, -2, 2},
		{"presence_penalty", p.PresencePenalty, -2, 2},
		{"repeat_penalty", p.RepeatPenalty, 0, 10},
		{"utility.sigma", p.Utility.Sigma, 0, maxSigma},
	} {
		if err := within(d.param, d.value, d.low, d.high); err != nil {
			return err
		}
	}
	switch {
	case p.TopK < 0:
		return &DomainError{"top_k", p.TopK, "at least 0"}
	case p.Mirostat != 0 && p.Mirostat != 2:
		return &DomainError{"mirostat", p.Mirostat, "0 or 2"}
	case p.MinTokens < 0:
		return &DomainError{"min_tokens", p.MinTokens, "at least 0"}
	case p.RepeatLastN < -1:
		return &DomainError{"repeat_last_n", p.RepeatLastN, "at least -1"}
	case p.Utility.Scope.Window < 0 || p.Utility.Scope.Window > maxWindow:
		return &DomainError{"utility.window", p.Utility.Scope.Window, fmt.Sprintf("in [0, %d]", maxWindow)}
	case p.Utility.EndNoise < EndModulated || p.Utility.EndNoise > EndKept:
		return &DomainError{"utility.end", int(p.Utility.EndNoise), "modulated, exempt or kept"}
	case p.Report && p.Utility.windowed():
		return &DomainError{"report", true, "false: under noise in a window, two rows would share it and their difference would show"}
	case p.Logprobs && p.Utility.windowed():
		return &DomainError{"logprobs", true, "false: under noise in a window, two rows would share it and their difference would show"}
	case p.TopLogprobs < 0 || p.TopLogprobs > maxTopLogprobs:
		return &DomainError{"top_logprobs", p.TopLogprobs, fmt.Sprintf("in [0, %d]", maxTopLogprobs)}
	case p.TopLogprobs > 0 && !p.Logprobs:
		return &DomainError{"top_logprobs", p.TopLogprobs, "0 unless logprobs is true"}
	}
	for _, list := range [][]Token{p.Utility.Pinned, p.Utility.End} {
		for _, t := range list {
			if err := validToken("utility.pinned", t, vocab); err != nil {
				return err
			}
		}
	}
	if err := validBias(p.Bias, vocab); err != nil {
		return err
	}
	if err := p.DRY.valid(vocab); err != nil {
		return err
	}
	for i := range p.Focus {
		if err := p.Focus[i].valid(fmt.Sprintf("focus[%d]", i), vocab); err != nil {
			return err
		}
	}
	return validSpans(p.Spans, vocab)
}

// windowed reports whether there is noise in a window.
func (u *Utility) windowed() bool { return u.Sigma > 0 && u.Scope.Window > 0 }

const (
	maxSigma       = 100
	maxTopNSigma   = 100
	maxExponent    = 100
	maxSurprise    = 100 // bits
	maxDRY         = 100
	maxWindow      = 1024
	maxBias        = 100
	maxTopLogprobs = 20
)

// within returns a DomainError unless low ≤ value ≤ high; NaN is in no interval.
func within(param string, value, low, high float64) error {
	if low <= value && value <= high {
		return nil
	}
	return &DomainError{param, value, fmt.Sprintf("in [%g, %g]", low, high)}
}

func validToken(param string, t Token, vocab int) error {
	if t >= 0 && int(t) < vocab {
		return nil
	}
	return &DomainError{param, t, fmt.Sprintf("a token in [0, %d]", vocab-1)}
}

// validBias looks at the tokens in ascending order, so that of several errors always the same one is reported.
func validBias(bias map[Token]float64, vocab int) error {
	const param = "logit_bias"
	for _, t := range slices.Sorted(maps.Keys(bias)) {
		if err := validToken(param, t, vocab); err != nil {
			return err
		}
		if err := within(param, bias[t], -maxBias, maxBias); err != nil {
			return err
		}
	}
	return nil
}

func (f *Focus) valid(name string, vocab int) error {
	if err := within(name+".sigma", f.Sigma, 0, maxSigma); err != nil {
		return err
	}
	if err := within(name+".strength", f.Strength, -1, 1); err != nil {
		return err
	}
	if f.Direction != Raise && f.Direction != Lower {
		return &DomainError{name + ".direction", int(f.Direction), "raise or lower"}
	}
	if f.Words != nil || f.Strength != 0 {
		return f.validDial(name)
	}
	if f.All {
		if len(f.Targets) > 0 {
			return &DomainError{name + ".tokens", f.Targets, "empty when all is true"}
		}
		return nil
	}
	if len(f.Targets) == 0 {
		return &DomainError{name + ".tokens", f.Targets, "at least one token"}
	}
	for _, word := range f.Targets {
		if len(word) == 0 {
			return &DomainError{name + ".tokens", word, "at least one token"}
		}
		for _, t := range word {
			if err := validToken(name+".tokens", t, vocab); err != nil {
				return err
			}
		}
	}
	return nil
}

// validDial is for an entry with a strength: it has words, and nothing of the other form.
func (f *Focus) validDial(name string) error {
	switch {
	case f.Words == nil:
		return &DomainError{name + ".strength", f.Strength, "0 without words"}
	case f.Sigma != 0:
		return &DomainError{name + ".sigma", f.Sigma, "0 with a strength"}
	case f.Direction != Raise:
		return &DomainError{name + ".direction", f.Direction, "raise with a strength: its sign is the direction"}
	case f.All || len(f.Targets) > 0:
		return &DomainError{name + ".tokens", f.Targets, "empty with a strength"}
	}
	return nil
}

func (d *DRY) valid(vocab int) error {
	if err := within("dry_multiplier", d.Multiplier, 0, maxDRY); err != nil {
		return err
	}
	if d.Base != 0 {
		if err := within("dry_base", d.Base, 1, maxDRY); err != nil {
			return err
		}
	}
	switch {
	case d.AllowedLength < 0:
		return &DomainError{"dry_allowed_length", d.AllowedLength, "at least 0"}
	case d.LastN < -1:
		return &DomainError{"dry_penalty_last_n", d.LastN, "at least -1"}
	}
	for _, b := range d.Breakers {
		if len(b) < 1 || len(b) > maxBreaker {
			return &DomainError{"dry_sequence_breakers", fmt.Sprintf("one of %d tokens", len(b)), fmt.Sprintf("of 1 to %d tokens each", maxBreaker)}
		}
		for _, t := range b {
			if err := validToken("dry_sequence_breakers", t, vocab); err != nil {
				return err
			}
		}
	}
	return nil
}
