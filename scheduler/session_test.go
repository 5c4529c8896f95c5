package scheduler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// session runs the commands of transcripts.
type session struct {
	*rig
	workers map[string]*worker
	polls   []*outstanding
}

// worker is what a test knows of a node.
type worker struct {
	id      string
	session int // counts from 1
	spec    controlplane.NodeSpec
}

func (w *worker) sessionID() string { return fmt.Sprintf("%s.%d", w.id, w.session) }

// outstanding is a poll that waits.
type outstanding struct {
	name   string
	poll   *poll
	hangUp context.CancelFunc
	result chan func() string
}

func newSession(t testing.TB) *session {
	s := &session{rig: newRig(t), workers: map[string]*worker{}}
	s.start()
	return s
}

// run runs a command and returns what it and the polls that it releases answer.
func (s *session) run(where, input string) string {
	s.t.Helper()
	lines := strings.Split(input, "\n")
	var finish []func() string
	begin := func() {
		for _, line := range lines {
			finish = append(finish, s.begin(where, line))
		}
	}
	if lines[0] == "together" {
		lines = lines[1:]
		s.together(begin)
	} else {
		begin()
	}
	out := ""
	for i, f := range finish {
		answer := f()
		if len(finish) > 1 && answer != "" {
			answer = strings.Fields(lines[i])[0] + ":\n" + answer
		}
		out += answer
	}
	s.settle()
	out += s.released()
	s.check()
	return out
}

// released are the answers of the polls that wait no longer.
func (s *session) released() (out string) {
	s.polls = slices.DeleteFunc(s.polls, func(o *outstanding) bool {
		if !o.poll.isDone() {
			return false
		}
		out += o.name + ":\n" + (<-o.result)()
		return true
	})
	return out
}

func (p *poll) isDone() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// command is a line of a transcript: a name, words, and options.
type command struct {
	s     *session
	where string
	name  string
	words []string
	opts  map[string]string
}

// begin queues what a command does, and returns what waits for its answer.
func (s *session) begin(where, line string) func() string {
	fields := strings.Fields(line)
	c := &command{s: s, where: where, name: fields[0], opts: map[string]string{}}
	for _, f := range fields[1:] {
		if k, v, ok := strings.Cut(f, "="); ok && !strings.Contains(k, "/") && c.name != "sql" {
			c.opts[k] = v
		} else {
			c.words = append(c.words, f)
		}
	}
	run := commands[c.name]
	if run == nil {
		c.fatalf("there is no such command")
	}
	return run(c)
}

var commands map[string]func(c *command) func() string

func init() {
	commands = map[string]func(c *command) func() string{
		"node": (*command).node, "restart-session": (*command).restart, "heartbeat": (*command).heartbeat,
		"poll": (*command).poll, "report": (*command).report, "submit": (*command).submit, "cancel": (*command).cancel,
		"hangup": (*command).hangUp, "timeout": (*command).timeout, "advance": (*command).advance, "clock": (*command).advance, "tick": (*command).tick,
		"new-leader": (*command).newLeader, "reopen": (*command).reopen, "assign": (*command).assign, "renew": (*command).renew, "complete": (*command).complete,
		"register": (*command).register, "sql": (*command).sql,
		"tasks": (*command).tasks, "nodes": (*command).nodes, "attempts": (*command).attempts, "events": (*command).events,
	}
}

func (c *command) fatalf(format string, args ...any) {
	c.s.t.Helper()
	c.s.t.Fatalf("%s: %s: %s", c.where, c.name, fmt.Sprintf(format, args...))
}

func (c *command) word(i int) string {
	if i >= len(c.words) {
		c.fatalf("needs %d words", i+1)
	}
	return c.words[i]
}

func (c *command) int(name string, otherwise int) int {
	v, ok := c.opts[name]
	if !ok {
		return otherwise
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		c.fatalf("%s=%s: %v", name, v, err)
	}
	return n
}

func (c *command) duration(v string) time.Duration {
	d, err := time.ParseDuration(v)
	if err != nil {
		c.fatalf("%v", err)
	}
	return d
}

