package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"aim/internal/fleet"
	"aim/internal/metrics"
	"aim/llama"
	"aim/models"
	"aim/sampler"
	"aim/server"
)

// house keeps the base models of a server: those that are loaded at the start are held, the others come and go with requests.
type house struct {
	ctx     context.Context
	log     *slog.Logger
	stderr  io.Writer
	created time.Time
	fleet   *fleet.Fleet[*resident]

	mu      sync.Mutex
	setting *setting
	held    map[string]func() // releases those that are loaded at the start
}

// resident is a loaded base model.
type resident struct {
	*engine
	options engineOptions
	log     *slog.Logger
	stderr  io.Writer
	stop    func()

	mu      sync.Mutex
	vectors map[llama.AdapterSet]*embedder
	models  map[string]server.Model // by their offers
}

// newHouse makes a house in which nothing is loaded yet. Calibrations end with ctx.
func newHouse(ctx context.Context, s *setting, log *slog.Logger, stderr io.Writer) (*house, error) {
	h := &house{ctx: ctx, log: log, stderr: stderr, created: time.Now(), setting: s, held: map[string]func(){}}
	f, err := fleet.New(s.specs(), fleet.Options[*resident]{Memory: int64(s.Memory), Load: h.load, Close: (*resident).close, Log: log})
	h.fleet = f
	return h, err
}

// specs are what the fleet must know of the base models.
func (s *setting) specs() (list []fleet.Spec) {
	for _, name := range slices.Sorted(maps.Keys(s.bases)) {
		b := s.bases[name]
		spec := fleet.Spec{Name: name, KeepAlive: b.keepAlive, Version: fmt.Sprintf("%+v", b.engineOptions)}
		if !b.lazy {
			spec.KeepAlive = -1
		}
		if path, err := b.find(); err == nil && s.Memory > 0 {
			spec.Size = b.estimate(path)
		}
		list = append(list, spec)
	}
	return list
}

// estimate is how much memory a base model will take, 0 where that cannot be told.
func (b *baseModel) estimate(path string) int64 {
	context := b.context
	if context == 0 {
		context = defaultContext
	}
	used, err := models.Used(path, b.slots, context)
	if err != nil {
		return 0
	}
	return used.Total()
}

// load loads a base model for the fleet, and starts it.
func (h *house) load(ctx context.Context, name string, progress func(float64)) (*resident, error) {
	h.mu.Lock()
	b, ok := h.setting.bases[name]
	h.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("there is no base model %q any more", name)
	}
	o := b.engineOptions
	if err := o.useWeights(ctx, true, h.log, h.stderr); err != nil {
		return nil, err
	}
	line := progressLine(h.stderr, "loading "+name)
	e, err := openEngine(o, func(fraction float64) {
		progress(fraction)
		if line != nil {
			line(fraction)
		}
	})
	if err != nil {
		return nil, err
	}
	r := &resident{
		engine: e, options: o, log: h.log, stderr: h.stderr, vectors: map[llama.AdapterSet]*embedder{}, models: map[string]server.Model{},
	}
	r.stop = sync.OnceFunc(e.start())
	return r, nil
}

// close ends a resident and frees it.
func (r *resident) close() {
	r.Close()
	r.stop()
	r.engine.close()
}

// variant is the base model under a set of its adapters.
func (r *resident) variant(set string) (variant, error) {
	for i, v := range r.variants {
		if i == 0 && set == "" || i > 0 && v.name == set {
			return v, nil
		}
	}
	return variant{}, fmt.Errorf("%s has no set of adapters %q", r.name, set)
}

// model is what is served of an offer. Where it imposes a level that nobody has measured yet, the model is calibrated first.
func (r *resident) model(ctx context.Context, of offer, created time.Time) (server.Model, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := fmt.Sprint(of.id, of.set, of.level, of.sigma, of.window, of.ends, of.reports, of.vectors)
	if m, ok := r.models[key]; ok {
		m.Description, m.Policy = of.description, of.policy
		return m, nil
	}
	v, err := r.variant(of.set)
	if err != nil {
		return server.Model{}, err
	}
	g, err := newGauge(r.engine, r.options, r.log, calibratingLine(r.stderr))
	if err != nil {
		return server.Model{}, err
	}
	g.ends = endNoise(of.ends)
	m := server.Model{
		ID: of.id, Description: of.description, Base: of.source(), Engine: r.Engine, Adapters: v.set, Template: r.template,
		BOS: r.engine.model.BOS(), EOS: r.engine.model.EOS(), Created: created, Sigma: of.sigma, Scope: sampler.Scope{Window: of.window},
		EndNoise: endNoise(of.ends), Report: of.reports, Facts: r.facts(), Policy: of.policy,
	}
	var sigma float64
	if m.Dial, sigma, err = g.under(v).served(ctx, of.level); err != nil {
		return server.Model{}, fmt.Errorf("%s: level %g: %w", of.id, of.level, err)
	}
	if m.Level = of.imposed(); m.Level > 0 {
		m.Sigma = sigma
	}
	if of.vectors == "on" || of.vectors == "auto" && m.Sigma == 0 {
		m.Embedder = r.embedder(v)
	}
	r.models[key] = m
	return m, nil
}

// embedder gives vectors under a set of adapters, from one context for all that offer them.
func (r *resident) embedder(v variant) *embedder {
	if r.vectors[v.set] == nil {
		r.vectors[v.set] = &embedder{model: r.engine.model, threads: r.options.threads, set: v.set}
		r.engine.vectors = append(r.engine.vectors, r.vectors[v.set])
	}
	return r.vectors[v.set]
}

