package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/raft-control-plane/control-plane/client"
	"github.com/raft-control-plane/control-plane/clienttest"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

type square struct {
	Side int `json:"side"`
}

type area struct {
	Area int `json:"area"`
}

func squared(_ context.Context, s square) (area, error) { return area{s.Side * s.Side}, nil }

// testWorker is a worker that does not log.
func testWorker(c *client.Client, name string) *client.Worker {
	return client.NewWorker(c, client.WorkerOptions{Name: name, Concurrency: 4, StopGrace: 100 * time.Millisecond, ShutdownGrace: 100 * time.Millisecond,
		Logger: slog.New(slog.DiscardHandler)})
}

// run runs a worker until the test ends, or until stop is called, which returns what Run did.
func run(t *testing.T, w *client.Worker) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	select {
	case <-w.Ready():
	case err := <-done:
		t.Fatalf("worker %s: %v", w.Name(), err)
	}
	stopped := false
	stop = func() error {
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() {
		if stopped {
			return
		}
		if err := stop(); err != nil {
			t.Errorf("worker %s: %v", w.Name(), err)
		}
	})
	return stop
}

// patient bounds what a test waits for.
func patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func taskOf[R any](t *testing.T, j *client.Job[R]) *v1.Task {
	t.Helper()
	task, err := j.Task(patient(t))
	if err != nil {
		t.Fatal(err)
	}
	return task
}

