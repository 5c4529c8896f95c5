package session

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/raft-control-plane/control-plane"
	controlplanev1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/internal/tasklog"
)

// logPlane holds logs as a leader does.
type logPlane struct {
	ControlPlane

	mu      sync.Mutex
	store   *tasklog.Store
	refused map[string]bool // tasks
	failing int             // so many calls fail
	sizes   []int           // of the texts of each call
	took    chan struct{}   // a token for each call
}

func newLogPlane() *logPlane {
	return &logPlane{store: tasklog.NewStore(tasklog.StoreBytes), refused: map[string]bool{}, took: make(chan struct{}, 1000)}
}

func (p *logPlane) PushLogs(_ context.Context, req *controlplanev1.PushLogsRequest) (*controlplanev1.PushLogsResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func() { p.took <- struct{}{} }()
	if p.failing > 0 {
		p.failing--
		return nil, connect.NewError(connect.CodeUnavailable, errors.New("no leader"))
	}
	size, resp := 0, &controlplanev1.PushLogsResponse{Interval: durationpb.New(1)}
	for _, c := range req.GetChunks() {
		size += len(c.GetText())
		o := &controlplanev1.LogOutcome{}
		if p.refused[c.GetTaskId()] {
			o.Outcome = &controlplanev1.LogOutcome_Error{Error: &controlplanev1.ItemError{Code: "failed_precondition"}}
		} else {
			key := tasklog.Attempt{TaskID: c.GetTaskId(), Number: c.GetAttempt()}
			o.Outcome = &controlplanev1.LogOutcome_NextOffset{NextOffset: p.store.Push(key, c.GetOffset(), c.GetOldestOffset(), c.GetText())}
		}
		resp.Outcomes = append(resp.Outcomes, o)
	}
	p.sizes = append(p.sizes, size)
	return resp, nil
}

// until waits for calls until the log of a task ends at an offset, and returns what is
// held of it.
func (p *logPlane) until(t *testing.T, task string, end int64) (text string, at int64) {
	t.Helper()
	for {
		p.mu.Lock()
		r := p.store.Open(tasklog.Attempt{TaskID: task, Number: 1})
		text, at = r.Read(0)
		r.Close()
		p.mu.Unlock()
		if at+int64(len(text)) == end {
			return text, at
		}
		<-p.took
	}
}

func relaying(t *testing.T, p *logPlane, tasks ...string) (*session, []*Attempt) {
	t.Helper()
	s := &session{cfg: Config{ControlPlane: p, Name: "n1"}, id: "s1", log: slog.New(slog.DiscardHandler), relay: newRelay()}
	s.held = newHeld(100, &s.lease, s.relay)
	var list []*controlplanev1.Task
	for _, id := range tasks {
		list = append(list, task(id, 1))
	}
	attempts := s.held.add(list)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); s.relayLoop(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return s, attempts
}

func TestRelaySendsWhatIsPrinted(t *testing.T) {
	p := newLogPlane()
	p.failing = 2
	_, at := relaying(t, p, "a", "b")
	at[0].Log().Append([]byte("one "))
	at[1].Log().Append([]byte("other"))
	at[0].Log().Append([]byte("two"))
	if text, _ := p.until(t, "a", 7); text != "one two" {
		t.Errorf("a has %q", text)
	}
	if text, _ := p.until(t, "b", 5); text != "other" {
		t.Errorf("b has %q", text)
	}
}

// TestRelayIsBounded has many attempts print more than a call may carry.
func TestRelayIsBounded(t *testing.T) {
	p := newLogPlane()
	var names []string
	for i := range 40 {
		names = append(names, "t"+strings.Repeat("x", i))
	}
	_, at := relaying(t, p, names...)
	const printed = 3 * tasklog.MaxBytes
	for _, a := range at {
		a.Log().Append([]byte(strings.Repeat("y", printed)))
	}
	for _, name := range names {
		if text, _ := p.until(t, name, printed); len(text) != tasklog.MaxBytes {
			t.Errorf("%d bytes of %s are held", len(text), name)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	sum := 0
	for _, n := range p.sizes {
		if n > maxRelayBytes {
			t.Errorf("a call of %d bytes", n)
		}
		sum += n
	}
	if sum != len(names)*tasklog.MaxBytes {
		t.Errorf("%d bytes were sent, want the end of each log once", sum)
	}
}

func TestRelayFillsAMemoryThatIsNew(t *testing.T) {
	p := newLogPlane()
	s, at := relaying(t, p, "a")
	s.logsHeldBy("first")
	at[0].Log().Append([]byte(strings.Repeat("x", 2*tasklog.MaxBytes)))
	p.until(t, "a", 2*tasklog.MaxBytes)
	p.mu.Lock()
	p.store = tasklog.NewStore(tasklog.StoreBytes)
	p.mu.Unlock()
	at[0].Log().Append([]byte("more")) // the new one asks for what it lacks
	if text, from := p.until(t, "a", 2*tasklog.MaxBytes+4); len(text) != tasklog.MaxBytes || from != tasklog.MaxBytes+4 {
		t.Errorf("%d bytes from %d on", len(text), from)
	}
	p.mu.Lock()
	p.store = tasklog.NewStore(tasklog.StoreBytes)
	p.mu.Unlock()
	s.logsHeldBy("first") // the same: nothing is sent, and nothing is printed either
	s.logsHeldBy("second")
	if text, _ := p.until(t, "a", 2*tasklog.MaxBytes+4); len(text) != tasklog.MaxBytes {
		t.Errorf("%d bytes are held", len(text))
	}
}

func TestRelayGivesUpWhatIsRefused(t *testing.T) {
	p := newLogPlane()
	p.refused["a"] = true
	s, at := relaying(t, p, "a", "b")
	at[0].Log().Append([]byte("x"))
	<-p.took
	at[0].Log().Append([]byte("y"))
	at[1].Log().Append([]byte("z"))
	p.until(t, "b", 1)
	s.relay.mu.Lock()
	defer s.relay.mu.Unlock()
	if !at[0].relayed.muted || at[0].relayed.due || at[1].relayed.muted {
		t.Errorf("a: %+v, b: %+v", at[0].relayed, at[1].relayed)
	}
	if controlplane.MaxLogTailBytes != tasklog.MaxBytes {
		t.Error("what is held and what is kept differ")
	}
}
