package scheduler

import (
	"context"
	"reflect"
	"slices"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// beat is a heartbeat under way: an item of a group.
type beat struct {
	controlplane.Heartbeat
	s    *Scheduler
	work controlplane.Work
	err  error
	done chan error
}

// Heartbeat registers a node or renews its lease. It returns once the renewal is
// committed.
func (s *Scheduler) Heartbeat(ctx context.Context, hb controlplane.Heartbeat) (controlplane.Work, error) {
	b := s.newBeat(hb)
	if err := s.tasks.Enqueue(b); err != nil {
		return controlplane.Work{}, err
	}
	return b.await(ctx)
}

func (s *Scheduler) newBeat(hb controlplane.Heartbeat) *beat {
	return &beat{s: s, Heartbeat: hb, done: make(chan error, 1)}
}

func (b *beat) await(ctx context.Context) (controlplane.Work, error) {
	select {
	case err := <-b.done:
		if err != nil {
			return controlplane.Work{}, err
		}
		return b.work, b.err
	case <-ctx.Done():
		return controlplane.Work{}, ctx.Err()
	}
}

// Weight implements db.Item. Of thousands of nodes most renewals are one operation each,
// and nothing that is held is written: counted for more they would fill entries that are
// nearly empty, and wait for each other.
func (b *beat) Weight() (ops, bytes int) {
	ops, bytes = 1+len(b.Progress), 256+progressBytes*len(b.Progress)
	if b.Spec != nil {
		ops, bytes = ops+4+len(b.Spec.GPUDevices), bytes+1024+256*len(b.Spec.GPUDevices)
	}
	return ops, bytes
}

// Patience implements db.Patient: renewals share entries. One that registers a node does
// not wait.
func (b *beat) Patience() time.Duration {
	if b.Spec != nil {
		return 0
	}
	return b.s.opts.Gather
}

// Finish implements db.Item.
func (b *beat) Finish(err error) { b.done <- err }

// Prepare implements db.Item.
func (b *beat) Prepare(g *db.Group) {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	st := b.s.st
	n := st.nodes[b.NodeID]
	if b.Spec != nil {
		n, b.err = st.register(g, n, b)
	} else {
		n, b.err = st.session(b.NodeID, b.SessionID)
	}
	if b.err != nil {
		return
	}
	if b.Spec == nil || b.Usage != nil {
		st.renew(g, n, b.Usage, b.confirm)
	}
	st.terminate(g, n, b.TerminatingTime)
	st.notePolling(g, n)
	st.compare(g, n, b.Held, redeliverAfter)
	st.follow(g, n, b.Held, b.Progress)
	if len(n.news) > 0 && len(n.waiting) > 0 {
		st.owing[n] = struct{}{}
	}
	b.work = controlplane.Work{Stop: append(notYours(n, b.Held), st.stops(n, 0)...), Lease: st.s.opts.Lease}
}

// confirm takes in whether the renewal took effect.
func (b *beat) confirm(held bool) {
	if !held {
		b.work, b.err = controlplane.Work{}, controlplane.Errorf(controlplane.CodeUnavailable, "the lease was not renewed, since the node was changed at the same moment: send the heartbeat again")
	}
}

// renew renews the lease of a node in this group; it counts from the commit.
func (st *state) renew(g *db.Group, n *node, usage *controlplane.NodeUsage, then func(held bool)) {
	var change db.NodeChange
	if n.status != controlplane.NodeHealthy {
		change = db.NodeBack
	}
	st.renewing(g, n)
	if usage != nil && *usage != n.usage {
		n.usage = *usage
		st.touch(n) // it breaks ties
	}
	g.Add(db.RenewOp(n.id, n.session, usage, change, g.Now), st.checked("renew", func(held bool) {
		n.renewedNow(st, held)
		if then != nil {
			then(held)
		}
	}))
}

func (n *node) renewedNow(st *state, held bool) {
	if held {
		n.renewed = st.now()
	}
}

func (st *state) renewing(g *db.Group, n *node) {
	n.renewing = st.group
	n.renewal++
	if n.status != controlplane.NodeHealthy {
		st.holdBack(g, n)
		n.status, st.total = controlplane.NodeHealthy, nil
		st.touch(n)
	}
}

// register takes in a node, a new session of it, or what its session now says of
// itself. What a former session ran goes back to its queue at once.
func (st *state) register(g *db.Group, n *node, b *beat) (*node, error) {
	former := ""
	if n != nil && n.session != b.SessionID {
		former = n.session
	}
	if n == nil || former != "" {
		if err := st.mayBegin(b); err != nil {
			return nil, err
		}
	}
	change := changed(n, former, b.Spec)
	crashed := former != "" && n.isHealthy() && !n.leaving() && n.runs()
	if n == nil {
		n = st.addNode(&controlplane.Node{ID: b.NodeID, Schedulable: true})
	}
	n.session = b.SessionID
	if former != "" {
		n.polled, n.polling = time.Time{}, false // the new one has not asked for work yet
		st.replaced[former] = struct{}{}
		for _, p := range n.waiting {
			st.refuse(p, replaced(n.id))
		}
		st.lose(g, n, "session_replaced", "node "+n.id+" began a new session")
		n.terminatingMs = 0 // it is another machine, or was not taken away
	}
	g.Add(db.RegisterOp(n.id, n.session, former, b.Spec, change, g.Now), st.checked("register", func(held bool) {
		n.renewedNow(st, held)
		b.confirm(held)
	}))
	if !slices.Equal(n.spec.GPUDevices, b.Spec.GPUDevices) {
		st.replaceDevices(g, n, b.Spec.GPUDevices)
	}
	n.setSpec(*b.Spec)
	st.total = nil
	if crashed {
		st.lapse(n)
		g.Add(db.LapseOp(n.id, n.lapses, n.lapseMs), st.checked("lapse", nil))
		st.holdBack(g, n)
	}
	st.renewing(g, n)
	st.touch(n)
	return n, nil
}

func (n *node) isHealthy() bool { return n.status == controlplane.NodeHealthy }

// runs reports whether a node has fetched something that it still holds.
func (n *node) runs() bool {
	for _, a := range n.attempts {
		if a.Status == controlplane.TaskRunning {
			return true
		}
	}
	return false
}

// changed is what watchers are told of a registration: nothing if it says what the
// state says already.
func changed(n *node, former string, spec *controlplane.NodeSpec) db.NodeChange {
	switch {
	case n == nil:
		return db.NodeRegistered
	case former != "":
		return db.NodeSessionReplaced
	case n.status != controlplane.NodeHealthy:
		return db.NodeBack
	case !reflect.DeepEqual(n.spec, *spec):
		return db.NodeUpdated
	}
	return 0
}

// mayBegin refuses a session that was replaced before: two workers under one name
// must not throw each other out for ever.
func (st *state) mayBegin(b *beat) error {
	_, retired := st.replaced[b.SessionID]
	err := st.read(context.Background(), func(c db.Conn) error {
		before, err := db.SessionRetired(c, b.SessionID)
		retired = retired || before
		return err
	})
	if err == nil && retired {
		err = replaced(b.NodeID)
	}
	return err
}

// replaceDevices replaces the devices of a node. A device that stays keeps its
// holder; one that comes back while its attempt still runs gets it again.
func (st *state) replaceDevices(g *db.Group, n *node, gpus []controlplane.GPUDevice) {
	g.Add(db.DevicesOp(n.id, gpus), nil)
	for _, a := range bySeq(n.all()) {
		for _, device := range a.GPUs {
			g.Add(db.TakeDeviceOp(n.id, device, a.Seq), nil)
		}
	}
}
