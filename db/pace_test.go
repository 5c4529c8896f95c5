package db

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
)

// paced runs entries through a pace, by a clock of its own.
type paced struct {
	pace
	now time.Time
}

func newPaced() *paced { return &paced{now: time.Unix(0, 0)} }

// entry has an entry with work that goes on whose statements take so long, and all of it but
// the statements of new tasks, each of which takes perTask. It returns how many were let in.
func (p *paced) entry(goingOn, all, perTask time.Duration, placed bool) int {
	n, _ := p.begin(true, p.now)
	s := spent{all: all, goingOn: goingOn, newTasks: time.Duration(n) * perTask, tasks: n}
	if !placed {
		s.later = s.newTasks
	}
	s.all += s.newTasks
	p.now = p.now.Add(s.all)
	p.end(s, p.now)
	return n
}

// average is how many tasks an entry takes beside work that goes on, over many.
func (p *paced) average(goingOn, all, perTask time.Duration, placed bool) (n int) {
	const entries = 1000
	for range entries { // what it had before is soon spent
		p.entry(goingOn, all, perTask, placed)
	}
	for range entries {
		n += p.entry(goingOn, all, perTask, placed)
	}
	return n / entries
}

func TestNewWorkTakesItsShareOfTheTime(t *testing.T) {
	const us, ms = time.Microsecond, time.Millisecond
	for name, c := range map[string]struct {
		goingOn, all, perTask time.Duration
		placed                bool
		want                  int
	}{
		"a task for some of those that are placed and end": {100 * 10 * us, 2 * ms, 10 * us, false, 22},
		"less if storing them takes longer":                {100 * 10 * us, 2 * ms, 28 * us, false, 8},
		"next to none if they are huge":                    {100 * 10 * us, 2 * ms, 10 * ms, false, 0},
		"what the disk leaves, if it is slow":              {2 * 10 * us, 20 * ms, 10 * us, false, 125},
		"what somebody waits for is free":                  {100 * 10 * us, 2 * ms, 10 * us, true, 400},
	} {
		if got := newPaced().average(c.goingOn, c.all, c.perTask, c.placed); got != c.want {
			t.Errorf("%s: %d tasks an entry; want %d", name, got, c.want)
		}
	}
}

// TestNewWorkHasWhatIsIdle has entries with next to nothing come every 2 ms.
func TestNewWorkHasWhatIsIdle(t *testing.T) {
	const us, ms = time.Microsecond, time.Millisecond
	p := newPaced()
	tasks := 0
	const entries = 1000
	for i := range 2 * entries { // what it had before is soon spent
		n := p.entry(0, 0, 10*us, false)
		p.now = p.now.Add(2 * ms)
		if i >= entries {
			tasks += n
		}
	}
	if want := int(2 * ms / idleShare / (10 * us)); tasks/entries != want {
		t.Errorf("%d tasks an entry; want %d", tasks/entries, want)
	}
}

// TestIdleTimeIsCreditedOnce has items that add nothing come, after which there is no entry.
func TestIdleTimeIsCreditedOnce(t *testing.T) {
	p := newPaced()
	p.begin(true, p.now)
	p.end(spent{all: time.Millisecond, later: maxDebt}, p.now)
	for range 3 {
		p.now = p.now.Add(time.Millisecond)
		p.begin(true, p.now)
	}
	if want := maxDebt - 3*time.Millisecond/idleShare - time.Millisecond/otherShare; p.debt != want {
		t.Errorf("debt %v after 3 ms without an entry; want %v", p.debt, want)
	}
}

// TestWhatIsWantedIsLetIn has no credit, and then no debt.
func TestWhatIsWantedIsLetIn(t *testing.T) {
	p := newPaced()
	p.begin(true, p.now)
	p.end(spent{all: time.Millisecond, later: maxDebt + maxCredit}, p.now)
	for _, c := range []struct {
		wants  int
		beside bool
		tasks  int
	}{
		{0, true, 0},
		{7, true, 7},
		{10_000, true, maxGroupOps},
		{7, false, 7},
		{10_000, false, maxGroupOps},
	} {
		p.wants = c.wants
		if n, _ := p.begin(c.beside, p.now); n != c.tasks {
			t.Errorf("%d are wanted, work that goes on: %v: %d are let in, want %d", c.wants, c.beside, n, c.tasks)
		}
	}
	p.debt, p.wants = 0, 7
	if n, _ := p.begin(true, p.now); n < 100 {
		t.Errorf("%d are let in: what has credit is not bound by what is wanted", n)
	}
}

