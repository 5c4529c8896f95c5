package tracing_test

import (
	"context"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/trace"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/internal/tracing"
)

const span = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestWhatIsMalformedNamesNoSpan(t *testing.T) {
	for _, parent := range []string{
		"", "x", span[:54], span + "0", strings.ToUpper(span), strings.Replace(span, "00-", "ff-", 1),
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
	} {
		task := &v1.Task{}
		tracing.Fill(tracing.Extract(t.Context(), parent, "a=1"), task)
		if task.GetTraceparent() != "" || task.GetTracestate() != "" {
			t.Errorf("%q was taken as %q, %q", parent, task.GetTraceparent(), task.GetTracestate())
		}
		if got := tracing.Submitter(t.Context(), &v1.Task{Traceparent: parent}); trace.SpanContextFromContext(got).IsValid() {
			t.Errorf("%q names a span", parent)
		}
	}
}

func TestAStateThatIsTooLongIsLeftOut(t *testing.T) {
	for state, want := range map[string]string{"a=1,b=2": "a=1,b=2", "a=" + strings.Repeat("x", 250) + ",b=" + strings.Repeat("y", 250) + ",c=" + strings.Repeat("z", 50): "", "no state": ""} {
		task := &v1.Task{}
		tracing.Fill(tracing.Extract(t.Context(), span, state), task)
		if task.GetTraceparent() != span || task.GetTracestate() != want {
			t.Errorf("%q gives %q, %q", state, task.GetTraceparent(), task.GetTracestate())
		}
	}
}

func TestATaskKeepsTheSpanThatItNames(t *testing.T) {
	task := &v1.Task{Traceparent: span}
	ctx := tracing.Submitter(context.Background(), &v1.Task{Traceparent: strings.Replace(span, "b7-", "b8-", 1)})
	if tracing.Fill(ctx, task); task.GetTraceparent() != span || tracing.Lacks(ctx, task) {
		t.Errorf("it has %s", task.GetTraceparent())
	}
}
