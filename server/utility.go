package server

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"

	"aim/sampler"
)

// Dial turns levels into σ: the calibration of a model. A level u in (0, 1] asks that the model's own best token stays best at
// the share u of all steps.
type Dial interface {
	// Sigma is the σ for a level, 0 for level 1. It may wait a while for the model to be measured, and fails with
	// [ErrCalibrating] where that takes longer, with the error of ctx, or with a [sampler.DomainError] of "utility.level" where
	// the level is out of reach.
	Sigma(ctx context.Context, level float64) (float64, error)
	// Level is the level of σ, where that is known without waiting.
	Level(sigma float64) (level float64, known bool)
}

// ErrCalibrating says that a model is being measured, and that levels will work later.
var ErrCalibrating = errors.New("the model is being calibrated")

// asked is the utility modulation that a request asks for: one of the two, or none.
type asked struct{ sigma, level *float64 }

// utility reads the utility modulation that a request asks for.
func (o *object) utility() (a asked) {
	sigma, level := o.number(fieldUtilitySigma), o.number(fieldLevel)
	o.closed()
	switch {
	case o.has(fieldUtilitySigma) && o.has(fieldLevel):
		o.failValue(fieldLevel, "cannot be combined with sigma, which it stands for")
	case o.has(fieldUtilitySigma):
		a.sigma = &sigma
	case o.has(fieldLevel):
		a.level = &level
	default:
		o.missing(fieldUtilitySigma, ", or "+o.param(fieldLevel))
	}
	return a
}

// sigma is the σ in force for a request. It is at least the imposed one: a request may only lower quality.
func (m *served) sigma(ctx context.Context, a asked) (float64, error) {
	switch {
	case a.level != nil:
		return m.sigmaOfLevel(ctx, *a.level)
	case a.sigma == nil:
		return m.Sigma, nil
	case *a.sigma < m.Sigma:
		return 0, m.imposed("sigma", *a.sigma, fmt.Sprintf("at least %v", m.Sigma))
	}
	return *a.sigma, nil
}

func (m *served) sigmaOfLevel(ctx context.Context, level float64) (float64, error) {
	switch {
	case m.Level > 0 && level == m.Level:
		return m.Sigma, nil
	case m.Level > 0 && level > m.Level:
		return 0, m.imposed("level", level, fmt.Sprintf("at most %v", m.Level))
	case level == 1 && m.Sigma == 0:
		return 0, nil
	case m.Dial == nil:
		return 0, invalid("aim.utility.level", codeUnsupported, "aim.utility.level is not supported for the model %s: it has no calibration", m.ID)
	}
	sigma, err := m.Dial.Sigma(ctx, level)
	if err != nil {
		return 0, err
	}
	if sigma < m.Sigma {
		bound := fmt.Sprintf("a sigma of at least %v", m.Sigma)
		if most, known := m.Dial.Level(m.Sigma); known {
			bound = fmt.Sprintf("at most %.4g", most)
		}
		return 0, m.imposed("level", level, bound)
	}
	return sigma, nil
}

const codeImposed = "utility_imposed"

// imposed refuses a utility better than the owner's.
func (m *served) imposed(name string, value float64, bound string) error {
	param := "aim.utility." + name
	return &apiError{
		status: http.StatusForbidden, kind: typePermission, param: param, code: codeImposed,
		message: fmt.Sprintf("%s is %v, the model %s imposes %s", param, value, m.ID, bound),
	}
}

// withoutBound is an error of imposed that does not tell what the owner imposes.
func withoutBound(err error) error {
	e := new(apiError)
	if !errors.As(err, &e) || e.code != codeImposed {
		return err
	}
	c := *e
	c.message = e.param + " asks for a better quality than the model has, which a request cannot; it can only lower it"
	return &c
}

// utility is the modulation in force for a request. Its key depends on the effective σ: two σ on one noise field would let a
// caller solve for the raw logits.
func (m *served) utility(r *record, a asked) (sampler.Utility, error) {
	sigma, err := m.sigma(r.ctx, a)
	if err != nil {
		if !r.grant.Admin {
			err = withoutBound(err)
		}
		return sampler.Utility{}, err
	}
	sigma = m.coarse(sigma)
	return sampler.Utility{Sigma: sigma, Key: m.Scope.Key(r.table.Secret, m.base(), sigma), Scope: m.Scope, EndNoise: m.EndNoise}, nil
}

// windowed refuses what would undo noise in the scope of a window, in which two prompts share their noise.
func (c *call) windowed(u sampler.Utility) error {
	if u.Sigma == 0 || u.Scope.Window == 0 {
		return nil
	}
	refuse := func(param, why string) error {
		return invalid(param, codeUnsupported, "%s is not supported by the model %s: its noise depends on the last %d tokens only, so that %s",
			param, c.model.ID, u.Scope.Window, why)
	}
	if c.give > 0 {
		return refuse("best_of", "the best of its answers would tell it")
	}
	if c.request.Params.Logprobs {
		return refuse("logprobs", "log-probabilities of two prompts with the same noise would tell it")
	}
	if c.report.on {
		return refuse("aim.report", "reports of two prompts with the same noise would tell it")
	}
	for _, p := range c.prompts {
		if p.echo != "" {
			return refuse("echo", "prompts are not evaluated for a caller")
		}
	}
	return nil
}

// coarse is the σ in force where a request may ask for sigma: itself on a model without an imposed one, elsewhere the next one of
// σ₀·2^(k/2), k = 0, 1, 2, …, from the imposed σ₀ on. Each σ has noise of its own, so that who could choose it freely would get any
// number of independent looks at one row and average the noise away. On this grid the variance doubles from one to the
// next: all of them together tell no more of a row than two looks at σ₀, since Σ 2^-k = 2.
func (m *served) coarse(sigma float64) float64 {
	if m.Sigma == 0 || sigma <= m.Sigma {
		return sigma
	}
	for k := 0; ; k++ {
		step := math.Ldexp(m.Sigma, k/2)
		if k%2 == 1 {
			step *= math.Sqrt2
		}
		if step = min(step, maxSigma); step >= sigma || step == maxSigma {
			return step
		}
	}
}
