package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aim/llama"
	"aim/sampler"
)

// state tells what engines, tiers and limits are at when it is scraped.
type state struct{ o Options }

// figure is a metric that is read off something of type T.
type figure[T any] struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(T) float64
}

func gauge[T any](name, help string, of func(T) float64, labels ...string) figure[T] {
	return figure[T]{prometheus.NewDesc(name, help, labels, nil), prometheus.GaugeValue, of}
}

func counter[T any](name, help string, of func(T) float64, labels ...string) figure[T] {
	return figure[T]{prometheus.NewDesc(name, help, labels, nil), prometheus.CounterValue, of}
}

// reading is what an engine tells at a scrape; that of engines of one name is their sum.
type reading struct {
	llama.Stats
	cells, used int
	stalled     time.Duration
}

var engineFigures = []figure[*reading]{
	gauge("aim_engine_slots", "Sequences that are decoded at once.", func(r *reading) float64 { return float64(r.Slots) }, "engine"),
	gauge("aim_engine_slots_busy", "Slots at work.", func(r *reading) float64 { return float64(r.Busy) }, "engine"),
	gauge("aim_engine_queued", "Sequences that wait for a slot.", func(r *reading) float64 { return float64(r.Queued) }, "engine"),
	gauge("aim_engine_kv_cells", "Tokens that the KV cache has room for.", func(r *reading) float64 { return float64(r.cells) }, "engine"),
	gauge("aim_engine_kv_cells_used", "Tokens in the KV cache, those of former answers included.", func(r *reading) float64 { return float64(r.used) }, "engine"),
	gauge("aim_engine_stalled_seconds", "How long the current decode has taken.", func(r *reading) float64 { return r.stalled.Seconds() }, "engine"),
	counter("aim_engine_decodes_total", "Decodes.", func(r *reading) float64 { return float64(r.Decodes) }, "engine"),
	counter("aim_engine_prompt_tokens_total", "Tokens of prompts that were computed.", func(r *reading) float64 { return float64(r.PromptTokens) }, "engine"),
	counter("aim_engine_completion_tokens_total", "Tokens that were chosen.", func(r *reading) float64 { return float64(r.CompletionTokens) }, "engine"),
	counter("aim_engine_prefix_cache_hits_total", "Prompts of which the prefix cache knew something.", func(r *reading) float64 { return float64(r.Cache.Hits) }, "engine"),
	counter("aim_engine_prefix_cache_tokens_total", "Tokens of prompts that came from the prefix cache.", func(r *reading) float64 { return float64(r.Cache.Tokens) }, "engine"),
	counter("aim_engine_prefix_cache_evictions_total", "Prefixes that were forgotten for want of room.", func(r *reading) float64 { return float64(r.Cache.Evicted) }, "engine"),
	gauge("aim_engine_prefix_cache_prefixes", "Prefixes that are known.", func(r *reading) float64 { return float64(r.Cache.Prefixes) }, "engine"),
	gauge("aim_engine_prefix_cache_bytes", "Memory of prefixes that left their slots.", func(r *reading) float64 { return float64(r.Cache.AsideBytes) }, "engine"),
	counter("aim_engine_drafted_tokens_total", "Tokens that were guessed ahead.", func(r *reading) float64 { return float64(r.Drafted) }, "engine"),
	counter("aim_engine_accepted_tokens_total", "Guessed tokens that saved a decode.", func(r *reading) float64 { return float64(r.Accepted) }, "engine"),
}

var modelFigures = []figure[sampler.Counts]{
	counter("aim_model_steps_total", "Tokens chosen for a model.", func(c sampler.Counts) float64 { return float64(c.Steps) }, "model"),
	counter("aim_model_flips_total", "Steps at which utility noise replaced the best token.", func(c sampler.Counts) float64 { return float64(c.Flips) }, "model"),
	counter("aim_model_focus_hits_total", "Targets of focus that answers completed.", func(c sampler.Counts) float64 { return float64(c.Hits) }, "model"),
	counter("aim_model_focus_forced_total", "Steps at which focus changed the best token.", func(c sampler.Counts) float64 { return float64(c.Forced) }, "model"),
}

