package scheduler

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// tampered is the real engine, with calls that are counted or made to fail.
type tampered struct {
	db.Engine
	reads     atomic.Int64
	failReads atomic.Int64 // so many fail
	failApply atomic.Int64
	applied   atomic.Bool // those that fail take effect all the same
}

var errTampered = errors.New("made to fail by the test")

// Read implements db.Engine.
func (e *tampered) Read(ctx context.Context, opts db.ReadOptions, fn func(db.Conn) error) (uint64, error) {
	e.reads.Add(1)
	if e.failReads.Load() > 0 {
		e.failReads.Add(-1)
		return 0, errTampered
	}
	return e.Engine.Read(ctx, opts, fn)
}

// Apply implements db.Engine.
func (e *tampered) Apply(ctx context.Context, term db.Term, entry db.Encoded) (db.Applied, error) {
	if e.failApply.Load() == 0 {
		return e.Engine.Apply(ctx, term, entry)
	}
	e.failApply.Add(-1)
	if e.applied.Load() {
		if _, err := e.Engine.Apply(ctx, term, entry); err != nil {
			return db.Applied{}, err
		}
	}
	return db.Applied{}, controlplane.Errorf(controlplane.CodeUnknownOutcome, "the leader was lost while the write was under way")
}

// tamper starts a session on a tampered engine.
func tamper(t *testing.T) (*session, *tampered) {
	t.Helper()
	e := &tampered{}
	s := &session{rig: newRig(t), workers: map[string]*worker{}}
	s.wrap = func(engine db.Engine) db.Engine {
		e.Engine = engine
		return e
	}
	s.start()
	return s, e
}

// expect runs a command and compares its answer.
func (s *session) expect(line, want string) {
	s.t.Helper()
	if got := s.run(line, line); got != want {
		s.t.Fatalf("%s\nanswers\n%swant\n%s", line, got, want)
	}
}

const (
	inDoubt   = "ABORTED: the leader was lost while the write was under way\n"
	nextPlace = "UNAVAILABLE: this member no longer leads: poll again\n"
)

// A group that fails ends the term. Whoever is in it learns that its outcome is in
// doubt, polls of earlier groups are sent to the next leader, and each is answered
// once. Whether the group took effect is found in the state.
func TestFailedGroup(t *testing.T) {
	for _, applied := range []bool{false, true} {
		t.Run(fmt.Sprintf("applied=%v", applied), func(t *testing.T) {
			s, e := tamper(t)
			e.applied.Store(applied)
			s.expect("node n1", "lease 15s\n")
			s.expect("poll n1 as=p1 max=2", "")
			s.expect("poll n1 as=p2", "")
			var finish []func() string
			s.together(func() {
				finish = append(finish, s.begin("", "submit t1"))
				s.begin("", "poll n1 as=p3")
				finish = append(finish, s.begin("", "restart-session n1"), s.begin("", "poll n1 session=n1.1"))
				e.failApply.Store(1)
			})
			for i, f := range finish {
				if got := f(); got != inDoubt {
					t.Errorf("call %d answers %q", i, got)
				}
			}
			for _, o := range s.polls {
				<-o.poll.done
			}
			// p3 was refused by the new session, which was not there if the group was not.
			if got, want := s.released(), "p1:\n"+nextPlace+"p2:\n"+nextPlace+"p3:\n"+inDoubt; got != want {
				t.Errorf("polls answer\n%swant\n%s", got, want)
			}
			s.awaitTerm()
			if applied {
				s.expect("poll n1 session=n1.1", errorText(replaced("n1")))
				s.expect("poll n1 max=9", "t1/1\n")
				s.expect("tasks", "t1 RUNNING n1/1\n")
			} else {
				s.expect("poll n1", errorText(replaced("n1")))
				s.expect("poll n1 session=n1.1 max=9", "nothing\n")
				s.expect("tasks", "")
			}
			s.expect("submit t1", map[bool]string{true: "t1 RUNNING n1/1\n", false: "t1 ASSIGNED n1/1\n"}[applied])
		})
	}
}

// A poll whose wait ends before its group is committed is not told of a renewal that
// may fail yet.
func TestRenewalInDoubt(t *testing.T) {
	s, e := tamper(t)
	s.expect("node n1", "lease 15s\n")
	s.rig.advance(2 * time.Second)
	s.together(func() {
		s.begin("", "poll n1 as=p1 show=lease")
		s.begin("", "timeout p1 when=planned")
		e.failApply.Store(1)
	})
	s.awaitTerm()
	s.expect("nodes", "n1 HEALTHY n1.1 tasks=0/4 cpu=0/4000 mem=0/1000\np1:\n"+inDoubt)
}

