package db

import (
	"context"
	"time"
)

const (
	// pruneNodes bounds the nodes that one step forgets: others wait for its entry, and for
	// each of them the former sessions of all nodes are looked through.
	pruneNodes = 20
	// nodeRemovedVersion is the migration from which on all members know NodeRemoved.
	nodeRemovedVersion = 7
)

// NodeRetention says for how long nodes are kept once they are gone: not heard for longer
// than their lease. For ever if 0.
type NodeRetention time.Duration

// DefaultNodeRetention is what is kept if nothing else is set.
const DefaultNodeRetention = NodeRetention(24 * time.Hour)

// SetNodeRetention replaces DefaultNodeRetention. Call it before Run.
func (m *TaskManifest) SetNodeRetention(r NodeRetention) { m.keepNodes = r }

// Why a node was forgotten, as watchers are told.
const (
	NodeRemovedByCall  = "removed"
	NodeRemovedByAge   = "retention"
	nodeKeepsItsCordon = 1
)

// RemoveNodeOp forgets a node that is not heard, holds nothing, and was not renewed after a
// renewal, with what belongs to it. One that is cordoned stays if it is too old: a cordon is
// a wish.
func (m *TaskManifest) RemoveNodeOp(id string, renewal int64, why string) *Op {
	op := &Op{Savepoint: true, Journal: scheduling(id, why)}
	if m.schema.Load() >= nodeRemovedVersion {
		op.Journal = event(nil, byte(NodeRemoved), 0, 0, id, why)
	}
	unless := int64(0)
	if why == NodeRemovedByAge {
		unless = nodeKeepsItsCordon
	}
	op.Steps = []Step{{SQL: sqlNodeRemove, Args: []Value{Str(id), Int(renewal), Int(unless)}}}
	op.Steps = append(op.Steps, deviceSteps(id, nil, false)[0], Step{SQL: sqlNodeSessionsForget, Args: []Value{Str(id)}})
	return op
}

// NodeForgetter is a Planner that keeps nodes. ForgetNode has it forget one that is gone
// for too long, by RemoveNodeOp, unless the node was renewed after a renewal or is to stay.
type NodeForgetter interface {
	ForgetNode(g *Group, id string, renewal int64, done func(OpResult))
}

// PruneNodes forgets the nodes that are no longer kept, and returns how many. Those stay
// that are cordoned or drained. The leader does so by itself. Each step goes through the log
// in an entry that others share.
func (m *TaskManifest) PruneNodes(ctx context.Context, keep NodeRetention) (pruned int64, err error) {
	if keep <= 0 {
		return 0, nil
	}
	for {
		gone, err := m.prunableNodes(ctx, keep)
		if err != nil || len(gone) == 0 {
			return pruned, err
		}
		var step int64
		err = m.do(ctx, 3*len(gone), 256*len(gone), func(g *Group) {
			for _, n := range gone {
				m.forgetNode(g, n, func(r OpResult) { step += r.Changed })
			}
		})
		if pruned += step; err != nil || step == 0 || len(gone) < pruneNodes { // what stays now is looked at the next time
			return pruned, err
		}
	}
}

// goneNode is a node as it was when it was found to be gone.
type goneNode struct {
	id      string
	renewal int64
}

func (m *TaskManifest) prunableNodes(ctx context.Context, keep NodeRetention) (gone []goneNode, err error) {
	err = m.readNow(ctx, func(c Conn) error {
		return each(c, sqlNodePrunable, func(r Cursor) {
			gone = append(gone, goneNode{id: r.Text(0), renewal: r.Int(1)})
		}, Int(m.batch.clock().Add(-time.Duration(keep)).UnixMilli()), Int(pruneNodes))
	})
	return gone, err
}

func (m *TaskManifest) forgetNode(g *Group, n goneNode, done func(OpResult)) {
	if f, ok := m.batch.planner.(NodeForgetter); ok {
		f.ForgetNode(g, n.id, n.renewal, done)
		return
	}
	g.Add(m.RemoveNodeOp(n.id, n.renewal, NodeRemovedByAge), done)
}