func submit[Args, R any](t *testing.T, p *clienttest.ControlPlane, function string, args Args, opts ...client.TaskOption) *client.Job[R] {
	t.Helper()
	j, err := client.Submit[Args, R](patient(t), p.Client, function, args, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func TestWorkerRunsFunctions(t *testing.T) {
	p := clienttest.New(t)
	w := testWorker(p.Client, "w1")
	client.Register(w, "square", squared)
	client.Register(w, "reverse", func(_ context.Context, b []byte) ([]byte, error) {
		for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
			b[i], b[j] = b[j], b[i]
		}
		return b, nil
	})
	client.Register(w, "nothing", func(context.Context, struct{}) (struct{}, error) { return struct{}{}, nil })
	run(t, w)
	sides := make([]square, 1200)
	for i := range sides {
		sides[i].Side = i
	}
	jobs, err := client.SubmitAll[square, area](patient(t), p.Client, "square", sides)
	if err != nil {
		t.Fatal(err)
	}
	areas, err := client.Results(patient(t), jobs)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range areas {
		if a.Area != i*i {
			t.Errorf("%d squared is %d", i, a.Area)
		}
	}
	if got, err := submit[[]byte, []byte](t, p, "reverse", []byte("\xff\x00ab")).Wait(patient(t)); string(got) != "ba\x00\xff" || err != nil {
		t.Errorf("bytes come as they are: %q, %v", got, err)
	}
	if _, err := submit[struct{}, struct{}](t, p, "nothing", struct{}{}).Wait(patient(t)); err != nil {
		t.Error(err)
	}
	if raw, err := submit[json.RawMessage, json.RawMessage](t, p, "square", json.RawMessage(`{"side":3}`)).Wait(patient(t)); string(raw) != `{"area":9}` || err != nil {
		t.Errorf("raw JSON: %s, %v", raw, err)
	}
}

func TestFailuresOfFunctions(t *testing.T) {
	p := clienttest.New(t, clienttest.WithRetryWait(time.Millisecond))
	w := testWorker(p.Client, "w1")
	var tries atomic.Int32
	client.Register(w, "third", func(context.Context, struct{}) (int32, error) {
		if n := tries.Add(1); n < 3 {
			return 0, fmt.Errorf("try %d", n)
		}
		return tries.Load(), nil
	})
	client.Register(w, "hopeless", func(context.Context, struct{}) (int, error) {
		return 0, fmt.Errorf("step 2: %w", client.Permanent(errors.New("no such model")))
	})
	client.Register(w, "panics", func(context.Context, struct{}) (int, error) { panic("at the disco") })
	client.Register(w, "later", func(context.Context, struct{}) (int, error) {
		return 0, client.RetryAfter(errors.New("busy"), time.Hour)
	})
	client.Register(w, "large", func(context.Context, struct{}) ([]byte, error) { return make([]byte, 1<<20+1), nil })
	client.Register(w, "square", squared)
	run(t, w)
	if n, err := submit[struct{}, int32](t, p, "third", struct{}{}, client.WithAttempts(5)).Wait(patient(t)); n != 3 || err != nil {
		t.Errorf("the third try: %d, %v", n, err)
	}
	for _, c := range []struct{ function, arg, why, log string }{
		{"hopeless", `{}`, "step 2: no such model", ""},
		{"large", `{}`, "the result has 1048577 bytes, at most 1048576 are allowed", ""},
		{"square", `{"side":"long"}`, "the argument is no client_test.square", ""},
	} {
		_, err := submit[json.RawMessage, json.RawMessage](t, p, c.function, json.RawMessage(c.arg), client.WithAttempts(5)).Wait(patient(t))
		var failed *client.TaskError
		if !errors.As(err, &failed) || failed.Task.GetAttempt() != 1 || !strings.Contains(failed.Task.GetError(), c.why) {
			t.Errorf("%s: %v", c.function, err)
		}
	}
	_, err := submit[struct{}, int](t, p, "panics", struct{}{}, client.WithAttempts(2)).Wait(patient(t))
	var failed *client.TaskError
	if !errors.As(err, &failed) || failed.Task.GetAttempt() != 2 || failed.Task.GetError() != "panic: at the disco" ||
		!strings.Contains(failed.Task.GetLogTail(), "worker_test.go") {
		t.Errorf("a panic: %v, with the log %q", err, failed.Task.GetLogTail())
	}
	later := submit[struct{}, int](t, p, "later", struct{}{}, client.WithAttempts(2))
	err = later.Watch(patient(t), func(task *v1.Task) error {
		if task.GetFailedAttempts() == 1 {
			return io.EOF
		}
		return nil
	})
	if wait := taskOf(t, later).GetRetryTime().AsTime().Sub(taskOf(t, later).GetCreateTime().AsTime()); !errors.Is(err, io.EOF) || wait < time.Hour {
		t.Errorf("it waits %s, %v", wait, err)
	}
}

// started registers a function that says when it has begun, and why its context ended.
func started(w *client.Worker, name string) (begun chan int32, ended chan error) {
	begun, ended = make(chan int32, 10), make(chan error, 10)
	client.Register(w, name, func(ctx context.Context, _ struct{}) (int, error) {
		begun <- client.AttemptOf(ctx).Task.GetAttempt()
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return 0, ctx.Err()
	})
	return begun, ended
}

func TestCancelReachesTheFunction(t *testing.T) {
	p := clienttest.New(t, clienttest.WithLease(3*time.Second)) // heartbeats tell of cancels
	w := testWorker(p.Client, "w1")
	begun, ended := started(w, "wait")
	run(t, w)
	j := submit[struct{}, int](t, p, "wait", struct{}{})
	<-begun
	if err := j.Cancel(patient(t)); err != nil {
		t.Fatal(err)
	}
	if cause := <-ended; !errors.Is(cause, client.ErrTaskCancelled) {
		t.Errorf("the context ended by %v", cause)
	}
	var failed *client.TaskError
	if _, err := j.Wait(patient(t)); !errors.As(err, &failed) || failed.Task.GetStatus() != v1.TaskStatus_TASK_STATUS_CANCELLED {
		t.Errorf("it ended by %v", err)
	}
}

func TestTimeoutEndsTheFunction(t *testing.T) {
	p := clienttest.New(t)
	w := testWorker(p.Client, "w1")
	_, ended := started(w, "wait")
	never := make(chan struct{})
	defer close(never)
	client.Register(w, "deaf", func(context.Context, struct{}) (int, error) { <-never; return 0, nil })
	run(t, w)
	short := client.WithTask(func(t *v1.Task) { t.Timeout = durationpb.New(50 * time.Millisecond) })
	for _, function := range []string{"wait", "deaf"} { // the second does not return: it is not waited for
		_, err := submit[struct{}, int](t, p, function, struct{}{}, short).Wait(patient(t))
		var failed *client.TaskError
		if !errors.As(err, &failed) || failed.Task.GetError() != "timed out after 50ms" {
			t.Errorf("%s: %v", function, err)
		}
	}
	if cause := <-ended; !errors.Is(cause, client.ErrTimeout) {
		t.Errorf("the context ended by %v", cause)
	}
}

// TestAWorkerThatStopsHandsBack: what returns in time counts, what does not goes to another
// worker, and is neither a failure nor a loss.
func TestAWorkerThatStopsHandsBack(t *testing.T) {
	p := clienttest.New(t)
	w := client.NewWorker(p.Client, client.WorkerOptions{Name: "w1", Concurrency: 4, Logger: slog.New(slog.DiscardHandler)}) // with time to return in
	begun, _ := started(w, "wait")
	finishing := make(chan struct{})
	client.Register(w, "finish", func(ctx context.Context, _ struct{}) (string, error) {
		close(finishing)
		<-ctx.Done()
		return "in time", nil
	})
	stop := run(t, w)
	wait, finish := submit[struct{}, string](t, p, "wait", struct{}{}), submit[struct{}, string](t, p, "finish", struct{}{})
	<-begun
	<-finishing
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if got, err := finish.Wait(patient(t)); got != "in time" || err != nil {
		t.Errorf("what returned while the worker stopped: %q, %v", got, err)
	}
	task := taskOf(t, wait)
	if client.Final(task.GetStatus()) || task.GetFailedAttempts() != 0 || task.GetLostAttempts() != 0 {
		t.Errorf("what was handed back: %v", task)
	}
	other := testWorker(p.Client, "w2")
	client.Register(other, "wait", func(context.Context, struct{}) (string, error) { return "done", nil })
	run(t, other)
	if got, err := wait.Wait(patient(t)); got != "done" || err != nil || taskOf(t, wait).GetNodeId() != "w2" {
		t.Errorf("the other worker: %q, %v, %v", got, err, taskOf(t, wait))
	}
	if err := w.Run(patient(t)); err == nil {
		t.Error("a worker runs twice")
	}
}

func TestALostLeaseEndsTheFunction(t *testing.T) {
	p, err := clienttest.Start(t.Context(), clienttest.WithLease(600*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	w := testWorker(p.Client, "w1")
	begun, ended := started(w, "wait")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	submit[struct{}, int](t, p, "wait", struct{}{})
	<-begun
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if cause := <-ended; !errors.Is(cause, client.ErrLeaseLost) {
		t.Errorf("the context ended by %v", cause)
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("the worker ended by %v", err)
	}
}

func TestAWorkerThatWasReplaced(t *testing.T) {
	p := clienttest.New(t, clienttest.WithLease(600*time.Millisecond))
	first, second := testWorker(p.Client, "w1"), testWorker(p.Client, "w1")
	begun, ended := started(first, "wait")
	client.Register(second, "wait", func(context.Context, struct{}) (int, error) { return 7, nil })
	done := make(chan error, 1)
	go func() { done <- first.Run(t.Context()) }()
	j := submit[struct{}, int](t, p, "wait", struct{}{})
	<-begun
	run(t, second)
	if err := <-done; !errors.Is(err, client.ErrReplaced) {
		t.Errorf("the first worker ended by %v", err)
	}
	<-ended
	if n, err := j.Wait(patient(t)); n != 7 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

func TestMiddlewareAndLog(t *testing.T) {
	p := clienttest.New(t)
	w := testWorker(p.Client, "w1")
	around := func(name string) client.Middleware {
		return func(next client.Handler) client.Handler {
			return func(ctx context.Context, at *client.Attempt) ([]byte, error) {
				fmt.Fprintf(client.Output(ctx), "%s before %s\n", name, at.Task.GetFunction().GetName())
				defer fmt.Fprintln(client.Output(ctx), name, "after")
				return next(ctx, at)
			}
		}
	}
	w.Use(around("outer"), around("inner"))
	client.Register(w, "log", func(ctx context.Context, n int) (int, error) {
		client.Logger(ctx).Info("now", "n", n)
		return n + 1, nil
	})
	run(t, w)
	j := submit[int, int](t, p, "log", 4, client.WithQueue("q"), client.WithPriority(3), client.WithID("mine"))
	if n, err := j.Wait(patient(t)); n != 5 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	task := taskOf(t, j)
	if task.GetQueue() != "q" || task.GetPriority() != 3 || task.GetId() != "mine" || j.ID() != "mine" {
		t.Errorf("its options: %v", task)
	}
	lines := strings.Split(task.GetLogTail(), "\n")
	if len(lines) != 6 || lines[0] != "outer before log" || lines[1] != "inner before log" || !strings.Contains(lines[2], "msg=now task=mine attempt=1 n=4") || lines[4] != "outer after" {
		t.Errorf("its log: %q", lines)
	}
}

func TestMistakesOfWorkers(t *testing.T) {
	c, err := client.New([]string{"http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	err = client.NewWorker(c, client.WorkerOptions{Name: "a b", Concurrency: 10001, StopGrace: -1}).Run(t.Context())
	for _, want := range []string{`name "a b": give`, "concurrency 10001: give 1 to 10000", "no function is registered", "negative"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not said by %v", want, err)
		}
	}
	if _, err := client.SubmitAll[int, int](t.Context(), c, "f", []int{1, 2}, client.WithID("x")); err == nil || !strings.Contains(err.Error(), "WithID") {
		t.Errorf("one id for two: %v", err)
	}
	if _, err := client.Submit[func(), int](t.Context(), c, "f", nil); err == nil || !strings.Contains(err.Error(), "argument of f") {
		t.Errorf("a function as an argument: %v", err)
	}
	w := client.NewWorker(c, client.WorkerOptions{})
	client.Register(w, "f", squared)
	defer func() {
		if recover() == nil {
			t.Error("a name is registered twice")
		}
	}()
	client.Register(w, "f", squared)
}
