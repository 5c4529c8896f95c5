package scheduler

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// Why a task waits. What speaks against a node comes from the same three places that
// placement goes by: the conditions of v_eligible (match), whether the node is given
// tasks at all (idle), and its room (amounts); and what speaks against the task from
// hold. So an explanation says that a node would take a task exactly if placement
// would give it to one.

// obstacle is something that speaks against a node.
type obstacle struct {
	reason string // one word
	text   string // of several nodes: "3 …"
	lacks  string // of one: "n7 …"
	// kind orders obstacles by how far they are from being overcome, share how much is
	// missing of what there is.
	kind  int
	share int64
}

const (
	lacksRoom = iota
	isIdle
	willNotDo
)

// unmet are the conditions in the order of db.Condition.
var unmet = [...]obstacle{
	db.NodeFits:         {reason: "node", text: "are not the node that it names", lacks: "is not the node that it names"},
	db.WorkFits:         {reason: "work", text: "do not run this kind of work", lacks: "does not run this kind of work"},
	db.ProviderFits:     {reason: "provider", text: "are in another cloud", lacks: "is in another cloud"},
	db.RegionFits:       {reason: "region", text: "are in another region", lacks: "is in another region"},
	db.ZoneFits:         {reason: "zone", text: "are in another zone", lacks: "is in another zone"},
	db.InstanceTypeFits: {reason: "instance_type", text: "are of another instance type", lacks: "is of another instance type"},
	db.LabelsFit:        {reason: "labels", text: "do not have the labels", lacks: "does not have the labels"},
	db.SpotFits:         {reason: "spot", text: "are spot machines or are none, against its wish", lacks: "is a spot machine or is none, against its wish"},
	db.PriceFits:        {reason: "price", text: "cost too much, or have no known price", lacks: "costs too much, or has no known price"},
	db.GPUsFit:          {reason: "gpu_model", text: "do not have enough GPUs of the models and memory", lacks: "does not have enough GPUs of the models and memory"},
}

var idles = map[string]obstacle{
	"unhealthy":   {text: "are not heard", lacks: "is not heard"},
	"cordoned":    {text: "are cordoned", lacks: "is cordoned"},
	"draining":    {text: "are drained", lacks: "is drained"},
	"terminating": {text: "are about to be taken away", lacks: "is about to be taken away"},
	"probation":   {text: "are held back because they lose their tasks again and again", lacks: "is held back because it loses its tasks again and again"},
	"not_polling": {text: "do not ask for work", lacks: "does not ask for work"},
}

// obstacles are all that speak against a node for a class; none exactly if its score
// is at most full.
func (c *class) obstacles(st *state, n *node) (list []obstacle) {
	m := c.match(st, n)
	for i, o := range unmet {
		if db.Condition(i) == db.GPUsFit && c.anyGPU() {
			continue // it has too few of any kind, which the amounts say
		}
		if m.Unmet&(1<<i) != 0 {
			o.kind = willNotDo
			list = append(list, o)
		}
	}
	if reason := st.idle(n); reason != "" && (reason != "not_polling" || n.slotsUsed < int64(n.spec.Slots)) { // a full node does not ask, and lacks slots
		o := idles[reason]
		o.reason, o.kind = reason, isIdle
		list = append(list, o)
	}
	r := c.needs.Resources
	amounts := n.amounts(r)
	for _, a := range append(amounts[:], n.customAmounts(r)...) {
		if short := a.used + a.more - a.capacity; short > 0 {
			list = append(list, obstacle{reason: a.resource, text: "lack " + plural(a.resource), lacks: "lacks " + quantity(a.resource, short), share: a.share()})
		}
	}
	if free := n.freeOf(m); m.Eligible() && free < r.GPUs && n.used.GPUs+r.GPUs <= n.spec.Capacity.GPUs {
		list = append(list, obstacle{reason: "gpus", text: "lack " + plural("gpus"), lacks: "lacks " + quantity("gpus", int64(r.GPUs-free)) + " that will do"})
	}
	return list
}

