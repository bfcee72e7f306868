package tracing

import (
	"compress/gzip"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"aim/internal/measure"
)

// receiver is an OTLP receiver that keeps what it gets, over HTTP and gRPC.
type receiver struct {
	collector.UnimplementedTraceServiceServer
	mu       sync.Mutex
	requests []*collector.ExportTraceServiceRequest
}

func (r *receiver) Export(_ context.Context, req *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, req)
	return &collector.ExportTraceServiceResponse{}, nil
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body := io.Reader(req.Body)
	if req.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = z
	}
	data, err := io.ReadAll(body)
	var m collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(data, &m)
	}
	if err != nil || req.URL.Path != "/v1/traces" {
		http.Error(w, fmt.Sprint(req.URL.Path, err), http.StatusBadRequest)
		return
	}
	answer, _ := r.Export(req.Context(), &m)
	data, _ = proto.Marshal(answer)
	w.Header().Set("Content-Type", "application/x-protobuf")
	w.Write(data)
}

func (r *receiver) spans() (list []*spans.Span) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, req := range r.requests {
		for _, rs := range req.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				list = append(list, ss.Spans...)
			}
		}
	}
	return list
}

func (r *receiver) resource() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Sprint(r.requests[0].ResourceSpans[0].Resource)
}

// clearEnv makes the environment one that says nothing.
func clearEnv(t *testing.T) {
	for _, name := range []string{
		"OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
		"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_TRACES_SAMPLER", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES",
	} {
		t.Setenv(name, "")
	}
}

// sample is a request as a server measures it.
func sample() *measure.Request {
	began := time.Now()
	at := func(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }
	r := &measure.Request{
		ID: "req-1", Method: "POST", Endpoint: "/v1/chat/completions", Model: "tiny-lite", Key: "key_7", Status: 200, Stream: true,
		Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", PromptTokens: 12, CompletionTokens: 3,
	}
	r.Begin(began)
	r.Mark(measure.Parse, at(1))
	r.Mark(measure.Policy, at(2))
	r.Mark(measure.Limits, at(3))
	r.Tokens(0, 1)
	r.Arrived(at(40))
	r.Tokens(0, 3)
	r.Arrived(at(60))
	r.Waited(10 * time.Millisecond)
	r.Generated(at(61))
	r.End(at(70))
	return r
}

// check finds the spans of the sample among those that were received.
func check(t *testing.T, list []*spans.Span, r *measure.Request) {
	t.Helper()
	if len(list) != 8 {
		t.Fatalf("%d spans, want one and its seven stages: %v", len(list), list)
	}
	byName := map[string]*spans.Span{}
	for _, s := range list {
		byName[s.Name] = s
	}
	root := byName["POST /v1/chat/completions"]
	if root == nil || hex.EncodeToString(root.TraceId) != "0af7651916cd43dd8448eb211c80319c" || hex.EncodeToString(root.ParentSpanId) != "b7ad6b7169203331" {
		t.Fatalf("the request's span is %v", root)
	}
	if root.StartTimeUnixNano != uint64(r.Began.UnixNano()) || root.EndTimeUnixNano != uint64(r.Ended.UnixNano()) {
		t.Errorf("the request's span is from %d to %d", root.StartTimeUnixNano, root.EndTimeUnixNano)
	}
	for _, stage := range r.Stages {
		s := byName[stage.Name]
		if s == nil || string(s.ParentSpanId) != string(root.SpanId) ||
			s.StartTimeUnixNano != uint64(stage.From.UnixNano()) || s.EndTimeUnixNano != uint64(stage.To.UnixNano()) {
			t.Errorf("the stage %v is %v", stage, s)
		}
	}
	values := map[string]string{}
	for _, a := range root.Attributes {
		values[a.Key] = a.Value.String()
	}
	for name, want := range map[string]string{
		"aim.request.id": `string_value:"req-1"`, "gen_ai.request.model": `string_value:"tiny-lite"`, "aim.key.id": `string_value:"key_7"`,
		"http.response.status_code": "int_value:200", "gen_ai.usage.output_tokens": "int_value:3",
	} {
		if values[name] != want {
			t.Errorf("%s is %s, want %s", name, values[name], want)
		}
	}
}

func send(t *testing.T, r *measure.Request) {
	t.Helper()
	tracer, err := Setup(t.Context(), "v1", nil)
	if err != nil || tracer == nil {
		t.Fatalf("%v, %v", tracer, err)
	}
	tracer.Observe(r)
	if err := tracer.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestHTTP(t *testing.T) {
	clearEnv(t)
	var in receiver
	web := httptest.NewServer(&in)
	defer web.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", web.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
	r := sample()
	send(t, r)
	check(t, in.spans(), r)
	for _, want := range []string{"service.name", `"aim"`, "service.version", "deployment.environment"} {
		if !strings.Contains(in.resource(), want) {
			t.Errorf("the resource lacks %s: %s", want, in.resource())
		}
	}
}

func TestGRPC(t *testing.T) {
	clearEnv(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var in receiver
	s := grpc.NewServer()
	collector.RegisterTraceServiceServer(s, &in)
	go s.Serve(l)
	defer s.Stop()
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://"+l.Addr().String())
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
	r := sample()
	send(t, r)
	check(t, in.spans(), r)
}

// TestParents: who calls decides what is sampled, and a header that is none begins a trace of its own.
func TestParents(t *testing.T) {
	clearEnv(t)
	var in receiver
	web := httptest.NewServer(&in)
	defer web.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", web.URL)
	tracer, err := Setup(t.Context(), "v1", nil)
	if err != nil {
		t.Fatal(err)
	}
	r := sample()
	r.Traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00" // not sampled
	tracer.Observe(r)
	r.Traceparent, r.Status, r.Code = "nonsense", 500, "decode_failed"
	tracer.Observe(r)
	if err := tracer.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	roots := 0
	for _, s := range in.spans() {
		if s.Kind == spans.Span_SPAN_KIND_SERVER {
			roots++
			if len(s.ParentSpanId) != 0 || s.Status.GetCode() != spans.Status_STATUS_CODE_ERROR {
				t.Errorf("%v", s)
			}
		}
	}
	if roots != 1 {
		t.Errorf("%d requests were traced, want 1", roots)
	}
}

// TestOff: without a configuration there is nothing, and nothing is done.
func TestOff(t *testing.T) {
	for _, env := range []map[string]string{
		{},
		{"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
		{"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
	} {
		clearEnv(t)
		for name, value := range env {
			t.Setenv(name, value)
		}
		tracer, err := Setup(t.Context(), "v1", nil)
		if tracer != nil || err != nil {
			t.Errorf("%v: %v, %v", env, tracer, err)
		}
		r := sample()
		if n := testing.AllocsPerRun(10, func() { tracer.Observe(r) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
		if err := tracer.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestWrongSettings(t *testing.T) {
	for name, value := range map[string]string{"OTEL_TRACES_EXPORTER": "zipkin", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"} {
		clearEnv(t)
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
		t.Setenv(name, value)
		if _, err := Setup(t.Context(), "v1", nil); err == nil || !strings.Contains(err.Error(), name+"="+value) {
			t.Errorf("%s=%s: %v", name, value, err)
		}
	}
}
