package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/raft-control-plane/control-plane/internal/otlp"
)

// lastExport bounds what is waited for at the end: a member ends in time even if its
// collector does not answer.
const lastExport = time.Second

func (c *serveConfig) loadTracing() (err error) {
	c.tracing, err = otlp.FromEnv(os.Getenv, c.OTLPEndpoint)
	return err
}

// startTracing begins to export the member's spans; the provider is nil if none is to be.
func startTracing(ctx context.Context, cfg *serveConfig, log *slog.Logger) (provider trace.TracerProvider, stop func(), err error) {
	if cfg.tracing == nil {
		return nil, func() {}, nil
	}
	p, err := otlp.NewProvider(ctx, cfg.tracing, otlp.Service{Name: "raft-node", Instance: cfg.Name, Version: version}, log)
	if err != nil {
		return nil, nil, fmt.Errorf("traces: %w", err)
	}
	return p, func() {
		last, cancel := context.WithTimeout(context.Background(), lastExport)
		defer cancel()
		if err := p.Shutdown(last); err != nil {
			log.Warn("the last traces could not be exported", "error", err)
		}
	}, nil
}
