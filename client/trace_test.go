package client_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/raft-control-plane/control-plane/client"
	"github.com/raft-control-plane/control-plane/clienttest"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// tracer is a provider whose spans the test reads.
func tracer(t *testing.T) (*tracetest.InMemoryExporter, *sdktrace.TracerProvider) {
	spans := tracetest.NewInMemoryExporter()
	p := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	t.Cleanup(func() { _ = p.Shutdown(context.Background()) })
	return spans, p
}

// ended returns the span of a name, waiting for nothing: the name has ended.
func ended(t *testing.T, spans *tracetest.InMemoryExporter, name string) tracetest.SpanStub {
	t.Helper()
	for _, s := range spans.GetSpans() {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("there is no span %s in %v", name, spans.GetSpans())
	return tracetest.SpanStub{}
}

func client2(t *testing.T, p *clienttest.ControlPlane, opts ...client.Option) *client.Client {
	c, err := client.New([]string{p.URL}, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestATraceGoesThroughATask(t *testing.T) {
	p := clienttest.New(t)
	spans, provider := tracer(t)
	c := client2(t, p, client.WithTracerProvider(provider))
	w := testWorker(c, "traced")
	var inMiddleware trace.SpanContext
	w.Use(func(next client.Handler) client.Handler {
		return func(ctx context.Context, at *client.Attempt) ([]byte, error) {
			if at.Task.GetFunction().GetName() == "outer" {
				inMiddleware = trace.SpanContextFromContext(ctx)
			}
			return next(ctx, at)
		}
	})
	client.Register(w, "outer", func(ctx context.Context, n int) (int, error) {
		client.Logger(ctx).Info("begun")
		j, err := client.Submit[int, int](ctx, c, "inner", n)
		if err != nil {
			return 0, err
		}
		return j.Wait(ctx)
	})
	client.Register(w, "inner", func(_ context.Context, n int) (int, error) { return n + 1, errors.New("too small") })
	stop := run(t, w)
	ctx, submitter := provider.Tracer("test").Start(patient(t), "submit")
	j, err := client.Submit[int, int](ctx, c, "outer", 1)
	if err != nil {
		t.Fatal(err)
	}
	submitter.End()
	if _, err := j.Wait(patient(t)); err == nil {
		t.Error("the inner task did not fail the outer one")
	}
	task := taskOf(t, j)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	outer, inner := ended(t, spans, "outer"), ended(t, spans, "inner")
	if outer.Parent.SpanID() != submitter.SpanContext().SpanID() || outer.SpanContext.TraceID() != submitter.SpanContext().TraceID() || outer.SpanKind != trace.SpanKindConsumer {
		t.Errorf("the handler's span %v is not below the submitter's %v", outer, submitter.SpanContext())
	}
	if inner.Parent.SpanID() != outer.SpanContext.SpanID() || inner.SpanContext.TraceID() != outer.SpanContext.TraceID() {
		t.Errorf("the span of the inner handler %v is not below that of the outer %v", inner, outer)
	}
	if inMiddleware.SpanID() != outer.SpanContext.SpanID() {
		t.Errorf("middleware sees the span %v", inMiddleware)
	}
	if inner.Status.Description != "too small" || len(inner.Events) != 1 {
		t.Errorf("the error of the inner handler is told as %v, %v", inner.Status, inner.Events)
	}
	call := ended(t, spans, "controlplane.v1.TaskService/SubmitTask")
	if call.SpanContext.TraceID() != submitter.SpanContext().TraceID() || call.SpanKind != trace.SpanKindClient {
		t.Errorf("the call's span: %v", call)
	}
	for _, s := range spans.GetSpans() {
		if strings.Contains(s.Name, "NodeService") || strings.Contains(s.Name, "Watch") {
			t.Errorf("there is a span %s", s.Name)
		}
	}
	if want := "trace_id=" + submitter.SpanContext().TraceID().String(); !strings.Contains(task.GetLogTail(), want) {
		t.Errorf("the log has no %s: %s", want, task.GetLogTail())
	}
}

func TestATraceGoesThroughAClientThatMakesNoSpans(t *testing.T) {
	p := clienttest.New(t)
	w := testWorker(p.Client, "untraced")
	client.Register(w, "span", func(ctx context.Context, _ int) (string, error) {
		return trace.SpanContextFromContext(ctx).SpanID().String(), nil
	})
	run(t, w)
	_, provider := tracer(t)
	ctx, span := provider.Tracer("test").Start(patient(t), "submit")
	jobs, err := client.SubmitAll[int, string](ctx, p.Client, "span", []int{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range must(client.Results(patient(t), jobs))(t) {
		if got != span.SpanContext().SpanID().String() {
			t.Errorf("a handler has the span %s, want %s", got, span.SpanContext().SpanID())
		}
	}
	if got := must(submit[int, string](t, p, "span", 1).Wait(patient(t)))(t); got != (trace.SpanID{}).String() {
		t.Errorf("a task that was submitted without a span has %s", got)
	}
}

func TestTheMessageThatIsSubmittedIsNotChanged(t *testing.T) {
	p := clienttest.New(t)
	_, provider := tracer(t)
	ctx, span := provider.Tracer("test").Start(patient(t), "submit")
	req := &v1.SubmitTaskRequest{Task: &v1.Task{Work: &v1.Task_Function{Function: &v1.FunctionTask{Name: "f"}}}}
	stored := must(p.Client.SubmitTask(ctx, req))(t).GetTask()
	if req.GetTask().GetTraceparent() != "" || !strings.Contains(stored.GetTraceparent(), span.SpanContext().SpanID().String()) {
		t.Errorf("submitted %q, stored %q", req.GetTask().GetTraceparent(), stored.GetTraceparent())
	}
	named := "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	req.Task.Traceparent = named
	if got := must(p.Client.SubmitTask(ctx, req))(t).GetTask().GetTraceparent(); got != named {
		t.Errorf("a task that names its span is stored with %q", got)
	}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
