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

	// gone hears of engines that end; nil is nobody.
	gone func(*llama.Engine)

	mu      sync.Mutex
	setting *setting
	held    map[string]holding // those that are loaded at the start
	loaded  map[*resident]string
}

// holding keeps a resident in the house until release is called.
type holding struct {
	*resident
	release func()
}

// resident is a loaded base model.
type resident struct {
	*engine
	options engineOptions
	log     *slog.Logger
	stderr  io.Writer
	stop    func()
	// inUse is read-locked by requests, for which nothing is freed.
	inUse sync.RWMutex

	mu      sync.Mutex
	vectors map[llama.AdapterSet]*embedder
	models  map[offer]server.Model // by their offers, without what is not kept
}

// newHouse makes a house in which nothing is loaded yet. Calibrations end with ctx.
func newHouse(ctx context.Context, s *setting, log *slog.Logger, stderr io.Writer) (*house, error) {
	h := &house{
		ctx: ctx, log: log, stderr: stderr, created: time.Now(), setting: s, held: map[string]holding{}, loaded: map[*resident]string{},
	}
	f, err := fleet.New(s.specs(), fleet.Options[*resident]{Memory: int64(s.Memory), Load: h.load, Close: h.free, Log: log})
	h.fleet = f
	return h, err
}

// listen has gone hear of engines that end.
func (h *house) listen(gone func(*llama.Engine)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gone = gone
}

