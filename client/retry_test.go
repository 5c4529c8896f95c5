package client_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// first makes the first call go through do, and all later ones succeed.
func (f *fake) first(do func() error) {
	calls := 0
	next := func() error {
		calls++
		if calls == 1 {
			return do()
		}
		return nil
	}
	f.submit = func(r *v1.SubmitTaskRequest) (*v1.SubmitTaskResponse, error) {
		return &v1.SubmitTaskResponse{Task: r.GetTask()}, next()
	}
	f.get = func(context.Context, *v1.GetTaskRequest) (*v1.GetTaskResponse, error) {
		return &v1.GetTaskResponse{}, next()
	}
	f.poll = func(*v1.PollTaskRequest) (*v1.PollTaskResponse, error) { return &v1.PollTaskResponse{}, next() }
	f.reports = func(*v1.ReportTaskResultsRequest) (*v1.ReportTaskResultsResponse, error) {
		return &v1.ReportTaskResultsResponse{}, next()
	}
}

var methods = map[string]func(context.Context, *client.Client) error{
	"SubmitTask": func(ctx context.Context, c *client.Client) error {
		_, err := c.SubmitTask(ctx, submission("a"))
		return err
	},
	"GetTask": func(ctx context.Context, c *client.Client) error {
		_, err := c.GetTask(ctx, &v1.GetTaskRequest{Id: "a"})
		return err
	},
	"PollTask": func(ctx context.Context, c *client.Client) error {
		_, err := c.PollTask(ctx, &v1.PollTaskRequest{NodeId: "n"})
		return err
	},
	"ReportTaskResults": func(ctx context.Context, c *client.Client) error {
		_, err := c.ReportTaskResults(ctx, &v1.ReportTaskResultsRequest{NodeId: "n"})
		return err
	},
	"ReportTaskResults with a poll": func(ctx context.Context, c *client.Client) error {
		_, err := c.ReportTaskResults(ctx, &v1.ReportTaskResultsRequest{NodeId: "n", MaxTasks: 1})
		return err
	},
}

func TestWhatIsTriedAgain(t *testing.T) {
	lost := func() error { panic(http.ErrAbortHandler) }
	fails := func(code connect.Code) func() error { return func() error { return failure(code) } }
	for _, tc := range []struct {
		name    string
		do      func() error
		again   bool // repeatable calls
		pollToo bool // calls that hand out tasks
	}{
		{"refused as invalid", fails(connect.CodeInvalidArgument), false, false},
		{"not found", fails(connect.CodeNotFound), false, false},
		{"fenced", fails(connect.CodeFailedPrecondition), false, false},
		{"internal", fails(connect.CodeInternal), false, false},
		{"deadline at the server", fails(connect.CodeDeadlineExceeded), false, false},
		{"too large", fails(connect.CodeResourceExhausted), false, false},
		{"no leader", fails(connect.CodeUnavailable), true, true},
		{"throttled", func() error { return exhausted(t, time.Millisecond) }, true, true},
		{"outcome unknown", fails(connect.CodeAborted), true, false},
		{"server stops", fails(connect.CodeCanceled), true, false},
		{"connection lost", lost, true, false},
	} {
		for name, do := range methods {
			want := tc.again
			if name == "PollTask" || name == "ReportTaskResults with a poll" {
				want = tc.pollToo
			}
			t.Run(tc.name+"/"+name, func(t *testing.T) {
				f := &fake{}
				f.first(tc.do)
				err := do(testContext(t, 10*time.Second), newClient(t, []string{start(t, f)}))
				if again := f.calls.Load() == 2; again != want || again != (err == nil) {
					t.Errorf("calls = %d, err = %v; tried again should be %v", f.calls.Load(), err, want)
				}
			})
		}
	}
}

func TestRetryDelayIsHonoured(t *testing.T) {
	const delay = 120 * time.Millisecond
	f := &fake{}
	f.first(func() error { return exhausted(t, delay) })
	c := newClient(t, []string{start(t, f)})
	began := time.Now()
	if err := methods["SubmitTask"](t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if waited := time.Since(began); waited < delay {
		t.Errorf("tried again after %v, the server asked for %v", waited, delay)
	}
}

func TestRetryDelayBeyondTheDeadlineFailsAtOnce(t *testing.T) {
	f := &fake{}
	f.first(func() error { return exhausted(t, time.Hour) })
	err := methods["SubmitTask"](testContext(t, time.Minute), newClient(t, []string{start(t, f)}))
	if connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("err = %v, want the refusal itself", err)
	}
}

