package scheduler

import (
	"cmp"
	"fmt"
	"math"
	"math/big"
	"slices"

	"github.com/raft-control-plane/control-plane"
)

// plain is a fleet with its queues and tasks, and the plainest way of placing these.
type plain struct {
	nodes   []plainNode
	classes []amounts
	queues  map[string]*plainQueue
	tasks   []*plainTask
}

// amounts are of slots, CPU, memory, GPUs, disk, and two that have names of their own.
type amounts [7]int64

type plainNode struct {
	has, used amounts
	price     int64
}

type plainQueue struct {
	settings controlplane.QueueSettings
	held     amounts
}

type plainTask struct {
	id, queue, key           string
	seq, createMs            int64
	class                    int
	priority, maxConcurrency int32
	node                     int // -1: it waits
	ended                    bool
}

var customNames = [2]string{"license", "seat"}

// amountLimits are the limits of a queue, in the order of amounts.
func amountLimits(l *controlplane.QueueLimits) (all [len(amounts{})]controlplane.QueueLimit) {
	all = [len(all)]controlplane.QueueLimit{l.Tasks, l.CPUMillis, l.MemoryBytes, l.GPUs, l.DiskBytes}
	for i, name := range customNames {
		all[5+i].Max, all[5+i].Set = l.Custom[name]
	}
	return all
}

func (a amounts) resources() controlplane.Resources {
	r := controlplane.Resources{CPUMillis: a[1], MemoryBytes: a[2], GPUs: int32(a[3]), DiskBytes: a[4], Custom: map[string]int64{}}
	for i, name := range customNames {
		if a[5+i] > 0 {
			r.Custom[name] = a[5+i]
		}
	}
	return r
}

func (a *amounts) add(b amounts, sign int64) {
	for i := range b {
		a[i] += sign * b[i]
	}
}

func (n *plainNode) spec() controlplane.NodeSpec {
	s := controlplane.NodeSpec{Slots: int32(n.has[0]), Capacity: n.has.resources(), PriceMicrosPerHour: n.price, Exec: true}
	for i := range n.has[3] {
		s.GPUDevices = append(s.GPUDevices, controlplane.GPUDevice{Index: int32(i)})
	}
	return s
}

func nodeName(i int) string { return fmt.Sprintf("n%d", i) }

// pass places what can be placed, and tells where.
func (p *plain) pass() map[string]string {
	got := map[string]string{}
	for {
		t, node := p.next()
		if t == nil {
			return got
		}
		t.node = node
		p.nodes[node].used.add(p.classes[t.class], 1)
		p.queues[t.queue].held.add(p.classes[t.class], 1)
		got[t.id] = nodeName(node)
	}
}

func (p *plain) end(t *plainTask) {
	t.ended = true
	p.nodes[t.node].used.add(p.classes[t.class], -1)
	p.queues[t.queue].held.add(p.classes[t.class], -1)
}

// next is the first task that can be placed of the queue that has the least for its
// weight, and its node.
func (p *plain) next() (first *plainTask, node int) {
	heads := map[string]*plainTask{}
	for _, t := range p.tasks {
		if head := heads[t.queue]; t.node < 0 && (head == nil || p.compare(t, head) < 0) && p.allowed(t) && p.best(t) >= 0 {
			heads[t.queue] = t
		}
	}
	for _, t := range heads {
		if first == nil || p.compare(t, first) < 0 {
			first = t
		}
	}
	if first == nil {
		return nil, -1
	}
	return first, p.best(first)
}

// compare says which of two tasks of a queue, or of the first of two queues, has its
// turn first.
func (p *plain) compare(a, b *plainTask) int {
	if a.queue != b.queue {
		x := new(big.Int).Mul(p.share(p.queues[a.queue]), big.NewInt(int64(p.queues[b.queue].settings.Weight)))
		y := new(big.Int).Mul(p.share(p.queues[b.queue]), big.NewInt(int64(p.queues[a.queue].settings.Weight)))
		return cmp.Or(x.Cmp(y), cmp.Compare(b.priority, a.priority), cmp.Compare(a.seq, b.seq))
	}
	if interval := p.queues[a.queue].settings.AgeingInterval.Milliseconds(); interval > 0 {
		return cmp.Or(cmp.Compare(int64(b.priority)*interval-b.createMs, int64(a.priority)*interval-a.createMs), cmp.Compare(a.seq, b.seq))
	}
	return cmp.Or(cmp.Compare(b.priority, a.priority), cmp.Compare(a.seq, b.seq))
}