// specs are what the fleet must know of the base models.
func (s *setting) specs() (list []fleet.Spec) {
	for _, name := range slices.Sorted(maps.Keys(s.bases)) {
		b := s.bases[name]
		spec := fleet.Spec{Name: name, KeepAlive: b.keepAlive, Version: fmt.Sprintf("%+v", b.engineOptions)}
		if !b.lazy {
			spec.KeepAlive = -1
		}
		if path, err := b.find(); err == nil {
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
		engine: e, options: o, log: h.log, stderr: h.stderr, vectors: map[llama.AdapterSet]*embedder{}, models: map[offer]server.Model{},
	}
	r.stop = sync.OnceFunc(e.start())
	h.mu.Lock()
	h.loaded[r] = name
	h.mu.Unlock()
	return r, nil
}

// free ends a resident and frees it, once no request uses it.
func (h *house) free(r *resident) {
	r.inUse.Lock() // for good
	r.Close()
	r.stop()
	h.mu.Lock()
	delete(h.loaded, r)
	gone := h.gone
	h.mu.Unlock()
	if gone != nil {
		gone(r.Engine)
	}
	r.close()
}

// idle says that nothing is computed.
func (r *resident) idle() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.engine.idle()
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
	if m, ok := r.models[of.key()]; ok {
		m.Description, m.Policy = of.description, of.rules()
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
		EndNoise: endNoise(of.ends), Report: of.reports, Facts: r.facts(), Policy: of.rules(),
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
	r.models[of.key()] = m
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

// models loads what a setting has loaded at the start, and returns what is served. A base model that fails does not take the others down: what is made of
// it is loaded when it is asked for, and fails then. The error is that of the only base model, or of ctx.
func (h *house) models(ctx context.Context, s *setting) (list []server.Model, err error) {
	residents := map[string]*resident{}
	for _, name := range slices.Sorted(maps.Keys(s.bases)) {
		if s.bases[name].lazy {
			if r, release, ok := h.fleet.Peek(name); ok {
				defer release()
				residents[name] = r
			}
			continue
		}
		r, err := h.hold(ctx, name)
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
	}
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
		m.Load = h.keeper(r, m, of, !s.bases[of.base].lazy)
		list = append(list, m)
	}
	return list, nil
}

// keeper is [server.Model].Load for a model that is there. Those that are held need no turn for their memory.
func (h *house) keeper(r *resident, m server.Model, of offer, held bool) func(context.Context) (server.Model, func(), error) {
	return func(ctx context.Context) (server.Model, func(), error) {
		if held && r.inUse.TryRLock() { // else it has just left, or been loaded anew
			return m, sync.OnceFunc(r.inUse.RUnlock), nil
		}
		return h.acquire(ctx, of)
	}
}

// cause is what went wrong with a load, without what callers need not know where there is one model.
func cause(err error) error {
	if failed := new(fleet.LoadError); errors.As(err, &failed) {
		return failed.Err
	}
	return err
}

// hold loads a base model to stay.
func (h *house) hold(ctx context.Context, name string) (*resident, error) {
	h.mu.Lock()
	have, ok := h.held[name]
	h.mu.Unlock()
	if ok {
		return have.resident, nil
	}
	r, release, err := h.fleet.Acquire(ctx, name)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	h.held[name] = holding{r, release}
	h.mu.Unlock()
	return r, nil
}

// holds says that a base model is loaded to stay, and cannot be changed before the next start.
func (h *house) holds(name string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.held[name]
	return ok
}

// unloaded is what is served of an offer whose base model is loaded when it is asked for.
func (h *house) unloaded(b *baseModel, of offer) server.Model {
	m := server.Model{
		ID: of.id, Description: of.description, Base: of.source(), Created: h.created, Sigma: of.sigma, Level: of.imposed(), Policy: of.rules(),
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

// replace puts another setting in force: it loads what is new, hands to serve what is to be served, and lets go what is not configured any more, which is
// unloaded once nobody uses it. Where one of these fails, the setting stays that there was.
func (h *house) replace(ctx context.Context, fresh *setting, serve func([]server.Model) error) error {
	h.mu.Lock()
	old := h.setting
	h.mu.Unlock()
	if err := h.settle(fresh.beside(old)); err != nil {
		return err
	}
	list, err := h.models(ctx, fresh)
	if err == nil {
		err = serve(list)
	}
	if err != nil {
		return errors.Join(err, h.settle(old))
	}
	return h.settle(fresh)
}

// beside is s with the base models that only another setting has.
func (s *setting) beside(other *setting) *setting {
	both := &setting{Config: s.Config, offers: s.offers, bases: maps.Clone(other.bases)}
	for name, b := range s.bases {
		one := *b
		if before := other.bases[name]; before != nil && !before.lazy {
			one.lazy = false // it is let go when the other setting is
		}
		both.bases[name] = &one
	}
	return both
}

// settle makes a setting the one by which base models are loaded, and releases what it does not hold.
func (h *house) settle(s *setting) error {
	h.mu.Lock()
	old := h.setting
	h.setting = s
	h.mu.Unlock()
	err := h.fleet.Update(s.specs())
	if err == nil {
		err = h.fleet.SetMemory(int64(s.Memory))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		h.setting = old
		return err
	}
	for name, one := range h.held {
		if b := s.bases[name]; b == nil || b.lazy {
			delete(h.held, name)
			one.release()
		}
	}
	return nil
}

// residents are the base models that are loaded, by their names.
func (h *house) residents() map[*resident]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.loaded)
}

// engines are those that run, for metrics.
func (h *house) engines() (list []metrics.Engine) {
	for r, name := range h.residents() {
		list = append(list, metrics.Engine{Name: name, Engine: r.Engine})
	}
	return list
}

// close drains what runs for as long as limit, ends what is left, and frees everything. between is called when nothing runs any more, before it is freed.
func (h *house) close(limit time.Duration, between func()) {
	all := slices.Collect(maps.Keys(h.residents()))
	for _, r := range all {
		r.Close()
	}
	idle := func() bool { return !slices.ContainsFunc(all, func(r *resident) bool { return !r.idle() }) }
	if !within(limit, idle) {
		h.log.Warn("the drain timeout is over")
		for _, r := range all {
			r.stop()
		}
	}
	between()
	h.mu.Lock()
	for _, one := range h.held {
		one.release()
	}
	clear(h.held)
	h.mu.Unlock()
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
