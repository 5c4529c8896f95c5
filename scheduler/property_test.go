package scheduler

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/raft-control-plane/control-plane/db"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "seed of TestProperties; by default a few that are fixed")
	stepsFlag = flag.Int("steps", 150, "steps of TestProperties for each seed")
)

// TestProperties runs random commands on a random fleet. After each the copy in
// memory is compared with the state and what must always hold is looked at (see
// check), and every pass is compared with a slow and obvious one (see oracle).
// When it fails it prints its seed and the last commands, which can be put into a
// transcript as they are.
func TestProperties(t *testing.T) {
	seeds := []uint64{1, 2, 3}
	if *seedFlag != 0 {
		seeds = []uint64{*seedFlag}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { runProperties(t, seed, *stepsFlag) })
	}
}

func runProperties(t *testing.T, seed uint64, steps int) {
	o := newOracle(t)
	s := &session{rig: newRig(t), workers: map[string]*worker{}}
	s.rig.hooks = o.hooks()
	w := &workChecker{t: t}
	s.rig.hooks.answering = w.compareGiven
	s.start()
	r := &random{Rand: rand.New(rand.NewPCG(seed, 0)), session: s}
	var done []string
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("failed with -seed=%d after %d steps; the last were\n%s", seed, len(done), strings.Join(done[max(0, len(done)-30):], "\n"))
		}
	})
	r.fleet()
	for len(done) < steps {
		line := r.step()
		done = append(done, line)
		answer := s.run(fmt.Sprintf("step %d", len(done)), line)
		done[len(done)-1] += "\n----\n" + answer
		if t.Failed() {
			return
		}
	}
	counts := strings.Join(s.rows("SELECT status || ': ' || count(*) FROM attempts GROUP BY status ORDER BY status"), ", ")
	t.Logf("seed %d: %d placements compared, %d tasks handed out from memory and %d read; attempts %s", seed, o.compared, w.fromMemory, w.read, counts)
	if o.compared < steps/4 {
		t.Errorf("only %d placements were compared in %d steps", o.compared, steps)
	}
	if w.fromMemory == 0 || w.read == 0 {
		t.Errorf("%d tasks were handed out from memory, and %d read: both ways should be seen", w.fromMemory, w.read)
	}
}

// random makes up commands.
type random struct {
	*rand.Rand
	session *session
	tasks   int
	polls   int
}

func (r *random) pick(words ...string) string { return words[r.IntN(len(words))] }

func (r *random) chance(percent int) bool { return r.IntN(100) < percent }

// fleet registers nodes of different kinds.
func (r *random) fleet() {
	for i := range 2 + r.IntN(6) {
		name := fmt.Sprintf("n%d", i)
		if r.chance(20) {
			name = fmt.Sprintf("shrinks-%d", i)
		}
		r.session.run("fleet", fmt.Sprintf("node %s %s", name, r.spec()))
	}
}

func (r *random) spec() string {
	spec := fmt.Sprintf("slots=%d cpu=%d mem=%d gpus=%d", 1+r.IntN(5), 1000*r.IntN(9), 100*r.IntN(11), max(0, r.IntN(8)-3))
	if r.chance(25) {
		spec += " functions=" + r.pick("f", "g", "f,g")
	}
	if r.chance(50) {
		spec += " " + r.pick("disk=1000", "disk=300", "custom=license:1", "custom=license:3,seat:1", "custom=-", "gpus=[0:A100-SXM4:40,3:H100:80]", "gpus=[1:NVIDIA-H100-80GB:80]")
	}
	if r.chance(50) {
		spec += fmt.Sprintf(" provider=%s region=%s zone=%s type=%s spot=%s price=%d labels=%s", r.pick("aws", "gcp", "-"), r.pick("us", "eu"), r.pick("a", "b"),
			r.pick("p5", "g2"), r.pick("yes", "no"), 10*r.IntN(4), r.pick("none", "team:ml", "team:ops,gen:3", "gen:x", "gen:12", "gen:007"))
	}
	return spec
}

