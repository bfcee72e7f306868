package sampler

import (
	"errors"
	"math"
	"strings"
	"testing"
)

const testVocab = 100

// domain is a real parameter with its interval.
type domain struct {
	param     string
	low, high float64
	set       func(p *Params, v float64)
}

func domains() []domain {
	return []domain{
		{"temperature", 0, 2, func(p *Params, v float64) { p.Temperature = v }},
		{"top_p", 0, 1, func(p *Params, v float64) { p.TopP = v }},
		{"min_p", 0, 1, func(p *Params, v float64) { p.MinP = v }},
		{"top_n_sigma", 0, 100, func(p *Params, v float64) { p.TopNSigma = v }},
		{"typical_p", 0, 1, func(p *Params, v float64) { p.TypicalP = v }},
		{"xtc_probability", 0, 1, func(p *Params, v float64) { p.XTCProbability = v }},
		{"xtc_threshold", 0, 1, func(p *Params, v float64) { p.XTCThreshold = v }},
		{"dry_multiplier", 0, 100, func(p *Params, v float64) { p.DRY.Multiplier = v }},
		{"dry_base", 1, 100, func(p *Params, v float64) { p.DRY.Base = v }},
		{"dynatemp_range", 0, 2, func(p *Params, v float64) { p.DynatempRange = v }},
		{"dynatemp_exponent", 0, 100, func(p *Params, v float64) { p.DynatempExponent = v }},
		{"mirostat_tau", 0, 100, func(p *Params, v float64) { p.MirostatTau = v }},
		{"mirostat_eta", 0, 1, func(p *Params, v float64) { p.MirostatEta = v }},
		{"frequency_penalty", -2, 2, func(p *Params, v float64) { p.FrequencyPenalty = v }},
		{"presence_penalty", -2, 2, func(p *Params, v float64) { p.PresencePenalty = v }},
		{"repeat_penalty", 0, 10, func(p *Params, v float64) { p.RepeatPenalty = v }},
		{"logit_bias", -100, 100, func(p *Params, v float64) { p.Bias = map[Token]float64{0: 1, 7: v} }},
		{"utility.sigma", 0, 100, func(p *Params, v float64) { p.Utility.Sigma = v }},
		{"focus[1].sigma", 0, 100, func(p *Params, v float64) { p.Focus = []Focus{{All: true}, {All: true, Sigma: v}} }},
	}
}

func checkDomainError(t *testing.T, err error, param string) {
	t.Helper()
	var domainErr *DomainError
	if !errors.As(err, &domainErr) {
		t.Errorf("%s: error %v, want a DomainError", param, err)
		return
	}
	if domainErr.Param != param || domainErr.Want == "" || !strings.HasPrefix(err.Error(), param) {
		t.Errorf("%s: %+v", param, domainErr)
	}
}

func TestIntervals(t *testing.T) {
	for _, d := range domains() {
		for _, v := range []float64{d.low, d.high, (d.low + d.high) / 2} {
			var p Params
			d.set(&p, v)
			if _, err := New(p, testVocab); err != nil {
				t.Errorf("%s = %g: %v", d.param, v, err)
			}
		}
		for _, v := range []float64{
			math.Nextafter(d.low, -1000), math.Nextafter(d.high, 1000), math.NaN(), math.Inf(1), math.Inf(-1),
		} {
			var p Params
			d.set(&p, v)
			_, err := New(p, testVocab)
			checkDomainError(t, err, d.param)
		}
	}
}

func TestOtherDomains(t *testing.T) {
	for _, c := range []struct {
		param string
		p     Params
	}{
		{"top_k", Params{TopK: -1}},
		{"repeat_last_n", Params{RepeatLastN: -2}},
		{"mirostat", Params{Mirostat: 1}},
		{"mirostat", Params{Mirostat: -2}},
		{"min_tokens", Params{MinTokens: -1}},
		{"dry_allowed_length", Params{DRY: DRY{AllowedLength: -1}}},
		{"dry_penalty_last_n", Params{DRY: DRY{LastN: -2}}},
		{"dry_sequence_breakers", Params{DRY: DRY{Breakers: [][]Token{{1}, {}}}}},
		{"dry_sequence_breakers", Params{DRY: DRY{Breakers: [][]Token{make([]Token, maxBreaker+1)}}}},
		{"dry_sequence_breakers", Params{DRY: DRY{Breakers: [][]Token{{1, testVocab}}}}},
		{"top_logprobs", Params{Logprobs: true, TopLogprobs: 21}},
		{"top_logprobs", Params{Logprobs: true, TopLogprobs: -1}},
		{"top_logprobs", Params{TopLogprobs: 1}},
		{"logit_bias", Params{Bias: map[Token]float64{testVocab: 0}}},
		{"logit_bias", Params{Bias: map[Token]float64{-1: 0}}},
		{"focus[0].direction", Params{Focus: []Focus{{All: true, Direction: 2}}}},
		{"focus[0].tokens", Params{Focus: []Focus{{}}}},
		{"focus[0].tokens", Params{Focus: []Focus{{Targets: [][]Token{{1}, {}}}}}},
		{"focus[0].tokens", Params{Focus: []Focus{{All: true, Targets: [][]Token{{1}}}}}},
		{"focus[1].tokens", Params{Focus: []Focus{{All: true}, {Targets: [][]Token{{1}, {2, testVocab}}}}}},
		{"focus[0].tokens", Params{Focus: []Focus{{Targets: [][]Token{{-1}}}}}},
	} {
		checkDomainError(t, c.p.Validate(testVocab), c.param)
	}
	for _, vocab := range []int{-1, 0, maxVocab + 1} {
		checkDomainError(t, Params{}.Validate(vocab), "vocab")
	}
	if err := (Params{TopK: math.MaxInt, RepeatLastN: math.MaxInt, Logprobs: true, TopLogprobs: 20}).Validate(5); err != nil {
		t.Errorf("what exceeds the vocabulary is clipped, yet: %v", err)
	}
}
