package agent

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	controlplanev1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// lookTime bounds the look at who has the name. It holds up the start of an agent that
// no member answers, and is worth no more than that.
const lookTime = 2 * time.Second

// nodeReader is what client.Client has beside what a session needs.
type nodeReader interface {
	GetNode(context.Context, *controlplanev1.GetNodeRequest) (*controlplanev1.GetNodeResponse, error)
}

// warnOfOther says what is about to happen if another agent has the node's name: two on
// one machine have the same by default. The control plane cannot tell that from an agent
// that was started again, whose node is healthy for the rest of its lease as well, so it
// is a warning and no more. Any member's copy will do, and nobody waits for an answer.
func (a *agent) warnOfOther(ctx context.Context) {
	reader, ok := a.cfg.ControlPlane.(nodeReader)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	res, err := reader.GetNode(ctx, &controlplanev1.GetNodeRequest{
		Id: a.cfg.Name, Consistency: controlplanev1.Consistency_CONSISTENCY_STALE, MaxStaleness: durationpb.New(lookTime),
	})
	if err != nil {
		return // no such node, or registering says what is wrong
	}
	n := res.GetNode()
	if n.GetStatus() != controlplanev1.NodeStatus_NODE_STATUS_HEALTHY {
		return
	}
	a.log.Warn("a node of this name is HEALTHY: this agent takes its place. If that is this agent before it was started again, all is well. "+
		"If it is another agent, it stops now, and its tasks begin again elsewhere: give each agent a name of its own, such as --name "+a.cfg.Name+"-2",
		"other_session", n.GetSessionId(), "heard_ago", time.Since(n.GetHeartbeatTime().AsTime()).Round(time.Second), "running_tasks", n.GetRunningTasks())
}
