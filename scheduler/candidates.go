package scheduler

import (
	"slices"
	"strings"

	"github.com/raft-control-plane/control-plane"
)

// The candidates of a class in a heap, the best on top. container/heap would call
// Less and Swap through an interface and move each candidate twice: a pass scores the
// top some forty times for each task that it places.

// arity is the number of children in the heap: with four, what sinks to the bottom touches
// half as many lines of the cache as with two.
const arity = 4

// candidate is a node with what it is ordered by first.
type candidate struct {
	// tier puts the regions that are preferred before others, and then what costs less.
	tier int64
	load int64
	num  int32 // of the node
}

// offer is what a class knows of a node.
type offer struct {
	node  *node
	match *match
	usage controlplane.NodeUsage // when it was put into the heap: what it is ordered by must not change there
}

// notPreferred is beyond every cost: those are below 2^40 (the highest price) times 2^20.
const notPreferred = 1 << 61

func (c *class) tier(n *node, m *match) int64 {
	if m.Preferred {
		return c.cost(n)
	}
	return c.cost(n) + notPreferred
}

// offer puts a node where its load belongs, or leaves it out.
func (c *class) offer(st *state, n *node) {
	if n.num == noNum {
		return
	}
	if n.num >= len(c.offers) {
		c.offers = append(c.offers, make([]offer, len(st.byNum)-len(c.offers))...)
		c.pos = append(c.pos, make([]int32, len(st.byNum)-len(c.pos))...)
	}
	m := c.match(st, n)
	load := c.scoreBy(st, n, m)
	o := &c.offers[n.num]
	i := int(c.pos[n.num]) - 1
	if load > full {
		if i >= 0 {
			c.remove(i)
		}
		return
	}
	o.node, o.match, o.usage = n, m, n.usage
	if i < 0 {
		i = len(c.list)
		c.list = append(c.list, candidate{})
	}
	c.list[i] = candidate{tier: c.tier(n, m), load: load, num: int32(n.num)}
	c.fix(i)
}

// best returns the best node that has room, nil if there is none.
func (c *class) best(st *state) *node {
	if c.placement == controlplane.PlacementBinpack {
		c.catchUp(st)
	}
	for len(c.list) > 0 {
		top := &c.list[0]
		o := &c.offers[top.num]
		switch load := c.scoreBy(st, o.node, o.match); {
		case load > full:
			c.remove(0)
		case load != top.load:
			top.load = load
			c.fix(0)
		default:
			return o.node
		}
	}
	return nil
}

// better orders by the regions that are preferred, by cost, by load, then measured
// CPU, memory, and id.
func (c *class) better(a, b *candidate, ao, bo *offer) bool {
	switch {
	case a.tier != b.tier:
		return a.tier < b.tier
	case a.load != b.load:
		return (a.load < b.load) != (c.placement == controlplane.PlacementBinpack)
	case ao.usage.CPUMillis != bo.usage.CPUMillis:
		return ao.usage.CPUMillis < bo.usage.CPUMillis
	case ao.usage.MemoryBytes != bo.usage.MemoryBytes:
		return ao.usage.MemoryBytes < bo.usage.MemoryBytes
	}
	return ao.node.rank < bo.node.rank
}

func (c *class) less(a, b *candidate) bool {
	return c.better(a, b, &c.offers[a.num], &c.offers[b.num])
}

func (c *class) put(i int, e candidate) {
	c.list[i] = e
	c.pos[e.num] = int32(i + 1)
}

// fix moves the candidate at i to where it belongs.
func (c *class) fix(i int) {
	e := c.list[i]
	start := i
	for i > 0 {
		parent := (i - 1) / arity
		if !c.less(&e, &c.list[parent]) {
			break
		}
		c.put(i, c.list[parent])
		i = parent
	}
	if i == start {
		i = c.sink(e, i)
	}
	c.put(i, e)
}

// sink makes way for a candidate from i down, and returns where it belongs.
func (c *class) sink(e candidate, i int) int {
	for {
		child := arity*i + 1
		if child >= len(c.list) {
			return i
		}
		for next := child + 1; next < min(arity*i+1+arity, len(c.list)); next++ {
			if c.less(&c.list[next], &c.list[child]) {
				child = next
			}
		}
		if !c.less(&c.list[child], &e) {
			return i
		}
		c.put(i, c.list[child])
		i = child
	}
}

func (c *class) remove(i int) {
	c.pos[c.list[i].num] = 0
	last := len(c.list) - 1
	e := c.list[last]
	c.list = c.list[:last]
	if i < last {
		c.list[i] = e
		c.fix(i)
	}
}

// rank numbers the nodes by their ids, so that ties are broken without comparing these.
func (st *state) rank() {
	if st.ranked == len(st.byNum) {
		return
	}
	nodes := slices.Clone(st.byNum)
	slices.SortFunc(nodes, func(a, b *node) int { return strings.Compare(a.id, b.id) })
	for i, n := range nodes {
		n.rank = int32(i)
	}
	st.ranked = len(nodes)
}
