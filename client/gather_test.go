package client_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/raft-control-plane/control-plane/client"
	"github.com/raft-control-plane/control-plane/clienttest"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// gatherer is a member that holds up the task named "first" until the test lets it go, and
// refuses what is named "bad".
type gatherer struct {
	fake
	c       *client.Client
	arrived chan struct{} // the first task is here
	release chan struct{}

	alone, together atomic.Int32
	mu              sync.Mutex
	stored          map[string]int
}

func newGatherer(t *testing.T) *gatherer {
	g := &gatherer{arrived: make(chan struct{}), release: make(chan struct{}), stored: map[string]int{}}
	g.submit = func(r *v1.SubmitTaskRequest) (*v1.SubmitTaskResponse, error) {
		g.alone.Add(1)
		if r.GetTask().GetId() == "first" {
			close(g.arrived)
			<-g.release
		}
		if r.GetTask().GetId() == "bad" {
			return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("the task named bad"))
		}
		return &v1.SubmitTaskResponse{Task: g.store(r)}, nil
	}
	g.submits = func(r *v1.SubmitTasksRequest) (*v1.SubmitTasksResponse, error) {
		g.together.Add(1)
		res := &v1.SubmitTasksResponse{}
		for _, one := range r.GetRequests() {
			if one.GetTask().GetId() == "bad" {
				return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("one of these"))
			}
			out := &v1.SubmitTaskOutcome{Outcome: &v1.SubmitTaskOutcome_Task{Task: g.store(one)}}
			if one.GetIdOnly() {
				out.Outcome = &v1.SubmitTaskOutcome_TaskId{TaskId: one.GetTask().GetId()}
			}
			if one.GetTask().GetId() == "taken" {
				out.Outcome = &v1.SubmitTaskOutcome_Error{Error: &v1.ItemError{Code: "already_exists", Message: "taken"}}
			}
			res.Outcomes = append(res.Outcomes, out)
		}
		return res, nil
	}
	g.c = newClient(t, []string{start(t, &g.fake)})
	return g
}

func (g *gatherer) store(r *v1.SubmitTaskRequest) *v1.Task {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stored[r.GetTask().GetId()]++
	return r.GetTask()
}

// do submits tasks at the same time, behind the first one, which goes on once all of them
// have been queued.
func (g *gatherer) do(t *testing.T, ids ...string) map[string]error {
	t.Helper()
	client.Patient(g.c)
	var wg sync.WaitGroup
	var mu sync.Mutex
	errs := map[string]error{}
	submit := func(id string) {
		res, err := g.c.SubmitTask(testContext(t, 20*time.Second), &v1.SubmitTaskRequest{Task: &v1.Task{Id: id}, IdOnly: len(id) == 2})
		if err == nil && res.GetTask().GetId() != id {
			err = fmt.Errorf("it is answered with task %s", res.GetTask().GetId())
		}
		mu.Lock()
		defer mu.Unlock()
		errs[id] = err
	}
	wg.Go(func() { submit("first") })
	<-g.arrived
	for _, id := range ids {
		wg.Go(func() { submit(id) })
	}
	client.AwaitWaiting(g.c, len(ids))
	close(g.release)
	wg.Wait()
	return errs
}

func TestSubmissionsGoTogether(t *testing.T) {
	g := newGatherer(t)
	var ids []string
	for i := range 50 {
		ids = append(ids, fmt.Sprintf("t%d", i))
	}
	for id, err := range g.do(t, ids...) {
		if err != nil || g.stored[id] != 1 {
			t.Errorf("%s: %v, stored %d times", id, err, g.stored[id])
		}
	}
	if g.alone.Load() != 1 || g.together.Load() != 1 || len(g.stored) != 51 {
		t.Errorf("%d calls for one and %d for many stored %d", g.alone.Load(), g.together.Load(), len(g.stored))
	}
	if _, err := g.c.SubmitTask(t.Context(), &v1.SubmitTaskRequest{Task: &v1.Task{Id: "last"}}); err != nil || g.alone.Load() != 2 {
		t.Errorf("the next one goes by itself: %v, %d calls", err, g.alone.Load())
	}
}

