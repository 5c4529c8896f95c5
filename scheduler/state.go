package scheduler

import (
	"context"
	"errors"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// state is the leader's copy of what the replicated state says of nodes and of
// the attempts that they hold.
type state struct {
	s    *Scheduler
	read db.Reader

	nodes   map[string]*node
	held    map[string]*attempt // by task id
	streams map[db.Stream]*stream
	order   []*stream
	heaps   map[int64]*candidates // by class
	retries []retry

	// touched nodes may have more room, or ask for work, since the last pass.
	touched map[*node]bool
	// rewinds are streams to be read anew after this group.
	rewinds []db.Stream
	// cancelled are tasks that this group cancels.
	cancelled map[string]bool
	// answered are the polls to answer when the group is committed.
	answered []*poll
	// more is set when a pass ended at its limit.
	more bool
	// disturbed is set when the state was changed past this copy.
	disturbed bool
}

func newState(s *Scheduler, read db.Reader) *state {
	st := &state{s: s, read: read}
	st.clear()
	return st
}

func (st *state) clear() {
	st.nodes, st.held = map[string]*node{}, map[string]*attempt{}
	st.streams, st.order = map[db.Stream]*stream{}, nil
	st.heaps, st.retries = map[int64]*candidates{}, nil
	st.touched, st.cancelled = map[*node]bool{}, map[string]bool{}
}

// load reads the copy from the state.
func (st *state) load(ctx context.Context) error {
	return st.read(ctx, func(c db.Conn) error {
		return errors.Join(st.loadNodes(c), st.loadHeld(c), st.loadStreams(c), st.loadRetries(c))
	})
}

func (st *state) loadNodes(c db.Conn) error {
	nodes, err := db.AllNodes(c)
	now := st.now()
	for _, n := range nodes {
		st.nodes[n.ID] = newNode(n, now)
	}
	return err
}

func (st *state) loadHeld(c db.Conn) error {
	held, err := db.HeldTasks(c)
	for _, h := range held {
		n := st.nodes[h.NodeID]
		if n == nil {
			continue // a node that was deleted: its tasks are taken back by no one yet
		}
		st.hold(n, &attempt{HeldTask: h, since: st.now()})
	}
	return err
}

func (st *state) loadStreams(c db.Conn) error {
	streams, err := db.Streams(c)
	for _, k := range streams {
		st.stream(k)
	}
	return err
}

func (st *state) loadRetries(c db.Conn) error {
	retries, err := db.Retries(c)
	wall := time.Now().UnixMilli()
	for _, r := range retries {
		// What the wall clock says is bounded by what the wait can be at most.
		wait := time.Duration(r.RetryMs-wall) * time.Millisecond
		wait = min(max(wait, 0), st.s.opts.RetryMax*5/4)
		st.retries = append(st.retries, retry{seq: r.Seq, stream: r.Stream, due: st.now().Add(wait)})
	}
	return err
}

// reloadIfDisturbed reads the copy anew and keeps what only memory holds: the
// polls that wait and when each node was heard.
func (st *state) reloadIfDisturbed() {
	if !st.disturbed {
		return
	}
	old := st.nodes
	st.clear()
	if err := st.load(context.Background()); err != nil {
		st.s.log.Error("cannot read the state: placing stops until it can be read", "error", err)
		return
	}
	st.disturbed = false
	for id, o := range old {
		n := st.nodes[id]
		if n == nil || n.session != o.session {
			o.dismiss(replaced(id))
			continue
		}
		n.waiting, n.polled, n.renewed = o.waiting, o.polled, o.renewed
		for _, p := range n.waiting {
			p.node = n
		}
		st.touched[n] = true
	}
}

func (st *state) now() time.Time { return st.s.opts.Now() }

// node is the copy of a node, with what only the leader knows.
type node struct {
	id, session string
	status      controlplane.NodeStatus
	schedulable bool
	renewal     int64
	spec        controlplane.NodeSpec
	usage       controlplane.NodeUsage

	used     controlplane.Resources
	attempts map[string]*attempt
	gpuFree  map[int32]bool

	renewed time.Time // when the last renewal was seen committed
	polled  time.Time // when it last asked for work
	waiting []*poll
	// renewing is the group in which its lease is being renewed.
	renewing *db.Group
}

func newNode(n *controlplane.Node, now time.Time) *node {
	c := &node{id: n.ID, session: n.SessionID, status: n.Status, schedulable: n.Schedulable, renewal: n.Renewal,
		usage: n.Usage, renewed: now, attempts: map[string]*attempt{}}
	c.setSpec(n.Spec)
	return c
}

func (n *node) setSpec(spec controlplane.NodeSpec) {
	n.spec = spec
	n.spec.Capacity.GPUs = int32(len(spec.GPUDevices))
	n.gpuFree = map[int32]bool{}
	for _, g := range spec.GPUDevices {
		n.gpuFree[g.Index] = true
	}
	for _, a := range n.attempts {
		n.takeGPUs(a.GPUs)
	}
}

// attempt is the copy of an attempt that a node holds.
type attempt struct {
	db.HeldTask
	node *node
	// since is when it was given to the node or handed out.
	since time.Time
	// redeliver is set when the node does not know that it holds it.
	redeliver bool
	// stopSent is when a poll last told the node to stop it.
	stopSent time.Time
}

// hold puts an attempt on a node.
func (st *state) hold(n *node, a *attempt) {
	r := st.s.tasks.Class(a.ClassID).Resources
	n.used.CPUMillis += r.CPUMillis
	n.used.MemoryBytes += r.MemoryBytes
	n.used.GPUs += r.GPUs
	n.takeGPUs(a.GPUs)
	a.node = n
	n.attempts[a.TaskID] = a
	st.held[a.TaskID] = a
}

// release takes an attempt off its node.
func (st *state) release(a *attempt) {
	n := a.node
	if n.attempts[a.TaskID] != a {
		return
	}
	r := st.s.tasks.Class(a.ClassID).Resources
	n.used.CPUMillis -= r.CPUMillis
	n.used.MemoryBytes -= r.MemoryBytes
	n.used.GPUs -= r.GPUs
	for _, g := range a.GPUs {
		n.gpuFree[g] = true
	}
	delete(n.attempts, a.TaskID)
	delete(st.held, a.TaskID)
	st.touched[n] = true
}

func (n *node) takeGPUs(gpus []int32) {
	for _, g := range gpus {
		delete(n.gpuFree, g)
	}
}

// freeGPUs returns the lowest free devices.
func (n *node) freeGPUs(count int32) []int32 {
	var out []int32
	for _, g := range n.spec.GPUDevices {
		if int32(len(out)) < count && n.gpuFree[g.Index] {
			out = append(out, g.Index)
		}
	}
	return out
}

// checked reports an operation that should have taken effect and did not: the
// copy was wrong, so it is read anew.
func (st *state) checked(what string, then func()) func(db.OpResult) {
	return func(r db.OpResult) {
		st.s.mu.Lock()
		defer st.s.mu.Unlock()
		if r.Err != nil || r.Changed == 0 {
			st.s.log.Warn("a decision did not hold: reading the state anew", "decision", what, "error", r.Err)
			st.disturbed = true
			st.s.tasks.Kick()
			return
		}
		if then != nil {
			then()
		}
	}
}

func replaced(id string) error {
	return controlplane.Errorf(controlplane.CodePrecondition,
		"this session of node %s was replaced by a newer one: stop its tasks and exit; two workers must not share a node id", id)
}

func unknown(id string) error {
	return &controlplane.Error{Code: controlplane.CodeNotFound, Field: "node_id",
		Message: "there is no node " + id + ": register it by a heartbeat with its spec"}
}

// session finds a node by its present session.
func (st *state) session(id, session string) (*node, error) {
	n := st.nodes[id]
	if n == nil {
		return nil, unknown(id)
	}
	if n.session != session {
		return nil, replaced(id)
	}
	return n, nil
}
