package client

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/internal/tracing"
)

const tracerName = "github.com/raft-control-plane/control-plane/client"

// WithTracerProvider makes spans: one of each call, but for polls, heartbeats, reports
// and watches, and one around each handler of a Worker, of kind consumer, named like the
// function, whose parent is the span that submitted the task.
//
// Without it there are no spans, and a trace still goes through: a call and the task that
// it submits have the span of their context, and a handler's context has the task's.
func WithTracerProvider(provider trace.TracerProvider) Option {
	return func(o *options) { o.tracing = provider }
}

// trace makes the interceptor of calls.
func (o *options) trace() error {
	if o.tracing == nil {
		return nil
	}
	i, err := tracing.Interceptor(o.tracing)
	o.interceptors = append(o.interceptors, i)
	return err
}

// withSpan returns req with the span of ctx as the one that submits it, if it names none.
// The caller's message is not changed.
func withSpan(ctx context.Context, req *v1.SubmitTaskRequest) *v1.SubmitTaskRequest {
	if !tracing.Lacks(ctx, req.GetTask()) {
		return req
	}
	req = proto.CloneOf(req)
	tracing.Fill(ctx, req.GetTask())
	return req
}

// withSpanOfOne returns ctx with the span of the first of several callers that has one: a
// call has one parent.
func withSpanOfOne(ctx context.Context, callers []context.Context) context.Context {
	for _, c := range callers {
		if span := trace.SpanFromContext(c); span.SpanContext().IsValid() {
			return trace.ContextWithSpan(ctx, span)
		}
	}
	return ctx
}

// traced puts a span around a handler and its middleware.
func (w *Worker) traced(h Handler) Handler {
	provider := w.client.options.tracing
	if provider == nil {
		return h
	}
	tracer := provider.Tracer(tracerName)
	return func(ctx context.Context, at *Attempt) ([]byte, error) {
		t := at.Task
		ctx, span := tracer.Start(ctx, t.GetFunction().GetName(), trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
			attribute.String("controlplane.task.id", t.GetId()), attribute.Int("controlplane.task.attempt", int(t.GetAttempt())),
			attribute.String("controlplane.task.queue", t.GetQueue()), attribute.String("controlplane.node.id", w.opts.Name)))
		returned := false
		defer func() {
			if !returned {
				span.SetStatus(codes.Error, "panic")
			}
			span.End()
		}()
		result, err := h(ctx, at)
		if returned = true; err != nil {
			span.RecordError(err)
			span.SetStatus(codes.Error, err.Error())
		}
		return result, err
	}
}
