package dbtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
	"github.com/raft-control-plane/control-plane/migrations"
)

var termTests = map[string]func(*testing.T, db.Engine){
	"no key of a deleted task returns":           testPrunedSeq,
	"writes need a leader that runs":             testNotRunning,
	"a later term goes on where the last ended":  testSecondTerm,
	"a group that fails leaves nothing behind":   testFailedGroup,
	"a write in doubt can be repeated":           testDoubt,
	"what waits when a term ends is turned away": testTurnedAway,
	"a planner lives for a term":                 testPlanner,
}

func testNotRunning(t *testing.T, engine db.Engine) {
	m := db.NewTaskManifest(engine)
	_, err := m.AddTask(await(t), execTask("a"))
	wantCode(t, "add", err, controlplane.CodeUnavailable)
	it := newItem(1, 1)
	wantCode(t, "enqueue", m.Enqueue(it), controlplane.CodeUnavailable)
	stop := lead(t, m)
	add(t, m, execTask("a"))
	stop()
	_, err = m.AddTask(await(t), execTask("b"))
	wantCode(t, "add after it stopped", err, controlplane.CodeUnavailable)
	if len(it.finished) != 0 {
		t.Error("what was refused was finished")
	}
	get(t, m, "a") // reads go on
}

func testSecondTerm(t *testing.T, engine db.Engine) {
	m := db.NewTaskManifest(engine)
	stop := lead(t, m)
	gpu := func(id string, gpus int32) *controlplane.Task {
		task := execTask(id)
		task.Resources.GPUs = gpus
		return task
	}
	a, b := add(t, m, gpu("a", 0)), add(t, m, gpu("b", 1))
	stop()
	all, err := migrations.All()
	if err != nil {
		t.Fatal(err)
	}
	schema := rows(t, engine, "SELECT * FROM schema_migrations")
	equal(t, "migrations", len(schema), len(all))
	second := db.NewTaskManifest(engine)
	lead(t, second)
	equal(t, "migrations in the second term", rows(t, engine, "SELECT * FROM schema_migrations"), schema)
	c, d, e := add(t, second, gpu("c", 1)), add(t, second, gpu("d", 2)), add(t, second, gpu("e", 0))
	if c.Seq <= b.Seq || d.Seq <= c.Seq || c.ClassID != b.ClassID || e.ClassID != a.ClassID || d.ClassID == a.ClassID || d.ClassID == b.ClassID {
		t.Errorf("keys and classes: %d/%d %d/%d, then %d/%d %d/%d %d/%d", a.Seq, a.ClassID, b.Seq, b.ClassID, c.Seq, c.ClassID, d.Seq, d.ClassID, e.Seq, e.ClassID)
	}
	equal(t, "tasks", pages(t, second, controlplane.TaskFilter{}, 10), "e d c b a")
}

// faulty is an engine whose next write can be made to fail, before or after it
// takes effect.
type faulty struct {
	db.Engine
	mu            sync.Mutex
	before, after error
}

func (f *faulty) fail(before, after error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before, f.after = before, after
}

func (f *faulty) Apply(ctx context.Context, term db.Term, entry db.Encoded) (db.Applied, error) {
	f.mu.Lock()
	before, after := f.before, f.after
	f.before, f.after = nil, nil
	f.mu.Unlock()
	if before != nil {
		return db.Applied{}, before
	}
	applied, err := f.Engine.Apply(ctx, term, entry)
	if after != nil {
		return db.Applied{}, after
	}
	return applied, err
}

var (
	errNotLogged = controlplane.Errorf(controlplane.CodeUnavailable, "not logged")
	errInDoubt   = controlplane.Errorf(controlplane.CodeUnknownOutcome, "in doubt")
)

// The group that fails brings a class that was never there: it must not be taken
// for known afterwards.
func testFailedGroup(t *testing.T, engine db.Engine) {
	f := &faulty{Engine: engine}
	m := db.NewTaskManifest(f)
	lead(t, m)
	task := execTask("new-class")
	task.Resources.MemoryBytes = 12345
	release := block(t, m)
	ctx := await(t)
	done := make(chan error, 1)
	f.fail(errNotLogged, nil)
	waiting := newItem(1, 1)
	queue(t, m, waiting)
	go func() {
		_, err := m.AddTask(ctx, task)
		done <- err
	}()
	release()
	if err := <-done; err != nil {
		wantCode(t, "add in the group that fails", err, controlplane.CodeUnavailable)
	}
	_ = waiting.wait(t)
	if err := m.AwaitWritable(await(t)); err != nil {
		t.Fatal(err)
	}
	stored := retry(t, m, task)
	if got := get(t, m, "new-class"); got.Resources.MemoryBytes != 12345 || got.Seq != stored.Seq {
		t.Errorf("stored with what it needs: %+v", got)
	}
	equal(t, "classes", rows(t, engine, "SELECT memory_bytes FROM task_classes"), "[12345]")
}