// A caller who hangs up when the answer is ready, but not taken yet, has not had it.
func TestAnswerNotTaken(t *testing.T) {
	s := newSession(t)
	s.expect("node n1", "lease 15s\n")
	p := s.s.newPoll(controlplane.Poll{NodeID: "n1", SessionID: "n1.1", Wait: controlplane.MaxPollWait})
	if err := s.rig.tasks.Enqueue(p); err != nil {
		t.Fatal(err)
	}
	s.expect("submit t1", "t1 RUNNING n1/1\n")
	<-p.done
	s.s.leave(p, true)
	s.expect("poll n1", "t1/1\n")
}

// A task that was taken back and given out again before the answer was put together
// is not in that answer: it would run twice.
func TestAnswerOvertaken(t *testing.T) {
	s := newSession(t)
	s.expect("node n1", "lease 15s\n")
	s.expect("submit t1", "t1 PENDING\n")
	p := s.s.newPoll(controlplane.Poll{NodeID: "n1", SessionID: "n1.1"})
	if err := s.rig.tasks.Enqueue(p); err != nil {
		t.Fatal(err)
	}
	<-p.done
	s.expect("restart-session n1", "lease 15s\n")
	s.expect("poll n1", "t1/2\n")
	if work, err := s.s.await(s.ctx, p); err != nil || len(work.Tasks) > 0 {
		t.Errorf("%+v, %v", work, err)
	}
}

// Work that was given in a group that took effect, though its outcome was in doubt,
// is given again, and a report is answered as the first was.
func TestDoubtfulAnswer(t *testing.T) {
	s, e := tamper(t)
	e.applied.Store(true)
	s.expect("node n1", "lease 15s\n")
	s.expect("poll n1 as=p1", "")
	e.failApply.Store(1)
	if got := s.begin("", "submit t1")(); got != inDoubt {
		t.Fatalf("submit answers %s", got)
	}
	s.awaitTerm()
	s.expect("poll n1 held=none", "t1/1\np1:\n"+nextPlace)
	e.failApply.Store(1)
	if got := s.begin("", "report n1 t1/1=completed")(); got != inDoubt {
		t.Fatalf("report answers %s", got)
	}
	s.awaitTerm()
	s.expect("report n1 t1/1=completed", "COMPLETED\n")
	s.expect("attempts t1", "1 n1 COMPLETED\n")
}

// When the copy cannot be read anew nothing is placed or taken back until it can.
func TestStateThatCannotBeRead(t *testing.T) {
	s, e := tamper(t)
	s.expect("node n1", "lease 15s\n")
	s.expect("poll n1 as=p1", "")
	e.failReads.Store(1000)
	if _, err := s.rig.tasks.GetTask(s.ctx, "t1"); !errors.Is(err, errTampered) {
		t.Fatal(err)
	}
	s.begin("", "sql UPDATE nodes SET slots = 9 WHERE id = 'n1'")()
	s.tick()
	if got := s.begin("", "submit t1")(); got != "t1 PENDING\n" {
		t.Fatalf("submit answers %s", got)
	}
	s.mustBe("disturbed", true)
	e.failReads.Store(0)
	s.tick()
	s.mustBe("disturbed", false)
	s.settle()
	s.expect("tasks", "t1 RUNNING n1/1\np1:\nt1/1\n")
	s.expect("nodes", "n1 HEALTHY n1.1 tasks=1/9 cpu=0/4000 mem=0/1000\n")
}

func (s *session) mustBe(what string, disturbed bool) {
	s.t.Helper()
	s.s.mu.Lock()
	defer s.s.mu.Unlock()
	if s.s.st.disturbed != disturbed {
		s.t.Fatalf("%s is %v", what, s.s.st.disturbed)
	}
}

// A term that cannot begin is begun again.
func TestLeadThatFails(t *testing.T) {
	s, e := tamper(t)
	s.expect("node n1", "lease 15s\n")
	s.expect("submit t1", "t1 PENDING\n")
	s.resign()
	s.hooks.leading = func() { e.failReads.Store(1) }
	s.lead()
	if s.s.st == nil {
		t.Fatal("it takes writes and does not lead")
	}
	if n := s.plan.leads.Load(); n != 2 {
		t.Fatalf("it took %d times to lead", n)
	}
	s.expect("poll n1", "t1/1\n")
}

