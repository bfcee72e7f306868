// Package metrics tells Prometheus what a server does. It sees requests when they are over, and engines when it is scraped, and has a registry of
// its own.
//
// Whoever reads the metrics sees each tier's σ, level and flips, which its callers may not know: they are for operators. Labels have few values, none of
// which a client can choose.
package metrics

import (
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"aim/internal/measure"
	"aim/llama"
)

// Engine is an engine that runs, under the name of the model it was loaded from.
type Engine struct {
	Name string
	*llama.Engine
}

// Tier is a virtual model with what is imposed on it.
type Tier struct {
	// Model is its name, and Base that of the engine that runs it.
	Model, Base string
	// Sigma is in logits. Level in (0, 1] is the share of steps at which the model's best token stays best, 0 where it is not known.
	Sigma, Level float64
}

// Options say what there is to tell. Zero fields tell nothing.
type Options struct {
	// Version is the program's.
	Version string
	// Engines and Tiers are called at each scrape; they must not wait.
	Engines func() []Engine
	Tiers   func() []Tier
	// Shared says whether limits are shared between replicas at present.
	Shared func() bool
	// Keys counts requests and tokens by the IDs of keys, too.
	Keys bool
}

// Metrics are a server's. Its methods are safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry

	requests           *prometheus.CounterVec
	duration           *prometheus.HistogramVec
	first              *prometheus.HistogramVec
	queue              *prometheus.HistogramVec
	gaps               *gaps
	prompt, cached     *prometheus.CounterVec
	completion         *prometheus.CounterVec
	refusals           *prometheus.CounterVec
	stuck              *prometheus.CounterVec
	byKey, tokensByKey *prometheus.CounterVec // nil unless asked for

	models, endpoints, codes, keys, engines bounded
}

// Upper bounds in seconds of the histograms of what may take milliseconds or minutes.
var (
	waits  = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120}
	wholes = []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600}
)

// New returns metrics of nothing yet.
func New(o Options) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		m.registry.MustRegister(c)
		return c
	}
	histogram := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, []string{"model"})
		m.registry.MustRegister(h)
		return h
	}
	m.requests = counter("aim_requests_total", "Requests that are over, by their outcome.", "model", "endpoint", "status", "code")
	m.duration = histogram("aim_request_duration_seconds", "Time from a request's arrival to its end, of those that a model answers.", wholes)
	m.first = histogram("aim_time_to_first_token_seconds", "Time from a request's arrival to its first token.", waits)
	m.queue = histogram("aim_queue_time_seconds", "Time that a request waited for a slot.", waits)
	m.gaps = newGaps("aim_inter_token_latency_seconds", "Time between the tokens of an answer, as they reach its handler.")
	m.registry.MustRegister(m.gaps)
	m.prompt = counter("aim_prompt_tokens_total", "Tokens of prompts, cached ones included.", "model")
	m.cached = counter("aim_prompt_tokens_cached_total", "Tokens of prompts that needed no computing.", "model")
	m.completion = counter("aim_completion_tokens_total", "Tokens of answers, also of those whose clients left.", "model")
	m.refusals = counter("aim_rate_limit_refusals_total", "Requests that a limit refused.", "limit")
	m.stuck = counter("aim_engine_stuck_total", "Decodes that took longer than they may.", "engine")
	if o.Keys {
		m.byKey = counter("aim_key_requests_total", "Requests that are over, by the ID of their key.", "key")
		m.tokensByKey = counter("aim_key_tokens_total", "Tokens of prompts and answers, by the ID of their key.", "key", "kind")
	}
	m.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewBuildInfoCollector(),
		&state{o},
	)
	return m
}

// Observe counts a request that is over.
func (m *Metrics) Observe(r *measure.Request) {
	model := m.models.label(r.Model)
	endpoint := r.Endpoint
	if endpoint == "" {
		endpoint = other
	}
	m.requests.WithLabelValues(model, m.endpoints.label(endpoint), status(r.Status), m.codes.label(r.Code)).Inc()
	if r.Refused != "" {
		m.refusals.WithLabelValues(m.codes.label(r.Refused)).Inc()
	}
	if m.byKey != nil && r.Key != "" {
		key := m.keys.label(r.Key)
		m.byKey.WithLabelValues(key).Inc()
		m.tokensByKey.WithLabelValues(key, "prompt").Add(float64(r.PromptTokens))
		m.tokensByKey.WithLabelValues(key, "completion").Add(float64(r.CompletionTokens))
	}
	if model == "" {
		return
	}
	m.prompt.WithLabelValues(model).Add(float64(r.PromptTokens))
	m.cached.WithLabelValues(model).Add(float64(r.CachedTokens))
	m.completion.WithLabelValues(model).Add(float64(r.CompletionTokens))
	if !r.Answers {
		return
	}
	m.duration.WithLabelValues(model).Observe(r.Ended.Sub(r.Began).Seconds())
	if !r.First.IsZero() {
		m.first.WithLabelValues(model).Observe(r.First.Sub(r.Began).Seconds())
	}
	if r.Queued >= 0 {
		m.queue.WithLabelValues(model).Observe(r.Queued.Seconds())
	}
	m.gaps.add(model, &r.Gaps)
}

// Stuck counts a decode of an engine that takes too long.
func (m *Metrics) Stuck(engine string) { m.stuck.WithLabelValues(m.engines.label(engine)).Inc() }

// Handler answers scrapes. It does not ask who scrapes.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

// status is a status of HTTP in three digits.
func status(n int) string {
	if n < 100 || n > 599 {
		return other
	}
	return string([]byte{byte('0' + n/100), byte('0' + n/10%10), byte('0' + n%10)})
}

// other stands for what has no label of its own.
const other = "other"

// mostLabels bounds the values of a label, should whoever fills it in ever take them from a client.
const mostLabels = 1000

// bounded lets only so many values of a label through.
type bounded struct {
	mu   sync.Mutex
	seen map[string]bool
}

func (b *bounded) label(value string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seen[value] {
		return value
	}
	if len(b.seen) >= mostLabels {
		return other
	}
	if b.seen == nil {
		b.seen = map[string]bool{}
	}
	b.seen[value] = true
	return value
}

// gaps are histograms of times between tokens, which come summed up.
type gaps struct {
	desc    *prometheus.Desc
	mu      sync.Mutex
	byModel map[string]*measure.Gaps
}

func newGaps(name, help string) *gaps {
	return &gaps{desc: prometheus.NewDesc(name, help, []string{"model"}, nil), byModel: map[string]*measure.Gaps{}}
}

func (g *gaps) add(model string, more *measure.Gaps) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.byModel[model] == nil {
		g.byModel[model] = &measure.Gaps{}
	}
	g.byModel[model].Add(more)
}

// Describe implements [prometheus.Collector].
func (g *gaps) Describe(to chan<- *prometheus.Desc) { to <- g.desc }

// Collect implements [prometheus.Collector].
func (g *gaps) Collect(to chan<- prometheus.Metric) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for model, h := range g.byModel {
		buckets, below := map[float64]uint64{}, uint64(0)
		for i, bound := range measure.GapBounds {
			below += h.Counts[i]
			buckets[bound] = below
		}
		to <- prometheus.MustNewConstHistogram(g.desc, h.Count(), h.Sum, buckets, model)
	}
}
