package scheduler

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// state is the leader's copy of what the replicated state says of nodes, of the
// attempts that they hold and of the tasks that wait.
type state struct {
	s    *Scheduler
	read db.Reader

	nodes   map[string]*node
	byNum   []*node
	ranked  int                 // how many of byNum have a rank
	held    map[string]*attempt // by task id
	retries retries
	queues  map[string]*queue
	keys    map[string]int32 // attempts held with each concurrency key
	// asleep are streams that wait for their key.
	asleep map[string][]*stream

	// A stream that is not there has no pending tasks, a class that is not busy no
	// streams.
	streams map[db.Stream]*stream
	classes map[classKey]*class
	busy    map[*class]struct{}
	touches touches
	works   works
	packing bool   // a class may have BINPACK
	total   *fleet // see fleet; nil once a node has changed
	asked   asked  // see slotsAsked

	// watched are the nodes of which more than the lease may become due, see watchOver.
	watched []*node
	// firstLapse is a time before which no lease lapses.
	firstLapse time.Time

	// anchor is the wall clock, Unix milliseconds, at a time of the monotonic one when
	// this term began: within it, both run alike.
	anchorMs int64
	anchor   time.Time
	// deadline is when tasks are looked for that have waited too long for their first
	// start; never if zero.
	deadline time.Time

	// What belongs to the group in the making only.
	groupState
	// group is its number.
	group uint64
	// owing are nodes with polls that wait although there is something to hand out.
	owing map[*node]struct{}
	// collecting is set when the next group takes up what is due.
	collecting bool
	// disturbed is set when the state was changed past this copy, or a decision did
	// not hold.
	disturbed bool
}

type groupState struct {
	// at is the time of the pass.
	at time.Time
	// used are streams that this group's submissions or placements touch.
	used []*stream
	// rewinds are streams to be read anew after this group.
	rewinds []db.Stream
	// gone are pending tasks, by key, that this group may cancel.
	gone map[int64]struct{}
	// replaced are sessions that this group retires.
	replaced map[string]struct{}
	// resettled are queues whose settings this group may change.
	resettled []string
	// answers are the polls to answer when the group is committed.
	answers []*poll
	// more is set when another pass should follow at once.
	more bool
}

func newState(s *Scheduler, read db.Reader) *state {
	now := s.opts.Now()
	return &state{s: s, read: read, group: 1, anchorMs: s.tasks.NowMs(), anchor: now, deadline: now,
		nodes: map[string]*node{}, held: map[string]*attempt{}, owing: map[*node]struct{}{},
		queues: map[string]*queue{}, keys: map[string]int32{}, asleep: map[string][]*stream{},
		streams: map[db.Stream]*stream{}, classes: map[classKey]*class{}, busy: map[*class]struct{}{}, works: newWorks(),
		groupState: groupState{gone: map[int64]struct{}{}, replaced: map[string]struct{}{}}}
}

// load reads the copy from the state.
func (st *state) load(ctx context.Context) error {
	return st.read(ctx, func(c db.Conn) error {
		return errors.Join(st.loadQueues(c), st.loadNodes(c), st.loadHeld(c), st.loadStreams(c), st.loadRetries(c))
	})
}

func (st *state) loadNodes(c db.Conn) error {
	nodes, err := db.AllNodes(c)
	for _, n := range nodes {
		st.addNode(n)
	}
	return err
}

func (st *state) loadHeld(c db.Conn) error {
	held, err := db.HeldTasks(c)
	for _, h := range held {
		n := st.nodes[h.NodeID]
		if n == nil {
			st.s.log.Error("an attempt is held by a node that is not there", "task", h.TaskID, "node", h.NodeID)
			continue
		}
		a := &attempt{HeldTask: h, since: st.now()}
		st.reserve(n, a)
		st.keep(a)
	}
	return err
}

func (st *state) loadStreams(c db.Conn) error {
	streams, err := db.Streams(c)
	for _, k := range streams {
		s := st.stream(k)
		s.rewind()
		s.class.stored = true
	}
	return err
}

func (st *state) loadRetries(c db.Conn) error {
	waiting, err := db.Retries(c)
	wall := st.wallMs()
	for _, r := range waiting {
		wait := max(time.Duration(r.RetryMs-wall)*time.Millisecond, 0)
		if r.Failed { // what the wall clock says is bounded by what the wait can be at most
			wait = min(wait, 2*maxRetryAfter)
		}
		st.retries.add(retry{seq: r.Seq, stream: r.Stream, due: st.now().Add(wait)})
	}
	return err
}

// inherit takes over what only memory holds from a copy that was replaced: the
// polls that wait, when each node was heard and when each attempt was given out.
func (st *state) inherit(old *state) {
	st.group, st.collecting = old.group, old.collecting
	for id, o := range old.nodes {
		n := st.nodes[id]
		if n == nil || n.session != o.session {
			for _, p := range slices.Clone(o.waiting) {
				p.finish(st.refusal(id, o.session))
			}
			continue
		}
		st.inheritNode(n, o)
		st.touch(n)
		if len(n.waiting) > 0 && len(n.news) > 0 {
			st.owing[n] = struct{}{}
		}
	}
}

func (st *state) now() time.Time { return st.s.opts.Now() }

// wallMs is the wall clock as this term began with it, moved on by the monotonic one.
func (st *state) wallMs() int64 { return st.anchorMs + st.now().Sub(st.anchor).Milliseconds() }

// endGroup forgets what belonged to a group that is committed.
func (st *state) endGroup() {
	for _, s := range st.used {
		s.fresh, s.isUsed = nil, false
		st.retire(s)
	}
	for _, k := range st.rewinds {
		st.stream(k).rewind()
		st.deadline = st.now() // it may have passed while a node had the task and did not fetch it
	}
	clear(st.gone)
	clear(st.replaced)
	st.groupState = groupState{used: st.used[:0], rewinds: st.rewinds[:0], answers: st.answers[:0], gone: st.gone, replaced: st.replaced}
	st.group++
	st.evict()
}

// checked returns a receiver of an operation's result that should have taken
// effect. If it did not, the copy was wrong and is read anew. then is called
// either way.
func (st *state) checked(what string, then func(held bool)) func(db.OpResult) {
	return func(r db.OpResult) {
		st.s.mu.Lock()
		defer st.s.mu.Unlock()
		held := r.Err == nil && r.Changed > 0
		if !held {
			st.s.log.Warn("a decision did not hold: reading the state anew", "decision", what, "error", r.Err)
			st.disturbed = true
		}
		if then != nil {
			then(held)
		}
	}
}

func replaced(id string) error {
	return controlplane.Errorf(controlplane.CodePrecondition,
		"this is not the present session of node %s: a newer one replaced it, or it has not registered yet (by a heartbeat with spec); stop its tasks and exit, since two workers must not share a node id", id)
}

// session finds a node by its present session.
func (st *state) session(id, session string) (*node, error) {
	if n := st.nodes[id]; n != nil && n.session == session {
		return n, nil
	}
	return nil, st.refusal(id, session)
}

func (st *state) refusal(id, session string) error {
	switch n := st.nodes[id]; {
	case n == nil:
		return db.NodeNotFound(id)
	case n.session != session:
		return replaced(id)
	}
	return nil
}
