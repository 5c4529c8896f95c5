package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	controlplanev1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/gen/go/controlplane/v1/controlplanev1connect"
)

// patience bounds each wait of a test; it is only reached when the test fails.
const patience = 30 * time.Second

// TestMain lets the test binary stand in for raft-node: as "supervise" and as
// "agent URL WORKDIR".
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "supervise":
			os.Exit(Supervise(os.Args[2:]))
		case "agent":
			os.Exit(agentMain(os.Args[2], os.Args[3]))
		}
	}
	os.Exit(m.Run())
}

func agentMain(url, workDir string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	cfg := Config{Name: "n1", Slots: 2, GPUs: gpusNone, WorkDir: workDir, ControlPlane: dial(url)}
	if err := Run(ctx, cfg); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// dialled is a client of one server.
type dialled struct {
	rpc  controlplanev1connect.NodeServiceClient
	logs controlplanev1connect.LogServiceClient
}

func dial(url string) dialled {
	return dialled{controlplanev1connect.NewNodeServiceClient(http.DefaultClient, url), controlplanev1connect.NewLogServiceClient(http.DefaultClient, url)}
}

func (d dialled) Heartbeat(ctx context.Context, req *controlplanev1.HeartbeatRequest) (*controlplanev1.HeartbeatResponse, error) {
	return message(d.rpc.Heartbeat(ctx, connect.NewRequest(req)))
}

func (d dialled) GetNode(ctx context.Context, req *controlplanev1.GetNodeRequest) (*controlplanev1.GetNodeResponse, error) {
	return message(d.rpc.GetNode(ctx, connect.NewRequest(req)))
}

func (d dialled) PollTask(ctx context.Context, req *controlplanev1.PollTaskRequest) (*controlplanev1.PollTaskResponse, error) {
	return message(d.rpc.PollTask(ctx, connect.NewRequest(req)))
}

func (d dialled) ReportTaskResults(ctx context.Context, req *controlplanev1.ReportTaskResultsRequest) (*controlplanev1.ReportTaskResultsResponse, error) {
	return message(d.rpc.ReportTaskResults(ctx, connect.NewRequest(req)))
}

func (d dialled) PushLogs(ctx context.Context, req *controlplanev1.PushLogsRequest) (*controlplanev1.PushLogsResponse, error) {
	return message(d.logs.PushLogs(ctx, connect.NewRequest(req)))
}

func message[T any](r *connect.Response[T], err error) (*T, error) {
	if err != nil {
		return nil, err
	}
	return r.Msg, nil
}

// plane is a scripted control plane with one node.
type plane struct {
	controlplanev1connect.UnimplementedNodeServiceHandler
	controlplanev1connect.UnimplementedLogServiceHandler
	url   string
	beats chan *controlplanev1.HeartbeatRequest
	polls chan *controlplanev1.PollTaskRequest
	calls chan *controlplanev1.ReportTaskResultsRequest
	// chunks are what was printed; nothing is answered while it is full.
	chunks chan *controlplanev1.LogChunk

	mu      sync.Mutex
	changed chan struct{}
	lease   time.Duration
	tasks   []*controlplanev1.Task
	stops   []*controlplanev1.StopAttempt
	node    *controlplanev1.Node // nil if it was never heard
	dead    bool                 // nothing is answered
	beatErr error                // each by what it fails
	pollErr error
	// report answers a result; nil is as if it had been recorded.
	report func(*controlplanev1.TaskResult) (*controlplanev1.ReportOutcome, error)
}

func newPlane(t *testing.T) *plane {
	p := &plane{
		lease: 15 * time.Second, changed: make(chan struct{}),
		beats: make(chan *controlplanev1.HeartbeatRequest, 10_000), polls: make(chan *controlplanev1.PollTaskRequest, 10_000),
		calls: make(chan *controlplanev1.ReportTaskResultsRequest, 10_000), chunks: make(chan *controlplanev1.LogChunk, 10_000),
	}
	mux := http.NewServeMux()
	mux.Handle(controlplanev1connect.NewNodeServiceHandler(p))
	mux.Handle(controlplanev1connect.NewLogServiceHandler(p))
	srv := httptest.NewServer(mux)
	p.url = srv.URL
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	return p
}

// set changes the script.
func (p *plane) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	close(p.changed)
	p.changed = make(chan struct{})
}