func (c *command) list(name string) []string {
	v := strings.Trim(c.opts[name], "[]")
	if v == "" || v == "none" {
		return nil
	}
	return strings.Split(v, ",")
}

// held are attempts such as t1/1,t2/1.
func (c *command) held() (held []controlplane.Attempt) {
	for _, v := range c.list("held") {
		held = append(held, c.attempt(v))
	}
	return held
}

func (c *command) attempt(v string) controlplane.Attempt {
	id, n, _ := strings.Cut(v, "/")
	attempt, err := strconv.Atoi(n)
	if err != nil {
		c.fatalf("%q is no attempt such as t1/1", v)
	}
	return controlplane.Attempt{TaskID: id, Attempt: int32(attempt)}
}

func (c *command) worker() *worker {
	id := c.word(0)
	w := c.s.workers[id]
	if w == nil {
		w = &worker{id: id, session: 1, spec: controlplane.NodeSpec{Slots: 4, Capacity: controlplane.Resources{CPUMillis: 4000, MemoryBytes: 1000}, Exec: true}}
		c.s.workers[id] = w
	}
	return w
}

// as is the session by which a node speaks: its own unless the command says.
func (c *command) as(w *worker) string { return cmp.Or(c.opts["session"], w.sessionID()) }

// spec applies the options of a command to what a node says of itself.
func (c *command) spec(w *worker) *controlplane.NodeSpec {
	w.spec.Slots = int32(c.int("slots", int(w.spec.Slots)))
	w.spec.Capacity.CPUMillis = int64(c.int("cpu", int(w.spec.Capacity.CPUMillis)))
	w.spec.Capacity.MemoryBytes = int64(c.int("mem", int(w.spec.Capacity.MemoryBytes)))
	if v, ok := c.opts["gpus"]; ok {
		w.spec.GPUDevices = c.devices(v)
	}
	if _, ok := c.opts["functions"]; ok {
		w.spec.Functions, w.spec.Exec = c.list("functions"), false
	}
	w.spec.Capacity.GPUs = int32(len(w.spec.GPUDevices))
	spec := w.spec
	spec.GPUDevices = slices.Clone(spec.GPUDevices)
	return &spec
}

// devices are a number of them, or the indexes of each, such as [0,2].
func (c *command) devices(v string) (devices []controlplane.GPUDevice) {
	if !strings.HasPrefix(v, "[") {
		for i := range c.int("gpus", 0) {
			devices = append(devices, controlplane.GPUDevice{Index: int32(i), Model: "H100", MemoryBytes: 80})
		}
		return devices
	}
	for _, i := range c.list("gpus") {
		n, err := strconv.Atoi(i)
		if err != nil {
			c.fatalf("%v", err)
		}
		devices = append(devices, controlplane.GPUDevice{Index: int32(n), Model: "H100", MemoryBytes: 80})
	}
	return devices
}

// node registers a node: node n1 slots=4 cpu=4000 mem=1000 gpus=2 functions=f,g.
func (c *command) node() func() string {
	w := c.worker()
	return c.beat(controlplane.Heartbeat{NodeID: w.id, SessionID: c.as(w), Spec: c.spec(w), Held: c.held()})
}

// restart registers a node under a new session.
func (c *command) restart() func() string {
	w := c.worker()
	w.session++
	return c.node()
}

// heartbeat renews a lease: heartbeat n1 held=t1/1 used_cpu=10.
func (c *command) heartbeat() func() string {
	w := c.worker()
	hb := controlplane.Heartbeat{NodeID: w.id, SessionID: c.as(w), Held: c.held()}
	if c.opts["used_cpu"] != "" || c.opts["used_mem"] != "" {
		hb.Usage = &controlplane.NodeUsage{CPUMillis: int64(c.int("used_cpu", 0)), MemoryBytes: int64(c.int("used_mem", 0))}
	}
	return c.beat(hb)
}

