package raftdb

import (
	"errors"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// aheadRig is the database of a member that was stopped, with a table of marks that no
// constraint keeps from being set twice.
type aheadRig struct {
	t  *testing.T
	m  *member
	d  *database
	at uint64
}

const aheadTerm = 9

func newAheadRig(t *testing.T) *aheadRig {
	m := newMember(t, "m1").start()
	add(t, []*member{m}, "a")
	m.stop()
	m.ran <- <-m.ran // it no longer leads; close looks again
	d := m.engine.fsm.state
	if err := script(d.conn, "CREATE TABLE marks (mark TEXT NOT NULL) STRICT"); err != nil {
		t.Fatal(err)
	}
	return &aheadRig{t: t, m: m, d: d, at: d.meta.appliedIndex}
}

// made sets marks, one after the other in one operation; "" is refused.
func (r *aheadRig) made(marks ...string) *db.Entry {
	op := &db.Op{}
	for _, m := range marks {
		v := db.Str(m)
		if m == "" {
			v = db.Value{}
		}
		op.Steps = append(op.Steps, db.Step{SQL: "INSERT INTO marks VALUES (?1)", Args: []db.Value{v}})
	}
	return &db.Entry{StampMs: 1, Ops: []*db.Op{op}}
}

// entry is the log entry of what sets marks.
func (r *aheadRig) entry(after uint64, marks ...string) *raft.Log {
	return &raft.Log{Index: r.at + after, Term: aheadTerm, Type: raft.LogCommand,
		Data: envelope{kind: kindEntry, term: aheadTerm, body: r.made(marks...).Encode(nil)}.seal()}
}

// run runs an entry ahead, and reads it from its bytes.
func (r *aheadRig) run(l *raft.Log) { r.d.runAhead(l.Index, l.Term, l.Data, nil) }

func (r *aheadRig) apply(logs ...*raft.Log) []outcome {
	r.t.Helper()
	out := make([]any, len(logs))
	if err := r.d.apply(logs, out); err != nil {
		r.t.Fatal(err)
	}
	all := make([]outcome, len(logs))
	for i := range out {
		all[i], _ = out[i].(outcome)
	}
	return all
}

// marks are those that another connection sees.
func (r *aheadRig) expect(want string) {
	r.t.Helper()
	got, err := column(r.t, r.m, "SELECT coalesce(group_concat(mark, ' ' ORDER BY mark), '') FROM marks")
	if err != nil || len(got) != 1 || got[0] != want {
		r.t.Errorf("marks %q, %v; want %q", got, err, want)
	}
}

func TestAnEntryThatIsRunAhead(t *testing.T) {
	t.Run("is seen once it is applied, and not run again", func(t *testing.T) {
		r := newAheadRig(t)
		l := r.entry(1, "x")
		r.run(l)
		if r.d.ahead == nil {
			t.Fatal("it was not run")
		}
		ran := r.d.ahead.out.results
		r.expect("")
		out := r.apply(l, r.entry(2, "y"))
		if len(out[0].results) != 1 || &out[0].results[0] != &ran[0] || len(out[1].results) != 1 {
			t.Errorf("outcomes %+v", out)
		}
		r.expect("x y")
		if r.d.meta.appliedIndex != r.at+2 {
			t.Errorf("applied index %d, want %d", r.d.meta.appliedIndex, r.at+2)
		}
	})
	t.Run("is not read again by whoever has made it", func(t *testing.T) {
		r := newAheadRig(t)
		l := r.entry(1, "bytes")
		r.d.runAhead(l.Index, l.Term, l.Data, r.made("made"))
		r.apply(l)
		r.expect("made")
	})
	t.Run("is read from its bytes if it comes otherwise", func(t *testing.T) {
		r := newAheadRig(t)
		r.d.runAhead(r.at+1, aheadTerm-1, r.entry(1, "bytes").Data, r.made("made"))
		r.apply(r.entry(1, "bytes"))
		r.expect("bytes")
	})
	t.Run("is undone if another comes", func(t *testing.T) {
		r := newAheadRig(t)
		r.run(r.entry(1, "x"))
		r.apply(r.entry(1, "other"))
		r.expect("other")
	})
	t.Run("is undone if it comes in another term", func(t *testing.T) {
		r := newAheadRig(t)
		l := r.entry(1, "x")
		r.run(l)
		l.Term++
		if out := r.apply(l); !errors.Is(out[0].err, errStaleTerm) {
			t.Errorf("outcome %+v", out)
		}
		r.expect("")
	})
	t.Run("waits until all before it is applied", func(t *testing.T) {
		r := newAheadRig(t)
		l := r.entry(2, "x")
		if r.run(l); r.d.ahead != nil {
			t.Error("it was run")
		}
		r.apply(r.entry(1, "before"), l)
		r.expect("before x")
	})
	t.Run("is left to its apply if it fails half-way", func(t *testing.T) {
		r := newAheadRig(t)
		l := r.entry(1, "x", "")
		if r.run(l); r.d.ahead != nil {
			t.Error("it is kept")
		}
		if out := r.apply(l); !errors.Is(out[0].err, errNotAtomic) {
			t.Errorf("outcome %+v", out)
		}
		r.expect("")
	})
	t.Run("is run again if one that is applied with it fails half-way", func(t *testing.T) {
		r := newAheadRig(t)
		l := r.entry(1, "x")
		r.run(l)
		if out := r.apply(l, r.entry(2, "y", "")); out[0].err != nil || !errors.Is(out[1].err, errNotAtomic) {
			t.Errorf("outcomes %+v", out)
		}
		r.expect("x")
	})
	t.Run("does not keep a checkpoint from being complete", func(t *testing.T) {
		r := newAheadRig(t)
		l := r.entry(1, "x")
		r.run(l)
		if err := r.d.checkpoint(1 << 30); err != nil || r.d.mainIndex.Load() != r.at {
			t.Errorf("%v, the main file is at %d, want %d", err, r.d.mainIndex.Load(), r.at)
		}
		r.apply(l)
		r.expect("x")
	})
	t.Run("is taken back, and no other is run by a closed member", func(t *testing.T) {
		r := newAheadRig(t)
		l := r.entry(1, "x")
		r.run(l)
		r.m.engine.fsm.forgetAhead()
		if r.d.ahead != nil {
			t.Error("it is kept")
		}
		r.run(l)
		r.m.close()
		r.run(l)
	})
}

// Whoever has an entry run ahead may come to it when it has been applied. Run again it would keep a
// transaction open until the next entry.
func TestWhatIsAppliedIsNotRunAheadAfterwards(t *testing.T) {
	m := newMember(t, "m1").start()
	add(t, []*member{m}, "a")
	before := m.engine.AppliedIndex()
	m.engine.fsm.mu.Lock() // runAhead waits, apply does not
	added := make(chan error, 1)
	go func() {
		_, err := m.tasks.AddTask(testContext(t), &controlplane.Task{ID: "b", Exec: &controlplane.Exec{Command: []string{"true"}}})
		added <- err
	}()
	err := m.engine.AwaitApplied(testContext(t), before+1)
	m.engine.fsm.mu.Unlock()
	if err := errors.Join(err, <-added); err != nil {
		t.Fatal(err)
	}
	d := m.engine.fsm.state
	d.writing.Lock()
	defer d.writing.Unlock()
	if d.ahead != nil {
		t.Errorf("entry %d was run again as %d", before+1, d.ahead.index)
	}
}

// A leader without a majority runs what it cannot commit: nobody sees it.
func TestWhatIsRunAheadIsNotRead(t *testing.T) {
	members := newCluster(t, 3)
	add(t, members, "a")
	lead := leader(t, members)
	others := make([]*member, 0, 2)
	for _, m := range members {
		if m != lead {
			m.close()
			others = append(others, m)
		}
	}
	added := make(chan error, 1)
	go func() {
		_, err := lead.tasks.AddTask(testContext(t), &controlplane.Task{ID: "b", Exec: &controlplane.Exec{Command: []string{"true"}}})
		added <- err
	}()
	var err error
	until(t, "the entry is run ahead, or the leader steps down", func() bool {
		select {
		case err = <-added:
			return true
		default:
		}
		d := lead.engine.fsm.state
		if !d.writing.TryLock() {
			return false
		}
		defer d.writing.Unlock()
		return d.ahead != nil
	})
	if _, missing := lead.tasks.GetTask(testContext(t), "b", db.ReadOptions{Level: db.Stale}); controlplane.CodeOf(missing) != controlplane.CodeNotFound {
		t.Errorf("a task that is not committed is read: %v", missing)
	}
	for _, m := range others {
		m.start()
	}
	if err == nil {
		<-added
	}
	add(t, members, "c")
	sameContent(t, members)
}