// What goes from a submission to a poll that waits for it, and back by a report,
// reads nothing from the state.
func TestHotPathReadsNothing(t *testing.T) {
	s, e := tamper(t)
	s.expect("node n1", "lease 15s\n")
	req := controlplane.Poll{NodeID: "n1", SessionID: "n1.1", MaxTasks: 1, Wait: controlplane.MaxPollWait}
	var results []controlplane.Result
	for i := range 20 {
		if i == 2 {
			e.reads.Store(0)
		}
		r := s.s.newReport("n1", "n1.1", results)
		r.poll = s.s.newPoll(req)
		if err := s.rig.tasks.Enqueue(r); err != nil {
			t.Fatal(err)
		}
		task := execTask(fmt.Sprintf("t%d", i))
		task.Priority = int32(i % 3)
		if _, err := s.rig.tasks.AddTask(s.ctx, task); err != nil {
			t.Fatal(err)
		}
		outcomes, work, err := r.awaitBoth(s.ctx)
		if err != nil || len(work.Tasks) != 1 || work.Tasks[0].ID != task.ID {
			t.Fatal(work, err)
		}
		for _, o := range outcomes {
			if o.Err != nil || o.Status != controlplane.TaskCompleted {
				t.Fatal(o)
			}
		}
		results = completed(work.Tasks)
	}
	if n := e.reads.Load(); n != 0 {
		t.Errorf("%d reads", n)
	}
}

// A queue that is longer than what is kept of it in memory is placed in order,
// whatever comes and goes in it.
func TestLongQueue(t *testing.T) {
	s := newSession(t)
	const slots = 170
	s.expect(fmt.Sprintf("node n1 slots=%d", slots), "lease 15s\n")
	rnd := rand.New(rand.NewPCG(7, 7))
	count := 0
	for round := range 12 {
		count = s.addTasks(rnd, count, 400)
		s.check()
		for range 20 {
			if _, err := s.rig.tasks.CancelTask(s.ctx, fmt.Sprintf("t%d", 1+rnd.IntN(count))); err != nil {
				t.Fatal(err)
			}
		}
		want := s.rows("SELECT id FROM tasks WHERE status = 'PENDING' ORDER BY priority DESC, seq LIMIT 170")
		work, err := s.s.Poll(s.ctx, controlplane.Poll{NodeID: "n1", SessionID: "n1.1", MaxTasks: slots})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, task := range work.Tasks {
			got = append(got, task.ID)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("round %d: given\n%v\nwant\n%v", round, got, want)
		}
		s.rig.advance(4 * time.Second) // it does not ask for more
		results := completed(work.Tasks)
		for i := range results[:3*(round%4)] {
			results[i].Status = controlplane.TaskPending
		}
		if _, err := s.s.Report(s.ctx, "n1", "n1.1", results); err != nil {
			t.Fatal(err)
		}
		s.settle()
		s.check()
	}
}

// addTasks stores n tasks of random priorities, the next after t<count>.
func (s *session) addTasks(rnd *rand.Rand, count, n int) int {
	s.t.Helper()
	var tasks []*controlplane.Task
	for range n {
		count++
		task := execTask(fmt.Sprintf("t%d", count))
		task.Priority = int32(rnd.IntN(4))
		tasks = append(tasks, task)
	}
	if _, err := s.rig.tasks.AddTasks(s.ctx, tasks); err != nil {
		s.t.Fatal(err)
	}
	return count
}

func completed(tasks []*controlplane.Task) (results []controlplane.Result) {
	for _, t := range tasks {
		results = append(results, controlplane.Result{TaskID: t.ID, Attempt: t.Attempt, Status: controlplane.TaskCompleted})
	}
	return results
}

// Queues and kinds of tasks that are no longer there take no room.
func TestNothingIsKept(t *testing.T) {
	s := newSession(t)
	s.expect("node n1 slots=10000", "lease 15s\n")
	for i := range 3 {
		var tasks []*controlplane.Task
		for k := range 500 {
			task := execTask("")
			task.Queue, task.Resources.CPUMillis = fmt.Sprintf("q%d-%d", i, k), int64(1+k%100)
			tasks = append(tasks, task)
		}
		if _, err := s.rig.tasks.AddTasks(s.ctx, tasks); err != nil {
			t.Fatal(err)
		}
		for got := 0; got < len(tasks); {
			work, err := s.s.Poll(s.ctx, controlplane.Poll{NodeID: "n1", SessionID: "n1.1", MaxTasks: 1000})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.s.Report(s.ctx, "n1", "n1.1", completed(work.Tasks)); err != nil {
				t.Fatal(err)
			}
			got += len(work.Tasks)
		}
	}
	s.settle()
	s.check()
	s.s.mu.Lock()
	st := s.s.st
	if len(st.streams) > 0 || len(st.busy) > 0 || len(st.held) > 0 || len(st.retries) > 0 || len(st.owing) > 0 {
		t.Errorf("kept: %d streams, %d busy classes, %d attempts", len(st.streams), len(st.busy), len(st.held))
	}
	for i := range int64(maxCandidates / 65) {
		st.class(1000+i, controlplane.PlacementSpread)
	}
	s.s.mu.Unlock()
	s.barrier()
	s.s.mu.Lock()
	if n := len(st.classes); n > 0 {
		t.Errorf("%d classes are kept", n)
	}
	s.s.mu.Unlock()
	s.expect("submit t1", "t1 ASSIGNED n1/1\n")
}

