package client_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/raft-control-plane/control-plane/client"
	"github.com/raft-control-plane/control-plane/clienttest"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// shelf is a member of which each task's name is its state when it was read. It holds up a
// read of the task named "first" until the test lets it go.
type shelf struct {
	fake
	c       *client.Client
	arrived chan struct{} // the first read is here
	release chan struct{}
	state   atomic.Int32
	failing atomic.Int32 // so many batches end in the loss of their connection

	mu       sync.Mutex
	alone    []string
	together [][]string
}

func newShelf(t *testing.T) *shelf {
	s := &shelf{arrived: make(chan struct{}), release: make(chan struct{})}
	s.get = func(_ context.Context, r *v1.GetTaskRequest) (*v1.GetTaskResponse, error) {
		task := s.task(r.GetId())
		s.mu.Lock()
		s.alone = append(s.alone, r.GetId())
		arrived, release := s.arrived, s.release
		s.mu.Unlock()
		switch r.GetId() {
		case "first":
			close(arrived)
			<-release
		case "nobody":
			return nil, connect.NewError(connect.CodeNotFound, errors.New("there is no task nobody"))
		}
		return &v1.GetTaskResponse{Task: task}, nil
	}
	s.gets = func(r *v1.GetTasksRequest) (*v1.GetTasksResponse, error) {
		s.mu.Lock()
		s.together = append(s.together, slices.Sorted(slices.Values(r.GetIds())))
		s.mu.Unlock()
		if s.failing.Add(-1) >= 0 {
			return nil, connect.NewError(connect.CodeUnavailable, errors.New("as the test wants it"))
		}
		res := &v1.GetTasksResponse{}
		for _, id := range r.GetIds() {
			out := &v1.GetTaskOutcome{Outcome: &v1.GetTaskOutcome_Task{Task: s.task(id)}}
			if code := map[string]string{"nobody": "not_found", "large": "resource_exhausted", "larger": "resource_exhausted"}[id]; code != "" {
				out.Outcome = &v1.GetTaskOutcome_Error{Error: &v1.ItemError{Code: code, Message: "as the test wants it"}}
			}
			res.Outcomes = append(res.Outcomes, out)
		}
		return res, nil
	}
	s.connect(t, start(t, &s.fake))
	return s
}

// connect makes a client that waits for a read that is held up for as long as it takes.
func (s *shelf) connect(t *testing.T, url string, opts ...client.Option) {
	s.c = newClient(t, []string{url}, opts...)
	client.PatientReads(s.c)
	client.LanesAnswerWithin(s.c, time.Hour)
}

func (s *shelf) task(id string) *v1.Task {
	return &v1.Task{Id: id, Name: fmt.Sprint(s.state.Load())}
}

func (s *shelf) read(t *testing.T, req *v1.GetTaskRequest) (*v1.Task, error) {
	res, err := s.c.GetTask(testContext(t, 20*time.Second), req)
	if err == nil && res.GetTask().GetId() != req.GetId() {
		err = fmt.Errorf("it is answered with task %s", res.GetTask().GetId())
	}
	return res.GetTask(), err
}

// behind makes reads at the same time, behind the first one, which goes on once all of them wait.
func (s *shelf) behind(t *testing.T, ids ...string) map[string]error {
	t.Helper()
	var all sync.WaitGroup
	var mu sync.Mutex
	errs := map[string]error{}
	read := func(id string) {
		_, err := s.read(t, &v1.GetTaskRequest{Id: id})
		mu.Lock()
		defer mu.Unlock()
		errs[id] = err
	}
	all.Go(func() { read("first") })
	<-s.arrived
	for _, id := range ids {
		all.Go(func() { read(id) })
	}
	client.AwaitReads(s.c, len(ids))
	close(s.release)
	all.Wait()
	return errs
}

// holdUp makes the first read, which is held up for longer than others wait.
func (s *shelf) holdUp(t *testing.T) {
	t.Helper()
	ctx := testContext(t, time.Minute)
	go func() {
		_, _ = s.c.GetTask(ctx, &v1.GetTaskRequest{Id: "first"}) // its fate is seen at the server
	}()
	<-s.arrived
}

// again lets another first read be held up.
func (s *shelf) again() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrived, s.release = make(chan struct{}), make(chan struct{})
}

func (s *shelf) wantCalls(t *testing.T, alone []string, together ...[]string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := slices.Sorted(slices.Values(s.alone)); !slices.Equal(got, slices.Sorted(slices.Values(alone))) {
		t.Errorf("read by themselves: %q, want %q", got, alone)
	}
	if !slices.EqualFunc(s.together, together, slices.Equal) {
		t.Errorf("read together: %q, want %q", s.together, together)
	}
}