func (c *command) beat(hb controlplane.Heartbeat) func() string {
	b := c.s.s.newBeat(hb)
	c.must(c.s.rig.tasks.Enqueue(b))
	return func() string {
		work, err := b.await(c.s.ctx)
		return c.s.work(work, err, "lease "+work.Lease.String())
	}
}

func (c *command) must(err error) {
	c.s.t.Helper()
	if err != nil {
		c.fatalf("%v", err)
	}
}

// work writes down what a node is told.
func (s *session) work(w controlplane.Work, err error, first ...string) string {
	if err != nil {
		return errorText(err)
	}
	lines := first
	for _, t := range w.Tasks {
		s.checkDelivered(t)
		lines = append(lines, fmt.Sprintf("%s/%d%s", t.ID, t.Attempt, gpuText(t.GPUDevices)))
	}
	for _, stop := range w.Stop {
		lines = append(lines, fmt.Sprintf("stop %s/%d %s", stop.TaskID, stop.Attempt, stop.Reason))
	}
	if len(lines) == 0 {
		lines = []string{"nothing"}
	}
	return strings.Join(lines, "\n") + "\n"
}

// checkDelivered compares a task as a node gets it with the state.
func (s *session) checkDelivered(t *controlplane.Task) {
	stored, err := s.rig.tasks.GetTask(s.ctx, t.ID, db.ReadOptions{Level: db.Stale})
	if err != nil {
		s.t.Errorf("delivered: %v", err)
		return
	}
	if stored.Attempt == t.Attempt && stored.Status == controlplane.TaskRunning && !stored.CancelRequested && !reflect.DeepEqual(stored, t) {
		s.t.Errorf("delivered\n%+v\nstored\n%+v", t, stored)
	}
}

func errorText(err error) string {
	if errors.Is(err, context.Canceled) {
		return "cancelled by the caller\n"
	}
	return fmt.Sprintf("%s: %v\n", strings.ToUpper(string(controlplane.CodeOf(err))), err)
}

func gpuText(gpus []int32) string {
	if len(gpus) == 0 {
		return ""
	}
	return " gpus=" + strings.ReplaceAll(fmt.Sprint(gpus), " ", ",")
}

// poll asks for work: poll n1 max=2 held=t1/1. With as=p1 it waits under that name.
func (c *command) poll() func() string {
	w, s := c.worker(), c.s.s
	p := s.newPoll(c.pollRequest(w))
	c.must(c.s.rig.tasks.Enqueue(p))
	await := func(ctx context.Context) func() string {
		work, err := s.await(ctx, p)
		return func() string { return c.s.work(work, err, c.lease(work)...) }
	}
	if name := c.opts["as"]; name != "" {
		return c.wait(name, p, await)
	}
	return func() string { return await(c.s.ctx)() }
}

func (c *command) pollRequest(w *worker) controlplane.Poll {
	_, complete := c.opts["held"]
	req := controlplane.Poll{NodeID: w.id, SessionID: c.as(w), MaxTasks: c.int("max", 1), Held: c.held(), HeldComplete: complete}
	if c.opts["as"] != "" {
		req.Wait = controlplane.MaxPollWait
	}
	return req
}

// lease tells whether a poll has renewed the lease, if show=lease asks.
func (c *command) lease(w controlplane.Work) []string {
	if c.opts["show"] == "lease" {
		return []string{"lease " + w.Lease.String()}
	}
	return nil
}

// wait lets a poll wait under a name. What it has come to is written down by the
// goroutine of the test.
func (c *command) wait(name string, p *poll, await func(ctx context.Context) func() string) func() string {
	ctx, hangUp := context.WithCancel(c.s.ctx)
	o := &outstanding{name: name, poll: p, hangUp: hangUp, result: make(chan func() string, 1)}
	go func() { o.result <- await(ctx) }()
	c.s.polls = append(c.s.polls, o)
	return func() string {
		c.s.barrier() // it waits from then on
		return ""
	}
}

// outstanding is the poll that a command names, nil if it waits no longer.
func (c *command) outstanding() *outstanding {
	for _, o := range c.s.polls {
		if o.name == c.word(0) {
			return o
		}
	}
	return nil
}