// retry adds a task however often it takes.
func retry(t *testing.T, m *db.TaskManifest, task *controlplane.Task) *controlplane.Task {
	t.Helper()
	for {
		stored, err := m.AddTask(await(t), task)
		switch controlplane.CodeOf(err) {
		case controlplane.CodeUnavailable, controlplane.CodeUnknownOutcome:
			if err := m.AwaitWritable(await(t)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("add %s: %v", task.ID, err)
		}
		return stored
	}
}

func testDoubt(t *testing.T, engine db.Engine) {
	f := &faulty{Engine: engine}
	m := db.NewTaskManifest(f)
	lead(t, m)
	f.fail(nil, errInDoubt)
	_, err := m.AddTask(await(t), execTask("doubt"))
	wantCode(t, "add", err, controlplane.CodeUnknownOutcome)
	first := get(t, m, "doubt")
	if again := retry(t, m, execTask("doubt")); again.Seq != first.Seq {
		t.Errorf("the repeat made another task: %+v after %+v", again, first)
	}
	next := retry(t, m, execTask("next"))
	if next.Seq <= first.Seq {
		t.Errorf("the next task has key %d after %d", next.Seq, first.Seq)
	}
}

func testTurnedAway(t *testing.T, engine db.Engine) {
	f := &faulty{Engine: engine}
	m := db.NewTaskManifest(f)
	lead(t, m)
	release := block(t, m)
	inFlight, waiting := newItem(1024, 1), newItem(1, 1)
	inFlight.op = &db.Op{Steps: []db.Step{{SQL: "DELETE FROM nodes"}}}
	f.fail(errInDoubt, nil)
	queue(t, m, inFlight, waiting)
	release()
	wantCode(t, "the one under way", inFlight.wait(t), controlplane.CodeUnknownOutcome)
	wantCode(t, "the one that waits", waiting.wait(t), controlplane.CodeUnavailable)
	if waiting.calls != 0 || len(inFlight.finished)+len(waiting.finished) != 0 {
		t.Error("an item was worked on after it was turned away, or finished twice")
	}
	retry(t, m, execTask("after"))
}

// planner notes how it is called.
type planner struct {
	mu      sync.Mutex
	calls   []string
	failing int
	cancel  bool
	m       *db.TaskManifest
}

func (p *planner) note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, fmt.Sprintf(format, args...))
}

func (p *planner) Lead(ctx context.Context, read db.Reader) error {
	if p.failing > 0 {
		p.failing--
		p.note("lead fails")
		return errors.New("not yet")
	}
	p.note("lead")
	return read(ctx, func(c db.Conn) error { _, err := db.Streams(c); return err })
}

func (p *planner) Plan(g *db.Group) {
	for _, s := range g.Submissions {
		p.note("plan %s of class %d with %d bytes", s.Task.ID, s.Task.ClassID, p.m.Class(s.Task.ClassID).Resources.MemoryBytes)
		if s.Task.Name == "place it" {
			s.Place("n1", "n1-session", controlplane.TaskRunning, nil)
		}
		s.Done = func(stored bool) { p.note("stored %v", stored) }
	}
}

func (p *planner) Committed(g *db.Group) {
	if g.Index() > 0 {
		p.note("committed")
	}
}
func (p *planner) Disturbed() { p.note("disturbed") }
func (p *planner) Resign()    { p.note("resign") }

func (p *planner) Cancel(g *db.Group, t *controlplane.Task) bool {
	p.note("cancel %s", t.ID)
	return p.cancel
}

// taken returns the calls since it was last asked.
func (p *planner) taken() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	calls := strings.Join(p.calls, ", ")
	p.calls = nil
	return calls
}

func testPlanner(t *testing.T, engine db.Engine) {
	m := db.NewTaskManifest(engine)
	p := &planner{m: m, failing: 1}
	m.SetPlanner(p)
	stop := lead(t, m)
	equal(t, "at the beginning", p.taken(), "lead fails, lead")
	task := execTask("a")
	task.Name, task.Resources.MemoryBytes = "place it", 77
	register(t, m, "n1", 5)
	equal(t, "a write past it", p.taken(), "disturbed, committed")
	stored := add(t, m, task)
	equal(t, "a task", p.taken(), "plan a of class 1 with 77 bytes, stored true, committed")
	if got := get(t, m, "a"); stored.Status != controlplane.TaskRunning || got.Status != stored.Status || got.NodeID != "n1" || got.Attempt != 1 ||
		!got.StartTime.Equal(got.CreateTime) || !got.AssignTime.Equal(got.CreateTime) || got.StartTime != stored.StartTime {
		t.Errorf("placed as it entered: %+v, read as %+v", stored, got)
	}
	events, err := m.Events(await(t), db.EventCursor{}, 10)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "its changes", names(events), "NODE_REGISTERED@n1 a:PENDING/0 a:RUNNING/1@n1")
	add(t, m, task)
	equal(t, "the same task", p.taken(), "plan a of class 1 with 77 bytes, stored false, committed")
	add(t, m, execTask("b"))
	p.taken()
	if _, err := m.CancelTask(await(t), "b"); err != nil {
		t.Fatal(err)
	}
	equal(t, "a cancellation", p.taken(), "cancel b, committed")
	p.cancel = true
	add(t, m, execTask("c"))
	p.taken()
	if c, err := m.CancelTask(await(t), "c"); err != nil || c.Status != controlplane.TaskPending {
		t.Errorf("a cancellation that the planner takes over: %+v, %v", c, err)
	}
	stop()
	if calls := p.taken(); !strings.HasSuffix(calls, "resign") {
		t.Errorf("in the end: %s", calls)
	}
}
