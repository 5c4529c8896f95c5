package difftest

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// recorder keeps what is applied, for the mirror.
type recorder struct {
	db.Engine
	mu      sync.Mutex
	entries []recorded
}

type recorded struct {
	entry   []byte
	applied db.Applied
}

func (r *recorder) Apply(ctx context.Context, term db.Term, entry db.Encoded) (db.Applied, error) {
	applied, err := r.Engine.Apply(ctx, term, entry)
	if err == nil {
		r.mu.Lock()
		r.entries = append(r.entries, recorded{slices.Clone(entry.Bytes), applied})
		r.mu.Unlock()
	}
	return applied, err
}

// replay gives the mirror what was applied since.
func (r *recorder) replay(m *mirror) {
	m.t.Helper()
	r.mu.Lock()
	entries := r.entries
	r.entries = nil
	r.mu.Unlock()
	for _, one := range entries {
		e, err := db.DecodeEntry(one.entry)
		if err != nil {
			m.t.Fatal(err)
		}
		m.apply(e, one.applied)
	}
}

// TestTheManifestsStatements runs the statements of the control plane itself, schema
// and all, in random order and mostly at the wrong time, so that their guards decide.
func TestTheManifestsStatements(t *testing.T) {
	seed, wanted := setting(t, "RAFT_NODE_DIFF_SEED", "1"), setting(t, "RAFT_NODE_DIFF_STATEMENTS", "2000")
	m := &mirror{t: t, rqlite: startRqlite(t)}
	solo := startMember(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("again by RAFT_NODE_DIFF_SEED=%d RAFT_NODE_DIFF_STATEMENTS=%d", seed, wanted)
		}
	})
	rec := &recorder{Engine: solo.engine}
	tasks := db.NewTaskManifest(rec)
	tasks.SetLogger(slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(within(t))
	ran := make(chan error, 1)
	go func() { ran <- tasks.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ran; err != nil {
			t.Errorf("lead: %v", err)
		}
	})
	if err := tasks.AwaitWritable(ctx); err != nil {
		t.Fatal(err)
	}
	g := newGenerator(seed)
	entries := 0
	for ; m.statements < int(wanted); entries++ {
		g.call(t, tasks)
		rec.replay(m)
		if entries%compareEvery == 0 {
			m.sameViews(solo)
			m.sameTables(solo)
		}
	}
	m.sameViews(solo)
	m.sameTables(solo)
	t.Logf("seed %d: %d statements in %d entries, of which %d failed on both sides", seed, m.statements, entries, m.failed)
}

func (m *mirror) sameViews(solo *member) {
	m.t.Helper()
	for view, key := range map[string]string{"events": "cursor", "attempts": "task_id, attempt", "v_node_load": "node_id", "v_queue_depth": "queue", "queues": "1", "v_recent_failures": "1, 2, 3"} {
		m.same(solo, "SELECT * FROM "+view+" ORDER BY "+key)
	}
}

// call makes an entry by the manifest. What it answers does not matter here.
func (g *generator) call(t *testing.T, tasks *db.TaskManifest) {
	t.Helper()
	ctx := within(t)
	var err error
	switch g.rand.IntN(8) {
	case 0:
		added := make([]*controlplane.Task, 1+g.rand.IntN(4))
		for i := range added {
			added[i] = g.task()
		}
		_, err = tasks.AddTasks(ctx, added)
	case 1:
		err = tasks.RegisterNode(ctx, g.node(), g.session(), g.spec())
	case 2:
		err = tasks.AssignTask(ctx, g.taskID(), g.node())
	case 3:
		err = tasks.CompleteTask(ctx, g.taskID(), g.blob())
	case 4:
		_, err = tasks.CancelTask(ctx, g.taskID())
	default:
		err = tasks.Do(ctx, 0, func(group *db.Group) {
			for range 1 + g.rand.IntN(8) {
				group.Add(g.operation(group.Now), nil)
			}
		})
	}
	if err != nil && controlplane.CodeOf(err) == controlplane.CodeInternal {
		t.Fatalf("the manifest: %v", err)
	}
}