func noPoll() string { return "no such poll waits\n" }

// hangUp ends the call of a poll from the node's side; with when=planned, between a
// pass that concerns it and the commit.
func (c *command) hangUp() func() string {
	o := c.outstanding()
	if o == nil {
		return noPoll
	}
	c.s.polls = slices.DeleteFunc(c.s.polls, func(p *outstanding) bool { return p == o })
	answer := make(chan func() string, 1)
	c.when(o.poll, func() {
		o.hangUp()
		answer <- <-o.result
	})
	return func() string {
		if c.opts["when"] != "" {
			return ""
		}
		return (<-answer)()
	}
}

// timeout ends the wait of a poll.
func (c *command) timeout() func() string {
	o := c.outstanding()
	if o == nil {
		return noPoll
	}
	c.when(o.poll, func() { c.s.s.leave(o.poll, false) })
	return func() string { return "" }
}

func (c *command) when(p *poll, fn func()) {
	if c.opts["when"] != "planned" {
		fn()
		return
	}
	c.s.plan.afterPass(func() bool {
		c.s.s.mu.Lock()
		concerned := p.inFlight || p.node != nil && !p.settled
		c.s.s.mu.Unlock()
		if concerned {
			fn()
		}
		return concerned
	})
}

var statuses = map[string]controlplane.TaskStatus{
	"completed": controlplane.TaskCompleted, "failed": controlplane.TaskFailed, "cancelled": controlplane.TaskCancelled, "released": controlplane.TaskPending,
}

// report reports attempts: report n1 t1/1=failed t2/1=completed error=boom exit=2.
// With max=2 it polls as well.
func (c *command) report() func() string {
	w := c.worker()
	var results []controlplane.Result
	for _, word := range c.words[1:] {
		at, status, _ := strings.Cut(word, "=")
		a := c.attempt(at)
		res := controlplane.Result{TaskID: a.TaskID, Attempt: a.Attempt, Status: statuses[status], Error: c.opts["error"]}
		if res.Status == "" {
			c.fatalf("%q is no outcome", status)
		}
		if _, ok := c.opts["exit"]; ok {
			code := int32(c.int("exit", 0))
			res.ExitCode = &code
		}
		results = append(results, res)
	}
	r := c.s.s.newReport(w.id, c.as(w), results)
	if c.opts["max"] != "" {
		r.poll = c.s.s.newPoll(c.pollRequest(w))
	}
	c.must(c.s.rig.tasks.Enqueue(r))
	await := func(ctx context.Context) func() string {
		if r.poll == nil {
			outcomes, err := r.await(ctx)
			return func() string { return outcomeText(outcomes, err) }
		}
		outcomes, work, err := r.awaitBoth(ctx)
		return func() string {
			if err != nil {
				return errorText(err)
			}
			return outcomeText(outcomes, nil) + c.s.work(work, nil)
		}
	}
	if c.opts["as"] != "" && r.poll != nil {
		return c.wait(c.opts["as"], r.poll, await)
	}
	return func() string { return await(c.s.ctx)() }
}

func outcomeText(outcomes []controlplane.ReportOutcome, err error) (out string) {
	if err != nil {
		return errorText(err)
	}
	for _, o := range outcomes {
		if o.Err != nil {
			out += errorText(o.Err)
		} else {
			out += string(o.Status) + "\n"
		}
	}
	return out
}