func TestReadsGoTogether(t *testing.T) {
	s := newShelf(t)
	var ids []string
	for i := range 50 {
		ids = append(ids, fmt.Sprintf("t%02d", i))
	}
	for id, err := range s.behind(t, ids...) {
		if err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	s.wantCalls(t, []string{"first"}, ids)
	if _, err := s.read(t, &v1.GetTaskRequest{Id: "next"}); err != nil {
		t.Error(err)
	}
	s.wantCalls(t, []string{"first", "next"}, ids)
}

func TestWhatIsNotInTheAnswerIsReadByItself(t *testing.T) {
	s := newShelf(t)
	errs := s.behind(t, "a", "b", "large", "nobody")
	if errs["a"] != nil || errs["b"] != nil || errs["large"] != nil || errs["nobody"] == nil || connect.CodeOf(errs["nobody"]) != connect.CodeNotFound {
		t.Errorf("answered: %v", errs)
	}
	s.wantCalls(t, []string{"first", "large", "nobody"}, []string{"a", "b", "large", "nobody"})
	client.Age(s.c, -time.Hour) // of what was seen nothing speaks against going together
	s.again()
	s.behind(t, "a", "b")
	s.wantCalls(t, []string{"first", "large", "nobody", "first"}, []string{"a", "b", "large", "nobody"}, []string{"a", "b"})
}

// TestLargeTasksAreReadByThemselves for a while, once most of a batch did not fit.
func TestLargeTasksAreReadByThemselves(t *testing.T) {
	s := newShelf(t)
	s.behind(t, "a", "large", "larger")
	s.wantCalls(t, []string{"first", "large", "larger"}, []string{"a", "large", "larger"})
	client.Age(s.c, -time.Hour)
	s.again()
	s.holdUp(t)
	if _, err := s.read(t, &v1.GetTaskRequest{Id: "b"}); err != nil { // it does not wait
		t.Error(err)
	}
	close(s.release)
	s.again()
	client.Age(s.c, time.Hour)
	s.behind(t, "c", "d")
	s.wantCalls(t, []string{"first", "large", "larger", "first", "b", "first"}, []string{"a", "large", "larger"}, []string{"c", "d"})
}

// TestABatchOfReadsIsTriedAgain as a read by itself is, and if that does not help each has the
// error.
func TestABatchOfReadsIsTriedAgain(t *testing.T) {
	s := newShelf(t)
	s.failing.Store(2)
	if errs := s.behind(t, "a", "b"); errs["a"] != nil || errs["b"] != nil {
		t.Errorf("answered: %v", errs)
	}
	s.wantCalls(t, []string{"first"}, []string{"a", "b"}, []string{"a", "b"}, []string{"a", "b"})

	s = newShelf(t)
	s.connect(t, s.c.Servers()[0], client.WithoutRetries())
	s.failing.Store(1)
	if errs := s.behind(t, "a", "b"); connect.CodeOf(errs["a"]) != connect.CodeUnavailable || errs["a"].Error() != errs["b"].Error() {
		t.Errorf("answered: %v", errs)
	}
	s.wantCalls(t, []string{"first"}, []string{"a", "b"})
}

// TestAReadIsNotAnsweredByOneThatHasBegun: it must see what was acknowledged before it.
func TestAReadIsNotAnsweredByOneThatHasBegun(t *testing.T) {
	s := newShelf(t)
	gets, entered, answer := s.gets, make(chan struct{}), make(chan struct{})
	s.gets = func(r *v1.GetTasksRequest) (*v1.GetTasksResponse, error) {
		res, err := gets(r)
		if slices.Contains(r.GetIds(), "early") {
			close(entered)
			<-answer
		}
		return res, err
	}
	names := make(chan map[string]string, 4)
	read := func(who, id string) {
		task, err := s.read(t, &v1.GetTaskRequest{Id: id})
		if err != nil {
			t.Error(err)
		}
		names <- map[string]string{who: task.GetName()}
	}
	s.holdUp(t)
	go read("early", "early")
	go read("early too", "same")
	client.AwaitReads(s.c, 2)
	close(s.release)
	<-entered
	s.state.Store(1) // as of now
	go read("late", "same")
	go read("late too", "same")
	client.AwaitReads(s.c, 2)
	close(answer)
	got := map[string]string{}
	for range cap(names) {
		maps.Copy(got, <-names)
	}
	if want := map[string]string{"early": "0", "early too": "0", "late": "1", "late too": "1"}; !maps.Equal(got, want) {
		t.Errorf("seen: %v, want %v", got, want)
	}
}

func TestReadsThatSayHowFreshGoByThemselves(t *testing.T) {
	s := newShelf(t)
	s.holdUp(t)
	for _, req := range []*v1.GetTaskRequest{
		{Id: "stale", Consistency: v1.Consistency_CONSISTENCY_STALE},
		{Id: "unknown", Consistency: -1},
		{Id: "index", MinIndex: 1},
		{Id: "bound", MaxStaleness: durationpb.New(time.Second)},
		{Id: strings.Repeat("x", 65)},
		{Id: ""},
	} {
		if _, err := s.read(t, req); err != nil {
			t.Errorf("%v: %v", req, err)
		}
	}
	close(s.release)
	s.wantCalls(t, []string{"first", "stale", "unknown", "index", "bound", strings.Repeat("x", 65), ""})
}

func TestAReaderMayLeave(t *testing.T) {
	s := newShelf(t)
	s.holdUp(t)
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := s.c.GetTask(ctx, &v1.GetTaskRequest{Id: "left"})
		left <- err
	}()
	client.AwaitReads(s.c, 1)
	cancel()
	if err := <-left; connect.CodeOf(err) != connect.CodeCanceled {
		t.Errorf("who left gets %v", err)
	}
	client.AwaitReads(s.c, 0)
	close(s.release)
	s.wantCalls(t, []string{"first"})
}

