// Package scheduler is what the leader does beside committing entries: it places
// tasks, keeps leases, tries again what failed and takes back what was lost.
//
// It sees each log entry in the making (db.Planner) and adds its decisions to
// it, so that a report, the placement that it makes room for and the answer to
// the poll that waits for work are one entry. What it holds in memory is a copy
// of what the state says of nodes and of the attempts that they hold; since one
// entry is in flight at a time, the copy is exact when a decision is made, and
// every decision is replicated as a guarded statement all the same. A new leader
// reads the copy from the state.
//
// The goroutine that makes entries changes the copy: while a group is prepared,
// with the effects that its operations are going to have, and when it is
// committed. Beside it, callers whose polls end touch the polls. Nothing that a
// node is told, work, renewal or refusal, is told before the group on which it
// rests is committed.
package scheduler

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// Options are the durations that the scheduler goes by. Zero values stand for
// the defaults.
type Options struct {
	// Lease is how long a node keeps its tasks without being heard; 15 s.
	Lease time.Duration
	// Gather is how long the renewal of a lease may wait for others to share its log entry;
	// a sixtieth of Lease, 250 ms. Not at all if it is negative.
	Gather time.Duration
	// AssignTimeout is how long an assigned task may wait for its node to fetch it;
	// 10 s.
	AssignTimeout time.Duration
	// PollGrace is how long after a poll a node still counts as asking for work; 3 s.
	PollGrace time.Duration
	// RetryBase and RetryMax bound the wait before another attempt; 1 s, 5 min.
	RetryBase, RetryMax time.Duration
	// Tick is how often leases and retries are looked at; 100 ms. Nothing between a
	// submission and its worker waits for it.
	Tick time.Duration
	// Now is the clock, monotonic; time.Now.
	Now func() time.Time
	// Jitter returns a number in [0, 1).
	Jitter func() float64

	// timer begins the wait of a poll; tests end waits themselves.
	timer func(d time.Duration) (end <-chan time.Time, stop func() bool)
}

// Scheduler places tasks on nodes. It is safe for concurrent use; its methods
// work on the leader and fail with CodeUnavailable elsewhere.
type Scheduler struct {
	tasks *db.TaskManifest
	log   *slog.Logger
	opts  Options
	// classOf is the manifest's Class; tests without a state have their own.
	classOf func(id int64) db.Class

	mu   sync.Mutex
	st   *state // nil unless this member leads
	stop context.CancelFunc
}

// New returns a scheduler and attaches it to the manifest, which runs it on the
// leader.
func New(tasks *db.TaskManifest, log *slog.Logger) *Scheduler {
	return NewWithOptions(tasks, log, Options{})
}

// NewWithOptions is New with other durations.
func NewWithOptions(tasks *db.TaskManifest, log *slog.Logger, opts Options) *Scheduler {
	s := &Scheduler{tasks: tasks, log: log, opts: opts.withDefaults(), classOf: tasks.Class}
	tasks.SetPlanner(s)
	return s
}

// Lead implements db.Planner. Each node that the state holds for healthy is
// granted one full lease from now: how much of the old one is left is not known.
func (s *Scheduler) Lead(ctx context.Context, read db.Reader) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := newState(s, read)
	if err := st.load(ctx); err != nil {
		return err
	}
	s.st = st
	ctx, s.stop = context.WithCancel(ctx)
	go s.watch(ctx)
	return nil
}

// Resign implements db.Planner: the polls that wait are sent to the next leader.
func (s *Scheduler) Resign() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop()
	for _, n := range s.st.nodes {
		for _, p := range slices.Clone(n.waiting) {
			p.finish(controlplane.Errorf(controlplane.CodeUnavailable, "this member no longer leads: poll again"))
		}
	}
	s.st = nil
}

// Plan implements db.Planner.
func (s *Scheduler) Plan(g *db.Group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.st
	if st.disturbed { // and could not be read anew yet: no decision can rest on it
		return
	}
	if st.collecting {
		st.collect(g)
	}
	st.handOut(g)
	st.place(g)
}

// Committed implements db.Planner: polls that were given something are answered.
func (s *Scheduler) Committed(g *db.Group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.st
	st.noteQueued(g)
	for _, p := range st.answers {
		st.resolve(p)
	}
	more := st.more || len(st.resettled) > 0
	resettled := st.resettled
	st.endGroup()
	st.resettle(resettled)
	if st.disturbed {
		more = s.reload() || more
	}
	if more {
		s.tasks.Kick()
	}
}

// Wants implements db.Hungry.
func (s *Scheduler) Wants() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.st.wants()
}

// Disturbed implements db.Planner: the copy is read anew once the group that
// changed the state past it is committed.
func (s *Scheduler) Disturbed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.st.disturbed, s.st.works = true, newWorks()
}

// QueueChanged implements db.QueueFollower: settings are taken over once the group is
// committed.
func (s *Scheduler) QueueChanged(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.st.resettled = append(s.st.resettled, name)
}

// reload reads the copy anew, when nothing is in flight, and reports whether it
// could.
func (s *Scheduler) reload() bool {
	st := newState(s, s.st.read)
	st.anchorMs, st.anchor = s.st.anchorMs, s.st.anchor
	if err := st.load(context.Background()); err != nil {
		s.log.Error("cannot read the state: placing stops until it can be read", "error", err)
		return false
	}
	st.inherit(s.st)
	s.st = st
	return true
}

func (o Options) withDefaults() Options {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&o.Lease, controlplane.LeaseDuration)
	def(&o.Gather, o.Lease/60)
	def(&o.AssignTimeout, 10*time.Second)
	def(&o.PollGrace, 3*time.Second)
	def(&o.RetryBase, time.Second)
	def(&o.RetryMax, 5*time.Minute)
	def(&o.Tick, 100*time.Millisecond)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Jitter == nil {
		o.Jitter = jitter
	}
	if o.timer == nil {
		o.timer = func(d time.Duration) (<-chan time.Time, func() bool) {
			t := time.NewTimer(d)
			return t.C, t.Stop
		}
	}
	return o
}
