package scheduler

import (
	"context"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// check compares the copy in memory with the state and looks whether what must
// always hold holds. Only when nothing is under way.
func (s *session) check() {
	s.t.Helper()
	s.s.mu.Lock()
	problems := s.s.st.compareWithState(s.ctx)
	problems = append(problems, s.s.st.idleProblems()...)
	problems = append(problems, s.s.st.eligibilityProblems()...)
	problems = append(problems, s.s.keptProblems(s.ctx)...)
	s.s.mu.Unlock()
	for name, sql := range forbidden {
		for _, row := range s.rows(sql) {
			problems = append(problems, name+": "+row)
		}
	}
	for _, p := range problems {
		s.t.Error(p)
	}
	if s.t.Failed() {
		s.t.FailNow()
	}
}

// forbidden are queries that must find nothing.
var forbidden = map[string]string{
	"an end that is noted twice": `SELECT seq FROM task_ends GROUP BY seq HAVING count(*) > 1`,
	"an end that is not noted, or no end": `SELECT id, status FROM tasks WHERE (end_time_ms IS NOT NULL) <> (seq IN (SELECT seq FROM task_ends))
		AND end_time_ms IS NOT 1 -- by which transcripts end some past the manifest`,
	"over capacity": `SELECT node_id, running_tasks, slots, reserved_cpu_millis, cpu_millis, reserved_memory_bytes, memory_bytes, reserved_gpus, gpus
		FROM v_node_load
		WHERE (running_tasks > slots OR reserved_cpu_millis > cpu_millis OR reserved_memory_bytes > memory_bytes
		  OR reserved_disk_bytes > disk_bytes OR reserved_gpus > gpus)
		  AND node_id NOT LIKE '%shrinks%'`,
	"over capacity of what has a name": `SELECT t.node_id, j.key, sum(j.value) AS reserved
		FROM tasks t JOIN task_classes c ON c.id = t.class_id, json_each(c.custom) j JOIN nodes n ON n.id = t.node_id
		WHERE t.status IN ('ASSIGNED', 'RUNNING') AND t.node_id NOT LIKE '%shrinks%'
		GROUP BY t.node_id, j.key HAVING reserved > coalesce(n.custom ->> ('$."' || j.key || '"'), 0)`,
	"a device that will not do": `SELECT t.id, d.value FROM tasks t, json_each(t.gpu_devices) d
		JOIN node_gpus g ON g.node_id = t.node_id AND g.device_index = d.value
		WHERE t.status IN ('ASSIGNED', 'RUNNING') AND t.node_id NOT LIKE '%shrinks%' AND NOT EXISTS (
		  SELECT 1 FROM v_eligible_gpus e WHERE e.class_id = t.class_id AND e.node_id = g.node_id AND e.device_index = g.device_index)`,
	"a device without its task": `SELECT g.node_id, g.device_index, g.task_seq FROM node_gpus g
		WHERE g.task_seq IS NOT NULL AND NOT EXISTS (
		  SELECT 1 FROM tasks t, json_each(t.gpu_devices) d
		  WHERE t.seq = g.task_seq AND t.node_id = g.node_id AND t.status IN ('ASSIGNED', 'RUNNING') AND d.value = g.device_index)`,
	"a task without its device": `SELECT t.id, d.value FROM tasks t, json_each(t.gpu_devices) d
		JOIN node_gpus g ON g.node_id = t.node_id AND g.device_index = d.value
		WHERE t.status IN ('ASSIGNED', 'RUNNING') AND g.task_seq IS NOT t.seq`,
	"a device with two holders": `SELECT t.node_id, d.value, group_concat(t.id) FROM tasks t, json_each(t.gpu_devices) d
		WHERE t.status IN ('ASSIGNED', 'RUNNING') GROUP BY t.node_id, d.value HAVING count(*) > 1`,
	"a number of devices other than asked for": `SELECT t.id, t.gpu_devices, c.gpus FROM tasks t JOIN task_classes c ON c.id = t.class_id
		WHERE t.status IN ('ASSIGNED', 'RUNNING') AND coalesce(json_array_length(t.gpu_devices), 0) <> c.gpus`,
	"devices of a task that is on no node": `SELECT id, status FROM tasks WHERE status NOT IN ('ASSIGNED', 'RUNNING') AND gpu_devices IS NOT NULL`,
	"attempts with gaps": `SELECT t.id, t.attempt, count(a.attempt), max(a.attempt) FROM tasks t LEFT JOIN attempts a ON a.task_seq = t.seq
		GROUP BY t.seq HAVING count(a.attempt) <> t.attempt OR coalesce(max(a.attempt), 0) <> t.attempt OR count(DISTINCT a.attempt) <> t.attempt`,
	"a live attempt that is not the only and last one": `SELECT a.task_id, a.attempt FROM attempts a JOIN tasks t ON t.seq = a.task_seq
		WHERE a.status IN ('ASSIGNED', 'RUNNING') AND (a.attempt <> t.attempt OR a.status <> t.status)`,
	"failures that do not add up": `SELECT t.id, t.failed_attempts, t.max_attempts FROM tasks t
		WHERE t.failed_attempts <> (SELECT count(*) FROM attempts a WHERE a.task_seq = t.seq AND a.status = 'FAILED') OR t.failed_attempts > t.max_attempts`,
	"losses that do not add up": `SELECT t.id, t.lost_attempts, t.max_lost_attempts FROM tasks t
		WHERE t.lost_attempts <> (SELECT count(*) FROM attempts a WHERE a.task_seq = t.seq AND a.status = 'LOST') OR t.lost_attempts > t.max_lost_attempts`,
	"times that contradict the status": `SELECT id, status FROM tasks WHERE
		(end_time_ms IS NOT NULL) <> (status IN ('COMPLETED', 'FAILED', 'CANCELLED'))
		OR (status = 'RUNNING' AND start_time_ms IS NULL) OR (status = 'ASSIGNED' AND (assign_time_ms IS NULL OR start_time_ms IS NOT NULL))
		OR (status = 'PENDING' AND (assign_time_ms IS NOT NULL OR start_time_ms IS NOT NULL))
		OR (status <> 'PENDING' AND retry_time_ms IS NOT NULL)`,
	"a failure that is not the last resort": `SELECT id FROM tasks t WHERE status = 'FAILED' AND failed_attempts < max_attempts AND lost_attempts < max_lost_attempts
		AND coalesce(retry_policy, '') NOT LIKE '%exit_codes%'
		AND NOT EXISTS (SELECT 1 FROM events e WHERE e.task_seq = t.seq AND e.type = 'TASK_FAILED' AND e.reason IN ('permanent', 'queue_timeout'))`,
	"a concurrency key over its limit": `SELECT concurrency_key, count(*), max(max_concurrency) FROM tasks
		WHERE status IN ('ASSIGNED', 'RUNNING') AND concurrency_key IS NOT NULL GROUP BY concurrency_key HAVING count(*) > max(max_concurrency)`,
	"a deadline of what has started": `SELECT id, status FROM tasks WHERE queue_deadline_ms IS NOT NULL AND (status = 'RUNNING' OR queue_timeout_ms IS NULL)`,
	"progress of what never ran": `SELECT g.seq, g.attempt FROM attempt_progress g LEFT JOIN attempts a ON a.task_seq = g.seq AND a.attempt = g.attempt
		WHERE a.start_time_ms IS NULL OR g.time_ms < a.start_time_ms OR g.time_ms > a.end_time_ms`,
	"stopped for want of progress, and had no such timeout": `SELECT t.id, a.attempt FROM attempts a JOIN tasks t ON t.seq = a.task_seq
		WHERE a.error LIKE 'NO_PROGRESS%' AND (t.no_progress_timeout_ms IS NULL OR a.status <> 'FAILED'
		  OR a.end_time_ms - a.start_time_ms < t.no_progress_timeout_ms)`,
	"a task on a node that is not heard": `SELECT t.id, n.id, n.status FROM tasks t LEFT JOIN nodes n ON n.id = t.node_id
		WHERE t.status IN ('ASSIGNED', 'RUNNING') AND n.status IS NOT 'HEALTHY'`,
}

// compareWithState reads the state anew and tells where the copy differs.
func (st *state) compareWithState(ctx context.Context) (problems []string) {
	fresh := newState(st.s, st.read)
	if err := fresh.load(ctx); err != nil {
		return []string{err.Error()}
	}
	differ := func(what string, have, want any) {
		if h, w := fmt.Sprintf("%+v", have), fmt.Sprintf("%+v", want); h != w {
			problems = append(problems, fmt.Sprintf("%s: in memory\n%s\nin the state\n%s", what, h, w))
		}
	}
	differ("nodes", sortedKeys(st.nodes), sortedKeys(fresh.nodes))
	differ("held", sortedKeys(st.held), sortedKeys(fresh.held))
	differ("queues", st.queueFacts(), fresh.queueFacts())
	differ("keys", st.keys, fresh.keys)
	for id, n := range st.nodes {
		if f := fresh.nodes[id]; f != nil {
			differ("node "+id, n.facts(), f.facts())
		}
	}
	for _, r := range fresh.retries { // the other way round, those cancelled are looked at when due
		if !slices.ContainsFunc(st.retries, func(q retry) bool { return q.seq == r.seq && q.stream == r.stream }) {
			problems = append(problems, fmt.Sprintf("retry %v is not in memory", r))
		}
	}
	_ = st.read(ctx, func(c db.Conn) error {
		for k := range fresh.streams {
			if st.streams[k] == nil {
				problems = append(problems, fmt.Sprintf("stream %v is not in memory", k))
			}
		}
		for k, s := range st.streams {
			all, err := db.Heads(c, k, math.MaxInt32, 0, math.MaxInt32)
			if err != nil {
				return err
			}
			if len(s.heads) > len(all) || s.eof && len(s.heads) != len(all) {
				problems = append(problems, fmt.Sprintf("stream %v: %d heads in memory, %d in the state, eof %v", k, len(s.heads), len(all), s.eof))
				continue
			}
			differ(fmt.Sprintf("heads of %v", k), s.heads, all[:len(s.heads)])
			if behind := all[len(s.heads):]; len(behind) > 0 && !s.last.before(placeOf(behind[0])) {
				problems = append(problems, fmt.Sprintf("stream %v: %v is behind memory, which says to reach to %v", k, behind[0], s.last))
			}
		}
		return nil
	})
	return problems
}

// queueFacts are what memory says of queues that the state says too.
func (st *state) queueFacts() (out string) {
	for _, name := range sortedKeys(st.queues) {
		if q := st.queues[name]; q.stored || q.tasks > 0 {
			out += fmt.Sprintln(name, q.QueueSettings, q.tasks, q.used, q.stored)
		}
	}
	return out
}

// facts are what the copy of a node says that the state says too.
func (n *node) facts() string {
	out := fmt.Sprintln(n.session, n.status, n.schedulable, n.renewal, n.usage, n.slotsUsed, n.used, slices.Sorted(maps.Keys(n.gpuTaken)))
	out += fmt.Sprintln(n.polling, n.drainMs, n.deadlineMs, n.drainTasks, n.terminatingMs, n.lapses, n.lapseMs, n.probationMs)
	spec := n.spec
	spec.Labels = nil
	out += fmt.Sprintf("%+v\n", spec)
	for _, id := range sortedKeys(n.attempts) {
		out += fmt.Sprintf("%+v\n", n.attempts[id].HeldTask)
	}
	return out
}

// idleProblems tells what the structures of placement get wrong, when no pass is
// called for: a task that could be placed, a heap that lacks a node, something
// kept for nothing.
func (st *state) idleProblems() (problems []string) {
	complain := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	st.at = st.now()
	for k, s := range st.streams {
		if s.eof && len(s.heads) == 0 {
			complain("stream %v is kept though empty", k)
		}
		if len(s.fresh) > 0 || s.isUsed {
			complain("stream %v keeps what belongs to a group", k)
		}
		head := st.headInState(k)
		if !st.admits(s) {
			head = ""
		}
		for _, n := range st.byNum {
			if head != "" && s.class.score(st, n) <= full {
				complain("%s could run on %s", head, n.id)
			}
		}
	}
	streams := map[*queue]int{}
	for k, s := range st.streams {
		if streams[s.queue]++; s.queue != st.queues[k.Queue] || k != st.fold(k) {
			complain("stream %v is of another queue %q", k, s.queue.name)
		}
	}
	for k, s := range st.streams {
		if _, awake := s.class.awake[s]; !awake && (k.Key == "" || st.keys[k.Key] < k.MaxConcurrency || !slices.Contains(st.asleep[k.Key], s)) {
			complain("stream %v sleeps, %d with its key are held", k, st.keys[k.Key])
		}
	}
	for name, q := range st.queues {
		if q.streams != streams[q] || len(q.ready) > 0 || !q.stored && q.tasks == 0 && q.streams == 0 {
			complain("queue %s: counts %d streams of %d, %d ready, %d tasks, stored %v", name, q.streams, streams[q], len(q.ready), q.tasks, q.stored)
		}
	}
	for k, c := range st.classes {
		if _, busy := st.busy[c]; busy != (len(c.streams) > 0) {
			complain("class %v: busy is %v with %d streams", k, busy, len(c.streams))
		}
		if c.built && c.seen >= st.touches.base {
			problems = append(problems, c.problems(st)...)
		}
	}
	for _, n := range st.byNum {
		if n.watched != slices.Contains(st.watched, n) || n.needsWatch() && !n.watched {
			complain("node %s: watched is %v, and it has %d news, drain %d, termination %d, probation %d", n.id, n.watched, len(n.news), n.drainMs, n.terminatingMs, n.probationMs)
		}
		if end := n.renewed.Add(st.s.opts.Lease); n.isHealthy() && end.Before(st.firstLapse) {
			complain("the lease of node %s may lapse at %v, and no lease is looked at before %v", n.id, end, st.firstLapse)
		}
		for a := range n.news {
			if n.attempts[a.TaskID] != a {
				complain("node %s has news of %s, which it does not hold", n.id, a.TaskID)
			}
		}
		for _, p := range n.waiting {
			if p.resolved || p.node != n || p.inFlight || len(p.given) > 0 {
				complain("node %s keeps a poll that does not wait: %+v", n.id, p)
			}
		}
	}
	for _, n := range st.watched {
		if st.nodes[n.id] != n {
			complain("node %s is watched, and is not there", n.id)
		}
	}
	if now := st.addUp(); !reflect.DeepEqual(*st.fleet(), now) {
		complain("the fleet is taken for %+v, and is %+v", *st.fleet(), now)
	}
	if len(st.answers) > 0 || len(st.gone) > 0 || len(st.replaced) > 0 || len(st.rewinds) > 0 {
		complain("something of a group is kept: %+v", st.groupState)
	}
	return problems
}

// headInState is the first pending task of a stream.
func (st *state) headInState(k db.Stream) (id string) {
	_ = st.read(context.Background(), func(c db.Conn) error {
		heads, err := db.Heads(c, k, math.MaxInt32, 0, 1)
		if len(heads) > 0 {
			id = heads[0].TaskID
		}
		return err
	})
	return id
}

func (c *class) problems(st *state) (problems []string) {
	missed := map[*node]bool{}
	for _, n := range st.touches.log[c.seen-st.touches.base:] {
		missed[n] = true
	}
	for i, e := range c.list {
		o := c.offers[e.num]
		if int(c.pos[e.num]) != i+1 || o.node != st.byNum[e.num] {
			problems = append(problems, fmt.Sprintf("class %d: %s is at %d, noted at %d", c.id, o.node.id, i, c.pos[e.num]-1))
		}
		if i > 0 && c.less(&e, &c.list[(i-1)/arity]) {
			problems = append(problems, fmt.Sprintf("class %d is no heap at %d", c.id, i))
		}
		if load := c.score(st, o.node); (load < e.load || load != e.load && load <= full && c.placement == controlplane.PlacementBinpack) && !missed[o.node] {
			problems = append(problems, fmt.Sprintf("class %d: %s has load %d, which is below %d", c.id, o.node.id, load, e.load))
		}
	}
	for _, n := range st.byNum {
		in := n.num < len(c.pos) && c.pos[n.num] > 0
		if !in && !missed[n] && c.score(st, n) <= full {
			problems = append(problems, fmt.Sprintf("class %d lacks node %s", c.id, n.id))
		}
	}
	return problems
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