func TestEachOfABatchHasItsOwnError(t *testing.T) {
	for _, c := range []struct {
		id   string
		code connect.Code
		want int32 // calls for one
	}{{"bad", connect.CodeInvalidArgument, 1 + 3}, {"taken", 0, 1 + 1}} {
		g := newGatherer(t)
		errs := g.do(t, "a", c.id, "b")
		if connect.CodeOf(errs[c.id]) != c.code && errs[c.id] != nil || errs["a"] != nil || errs["b"] != nil || g.alone.Load() != c.want || g.together.Load() != 1 {
			t.Errorf("%s: %v, by %d calls for one and %d for many", c.id, errs, g.alone.Load(), g.together.Load())
		}
	}
}

func TestWhoLeavesIsNotSubmitted(t *testing.T) {
	g := newGatherer(t)
	client.Patient(g.c)
	g.holdUp(t)
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 2)
	for _, id := range []string{"left", "left too"} {
		go func() {
			_, err := g.c.SubmitTask(ctx, &v1.SubmitTaskRequest{Task: &v1.Task{Id: id}})
			left <- err
		}()
	}
	client.AwaitWaiting(g.c, 2)
	cancel()
	for range 2 {
		if err := <-left; connect.CodeOf(err) != connect.CodeCanceled {
			t.Errorf("who left gets %v", err)
		}
	}
	close(g.release)
	client.AwaitIdle(g.c)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stored["first"] != 1 || len(g.stored) != 1 {
		t.Errorf("stored: %v", g.stored)
	}
}

// TestWhoLeavesMayUseItsMessageAgain, also while the task is under way with others, and sent again.
func TestWhoLeavesMayUseItsMessageAgain(t *testing.T) {
	req := &v1.SubmitTaskRequest{Task: &v1.Task{Id: "left", Name: "left"}}
	args := []byte("left")
	for what, c := range map[string]struct {
		submit func(ctx context.Context, c *client.Client) error
		change func()
	}{
		"the message": {
			func(ctx context.Context, c *client.Client) error { _, err := c.SubmitTask(ctx, req); return err },
			func() { req.Task.Name = "mine" },
		},
		"the argument": {
			func(ctx context.Context, c *client.Client) error {
				_, err := client.Submit[[]byte, []byte](ctx, c, "f", args)
				return err
			},
			func() { copy(args, "mine") },
		},
	} {
		t.Run(what, func(t *testing.T) { leaveAndChange(t, c.submit, c.change) })
	}
}

func leaveAndChange(t *testing.T, submit func(ctx context.Context, c *client.Client) error, change func()) {
	g := newGatherer(t)
	client.Patient(g.c)
	sent, answer := make(chan struct{}), make(chan struct{})
	var tasks []string
	g.submits = func(r *v1.SubmitTasksRequest) (*v1.SubmitTasksResponse, error) {
		res := &v1.SubmitTasksResponse{}
		for _, one := range r.GetRequests() {
			tasks = append(tasks, one.GetTask().GetName()+string(one.GetTask().GetFunction().GetPayload()))
			res.Outcomes = append(res.Outcomes, &v1.SubmitTaskOutcome{Outcome: &v1.SubmitTaskOutcome_Task{Task: one.GetTask()}})
		}
		if len(tasks) == 2 {
			close(sent)
			<-answer
			return nil, connect.NewError(connect.CodeUnavailable, errors.New("again"))
		}
		return res, nil
	}
	g.holdUp(t)
	ctx, cancel := context.WithCancel(t.Context())
	left, stayed := make(chan error), make(chan error)
	go func() { left <- submit(ctx, g.c) }()
	client.AwaitWaiting(g.c, 1)
	go func() {
		_, err := g.c.SubmitTask(testContext(t, 20*time.Second), &v1.SubmitTaskRequest{Task: &v1.Task{Id: "stays", Name: "stays"}})
		stayed <- err
	}()
	client.AwaitWaiting(g.c, 2)
	close(g.release)
	<-sent
	cancel()
	if err := <-left; connect.CodeOf(err) != connect.CodeCanceled {
		t.Errorf("who left gets %v", err)
	}
	change()
	close(answer)
	if err := <-stayed; err != nil {
		t.Error(err)
	}
	if want := []string{"left", "stays", "left", "stays"}; !slices.Equal(tasks, want) {
		t.Errorf("sent: %q, want %q", tasks, want)
	}
}