// submit stores tasks of the same kind in one call:
// submit t1 t2 queue=q priority=5 cpu=100 mem=10 gpus=1 function=f max_attempts=3 max_lost=2.
func (c *command) submit() func() string {
	var tasks []*controlplane.Task
	for _, id := range c.words {
		t := execTask(id)
		t.Queue, t.Priority, t.RequestID, t.Name = c.opts["queue"], int32(c.int("priority", 0)), c.opts["request"], c.opts["name"]
		t.Resources = controlplane.Resources{CPUMillis: int64(c.int("cpu", 0)), MemoryBytes: int64(c.int("mem", 0)), GPUs: int32(c.int("gpus", 0))}
		t.MaxAttempts, t.MaxLostAttempts = int32(c.int("max_attempts", 0)), int32(c.int("max_lost", 0))
		if f := c.opts["function"]; f != "" {
			t.Exec, t.Function = nil, &controlplane.Function{Name: f, Payload: []byte(`{"x":1}`)}
		}
		tasks = append(tasks, t)
	}
	ctx, done := c.s.queued(), make(chan string, 1)
	go func() {
		outcomes, err := c.s.rig.tasks.AddTasks(ctx, tasks)
		out := ""
		for _, o := range outcomes {
			if o.Err != nil {
				out += errorText(o.Err)
			} else {
				out += taskText(o.Task)
			}
		}
		if err != nil {
			out = errorText(err)
		}
		done <- out
	}()
	<-ctx.yes
	return func() string { return <-done }
}

// item is a part of a group that a test makes by itself.
type item struct {
	prepare func(g *db.Group)
	done    chan error
}

func (i *item) Prepare(g *db.Group)      { i.prepare(g) }
func (i *item) Finish(err error)         { i.done <- err }
func (i *item) Weight() (ops, bytes int) { return 1, 64 }
func (c *command) enqueue(prepare func(g *db.Group)) *item {
	i := &item{prepare: prepare, done: make(chan error, 1)}
	c.must(c.s.rig.tasks.Enqueue(i))
	return i
}

// cancel cancels a task, as the manifest does.
func (c *command) cancel() func() string {
	id := c.word(0)
	t, err := c.s.rig.tasks.GetTask(c.s.ctx, id)
	if err != nil || t.Status.Final() {
		return func() string { return c.s.get(id) }
	}
	i := c.enqueue(func(g *db.Group) {
		if !c.s.plan.Cancel(g, t) {
			h := db.Held{Seq: t.Seq, TaskID: id, Attempt: t.Attempt}
			g.Add(db.CancelWaitingOp(h, g.Now), nil)
			g.Add(db.CancelRunningOp(h), nil)
		}
	})
	return func() string {
		c.must(<-i.done)
		return c.s.get(id)
	}
}

func (s *session) get(id string) string {
	t, err := s.rig.tasks.GetTask(s.ctx, id)
	if err != nil {
		return errorText(err)
	}
	return taskText(t)
}

// advance moves the clock, and has what is due taken up; clock only moves it.
func (c *command) advance() func() string {
	c.s.rig.advance(c.duration(c.word(0)))
	if c.name == "advance" {
		c.s.rig.tick()
	}
	return func() string { return "" }
}

// tick has what is due taken up.
func (c *command) tick() func() string {
	i := c.enqueue(func(*db.Group) {
		c.s.s.mu.Lock()
		defer c.s.s.mu.Unlock()
		c.s.s.st.collecting = true
	})
	return func() string {
		c.must(<-i.done)
		return ""
	}
}

// newLeader ends the term and begins another, with nothing but the state.
func (c *command) newLeader() func() string {
	c.s.resign()
	c.s.lead()
	return func() string { return "" }
}

// reopen closes the engine and opens it on the same directory.
func (c *command) reopen() func() string {
	c.s.close()
	c.s.open()
	c.s.lead()
	return func() string { return "" }
}

// assign, complete and renew are the manifest's one-at-a-time methods, past the
// scheduler, like register, which begins a session.
func (c *command) assign() func() string {
	return c.past(c.s.rig.tasks.AssignTask(c.s.ctx, c.word(0), c.word(1)))
}

func (c *command) complete() func() string {
	return c.past(c.s.rig.tasks.CompleteTask(c.s.ctx, c.word(0), []byte(`{}`)))
}

func (c *command) renew() func() string {
	return c.past(c.s.rig.tasks.UpdateNodeHeartbeat(c.s.ctx, c.word(0), 1, 1, 1))
}

func (c *command) register() func() string {
	w := c.worker()
	return c.past(c.s.rig.tasks.RegisterNode(c.s.ctx, w.id, c.as(w), *c.spec(w)))
}

