// Package tracing makes OpenTelemetry spans of requests: one for each, with a child for each stage. The spans are made when a request is over, from
// the times that were measured, so that neither handlers nor the engine know of them. They hold no text of prompts or answers.
//
// The standard's environment variables configure it: OTEL_EXPORTER_OTLP_ENDPOINT (or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, or
// OTEL_TRACES_EXPORTER=otlp for the default endpoint) turns it on; OTEL_EXPORTER_OTLP_PROTOCOL is http/protobuf or grpc. Those of headers,
// certificates, timeouts, sampling, batches, OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES are read by OpenTelemetry itself.
package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	api "go.opentelemetry.io/otel/trace"

	"aim/internal/measure"
)

// Tracer sends spans. Its methods are safe for concurrent use.
type Tracer struct {
	provider *trace.TracerProvider
	tracer   api.Tracer
}

// Setup returns a Tracer as the environment configures it, nil where it does not. It does not wait for whoever receives the spans. version is
// the program's; log, default [slog.Default], gets OpenTelemetry's own errors, for which there is no place but a global one.
func Setup(ctx context.Context, version string, log *slog.Logger) (*Tracer, error) {
	on, err := enabled()
	if !on || err != nil {
		return nil, err
	}
	exporter, err := newExporter(ctx)
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "aim"), attribute.String("service.version", version)),
		resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	if log == nil {
		log = slog.Default()
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces", "error", err) }))
	p := trace.NewTracerProvider(trace.WithBatcher(exporter), trace.WithResource(about))
	return &Tracer{p, p.Tracer("aim")}, nil
}

// enabled says whether the environment asks for traces.
func enabled() (bool, error) {
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return false, nil
	}
	switch name := os.Getenv("OTEL_TRACES_EXPORTER"); name {
	case "otlp":
		return true, nil
	case "none":
		return false, nil
	case "":
		return os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != "", nil
	default:
		return false, fmt.Errorf("OTEL_TRACES_EXPORTER=%s: want otlp or none", name)
	}
}

func newExporter(ctx context.Context) (*otlptrace.Exporter, error) {
	protocol := os.Getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
	if protocol == "" {
		protocol = os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL")
	}
	switch protocol {
	case "", "http/protobuf":
		return otlptracehttp.New(ctx)
	case "grpc":
		return otlptracegrpc.New(ctx)
	}
	return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL=%s: want http/protobuf or grpc", protocol)
}

// Shutdown sends what is left, until ctx ends.
func (t *Tracer) Shutdown(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}

// Observe makes the spans of a request that is over.
func (t *Tracer) Observe(r *measure.Request) {
	if t == nil {
		return
	}
	ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": r.Traceparent, "tracestate": r.Tracestate})
	name := r.Method
	if r.Endpoint != "" {
		name += " " + r.Endpoint
	}
	ctx, span := t.tracer.Start(ctx, name, api.WithSpanKind(api.SpanKindServer), api.WithTimestamp(r.Began))
	if span.IsRecording() {
		span.SetAttributes(attributes(r)...)
		if r.Status >= 500 {
			span.SetStatus(codes.Error, r.Code)
		}
		for _, s := range r.Stages {
			_, child := t.tracer.Start(ctx, s.Name, api.WithTimestamp(s.From))
			child.End(api.WithTimestamp(s.To))
		}
	}
	span.End(api.WithTimestamp(r.Ended))
}

// attributes have the names of OpenTelemetry's conventions where there are such.
func attributes(r *measure.Request) []attribute.KeyValue {
	list := []attribute.KeyValue{
		attribute.String("http.request.method", r.Method),
		attribute.Int("http.response.status_code", r.Status),
		attribute.String("aim.request.id", r.ID),
	}
	text := func(name, value string) {
		if value != "" {
			list = append(list, attribute.String(name, value))
		}
	}
	text("http.route", r.Endpoint)
	text("error.type", r.Code)
	text("aim.limit", r.Refused)
	text("aim.key.id", r.Key)
	if r.Model == "" {
		return list
	}
	list = append(list,
		attribute.String("gen_ai.request.model", r.Model),
		attribute.Bool("aim.stream", r.Stream),
		attribute.Int("gen_ai.usage.input_tokens", r.PromptTokens),
		attribute.Int("gen_ai.usage.output_tokens", r.CompletionTokens),
		attribute.Int("aim.usage.cached_tokens", r.CachedTokens))
	if !r.First.IsZero() {
		list = append(list, attribute.Float64("aim.time_to_first_token", r.First.Sub(r.Began).Seconds()))
	}
	return list
}
