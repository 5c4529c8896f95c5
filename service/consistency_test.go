package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// freshness is what every read can ask for.
type freshness struct {
	level        v1.Consistency
	minIndex     uint64
	maxStaleness *durationpb.Duration
}

// reads are all methods that read, each returning the applied index of its answer.
var reads = map[string]func(ctx context.Context, m *member, f freshness) (string, error){
	"GetTask": func(ctx context.Context, m *member, f freshness) (string, error) {
		return indexOf(m.taskClient().GetTask(ctx, connect.NewRequest(&v1.GetTaskRequest{Id: "a", Consistency: f.level, MinIndex: f.minIndex, MaxStaleness: f.maxStaleness})))
	},
	"GetTasks": func(ctx context.Context, m *member, f freshness) (string, error) {
		return indexOf(m.taskClient().GetTasks(ctx, connect.NewRequest(&v1.GetTasksRequest{Ids: []string{"a", "nobody"}, Consistency: f.level, MinIndex: f.minIndex, MaxStaleness: f.maxStaleness})))
	},
	"ListTasks": func(ctx context.Context, m *member, f freshness) (string, error) {
		return indexOf(m.taskClient().ListTasks(ctx, connect.NewRequest(&v1.ListTasksRequest{Consistency: f.level, MinIndex: f.minIndex, MaxStaleness: f.maxStaleness})))
	},
	"GetNode": func(ctx context.Context, m *member, f freshness) (string, error) {
		return indexOf(m.nodeClient().GetNode(ctx, connect.NewRequest(&v1.GetNodeRequest{Id: "n1", Consistency: f.level, MinIndex: f.minIndex, MaxStaleness: f.maxStaleness})))
	},
	"ListNodes": func(ctx context.Context, m *member, f freshness) (string, error) {
		return indexOf(m.nodeClient().ListNodes(ctx, connect.NewRequest(&v1.ListNodesRequest{Consistency: f.level, MinIndex: f.minIndex, MaxStaleness: f.maxStaleness})))
	},
	"Query": func(ctx context.Context, m *member, f freshness) (string, error) {
		return indexOf(m.queryClient().Query(ctx, connect.NewRequest(&v1.QueryRequest{Sql: "SELECT 1", Consistency: f.level, MinIndex: f.minIndex, MaxStaleness: f.maxStaleness})))
	},
	"ListEvents": func(ctx context.Context, m *member, f freshness) (string, error) {
		return indexOf(m.eventClient().ListEvents(ctx, connect.NewRequest(&v1.ListEventsRequest{Cursor: "0", Consistency: f.level, MinIndex: f.minIndex, MaxStaleness: f.maxStaleness})))
	},
}

func indexOf[T any](res *connect.Response[T], err error) (string, error) {
	if err != nil {
		return "", err
	}
	return res.Header().Get(appliedHeader), nil
}

const (
	stale        = v1.Consistency_CONSISTENCY_STALE
	linearizable = v1.Consistency_CONSISTENCY_LINEARIZABLE
)

// TestReadsWaitForAnIndex asks a follower for what is not written yet.
func TestReadsWaitForAnIndex(t *testing.T) {
	members := newCluster(t, 3)
	leader, followers := roles(t, members)
	leader.register("n1", "s1", 1)
	leader.submit("a")
	for name, read := range reads {
		for _, level := range []v1.Consistency{stale, linearizable} {
			at := followers[0]
			if err := at.engine.AwaitApplied(testContext(t), leader.engine.AppliedIndex()); err != nil {
				t.Fatal(err)
			}
			next := at.engine.AppliedIndex() + 1
			short, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
			_, err := read(short, at, freshness{level: level, minIndex: next + 1000})
			cancel()
			if c := connect.CodeOf(err); c != connect.CodeUnavailable && c != connect.CodeDeadlineExceeded {
				t.Errorf("%s %s: an index that never comes: %v", name, level, err)
			}
			type answer struct {
				index string
				err   error
			}
			got := make(chan answer, 1)
			go func() {
				index, err := read(testContext(t), at, freshness{level: level, minIndex: next})
				got <- answer{index, err}
			}()
			leader.submit(fmt.Sprintf("%s-%d", name, level))
			a := <-got
			if index, _ := strconv.ParseUint(a.index, 10, 64); a.err != nil || index < next {
				t.Errorf("%s %s: answered at index %s, wanted %d: %v", name, level, a.index, next, a.err)
			}
		}
	}
}

func TestBadFreshnessIsRefused(t *testing.T) {
	m := solo(t)
	for name, read := range reads {
		for _, c := range []struct {
			f     freshness
			field string
		}{
			{freshness{minIndex: math.MaxInt64 + 1}, "min_index"},
			{freshness{maxStaleness: durationpb.New(time.Second)}, "max_staleness"},
			{freshness{level: linearizable, maxStaleness: durationpb.New(time.Second)}, "max_staleness"},
			{freshness{level: stale, maxStaleness: durationpb.New(0)}, "max_staleness"},
			{freshness{level: stale, maxStaleness: durationpb.New(2 * time.Hour)}, "max_staleness"},
			{freshness{level: 9}, "consistency"},
		} {
			_, err := read(testContext(t), m, c.f)
			if connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), c.field+": ") {
				t.Errorf("%s with %+v: %v", name, c.f, err)
			}
		}
	}
}

