package scheduler

import (
	"cmp"
	"slices"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// node is the copy of a node, with what only the leader knows.
type node struct {
	num         int   // its place in state.byNum
	rank        int32 // its place by id, see state.rank
	id, session string
	status      controlplane.NodeStatus
	schedulable bool
	renewal     int64
	spec        controlplane.NodeSpec
	units       units  // of spec
	kind        string // db.NodeKind of spec
	usage       controlplane.NodeUsage
	polling     bool // as the state says

	// See drain.go. 0 where there is none.
	drainMs, deadlineMs, terminatingMs int64
	drainTasks                         int32
	lapses                             int32
	lapseMs, probationMs               int64

	// What is reserved, also by placements that are not committed yet.
	slotsUsed int64
	used      controlplane.Resources
	gpuTaken  map[int32]struct{}

	attempts map[string]*attempt // by task id, as in the state
	// news are those of which the node is still to hear: assigned, to be delivered
	// again, or cancelled.
	news map[*attempt]struct{}

	renewed  time.Time // when the last renewal was seen committed
	renewing uint64    // the group in which it is being renewed
	polled   time.Time // when it last asked for work
	waiting  []*poll
	touched  int64 // place of its last touch
	watched  bool  // it is in state.watched
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
	// stopping is since when the node is to hand it back.
	stopping time.Time
	course   course
}

// addNode takes in a node. Its lease counts from now.
func (st *state) addNode(n *controlplane.Node) *node {
	c := &node{num: len(st.byNum), id: n.ID, session: n.SessionID, status: n.Status, schedulable: n.Schedulable, renewal: n.Renewal,
		usage: n.Usage, renewed: st.now(), touched: -1,
		attempts: map[string]*attempt{}, news: map[*attempt]struct{}{}, gpuTaken: map[int32]struct{}{}}
	c.setSpec(n.Spec)
	c.polling, c.drainTasks, c.lapses = n.Polling, n.Drain.InitialTasks, n.Lapses
	c.drainMs, c.deadlineMs, c.terminatingMs = ms(n.Drain.StartTime), ms(n.Drain.Deadline), ms(n.TerminatingTime)
	c.lapseMs, c.probationMs = ms(n.LapseTime), ms(n.ProbationEnd)
	st.nodes[n.ID] = c
	st.byNum = append(st.byNum, c)
	st.watchOver(c)
	return c
}

func ms(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func (n *node) setSpec(spec controlplane.NodeSpec) {
	n.spec = spec
	n.spec.Capacity.GPUs = int32(len(spec.GPUDevices))
	n.units, n.kind = unitsOf(&n.spec), db.NodeKind(&spec)
}

// inherit takes over what only memory holds of a node from a copy that was replaced.
func (st *state) inheritNode(n, o *node) {
	n.waiting, n.polled = o.waiting, o.polled
	for _, p := range n.waiting {
		p.node = n
	}
	if n.renewal == o.renewal { // else it was renewed past the copy, just now
		n.renewed = o.renewed
	}
	for id, a := range n.attempts {
		if b := o.attempts[id]; b != nil && b.Attempt == a.Attempt && b.Status == a.Status {
			a.since, a.redeliver, a.stopSent, a.stopping, a.course = b.since, b.redeliver, b.stopSent, b.stopping, b.course
			st.note(a)
		}
	}
}

// reserve takes what an attempt needs on a node.
func (st *state) reserve(n *node, a *attempt) {
	r := st.needs(a)
	n.use(r, 1)
	for _, g := range a.GPUs {
		n.gpuTaken[g] = struct{}{}
	}
	a.node = n
	st.charge(a.Stream, r, 1)
}

// free gives back what an attempt reserved.
func (st *state) free(a *attempt) {
	n, r := a.node, st.needs(a)
	n.use(r, -1)
	for _, g := range a.GPUs {
		delete(n.gpuTaken, g)
	}
	st.charge(a.Stream, r, -1)
	st.touch(n)
}

// use adds what a task reserves, or takes it off if sign is -1.
func (n *node) use(r controlplane.Resources, sign int64) {
	n.slotsUsed += sign
	n.used.CPUMillis += sign * r.CPUMillis
	n.used.MemoryBytes += sign * r.MemoryBytes
	n.used.DiskBytes += sign * r.DiskBytes
	n.used.GPUs += int32(sign) * r.GPUs
	n.used.Custom = addCounts(n.used.Custom, r.Custom, sign)
}

func (st *state) needs(a *attempt) controlplane.Resources {
	return st.s.classOf(a.ClassID).Resources
}

// keep notes an attempt that is in the state.
func (st *state) keep(a *attempt) {
	a.node.attempts[a.TaskID] = a
	st.held[a.TaskID] = a
	st.note(a)
}

// release takes an attempt that is in the state off its node.
func (st *state) release(a *attempt) {
	delete(a.node.attempts, a.TaskID)
	delete(a.node.news, a)
	delete(st.held, a.TaskID)
	st.works.forget(a.Seq)
	st.free(a)
}

// note keeps the node's news up to date.
func (st *state) note(a *attempt) {
	if a.Status == controlplane.TaskAssigned || a.redeliver || a.CancelRequested || !a.stopping.IsZero() || a.isStuck() {
		a.node.news[a] = struct{}{}
		st.watchOver(a.node)
	} else {
		delete(a.node.news, a)
	}
}

func (a *attempt) key() controlplane.Attempt {
	return controlplane.Attempt{TaskID: a.TaskID, Attempt: a.Attempt}
}

// freeGPUs returns the first free devices that will do, by index.
func (n *node) freeGPUs(m *match, count int32) []int32 {
	var out []int32
	for _, g := range m.Devices {
		if _, taken := n.gpuTaken[g]; !taken && int32(len(out)) < count {
			out = append(out, g)
		}
	}
	slices.Sort(out)
	return out
}

// freeOf is how many devices are free that will do.
func (n *node) freeOf(m *match) (free int32) {
	for _, g := range m.Devices {
		if _, taken := n.gpuTaken[g]; !taken {
			free++
		}
	}
	return free
}

// bySeq orders attempts by their submission.
func bySeq(set map[*attempt]struct{}) []*attempt {
	list := make([]*attempt, 0, len(set))
	for a := range set {
		list = append(list, a)
	}
	slices.SortFunc(list, compareSeq)
	return list
}

func compareSeq(a, b *attempt) int { return cmp.Compare(a.Seq, b.Seq) }

func (n *node) all() map[*attempt]struct{} {
	set := make(map[*attempt]struct{}, len(n.attempts))
	for _, a := range n.attempts {
		set[a] = struct{}{}
	}
	return set
}
