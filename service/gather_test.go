package service

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/internal/gather"
)

// holding is a transport that holds up the first request until the test lets it go, and
// keeps the paths of all.
type holding struct {
	next    http.RoundTripper
	arrived chan struct{}
	release chan struct{}
	once    sync.Once
	// change, if set, changes the response to a batch.
	change func(*http.Response) *http.Response

	mu    sync.Mutex
	paths []string
}

func (h *holding) RoundTrip(req *http.Request) (*http.Response, error) {
	h.mu.Lock()
	h.paths = append(h.paths, req.URL.Path)
	h.mu.Unlock()
	h.once.Do(func() {
		close(h.arrived)
		<-h.release
	})
	res, err := h.next.RoundTrip(req)
	if h.change != nil && err == nil && req.URL.Path == batchPath {
		res = h.change(res)
	}
	return res, err
}

// hold puts a holding transport between a follower and the leader.
func hold(follower *member) (*holding, *gather.Queue[*gatheredCall]) {
	g := follower.service.peers.http.Transport.(*gatherer)
	h := &holding{next: g.next, arrived: make(chan struct{}), release: make(chan struct{})}
	g.next = h
	leader, _, _ := follower.engine.Leader()
	q := g.queue(leader)
	q.Patience = time.Hour
	return h, q
}

// together makes calls at the same time, behind one that is held up until all of them wait.
func (h *holding) together(t *testing.T, follower *member, q *gather.Queue[*gatheredCall], calls ...func() error) []error {
	t.Helper()
	var all sync.WaitGroup
	all.Go(func() { follower.submit("first") })
	<-h.arrived
	errs := make([]error, len(calls))
	for i, call := range calls {
		all.Go(func() { errs[i] = call() })
	}
	for waiting := 0; waiting < len(calls); waiting, _ = q.Waiting() {
		time.Sleep(time.Millisecond)
	}
	close(h.release)
	all.Wait()
	return errs
}

func (m *member) trySubmit(task *v1.Task) (*v1.Task, error) {
	res, err := m.taskClient().SubmitTask(testContext(m.t), connect.NewRequest(&v1.SubmitTaskRequest{Task: task}))
	if err != nil {
		return nil, err
	}
	if res.Header().Get(appliedHeader) == "" {
		return nil, errors.New("the response does not say which index it reflects")
	}
	return res.Msg.GetTask(), nil
}

func TestForwardedCallsGoTogether(t *testing.T) {
	members := newCluster(t, 3)
	leader, followers := roles(t, members)
	leader.register("n1", "s1", 1)
	leader.submit("taken")
	f := followers[0]
	h, q := hold(f)
	var calls []func() error
	for i := range 40 {
		calls = append(calls, func() error {
			task, err := f.trySubmit(echo(fmt.Sprintf("t%d", i)))
			if err == nil && task.GetId() != fmt.Sprintf("t%d", i) {
				err = fmt.Errorf("it is answered with %s", task.GetId())
			}
			return err
		})
	}
	other := echo("taken")
	other.Priority = 1
	calls = append(calls,
		func() error { _, err := f.trySubmit(other); return err },
		func() error {
			_, err := f.taskClient().CancelTask(testContext(t), connect.NewRequest(&v1.CancelTaskRequest{Id: "nobody"}))
			return err
		},
		func() error {
			_, err := f.nodeClient().Heartbeat(testContext(t), connect.NewRequest(&v1.HeartbeatRequest{NodeId: "n1", SessionId: "s1"}))
			return err
		})
	errs := h.together(t, f, q, calls...)
	for i, err := range errs {
		want := map[int]connect.Code{40: connect.CodeAlreadyExists, 41: connect.CodeNotFound}[i]
		if want == 0 && err != nil || want != 0 && connect.CodeOf(err) != want {
			t.Errorf("call %d: %v, want %v", i, err, want)
		}
	}
	if ce := new(connect.Error); !errors.As(errs[40], &ce) || len(ce.Details()) != 1 {
		t.Errorf("an error has its details: %v", errs[40])
	}
	if got := fmt.Sprint(h.paths); got != "[/controlplane.v1.TaskService/SubmitTask /forward]" {
		t.Errorf("requests to the leader: %s", got)
	}
}

