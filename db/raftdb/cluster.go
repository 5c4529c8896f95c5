package raftdb

import (
	"context"
	"slices"

	"github.com/hashicorp/raft"

	"github.com/raft-control-plane/control-plane"
)

// ClusterID implements db.Engine.
func (e *Engine) ClusterID() string { return e.fsm.cluster() }

// Cluster implements db.Engine.
func (e *Engine) Cluster(ctx context.Context) (controlplane.Cluster, error) {
	_, leader := e.raft.LeaderWithID()
	servers := e.servers()
	c := controlplane.Cluster{
		ID: e.fsm.cluster(), Self: e.cfg.Name, Leader: nameOf(leader), Term: e.raft.CurrentTerm(), AppliedIndex: e.AppliedIndex(), Version: e.cfg.Version,
		Members: make([]controlplane.Member, len(servers)),
	}
	var others []string
	for _, s := range servers {
		if s.ID != e.self.serverID() {
			others = append(others, string(s.Address))
		}
	}
	said := map[string]memberInfo{string(e.self.serverID()): {AppliedIndex: c.AppliedIndex, Version: c.Version}}
	for _, a := range e.ask(ctx, others) {
		if a.err == nil {
			said[a.info.ID] = a.info
		}
	}
	for i, s := range servers {
		info := said[string(s.ID)] // empty if it did not answer, or another member did
		c.Members[i] = controlplane.Member{Name: nameOf(s.ID), Address: string(s.Address), Role: roleOf(s, leader),
			AppliedIndex: info.AppliedIndex, Version: info.Version}
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
