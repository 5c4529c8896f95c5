package e2e

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// exportedSpan is one that a member sent to its collector.
type exportedSpan struct {
	name, member     string
	trace, id, above string // as raw bytes
}

// sink is a collector.
type sink struct {
	url string
	mu  sync.Mutex
	all []exportedSpan
}

func newSink(t *testing.T) *sink {
	s := &sink{}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var m tracepb.TracesData
		if err := proto.Unmarshal(body, &m); err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", r.URL, err)
		}
		for _, rs := range m.GetResourceSpans() {
			s.take(rs)
		}
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *sink) take(rs *tracepb.ResourceSpans) {
	s.mu.Lock()
	defer s.mu.Unlock()
	member := ""
	for _, a := range rs.GetResource().GetAttributes() {
		if a.GetKey() == "service.instance.id" {
			member = a.GetValue().GetStringValue()
		}
	}
	for _, ss := range rs.GetScopeSpans() {
		for _, span := range ss.GetSpans() {
			s.all = append(s.all, exportedSpan{span.GetName(), member, string(span.GetTraceId()), string(span.GetSpanId()), string(span.GetParentSpanId())})
		}
	}
}

// below waits for a span whose parent has an id.
func (s *sink) below(t *testing.T, parent string) (found exportedSpan) {
	t.Helper()
	until(t, "a span of a member", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		i := slices.IndexFunc(s.all, func(e exportedSpan) bool { return e.above == parent })
		if i >= 0 {
			found = s.all[i]
		}
		return i >= 0
	})
	return found
}

// TestATraceThroughACluster submits to a follower, which forwards, for a handler in Go, one
// in Python and a process: all of it is one trace.
func TestATraceThroughACluster(t *testing.T) {
	collector := newSink(t)
	c := prepare(t, 3)
	for _, m := range c.members {
		m.startWith(append(cleanEnv(), "OTEL_EXPORTER_OTLP_ENDPOINT="+collector.url, "OTEL_BSP_SCHEDULE_DELAY=20"))
	}
	c.ready()
	c.addAgent("agent", 1)
	leader, followers := c.leader()
	address := c.addresses[followers[0]]

	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	sdk, err := client.New([]string{"http://" + address}, client.WithTracerProvider(provider))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sdk.Close)
	w := client.NewWorker(sdk, client.WorkerOptions{Name: "go", Logger: slog.New(slog.DiscardHandler)})
	client.Register(w, "go/span", func(ctx context.Context, _ any) (string, error) {
		return trace.SpanContextFromContext(ctx).SpanID().String(), nil
	})
	working, stop := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- w.Run(working) }()
	t.Cleanup(func() { stop(); <-stopped })
	interopPythonWorker(t, address)

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ctx, submitter := provider.Tracer("test").Start(ctx, "submit")
	want := []string{submitter.SpanContext().TraceID().String(), submitter.SpanContext().SpanID().String()}
	inGo, err := client.Submit[any, string](ctx, sdk, "go/span", nil)
	if err != nil {
		t.Fatal(err)
	}
	inPython, err := client.Submit[struct{}, []string](ctx, sdk, "python/span", struct{}{})
	if err != nil {
		t.Fatal(err)
	}
	process, err := sdk.SubmitTask(ctx, &v1.SubmitTaskRequest{Task: &v1.Task{Work: &v1.Task_Exec{Exec: &v1.ExecTask{Command: []string{"sh", "-c", `echo "\"$TRACEPARENT\""`}}}}})
	if err != nil {
		t.Fatal(err)
	}

	handler, err := inGo.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the handler's span", func() bool {
		return slices.ContainsFunc(spans.GetSpans(), func(s tracetest.SpanStub) bool {
			return s.Name == "go/span" && s.SpanContext.SpanID().String() == handler && s.Parent.TraceID().String() == want[0] && s.Parent.SpanID().String() == want[1]
		})
	})
	if got, err := inPython.Wait(ctx); err != nil || !slices.Equal(got, want) {
		t.Errorf("the handler in Python is below %v, %v; want %v", got, err, want)
	}
	task, err := sdk.Wait(ctx, process.GetTask().GetId())
	var parent string
	if err != nil || json.Unmarshal(task.GetResult(), &parent) != nil || !strings.HasPrefix(parent, "00-"+strings.Join(want, "-")+"-") {
		t.Errorf("the process is below %q, %v; want %v", parent, err, want)
	}
	followCall(t, collector, spans, leader, followers[0])
}

// followCall follows the first submission from the client through the follower to the leader.
func followCall(t *testing.T, collector *sink, spans *tracetest.InMemoryExporter, leader, follower string) {
	t.Helper()
	const name = "controlplane.v1.TaskService/SubmitTask"
	i := slices.IndexFunc(spans.GetSpans(), func(s tracetest.SpanStub) bool { return s.Name == name })
	if i < 0 {
		t.Fatalf("the client made no span of its call: %v", spans.GetSpans())
	}
	above := spans.GetSpans()[i].SpanContext
	traceID, id := above.TraceID(), above.SpanID()
	next := string(id[:])
	for _, member := range []string{follower, follower, leader} { // it answers, it forwards, it answers
		got := collector.below(t, next)
		if got.name != name || got.member != member || got.trace != string(traceID[:]) {
			t.Fatalf("below comes %+v, want %s of %s", got, name, member)
		}
		next = got.id
	}
}

// TestTheExampleOfTracing runs docs/tracing.md as it stands, but for the addresses.
func TestTheExampleOfTracing(t *testing.T) {
	collector := newSink(t)
	c := prepare(t, 1)
	address := c.addresses["m1"]
	bin := t.TempDir()
	binary, err := filepath.Abs(raftNode)
	if err == nil {
		err = os.Symlink(binary, filepath.Join(bin, "raft-node"))
	}
	if err != nil {
		t.Fatal(err)
	}
	script := "trap 'kill $(jobs -p)' EXIT\n"
	for _, e := range examples(t, "tracing.md") {
		script += e.commands
	}
	script = strings.NewReplacer("http://127.0.0.1:4318", collector.url, "127.0.0.1:8080", address).Replace(script)
	cmd := exec.CommandContext(t.Context(), "bash", "-euc", script)
	cmd.Dir = t.TempDir()
	cmd.Env = append(cleanEnv(), "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+cmd.Dir, "RAFT_NODE_SERVER=http://"+address, "OTEL_BSP_SCHEDULE_DELAY=20")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01") {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := collector.below(t, "\x00\xf0\x67\xaa\x0b\xa9\x02\xb7"); !strings.HasSuffix(got.name, "/SubmitTask") {
		t.Errorf("the member's span is %+v", got)
	}
}
