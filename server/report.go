package server

import (
	"aim/llama"
	"aim/sampler"
)

// reportAsked is the field aim.report of a request: true, or {"tokens": true} for the steps one by one, too.
type reportAsked struct{ on, tokens bool }

func (o *object) report() (r reportAsked) {
	if typeOf(o.take(fieldReport)) == isObject {
		fields := o.object(fieldReport)
		r = reportAsked{on: true, tokens: fields.boolean(fieldReportTokens)}
		fields.closed()
		return r
	}
	r.on = o.boolean(fieldReport)
	return r
}

// aimField is the field aim of an answer: in a whole one beside the choices, in a stream in its last chunk.
type aimField struct {
	Report report `json:"report"`
}

// report says what modulation did to an answer. Its own figures are those of all choices together.
type report struct {
	dialSetting
	figures
	Choices []choiceReport `json:"choices"`
}

// dialSetting is the utility in force, null where it differs among choices, and where it is imposed and the asker does not administer the server.
type dialSetting struct {
	Sigma *float64 `json:"sigma"`
	// Level is null where σ was asked for and the model's calibration is not at hand.
	Level *float64 `json:"level"`
}

// figures are those of sampler.Report. What tells about raw rows is null where the request may not see it.
type figures struct {
	Steps     uint64   `json:"steps"`
	Flips     *uint64  `json:"flips"`
	Retention *float64 `json:"retention"`
	KL        *float64 `json:"kl"`
	Excluded  *float64 `json:"excluded"`
	Hits      uint64   `json:"hits"`
	Forced    uint64   `json:"forced"`
}

type choiceReport struct {
	Index int `json:"index"`
	dialSetting
	// Strength is that of a sweep's point, where it has one.
	Strength *float64 `json:"strength,omitempty"`
	figures
	Tokens []tokenReport `json:"tokens,omitempty"`
}

// tokenReport is a step.
type tokenReport struct {
	tokenName
	// Best is the model's own best token.
	Best      *tokenName `json:"best"`
	Flip      *bool      `json:"flip"`
	Retention *float64   `json:"retention"`
	KL        *float64   `json:"kl"`
	Excluded  *float64   `json:"excluded"`
	Hits      uint64     `json:"hits"`
	Forced    bool       `json:"forced"`
}

// tokenName is a token as in log-probabilities, and its id.
type tokenName struct {
	Token string `json:"token"`
	// Bytes are exact, and null for tokens without a text.
	Bytes []int         `json:"bytes"`
	ID    sampler.Token `json:"id"`
}

func nameToken(m llama.Model, t sampler.Token) tokenName {
	c := (&logprobs{model: m}).candidate(t, 0)
	return tokenName{c.Token, c.Bytes, t}
}

// reporter gathers the reports of a call's choices. Its methods do nothing where it is nil, because none was asked for.
type reporter struct {
	call    *call
	reports []*llama.Report
	missing int
}

func newReporter(c *call) *reporter {
	if !c.report.on {
		return nil
	}
	return &reporter{c, make([]*llama.Report, c.choices()), c.choices()}
}

// add takes what a choice's last delta brings.
func (r *reporter) add(i int, d llama.Delta) {
	if r != nil && d.Report != nil {
		r.reports[i] = d.Report
		r.missing--
	}
}

// keep leaves the reports of the given choices, in that order; nil leaves all.
func (r *reporter) keep(order []int) {
	if r == nil || order == nil {
		return
	}
	kept := make([]*llama.Report, len(order))
	for i, from := range order {
		kept[i] = r.reports[from]
	}
	r.reports = kept
}

// field is what the answer says, nil until the last choice has ended.
func (r *reporter) field() *aimField {
	if r == nil || r.missing > 0 {
		return nil
	}
	var total sampler.Report
	list := make([]choiceReport, len(r.reports))
	raw := r.call.model.showsRaw()
	for i, one := range r.reports {
		total.Merge(one.Report)
		list[i] = choiceReport{Index: i, dialSetting: r.call.setting(i), figures: newFigures(one.Report, raw)}
		if r.call.points != nil {
			list[i].Strength = r.call.points[i].strength
		}
		if r.call.report.tokens {
			for _, step := range one.Tokens {
				list[i].Tokens = append(list[i].Tokens, r.token(step, raw))
			}
		}
	}
	all := report{figures: newFigures(total, raw), Choices: list}
	if r.call.points == nil {
		all.dialSetting = list[0].dialSetting
	}
	return &aimField{all}
}

func newFigures(r sampler.Report, raw bool) figures {
	f := figures{Steps: r.Steps, Hits: r.Hits, Forced: r.Forced}
	if raw {
		f.Flips, f.Retention, f.KL, f.Excluded = &r.Flips, &r.Retention, &r.KL, &r.Excluded
	}
	return f
}

func (r *reporter) token(s sampler.Step, raw bool) tokenReport {
	m := r.call.model.Engine.Model()
	t := tokenReport{tokenName: nameToken(m, s.Token), Hits: s.Hits, Forced: s.Forced}
	if raw {
		best := nameToken(m, s.Best)
		t.Best, t.Flip, t.Retention, t.KL, t.Excluded = &best, &s.Flip, &s.Retention, &s.KL, &s.Excluded
	}
	return t
}

// setting is the utility in force for choice i, as far as the request may see it.
func (c *call) setting(i int) dialSetting {
	if !c.settingShown {
		return dialSetting{}
	}
	asked, sigma := c.utility, c.request.Params.Utility.Sigma
	if c.points != nil {
		p := c.points[i%len(c.points)]
		asked, sigma = p.asked, p.utility.Sigma
	}
	return dialSetting{&sigma, c.model.level(asked, sigma)}
}

// level is that of σ, nil where it is not known.
func (m *served) level(a asked, sigma float64) *float64 {
	level := 1.0
	switch {
	case sigma == 0:
	case m.Level > 0 && sigma == m.Sigma:
		level = m.Level
	case a.level != nil && m.Sigma == 0: // elsewhere σ is a coarse one
		level = *a.level
	default:
		if m.Dial == nil {
			return nil
		}
		var known bool
		if level, known = m.Dial.Level(sigma); !known {
			return nil
		}
	}
	return &level
}
