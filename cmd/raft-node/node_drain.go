package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// drainPollInterval is how often a drain that is waited for is looked at.
const drainPollInterval = time.Second

// drainMax is the longest deadline that the contract allows.
const drainMax = 720 * time.Hour

func newNodeCordonCommand(a *app) *cobra.Command {
	return a.nodeChange("cordon NODE", "Keep new tasks from a node", "", func(ctx context.Context, c *client.Client, id string) (*v1.Node, error) {
		res, err := c.CordonNode(ctx, &v1.CordonNodeRequest{Id: id})
		return res.GetNode(), err
	})
}

func newNodeUncordonCommand(a *app) *cobra.Command {
	return a.nodeChange("uncordon NODE", "Let a node have new tasks again",
		"Ends a cordon, a drain, and the time for which a node is held back that loses its tasks again and again.",
		func(ctx context.Context, c *client.Client, id string) (*v1.Node, error) {
			res, err := c.UncordonNode(ctx, &v1.UncordonNodeRequest{Id: id})
			return res.GetNode(), err
		})
}

// nodeChange is a command that changes one node and prints it.
func (a *app) nodeChange(use, short, long string, change func(context.Context, *client.Client, string) (*v1.Node, error)) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Long: long, Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		n, err := change(cmd.Context(), c, args[0])
		if err != nil {
			return err
		}
		return a.print(&v1.GetNodeResponse{Node: n}, func(w io.Writer) { nodeBlock(w, n) })
	}}
}

const drainLong = `Keeps new tasks from a node and takes off it what it has: tasks that it has not
fetched at once, tasks that run once they have ended. What still runs at the deadline
is stopped and put back to be run elsewhere; that counts neither as a failure nor as a
loss of the task. The node stays cordoned until 'node uncordon', and may be stopped
once it has no tasks. Ctrl-C ends the waiting of --wait, and not the drain.

Drained again, the node gets the new deadline.`

func newNodeDrainCommand(a *app) *cobra.Command {
	var deadline time.Duration
	var wait bool
	cmd := &cobra.Command{Use: "drain NODE", Short: "Take the work off a node", Long: drainLong, Args: cobra.ExactArgs(1),
		Example: "  raft-node node drain gpu-7 --deadline 30m --wait"}
	cmd.Flags().DurationVar(&deadline, "deadline", 0, "how long to wait for what runs, 0s to 720h (default: as long as it takes)")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until the node has no tasks, and show how far it is")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		req := &v1.DrainNodeRequest{Id: args[0]}
		if cmd.Flags().Changed("deadline") {
			if deadline < 0 || deadline > drainMax {
				return usageErrorf("--deadline %v: give 0s to 720h", deadline)
			}
			req.Deadline = durationpb.New(deadline)
		}
		res, err := c.DrainNode(cmd.Context(), req)
		if err != nil {
			return err
		}
		n := res.GetNode()
		if wait {
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			if n, err = a.awaitDrained(ctx, c, n); err != nil {
				return err
			}
		}
		return a.print(&v1.GetNodeResponse{Node: n}, func(w io.Writer) { nodeBlock(w, n) })
	}
	return cmd
}

// awaitDrained waits until a node has no tasks, and tells on standard error when
// their number changes.
func (a *app) awaitDrained(ctx context.Context, c *client.Client, n *v1.Node) (*v1.Node, error) {
	tick := time.NewTicker(drainPollInterval)
	defer tick.Stop()
	for left := int32(-1); n.GetRunningTasks() > 0; {
		if n.GetDrain() == nil {
			return n, fmt.Errorf("node %s was uncordoned meanwhile: it is not drained", n.GetId())
		}
		if n.GetRunningTasks() != left {
			left = n.GetRunningTasks()
			_, _ = fmt.Fprintf(a.err, "%s: %d of %d tasks left\n", n.GetId(), left, n.GetDrain().GetInitialTasks())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return n, exitError{exitInterrupted, fmt.Errorf("no longer waiting. The drain of node %s goes on: 'raft-node node get %s' shows it, 'raft-node node uncordon %s' takes it back",
				n.GetId(), n.GetId(), n.GetId())}
		}
		res, err := c.GetNode(ctx, &v1.GetNodeRequest{Id: n.GetId()})
		if err != nil && ctx.Err() == nil {
			return n, err
		}
		if err == nil {
			n = res.GetNode()
		}
	}
	return n, nil
}

// scheduling is whether a node is given tasks, in few words; "" if it is.
func scheduling(n *v1.Node) string {
	var words []string
	switch {
	case n.GetDrain() != nil && n.GetRunningTasks() == 0:
		words = append(words, "DRAINED")
	case n.GetDrain() != nil:
		words = append(words, "DRAINING")
	case !n.GetSchedulable():
		words = append(words, "CORDONED")
	}
	if n.GetTerminatingTime() != nil {
		words = append(words, "TERMINATING")
	}
	if n.GetProbationEndTime() != nil {
		words = append(words, "HELD BACK")
	}
	if n.GetStatus() == v1.NodeStatus_NODE_STATUS_HEALTHY && !n.GetPolling() && n.GetRunningTasks() < n.GetSpec().GetSlots() {
		words = append(words, "NOT POLLING")
	}
	return strings.Join(words, ",")
}

// drainText is how far a drain is.
func drainText(n *v1.Node) string {
	d := n.GetDrain()
	if d == nil {
		return ""
	}
	text := fmt.Sprintf("since %s, %d of %d tasks left", when(d.GetStartTime()), n.GetRunningTasks(), d.GetInitialTasks())
	if d.GetDeadline() != nil {
		text += ", what runs is stopped at " + when(d.GetDeadline())
	}
	return text
}
