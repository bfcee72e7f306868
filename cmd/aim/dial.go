package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"aim/internal/calibrate"
	"aim/internal/chat"
	"aim/internal/state"
	"aim/llama"
	"aim/models"
	"aim/sampler"
	"aim/server"
)

// gauge obtains the calibration of an engine's model: what the state folder has, or a measurement.
type gauge struct {
	*engine
	variant variant
	store   calibrate.Store
	log     *slog.Logger
	// streams is how many answers a measurement generates at once.
	streams int
	// ends is what noise does to the tokens that end an answer.
	ends sampler.EndNoise
	// progress, when set, shows how far a measurement is.
	progress func(fraction float64)
}

func newGauge(e *engine, o engineOptions, log *slog.Logger, progress func(float64)) (*gauge, error) {
	dir, err := stateFolder(o.stateDir)
	if err != nil {
		return nil, err
	}
	return &gauge{engine: e, variant: e.variants[0], store: calibrate.Store{Dir: dir}, log: log, streams: e.Config().Slots, progress: progress}, nil
}

// stateFolder is the folder for state: the one given, or the default where that is "".
func stateFolder(given string) (string, error) {
	if given != "" {
		return given, nil
	}
	return state.Dir()
}

// under is a gauge of the model under a set of adapters.
func (g *gauge) under(v variant) *gauge {
	other := *g
	other.variant = v
	return &other
}

// key identifies the model, with its chat template and its adapters.
func (g *gauge) key() (string, error) {
	id, err := models.Identity(g.path)
	return calibrate.Key(id, g.templateSource, g.variant.identity...), err
}

// stored is the calibration in the state folder, nil where there is none that can be used.
func (g *gauge) stored(key string) *calibrate.Record {
	r, err := g.store.Load(g.variant.name, key)
	if err != nil && !errors.Is(err, calibrate.ErrNone) {
		g.log.Warn("a stored calibration cannot be used and is measured anew", "model", g.variant.name, "error", err)
	}
	return r
}

// obtain is what the state folder has, or a quick measurement, which is stored there.
func (g *gauge) obtain(ctx context.Context) (*calibrate.Curve, error) {
	key, err := g.key()
	if err != nil {
		// The model works, or it would not be loaded.
		g.log.Warn("the model's file cannot be identified, so that its calibration is not stored", "model", g.variant.name, "error", err)
		return calibrate.Measure(ctx, g.subject(), calibrate.Options{Progress: g.progress})
	}
	if r := g.stored(key); r != nil {
		return &r.Curve, nil
	}
	r, err := g.measure(ctx, key, calibrate.Options{})
	if err != nil {
		return nil, err
	}
	return &r.Curve, nil
}

// measure measures and stores. A folder that cannot be written costs a measurement at the next start, no more.
func (g *gauge) measure(ctx context.Context, key string, o calibrate.Options) (*calibrate.Record, error) {
	if o.Prompts == nil {
		o.Prompts = calibrate.Prompts()
	}
	o.Progress = g.progress
	start := time.Now()
	g.log.Info("calibrating, to know what levels of utility mean for this model", "model", g.variant.name)
	curve, err := calibrate.Measure(ctx, g.subject(), o)
	if err != nil {
		return nil, fmt.Errorf("calibrate %s: %w", g.variant.name, err)
	}
	if g.progress != nil {
		g.progress(1)
	}
	r := calibrate.Record{
		Model: g.variant.name, Key: key, PromptSet: calibrate.PromptSet(o.Prompts), Measured: time.Now().UTC().Truncate(time.Second), Curve: *curve,
	}
	path, err := g.store.Save(r)
	if err != nil {
		g.log.Warn("the calibration could not be stored, so that it will be measured again", "model", g.variant.name, "error", err)
	}
	g.log.Info("calibrated", "model", g.variant.name, "seconds", time.Since(start).Round(100*time.Millisecond).Seconds(),
		"answers", r.Answers, "steps", r.Steps, "lowest_level", r.Lowest(), "stored", path)
	return &r, nil
}

// subject is the model as its users meet it: through its chat template, where it has one.
func (g *gauge) subject() calibrate.Subject {
	return calibrate.Subject{Engine: g.Engine, Adapters: g.variant.set, Streams: g.streams, EndNoise: g.ends, Render: func(text string) ([]sampler.Token, error) {
		parts := []llama.Part{{Text: text}}
		if g.template != nil {
			var err error
			if parts, err = g.template.Render(chat.Conversation{Messages: []chat.Message{{Role: "user", Content: text}}}); err != nil {
				return nil, err
			}
		}
		return g.model.Tokenize(parts, true)
	}}
}

// calibrationPatience is how long a request waits for a model being calibrated before it is told to come back.
const calibrationPatience = time.Minute

// served makes the dial that requests turn, and returns the σ of a level, 0 of level 0, for which it calibrates the model
// where nobody has. Until then nothing is served, so that this may take all slots and all the time that ctx allows; what is
// measured later, while others are answered, takes half of the slots at most.
func (g *gauge) served(ctx context.Context, level float64) (server.Dial, float64, error) {
	dial := &calibrate.Dial{Obtain: g.obtain, Context: ctx}
	if key, err := g.key(); err == nil && g.stored(key) != nil {
		_, _ = dial.Curve(ctx) // so that the levels are known from the start; what fails, fails again where it matters
	}
	sigma := 0.0
	if level > 0 {
		var err error
		if sigma, err = dial.Sigma(ctx, level); err != nil {
			return nil, 0, err
		}
	}
	g.streams = max(1, g.Config().Slots/2)
	dial.Patience = calibrationPatience
	return serverDial{dial}, sigma, nil
}

// serverDial is a dial as package server wants it, which does not know how models are measured.
type serverDial struct{ *calibrate.Dial }

// Curve implements [server.Curver].
func (d serverDial) Curve() []server.CurvePoint { return pointsOf(d.Known()) }

// Sigma implements [server.Dial].
func (d serverDial) Sigma(ctx context.Context, level float64) (float64, error) {
	sigma, err := d.Dial.Sigma(ctx, level)
	domain := new(sampler.DomainError)
	switch {
	case err == nil, errors.As(err, &domain), errors.Is(err, llama.ErrClosed), ctx.Err() != nil:
		return sigma, err
	case errors.Is(err, calibrate.ErrMeasuring):
		return 0, server.ErrCalibrating
	}
	// What is wrong with an answer of the measurement, such as its length, is not wrong with the request.
	return 0, fmt.Errorf("calibration failed: %v", err) //nolint:errorlint // hence not wrapped
}

// calibratingLine shows on a terminal how far a measurement is, and nothing elsewhere.
func calibratingLine(w io.Writer) func(fraction float64) {
	return progressLine(w, "calibrating the model")
}