// models loads what is to be loaded at the start, and returns what is served. A base model that fails does not take the others down: what is made of
// it is loaded when it is asked for, and fails then. The error is that of the only base model, or of ctx.
func (h *house) models(ctx context.Context) ([]server.Model, error) {
	h.mu.Lock()
	s := h.setting
	h.mu.Unlock()
	residents := map[string]*resident{}
	for _, name := range slices.Sorted(maps.Keys(s.bases)) {
		if s.bases[name].lazy {
			continue
		}
		r, release, err := h.fleet.Acquire(ctx, name)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil && len(s.bases) == 1:
			return nil, cause(err)
		case err != nil:
			h.log.Error("a base model cannot be loaded; others are served", "model", name, "error", err)
			continue
		}
		residents[name] = r
		h.hold(name, release)
	}
	var list []server.Model
	for _, of := range s.offers {
		r := residents[of.base]
		if r == nil {
			list = append(list, h.unloaded(s.bases[of.base], of))
			continue
		}
		m, err := r.model(h.ctx, of, h.created)
		if err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, nil
}

// cause is what went wrong with a load, without what callers need not know where there is one model.
func cause(err error) error {
	if failed := new(fleet.LoadError); errors.As(err, &failed) {
		return failed.Err
	}
	return err
}

// hold keeps a base model loaded.
func (h *house) hold(name string, release func()) {
	h.mu.Lock()
	old := h.held[name]
	h.held[name] = release
	h.mu.Unlock()
	if old != nil {
		old()
	}
}

// unloaded is what is served of an offer whose base model is loaded when it is asked for.
func (h *house) unloaded(b *baseModel, of offer) server.Model {
	m := server.Model{
		ID: of.id, Description: of.description, Base: of.source(), Created: h.created, Sigma: of.sigma, Level: of.imposed(), Policy: of.policy,
		Load: func(ctx context.Context) (server.Model, func(), error) { return h.acquire(ctx, of) },
	}
	if path, err := b.find(); err == nil {
		if facts, err := models.Read(path); err == nil {
			m.Facts = server.Facts{Context: facts.Context, Parameters: facts.Parameters, Size: facts.Size}
		}
	}
	m.Facts.Served = b.context
	if m.Facts.Served == 0 {
		m.Facts.Served = min(defaultContext, max(m.Facts.Context, 1))
	}
	return m
}

// acquire loads what an offer is made of, for a request.
func (h *house) acquire(ctx context.Context, of offer) (server.Model, func(), error) {
	r, release, err := h.fleet.Acquire(ctx, of.base)
	if err != nil {
		return server.Model{}, nil, loadError(ctx, err)
	}
	m, err := r.model(h.ctx, of, h.created)
	if err != nil {
		release()
		return server.Model{}, nil, &server.LoadError{RetryAfter: time.Second, Err: err}
	}
	return m, release, nil
}

// loadError is what the API says where a base model is not there.
func loadError(ctx context.Context, err error) error {
	failed := new(fleet.LoadError)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &failed):
		return &server.LoadError{RetryAfter: failed.RetryAfter, Err: err}
	case errors.Is(err, fleet.ErrClosed):
		return llama.ErrClosed
	}
	return &server.LoadError{RetryAfter: 10 * time.Second, Err: err}
}

// update changes the setting. What is not configured any more is unloaded once nobody uses it.
func (h *house) update(s *setting) error {
	h.mu.Lock()
	old := h.setting
	h.setting = s
	h.mu.Unlock()
	if err := h.fleet.Update(s.specs()); err != nil {
		h.mu.Lock()
		h.setting = old
		h.mu.Unlock()
		return err
	}
	h.mu.Lock()
	var gone []func()
	for name, release := range h.held {
		if b := s.bases[name]; b == nil || b.lazy {
			gone = append(gone, release)
			delete(h.held, name)
		}
	}
	h.mu.Unlock()
	for _, release := range gone {
		release()
	}
	return nil
}

// residents calls f with each base model that is loaded, without loading or waiting for any.
func (h *house) residents(f func(name string, r *resident)) {
	for _, s := range h.fleet.States() {
		if r, release, ok := h.fleet.Peek(s.Name); ok {
			f(s.Name, r)
			release()
		}
	}
}

// engines are those that run, for metrics.
func (h *house) engines() (list []metrics.Engine) {
	h.residents(func(name string, r *resident) { list = append(list, metrics.Engine{Name: name, Engine: r.Engine}) })
	return list
}

// close drains what runs for as long as limit, ends what is left, and frees everything. between is called when nothing runs any more, before it is freed.
func (h *house) close(limit time.Duration, between func()) {
	var all []*resident
	h.residents(func(_ string, r *resident) {
		r.Close()
		all = append(all, r)
	})
	idle := func() bool { return !slices.ContainsFunc(all, func(r *resident) bool { return !r.idle() }) }
	if !within(limit, idle) {
		h.log.Warn("the drain timeout is over")
		for _, r := range all {
			r.stop()
		}
	}
	between()
	for _, r := range all {
		r.stop()
	}
	h.mu.Lock()
	held := h.held
	h.held = map[string]func(){}
	h.mu.Unlock()
	for _, release := range held {
		release()
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastWrites)
	defer cancel()
	if err := h.fleet.Close(ctx); err != nil {
		h.log.Warn("a model is still in use at the end", "error", err)
	}
}

// within waits until done says so, for as long as limit, and reports whether it did.
func within(limit time.Duration, done func() bool) bool {
	deadline := time.After(limit)
	for !done() {
		select {
		case <-deadline:
			return false
		case <-time.After(20 * time.Millisecond):
		}
	}
	return true
}