// TestStalenessIsBounded leaves a member alone: it answers stale reads, but not
// those that bound how stale.
func TestStalenessIsBounded(t *testing.T) {
	members := newCluster(t, 3)
	leader, followers := roles(t, members)
	leader.register("n1", "s1", 1)
	leader.submit("a")
	alone := followers[0]
	for _, m := range followers {
		if err := m.engine.AwaitApplied(testContext(t), leader.engine.AppliedIndex()); err != nil {
			t.Fatal(err)
		}
	}
	bound := freshness{level: stale, maxStaleness: durationpb.New(2 * time.Second)}
	for name, read := range reads {
		for _, m := range members {
			if _, err := read(testContext(t), m, bound); err != nil {
				t.Errorf("%s at %s, which hears a leader: %v", name, m.cfg.Name, err)
			}
		}
	}
	leader.close()
	followers[1].close()
	deadline := time.Now().Add(testTimeout)
	for {
		if _, err := reads["GetTask"](testContext(t), alone, bound); err != nil || time.Now().After(deadline) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	for name, read := range reads {
		_, err := read(testContext(t), alone, bound)
		if connect.CodeOf(err) != connect.CodeUnavailable || !strings.Contains(err.Error(), "2s") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := read(testContext(t), alone, freshness{level: stale}); err != nil {
			t.Errorf("%s without a bound: %v", name, err)
		}
	}
}

func TestEveryResponseHasTheAppliedIndex(t *testing.T) {
	m := solo(t)
	m.submit("a")
	for _, c := range []struct{ method, body string }{
		{"TaskService/SubmitTask", `{"task":{"id":"b","exec":{"command":["true"]}}}`},
		{"TaskService/GetTask", `{"id":"a"}`},
		{"TaskService/GetTask", `{"id":"nobody"}`},
		{"TaskService/GetTask", `{"id":""}`},
		{"TaskService/GetTask", `{"nothing":1}`},
		{"TaskService/GetTask", `{`},
		{"TaskService/Nothing", `{}`},
		{"QueryService/Query", `{"sql":"SELECT 1"}`},
		{"ClusterService/GetCluster", `{}`},
		{"EventService/ListEvents", `{}`},
		{"EventService/ListEvents", `{"cursor":"x"}`},
	} {
		code, h, _ := m.post(c.method, c.body)
		if values := h.Values(appliedHeader); len(values) != 1 || values[0] == "0" {
			t.Errorf("%s %s: %d with index %v", c.method, c.body, code, values)
		}
	}
	stream := m.watchEvents(&v1.WatchEventsRequest{})
	if values := stream.ResponseHeader().Values(appliedHeader); len(values) != 1 {
		t.Errorf("a stream: %v", values)
	}
	for _, opt := range []connect.ClientOption{connect.WithGRPC(), connect.WithGRPCWeb()} {
		res, err := m.taskClient(opt).GetTask(testContext(t), connect.NewRequest(&v1.GetTaskRequest{Id: "a"}))
		if err != nil || len(res.Header().Values(appliedHeader)) != 1 {
			t.Errorf("%v, %v", res, err)
		}
		_, err = m.taskClient(opt).GetTask(testContext(t), connect.NewRequest(&v1.GetTaskRequest{Id: "nobody"}))
		var ce *connect.Error
		if !errors.As(err, &ce) || len(ce.Meta().Values(appliedHeader)) != 1 {
			t.Errorf("an error: %v", err)
		}
	}
}

// stuck keeps the leader from making entries until it goes on, at the end of the test at
// the latest.
func (m *member) stuck() (goOn func()) {
	m.t.Helper()
	entered, release := make(chan struct{}), make(chan struct{})
	go func() {
		_ = m.tasks.Do(context.Background(), 0, func(*db.Group) { close(entered); <-release })
	}()
	<-entered
	goOn = sync.OnceFunc(func() { close(release) })
	m.t.Cleanup(goOn)
	return goOn
}

// timesOut makes a write at a member whose time ends while the leader makes no entries. Where
// its time was over before it came there, it has longer the next time.
func (m *member) timesOut(at *member, method, body string) (code int, answer map[string]any) {
	m.t.Helper()
	for ms := 150; ; ms *= 2 {
		goOn := m.stuck() // for each, since new tasks are refused once others have waited for long
		code, _, answer = at.post(method, body, "Connect-Timeout-Ms", fmt.Sprint(ms))
		goOn()
		if code != http.StatusServiceUnavailable || ms > 10_000 {
			return code, answer
		}
	}
}

// TestUnknownOutcomesNameTheKey lets the time of writes end while they are under
// way, at the leader and through a follower.
func TestUnknownOutcomesNameTheKey(t *testing.T) {
	members := newCluster(t, 3)
	leader, followers := roles(t, members)
	leader.submit("a")
	const exec = `"exec":{"command":["true"]}`
	for _, c := range []struct{ method, body, key string }{
		{"TaskService/SubmitTask", `{"task":{"id":"k",` + exec + `}}`, "task.id"},
		{"TaskService/SubmitTask", `{"requestId":"r","task":{` + exec + `}}`, "request_id"},
		{"TaskService/SubmitTask", `{"task":{` + exec + `}}`, ""},
		{"TaskService/SubmitTasks", `{"requests":[{"task":{"id":"k",` + exec + `}},{"requestId":"r","task":{` + exec + `}}]}`, "task.id, request_id"},
		{"TaskService/SubmitTasks", `{"requests":[{"task":{"id":"k",` + exec + `}},{"task":{` + exec + `}}]}`, ""},
		{"TaskService/CancelTask", `{"id":"a"}`, "id"},
		{"NodeService/ReportTaskResult", `{"nodeId":"n1","sessionId":"s1","taskId":"a","attempt":1,"status":"TASK_STATUS_COMPLETED"}`, "attempt"},
		{"NodeService/ReportTaskResults", `{"nodeId":"n1","sessionId":"s1","results":[{"taskId":"a","attempt":1,"status":"TASK_STATUS_COMPLETED"}]}`, "results.attempt"},
	} {
		for _, m := range []*member{leader, followers[0]} {
			code, body := leader.timesOut(m, c.method, c.body)
			text := fmt.Sprint(body)
			if code != http.StatusConflict || body["code"] != "aborted" || !strings.Contains(text, "OUTCOME_UNKNOWN") {
				t.Errorf("%s %s at %s: %d %s", c.method, c.body, m.cfg.Name, code, text)
			}
			if want := "retry_key:" + c.key; c.key != "" && !strings.Contains(text, want) || c.key == "" && strings.Contains(text, "retry_key") {
				t.Errorf("%s %s at %s: no %q in %s", c.method, c.body, m.cfg.Name, want, text)
			}
		}
	}
}

// waiting is a scheduler whose polls wait for their caller and tell how long it waits.
type waiting struct {
	Scheduler
	left chan time.Duration
}

func (w waiting) Poll(ctx context.Context, _ controlplane.Poll) (controlplane.Work, error) {
	end, ok := ctx.Deadline()
	if !ok {
		end = time.Now().Add(time.Hour)
	}
	w.left <- time.Until(end)
	<-ctx.Done()
	return controlplane.Work{}, ctx.Err()
}

// TestDeadlinesReachTheLeader sends polls whose callers wait for less than they say.
func TestDeadlinesReachTheLeader(t *testing.T) {
	left := make(chan time.Duration, 10)
	members := newCluster(t, 3, func(c *Config) { c.Scheduler = waiting{left: left} })
	leader, followers := roles(t, members)
	for _, m := range []*member{leader, followers[0]} {
		const limit = time.Second // enough to come to the leader
		code, _, body := m.post("NodeService/PollTask", `{"nodeId":"n1","sessionId":"s1","wait":"25s"}`, "Connect-Timeout-Ms", "1000")
		if code != http.StatusGatewayTimeout || body["code"] != "deadline_exceeded" {
			t.Errorf("Connect at %s: %d %v", m.cfg.Name, code, body)
		}
		if d := arrives(t, left); d > limit {
			t.Errorf("Connect at %s: the leader had %s", m.cfg.Name, d)
		}
		if status := m.rawGRPC("NodeService/PollTask", "1000m", []byte("\x0a\x02n1\x12\x02s1\x22\x02\x08\x19")); status != "4" {
			t.Errorf("gRPC at %s: status %s", m.cfg.Name, status)
		}
		if d := arrives(t, left); d > limit {
			t.Errorf("gRPC at %s: the leader had %s", m.cfg.Name, d)
		}
	}
}

// rawGRPC sends a message with a grpc-timeout that only the server sees, and returns
// the status.
func (m *member) rawGRPC(method, timeout string, msg []byte) string {
	m.t.Helper()
	frame := append([]byte{0, 0, 0, 0, byte(len(msg))}, msg...)
	req, err := http.NewRequestWithContext(testContext(m.t), http.MethodPost, m.url()+"/controlplane.v1."+method, strings.NewReader(string(frame)))
	if err != nil {
		m.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	req.Header.Set("Grpc-Timeout", timeout)
	res, err := h2(m.t).Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		m.t.Fatal(err)
	}
	if s := res.Trailer.Get("Grpc-Status"); s != "" {
		return s
	}
	return res.Header.Get("Grpc-Status")
}
