package server

import (
	"errors"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"aim/llama"
	"aim/sampler"
)

// sweep serves POST /v1/aim/sweep: the same prompt at several settings of a dial, side by side in the engine's batches. Its
// answer is that of the endpoint whose request it extends, with a choice for each point; the report says which is which.
func (s *Server) sweep(c *gin.Context) { s.complete(c, s.parseSweep) }

// point is a setting of the utility dial or of focus.
type point struct {
	// param is where the request has it, e.g. "levels[1]".
	param string
	asked asked
	// strength takes the place of all strengths in aim.focus; nil leaves them.
	strength *float64
	// utility is what is in force, set by impose.
	utility sampler.Utility
}

// parseSweep reads a request of one of the other endpoints, with levels, sigmas, strengths or several of them.
func (s *Server) parseSweep(o *object) (*call, error) {
	points := o.points()
	c, remake, err := s.parseEither(o)
	if err != nil {
		return nil, err
	}
	if err := c.single("a sweep, which has a choice for each point"); err != nil {
		return nil, err
	}
	if err := c.settle(points); err != nil {
		return nil, err
	}
	params, cfg := c.request.Params, c.model.Engine.Config()
	for _, p := range points {
		if p.asked.sigma == nil {
			continue
		}
		params.Utility.Sigma = *p.asked.sigma
		if err := params.Validate(c.model.Engine.Model().Vocab()); err != nil {
			return nil, p.named(err)
		}
	}
	if most := (cfg.Slots + cfg.Queue) / c.width(); len(points) > most {
		return nil, invalid(points[most].param, codeValue, "the request asks for %d answers, the server can hold %d at once", len(points), most)
	}
	c.points, c.n = points, len(points)
	c.report.on, c.request.Params.Report = true, true
	remake()
	return c, nil
}

// points reads levels, sigmas and strengths; there is at least one point, or an error.
func (o *object) points() (points []point) {
	for _, f := range []*field{fieldLevels, fieldSigmas, fieldStrengths} {
		list := o.array(f)
		if len(list) > maxPoints-len(points) {
			o.failValue(f, "brings the number of points to %d, the most is %d", len(points)+len(list), maxPoints)
			return points
		}
		for i, raw := range list {
			p := point{param: o.item(f, i)}
			value := f.items.number(o, p.param, raw)
			switch f {
			case fieldLevels:
				p.asked.level = &value
			case fieldSigmas:
				p.asked.sigma = &value
			case fieldStrengths:
				p.strength = &value
			}
			points = append(points, p)
		}
	}
	if len(points) == 0 {
		o.missing(fieldLevels, ", or sigmas or strengths: at least one number")
	}
	return points
}

// settle makes sure that what the points set is there to be set, and gives those of focus the request's own utility.
func (c *call) settle(points []point) error {
	for i := range points {
		p := &points[i]
		switch {
		case p.strength == nil:
			if c.utility != (asked{}) {
				return invalid("aim.utility", codeValue, "aim.utility cannot be combined with levels and sigmas, which stand for it")
			}
		case !c.strong():
			return invalid(p.param, codeValue, "%s needs entries of aim.focus with a strength, for which it stands; that of a span must be above 0", p.param)
		default:
			p.asked = c.utility
		}
	}
	return nil
}

// strong says that some entry of focus has a strength, and that all of them can be given another.
func (c *call) strong() bool {
	words := slices.ContainsFunc(c.request.Params.Focus, func(f sampler.Focus) bool { return f.Words != nil })
	raised := !slices.ContainsFunc(c.spans, func(s span) bool { return s.strength <= 0 }) // others lack what raising needs
	return (words || len(c.spans) > 0) && raised
}

// apply makes r, which answers a prompt, the request of the point. Points differ in nothing else.
func (p *point) apply(r *llama.Request, seed seed) {
	r.Params.Seed, r.Params.Utility = seed.choice(0), p.utility
	if p.strength == nil {
		return
	}
	r.Params.Focus, r.Params.Spans = slices.Clone(r.Params.Focus), slices.Clone(r.Params.Spans)
	for i := range r.Params.Focus {
		if f := &r.Params.Focus[i]; f.Words != nil {
			f.Strength = *p.strength
		}
	}
	for i := range r.Params.Spans {
		r.Params.Spans[i].Strength = *p.strength
	}
	r.Params.FocusKey = seed.focusKey(r.Prompt, r.Params.Focus, r.Params.Spans...)
}

// imposePoints sets the utility in force at each point.
func imposePoints(r *record, c *call) (err error) {
	for i := range c.points {
		p := &c.points[i]
		if p.utility, err = c.model.utility(r, p.asked); err != nil {
			return p.named(err)
		}
		if err := c.windowed(p.utility); err != nil {
			return err
		}
	}
	return nil
}

// named gives an error about aim.utility the name of the point that it is about.
func (p *point) named(err error) error {
	if domain := new(sampler.DomainError); !errors.As(err, &domain) && !errors.As(err, new(*apiError)) {
		return err
	}
	e := *asAPIError(err)
	if p.strength == nil && strings.HasPrefix(e.param, "aim.utility.") {
		e.message = strings.Replace(e.message, e.param, p.param, 1)
		e.param = p.param
	}
	return &e
}
