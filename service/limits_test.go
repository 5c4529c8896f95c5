package service

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/raft-control-plane/control-plane"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// serveOn serves a member's handler on another port, with limits of the test's, and
// returns the address.
func (m *member) serveOn(connections int, change func(*http.Server)) string {
	m.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	srv := newHTTPServer(ctx, m.service.handler(), nil, m.cfg.Logger)
	change(srv)
	served := make(chan error, 1)
	go func() { served <- serveLimited(ctx, ln, srv, connections, m.cfg.Logger) }()
	m.t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			m.t.Errorf("serve: %v", err)
		}
	})
	return ln.Addr().String()
}

// rawConn is a connection on which bytes are sent one by one.
type rawConn struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, address string) *rawConn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(testTimeout))
	return &rawConn{t, conn, bufio.NewReader(conn)}
}

func (c *rawConn) send(text string) *rawConn {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
	return c
}

// answer reads one answer.
func (c *rawConn) answer() (status int, body string, err error) {
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), err
}

const livez = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"

func TestSlowHeadersAreCutOff(t *testing.T) {
	m := solo(t)
	address := m.serveOn(10, func(srv *http.Server) {
		if srv.ReadHeaderTimeout != readHeaderTimeout {
			t.Errorf("the limit is %s", srv.ReadHeaderTimeout)
		}
		srv.ReadHeaderTimeout = 50 * time.Millisecond
	})
	for name, beginning := range map[string]string{
		"half a request line": "GET /li",
		"half a header":       "GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Slow: a",
		"half an HTTP/2":      "PRI * HTTP/2.0\r\n",
	} {
		slow, quick := dial(t, address).send(beginning), dial(t, address)
		if status, _, err := quick.send(livez).answer(); status != http.StatusOK {
			t.Errorf("%s: another caller meanwhile: %d, %v", name, status, err)
		}
		if rest, err := io.ReadAll(slow.r); err != nil && !strings.Contains(err.Error(), "reset") || strings.Contains(string(rest), "200 OK") {
			t.Errorf("%s: it is not cut off: %q, %v", name, rest, err)
		}
	}
}

func TestLargeHeadersAreRefused(t *testing.T) {
	m := solo(t)
	c := dial(t, m.cfg.Advertise).send("GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Large: " + strings.Repeat("x", maxHeaderBytes+8192) + "\r\n\r\n")
	if status, _, err := c.answer(); status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("%d, %v", status, err)
	}
}

// TestASlowBodyIsCutOff sends half a call, and a whole one that takes longer to be
// answered than a body may take to come.
func TestASlowBodyIsCutOff(t *testing.T) {
	m := solo(t)
	m.service.bodyTimeout = 100 * time.Millisecond
	body := `{"task":{"exec":{"command":["true"]}}}`
	head := fmt.Sprintf("POST /controlplane.v1.TaskService/SubmitTask HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(body))
	status, text, err := dial(t, m.cfg.Advertise).send(head + body[:10]).answer()
	if status == http.StatusOK || err != nil && !strings.Contains(err.Error(), "EOF") {
		t.Errorf("half a body: %d %s, %v", status, text, err)
	}
	m.sendHalfABody(body[:10])
	if _, _, tasks := m.post("TaskService/ListTasks", `{}`); len(tasks) != 0 {
		t.Errorf("it is stored all the same: %v", tasks)
	}
	m.register("n1", "s1", 1)
	for name, opts := range map[string][]connect.ClientOption{"Connect": nil, "gRPC": {connect.WithGRPC()}, "gRPC-Web": {connect.WithGRPCWeb()}} {
		for version, client := range map[string]*http.Client{"HTTP/1.1": http.DefaultClient, "HTTP/2": h2(t)} {
			if name == "gRPC" && version == "HTTP/1.1" {
				continue
			}
			begun := time.Now()
			res, err := nodesBy(client, m.url(), opts...).PollTask(testContext(t), connect.NewRequest(&v1.PollTaskRequest{
				NodeId: "n1", SessionId: "s1", Wait: durationpb.New(4 * m.service.bodyTimeout)}))
			if err != nil || len(res.Msg.GetTasks()) != 0 || time.Since(begun) < 3*m.service.bodyTimeout {
				t.Errorf("a poll by %s over %s: %v, %v, after %s", name, version, res, err, time.Since(begun))
			}
		}
	}
}

// sendHalfABody begins a call by HTTP/2 that would go on for ever, and reads the refusal.
func (m *member) sendHalfABody(beginning string) {
	m.t.Helper()
	rest, end := io.Pipe()
	req, err := http.NewRequestWithContext(testContext(m.t), http.MethodPost, m.url()+"/controlplane.v1.TaskService/SubmitTask", io.MultiReader(strings.NewReader(beginning), rest))
	if err != nil {
		m.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := h2(m.t).Do(req)
	_ = end.Close() // the transport waits for it
	if err != nil {
		m.t.Errorf("half a body by HTTP/2: %v", err)
		return
	}
	defer res.Body.Close()
	if text, err := io.ReadAll(res.Body); err != nil || !strings.Contains(string(text), "did not come within") {
		m.t.Errorf("half a body by HTTP/2: %d %s, %v", res.StatusCode, text, err)
	}
}

// deadlines is a response whose connection counts the deadlines that it is given.
type deadlines struct {
	http.ResponseWriter
	set int
}

// SetReadDeadline implements what http.ResponseController looks for.
func (d *deadlines) SetReadDeadline(time.Time) error { d.set++; return nil }

// A connection is cut off once the time for a body is over, and left alone once the body has
// come or its handler has returned.
func TestTheLimitOfABodyIsLifted(t *testing.T) {
	for name, c := range map[string]struct {
		handle func(*http.Request)
		cuts   int
	}{
		"it does not come":             {func(*http.Request) { time.Sleep(2 * bodyTimeout) }, 1},
		"it has come":                  {func(r *http.Request) { _, _ = io.ReadAll(r.Body); time.Sleep(2 * bodyTimeout) }, 0},
		"the handler does not want it": {func(*http.Request) {}, 0},
		"the handler reads some of it": {func(r *http.Request) { _, _ = r.Body.Read(make([]byte, 1)) }, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := &deadlines{}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader("body"))
			if err != nil {
				t.Fatal(err)
			}
			s := &server{bodyTimeout: bodyTimeout}
			lift := s.limitBody(w, r)
			c.handle(r)
			lift()
			time.Sleep(2 * bodyTimeout)
			if w.set != c.cuts {
				t.Errorf("%s: the connection is cut off %d times, want %d", name, w.set, c.cuts)
			}
		})
	}
}

