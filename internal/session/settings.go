package session

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"aim/llama"
	"aim/sampler"
)

// Settings say how answers are generated.
type Settings struct {
	// System is the instruction before the first turn; empty for none.
	System string
	// Utility is the σ of utility modulation, in logits.
	Utility float64
	// Level in (0, 1] is the level of utility modulation: where it is not 0, it decides on Utility.
	Level float64
	// Focus are the words to raise or lower.
	Focus []Focus
	// Temperature and TopP are as in the API.
	Temperature, TopP float64
	// MaxTokens bounds an answer; 0 lets it run to the end of the context.
	MaxTokens int
	// Seed starts the draw and the focus noise of every answer; nil takes another one each time.
	Seed *uint64
}

// Focus raises a word by half-normal noise of the given σ, or lowers it where Sigma is negative; or it does either by Strength.
type Focus struct {
	// Text is a word, or "*" for all tokens. With a Strength it may be several words, apart by commas.
	Text  string
	Sigma float64
	// Strength is in [-1, 1]; 0 leaves it to Sigma.
	Strength float64
}

// all is the text of a Focus on all tokens.
const all = "*"

func (f Focus) String() string {
	switch {
	case f.Strength < 0:
		return fmt.Sprintf("%s taken out to %g%%", f.Text, -100*f.Strength)
	case f.Strength > 0:
		return fmt.Sprintf("%s brought in by %g%%", f.Text, 100*f.Strength)
	}
	if f.Sigma < 0 {
		return fmt.Sprintf("%s lowered by %g", f.Text, -f.Sigma)
	}
	return fmt.Sprintf("%s raised by %g", f.Text, f.Sigma)
}

// change alters the settings, unless they would be outside their domains.
func (s *Session) change(f func(*Settings)) error {
	next := s.settings
	next.Focus = slices.Clone(next.Focus)
	f(&next)
	if next.MaxTokens < 0 {
		return &sampler.DomainError{Param: "max_tokens", Value: next.MaxTokens, Want: "at least 0"}
	}
	if err := s.dial(&next); err != nil {
		return err
	}
	params, err := s.params(next)
	if err != nil {
		return err
	}
	if err := params.Validate(s.cfg.Engine.Model().Vocab()); err != nil {
		return err
	}
	s.settings = next
	return nil
}

// dial finds the σ for a level.
func (s *Session) dial(set *Settings) (err error) {
	switch {
	case set.Level == 0, set.Level == s.settings.Level && set.Utility == s.settings.Utility:
		return nil
	case !(set.Level > 0 && set.Level <= 1):
		return &sampler.DomainError{Param: "level", Value: set.Level, Want: "in (0, 1]"}
	case s.cfg.Sigma == nil:
		return errors.New("there is no calibration of this model, which a level needs")
	}
	set.Utility, err = s.cfg.Sigma(set.Level)
	return err
}

// params are the settings as the sampler takes them.
func (s *Session) params(set Settings) (sampler.Params, error) {
	seed := rand.Uint64()
	if set.Seed != nil {
		seed = *set.Seed
	}
	p := sampler.Params{
		Temperature: set.Temperature,
		TopP:        set.TopP,
		Seed:        seed,
		FocusKey:    sampler.FocusKey(seed),
		Utility:     sampler.Utility{Sigma: set.Utility, Key: sampler.UtilityKey(s.cfg.Secret, s.cfg.Name, set.Utility)},
	}
	for _, f := range set.Focus {
		target, err := s.target(f)
		if err != nil {
			return p, fmt.Errorf("focus on %q: %w", f.Text, err)
		}
		p.Focus = append(p.Focus, target)
	}
	return p, nil
}

// target turns a word into its tokens.
func (s *Session) target(f Focus) (sampler.Focus, error) {
	if f.Strength != 0 {
		words, err := s.cfg.Engine.Lexicon().Words(strings.Split(f.Text, ","))
		if err != nil {
			return sampler.Focus{}, err
		}
		return sampler.Focus{Words: words, Strength: f.Strength}, nil
	}
	target := sampler.Focus{Sigma: f.Sigma}
	if f.Sigma < 0 {
		target.Sigma, target.Direction = -f.Sigma, sampler.Lower
	}
	if f.Text == all {
		target.All = true
		return target, nil
	}
	var err error
	target.Targets, err = llama.Surfaces(s.cfg.Engine.Model(), f.Text)
	return target, err
}

// focus sets the σ or the strength of a word; 0 removes it.
func (set *Settings) focus(f Focus) {
	none := f.Sigma == 0 && f.Strength == 0
	at := slices.IndexFunc(set.Focus, func(have Focus) bool { return have.Text == f.Text })
	switch {
	case at < 0 && !none:
		set.Focus = append(set.Focus, f)
	case at >= 0 && !none:
		set.Focus[at] = f
	case at >= 0:
		set.Focus = slices.Delete(set.Focus, at, at+1)
	}
}

// String lists the settings, one a line.
func (set *Settings) String() string {
	var b strings.Builder
	line := func(name string, value any) { fmt.Fprintf(&b, "  %-12s %v\n", name, value) }
	or := func(value string, isSet bool) string {
		if isSet {
			return value
		}
		return "none"
	}
	utility := fmt.Sprintf("σ = %g", set.Utility)
	if set.Level != 0 {
		utility = fmt.Sprintf("level %g (σ = %.3g)", set.Level, set.Utility)
	}
	line("utility", utility)
	focus := make([]string, len(set.Focus))
	for i, f := range set.Focus {
		focus[i] = f.String()
	}
	line("focus", or(strings.Join(focus, ", "), len(focus) > 0))
	line("temperature", set.Temperature)
	line("top_p", or(fmt.Sprint(set.TopP), set.TopP != 0))
	line("max_tokens", or(fmt.Sprint(set.MaxTokens), set.MaxTokens != 0))
	seed := "another one for each answer"
	if set.Seed != nil {
		seed = fmt.Sprint(*set.Seed)
	}
	line("seed", seed)
	line("system", or(set.System, set.System != ""))
	return b.String()
}
