package raftdb

import (
	"context"
	"slices"

	"github.com/hashicorp/raft"

	"github.com/raft-control-plane/control-plane"
)

// Cluster implements db.Engine.
func (e *Engine) Cluster(ctx context.Context) (controlplane.Cluster, error) {
	_, leader := e.raft.LeaderWithID()
	servers := e.servers()
	c := controlplane.Cluster{
		ID: e.fsm.cluster(), Self: e.cfg.Name, Leader: nameOf(leader), Term: e.raft.CurrentTerm(), AppliedIndex: e.AppliedIndex(), Version: e.cfg.Version,
		Members: make([]controlplane.Member, len(servers)),
	}
	addresses := make([]string, len(servers))
	for i, s := range servers {
		addresses[i] = string(s.Address)
	}
	for i, a := range e.ask(ctx, addresses) {
		m := &c.Members[i]
		*m = controlplane.Member{Name: nameOf(servers[i].ID), Address: addresses[i], Role: roleOf(servers[i], leader)}
		if servers[i].ID == e.self.serverID() {
			m.AppliedIndex, m.Version = c.AppliedIndex, c.Version
		} else if a.err == nil && a.info.ID == string(servers[i].ID) {
			m.AppliedIndex, m.Version = a.info.AppliedIndex, a.info.Version
		}
	}
	slices.SortFunc(c.Members, func(a, b controlplane.Member) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return c, nil
}

func roleOf(s raft.Server, leader raft.ServerID) controlplane.MemberRole {
	switch {
	case s.ID == leader:
		return controlplane.MemberLeader
	case s.Suffrage == raft.Voter:
		return controlplane.MemberFollower
	}
	return controlplane.MemberNonVoter
}