func (c *command) past(err error) func() string {
	return func() string {
		if err != nil {
			return errorText(err)
		}
		return ""
	}
}

// sql changes the state past the scheduler.
func (c *command) sql() func() string {
	i := c.enqueue(func(g *db.Group) {
		g.Add(&db.Op{Steps: []db.Step{{SQL: strings.Join(c.words, " ")}}}, func(db.OpResult) { c.s.s.Disturbed() })
	})
	return func() string {
		c.must(<-i.done)
		return ""
	}
}

func taskText(t *controlplane.Task) string {
	out := fmt.Sprintf("%s %s", t.ID, t.Status)
	if t.Attempt > 0 {
		out += fmt.Sprintf(" %s/%d", t.NodeID, t.Attempt)
	}
	if len(t.GPUDevices) > 0 {
		out += gpuText(t.GPUDevices)
	}
	for _, n := range []struct {
		name  string
		count int32
	}{{"failed", t.FailedAttempts}, {"lost", t.LostAttempts}} {
		if n.count > 0 {
			out += fmt.Sprintf(" %s=%d", n.name, n.count)
		}
	}
	if t.CancelRequested {
		out += " cancelling"
	}
	if !t.RetryTime.IsZero() {
		out += " waits"
	}
	if t.ExitCode != nil {
		out += fmt.Sprintf(" exit=%d", *t.ExitCode)
	}
	if t.Error != "" {
		out += fmt.Sprintf(" error=%q", t.Error)
	}
	return out + "\n"
}

// tasks lists those named, or all.
func (c *command) tasks() func() string {
	all, err := c.s.rig.tasks.ListTasks(c.s.ctx, controlplane.TaskFilter{}, 0, 1000)
	c.must(err)
	out := ""
	for _, t := range slices.Backward(all) {
		if len(c.words) == 0 || slices.Contains(c.words, t.ID) {
			out += taskText(t)
		}
	}
	return func() string { return out }
}

// nodes lists all nodes with what is reserved on them.
func (c *command) nodes() func() string {
	nodes, err := c.s.rig.tasks.ListNodes(c.s.ctx, nil, "", 1000)
	c.must(err)
	out := ""
	for _, n := range nodes {
		out += fmt.Sprintf("%s %s %s tasks=%d/%d cpu=%d/%d mem=%d/%d", n.ID, n.Status, n.SessionID, n.RunningTasks, n.Spec.Slots,
			n.Reserved.CPUMillis, n.Spec.Capacity.CPUMillis, n.Reserved.MemoryBytes, n.Spec.Capacity.MemoryBytes)
		holders := c.s.rows(`SELECT g.device_index || ':' || coalesce(t.id, '-') FROM node_gpus g LEFT JOIN tasks t ON t.seq = g.task_seq
			WHERE g.node_id = ?1 ORDER BY g.device_index`, db.Str(n.ID))
		if len(holders) > 0 {
			out += " gpus=" + strings.Join(holders, ",")
		}
		out += "\n"
	}
	return func() string { return out }
}

// attempts lists the attempts of a task.
func (c *command) attempts() func() string {
	rows := c.s.rows(`SELECT attempt || ' ' || node_id || ' ' || status || coalesce(' exit=' || exit_code, '') || coalesce(' error="' || error || '"', '')
		FROM attempts WHERE task_id = ?1 ORDER BY attempt`, db.Str(c.word(0)))
	return func() string { return strings.Join(append(rows, ""), "\n") }
}

// events lists what happened to a task or a node.
func (c *command) events() func() string {
	rows := c.s.rows(`SELECT iif(task_id IS NULL, type, status) || iif(attempt > 0, ' ' || coalesce(node_id, '') || '/' || attempt, '') || coalesce(' ' || reason, '')
		FROM events WHERE task_id = ?1 OR task_id IS NULL AND node_id = ?1 ORDER BY log_index, ordinal`, db.Str(c.word(0)))
	return func() string { return strings.Join(append(rows, ""), "\n") }
}
