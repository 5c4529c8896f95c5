package service

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
	"github.com/raft-control-plane/control-plane/db/raftdb"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/gen/go/controlplane/v1/controlplanev1connect"
	"github.com/raft-control-plane/control-plane/scheduler"
)

// testTimeout bounds what a test waits for; nothing should come near it.
const testTimeout = 60 * time.Second

// patientHeartbeat is so long that a leader stays to the end of its test, however busy the
// machine is. The first election waits for nothing.
const patientHeartbeat = 2 * time.Second

// member is a whole member, as the binary wires it, on a port of its own.
type member struct {
	t        testing.TB
	cfg      raftdb.Config
	conf     Config // what a test changes of the service
	schedule scheduler.Options
	engine   *raftdb.Engine
	tasks    *db.TaskManifest
	service  *server
	ln       net.Listener
	stop     context.CancelFunc // begins the shutdown of the server
	served   chan error
	halt     context.CancelFunc
	ran      chan error
	closed   sync.Once
	hold     chan struct{} // leading begins once it is closed, if it is set
	polls    chan struct{} // one token for each poll that reaches this member's scheduler
}

// signalling is a scheduler that tells when a poll has reached it.
type signalling struct {
	Scheduler
	polls chan struct{}
}

func (s signalling) Poll(ctx context.Context, req controlplane.Poll) (controlplane.Work, error) {
	s.polls <- struct{}{}
	return s.Scheduler.Poll(ctx, req)
}

func newMember(t testing.TB, name string) *member {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &member{t: t, ln: ln, polls: make(chan struct{}, 1000), cfg: raftdb.Config{Dir: t.TempDir(), Name: name, Advertise: ln.Addr().String(), Version: "test",
		Timing: raftdb.Timing{Heartbeat: patientHeartbeat, SnapshotInterval: time.Hour}}}
	m.schedule.Gather = -1
	m.cfg.Logger = slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelError}))
	m.conf = Config{Loopback: true, Version: "test", Logger: m.cfg.Logger}
	return m
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	if w.t.Context().Err() == nil {
		w.t.Log(strings.TrimSpace(string(b)))
	}
	return len(b), nil
}

func (m *member) start() *member {
	m.t.Helper()
	m.cfg.Token = m.conf.Token
	engine, err := raftdb.Open(m.cfg)
	if err != nil {
		m.t.Fatalf("open %s: %v", m.cfg.Name, err)
	}
	m.engine = engine
	m.tasks = db.NewTaskManifest(engine)
	m.tasks.SetLogger(m.cfg.Logger)
	m.conf.Tasks, m.conf.Admin, m.conf.Raft = m.tasks, engine, engine.Handler()
	if m.conf.Scheduler == nil {
		m.conf.Scheduler = signalling{scheduler.NewWithOptions(m.tasks, m.cfg.Logger, m.schedule), m.polls}
	}
	if m.service, err = newServer(m.conf); err != nil {
		m.t.Fatal(err)
	}
	var running, serving context.Context
	running, m.halt = context.WithCancel(context.Background())
	serving, m.stop = context.WithCancel(context.Background())
	m.ran, m.served = make(chan error, 1), make(chan error, 1)
	go func() {
		if m.hold != nil {
			select {
			case <-m.hold:
			case <-running.Done():
			}
		}
		m.ran <- m.tasks.Run(running)
	}()
	go func() { m.served <- Serve(serving, m.ln, m.service.handler(), nil, m.cfg.Logger) }()
	m.t.Cleanup(m.close)
	return m
}

// close stops the member as SIGTERM does.
func (m *member) close() {
	m.closed.Do(func() {
		m.stop()
		if err := <-m.served; err != nil {
			m.t.Errorf("%s: serve: %v", m.cfg.Name, err)
		}
		m.halt()
		if err := <-m.ran; err != nil {
			m.t.Errorf("%s: run: %v", m.cfg.Name, err)
		}
		if err := m.engine.Close(); err != nil {
			m.t.Errorf("%s: close: %v", m.cfg.Name, err)
		}
	})
}