func TestReadsThatGoTogetherHaveTheSpanOfOne(t *testing.T) {
	s := newShelf(t)
	spans, provider := tracer(t)
	s.connect(t, s.c.Servers()[0], client.WithTracerProvider(provider))
	ctx, span := provider.Tracer("test").Start(testContext(t, 20*time.Second), "reader")
	var all sync.WaitGroup
	read := func(ctx context.Context, id string) {
		all.Go(func() {
			if _, err := s.c.GetTask(ctx, &v1.GetTaskRequest{Id: id}); err != nil {
				t.Error(err)
			}
		})
	}
	read(t.Context(), "first")
	<-s.arrived
	read(t.Context(), "a")
	read(ctx, "b")
	client.AwaitReads(s.c, 2)
	close(s.release)
	all.Wait()
	if call := ended(t, spans, "controlplane.v1.TaskService/GetTasks"); call.Parent.SpanID() != span.SpanContext().SpanID() {
		t.Errorf("the call's span %v is not below the caller's %v", call, span.SpanContext())
	}
}

// TestMembersOfAnOlderRelease do not know GetTasks: that is remembered, and not for ever.
func TestMembersOfAnOlderRelease(t *testing.T) {
	s := newShelf(t)
	gets, asked := s.gets, atomic.Int32{}
	s.gets = func(*v1.GetTasksRequest) (*v1.GetTasksResponse, error) {
		asked.Add(1)
		return nil, failure(connect.CodeUnimplemented)
	}
	behind := func() {
		t.Helper()
		if errs := s.behind(t, "a", "b", "nobody"); errs["a"] != nil || errs["b"] != nil || connect.CodeOf(errs["nobody"]) != connect.CodeNotFound {
			t.Errorf("answered: %v", errs)
		}
	}
	behind()
	s.wantCalls(t, []string{"first", "a", "b", "nobody"})

	s.again()
	s.holdUp(t)
	for range 2 { // nothing waits for the first one
		if _, err := s.read(t, &v1.GetTaskRequest{Id: "a"}); err != nil {
			t.Error(err)
		}
	}
	close(s.release)
	if asked.Load() != 1 {
		t.Errorf("it was asked %d times", asked.Load())
	}

	s.gets = gets
	s.again()
	client.Age(s.c, time.Hour)
	behind()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.together) != 1 {
		t.Errorf("after its upgrade it is asked for %q", s.together)
	}
}

// TestReadsThatGoTogetherAreThoseThatGoAlone compares answers and errors of a real member.
func TestReadsThatGoTogetherAreThoseThatGoAlone(t *testing.T) {
	p := clienttest.New(t)
	must(p.Client.SubmitTask(t.Context(), &v1.SubmitTaskRequest{Task: &v1.Task{Id: "there", Work: &v1.Task_Function{Function: &v1.FunctionTask{Name: "f", Payload: []byte("x")}}}}))(t)
	batch := must(p.Client.GetTasks(t.Context(), &v1.GetTasksRequest{Ids: []string{"there", "nobody", "there"}}))(t).GetOutcomes()
	if len(batch) != 3 || batch[0].GetTask().GetId() != "there" || batch[1].GetError().GetCode() != "not_found" || !proto.Equal(batch[0], batch[2]) {
		t.Errorf("GetTasks: %v", batch)
	}
	type answer struct {
		task *v1.Task
		err  error
	}
	ids := []string{"there", "nobody", strings.Repeat("x", 65), ""}
	alone := map[string]answer{}
	for _, id := range ids {
		res, err := p.Client.GetTask(t.Context(), &v1.GetTaskRequest{Id: id})
		alone[id] = answer{res.GetTask(), err}
	}
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			for n := range 50 {
				id := ids[(i+n)%len(ids)]
				res, err := p.Client.GetTask(t.Context(), &v1.GetTaskRequest{Id: id})
				if want := alone[id]; !proto.Equal(res.GetTask(), want.task) || !sameError(err, want.err) {
					t.Errorf("%q: %v (%v), by itself %v (%v)", id, res, err, want.task, want.err)
				}
			}
		})
	}
	all.Wait()
}

// sameError compares code, message and details.
func sameError(a, b error) bool {
	x, isX := errors.AsType[*connect.Error](a)
	y, isY := errors.AsType[*connect.Error](b)
	if !isX || !isY {
		return a == nil && b == nil
	}
	if x.Code() != y.Code() || x.Message() != y.Message() {
		return false
	}
	return slices.EqualFunc(x.Details(), y.Details(), func(a, b *connect.ErrorDetail) bool {
		return a.Type() == b.Type() && string(a.Bytes()) == string(b.Bytes())
	})
}
