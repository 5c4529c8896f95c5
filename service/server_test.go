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
	"time"

	"connectrpc.com/connect"

	"github.com/raft-control-plane/control-plane"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

func TestShutdownEndsWaitsAndFinishesCalls(t *testing.T) {
	m := solo(t)
	m.register("n1", "s1", 1)
	stream := m.watchTasks(&v1.WatchTasksRequest{})
	polled := make(chan error, 1)
	go func() {
		res, err := m.poll("n1", "s1", 25*time.Second)
		if err == nil && len(res.GetTasks()) > 0 {
			err = fmt.Errorf("got %v", res)
		}
		polled <- err
	}()
	<-m.polls
	body, rest := io.Pipe()
	submitted := make(chan int, 1)
	go func() { submitted <- m.submitBody(body) }()
	half(t, rest, `{"task":{"id":"late",`) // the body is asked for by the handler

	begun := time.Now()
	m.stop()
	if err := <-polled; err != nil {
		t.Errorf("poll at the end: %v", err)
	}
	for stream.Receive() {
	}
	if err := stream.Err(); connect.CodeOf(err) != connect.CodeUnavailable || !strings.Contains(err.Error(), "cursor") {
		t.Errorf("watch at the end: %v", err)
	}
	half(t, rest, `"exec":{"command":["true"]}}}`)
	_ = rest.Close()
	if status := <-submitted; status != http.StatusOK {
		t.Errorf("the call in flight: %d", status)
	}
	if err := <-m.served; err != nil {
		t.Errorf("serve: %v", err)
	}
	m.served <- nil
	if took := time.Since(begun); took > drainTimeout {
		t.Errorf("it took %s", took)
	}
	if _, err := m.tasks.GetTask(testContext(t), "late"); err != nil {
		t.Errorf("what was submitted last: %v", err)
	}
}

func half(t *testing.T, w io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
}

// submitBody sends the body once the server has asked for it, and returns the status.
func (m *member) submitBody(body io.Reader) int {
	m.t.Helper()
	req, err := http.NewRequestWithContext(testContext(m.t), http.MethodPost, m.url()+"/controlplane.v1.TaskService/SubmitTask", body)
	if err != nil {
		m.t.Error(err)
		return 0
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Expect", "100-continue")
	tr := &http.Transport{ExpectContinueTimeout: testTimeout}
	m.t.Cleanup(tr.CloseIdleConnections)
	res, err := tr.RoundTrip(req)
	if err != nil {
		m.t.Error(err)
		return 0
	}
	defer res.Body.Close()
	return res.StatusCode
}

// stopLimit is within which a member is to end, whatever its callers do.
const stopLimit = 8 * time.Second

func TestCallsThatDoNotEndAreCutOff(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := solo(t)
	ctx, stop := context.WithCancel(context.Background())
	arrived, never := make(chan struct{}), make(chan struct{})
	defer close(never)
	served := make(chan error, 1)
	go func() {
		served <- Serve(ctx, ln, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(arrived); <-never }), nil, m.cfg.Logger)
	}()
	go func() {
		res, err := http.Get("http://" + ln.Addr().String())
		if err == nil {
			_ = res.Body.Close()
		}
	}()
	<-arrived
	begun := time.Now()
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took < drainTimeout || took > testTimeout/2 { // the call itself never ends
		t.Errorf("it ended after %s", took)
	}
	if drainTimeout > stopLimit-time.Second {
		t.Errorf("%s are left to stop in when calls are cut off after %s", stopLimit, drainTimeout)
	}
}

// panicking is a scheduler with a fault.
type panicking struct{ Scheduler }

func (panicking) Heartbeat(context.Context, controlplane.Heartbeat) (controlplane.Work, error) {
	panic("secret detail")
}

func (panicking) Poll(context.Context, controlplane.Poll) (controlplane.Work, error) {
	return controlplane.Work{}, errors.New("secret detail")
}

func TestFaultsTellCallersNothing(t *testing.T) {
	m := solo(t, func(c *Config) { c.Scheduler = panicking{} })
	m.conf.Logger = nil
	for _, method := range []string{"Heartbeat", "PollTask"} {
		status, header, body := m.post("NodeService/"+method, `{"node_id":"n","session_id":"s"}`)
		if status != 500 || body["code"] != "internal" || strings.Contains(fmt.Sprint(body), "secret") || header.Get(appliedHeader) == "" {
			t.Errorf("%s: %d %v %v", method, status, body, header)
		}
	}
	if code, _, _ := m.get("/livez"); code != 200 {
		t.Errorf("afterwards: %d", code)
	}
}

// TestTheConnectionCanBeTakenOver asks for what Raft needs: no layer may hide the
// connection from its handler.
func TestTheConnectionCanBeTakenOver(t *testing.T) {
	m := newMember(t, "m1")
	m.conf.CORSOrigins, m.conf.Token = []string{"https://console.example.com"}, testToken
	m.start()
	m.service.Raft = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = buf.WriteString("HTTP/1.1 101 Switching Protocols\r\n\r\nraw")
		_ = buf.Flush()
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, ln, m.service.handler(), nil, m.cfg.Logger) }()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /raft HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: raft\r\n\r\n")
	text, err := io.ReadAll(bufio.NewReader(conn))
	if err != nil || !strings.HasSuffix(string(text), "\r\n\r\nraw") {
		t.Errorf("%q, %v", text, err)
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestReadsWaitForTheIndexAskedFor(t *testing.T) {
	m := solo(t)
	m.submit("a")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req := connect.NewRequest(&v1.GetTaskRequest{Id: "b"})
	req.Header().Set(minIndexHeader, fmt.Sprint(m.engine.AppliedIndex()+1))
	found := make(chan error, 1)
	go func() {
		_, err := m.taskClient().GetTask(ctx, req)
		found <- err
	}()
	m.submit("b")
	if err := <-found; err != nil {
		t.Errorf("%v", err)
	}
	status, _, body := m.post("TaskService/GetTask", `{"id":"a"}`, minIndexHeader, "99999999", "Connect-Timeout-Ms", "500")
	if status == 200 || !strings.Contains(fmt.Sprint(body["message"]), "99999999") {
		t.Errorf("an index that will not come: %d %v", status, body)
	}
	status, _, body = m.post("TaskService/GetTask", `{"id":"a"}`, minIndexHeader, "x")
	if status != 400 || !strings.Contains(fmt.Sprint(body["message"]), minIndexHeader) {
		t.Errorf("no index: %d %v", status, body)
	}
}
