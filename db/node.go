package db

import (
	"context"
	"math"

	"github.com/raft-control-plane/control-plane"
)

// RegisterNode registers a node with a session and what it says of itself. A former
// session of the node is replaced for good; what it ran stays with the node and is
// handed out again. CodePrecondition if this session was replaced itself.
func (m *TaskManifest) RegisterNode(ctx context.Context, id, session string, spec controlplane.NodeSpec) error {
	err := m.past(ctx, func(g *Group) *Op {
		args := []Value{Str(id), Str(session), Int(g.Now)}
		g.Add(&Op{Steps: []Step{{SQL: sqlNodeRetireFormer, Args: args}}, Journal: NodeSessionReplaced.of(id)}, nil)
		g.Add(&Op{Steps: []Step{{SQL: sqlNodeBack, Args: args[:2]}}, Journal: NodeBack.of(id)}, nil)
		op := RegisterOp(id, session, "", &spec, m.firstChange(ctx, id), g.Now)
		op.Steps = append(op.Steps, deviceSteps(id, spec.GPUDevices, false)...)
		return op
	})
	if controlplane.CodeOf(err) == controlplane.CodePrecondition {
		return controlplane.Errorf(controlplane.CodePrecondition, "this session of node %s was replaced by a newer one: begin another", id)
	}
	return err
}

// firstChange is NodeRegistered for a node that is not in the state yet.
func (m *TaskManifest) firstChange(ctx context.Context, id string) NodeChange {
	change := NodeRegistered
	err := m.readNow(ctx, func(c Conn) error {
		return each(c, sqlNodeGet, func(Cursor) { change = 0 }, Str(id))
	})
	if err != nil {
		return 0
	}
	return change
}

// UpdateNodeHeartbeat renews a node's lease and records what it measured: CPU in
// thousandths of a core, memory in bytes, and the number of tasks that it runs.
// CodeNotFound if there is no such node.
func (m *TaskManifest) UpdateNodeHeartbeat(ctx context.Context, nodeID string, cpu, mem, tasks int64) error {
	err := m.past(ctx, func(g *Group) *Op {
		g.Add(&Op{Steps: []Step{{SQL: sqlNodeBack, Args: []Value{Str(nodeID), {}}}}, Journal: NodeBack.of(nodeID)}, nil)
		return &Op{Steps: []Step{{SQL: sqlNodeHeartbeatByID, Args: []Value{Str(nodeID), Int(g.Now), Int(cpu), Int(mem), Int(tasks)}}}}
	})
	if controlplane.CodeOf(err) == controlplane.CodePrecondition {
		return NodeNotFound(nodeID)
	}
	return err
}

// GetNode returns a node with what its tasks reserve. CodeNotFound if there is
// none.
func (m *TaskManifest) GetNode(ctx context.Context, id string, opts ...ReadOptions) (*controlplane.Node, error) {
	var nodes []*controlplane.Node
	err := m.read(ctx, opts, func(c Conn) (err error) {
		nodes, err = collect(c, scanNode, sqlNodeGet, Str(id))
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(nodes) == 0 {
		return nil, NodeNotFound(id)
	}
	return nodes[0], nil
}

// NodeNotFound is the answer about a node that is not known.
func NodeNotFound(id string) error {
	return &controlplane.Error{Code: controlplane.CodeNotFound, Field: "node_id",
		Message: "there is no node " + id + ": register it by a heartbeat with its spec"}
}

// ListNodes returns at most limit nodes of any of the statuses (all if none is
// given) whose id comes after afterID, by id.
func (m *TaskManifest) ListNodes(ctx context.Context, statuses []controlplane.NodeStatus, afterID string, limit int, opts ...ReadOptions) (nodes []*controlplane.Node, err error) {
	want := Value{}
	if len(statuses) > 0 {
		want = jsonValue(statuses)
	}
	err = m.read(ctx, opts, func(c Conn) (err error) {
		nodes, err = collect(c, scanNode, sqlNodeList, Str(afterID), want, Int(int64(limit)))
		return err
	})
	return nodes, err
}

// GetHealthyNodes returns all nodes whose lease is live, by id.
func (m *TaskManifest) GetHealthyNodes(ctx context.Context) ([]*controlplane.Node, error) {
	return m.ListNodes(ctx, []controlplane.NodeStatus{controlplane.NodeHealthy}, "", math.MaxInt32)
}

// Candidate is a node that may take a task, with the load that it would have.
type Candidate struct {
	NodeID string
	// Load is the largest share of any resource that would be reserved, in units of
	// 1/2^52.
	Load int64
}

// SelectLeastLoadedNode returns the healthy, schedulable node with room for the
// task on which the largest share of any resource would be the smallest.
// CodeNotFound if no node can take the task now.
func (m *TaskManifest) SelectLeastLoadedNode(ctx context.Context, taskID string) (nodeID string, err error) {
	t, err := m.GetTask(ctx, taskID)
	if err != nil {
		return "", err
	}
	err = m.readNow(ctx, func(c Conn) error {
		best, err := Candidates(c, t.ClassID, controlplane.PlacementSpread, 1)
		if err == nil && len(best) == 1 {
			nodeID = best[0].NodeID
		}
		return err
	})
	if err == nil && nodeID == "" {
		err = controlplane.Errorf(controlplane.CodeNotFound, "no healthy node has room for task %s now", taskID)
	}
	return nodeID, err
}

// sqlCandidates has the statement of each placement.
var sqlCandidates = map[controlplane.Placement]string{
	controlplane.PlacementSpread:   sqlNodeLeastLoaded,
	controlplane.PlacementBinpack:  sqlNodeMostLoaded,
	controlplane.PlacementCheapest: sqlNodeCheapest,
}

// Candidates returns at most limit nodes that may take a task of the class, the best
// by the placement first.
func Candidates(c Conn, classID int64, placement controlplane.Placement, limit int) ([]Candidate, error) {
	return collect(c, func(r Cursor) (Candidate, error) {
		return Candidate{NodeID: r.Text(0), Load: r.Int(1)}, nil
	}, sqlCandidates[placement], Int(classID), Int(int64(limit)))
}