func TestMoreConnectionsThanAllowedWait(t *testing.T) {
	m := solo(t)
	address := m.serveOn(2, func(*http.Server) {})
	first, second, third := dial(t, address), dial(t, address), dial(t, address)
	for _, c := range []*rawConn{first, second} {
		if status, _, err := c.send(livez).answer(); status != http.StatusOK {
			t.Fatalf("%d, %v", status, err)
		}
	}
	answered := make(chan error, 1)
	third.send(livez)
	go func() {
		status, _, err := third.answer()
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("status %d", status)
		}
		answered <- err
	}()
	for range 50 { // in which the third would be answered too
		if status, _, err := first.send(livez).answer(); status != http.StatusOK {
			t.Fatalf("%d, %v", status, err)
		}
	}
	select {
	case err := <-answered:
		t.Fatalf("the third of two connections is served: %v", err)
	default:
	}
	_ = second.Close()
	if err := <-answered; err != nil {
		t.Errorf("the third, once there is room: %v", err)
	}
}

// returning is a scheduler that tells how a poll ended.
type returning struct {
	signalling
	ended chan error
}

func (r returning) Poll(ctx context.Context, req controlplane.Poll) (controlplane.Work, error) {
	work, err := r.signalling.Poll(ctx, req)
	r.ended <- err
	return work, err
}

// TestAPollOfACallerWhoWentAwayTakesNoTask lets a worker go away while it waits: what
// is submitted then goes to its next poll, and is at its first attempt.
func TestAPollOfACallerWhoWentAwayTakesNoTask(t *testing.T) {
	members := newCluster(t, 3)
	leader, followers := roles(t, members)
	ended := make(chan error, 10)
	leader.service.Scheduler = returning{leader.service.Scheduler.(signalling), ended}
	leader.register("n1", "s1", 1)
	n := 0
	for _, at := range []*member{leader, followers[0]} {
		for version, client := range map[string]*http.Client{"HTTP/1.1": {Transport: &http.Transport{DisableKeepAlives: true}}, "HTTP/2": h2(t)} {
			n++
			leader.pollAndLeave(client, at, ended)
			leader.submit(fmt.Sprintf("t%d", n))
			leader.pollAndReport(at, fmt.Sprintf("t%d", n))
			arrives(t, leader.polls)
			arrives(t, ended)
			if t.Failed() {
				t.Fatalf("by %s at %s", version, at.cfg.Name)
			}
		}
	}
}

func arrives[T any](t testing.TB, c chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(testTimeout):
		t.Fatal("it does not come")
	}
	return v
}

// pollAndLeave polls at a member and goes away once the leader has the poll; it returns
// when the leader has noticed.
func (m *member) pollAndLeave(client *http.Client, at *member, ended chan error) {
	m.t.Helper()
	ctx, leave := context.WithCancel(testContext(m.t))
	defer leave()
	polled := make(chan error, 1)
	go func() {
		_, err := nodesBy(client, at.url()).PollTask(ctx, connect.NewRequest(&v1.PollTaskRequest{NodeId: "n1", SessionId: "s1", Wait: durationpb.New(25 * time.Second)}))
		polled <- err
	}()
	arrives(m.t, m.polls)
	leave()
	if err := arrives(m.t, polled); connect.CodeOf(err) != connect.CodeCanceled {
		m.t.Errorf("the poll ended with %v", err)
	}
	if err := arrives(m.t, ended); !errors.Is(err, context.Canceled) {
		m.t.Errorf("at the leader the poll ended with %v", err)
	}
}

func (m *member) pollAndReport(at *member, id string) {
	m.t.Helper()
	res, err := at.poll("n1", "s1", 20*time.Second)
	if err != nil || len(res.GetTasks()) != 1 || res.GetTasks()[0].GetId() != id || res.GetTasks()[0].GetAttempt() != 1 {
		m.t.Fatalf("the next poll gives %v, %v", res, err)
	}
	report := &v1.ReportTaskResultRequest{TaskId: id, Attempt: 1, NodeId: "n1", SessionId: "s1", Status: v1.TaskStatus_TASK_STATUS_COMPLETED}
	if _, err := at.nodeClient().ReportTaskResult(testContext(m.t), connect.NewRequest(report)); err != nil {
		m.t.Fatal(err)
	}
}