// holdUp submits the first task, which is held up.
func (g *gatherer) holdUp(t *testing.T) {
	t.Helper()
	ctx := testContext(t, 20*time.Second)
	go func() {
		_, _ = g.c.SubmitTask(ctx, &v1.SubmitTaskRequest{Task: &v1.Task{Id: "first"}}) // its fate is seen at the server
	}()
	<-g.arrived
}

func TestNothingWaitsForACallThatIsStuck(t *testing.T) {
	g := newGatherer(t)
	g.holdUp(t)
	for _, id := range []string{"waits a while", "comes later"} {
		if _, err := g.c.SubmitTask(testContext(t, 10*time.Second), &v1.SubmitTaskRequest{Task: &v1.Task{Id: id}}); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	close(g.release)
}

func TestJobsHaveTheIDsThatCameBack(t *testing.T) {
	g := newGatherer(t)
	for _, whole := range []bool{false, true} { // the second as by an option of the caller
		option := func(r *v1.SubmitTaskRequest) { r.IdOnly = !whole }
		jobs, err := client.SubmitAll[int, int](t.Context(), g.c, "f", []int{1, 2, 3}, option)
		if err != nil || len(jobs) != 3 {
			t.Fatalf("%d jobs, %v", len(jobs), err)
		}
		for _, j := range jobs {
			if g.stored[j.ID()] != 1 {
				t.Errorf("a job has the id %q, stored are %v", j.ID(), g.stored)
			}
		}
	}
}

// BenchmarkSubmit submits one task a call by 64 callers, to a member in this process, over
// loopback.
func BenchmarkSubmit(b *testing.B) {
	p := clienttest.New(b)
	b.SetParallelism(32)
	payload := make([]byte, 256)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_, err := p.Client.SubmitTask(context.Background(), &v1.SubmitTaskRequest{Task: &v1.Task{Work: &v1.Task_Function{Function: &v1.FunctionTask{Name: "f", Payload: payload}}}})
			if err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "submits/s")
}

// BenchmarkSubmitAll submits 1,000 tasks a call by 4 callers, to a member in this process, over
// loopback.
func BenchmarkSubmitAll(b *testing.B) {
	p := clienttest.New(b)
	payloads := slices.Repeat([][]byte{make([]byte, 256)}, 1000)
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ResetTimer()
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for n := left.Add(-1000) + 1000; n > 0; n = left.Add(-1000) + 1000 {
				if _, err := client.SubmitAll[[]byte, []byte](b.Context(), p.Client, "f", payloads[:min(n, 1000)]); err != nil {
					b.Error(err)
				}
			}
		})
	}
	callers.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "submits/s")
}

// BenchmarkCycle has 64 callers submit and 64 slots of a worker run them: submitted, run,
// recorded.
func BenchmarkCycle(b *testing.B) {
	p := clienttest.New(b)
	w := client.NewWorker(p.Client, client.WorkerOptions{Name: "w1", Concurrency: 64, Logger: slog.New(slog.DiscardHandler)})
	room, left := make(chan struct{}, 256), make(chan struct{}, 256)
	w.Handle("f", func(context.Context, *client.Attempt) ([]byte, error) {
		<-room
		left <- struct{}{}
		return nil, nil
	})
	ctx, stop := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	<-w.Ready()
	payload := make([]byte, 256)
	submitted := make(chan struct{})
	b.ResetTimer()
	go func() {
		defer close(submitted)
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				room <- struct{}{}
				if _, err := client.Submit[[]byte, []byte](b.Context(), p.Client, "f", payload); err != nil {
					b.Error(err)
				}
			}
		})
	}()
	for range b.N {
		<-left
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "cycles/s")
	b.StopTimer()
	<-submitted // a task may have run before its submitter hears that it is stored
	stop()
	if err := <-done; err != nil {
		b.Error(err)
	}
}
