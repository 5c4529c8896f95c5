package scheduler

import (
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// fleetsEnv asks for another number of fleets than fleetsByDefault.
const (
	fleetsEnv       = "SCHEDULER_TEST_FLEETS"
	fleetsByDefault = 2000
)

func fleetsToTry(t *testing.T) uint64 {
	v := os.Getenv(fleetsEnv)
	if v == "" {
		return fleetsByDefault
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", fleetsEnv, err)
	}
	return n
}

// TestFleets compares passes over generated fleets and queues, in memory and without
// SQL, with plain ones (plain_test.go), as tasks come and go. Each is made twice: the
// result must not depend on the order of a map.
func TestFleets(t *testing.T) {
	placed := 0
	for seed := range fleetsToTry(t) {
		r := rand.New(rand.NewPCG(seed, 7))
		p := generate(r)
		one, two := build(p), build(p)
		for round := range 3 {
			got, again := one.pass(), two.pass()
			want := p.pass()
			if !maps.Equal(got, want) || !maps.Equal(got, again) {
				t.Fatalf("fleet %d, round %d: placed\n%v\nanother time\n%v\nplainly\n%v\n%s", seed, round, got, again, want, p)
			}
			for _, problem := range p.problems() {
				t.Fatalf("fleet %d, round %d: %s\n%s", seed, round, problem, p)
			}
			placed += len(got)
			for _, task := range p.tasks {
				if task.node >= 0 && !task.ended && r.IntN(2) == 0 {
					one.end(task.id)
					two.end(task.id)
					p.end(task)
				}
			}
		}
	}
	t.Logf("%d placements compared", placed)
}

// generate makes up a fleet with queues and tasks that wait.
func generate(r *rand.Rand) *plain {
	p := &plain{queues: map[string]*plainQueue{}}
	for range 1 + r.IntN(6) {
		p.nodes = append(p.nodes, plainNode{has: amounts{1 + r.Int64N(5), 1000 * r.Int64N(9), 100 * r.Int64N(9), max(0, r.Int64N(8)-3),
			100 * r.Int64N(6), max(0, r.Int64N(5)-1), max(0, r.Int64N(3)-1)}, price: r.Int64N(4)})
	}
	for range 1 + r.IntN(5) {
		p.classes = append(p.classes, amounts{1, []int64{0, 500, 1500}[r.IntN(3)], []int64{0, 0, 100, 300}[r.IntN(4)], max(0, r.Int64N(5)-2),
			[]int64{0, 0, 0, 100, 300}[r.IntN(5)], []int64{0, 0, 0, 1, 2}[r.IntN(5)], []int64{0, 0, 0, 0, 1}[r.IntN(5)]})
	}
	for _, name := range []string{"a", "b", "c", "d"}[:1+r.IntN(4)] {
		q := &plainQueue{settings: controlplane.DefaultQueueSettings()}
		q.settings.Weight = int32(1 + r.IntN(5))
		q.settings.Placement = controlplane.Placements[r.IntN(3)]
		q.settings.Paused = r.IntN(12) == 0
		if r.IntN(4) == 0 {
			q.settings.AgeingInterval = time.Duration(1+r.IntN(5)) * time.Second
		}
		limits := []*controlplane.QueueLimit{&q.settings.Limits.Tasks, &q.settings.Limits.CPUMillis, &q.settings.Limits.MemoryBytes, &q.settings.Limits.GPUs, &q.settings.Limits.DiskBytes}
		for i, scale := range []int64{8, 6000, 600, 5, 800} {
			if r.IntN(6) == 0 {
				*limits[i] = controlplane.QueueLimit{Set: true, Max: r.Int64N(scale)}
			}
		}
		for _, custom := range customNames {
			if r.IntN(6) == 0 {
				q.settings.Limits.Custom = addCounts(q.settings.Limits.Custom, map[string]int64{custom: 1 + r.Int64N(3)}, 1)
			}
		}
		p.queues[name] = q
	}
	names := slices.Sorted(maps.Keys(p.queues))
	for i := range r.IntN(40) {
		t := &plainTask{id: fmt.Sprintf("t%d", i), seq: int64(i + 1), queue: names[r.IntN(len(names))], class: r.IntN(len(p.classes)),
			priority: int32(r.IntN(4)), createMs: int64(i) * 700, node: -1}
		if r.IntN(4) == 0 {
			t.key, t.maxConcurrency = []string{"k", "l"}[r.IntN(2)], int32(1+r.IntN(3))
		}
		p.tasks = append(p.tasks, t)
	}
	return p
}

// built is a scheduler's copy of a generated fleet, without a state behind it.
type built struct {
	st       *state
	attempts map[string]*attempt
}

func build(p *plain) *built {
	at := time.Unix(4_000_000_000, 0)
	s := &Scheduler{tasks: db.NewTaskManifest(nil), log: slog.New(slog.DiscardHandler),
		opts: Options{Now: func() time.Time { return at }}.withDefaults()}
	s.classOf = func(id int64) db.Class { return db.Class{Resources: p.classes[id].resources()} }
	st := newState(s, nil)
	s.st = st
	for name, q := range p.queues {
		st.queues[name] = &queue{name: name, QueueSettings: q.settings, stored: true}
	}
	for i := range slices.Backward(p.nodes) { // ties are broken by id, not by who came first
		n := st.addNode(&controlplane.Node{ID: nodeName(i), SessionID: "s", Status: controlplane.NodeHealthy, Schedulable: true, Spec: p.nodes[i].spec()})
		n.waiting = []*poll{{s: s, req: controlplane.Poll{MaxTasks: 1000}, node: n, settled: true, done: make(chan struct{})}}
	}
	for _, t := range p.tasks {
		k := db.Stream{Queue: t.queue, ClassID: int64(t.class), Key: t.key, MaxConcurrency: t.maxConcurrency, Priority: t.priority}
		stream := st.stream(k)
		for _, n := range st.byNum {
			stream.class.matches[n.kind] = &match{Devices: indexes(n.spec.GPUDevices)}
		}
		stream.insert(db.Head{Seq: t.seq, TaskID: t.id, Priority: t.priority, CreateMs: t.createMs}, minHeads)
	}
	return &built{st: st, attempts: map[string]*attempt{}}
}

func indexes(devices []controlplane.GPUDevice) (out []int32) {
	for _, d := range devices {
		out = append(out, d.Index)
	}
	return out
}

// pass runs a pass as if it was committed, and returns which node each task got.
func (b *built) pass() map[string]string {
	b.st.place(&db.Group{})
	got := map[string]string{}
	for _, n := range b.st.byNum {
		p := n.waiting[0]
		for _, g := range p.given {
			b.st.keep(g.attempt)
			b.attempts[g.attempt.TaskID], got[g.attempt.TaskID] = g.attempt, n.id
		}
		p.given, p.inFlight = nil, false
	}
	b.st.endGroup()
	return got
}

func (b *built) end(id string) { b.st.release(b.attempts[id]) }

// TestFairShare looks at what weights are for: with enough tasks of one kind in all
// queues, none is ahead of another by more than one task for its weight.
func TestFairShare(t *testing.T) {
	for seed := range fleetsToTry(t) / 4 {
		r := rand.New(rand.NewPCG(seed, 8))
		p := &plain{classes: []amounts{{1}}, queues: map[string]*plainQueue{}}
		slots := int64(0)
		for range 1 + r.IntN(8) {
			n := plainNode{has: amounts{1 + r.Int64N(9)}}
			slots += n.has[0]
			p.nodes = append(p.nodes, n)
		}
		for i := range 2 + r.IntN(4) {
			q := &plainQueue{settings: controlplane.DefaultQueueSettings()}
			q.settings.Weight = int32(1 + r.IntN(9))
			name := fmt.Sprintf("q%d", i)
			p.queues[name] = q
			for range slots {
				p.tasks = append(p.tasks, &plainTask{id: fmt.Sprintf("%s-%d", name, len(p.tasks)), seq: int64(len(p.tasks) + 1), queue: name, node: -1})
			}
		}
		held := map[string]int64{}
		for id := range build(p).pass() {
			held[id[:2]]++
		}
		for a, x := range p.queues {
			for b, y := range p.queues {
				if (held[a]-1)*int64(y.settings.Weight) > held[b]*int64(x.settings.Weight) {
					t.Fatalf("fleet %d: of %d slots %s has %d for its weight %d, %s has %d for %d", seed, slots,
						a, held[a], x.settings.Weight, b, held[b], y.settings.Weight)
				}
			}
		}
	}
}