// operation is one that the scheduler makes.
func (g *generator) operation(nowMs int64) *db.Op {
	h := db.Held{Seq: 1 + g.rand.Int64N(60), TaskID: g.taskID(), NodeID: g.node(), Attempt: int32(g.rand.IntN(3))}
	if g.oneIn(3) {
		h.GPUs = []int32{g.rand.Int32N(3)}
	}
	res := controlplane.Result{Error: g.text(), LogTail: g.text(), Result: g.blob()}
	if g.oneIn(2) {
		code := g.rand.Int32N(256)
		res.ExitCode = &code
	}
	requeue := db.Requeue{Attempt: pick(g, []string{db.AttemptFailed, db.AttemptLost, db.AttemptReleased}), Reason: g.text(), Result: res, RetryMs: g.rand.Int64N(2) * (nowMs + 1000)}
	final := pick(g, []controlplane.TaskStatus{controlplane.TaskCompleted, controlplane.TaskFailed, controlplane.TaskCancelled})
	switch g.rand.IntN(14) {
	case 0, 1, 2, 3:
		h.Attempt++
		return db.AssignOp(h, g.session(), pick(g, []controlplane.TaskStatus{controlplane.TaskAssigned, controlplane.TaskRunning}), nowMs)
	case 4:
		return db.DeliverOp(h, nowMs)
	case 5:
		return db.EndOp(h, final, &res, "", nowMs)
	case 6:
		return db.RequeueOp(h, requeue, nowMs)
	case 7:
		return db.LoseOp(h, final, requeue, nowMs)
	case 8:
		return db.DueOp(h.Seq)
	case 9:
		return db.CancelWaitingOp(h, nowMs)
	case 10:
		return db.CancelRunningOp(h)
	case 11:
		return db.DevicesOp(h.NodeID, g.devices())
	case 12:
		return db.ExpireOp(h.NodeID, g.rand.Int64N(4), 1, 1)
	}
	return db.RenewOp(h.NodeID, g.session(), &controlplane.NodeUsage{CPUMillis: g.rand.Int64N(9000), MemoryBytes: g.integer()}, 0, nowMs)
}

func (g *generator) taskID() string  { return fmt.Sprintf("t%d", g.rand.IntN(60)) }
func (g *generator) node() string    { return fmt.Sprintf("n%d", g.rand.IntN(4)) }
func (g *generator) session() string { return fmt.Sprintf("s%d", g.rand.IntN(2)) }

func (g *generator) task() *controlplane.Task {
	task := &controlplane.Task{ID: g.taskID(), Name: g.text(), Queue: pick(g, []string{"", "Grüße"}), Priority: int32(g.rand.IntN(3)),
		Labels: map[string]string{"k": g.text()}, Resources: controlplane.Resources{CPUMillis: g.rand.Int64N(3) * 500, MemoryBytes: g.rand.Int64N(2) << 30, GPUs: g.rand.Int32N(2)}}
	if g.oneIn(3) {
		task.RequestID = fmt.Sprintf("r%d", g.rand.IntN(9))
	}
	if g.oneIn(2) {
		task.Exec = &controlplane.Exec{Command: []string{"echo", g.text()}}
	} else {
		task.Function = &controlplane.Function{Name: "f", Payload: g.blob()}
	}
	return task
}

func (g *generator) spec() controlplane.NodeSpec {
	return controlplane.NodeSpec{Slots: 1 + g.rand.Int32N(4), Capacity: controlplane.Resources{CPUMillis: 4000, MemoryBytes: 8 << 30}, GPUDevices: g.devices(),
		Labels: map[string]string{"zone": g.text()}, Provider: g.text(), Spot: g.oneIn(2), PriceMicrosPerHour: g.rand.Int64N(1e6), Exec: true, Functions: []string{"f", g.text()}}
}

func (g *generator) devices() (all []controlplane.GPUDevice) {
	for i := range g.rand.Int32N(3) {
		all = append(all, controlplane.GPUDevice{Index: i, Model: g.text(), MemoryBytes: g.rand.Int64N(2) << 34})
	}
	return all
}
