package service

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/gen/go/controlplane/v1/controlplanev1connect"
)

// TestNewWorkThatArrives has as much of new work on its way in as may be: what is large and comes
// beside it is refused unread, in each protocol, until that has come or is given up.
func TestNewWorkThatArrives(t *testing.T) {
	m := solo(t)
	m.register("n1", "s1", 1)
	const n = maxArrivingBytes / maxMessageBytes
	var bodies []*io.PipeWriter
	answers := make(chan error, n)
	client := h2(t)
	for range n {
		r, w := io.Pipe()
		bodies = append(bodies, w)
		req, err := http.NewRequestWithContext(testContext(t), http.MethodPost, m.url()+controlplanev1connect.TaskServiceSubmitTasksProcedure, r)
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = maxMessageBytes
		req.Header.Set("Content-Type", "application/json")
		go func() {
			res, err := client.Do(req)
			if err == nil {
				_ = res.Body.Close()
			}
			answers <- err
		}()
	}
	await := func(what string, bytes int64) {
		t.Helper()
		for ctx := testContext(t); m.service.arriving.bytes.Load() != bytes; time.Sleep(time.Millisecond) {
			if ctx.Err() != nil {
				t.Fatalf("%s: %d bytes are on their way, want %d", what, m.service.arriving.bytes.Load(), bytes)
			}
		}
	}
	await("all have begun", maxArrivingBytes)

	http1 := &http.Client{Transport: &http.Transport{}}
	defer http1.CloseIdleConnections()
	large := func(id string, c *http.Client, opts ...connect.ClientOption) error {
		_, err := controlplanev1connect.NewTaskServiceClient(c, m.url(), opts...).SubmitTask(testContext(t), connect.NewRequest(&v1.SubmitTaskRequest{
			Task: &v1.Task{Id: id, Work: &v1.Task_Function{Function: &v1.FunctionTask{Name: "f", Payload: []byte(`"` + strings.Repeat("x", 1<<20-2) + `"`)}}}}))
		return err
	}
	callers := map[string]func(id string) error{
		"Connect":  func(id string) error { return large(id, client) },
		"HTTP/1.1": func(id string) error { return large(id, http1) },
		"gRPC":     func(id string) error { return large(id, client, connect.WithGRPC()) },
		"gRPC-Web": func(id string) error { return large(id, client, connect.WithGRPCWeb()) },
	}
	for name, call := range callers {
		if err := call("beside"); connect.CodeOf(err) != connect.CodeResourceExhausted || retryDelayOf(err) != arrivingRetryAfter {
			t.Errorf("%s: %v, to be tried again after %s", name, err, retryDelayOf(err))
		}
	}
	if status := m.submitUndeclared(client); status != http.StatusTooManyRequests {
		t.Errorf("a body of unknown length: status %d", status)
	}
	m.submit("light")
	report := &v1.ReportTaskResultRequest{TaskId: "light", Attempt: 1, NodeId: "n1", SessionId: "s1", Status: v1.TaskStatus_TASK_STATUS_FAILED, LogTail: strings.Repeat("x", lightBytes)}
	if _, err := m.nodeClient().ReportTaskResult(testContext(t), connect.NewRequest(report)); connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Errorf("a report, which is large and no new work: %v", err)
	}

	_ = bodies[0].CloseWithError(io.ErrUnexpectedEOF) // its caller has given up
	await("one has ended", maxArrivingBytes-maxMessageBytes)
	stored := 0
	for name, call := range callers {
		stored++
		if err := call(fmt.Sprint("after-", stored)); err != nil {
			t.Errorf("%s, when there is room: %v", name, err)
		}
	}
	for _, b := range bodies[1:] {
		if _, err := b.Write(make([]byte, maxMessageBytes)); err != nil { // it is no JSON
			t.Error(err)
		}
		_ = b.Close()
	}
	await("all have come", 0)
	for range n {
		<-answers
	}
	if got := fmt.Sprint(m.rows("SELECT count(*) FILTER (WHERE id LIKE 'after-%'), count(*) FROM tasks")); got != "[[4 5]]" {
		t.Errorf("stored: %s", got)
	}
}

// submitUndeclared submits without saying how much comes.
func (m *member) submitUndeclared(client *http.Client) (status int) {
	m.t.Helper()
	req, err := http.NewRequestWithContext(testContext(m.t), http.MethodPost, m.url()+controlplanev1connect.TaskServiceSubmitTaskProcedure,
		io.MultiReader(strings.NewReader(`{"task": {"function": {"name": "f"}}}`)))
	if err != nil {
		m.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	_ = res.Body.Close()
	return res.StatusCode
}
