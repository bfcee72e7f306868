package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/gin-gonic/gin"

	"aim/sampler"
)

// maxPoints bounds the points of a sweep.
const maxPoints = 16

// sweep serves POST /v1/aim/sweep: the same prompt at several settings of the utility dial, side by side in the engine's
// batches. Its answer is that of the endpoint whose request it extends, with a choice for each point; the report says which is
// which.
func (s *Server) sweep(c *gin.Context) { s.complete(c, s.parseSweep) }

// point is a setting of the utility dial.
type point struct {
	// param is where the request has it, e.g. "levels[1]".
	param string
	asked asked
	// utility is what is in force, set by impose.
	utility sampler.Utility
}

// parseSweep reads a request of one of the other endpoints, with levels, sigmas or both.
func (s *Server) parseSweep(o *object) (*call, error) {
	points := o.points()
	c, remake, err := s.parseEither(o)
	if err != nil {
		return nil, err
	}
	if err := c.single("a sweep, which has a choice for each point"); err != nil {
		return nil, err
	}
	if c.utility != (asked{}) {
		return nil, invalid("aim.utility", codeValue, "aim.utility cannot be combined with levels and sigmas, which stand for it")
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

// points reads levels and sigmas; there is at least one point, or an error.
func (o *object) points() (points []point) {
	for _, name := range []string{"levels", "sigmas"} {
		list := o.array(name)
		if len(list) > maxPoints-len(points) {
			o.failValue(name, "brings the number of points to %d, the most is %d", len(points)+len(list), maxPoints)
			return points
		}
		for i, raw := range list {
			p := point{param: fmt.Sprintf("%s[%d]", name, i)}
			value := new(float64)
			if kindOf(raw) == "null" || json.Unmarshal(raw, value) != nil {
				o.failType(p.param, "a number", raw)
			}
			if name == "sigmas" {
				p.asked.sigma = value
			} else if p.asked.level = value; !(*value > 0 && *value <= 1) {
				o.failValue(p.param, "is %v, must be in (0, 1]", *value)
			}
			points = append(points, p)
		}
	}
	if len(points) == 0 {
		o.fail(invalid("levels", codeMissing, "levels is required, or sigmas: at least one number"))
	}
	return points
}

// imposePoints sets the utility in force at each point.
func (s *Server) imposePoints(ctx context.Context, c *call) (err error) {
	for i := range c.points {
		p := &c.points[i]
		if p.utility, err = c.model.utility(ctx, p.asked, s.secret); err != nil {
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
	if strings.HasPrefix(e.param, "aim.utility.") {
		e.message = strings.Replace(e.message, e.param, p.param, 1)
		e.param = p.param
	}
	return &e
}
