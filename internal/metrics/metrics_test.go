package metrics_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"aim/internal/limit"
	"aim/internal/measure"
	"aim/internal/metrics"
	"aim/llama"
	"aim/llama/llamatest"
	"aim/server"
)

// site is a server over the fake model that tells its metrics everything there is.
type site struct {
	*metrics.Metrics
	web *httptest.Server
}

func start(t *testing.T) *site {
	t.Helper()
	fake := llamatest.New()
	cfg := llama.Config{Slots: 2, Context: 256, Batch: 64, Queue: 4}
	e := llama.New(fake, llamatest.NewDecoder(fake, llamatest.Options{Slots: 2, Context: 256, Batch: 64}), cfg)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1) // one send
	go func() { ended <- e.Run(ctx) }()
	m := metrics.New(metrics.Options{
		Version: "v1", Keys: true, Shared: func() bool { return true },
		Engines: func() []metrics.Engine { return []metrics.Engine{{Name: "base", Engine: e}} },
		Tiers: func() []metrics.Tier {
			return []metrics.Tier{{Model: "base", Base: "base", Level: 1}, {Model: "lite", Base: "base", Sigma: 2, Level: .8}, {Model: "lite", Base: "base"}}
		},
	})
	api, err := server.New(server.Config{
		Serving: server.Serving{
			Models: []server.Model{{ID: "base", Engine: e}, {ID: "lite", Engine: e, Sigma: 2}}, Secret: []byte("of the tests"),
		},
		Observers: []server.Observer{m},
	})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(api.Handler())
	t.Cleanup(func() {
		web.Close()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return &site{m, web}
}

func (s *site) post(t *testing.T, path, body string) int {
	t.Helper()
	res, err := s.web.Client().Post(s.web.URL+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode
}

// scrape is the text of the metrics.
func scrape(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// used makes the server do something of each kind.
func (s *site) used(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"base", "lite", "my secret"} {
		for _, stream := range []bool{false, true} {
			status := s.post(t, "/v1/completions", fmt.Sprintf(`{"model": %q, "prompt": "tell me what I typed", "max_tokens": 8, "ignore_eos": true, "stream": %v}`, name, stream))
			if (status == http.StatusOK) == (name == "my secret") {
				t.Fatalf("%s: status %d", name, status)
			}
		}
	}
	s.post(t, "/what/I/typed", "{}")
	now := time.Now()
	refused := measure.Request{Endpoint: "/v1/completions", Status: 429, Code: "rate_limit_exceeded", Refused: limit.Tokens, Key: "key_7", Began: now, Ended: now, Queued: -1}
	s.Observe(&refused)
	s.Stuck("base")
	var text string
	for range 1000 { // a handler tells after its client has the answer
		if text = scrape(t, s.Metrics); strings.Contains(text, `aim_requests_total{code="not_found",endpoint="other",model="",status="404"} 1`) {
			return text
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("the last request is not among the metrics: %s", text)
	return ""
}

func TestMetrics(t *testing.T) {
	s := start(t)
	text := s.used(t)
	for _, want := range []string{
		`aim_requests_total{code="",endpoint="/v1/completions",model="lite",status="200"} 2`,
		`aim_requests_total{code="model_not_found",endpoint="/v1/completions",model="",status="404"} 2`,
		`aim_completion_tokens_total{model="lite"} 16`,
		`aim_time_to_first_token_seconds_count{model="base"} 2`,
		`aim_queue_time_seconds_count{model="base"} 2`,
		`aim_request_duration_seconds_count{model="lite"} 2`,
		`aim_inter_token_latency_seconds_bucket{model="lite",le="+Inf"}`,
		`aim_rate_limit_refusals_total{limit="tokens_per_minute"} 1`,
		`aim_engine_completion_tokens_total{engine="base"} 32`,
		`aim_engine_slots{engine="base"} 2`,
		`aim_engine_kv_cells{engine="base"} 512`,
		`aim_engine_stuck_total{engine="base"} 1`,
		`aim_model_steps_total{model="lite"} 16`,
		`aim_model_sigma{base="base",model="lite"} 2`,
		`aim_model_level{base="base",model="lite"} 0.8`,
		`aim_limits_shared 1`,
		`aim_build_info{version="v1"} 1`,
		`aim_key_requests_total{key="key_7"} 1`,
		"go_goroutines ", "process_resident_memory_bytes ", "go_build_info{",
	} {
		if !strings.Contains(text, "\n"+want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	for _, secret := range []string{"my secret", "typed", "of the tests"} {
		if strings.Contains(text, secret) {
			t.Errorf("the metrics tell %q", secret)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

// TestLabelsAreBounded: a label that somebody fills from a client's choice after all does not fill the memory.
func TestLabelsAreBounded(t *testing.T) {
	m := metrics.New(metrics.Options{Keys: true})
	for i := range 5000 {
		name := fmt.Sprint(i)
		m.Observe(&measure.Request{Model: name, Key: name, Code: name, Endpoint: name, Status: i})
	}
	if n := strings.Count(scrape(t, m), "\n"); n > 1001*(15+3*18)+3000 {
		t.Errorf("%d lines", n)
	}
}

// names are the metrics that are told.
func names(t *testing.T, text string) map[string]bool {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	list := map[string]bool{}
	for name, f := range families {
		list[name] = true
		if f.GetType().String() == "HISTOGRAM" {
			list[name+"_bucket"], list[name+"_sum"], list[name+"_count"] = true, true, true
		}
	}
	return list
}

var metricName = regexp.MustCompile(`\b(?:aim|go|process)_[a-z0-9_]+`)

// TestDeployed: the dashboard and the rules ask for nothing that is not told.
func TestDeployed(t *testing.T) {
	told := names(t, start(t).used(t))
	var dashboard struct {
		Templating struct{ List []struct{ Definition string } }
		Panels     []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	data, err := os.ReadFile("../../deploy/grafana/aim.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &dashboard); err != nil {
		t.Fatal(err)
	}
	asked := 0
	check := func(where, expr string) {
		for _, name := range metricName.FindAllString(expr, -1) {
			asked++
			if !told[name] {
				t.Errorf("%s asks for %s, which is not told", where, name)
			}
		}
	}
	for _, v := range dashboard.Templating.List {
		check("a variable", v.Definition)
	}
	shown := map[string]bool{}
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			check(p.Title, target.Expr)
			for _, name := range metricName.FindAllString(target.Expr, -1) {
				shown[strings.TrimSuffix(name, "_bucket")] = true
			}
		}
	}
	rules, err := os.ReadFile("../../deploy/prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	check("a rule", string(rules))
	if asked < 50 {
		t.Errorf("only %d names were found", asked)
	}
	for name := range told {
		base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
		if strings.HasPrefix(name, "aim_") && !shown[base] && !strings.HasPrefix(name, "aim_key_") && name != "aim_build_info" {
			t.Errorf("no panel shows %s", name)
		}
	}
}

// TestPromtool asks Prometheus' own checker about the metrics, the rules, their tests and the configuration.
func TestPromtool(t *testing.T) {
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not here: apt-get install prometheus")
	}
	run := func(in string, args ...string) {
		t.Helper()
		cmd := exec.Command(tool, args...)
		cmd.Dir, cmd.Stdin = "../../deploy/prometheus", strings.NewReader(in)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	run(start(t).used(t), "check", "metrics")
	run("", "check", "config", "prometheus.yml")
	run("", "test", "rules", "alerts_test.yml")
}