// A class that has had no tasks for so long that the log of touches was cut looks
// at all nodes again.
func TestClassThatFellBehind(t *testing.T) {
	s := newSession(t)
	s.expect("node n1 slots=1", "lease 15s\n")
	s.expect("poll n1", "nothing\n")
	s.expect("submit t1", "t1 ASSIGNED n1/1\n")
	s.expect("poll n1", "t1/1\n")
	s.expect("submit t2 cpu=1", "t2 PENDING\n") // another class, which finds n1 full
	s.expect("cancel t2", "t2 CANCELLED\n")
	s.expect("report n1 t1/1=completed", "COMPLETED\n")
	s.s.mu.Lock()
	st := s.s.st
	for st.touches.base == 0 {
		st.touch(st.nodes["n1"])
		st.touches.passed(len(st.byNum))
	}
	s.s.mu.Unlock()
	s.expect("submit t3 cpu=1", "t3 ASSIGNED n1/1\n")
}

// Who is eligible for a class that a new leader finds is read from the state; what
// the group in the making changes is not there yet, and counts all the same.
func TestClassReadInTheMiddle(t *testing.T) {
	s := newSession(t)
	s.expect("node n1 slots=1", "lease 15s\n")
	s.expect("poll n1", "nothing\n")
	s.expect("submit t1", "t1 ASSIGNED n1/1\n")
	s.expect("poll n1", "t1/1\n")
	s.expect("submit t2 cpu=1", "t2 PENDING\n")
	s.s.mu.Lock()
	for _, c := range s.s.st.classes {
		*c = class{classKey: c.classKey, needs: c.needs, kind: c.kind, matches: c.matches, streams: c.streams, awake: c.awake, stored: true}
	}
	s.s.mu.Unlock()
	s.expect("report n1 t1/1=completed max=1", "COMPLETED\nt2/1\n")
}

// Settings of a queue are taken over; the state is read anew only if they decide over
// how what waits is sorted.
func TestQueueSettingsAreTakenOver(t *testing.T) {
	s := newSession(t)
	s.expect("node n1 slots=1", "lease 15s\n")
	s.expect("submit t1 queue=q", "t1 PENDING\n")
	copied := func() *state {
		s.settle()
		s.s.mu.Lock()
		defer s.s.mu.Unlock()
		return s.s.st
	}
	for _, c := range []struct {
		settings string
		anew     bool
	}{
		{"weight=3 max_tasks=2", false}, {"weight=3 max_custom=license:1 paused=1", false}, {"placement=binpack", true}, {"placement=binpack ageing=1m", true},
		{"placement=binpack ageing=2m", false}, {"placement=binpack", true}, {"", true}, {"", false},
	} {
		before := copied()
		s.expect("queue q "+c.settings, "")
		if after := copied(); (after != before) != c.anew {
			t.Errorf("%q: read anew: %v", c.settings, after != before)
		}
		s.check()
	}
}

// A class that no task has any more is forgotten when the state forgets it, and not
// while tasks of it wait.
func TestForgottenClass(t *testing.T) {
	s := newSession(t)
	s.expect("submit t1", "t1 PENDING\n")
	classes := func() (ids []int64) {
		s.s.mu.Lock()
		defer s.s.mu.Unlock()
		for k := range s.s.st.classes {
			ids = append(ids, k.id)
		}
		return ids
	}
	ids := classes()
	if len(ids) != 1 {
		t.Fatalf("classes %v, want one", ids)
	}
	s.s.ForgetClass(ids[0])
	if got := classes(); len(got) != 1 {
		t.Errorf("classes %v while a task waits, want %v", got, ids)
	}
	s.expect("cancel t1", "t1 CANCELLED\n")
	s.barrier()
	s.s.ForgetClass(ids[0])
	if got := classes(); len(got) != 0 {
		t.Errorf("classes %v are kept", got)
	}
	s.expect("submit t2", "t2 PENDING\n")
}