func TestWithoutRetriesTheFirstErrorIsReturned(t *testing.T) {
	for name, fails := range map[string]func() error{
		"throttled": func() error { return exhausted(t, time.Millisecond) }, "no leader": func() error { return failure(connect.CodeUnavailable) },
	} {
		f := &fake{}
		f.first(fails)
		c := newClient(t, []string{start(t, f), start(t, &fake{})}, client.WithoutRetries())
		if got, want := connect.CodeOf(methods["SubmitTask"](t.Context(), c)), connect.CodeOf(fails()); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// TestWhatAServerSaidIsTold: of a call whose time is over, rather than what went wrong on the
// way to the others, or that an attempt after it was cut off.
func TestWhatAServerSaidIsTold(t *testing.T) {
	leaderless := func() error { return connect.NewError(connect.CodeUnavailable, errors.New("no leader was reached")) }
	aborts := func() error { return connect.NewError(connect.CodeAborted, errors.New("the outcome is unknown")) }
	stops := func() error { return connect.NewError(connect.CodeCanceled, errors.New("the caller went away")) }
	for _, tc := range []struct {
		name string
		says []func() error // and nothing any more after that
		dead int
		want string
	}{
		{"others do not listen", slices.Repeat([]func() error{leaderless}, 99), 2, "unavailable: no leader was reached"},
		{"a later attempt is cut off", []func() error{leaderless}, 0, "unavailable: no leader was reached"},
		{"an open outcome stays open", []func() error{aborts, leaderless}, 1, "aborted: the outcome is unknown"},
		{"a member that stops says least", []func() error{leaderless, stops}, 1, "unavailable: no leader was reached"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel() // each takes as long as its call may
			f := &fake{}
			f.get = func(ctx context.Context, _ *v1.GetTaskRequest) (*v1.GetTaskResponse, error) {
				if n := int(f.calls.Load()); n <= len(tc.says) {
					return nil, tc.says[n-1]()
				}
				<-ctx.Done()
				return nil, ctx.Err()
			}
			urls := []string{start(t, f)}
			for range tc.dead {
				urls = append(urls, nobody(t))
			}
			c := newClient(t, urls, client.WithCallTimeout(2*time.Second))
			_, err := c.GetTask(t.Context(), &v1.GetTaskRequest{Id: "a", Consistency: v1.Consistency_CONSISTENCY_STALE})
			if err == nil || err.Error() != tc.want {
				t.Errorf("err = %v, want %s", err, tc.want)
			}
		})
	}
}

// TestWhatIsCutOffIsNotSaidToBeUnchanged: a server said so of an earlier attempt.
func TestWhatIsCutOffIsNotSaidToBeUnchanged(t *testing.T) {
	f := &fake{}
	f.poll = func(*v1.PollTaskRequest) (*v1.PollTaskResponse, error) {
		if f.calls.Load() == 1 {
			return nil, failure(connect.CodeUnavailable)
		}
		panic(http.ErrAbortHandler)
	}
	err := methods["PollTask"](testContext(t, 10*time.Second), newClient(t, []string{start(t, f)}))
	if err == nil || connect.IsWireError(err) || f.calls.Load() != 2 {
		t.Errorf("err = %v after %d calls, want that the connection was lost", err, f.calls.Load())
	}
}

func TestRetriesOfASubmissionShareTheKey(t *testing.T) {
	var keys []string
	f := &fake{submit: func(r *v1.SubmitTaskRequest) (*v1.SubmitTaskResponse, error) {
		keys = append(keys, r.GetTask().GetId())
		if len(keys) < 3 {
			return nil, failure(connect.CodeAborted)
		}
		return echo(r)
	}}
	if err := methods["SubmitTask"](testContext(t, 10*time.Second), newClient(t, []string{start(t, f)})); err != nil {
		t.Fatal(err)
	}
	if len(keys) != 3 || keys[0] == "" || keys[0] != keys[1] || keys[1] != keys[2] {
		t.Errorf("keys = %q, want three times the same", keys)
	}
}

func TestFailoverSticksToTheServerThatWorks(t *testing.T) {
	leaderless := &fake{submit: func(*v1.SubmitTaskRequest) (*v1.SubmitTaskResponse, error) {
		return nil, failure(connect.CodeUnavailable)
	}}
	good := &fake{submit: echo}
	c := newClient(t, []string{nobody(t), start(t, leaderless), start(t, good)})
	for range 3 {
		if _, err := c.SubmitTask(testContext(t, 10*time.Second), submission("a")); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := leaderless.calls.Load(), good.calls.Load(); a != 1 || b != 3 {
		t.Errorf("calls = %d and %d, want 1 and 3", a, b)
	}
}

func TestPollGoesOnAfterRefusedConnection(t *testing.T) {
	f := &fake{poll: func(*v1.PollTaskRequest) (*v1.PollTaskResponse, error) { return &v1.PollTaskResponse{}, nil }}
	if err := methods["PollTask"](testContext(t, 10*time.Second), newClient(t, []string{nobody(t), start(t, f)})); err != nil {
		t.Fatal(err)
	}
}

func TestServerThatHangsDoesNotUseUpTheDeadline(t *testing.T) {
	hangs := func(ctx context.Context, _ *v1.GetTaskRequest) (*v1.GetTaskResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	// The server's clock may be a little ahead: it then says itself that the time
	// of the attempt is over.
	early := func(ctx context.Context, _ *v1.GetTaskRequest) (*v1.GetTaskResponse, error) {
		deadline, _ := ctx.Deadline()
		time.Sleep(time.Until(deadline) - 30*time.Millisecond)
		return nil, failure(connect.CodeDeadlineExceeded)
	}
	for name, get := range map[string]func(context.Context, *v1.GetTaskRequest) (*v1.GetTaskResponse, error){
		"until the end": hangs, "until it gives up": early,
	} {
		t.Run(name, func(t *testing.T) {
			good := &fake{get: func(ctx context.Context, _ *v1.GetTaskRequest) (*v1.GetTaskResponse, error) {
				if deadline, _ := ctx.Deadline(); time.Until(deadline) < 300*time.Millisecond {
					t.Errorf("only %v are left for the second server", time.Until(deadline))
				}
				return &v1.GetTaskResponse{Task: &v1.Task{Id: "a"}}, nil
			}}
			c := newClient(t, []string{start(t, &fake{get: get}), start(t, good)})
			res, err := c.GetTask(testContext(t, 3*time.Second), &v1.GetTaskRequest{Id: "a"})
			if err != nil || res.GetTask().GetId() != "a" {
				t.Errorf("GetTask = %v, %v", res, err)
			}
		})
	}
}