// share is the dominant share of a queue in units of 1/2^52, rounded down.
func (p *plain) share(q *plainQueue) *big.Int {
	largest := new(big.Int)
	for i, held := range q.held {
		total := int64(0)
		for _, n := range p.nodes {
			total += n.has[i]
		}
		part := new(big.Int).Lsh(big.NewInt(held), 52)
		if part.Div(part, big.NewInt(max(total, 1))).Cmp(largest) > 0 {
			largest = part
		}
	}
	return largest
}

// allowed looks at the settings of the queue and at the concurrency key.
func (p *plain) allowed(t *plainTask) bool {
	q := p.queues[t.queue]
	for i, limit := range amountLimits(&q.settings.Limits) {
		if limit.Set && q.held[i]+p.classes[t.class][i] > limit.Max {
			return false
		}
	}
	return !q.settings.Paused && (t.key == "" || p.running(t.key) < t.maxConcurrency)
}

func (p *plain) running(key string) (n int32) {
	for _, t := range p.tasks {
		if t.key == key && t.node >= 0 && !t.ended {
			n++
		}
	}
	return n
}

// best is the best node that has room, -1 if there is none.
func (p *plain) best(t *plainTask) int {
	var fits []int
	for i := range p.nodes {
		if p.load(t, i) <= 1<<52 {
			fits = append(fits, i)
		}
	}
	if len(fits) == 0 {
		return -1
	}
	return slices.MinFunc(fits, func(i, j int) int {
		x, y := p.load(t, i), p.load(t, j)
		switch p.queues[t.queue].settings.Placement {
		case controlplane.PlacementBinpack:
			x, y = y, x
		case controlplane.PlacementCheapest:
			if c := cmp.Compare(p.cost(t, i), p.cost(t, j)); c != 0 {
				return c
			}
		}
		return cmp.Or(cmp.Compare(x, y), cmp.Compare(nodeName(i), nodeName(j)))
	})
}

// load is the largest share of what the node would have reserved, in units of 1/2^52.
func (p *plain) load(t *plainTask, node int) (load int64) {
	n := &p.nodes[node]
	for i, more := range p.classes[t.class] {
		switch {
		case n.used[i]+more > n.has[i]:
			return math.MaxInt64
		case more > 0:
			load = max(load, (n.used[i]+more)*(1<<52/n.has[i]))
		}
	}
	return load
}

// cost is the price of the part of the node that the task takes.
func (p *plain) cost(t *plainTask, node int) int64 {
	part := int64(0)
	for i, more := range p.classes[t.class][:5] { // what has names of its own has no price
		if more > 0 {
			part = max(part, more*(1<<52/p.nodes[node].has[i]))
		}
	}
	return p.nodes[node].price * (part >> 32)
}

// problems tells what must never be, counted anew from the tasks.
func (p *plain) problems() (problems []string) {
	nodes, queues := make([]amounts, len(p.nodes)), map[string]amounts{}
	for _, t := range p.tasks {
		if t.node >= 0 && !t.ended {
			nodes[t.node].add(p.classes[t.class], 1)
			held := queues[t.queue]
			held.add(p.classes[t.class], 1)
			queues[t.queue] = held
		}
	}
	for i, used := range nodes {
		for k := range used {
			if used[k] > p.nodes[i].has[k] {
				problems = append(problems, fmt.Sprintf("%s has %v and is to give %v", nodeName(i), p.nodes[i].has, used))
			}
		}
	}
	for name, q := range p.queues {
		l := q.settings.Limits
		for i, limit := range amountLimits(&l) {
			if !limit.Allows(queues[name][i]) {
				problems = append(problems, fmt.Sprintf("queue %s holds %v beyond %+v", name, queues[name], l))
			}
		}
	}
	for _, a := range p.tasks { // of two that differ in nothing but their place the first goes first
		for _, b := range p.tasks {
			if a.node < 0 && b.node >= 0 && a.queue == b.queue && a.class == b.class && a.key == b.key && a.maxConcurrency == b.maxConcurrency && p.compare(a, b) < 0 {
				problems = append(problems, fmt.Sprintf("%s waits and %s, which comes after it, does not", a.id, b.id))
			}
		}
	}
	return problems
}

// String writes the fleet down for a failure.
func (p *plain) String() (out string) {
	for i, n := range p.nodes {
		out += fmt.Sprintf("%s %+v\n", nodeName(i), n)
	}
	for _, name := range sortedKeys(p.queues) {
		out += fmt.Sprintf("queue %s %+v\n", name, *p.queues[name])
	}
	for _, t := range p.tasks {
		out += fmt.Sprintf("%+v needs %v\n", *t, p.classes[t.class])
	}
	return out
}