// until waits, with the lock held, for a condition.
func (p *plane) until(ctx context.Context, ok func() bool) error {
	for !ok() {
		changed := p.changed
		p.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		p.mu.Lock()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

func (p *plane) alive() bool { return !p.dead }

func (p *plane) Heartbeat(ctx context.Context, req *connect.Request[controlplanev1.HeartbeatRequest]) (*connect.Response[controlplanev1.HeartbeatResponse], error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.until(ctx, p.alive); err != nil {
		return nil, err
	}
	p.beats <- req.Msg
	if p.beatErr != nil {
		return nil, p.beatErr
	}
	return connect.NewResponse(&controlplanev1.HeartbeatResponse{Lease: durationpb.New(p.lease), Stop: p.stops}), nil
}

func (p *plane) GetNode(ctx context.Context, req *connect.Request[controlplanev1.GetNodeRequest]) (*connect.Response[controlplanev1.GetNodeResponse], error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.until(ctx, p.alive); err != nil {
		return nil, err
	}
	if p.node == nil || p.node.GetId() != req.Msg.GetId() {
		return nil, connect.NewError(connect.CodeNotFound, errors.New("no such node"))
	}
	return connect.NewResponse(&controlplanev1.GetNodeResponse{Node: p.node}), nil
}

func (p *plane) PollTask(ctx context.Context, req *connect.Request[controlplanev1.PollTaskRequest]) (*connect.Response[controlplanev1.PollTaskResponse], error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.polls <- req.Msg
	wait, cancel := context.WithTimeout(ctx, req.Msg.GetWait().AsDuration())
	defer cancel()
	_ = p.until(wait, func() bool { return p.alive() && (len(p.tasks) > 0 || p.pollErr != nil) })
	switch {
	case p.dead:
		return nil, connect.NewError(connect.CodeUnavailable, errors.New("dead"))
	case p.pollErr != nil:
		return nil, p.pollErr
	}
	return connect.NewResponse(&controlplanev1.PollTaskResponse{Tasks: p.take(int(req.Msg.GetMaxTasks())), Lease: durationpb.New(p.lease)}), nil
}

func (p *plane) take(n int) []*controlplanev1.Task {
	n = min(n, len(p.tasks))
	given := p.tasks[:n:n]
	p.tasks = p.tasks[n:]
	return given
}

func (p *plane) ReportTaskResults(ctx context.Context, req *connect.Request[controlplanev1.ReportTaskResultsRequest]) (*connect.Response[controlplanev1.ReportTaskResultsResponse], error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.until(ctx, p.alive); err != nil {
		return nil, err
	}
	p.calls <- req.Msg
	resp := &controlplanev1.ReportTaskResultsResponse{}
	for _, r := range req.Msg.GetResults() {
		o := &controlplanev1.ReportOutcome{Outcome: &controlplanev1.ReportOutcome_Status{Status: r.GetStatus()}}
		if p.report != nil {
			answer, err := p.report(r)
			if err != nil {
				return nil, err
			}
			if answer != nil {
				o = answer
			}
		}
		resp.Outcomes = append(resp.Outcomes, o)
	}
	resp.Tasks = p.take(int(req.Msg.GetMaxTasks()))
	return connect.NewResponse(resp), nil
}

// PushLogs takes every chunk as a leader does that has all before it.
func (p *plane) PushLogs(ctx context.Context, req *connect.Request[controlplanev1.PushLogsRequest]) (*connect.Response[controlplanev1.PushLogsResponse], error) {
	resp := &controlplanev1.PushLogsResponse{Interval: durationpb.New(time.Millisecond)}
	for _, c := range req.Msg.GetChunks() {
		select {
		case p.chunks <- c:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		next := &controlplanev1.LogOutcome_NextOffset{NextOffset: c.GetOffset() + int64(len(c.GetText()))}
		resp.Outcomes = append(resp.Outcomes, &controlplanev1.LogOutcome{Outcome: next})
	}
	return connect.NewResponse(resp), nil
}

// give queues tasks for the node.
func (p *plane) give(tasks ...*controlplanev1.Task) {
	p.set(func() { p.tasks = append(p.tasks, tasks...) })
}

// result waits for the next report of one result.
func (p *plane) result(t *testing.T) *controlplanev1.TaskResult {
	t.Helper()
	call := receive(t, "a report", p.calls)
	if len(call.GetResults()) != 1 {
		t.Fatalf("a report of %d results, want 1", len(call.GetResults()))
	}
	return call.GetResults()[0]
}

func receive[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("waited %v for %s", patience, what)
		panic("unreachable")
	}
}

// runningAgent is an agent within the test's process.
type runningAgent struct {
	stop context.CancelFunc
	done chan error
}

func startAgent(t *testing.T, p *plane, change ...func(*Config)) *runningAgent {
	t.Helper()
	cfg := Config{
		Name: "n1", Slots: 2, GPUs: gpusNone, WorkDir: t.TempDir(), ControlPlane: dial(p.url),
		Logger: slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, c := range change {
		c(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	a := &runningAgent{stop: cancel, done: make(chan error, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		a.done <- Run(ctx, cfg)
	}()
	t.Cleanup(func() { cancel(); receive(t, "the agent's end", ended) })
	return a
}

type testLog struct{ t *testing.T }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Log(string(b))
	return len(b), nil
}

// fifo is how a test hears of processes: they write lines to it, and it ends when
// the last process that has it open is gone.
type fifo struct {
	path  string
	lines chan string // closed at the end
}

func newFIFO(t *testing.T) *fifo {
	t.Helper()
	f := &fifo{path: filepath.Join(t.TempDir(), "fifo"), lines: make(chan string, 100)}
	if err := syscall.Mkfifo(f.path, 0o600); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(f.lines)
		r, err := os.Open(f.path) // until somebody opens it for writing
		if err != nil {
			return
		}
		defer r.Close()
		in := bufio.NewReader(r)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				if !errors.Is(err, io.EOF) {
					f.lines <- "read: " + err.Error()
				}
				return
			}
			f.lines <- line[:len(line)-1]
		}
	}()
	return f
}

// expect waits for a line.
func (f *fifo) expect(t *testing.T, want string) {
	t.Helper()
	if got := receive(t, "the line "+want, f.lines); got != want {
		t.Fatalf("the process wrote %q, want %q", got, want)
	}
}

// expectEnd waits until no process has the FIFO open.
func (f *fifo) expectEnd(t *testing.T) {
	t.Helper()
	select {
	case line, ok := <-f.lines:
		if ok {
			t.Fatalf("the process wrote %q, want it to be gone", line)
		}
	case <-time.After(patience):
		t.Fatalf("a process is still there after %v", patience)
	}
}

// shell is a task that runs a script, with the FIFO open as descriptor 9.
func shell(id string, attempt int32, f *fifo, script string) *controlplanev1.Task {
	env := map[string]string{}
	if f != nil {
		env["FIFO"] = f.path
		script = `exec 9>"$FIFO"; ` + script
	}
	return &controlplanev1.Task{Id: id, Attempt: attempt, Name: "name of " + id, Work: &controlplanev1.Task_Exec{
		Exec: &controlplanev1.ExecTask{Command: []string{"sh", "-c", script}, Env: env},
	}}
}
