package service

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// TestANodeThatIsGoneIsRemoved has one member remove what another sees go. Afterwards all
// hold the same, and none knows the node.
func TestANodeThatIsGoneIsRemoved(t *testing.T) {
	var all []string
	members := make([]*member, 3)
	for i := range members {
		members[i] = newMember(t, fmt.Sprintf("m%d", i+1))
		members[i].schedule.Lease = 300 * time.Millisecond
		all = append(all, members[i].cfg.Advertise)
	}
	for _, m := range members {
		m.cfg.Join, m.cfg.BootstrapExpect = all, len(members)
		m.start()
	}
	leader, followers := roles(t, members)
	remove := func(m *member, id string) error {
		_, err := m.nodeClient().RemoveNode(testContext(t), connect.NewRequest(&v1.RemoveNodeRequest{Id: id}))
		return err
	}
	stream := followers[0].watchEvents(&v1.WatchEventsRequest{NodeId: "n1"})
	leader.register("n1", "s1", 1)
	if got, _ := nextEvents(t, stream, 2); got[0] != "NODE_REGISTERED n1" || got[1] != "NODE_EXPIRED n1" {
		t.Fatalf("before: %v", got)
	}
	if err := remove(followers[1], "n1"); err != nil {
		t.Fatal(err)
	}
	for stream.Receive() && stream.Msg().GetEvent() == nil { // a sign of life
	}
	if e := stream.Msg().GetEvent(); eventName(e) != "NODE_REMOVED n1" || e.GetNode().GetNode() != nil || e.GetNode().GetStatus() != v1.NodeStatus_NODE_STATUS_UNSPECIFIED {
		t.Errorf("event %v, %v", e, stream.Err())
	}
	if err := remove(followers[0], "n1"); connect.CodeOf(err) != connect.CodeNotFound || !strings.Contains(err.Error(), "there is no node n1") {
		t.Errorf("removed twice: %v", err)
	}
	v, err := followers[0].clusterClient().Verify(testContext(t), connect.NewRequest(&v1.VerifyRequest{}))
	if err != nil || !v.Msg.GetEqual() {
		t.Errorf("%v, %v", v, err)
	}
	for _, m := range members {
		if _, err := m.nodeClient().GetNode(testContext(t), connect.NewRequest(&v1.GetNodeRequest{Id: "n1"})); connect.CodeOf(err) != connect.CodeNotFound {
			t.Errorf("%s: %v", m.cfg.Name, err)
		}
	}
	leader.register("n1", "s1", 1) // the same session
	if got, _ := nextEvents(t, stream, 1); got[0] != "NODE_REGISTERED n1" {
		t.Errorf("it came back as %v", got)
	}
}