var (
	sigma  = gauge("aim_model_sigma", "Utility noise that is imposed, in logits.", func(t Tier) float64 { return t.Sigma }, "model", "base")
	level  = gauge("aim_model_level", "Share of steps at which the best token stays best, as calibrated.", func(t Tier) float64 { return t.Level }, "model", "base")
	shared = gauge("aim_limits_shared", "Whether limits are shared between replicas at present.", func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	})
	build = gauge("aim_build_info", "The program, whose version is a label.", func(struct{}) float64 { return 1 }, "version")
)

// Describe implements [prometheus.Collector].
func (s *state) Describe(to chan<- *prometheus.Desc) {
	for _, f := range engineFigures {
		to <- f.desc
	}
	for _, f := range modelFigures {
		to <- f.desc
	}
	to <- sigma.desc
	to <- level.desc
	to <- shared.desc
	to <- build.desc
}

func tell[T any](to chan<- prometheus.Metric, f figure[T], v T, labels ...string) {
	to <- prometheus.MustNewConstMetric(f.desc, f.kind, f.of(v), labels...)
}

// Collect implements [prometheus.Collector].
func (s *state) Collect(to chan<- prometheus.Metric) {
	tell(to, build, struct{}{}, s.o.Version)
	if s.o.Shared != nil {
		tell(to, shared, s.o.Shared())
	}
	if s.o.Engines != nil {
		s.collectEngines(to)
	}
	if s.o.Tiers == nil {
		return
	}
	told := map[string]bool{}
	for _, t := range s.o.Tiers() {
		if told[t.Model] {
			continue // a scrape fails where a metric comes twice
		}
		told[t.Model] = true
		tell(to, sigma, t, t.Model, t.Base)
		if t.Level > 0 {
			tell(to, level, t, t.Model, t.Base)
		}
	}
}

func (s *state) collectEngines(to chan<- prometheus.Metric) {
	now := time.Now()
	readings, counts := map[string]*reading{}, map[string]sampler.Counts{}
	for _, e := range s.o.Engines() {
		r := read(e, now)
		if first := readings[e.Name]; first != nil {
			r.add(first)
		}
		readings[e.Name] = r
		for name, c := range e.Counters() {
			was := counts[name]
			counts[name] = sampler.Counts{Steps: was.Steps + c.Steps, Flips: was.Flips + c.Flips, Hits: was.Hits + c.Hits, Forced: was.Forced + c.Forced}
		}
	}
	for name, r := range readings {
		for _, f := range engineFigures {
			tell(to, f, r, name)
		}
	}
	for name, c := range counts {
		for _, f := range modelFigures {
			tell(to, f, c, name)
		}
	}
}

func read(e Engine, now time.Time) *reading {
	r := &reading{Stats: e.Stats(), stalled: e.Stalled(now)}
	r.used, r.cells = e.Occupancy()
	return r
}

// add adds what another engine of the same name tells.
func (r *reading) add(o *reading) {
	r.Slots, r.Busy, r.Queued = r.Slots+o.Slots, r.Busy+o.Busy, r.Queued+o.Queued
	r.cells, r.used, r.stalled = r.cells+o.cells, r.used+o.used, max(r.stalled, o.stalled)
	r.Decodes, r.PromptTokens, r.CompletionTokens = r.Decodes+o.Decodes, r.PromptTokens+o.PromptTokens, r.CompletionTokens+o.CompletionTokens
	r.Cache.Hits, r.Cache.Tokens, r.Cache.Evicted = r.Cache.Hits+o.Cache.Hits, r.Cache.Tokens+o.Cache.Tokens, r.Cache.Evicted+o.Cache.Evicted
	r.Cache.Prefixes, r.Cache.AsideBytes = r.Cache.Prefixes+o.Cache.Prefixes, r.Cache.AsideBytes+o.Cache.AsideBytes
	r.Drafted, r.Accepted = r.Drafted+o.Drafted, r.Accepted+o.Accepted
}