// anyGPU is whether GPUs of every model and size will do.
func (c *class) anyGPU() bool {
	return len(c.needs.Constraints.GPUModels) == 0 && c.needs.Constraints.MinGPUMemoryBytes == 0
}

// share is how much is missing of all that there is, in units of 1/full.
func (a amount) share() int64 {
	if a.capacity <= 0 {
		return math.MaxInt64
	}
	return part(a.used+a.more-a.capacity, a.capacity)
}

func plural(resource string) string {
	switch resource {
	case "cpu":
		return "CPU"
	case "gpus":
		return "GPUs"
	}
	return resource
}

func quantity(resource string, n int64) string {
	switch resource {
	case "cpu":
		return fmt.Sprintf("%g cores", float64(n)/1000)
	case "memory", "disk":
		return bytesText(n) + " of " + resource
	case "gpus":
		return count(int(n), "GPU")
	case "slots":
		return count(int(n), "slot")
	}
	return fmt.Sprintf("%d of %s", n, resource)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func bytesText(n int64) string {
	for _, u := range []struct {
		size int64
		name string
	}{{1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= u.size {
			return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(n)/float64(u.size)), ".0") + " " + u.name
		}
	}
	return fmt.Sprintf("%d B", n)
}

// Explain tells why a task is where it is. CodeNotFound if there is none.
func (s *Scheduler) Explain(ctx context.Context, id string) (*controlplane.Explanation, error) {
	t, err := s.tasks.GetTask(ctx, id)
	if err != nil {
		return nil, err
	}
	e := &controlplane.Explanation{Status: t.Status, NodeID: t.NodeID}
	if t.Status != controlplane.TaskPending {
		e.Summary = settledSummary(t)
		return e, nil
	}
	if e.TasksAhead, err = s.tasks.TasksAhead(ctx, t); err != nil {
		return nil, err
	}
	return e, s.tasks.Do(ctx, 0, func(*db.Group) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.st.explain(e, t)
	})
}

func settledSummary(t *controlplane.Task) string {
	switch {
	case t.Status == controlplane.TaskAssigned:
		return "it is given to " + t.NodeID + ", which has not fetched it yet"
	case t.Status == controlplane.TaskRunning && t.CancelRequested:
		return "it is being stopped on " + t.NodeID
	case t.Status == controlplane.TaskRunning:
		return "it runs on " + t.NodeID
	}
	return "it has ended: " + string(t.Status)
}

// explain looks at a pending task and at every node. Only in a group.
func (st *state) explain(e *controlplane.Explanation, t *controlplane.Task) {
	st.at = st.now()
	q := st.queueOf(t)
	c := st.class(t.ClassID, q.Placement)
	e.NodeID, e.Nodes = "", len(st.byNum)
	e.Hold = st.holdText(t, q, c)
	st.survey(e, c)
	e.Placeable = e.NodeID != "" && e.Hold == ""
	e.Summary = pendingSummary(e)
}

// queueOf is the queue of a task; one that memory does not keep has the defaults.
func (st *state) queueOf(t *controlplane.Task) *queue {
	if q := st.queues[t.Queue]; q != nil {
		return q
	}
	return &queue{name: t.Queue, QueueSettings: controlplane.DefaultQueueSettings()}
}

