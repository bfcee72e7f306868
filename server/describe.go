package server

import (
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"
)

// CurvePoint says which share of steps a model's best token stays best at some noise.
type CurvePoint struct {
	Sigma float64 `json:"sigma"`
	Level float64 `json:"level"`
}

// Curver is a [Dial] that knows its whole curve.
type Curver interface {
	// Curve is the curve in order of σ, nil where it is not measured yet. It does not wait.
	Curve() []CurvePoint
}

// description answers GET /v1/aim/models/{id}: what a request may ask of a model, for programs that show settings.
type description struct {
	ID          string       `json:"id"`
	Base        string       `json:"base,omitempty"`
	Description string       `json:"description,omitempty"`
	Policy      policyShown  `json:"policy"`
	Utility     utilityShown `json:"utility"`
	Curve       []CurvePoint `json:"curve"`
}

// policyShown is a Policy as clients see it; null is no bound.
type policyShown struct {
	Context    int                   `json:"context"`
	MaxTokens  *int                  `json:"max_tokens"`
	Bounds     map[string]boundShown `json:"bounds"`
	Defaults   map[string]any        `json:"defaults"`
	MaxFocus   float64               `json:"max_focus"`
	Spans      bool                  `json:"spans"`
	FocusNoise bool                  `json:"focus_noise"`
	Logprobs   bool                  `json:"logprobs"`
	Reports    bool                  `json:"reports"`
	Previews   bool                  `json:"previews"`
}

type boundShown struct {
	Min     *float64 `json:"min"`
	Max     *float64 `json:"max"`
	Allowed bool     `json:"allowed"`
}

// utilityShown says who sets utility. Sigma and Level are what is imposed, null where the caller is not to know.
type utilityShown struct {
	Imposed bool     `json:"imposed"`
	Allowed bool     `json:"allowed"`
	Sigma   *float64 `json:"sigma"`
	Level   *float64 `json:"level"`
}

// describe serves GET /v1/aim/models/{id}. It loads nothing.
func (s *Server) describe(c *gin.Context) {
	r := recordOf(c)
	e, err := r.find(strings.TrimPrefix(c.Param("id"), "/"))
	if err != nil {
		s.fail(c, err)
		return
	}
	r.table.mu.Lock()
	now := e.now
	r.table.mu.Unlock()
	d := description{ID: e.ID, Base: e.Base, Description: e.Description, Policy: e.shown(r)}
	d.Utility = utilityShown{Imposed: e.Sigma > 0 || e.Level > 0, Allowed: r.grant.LowerUtility}
	if now != nil {
		d.Utility.Imposed = now.Sigma > 0
		d.Policy.Previews = d.Policy.Previews && now.showsRaw()
		if r.grant.Admin || now.Sigma == 0 {
			d.Utility.Sigma, d.Utility.Level = &now.Sigma, now.level(asked{}, now.Sigma)
		}
		if curve, ok := now.Dial.(Curver); ok && (r.grant.Admin || r.grant.LowerUtility) {
			d.Curve = curve.Curve()
		}
	}
	writeJSON(c, http.StatusOK, d)
}

// shown is the entry's policy as the asker's grant leaves it.
func (e *entry) shown(r *record) policyShown {
	p := e.Model.Policy
	v := policyShown{
		Context: e.context(), Bounds: map[string]boundShown{}, Defaults: map[string]any{}, MaxFocus: 1, Spans: !p.NoSpans, FocusNoise: !p.NoFocusNoise,
		Logprobs: !p.NoLogprobs, Reports: !p.NoReports, Previews: !p.NoPreviews && !p.NoLogprobs,
	}
	if p.MaxTokens > 0 {
		v.MaxTokens = &p.MaxTokens
	}
	for _, bound := range []*float64{p.MaxFocus, r.grant.MaxFocus} {
		if bound != nil {
			v.MaxFocus = min(v.MaxFocus, *bound)
		}
	}
	for name, b := range p.Bounds {
		v.Bounds[name] = boundShown{b.Min, b.Max, !b.Never}
	}
	for name, raw := range p.Defaults {
		v.Defaults[name] = raw
	}
	return v
}
