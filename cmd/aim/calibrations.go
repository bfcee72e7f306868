package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"aim/internal/calibrate"
	"aim/server"
)

// calibrations are measurements that administrators asked for. It implements [server.Calibrator].
type calibrations struct {
	ctx   context.Context
	house *house
	log   *slog.Logger
	// refresh serves everything anew, with what was measured.
	refresh func() error

	mu   sync.Mutex
	list []*server.Calibration // the last first
}

// mostCalibrations is how many are remembered.
const mostCalibrations = 32

// Calibrate implements [server.Calibrator].
func (c *calibrations) Calibrate(model string) error {
	of, ok := c.house.offer(model)
	if !ok {
		return errors.New("there is no such model any more")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if slices.ContainsFunc(c.list, func(m *server.Calibration) bool { return m.State == "running" }) {
		return server.ErrCalibrating // one at a time: each takes half of the slots
	}
	m := &server.Calibration{Model: model, State: "running", Began: time.Now().UTC()}
	c.list = slices.Insert(c.list, 0, m)
	if len(c.list) > mostCalibrations {
		c.list = c.list[:mostCalibrations]
	}
	go c.run(of, m)
	return nil
}

// run measures, and notes how far it is.
func (c *calibrations) run(of offer, m *server.Calibration) {
	note := func(f func()) {
		c.mu.Lock()
		defer c.mu.Unlock()
		f()
	}
	curve, err := c.measure(of, func(fraction float64) { note(func() { m.Fraction = fraction }) })
	if err == nil {
		err = c.refresh()
	}
	note(func() {
		m.Measured = time.Now().UTC()
		if err != nil {
			m.State, m.Error = "failed", err.Error()
			return
		}
		m.State, m.Fraction, m.Curve = "done", 1, pointsOf(curve)
	})
	if err != nil {
		c.log.Error("a calibration failed", "model", of.id, "error", err)
	}
}

// measure measures the model of an offer, and stores what it finds.
func (c *calibrations) measure(of offer, progress func(float64)) ([]calibrate.Point, error) {
	r, release, err := c.house.fleet.Acquire(c.ctx, of.base)
	if err != nil {
		return nil, err
	}
	defer release()
	v, err := r.variant(of.set)
	if err != nil {
		return nil, err
	}
	g, err := newGauge(r.engine, r.options, r.log, progress)
	if err != nil {
		return nil, err
	}
	g.ends, g.streams = endNoise(of.ends), max(1, r.Config().Slots/2)
	g = g.under(v)
	key, err := g.key()
	if err != nil {
		return nil, err
	}
	record, err := g.measure(c.ctx, key, calibrate.Options{})
	if err != nil {
		return nil, err
	}
	r.forget()
	return record.Points, nil
}

// forget makes what is served of the resident be made anew, with the calibrations that are there then.
func (r *resident) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.models)
}

// offer is what is offered under a name.
func (h *house) offer(id string) (offer, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, of := range h.setting.offers {
		if of.id == id {
			return of, true
		}
	}
	return offer{}, false
}

// Calibrations implements [server.Calibrator].
func (c *calibrations) Calibrations() []server.Calibration {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]server.Calibration, len(c.list))
	for i, m := range c.list {
		list[i] = *m
	}
	return list
}

// pointsOf are a curve's points for the API.
func pointsOf(points []calibrate.Point) (list []server.CurvePoint) {
	for _, p := range points {
		list = append(list, server.CurvePoint{Sigma: p.Sigma, Level: p.Retention})
	}
	return list
}