// hungryPlanner wants 42 tasks.
type hungryPlanner struct{ Planner }

func (hungryPlanner) Plan(*Group)      {}
func (hungryPlanner) Committed(*Group) {}
func (hungryPlanner) Wants() int       { return 42 }

func TestThePlannerIsAskedWhatItWants(t *testing.T) {
	b := newPacedBatcher()
	b.planner = hungryPlanner{}
	if err := b.cycle(t.Context(), Term{}, nil); err != nil || b.waiting.pace.wants != 42 {
		t.Errorf("%d tasks, %v", b.waiting.pace.wants, err)
	}
}

// TestNewWorkAloneWaitsUntilItIsQuiet has no credit left, and asks alone.
func TestNewWorkAloneWaitsUntilItIsQuiet(t *testing.T) {
	const us, ms = time.Microsecond, time.Millisecond
	p := newPaced()
	ended := p.now
	p.pace = pace{debt: maxCredit, perTask: 10 * us, took: 2 * ms, since: ended}
	for _, c := range []struct {
		quiet, wait time.Duration
		tasks       int
	}{
		{1 * ms, 7 * ms, 0}, // the workers are about to come back
		{7 * ms, 1 * ms, 0},
		{8 * ms, 0, 200}, // 2 ms of 10 µs each
		{16 * ms, 0, 400},
		{time.Second, 0, maxGroupOps},
	} {
		p.now = ended.Add(c.quiet)
		n, wait := p.begin(false, p.now)
		if n != c.tasks || wait != c.wait {
			t.Errorf("after %v: %d tasks, or else %v; want %d, %v", c.quiet, n, wait, c.tasks, c.wait)
		}
		if n > 0 {
			p.end(spent{all: ms, newTasks: ms, later: ms, tasks: 100}, p.now)
		}
	}
	if n := p.entry(200*us, 200*us, 10*us, false); n != 0 {
		t.Errorf("beside work that goes on %d tasks are let in, and the credit is spent", n)
	}
	if n := p.entry(0, 0, 10*us, false); n != 3 {
		t.Errorf("then %d; want what was earned, and no debt of what was taken when it was quiet", n)
	}
	if p.debt < maxCredit-10*us {
		t.Errorf("debt %v: those are paid for again", p.debt)
	}
}

// TestNewWorkAlonePaysUnlessItIsQuiet has entries of new tasks alone between those of workers
// that come back soon: each such entry makes them wait.
func TestNewWorkAlonePaysUnlessItIsQuiet(t *testing.T) {
	const ms = time.Millisecond
	p := newPaced()
	p.perTask = 10 * time.Microsecond
	p.begin(true, p.now)
	p.end(spent{all: ms}, p.now)
	for i := range 3 {
		if n, _ := p.begin(false, p.now); (n > 0) != (i < 2) {
			t.Errorf("entry %d takes %d tasks", i, n)
		}
		p.end(spent{all: 3 * ms, newTasks: 3 * ms, later: 3 * ms, tasks: 300}, p.now)
	}
	if p.debt != 9*ms {
		t.Errorf("debt %v; want all that was taken", p.debt)
	}
}

// TestNewWorkIsNotHeldBackForLong has an entry stand still for an hour, in a statement of a new task.
func TestNewWorkIsNotHeldBackForLong(t *testing.T) {
	p := newPaced()
	p.entry(0, 0, time.Hour, false)
	if n, wait := p.begin(false, p.now); n != 0 || wait != maxQuiet {
		t.Errorf("alone: %d tasks, or else %v", n, wait)
	}
	p.perTask = 10 * time.Microsecond
	entries := 0
	for p.entry(time.Millisecond, time.Millisecond, p.perTask, false) == 0 {
		entries++
	}
	if most := int((maxDebt-maxCredit)/(time.Millisecond/goingOnShare)) + 1; entries != most {
		t.Errorf("%d entries take no new tasks; want %d", entries, most)
	}
}

// pacedEngine is an engine that commits everything, and says that each operation took 1 ms.
type pacedEngine struct{ Engine }