// TestABatchOfWhichAPartIsLost: whose response does not come is told that the outcome is not
// known, and by which key a repeat is safe.
func TestABatchOfWhichAPartIsLost(t *testing.T) {
	members := newCluster(t, 3)
	_, followers := roles(t, members)
	f := followers[0]
	h, q := hold(f)
	h.change = func(res *http.Response) *http.Response {
		text, _ := io.ReadAll(res.Body)
		second := bytes.LastIndex(text, []byte("HTTP/1.1 "))
		res.Body = io.NopCloser(bytes.NewReader(text[:second+40]))
		return res
	}
	errs := h.together(t, f, q,
		func() error { _, err := f.trySubmit(echo("a")); return err },
		func() error { _, err := f.trySubmit(echo("b")); return err })
	if (errs[0] == nil) == (errs[1] == nil) {
		t.Fatalf("one of two is lost: %v", errs)
	}
	var ce *connect.Error
	if !errors.As(firstOf(errs), &ce) || ce.Code() != connect.CodeAborted || errorInfoOf(t, ce).GetMetadata()["retry_key"] != "task.id" {
		t.Errorf("the lost one is told %v", firstOf(errs))
	}
	for _, id := range []string{"a", "b"} { // the repeat is answered
		if _, err := f.trySubmit(echo(id)); err != nil {
			t.Errorf("%s again: %v", id, err)
		}
	}
}

func firstOf(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestALeaderThatTakesNoBatch is one of a release that does not know them.
func TestALeaderThatTakesNoBatch(t *testing.T) {
	members := newCluster(t, 3)
	leader, followers := roles(t, members)
	f := followers[0]
	h, q := hold(f)
	f.service.peers.http.Transport.(*gatherer).next = refusing{h}
	for i, err := range h.together(t, f, q,
		func() error { _, err := f.trySubmit(echo("a")); return err },
		func() error { _, err := f.trySubmit(echo("b")); return err }) {
		if err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
	_, _, body := leader.post("TaskService/ListTasks", `{}`)
	if tasks, _ := body["tasks"].([]any); len(tasks) != 3 {
		t.Errorf("stored: %v", body)
	}
}

// refusing answers a batch as if there were nothing at its path.
type refusing struct{ next http.RoundTripper }

func (r refusing) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Path == batchPath {
		return &http.Response{StatusCode: http.StatusNotFound, Body: http.NoBody, Header: http.Header{}}, nil
	}
	return r.next.RoundTrip(req)
}

func TestBatchesThatAreNone(t *testing.T) {
	m := solo(t)
	submission := "POST /controlplane.v1.TaskService/SubmitTask HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nControl-Plane-Forwarded: 1\r\nContent-Length: 45\r\n\r\n" +
		`{"task":{"exec":{"command":["true"]}}}       `
	for _, c := range []struct {
		what, body, hop string
		status          int
		want            string
	}{
		{"not from a member", submission, "", 404, "call the method itself"},
		{"no HTTP", "hello\r\n\r\n", "1", 400, "cannot be read"},
		{"a call that is cut off", submission + submission[:len(submission)-5], "1", 400, "cannot be read"},
		{"another method", submission + strings.ReplaceAll(submission, "SubmitTask", "ListTasks"), "1", 400, "another method"},
		{"a call that was not forwarded", strings.ReplaceAll(submission, "Control-Plane-Forwarded", "X"), "1", 400, "not forwarded"},
		{"too many calls", strings.Repeat(submission, maxBatchCalls+1), "1", 400, "more than 256"},
	} {
		req, err := http.NewRequestWithContext(testContext(t), http.MethodPost, m.url()+batchPath, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		if c.hop != "" {
			req.Header.Set(hopHeader, c.hop)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != c.status || !strings.Contains(string(text), c.want) {
			t.Errorf("%s: %d %s, %v", c.what, res.StatusCode, text, err)
		}
	}
	if _, _, body := m.post("TaskService/ListTasks", `{}`); len(body) != 0 {
		t.Errorf("stored: %v", body)
	}
}

// FuzzBatch reads what should be calls, forwarded in one request.
func FuzzBatch(f *testing.F) {
	f.Add([]byte("POST /controlplane.v1.TaskService/SubmitTask HTTP/1.1\r\nHost: h\r\nControl-Plane-Forwarded: 1\r\nContent-Length: 2\r\n\r\n{}"))
	f.Add([]byte("POST /controlplane.v1.TaskService/SubmitTask HTTP/1.1\r\nHost: h\r\nControl-Plane-Forwarded: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"))
	f.Add([]byte("GET / HTTP/1.0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		requests, err := readRequests(bytes.NewReader(body))
		if err != nil && requests != nil {
			t.Error("refused and read")
		}
		for _, r := range requests {
			if text, err := io.ReadAll(r.Body); err != nil || int64(len(text)) != r.ContentLength || len(text) > len(body) {
				t.Errorf("a call of %d bytes, of which %d come: %v", r.ContentLength, len(text), err)
			}
		}
	})
}
