package scheduler

import (
	"context"
	"errors"
	"slices"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// Heartbeat registers a node or renews its lease. It returns once the renewal is
// committed.
func (s *Scheduler) Heartbeat(ctx context.Context, hb controlplane.Heartbeat) (controlplane.Work, error) {
	var work controlplane.Work
	var refused error
	err := s.tasks.Do(ctx, 512+64*len(hb.Held), func(g *db.Group) {
		s.mu.Lock()
		defer s.mu.Unlock()
		work, refused = s.st.heartbeat(g, &hb)
	})
	return work, errors.Join(err, refused)
}

func (st *state) heartbeat(g *db.Group, hb *controlplane.Heartbeat) (controlplane.Work, error) {
	n := st.nodes[hb.NodeID]
	if hb.Spec != nil {
		var err error
		if n, err = st.register(g, n, hb); err != nil {
			return controlplane.Work{}, err
		}
	} else {
		var err error
		if n, err = st.session(hb.NodeID, hb.SessionID); err != nil {
			return controlplane.Work{}, err
		}
	}
	if hb.Spec == nil || hb.Usage != nil {
		st.renew(g, n, hb.Usage)
	}
	st.suspectLost(n, hb.Held)
	return controlplane.Work{Stop: st.stops(n, hb.Held, true), Lease: st.s.opts.Lease}, nil
}

// renew renews the lease of a node in this group; it counts from the commit.
func (st *state) renew(g *db.Group, n *node, usage *controlplane.NodeUsage) {
	n.renewing = g
	n.renewal++
	if usage != nil {
		n.usage = *usage
	}
	if n.status != controlplane.NodeHealthy {
		n.status = controlplane.NodeHealthy
		st.touched[n] = true
	}
	g.Add(db.RenewOp(n.id, n.session, usage, g.Now), st.checked("renew", func() { n.renewed = st.now() }))
}

// suspectLost marks what the node should hold for a while and does not list: the
// answer that delivered it was lost.
func (st *state) suspectLost(n *node, held []controlplane.Attempt) {
	known := setOf(held)
	for _, a := range n.attempts {
		if a.Status == controlplane.TaskRunning && st.now().Sub(a.since) >= redeliverAfter &&
			!known[controlplane.Attempt{TaskID: a.TaskID, Attempt: a.Attempt}] {
			a.redeliver = true
		}
	}
	for _, p := range n.waiting {
		if st.redeliver(p); len(p.seqs) > 0 {
			st.answer(p)
		}
	}
}

// register takes in a node, a new session of it, or what its session now says of
// itself. What a former session ran goes back to its queue at once.
func (st *state) register(g *db.Group, n *node, hb *controlplane.Heartbeat) (*node, error) {
	former := ""
	if n != nil && n.session != hb.SessionID {
		former = n.session
	}
	if n == nil || former != "" {
		if err := st.mayBegin(hb); err != nil {
			return nil, err
		}
	}
	if n == nil {
		n = newNode(&controlplane.Node{ID: hb.NodeID, Schedulable: true}, st.now())
		st.nodes[n.id] = n
	}
	n.session = hb.SessionID
	if former != "" {
		n.dismiss(replaced(n.id))
		st.lose(g, n, "session_replaced", "node "+n.id+" began a new session")
	}
	g.Add(db.RegisterOp(n.id, n.session, former, hb.Spec, g.Now), st.checked("register", func() { n.renewed = st.now() }))
	if !slices.Equal(n.spec.GPUDevices, hb.Spec.GPUDevices) {
		st.replaceDevices(g, n, hb.Spec.GPUDevices)
	}
	n.setSpec(*hb.Spec)
	n.status = controlplane.NodeHealthy
	n.renewal++
	if former == "" && n.renewal == 1 {
		n.renewal = 1 // a new row begins at 1
	}
	n.renewing = g
	st.touched[n] = true
	return n, nil
}

// mayBegin refuses a session that was replaced before: two workers under one name
// must not throw each other out for ever.
func (st *state) mayBegin(hb *controlplane.Heartbeat) error {
	retired := false
	err := st.read(context.Background(), func(c db.Conn) (err error) {
		retired, err = db.SessionRetired(c, hb.SessionID)
		return err
	})
	if err == nil && retired {
		err = replaced(hb.NodeID)
	}
	return err
}

// replaceDevices replaces the devices of a node; attempts that hold one keep
// running without it in the record, since the node says that it is gone.
func (st *state) replaceDevices(g *db.Group, n *node, gpus []controlplane.GPUDevice) {
	g.Add(db.DevicesOp(n.id, gpus), nil)
	for _, a := range n.attempts {
		for _, device := range a.GPUs {
			g.Add(db.TakeDeviceOp(n.id, device, a.Seq), nil)
		}
	}
}
