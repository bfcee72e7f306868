package server

import (
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"aim/internal/measure"
	"aim/llama"
)

// Window and number of the answers that recent remembers.
const (
	recentFor  = 5 * time.Minute
	recentMost = 4096
)

// recent remembers how long the last answers took. It is an Observer.
type recent struct {
	mu   sync.Mutex
	list []past // in order of their ends
	// last is what the engines had computed when somebody looked last, at at.
	at   time.Time
	last map[*llama.Engine]computed
}

// past is an answer that is over.
type past struct {
	ended time.Time
	first time.Duration // 0 where no token came
	gaps  measure.Gaps
}

type computed struct{ prompt, completion uint64 }

// Observe implements [Observer].
func (r *recent) Observe(m *measure.Request) {
	if m.Model == "" || !m.Answers {
		return
	}
	p := past{ended: m.Ended, gaps: m.Gaps}
	if !m.First.IsZero() {
		p.first = m.First.Sub(m.Began)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, p)
	if over := len(r.list) - recentMost; over > 0 {
		r.list = slices.Delete(r.list, 0, over)
	}
}

// live answers GET /admin/live.
type live struct {
	Uptime            float64      `json:"uptime_s"`
	Engines           []liveEngine `json:"engines"`
	Latency           latency      `json:"latency"`
	RequestsPerMinute float64      `json:"requests_per_minute"`
}

type liveEngine struct {
	Name            string  `json:"name"`
	Slots           int     `json:"slots"`
	Busy            int     `json:"busy"`
	Queued          int     `json:"queued"`
	Cells           int     `json:"kv_cells"`
	Used            int     `json:"kv_used"`
	TokensPerSecond float64 `json:"tokens_per_second"`
	PromptPerSecond float64 `json:"prompt_tokens_per_second"`
}

// latency are quantiles of the last minutes in seconds, null where nothing was answered.
type latency struct {
	First50 *float64 `json:"first_token_p50_s"`
	First95 *float64 `json:"first_token_p95_s"`
	Inter50 *float64 `json:"inter_token_p50_s"`
	Inter95 *float64 `json:"inter_token_p95_s"`
}

// showLive serves GET /admin/live. Rates are those since somebody asked last.
func (s *Server) showLive(c *gin.Context) {
	now := time.Now()
	v := live{Uptime: now.Sub(s.began).Seconds(), Engines: []liveEngine{}}
	v.Latency, v.RequestsPerMinute = s.recent.quantiles(now)
	seen := map[*llama.Engine]bool{}
	var engines []*served
	for _, m := range recordOf(c).table.loaded() {
		if !seen[m.Engine] {
			seen[m.Engine] = true
			engines = append(engines, m)
		}
	}
	v.Engines = append(v.Engines, s.recent.rates(now, engines)...)
	writeJSON(c, http.StatusOK, v)
}

// rates are what the engines do, and have computed since the last call.
func (r *recent) rates(now time.Time, engines []*served) (list []liveEngine) {
	r.mu.Lock()
	defer r.mu.Unlock()
	passed, next := now.Sub(r.at).Seconds(), map[*llama.Engine]computed{}
	for _, m := range engines {
		stats := m.Engine.Stats()
		e := liveEngine{Name: m.base(), Slots: stats.Slots, Busy: stats.Busy, Queued: stats.Queued}
		e.Used, e.Cells = m.Engine.Occupancy()
		next[m.Engine] = computed{stats.PromptTokens, stats.CompletionTokens}
		if before, ok := r.last[m.Engine]; ok && passed > 0 {
			e.TokensPerSecond = float64(stats.CompletionTokens-before.completion) / passed
			e.PromptPerSecond = float64(stats.PromptTokens-before.prompt) / passed
		}
		list = append(list, e)
	}
	r.at, r.last = now, next
	return list
}

// quantiles are those of the answers in the window, and how many a minute they are.
func (r *recent) quantiles(now time.Time) (l latency, perMinute float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := 0
	for old < len(r.list) && now.Sub(r.list[old].ended) > recentFor {
		old++
	}
	r.list = slices.Delete(r.list, 0, old)
	var firsts []float64
	var gaps measure.Gaps
	lastMinute := 0
	for _, p := range r.list {
		if p.first > 0 {
			firsts = append(firsts, p.first.Seconds())
		}
		gaps.Add(&p.gaps)
		if now.Sub(p.ended) <= time.Minute {
			lastMinute++
		}
	}
	slices.Sort(firsts)
	if n := len(firsts); n > 0 {
		l.First50, l.First95 = &firsts[(n-1)/2], &firsts[(n-1)*95/100]
	}
	l.Inter50, l.Inter95 = quantile(&gaps, 0.5), quantile(&gaps, 0.95)
	return l, float64(lastMinute)
}

// quantile is the upper bound of the bucket that has the quantile, nil without any gap.
func quantile(g *measure.Gaps, q float64) *float64 {
	total := g.Count()
	if total == 0 {
		return nil
	}
	var below uint64
	for i, bound := range measure.GapBounds {
		if below += g.Counts[i]; float64(below) >= q*float64(total) {
			return &bound
		}
	}
	last := measure.GapBounds[len(measure.GapBounds)-1]
	return &last
}

// Calibrator measures what levels mean for models.
type Calibrator interface {
	// Calibrate begins to measure a served model anew, and fails where there is none such or it is being measured.
	Calibrate(model string) error
	// Calibrations are those since the start, the last first.
	Calibrations() []Calibration
}

// Calibration is a measurement that runs or is over.
type Calibration struct {
	Model string `json:"model"`
	// State is running, done or failed; Fraction in [0, 1] is how much is done, and Error says what failed.
	State    string       `json:"state"`
	Fraction float64      `json:"fraction"`
	Error    string       `json:"error,omitempty"`
	Began    time.Time    `json:"began"`
	Measured time.Time    `json:"measured,omitzero"`
	Curve    []CurvePoint `json:"curve"`
}

// calibrationList answers GET /admin/calibrations.
type calibrationList struct {
	Object string        `json:"object"`
	Data   []Calibration `json:"data"`
}

func (s *Server) showCalibrations(c *gin.Context) {
	writeJSON(c, http.StatusOK, calibrationList{"list", append([]Calibration{}, s.calibrator.Calibrations()...)})
}

func (s *Server) calibrate(c *gin.Context) {
	var r struct {
		Model string `json:"model"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(c.Writer, c.Request.Body, 1<<16)).Decode(&r); err != nil {
		s.fail(c, invalid("", "invalid_body", "the body must be an object with the name of a model: %v", err))
		return
	}
	e, err := recordOf(c).find(r.Model)
	if err == nil {
		err = s.calibrator.Calibrate(e.ID)
	}
	if err != nil {
		s.fail(c, err)
		return
	}
	writeJSON(c, http.StatusAccepted, calibrationList{"list", append([]Calibration{}, s.calibrator.Calibrations()...)})
}
