package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"github.com/raft-control-plane/control-plane/db"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/gen/go/controlplane/v1/controlplanev1connect"
)

// TestOverload holds up the log until more is submitted than may wait. What comes then is
// refused with a time to wait; leases and results are taken. What was taken is stored once
// the log goes on.
func TestOverload(t *testing.T) {
	m := solo(t)
	m.register("n1", "s1", 1)
	m.submit("running")
	if work, err := m.poll("n1", "s1", 20*time.Second); err != nil || len(work.GetTasks()) != 1 {
		t.Fatalf("poll: %v, %v", work, err)
	}
	release := m.holdUp()
	const submissions = 40 // new work may fill 16 MiB of the queue
	outcomes := make(chan error, submissions)
	for i := range submissions {
		go func() { outcomes <- m.submitLarge(fmt.Sprint("large-", i)) }()
	}
	refused := func(err error) {
		if connect.CodeOf(err) != connect.CodeResourceExhausted || retryDelayOf(err) <= 0 {
			t.Errorf("what is too much: %v, to be tried again after %s", err, retryDelayOf(err))
		}
	}
	refused(<-outcomes)
	for ctx := testContext(t); m.tasks.RefusesNewWork(1<<20) == nil; time.Sleep(time.Millisecond) { // those that are on their way come
		if ctx.Err() != nil {
			t.Fatal("the queue of new work is not full")
		}
	}
	if res, err := m.submitUnsent(1 << 20); err != nil || !strings.HasPrefix(res, "429") || !strings.Contains(res, "too much is waiting") {
		t.Errorf("a submission of which nothing is sent: %s, %v", res, err)
	}
	waiting := m.tasks.Waiting()
	var calls sync.WaitGroup
	calls.Go(func() {
		_, err := m.nodeClient().Heartbeat(testContext(t), connect.NewRequest(&v1.HeartbeatRequest{
			NodeId: "n1", SessionId: "s1", Held: []*v1.HeldAttempt{{TaskId: "running", Attempt: 1}}}))
		if err != nil {
			t.Errorf("heartbeat: %v", err)
		}
	})
	calls.Go(func() {
		_, err := m.nodeClient().ReportTaskResult(testContext(t), connect.NewRequest(&v1.ReportTaskResultRequest{
			TaskId: "running", Attempt: 1, NodeId: "n1", SessionId: "s1", Status: v1.TaskStatus_TASK_STATUS_COMPLETED}))
		if err != nil {
			t.Errorf("report: %v", err)
		}
	})
	for deadline := time.Now().Add(testTimeout); m.tasks.Waiting() < waiting+2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d writes wait; a heartbeat and a report should, beside %d", m.tasks.Waiting(), waiting)
		}
	}
	release()
	calls.Wait()
	taken := 0
	for range submissions - 1 {
		if err := <-outcomes; err == nil {
			taken++
		} else {
			refused(err)
		}
	}
	res, err := m.query("SELECT count(*) FILTER (WHERE id LIKE 'large-%'), count(*) FILTER (WHERE status = 'COMPLETED') FROM tasks")
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(res.GetRows()[0].AsSlice()); got != fmt.Sprintf("[%d 1]", taken) || taken == 0 {
		t.Errorf("stored of %d that were taken, and completed: %s", taken, got)
	}
}

// holdUp makes the log stand still until it is released.
func (m *member) holdUp() (release func()) {
	m.t.Helper()
	held, gate := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- m.tasks.Do(context.Background(), 0, func(*db.Group) {
			close(held)
			<-gate
		})
	}()
	<-held
	release = sync.OnceFunc(func() {
		close(gate)
		if err := <-done; err != nil {
			m.t.Errorf("what held up the log: %v", err)
		}
	})
	m.t.Cleanup(release)
	return release
}

// submitLarge submits a task of about 1 MiB.
func (m *member) submitLarge(id string) error {
	payload := []byte(`"` + strings.Repeat("x", 1<<20-2) + `"`)
	_, err := m.taskClient().SubmitTask(testContext(m.t), connect.NewRequest(&v1.SubmitTaskRequest{
		Task: &v1.Task{Id: id, Work: &v1.Task_Function{Function: &v1.FunctionTask{Name: "f", Payload: payload}}}}))
	return err
}

// submitUnsent begins to submit so many bytes, of which it sends none, and returns the answer.
func (m *member) submitUnsent(length int64) (string, error) {
	m.t.Helper()
	body, w := io.Pipe()
	defer func() { _ = w.Close() }()
	req, err := http.NewRequestWithContext(testContext(m.t), http.MethodPost, m.url()+controlplanev1connect.TaskServiceSubmitTaskProcedure, body)
	if err != nil {
		return "", err
	}
	req.ContentLength = length
	req.Header.Set("Content-Type", "application/json")
	res, err := h2(m.t).Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	return fmt.Sprintf("%s: %s", res.Status, answer), err
}

// retryDelayOf is how long an error asks to wait; 0 if it does not.
func retryDelayOf(err error) time.Duration {
	var ce *connect.Error
	if !errors.As(err, &ce) {
		return 0
	}
	for _, d := range ce.Details() {
		if m, err := d.Value(); err == nil {
			if info, ok := m.(*errdetails.RetryInfo); ok {
				return info.GetRetryDelay().AsDuration()
			}
		}
	}
	return 0
}
