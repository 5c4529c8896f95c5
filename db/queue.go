package db

import (
	"context"
	"errors"
	"time"

	"github.com/raft-control-plane/control-plane"
)

// CreateQueue gives settings to a queue that has none and returns it. It is
// idempotent: settings that the queue has already are no error. CodeExists if it has
// others, CodeExhausted if there are MaxQueues.
func (m *TaskManifest) CreateQueue(ctx context.Context, name string, s controlplane.QueueSettings) (*controlplane.Queue, error) {
	created, err := m.changeQueueLimits(ctx, name, sqlQueueInsert, s, func(nowMs int64) []Value {
		return append(queueArgs(name, s, nowMs), Int(controlplane.MaxQueues))
	})
	if err != nil {
		return nil, err
	}
	q, err := m.GetQueue(ctx, name, ReadOptions{Level: Stale})
	switch {
	case created:
		return q, err
	case controlplane.CodeOf(err) == controlplane.CodeNotFound || err == nil && q.Implicit:
		return nil, controlplane.Errorf(controlplane.CodeExhausted, "%d queues have settings, which is the most: delete one that is not used", controlplane.MaxQueues)
	case err == nil && !q.QueueSettings.Equal(&s):
		return nil, &controlplane.Error{Code: controlplane.CodeExists, Field: "queue.name",
			Message: "queue " + name + " has settings, and other ones: update it, or choose another name"}
	}
	return q, err
}

// UpdateQueue changes those settings of a queue that fields names, and returns it.
// CodeNotFound if it has no settings.
func (m *TaskManifest) UpdateQueue(ctx context.Context, name string, s controlplane.QueueSettings, fields controlplane.QueueField) (*controlplane.Queue, error) {
	changed, err := m.changeQueueLimits(ctx, name, sqlQueueUpdate, s, func(nowMs int64) []Value {
		return append(queueArgs(name, s, nowMs), Int(int64(fields)))
	})
	switch {
	case err != nil:
		return nil, err
	case !changed:
		return nil, queueNotFound(name, "create it")
	}
	return m.GetQueue(ctx, name, ReadOptions{Level: Stale}) // this member leads and has applied it
}

// DeleteQueue takes the settings of a queue away. CodeNotFound if it has none,
// CodePrecondition if tasks of it wait or run.
func (m *TaskManifest) DeleteQueue(ctx context.Context, name string) error {
	deleted, err := m.changeQueue(ctx, name, func(int64) Step { return Step{SQL: sqlQueueDelete, Args: []Value{Str(name)}} })
	if err != nil || deleted {
		return err
	}
	q, err := m.GetQueue(ctx, name, ReadOptions{Level: Stale})
	switch {
	case err != nil:
		return err
	case q.Implicit:
		return queueNotFound(name, "there is nothing to delete")
	}
	return controlplane.Errorf(controlplane.CodePrecondition,
		"queue %s has %d tasks that wait and %d that run: pause it and cancel them, or let them end", name, q.PendingTasks, q.RunningTasks)
}

// QueueFollower is a Planner that is told whose settings have changed, and need not be
// told that it is disturbed.
type QueueFollower interface {
	QueueChanged(name string)
}

// changeQueue commits one change of the settings and tells whether it took effect.
func (m *TaskManifest) changeQueue(ctx context.Context, name string, step func(nowMs int64) Step) (changed bool, err error) {
	err = m.pastPlanner(ctx, func(g *Group) *Op { return &Op{Steps: []Step{step(g.Now)}} }, func(p Planner) {
		if f, ok := p.(QueueFollower); ok {
			f.QueueChanged(name)
		} else {
			p.Disturbed()
		}
	})
	if controlplane.CodeOf(err) == controlplane.CodePrecondition {
		return false, nil
	}
	return err == nil, err
}

// changeQueueLimits is changeQueue for a statement that may know limits on disk and on
// custom resources, which are its last arguments.
func (m *TaskManifest) changeQueueLimits(ctx context.Context, name string, sql versions, s controlplane.QueueSettings, args func(nowMs int64) []Value) (changed bool, err error) {
	known, err := m.knowsQueueLimits(ctx)
	if err != nil {
		return false, err
	}
	l := &s.Limits
	if !known && (l.DiskBytes.Set || len(l.Custom) > 0) {
		return false, &controlplane.Error{Code: controlplane.CodeUnavailable, Field: "queue.limits", RetryAfter: migrateInterval,
			Message: "limits on disk and on custom resources have to wait until all members run a release that knows them: upgrade those that do not"}
	}
	return m.changeQueue(ctx, name, func(nowMs int64) Step {
		step := Step{SQL: sql.of(known), Args: args(nowMs)}
		if known {
			step.Args = append(step.Args, limitValue(l.DiskBytes), jsonCounts(l.Custom))
		}
		return step
	})
}

// knowsQueueLimits reports whether queues have limits on disk and on custom resources:
// the migration may wait for members of an earlier release.
func (m *TaskManifest) knowsQueueLimits(ctx context.Context) (known bool, err error) {
	err = m.readNow(ctx, func(c Conn) (err error) {
		known, err = knowsQueueLimits(c)
		return err
	})
	return known, err
}