// wishes are constraints of a submission.
func (r *random) wishes() string {
	return r.pick("providers=aws", "providers=aws,gcp regions=eu", "zones=a", "types=g2", "use_spot=ONLY", "use_spot=NEVER", "max_price=10", "max_price=25 prefer=eu",
		"prefer=us", "prefer=eu,nowhere cpu=100", "on=n1", "on=n0 gpus=1", "select=team:IN:ml|ops", "select=team:NOT_IN:ml", "select=gen:EXISTS", "select=gen:DOES_NOT_EXIST,team:EXISTS",
		"select=gen:GREATER_THAN:3", "select=gen:GREATER_THAN:-1", "gpus=1 models=h100", "gpus=1 models=a100,b200", "gpus=1 gpu_mem=50", "gpus=2 gpu_mem=40",
		"disk=200", "disk=900 cpu=100", "custom=license:1", "custom=license:2,seat:1", "custom=seat:1 mem=100")
}

func (r *random) node() string { return r.pick(sortedKeys(r.session.workers)...) }

// step is the next command, or several that go into one group.
func (r *random) step() string {
	switch n := r.IntN(100); {
	case n < 2:
		return r.pick("new-leader", "new-leader", "reopen")
	case n < 12:
		return fmt.Sprintf("advance %s", r.pick("10ms", "900ms", "2s", "2s", "4s", "11s", "16s", "60s"))
	case n < 14:
		return fmt.Sprintf("assign %s %s", r.task(), r.node())
	case n < 15:
		return fmt.Sprintf("complete %s", r.task())
	case n < 17:
		return "uncordon " + r.node()
	case n < 18:
		return "explain " + r.task()
	case n < 20:
		return r.queue()
	case n < 22:
		return fmt.Sprintf("retry %s", r.task())
	case n < 23:
		return fmt.Sprintf("cancel-tasks queue=%s limit=%d%s", r.pick("a", "b", "default"), 1+r.IntN(4), r.pick("", " status=PENDING", " status=RUNNING"))
	case n < 26:
		return r.remove()
	case n < 40:
		lines := []string{"together"}
		for range 2 + r.IntN(6) {
			lines = append(lines, r.call())
		}
		return strings.Join(lines, "\n")
	}
	return r.call()
}

// call is a command that can share its group with others.
func (r *random) call() string {
	switch n := r.IntN(100); {
	case n < 30:
		return r.submit()
	case n < 52:
		return r.poll()
	case n < 76:
		return r.report()
	case n < 86:
		return fmt.Sprintf("heartbeat %s", r.beat(r.node()))
	case n < 91:
		return fmt.Sprintf("cancel %s", r.task())
	case n < 94:
		return r.leave()
	case n < 95:
		return r.register()
	case n < 96:
		return r.mark()
	case n < 98:
		return "tick"
	}
	return fmt.Sprintf("poll %s session=stale", r.node())
}

// queue changes the settings of a queue.
func (r *random) queue() string {
	line := fmt.Sprintf("queue %s weight=%d placement=%s", r.pick("a", "b"), 1+r.IntN(4), r.pick("spread", "binpack", "cheapest"))
	for _, option := range []string{"paused=1", "max_tasks=2", "max_cpu=2000", "max_mem=300", "max_gpus=1", "max_disk=300", "max_custom=license:1", "max_custom=license:2,seat:0", "ageing=1s", "ageing=20s"} {
		if r.chance(15) {
			line += " " + option
		}
	}
	return line
}

func (r *random) submit() string {
	line := "submit"
	for range 1 + r.IntN(3)*r.IntN(3) {
		if r.chance(5) && r.tasks > 0 {
			line += " " + r.task() // taken
			continue
		}
		r.tasks++
		line += fmt.Sprintf(" t%d", r.tasks)
	}
	line += fmt.Sprintf(" queue=%s max_attempts=%d max_lost=%d", r.pick("a", "b", "default"), 1+r.IntN(3), 1+r.IntN(3))
	if r.chance(50) {
		line += fmt.Sprintf(" priority=%d", r.IntN(7)-2)
	}
	if r.chance(20) {
		line += fmt.Sprintf(" key=%s max_concurrency=%d", r.pick("k", "l"), 1+r.IntN(2))
	}
	if r.chance(10) {
		line += r.pick(" delay=1s", " delay=5s", " queue_timeout=3s", " queue_timeout=12s", " delay=2s queue_timeout=3s")
	}
	if r.chance(10) {
		line += r.pick(" initial=1s multiplier=3", " max_backoff=2s", " retry_codes=1", " jitter=0")
	}
	if r.chance(15) {
		line += r.pick(" no_progress=3s", " no_progress=8s")
	}
	if r.chance(3) {
		line += fmt.Sprintf(" request=r%d", r.IntN(5))
	}
	if r.chance(40) {
		return line + " " + r.wishes()
	}
	return line + r.pick("", " cpu=100", " cpu=1000", " cpu=2500 mem=100", " mem=300", " gpus=1", " gpus=2 cpu=500", " function=f", " function=g cpu=100", " gpus=9")
}