// survey asks all nodes.
func (st *state) survey(e *controlplane.Explanation, c *class) {
	byReason := map[string]*controlplane.Rejection{}
	st.rank()
	var best candidate
	var bestOffer offer
	var nearest []obstacle
	nearestID := ""
	for _, n := range st.byNum {
		obstacles := c.obstacles(st, n)
		if len(obstacles) == 0 {
			m := c.match(st, n)
			o, at := candidate{tier: c.tier(n, m), load: c.scoreBy(st, n, m)}, offer{node: n, usage: n.usage}
			if bestOffer.node == nil || c.better(&o, &best, &at, &bestOffer) {
				best, bestOffer = o, at
			}
			continue
		}
		reject(byReason, obstacles[0], n)
		if nearest == nil || closer(obstacles, n.id, nearest, nearestID) {
			nearest, nearestID = obstacles, n.id
		}
	}
	for _, r := range byReason {
		e.Rejections = append(e.Rejections, *r)
	}
	slices.SortFunc(e.Rejections, func(a, b controlplane.Rejection) int {
		return cmp.Or(b.Nodes-a.Nodes, strings.Compare(a.Reason, b.Reason))
	})
	if n := bestOffer.node; n != nil {
		e.NodeID = n.id
		return
	}
	var lacks []string
	for _, o := range nearest {
		lacks = append(lacks, o.lacks)
	}
	e.NearestNode, e.NearestMiss = nearestID, strings.Join(lacks, " and ")
}

// shownNodes bounds the nodes that a rejection names.
const shownNodes = 3

func reject(byReason map[string]*controlplane.Rejection, o obstacle, n *node) {
	r := byReason[o.reason]
	if r == nil {
		r = &controlplane.Rejection{Reason: o.reason, Message: o.lacks}
		byReason[o.reason] = r
	}
	if r.Nodes++; r.Nodes == 2 {
		r.Message = o.text
	}
	r.NodeIDs = append(r.NodeIDs, n.id)
	slices.Sort(r.NodeIDs)
	r.NodeIDs = r.NodeIDs[:min(len(r.NodeIDs), shownNodes)]
}

// closer reports whether a node comes closer to taking a task than another: by
// obstacles that are easier to overcome, then fewer, then by what is missing.
func closer(a []obstacle, aID string, b []obstacle, bID string) bool {
	worst := func(list []obstacle) (o obstacle) {
		for _, l := range list {
			o.kind, o.share = max(o.kind, l.kind), max(o.share, l.share)
		}
		return o
	}
	x, y := worst(a), worst(b)
	return cmp.Or(x.kind-y.kind, len(a)-len(b), cmp.Compare(x.share, y.share), strings.Compare(aID, bID)) < 0
}

// holdText is what keeps a task back beside nodes.
func (st *state) holdText(t *controlplane.Task, q *queue, c *class) string {
	if !t.RetryTime.IsZero() {
		return "it is not to start before " + t.RetryTime.Format(time.RFC3339)
	}
	k := db.StreamOf(t)
	switch what := st.hold(q, k, &c.needs.Resources); what {
	case "":
		return ""
	case holdPaused:
		return "its queue " + q.name + " is paused"
	case holdKey:
		return fmt.Sprintf("of its concurrency key %s at most %s may hold nodes, and as many do", k.Key, count(int(k.MaxConcurrency), "task"))
	default:
		return "its queue " + q.name + " is at its limit of " + what
	}
}

func pendingSummary(e *controlplane.Explanation) string {
	switch {
	case e.Hold != "":
		return "it waits: " + e.Hold
	case e.Placeable && e.TasksAhead == 0:
		return "it goes to " + e.NodeID + " once it is its queue's turn"
	case e.Placeable:
		return fmt.Sprintf("it could go to %s; %s of its queue come first", e.NodeID, count(e.TasksAhead, "task"))
	case e.Nodes == 0:
		return "there are no nodes"
	case e.Nodes == 1:
		return "the only node, " + e.NearestNode + ", does not take it now: it " + e.NearestMiss
	}
	var parts []string
	for _, r := range e.Rejections {
		parts = append(parts, fmt.Sprintf("%d %s", r.Nodes, r.Message))
	}
	return fmt.Sprintf("none of %s takes it now: %s; %s comes closest: it %s", count(e.Nodes, "node"), strings.Join(parts, ", "), e.NearestNode, e.NearestMiss)
}