func knowsQueueLimits(c Conn) (known bool, err error) {
	err = each(c, sqlQueueLimitsKnown, func(Cursor) { known = true })
	return known, err
}

// collectQueues is collect for a statement that may know them.
func collectQueues(c Conn, sql versions, args ...Value) ([]*controlplane.Queue, error) {
	known, err := knowsQueueLimits(c)
	if err != nil {
		return nil, err
	}
	return collect(c, scanQueue(known), sql.of(known), args...)
}

// GetQueue returns a queue that has settings or live tasks. CodeNotFound if there is
// none.
func (m *TaskManifest) GetQueue(ctx context.Context, name string, opts ...ReadOptions) (q *controlplane.Queue, err error) {
	err = m.read(ctx, opts, func(c Conn) error {
		all, err := collectQueues(c, sqlQueueGet, Str(name))
		if len(all) > 0 {
			q = all[0]
		}
		return err
	})
	if err == nil && q == nil {
		err = queueNotFound(name, "check the name, or list the queues")
	}
	return q, err
}

// ListQueues returns at most limit queues that have settings or live tasks, by name,
// after the one given.
func (m *TaskManifest) ListQueues(ctx context.Context, after string, limit int, opts ...ReadOptions) (all []*controlplane.Queue, err error) {
	err = m.read(ctx, opts, func(c Conn) (err error) {
		all, err = collectQueues(c, sqlQueueList, Str(after), Int(int64(limit)))
		return err
	})
	return all, err
}

// QueueSettings returns the settings of all queues that have some, by name.
func QueueSettings(c Conn) (map[string]controlplane.QueueSettings, error) {
	known, err := knowsQueueLimits(c)
	if err != nil {
		return nil, err
	}
	all := map[string]controlplane.QueueSettings{}
	var bad error
	err = each(c, sqlQueueSettings.of(known), func(r Cursor) {
		s := scanner{r: r}
		name := s.text()
		q := s.queueSettings()
		if known {
			s.moreLimits(&q.Limits)
		}
		all[name], bad = q, errors.Join(bad, s.err)
	})
	return all, errors.Join(err, bad)
}

func queueNotFound(name, next string) error {
	return &controlplane.Error{Code: controlplane.CodeNotFound, Field: "name", Message: "there is no queue " + name + " with settings: " + next}
}

func queueArgs(name string, s controlplane.QueueSettings, nowMs int64) []Value {
	return []Value{
		Str(name), Int(int64(s.Weight)), Bool(s.Paused), limitValue(s.Limits.Tasks), limitValue(s.Limits.CPUMillis),
		limitValue(s.Limits.MemoryBytes), limitValue(s.Limits.GPUs), Str(string(s.Placement)), OptInt(s.AgeingInterval.Milliseconds()), Int(nowMs),
	}
}

func limitValue(l controlplane.QueueLimit) Value {
	if !l.Set {
		return Value{}
	}
	return Int(l.Max)
}

func scanQueue(limitsKnown bool) func(r Cursor) (*controlplane.Queue, error) {
	return func(r Cursor) (*controlplane.Queue, error) {
		s := scanner{r: r}
		q := s.queue()
		if limitsKnown {
			s.moreLimits(&q.Limits)
			q.Used.DiskBytes, q.Used.Custom = s.int(), s.counts()
		}
		return q, s.err
	}
}

func (s *scanner) queue() *controlplane.Queue {
	q := &controlplane.Queue{Name: s.text(), QueueSettings: s.queueSettings()}
	q.Implicit, q.PendingTasks, q.RunningTasks = s.int() != 0, s.int(), s.int()
	q.Used = controlplane.Resources{CPUMillis: s.int(), MemoryBytes: s.int(), GPUs: int32(s.int())}
	q.DominantShareMillionths = s.int()
	q.CreateTime, q.UpdateTime = s.stampTime(), s.stampTime()
	return q
}

func (s *scanner) queueSettings() (q controlplane.QueueSettings) {
	q.Weight, q.Paused = int32(s.int()), s.int() != 0
	q.Limits = controlplane.QueueLimits{Tasks: s.limit(), CPUMillis: s.limit(), MemoryBytes: s.limit(), GPUs: s.limit()}
	q.Placement, q.AgeingInterval = controlplane.Placement(s.text()), time.Duration(s.int())*time.Millisecond
	return q
}

func (s *scanner) moreLimits(l *controlplane.QueueLimits) {
	l.DiskBytes, l.Custom = s.limit(), s.counts()
}

// stampTime is the zero time for what a migration has made.
func (s *scanner) stampTime() time.Time {
	if ms := s.int(); ms > 0 {
		return fromMs(ms)
	}
	return time.Time{}
}

func (s *scanner) limit() controlplane.QueueLimit {
	i := s.next()
	if s.r.IsNull(i) {
		return controlplane.QueueLimit{}
	}
	return controlplane.QueueLimit{Set: true, Max: s.r.Int(i)}
}