// solo starts a cluster of one and waits until it takes writes.
func solo(t testing.TB, change ...func(*Config)) *member {
	t.Helper()
	m := newMember(t, "solo")
	for _, c := range change {
		c(&m.conf)
	}
	m.start()
	if err := m.tasks.AwaitWritable(testContext(t)); err != nil {
		t.Fatal(err)
	}
	return m
}

// newCluster starts n members that form a cluster together.
func newCluster(t testing.TB, n int, change ...func(*Config)) []*member {
	t.Helper()
	members := make([]*member, n)
	var all []string
	for i := range members {
		members[i] = newMember(t, fmt.Sprintf("m%d", i+1))
		all = append(all, members[i].cfg.Advertise)
		for _, c := range change {
			c(&members[i].conf)
		}
	}
	for _, m := range members {
		m.cfg.Join, m.cfg.BootstrapExpect = all, n
		m.start()
	}
	return members
}

// roles waits until one of the members takes writes and all are ready. It returns
// the leader and the others.
func roles(t testing.TB, members []*member) (leader *member, followers []*member) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	found := make(chan *member, len(members))
	for _, m := range members {
		go func() {
			if m.tasks.AwaitWritable(ctx) == nil {
				found <- m
			}
		}()
	}
	select {
	case leader = <-found:
	case <-ctx.Done():
		t.Fatal("no member leads")
	}
	for _, m := range members {
		if err := m.tasks.CaughtUp(ctx); err != nil {
			t.Fatalf("%s is not ready: %v", m.cfg.Name, err)
		}
		if m != leader {
			followers = append(followers, m)
		}
	}
	return leader, followers
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

func (m *member) url() string { return "http://" + m.cfg.Advertise }

// h2 is a client that speaks HTTP/2 in plaintext, as gRPC needs.
func h2(t testing.TB) *http.Client {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: p}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func (m *member) taskClient(opts ...connect.ClientOption) controlplanev1connect.TaskServiceClient {
	return controlplanev1connect.NewTaskServiceClient(h2(m.t), m.url(), opts...)
}

func (m *member) nodeClient(opts ...connect.ClientOption) controlplanev1connect.NodeServiceClient {
	return controlplanev1connect.NewNodeServiceClient(h2(m.t), m.url(), opts...)
}

func (m *member) queryClient() controlplanev1connect.QueryServiceClient {
	return controlplanev1connect.NewQueryServiceClient(h2(m.t), m.url())
}

// submit stores a task that echoes, and fails the test if it cannot.
func (m *member) submit(id string) *connect.Response[v1.SubmitTaskResponse] {
	m.t.Helper()
	res, err := m.taskClient().SubmitTask(testContext(m.t), connect.NewRequest(&v1.SubmitTaskRequest{Task: echo(id)}))
	if err != nil {
		m.t.Fatalf("submit %s at %s: %v", id, m.cfg.Name, err)
	}
	return res
}

func echo(id string) *v1.Task {
	return &v1.Task{Id: id, Work: &v1.Task_Exec{Exec: &v1.ExecTask{Command: []string{"echo", id}}}}
}

// register makes the member know a worker node with a session.
func (m *member) register(node, session string, slots int32) {
	m.t.Helper()
	_, err := m.nodeClient().Heartbeat(testContext(m.t), connect.NewRequest(&v1.HeartbeatRequest{
		NodeId: node, SessionId: session, Spec: &v1.NodeSpec{Slots: slots, Exec: true}}))
	if err != nil {
		m.t.Fatalf("register %s: %v", node, err)
	}
}

// post sends JSON as curl would and returns the status, the header and the body.
func (m *member) post(method, body string, header ...string) (int, http.Header, map[string]any) {
	m.t.Helper()
	req, err := http.NewRequestWithContext(testContext(m.t), http.MethodPost, m.url()+"/controlplane.v1."+method, strings.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	return m.roundTrip(req, header...)
}

func (m *member) roundTrip(req *http.Request, header ...string) (int, http.Header, map[string]any) {
	m.t.Helper()
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	out := map[string]any{}
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&out); err != nil {
		out["text"] = string(text)
	}
	return res.StatusCode, res.Header, out
}

func nodesBy(client *http.Client, url string, opts ...connect.ClientOption) controlplanev1connect.NodeServiceClient {
	return controlplanev1connect.NewNodeServiceClient(client, url, opts...)
}