// task is one that was submitted, likelier a late one.
func (r *random) task() string {
	return fmt.Sprintf("t%d", max(1, r.tasks-r.IntN(1+r.IntN(1+r.tasks))))
}

func (r *random) poll() string {
	line := fmt.Sprintf("poll %s max=%d", r.node(), 1+r.IntN(3))
	if r.chance(10) {
		line += " " + r.held(strings.Fields(line)[1])
	}
	if r.chance(60) {
		line += r.as()
	}
	return line
}

func (r *random) as() string {
	r.polls++
	return fmt.Sprintf(" as=p%d", r.polls)
}

// beat is what a heartbeat says.
func (r *random) beat(node string) string {
	line := node
	if r.chance(80) {
		held := r.held(node)
		line += " " + held
		if at, _, _ := strings.Cut(strings.TrimPrefix(held, "held="), ","); at != "none" && r.chance(50) {
			line += fmt.Sprintf(" progress=%s:%d/5", at, r.IntN(3))
		}
	}
	if r.chance(50) {
		line += fmt.Sprintf(" used_cpu=%d used_mem=%d", 100*r.IntN(3), r.IntN(3))
	}
	return line
}

// running are the attempts that a node has fetched.
func (r *random) running(node string) []string {
	return r.session.rows("SELECT id || '/' || attempt FROM tasks WHERE node_id = ?1 AND status = 'RUNNING' ORDER BY seq", db.Str(node))
}

func (r *random) held(node string) string {
	held := slices.DeleteFunc(r.running(node), func(string) bool { return r.chance(10) })
	if r.chance(5) {
		held = append(held, r.task()+"/1")
	}
	if len(held) == 0 {
		return "held=none"
	}
	return "held=" + strings.Join(held, ",")
}

func (r *random) report() string {
	node := r.node()
	line := "report " + node
	for _, a := range r.running(node) {
		if r.chance(70) {
			line += " " + a + "=" + r.pick("completed", "completed", "completed", "failed", "failed", "released", "cancelled")
		}
	}
	if r.chance(10) {
		line += fmt.Sprintf(" %s/%d=%s", r.task(), 1+r.IntN(2), r.pick("completed", "failed"))
	}
	if r.chance(50) {
		line += fmt.Sprintf(" max=%d", 1+r.IntN(3))
		if r.chance(50) {
			line += r.as()
		}
	}
	return line
}

// mark changes whether a node is given tasks.
func (r *random) mark() string {
	node := r.node()
	return r.pick("cordon "+node, "uncordon "+node, "uncordon "+node, "drain "+node, "drain "+node+" deadline=0s", "drain "+node+" deadline=3s", "remove "+node,
		"heartbeat "+node+" terminating=31s "+r.held(node))
}

// remove forgets a node that is gone, or those that are gone for long. It may come back in
// the same group.
func (r *random) remove() string {
	node := r.node()
	back := fmt.Sprintf("remove %s\nnode %s %s", node, node, r.held(node))
	return r.pick("prune-nodes keep=20s", back, fmt.Sprintf("together\n%s\n%s", back, r.call()))
}

// leave ends a poll that waits.
func (r *random) leave() string {
	var waiting []string
	for _, o := range r.session.polls {
		waiting = append(waiting, o.name)
	}
	if len(waiting) == 0 {
		return "tick"
	}
	return r.pick("timeout ", "hangup ") + r.pick(waiting...)
}

// register is a new session of a node, or one that says again what it is.
func (r *random) register() string {
	node := r.node()
	if r.chance(50) {
		return fmt.Sprintf("restart-session %s %s", node, r.spec())
	}
	if strings.HasPrefix(node, "shrinks") {
		return fmt.Sprintf("node %s %s %s", node, r.held(node), r.spec())
	}
	return fmt.Sprintf("node %s %s", node, r.held(node)) // as it was
}
