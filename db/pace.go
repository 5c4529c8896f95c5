package db

import "time"

// What new work may take of the time.
const (
	// maxCredit is what new work may take at once beside work that goes on: some 300 tasks.
	maxCredit = 4 * time.Millisecond
	// maxDebt is what it owes at most: an entry that stood still is not paid for by those after.
	maxDebt = 50 * time.Millisecond
	// goingOnShare, of the time that the statements of work that goes on take, is credit for
	// new work, one part in so many: of three tasks that are placed and end, each by one
	// operation, one more is stored than is wanted.
	goingOnShare = 6
	// otherShare is the same of what an entry takes beside its statements, its sync above all:
	// on a disk that is slow the statements are next to nothing.
	otherShare = 16
	// idleShare is the same of the time in which no entry was under way: where little goes on,
	// and goes on all the time, the members have time to spare.
	idleShare = 4
	// quietTimes is how many times as long as the last entry with work that goes on nothing may
	// have gone on until the members have time to spare: workers take about as long as an
	// entry until they come back. maxQuiet bounds that, should an entry take very long.
	quietTimes = 4
	maxQuiet   = 50 * time.Millisecond
	// quietShare bounds an entry of new work alone then, by one part in so many of the time for
	// which it has been quiet: what comes next finds a short entry under way, if it comes soon.
	quietShare = 4
	// firstPerTask is taken to be what storing a task takes until it is known.
	firstPerTask = 20 * time.Microsecond
	// paceTasks is about how many tasks the average of that is over.
	paceTasks = 256
)

// pace says how many new tasks an entry takes, by the time that storing them takes. Each step
// of a running task waits for an entry, so when more is submitted than can be done, every task
// that is stored for later costs those that run. So work that goes on earns new work the time
// that it may take, and what that stores for later is paid from it; what is placed at once is
// free, since somebody waits for it. What is wanted is let in all the same, and paid later: the
// nodes are to find some that wait whenever they ask. Where little goes on new work has all the
// time that there is. The zero value is ready. The times are those of this member's clock and have no part in
// what is written.
type pace struct {
	debt    time.Duration // what new work has taken of maxCredit
	perTask time.Duration // what storing a task takes: a moving average; 0 if it is not known

	wants int // more tasks should wait, says the planner

	beside bool          // the present entry has work that goes on
	free   bool          // it takes time that nothing else wants
	took   time.Duration // how long the last such entry took
	since  time.Time     // when it was done
	idle   time.Time     // since when no entry is under way, or that was last credited
}

// spent is where the time of an entry went.
type spent struct {
	all      time.Duration
	goingOn  time.Duration // by the statements of everything but new tasks
	newTasks time.Duration // by those of new tasks
	later    time.Duration // by those of new tasks that were placed nowhere yet
	tasks    int           // that were new
}

// begin says how many new tasks may be in an entry, with work that goes on beside them or alone;
// if none, how long to wait before it is asked again should nothing else come, 0 if they are
// asked for with the next entry anyway.
func (p *pace) begin(beside bool, now time.Time) (tasks int, wait time.Duration) {
	tasks, wait = p.byCredit(beside, now)
	if p.wants > tasks {
		return min(p.wants, maxGroupOps), 0
	}
	return tasks, wait
}

func (p *pace) byCredit(beside bool, now time.Time) (tasks int, wait time.Duration) {
	p.beside, p.free = beside, false
	if beside && !p.idle.IsZero() {
		p.debt = max(0, p.debt-now.Sub(p.idle)/idleShare)
		p.idle = now // the items may add nothing, and then there is no entry
	}
	credit := maxCredit - p.debt
	if quiet, enough := now.Sub(p.since), min(quietTimes*p.took, maxQuiet); !beside {
		if quiet >= enough {
			p.free, credit = true, max(credit, quiet/quietShare)
		} else {
			wait = enough - quiet
		}
	}
	if credit <= 0 {
		return 0, wait
	}
	perTask := p.perTask
	if perTask == 0 {
		perTask = firstPerTask
	}
	return int(min(max(credit/perTask, 1), maxGroupOps)), 0
}

// end accounts for the entry that was begun last.
func (p *pace) end(s spent, now time.Time) {
	if s.tasks > 0 {
		p.perTask += (s.newTasks/time.Duration(s.tasks) - p.perTask) / time.Duration(max(1, paceTasks/s.tasks))
		p.perTask = max(1, p.perTask)
	}
	if !p.free {
		p.debt += s.later
	}
	if p.beside {
		p.debt -= s.goingOn/goingOnShare + max(0, s.all-s.goingOn-s.newTasks)/otherShare
		p.took, p.since = s.all, now
	}
	p.debt = min(max(p.debt, 0), maxDebt)
	p.idle = now
}

// account tells the pace where the time of a committed entry went: took says how long each
// operation took, those of submissions last.
func (b *batcher) account(g *Group, took []time.Duration, all time.Duration) {
	s := spent{all: all, tasks: len(g.Submissions)}
	others := len(g.ops) - s.tasks
	for i, t := range took {
		switch {
		case i < others:
			s.goingOn += t
		case g.Submissions[i-others].Task.Status.OnNode():
			s.newTasks += t
		default:
			s.newTasks += t
			s.later += t
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting.pace.end(s, time.Now())
}

// askWants has the pace know how many tasks the planner wants.
func (b *batcher) askWants() {
	h, ok := b.planner.(Hungry)
	if !ok {
		return
	}
	wants := h.Wants()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting.pace.wants = wants
}
