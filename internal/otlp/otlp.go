// Package otlp exports the spans of a member by OTLP over HTTP, as the standard variables
// OTEL_* say. The exporter of OpenTelemetry itself would make the binary a third larger,
// with a gRPC stack that is not used; this one posts the same messages by net/http.
package otlp

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// complainEvery is how often a failing export is logged as a warning.
const complainEvery = time.Minute

// Service says whose spans are exported. OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES
// come before it.
type Service struct {
	Name, Instance, Version string
}

// NewProvider begins to export. OTEL_TRACES_SAMPLER, OTEL_BSP_* and the limits of spans
// are read by OpenTelemetry. Shut the provider down to export what is left.
func NewProvider(ctx context.Context, cfg *Config, s Service, log *slog.Logger) (*sdktrace.TracerProvider, error) {
	exporter, err := otlptrace.New(ctx, newClient(cfg))
	if err != nil {
		return nil, err
	}
	res, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", s.Name), attribute.String("service.instance.id", s.Instance), attribute.String("service.version", s.Version)),
		resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, err
	}
	otel.SetErrorHandler(&complaints{log: log, endpoint: cfg.shown()})
	return sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(res)), nil
}

// complaints logs what goes wrong in the background, now and then.
type complaints struct {
	log      *slog.Logger
	endpoint string

	mu   sync.Mutex
	last time.Time
}

// Handle implements otel.ErrorHandler.
func (c *complaints) Handle(err error) {
	c.mu.Lock()
	due := time.Since(c.last) >= complainEvery
	if due {
		c.last = time.Now()
	}
	c.mu.Unlock()
	if !due {
		c.log.Debug("traces", "endpoint", c.endpoint, "error", err)
		return
	}
	c.log.Warn("traces cannot be exported, which harms nothing else; more of this is logged at level debug for a minute", "endpoint", c.endpoint, "error", err)
}