func (pacedEngine) Apply(_ context.Context, _ Term, entry Encoded) (Applied, error) {
	e, err := DecodeEntry(entry.Bytes)
	if err != nil {
		return Applied{}, err
	}
	a := Applied{Index: 1, Results: make([]OpResult, len(e.Ops)), Took: make([]time.Duration, len(e.Ops))}
	for i := range e.Ops {
		a.Results[i].Changed, a.Took[i] = 1, time.Millisecond
	}
	return a, nil
}

// newPacedBatcher returns a batcher that leads.
func newPacedBatcher() *batcher {
	b := newBatcher(pacedEngine{}, nil)
	b.open()
	return b
}

func TestTasksThatAreHeldBackGoByThemselves(t *testing.T) {
	b := newPacedBatcher()
	b.waiting.pace = pace{debt: maxCredit, took: time.Millisecond, since: time.Now()}
	it := newSimple(1, 1, func(*Group) {})
	if err := b.submitNew([]*simple{it}); err != nil {
		t.Fatal(err)
	}
	if items := b.take(); len(items) != 0 || !b.held {
		t.Errorf("%d items are taken, while the workers are about to come back", len(items))
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- b.run(ctx, Term{}, nil) }() // nothing else will come
	if err := <-it.done; err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-ran; err != nil {
		t.Error(err)
	}
}

func TestWorkThatWaitsIsNotHeldBackWithNewTasks(t *testing.T) {
	var w waiting
	now := time.Now()
	w.pace = pace{debt: maxCredit, took: time.Hour, since: now}
	for range maxGroupOps { // more than an entry takes
		if err := w.add(renewal{&simple{ops: 1, bytes: 1}}, now); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.addAll([]*simple{{ops: 1, bytes: 1}}, now); err != nil {
		t.Fatal(err)
	}
	for i, want := range []time.Duration{0, maxQuiet} {
		if items, wait := w.take(now); len(items) != maxGroupOps/2 || wait != want {
			t.Errorf("entry %d takes %d, and the next is to wait for %v; want %v", i, len(items), wait, want)
		}
	}
}

// TestOnlyTasksThatAreStoredForLaterArePaidFor commits an entry with a task that was placed and
// one that was not, beside another operation.
func TestOnlyTasksThatAreStoredForLaterArePaidFor(t *testing.T) {
	b := newPacedBatcher()
	b.waiting.pace = pace{debt: maxCredit, beside: true, perTask: 3 * time.Millisecond}
	g := b.begin()
	g.Add(&Op{Steps: []Step{{SQL: "SELECT 1"}}}, nil)
	task := &controlplane.Task{Function: &controlplane.Function{Name: "f"}}
	subs, err := newSubmissions(2, slices.Values([]*controlplane.Task{task, task}))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range subs {
		s.class = &interned{}
	}
	subs[0].Place("n", "s", controlplane.TaskRunning, nil)
	g.Submissions = subs
	if err := b.commit(t.Context(), Term{}, g); err != nil {
		t.Fatal(err)
	}
	const earned, paid = time.Millisecond / goingOnShare, time.Millisecond
	p := &b.waiting.pace
	if rest := p.took - 3*time.Millisecond; p.debt != maxCredit+paid-earned-max(0, rest)/otherShare {
		t.Errorf("debt %v, with %v taken by the rest of the entry", p.debt, rest)
	}
	if p.perTask >= 3*time.Millisecond || p.perTask < 2900*time.Microsecond {
		t.Errorf("a task is taken to take %v", p.perTask)
	}
}

func TestSubmissionsArePartedByNumberAndBytes(t *testing.T) {
	sub := func(size int) *Submission {
		return &Submission{Task: &controlplane.Task{Function: &controlplane.Function{Payload: make([]byte, size)}}}
	}
	for name, c := range map[string]struct {
		sizes []int
		want  int
	}{
		"few":                      {[]int{1, 1, 1}, 3},
		"many":                     {make([]int, 100), newWorkOps},
		"large":                    {[]int{100 << 10, 100 << 10, 100 << 10}, 2},
		"one larger than all that": {[]int{1 << 20, 1}, 1},
	} {
		var subs []*Submission
		for _, n := range c.sizes {
			subs = append(subs, sub(n))
		}
		n, size := together(subs)
		if n != c.want || size != n*sub(0).Bytes()+sum(c.sizes[:n]) {
			t.Errorf("%s: %d stay together, of %d bytes; want %d", name, n, size, c.want)
		}
	}
}

func sum(all []int) (n int) {
	for _, v := range all {
		n += v
	}
	return n
}
