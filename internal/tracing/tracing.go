// Package tracing carries traces through tasks and calls: what the SDK, the agent and
// the members have in common of OpenTelemetry. It needs the API of OpenTelemetry only.
package tracing

import (
	"context"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"connectrpc.com/otelconnect"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// Propagator reads and writes W3C Trace Context.
var Propagator = propagation.TraceContext{}

// maxStateBytes is what the contract takes of a tracestate.
const maxStateBytes = 512

// Keys of W3C Trace Context.
const (
	parentKey = "traceparent"
	stateKey  = "tracestate"
)

// Fill names the span of a context as the one that submits a task, unless the task
// names one.
func Fill(ctx context.Context, t *v1.Task) {
	if t == nil || t.GetTraceparent() != "" || !trace.SpanContextFromContext(ctx).IsValid() {
		return
	}
	carrier := propagation.MapCarrier{}
	Propagator.Inject(ctx, carrier)
	t.Traceparent = carrier[parentKey]
	if state := carrier[stateKey]; len(state) <= maxStateBytes { // a state that is not sent harms no trace
		t.Tracestate = state
	}
}

// Lacks reports whether Fill would change a task.
func Lacks(ctx context.Context, t *v1.Task) bool {
	return t != nil && t.GetTraceparent() == "" && trace.SpanContextFromContext(ctx).IsValid()
}

// Submitter returns a context whose span is the one that submitted a task; the context
// itself if there is none, or one that is malformed.
func Submitter(ctx context.Context, t *v1.Task) context.Context {
	if t.GetTraceparent() == "" {
		return ctx
	}
	return Extract(ctx, t.GetTraceparent(), t.GetTracestate())
}

// Extract returns a context whose span a traceparent and a tracestate name. What is
// malformed names none.
func Extract(ctx context.Context, parent, state string) context.Context {
	return Propagator.Extract(ctx, propagation.MapCarrier{parentKey: parent, stateKey: state})
}

// LogAttrs are what a line about an attempt says: task, attempt and, if its task was
// submitted within a trace, trace_id.
func LogAttrs(t *v1.Task) []any {
	attrs := []any{"task", t.GetId(), "attempt", t.GetAttempt()}
	if parts := strings.Split(t.GetTraceparent(), "-"); len(parts) == 4 {
		attrs = append(attrs, "trace_id", parts[1])
	}
	return attrs
}

// unseen are calls that go on all the time, whether something happens or not.
var unseen = []string{
	"/controlplane.v1.NodeService/Heartbeat",
	"/controlplane.v1.NodeService/PollTask",
	"/controlplane.v1.NodeService/ReportTaskResult",
	"/controlplane.v1.NodeService/ReportTaskResults",
	"/controlplane.v1.EventService/ListEvents",
	"/controlplane.v1.EventService/WatchEvents",
	"/controlplane.v1.TaskService/WatchTasks",
}

// Interceptor makes a span of each call, on either side, but of those that nodes and
// watchers make all the time.
func Interceptor(provider trace.TracerProvider) (connect.Interceptor, error) {
	return otelconnect.NewInterceptor(
		otelconnect.WithTracerProvider(provider),
		otelconnect.WithPropagator(Propagator),
		otelconnect.WithTrustRemote(), // who may call may also name its span
		otelconnect.WithoutMetrics(),  // /metrics has them
		otelconnect.WithFilter(func(_ context.Context, s connect.Spec) bool { return !slices.Contains(unseen, s.Procedure) }),
	)
}
