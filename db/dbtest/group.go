package dbtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

var concurrentTests = map[string]func(*testing.T, *db.TaskManifest){
	"all are acknowledged, each is stored once": testConcurrentAdds,
	"what waits goes into one entry, in order":  testOneGroup,
	"an entry has its limits":                   testGroupLimits,
	"too many bytes wait":                       testQueueBytes,
	"too many items wait":                       testQueueItems,
	"submissions fill a part of the queue only": testQueueShare,
	"a caller that gives up":                    testGiveUp,
	"the clock does not go back":                testClock,
}

func testConcurrentAdds(t *testing.T, m *db.TaskManifest) {
	const callers, each, shared = 64, 10, 8
	ctx := await(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	seqs := map[string]int64{}
	for i := range callers {
		wg.Go(func() {
			for j := range each {
				id := fmt.Sprintf("own-%d-%d", i, j)
				if j%2 == 1 {
					id = fmt.Sprintf("shared-%d", (i+j)%shared)
				}
				task, err := m.AddTask(ctx, execTask(id))
				if err != nil {
					t.Errorf("add %s: %v", id, err)
					return
				}
				mu.Lock()
				if seq, ok := seqs[id]; ok && seq != task.Seq {
					t.Errorf("%s was given the keys %d and %d", id, seq, task.Seq)
				}
				seqs[id] = task.Seq
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	equal(t, "distinct tasks", len(seqs), callers*each/2+shared)
	stored := rows(t, m.Engine(), "SELECT count(*), count(DISTINCT id) FROM tasks WHERE id LIKE 'own-%' OR id LIKE 'shared-%'")
	equal(t, "stored", stored, fmt.Sprintf("[%d|%d]", len(seqs), len(seqs)))
	equal(t, "inputs", rows(t, m.Engine(), "SELECT count(*) FROM tasks WHERE seq NOT IN (SELECT seq FROM task_inputs)"), "[0]")
	equal(t, "changes", rows(t, m.Engine(), "SELECT count(*) FROM events WHERE (task_id LIKE 'own-%' OR task_id LIKE 'shared-%')"), []int{len(seqs)})
}

// item is a db.Item that notes what is done with it.
type item struct {
	ops, bytes int
	op         *db.Op

	group    *db.Group
	result   *db.OpResult
	finished chan error
	calls    int
}

func newItem(ops, bytes int) *item {
	return &item{ops: ops, bytes: bytes, finished: make(chan error, 2)}
}

func (i *item) Weight() (ops, bytes int) { return i.ops, i.bytes }
func (i *item) Finish(err error)         { i.finished <- err }
func (i *item) Prepare(g *db.Group) {
	i.group = g
	i.calls++
	if i.op != nil {
		g.Add(i.op, func(r db.OpResult) { i.result = &r })
	}
}

func (i *item) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-i.finished:
		return err
	case <-await(t).Done():
		t.Fatal("an item was never finished")
		return nil
	}
}

// block holds up the goroutine that makes entries until release is called, so that
// what is queued meanwhile waits.
func block(t *testing.T, m *db.TaskManifest) (release func()) {
	t.Helper()
	entered, leave := make(chan bool), make(chan bool)
	it := &blocker{item: newItem(1, 0), entered: entered, leave: leave}
	if err := m.Enqueue(it); err != nil {
		t.Fatal(err)
	}
	<-entered
	var once sync.Once
	release = func() { once.Do(func() { close(leave) }) }
	t.Cleanup(release)
	return release
}

type blocker struct {
	*item
	entered, leave chan bool
}

func (b *blocker) Prepare(*db.Group) {
	b.entered <- true
	<-b.leave
}

func queue(t *testing.T, m *db.TaskManifest, items ...*item) {
	t.Helper()
	for _, it := range items {
		if err := m.Enqueue(it); err != nil {
			t.Fatalf("queue: %v", err)
		}
	}
}

func testOneGroup(t *testing.T, m *db.TaskManifest) {
	release := block(t, m)
	items := make([]*item, 300)
	for i := range items {
		items[i] = newItem(1, 10)
		items[i].op = &db.Op{Steps: []db.Step{{SQL: "INSERT INTO node_sessions SELECT 'order-' || ?1, count(*), 0 FROM node_sessions WHERE session_id LIKE 'order-%'",
			Args: []db.Value{db.Int(int64(i))}}}}
	}
	queue(t, m, items...)
	release()
	for i, it := range items {
		if err := it.wait(t); err != nil || it.result == nil || *it.result != (db.OpResult{Changed: 1}) || it.group != items[0].group || it.group.Index() == 0 {
			t.Fatalf("item %d: %v, %+v, in the first group: %v", i, err, it.result, it.group == items[0].group)
		}
	}
	equal(t, "out of order", rows(t, m.Engine(), "SELECT session_id FROM node_sessions WHERE session_id LIKE 'order-%' AND session_id <> 'order-' || node_id"), "[]")
}

func testGroupLimits(t *testing.T, m *db.TaskManifest) {
	release := block(t, m)
	a, b, c, d := newItem(600, 1), newItem(424, 1), newItem(1, 1), newItem(5000, 1)
	e, f, g := newItem(1, 1), newItem(1, 8<<20-1), newItem(1, 1)
	queue(t, m, a, b, c, d, e, f, g)
	release()
	for _, it := range []*item{a, b, c, d, e, f, g} {
		if err := it.wait(t); err != nil {
			t.Fatal(err)
		}
	}
	if a.group != b.group || e.group != f.group {
		t.Error("what fits into an entry was parted")
	}
	if b.group == c.group || c.group == d.group || d.group == e.group || f.group == g.group {
		t.Error("an entry is larger than its limits")
	}
}

func wantFull(t *testing.T, err error) {
	t.Helper()
	wantCode(t, "one more", err, controlplane.CodeExhausted)
	var e *controlplane.Error
	if !errors.As(err, &e) || e.RetryAfter <= 0 {
		t.Errorf("%v does not say when to try again", err)
	}
}

func testQueueBytes(t *testing.T, m *db.TaskManifest) {
	release := block(t, m)
	half := newItem(1, 32<<20)
	other := newItem(1, 32<<20)
	queue(t, m, half, other)
	over := newItem(1, 1)
	wantFull(t, m.Enqueue(over))
	_, err := m.AddTask(await(t), execTask("refused"))
	wantFull(t, err)
	release()
	for _, it := range []*item{half, other} {
		if err := it.wait(t); err != nil {
			t.Error(err)
		}
	}
	if len(over.finished) != 0 || over.calls != 0 {
		t.Error("what was refused was worked on")
	}
	add(t, m, execTask("after-refusal"))
	_, err = m.GetTask(await(t), "refused")
	wantCode(t, "the one refused", err, controlplane.CodeNotFound)
}

// testQueueShare: what renews leases and records results still goes when submissions have
// filled their part of the queue.
func testQueueShare(t *testing.T, m *db.TaskManifest) {
	release := block(t, m)
	part := newItem(1, 16<<20)
	queue(t, m, part)
	_, err := m.AddTask(await(t), execTask("refused-for-others"))
	wantFull(t, err)
	beat := newItem(1, 1)
	queue(t, m, beat)
	release()
	for _, it := range []*item{part, beat} {
		if err := it.wait(t); err != nil {
			t.Error(err)
		}
	}
	add(t, m, execTask("after-the-others"))
}

func testQueueItems(t *testing.T, m *db.TaskManifest) {
	release := block(t, m)
	var accepted []*item
	for {
		it := newItem(1, 1)
		if err := m.Enqueue(it); err != nil {
			wantFull(t, err)
			break
		}
		if accepted = append(accepted, it); len(accepted) > 1<<20 {
			t.Fatal("a million items wait")
		}
	}
	release()
	for _, it := range accepted {
		if err := it.wait(t); err != nil {
			t.Fatal(err)
		}
	}
}

func testGiveUp(t *testing.T, m *db.TaskManifest) {
	release := block(t, m)
	ctx, cancel := context.WithTimeout(await(t), 10*time.Millisecond)
	defer cancel()
	_, err := m.AddTask(ctx, execTask("given-up"))
	wantCode(t, "the time ends while it waits", err, controlplane.CodeUnknownOutcome)
	_, err = m.AddTask(ctx, execTask("too-late"))
	wantCode(t, "the time is over", err, controlplane.CodeDeadline)
	release()
	add(t, m, execTask("behind")) // in an entry after the one given up
	get(t, m, "given-up")
	_, err = m.GetTask(await(t), "too-late")
	wantCode(t, "the one that came too late", err, controlplane.CodeNotFound)
}

func testClock(t *testing.T, m *db.TaskManifest) {
	last := int64(0)
	for range 20 {
		if err := m.Do(await(t), 0, func(g *db.Group) {
			if g.Now < last || g.Now < time.Now().Add(-patience).UnixMilli() {
				t.Errorf("%d after %d", g.Now, last)
			}
			last = g.Now
		}); err != nil {
			t.Fatal(err)
		}
	}
}
