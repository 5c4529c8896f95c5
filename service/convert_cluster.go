package service

import (
	"github.com/raft-control-plane/control-plane"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

func clusterToProto(c *controlplane.Cluster) *v1.GetClusterResponse {
	out := &v1.GetClusterResponse{ClusterId: c.ID, Leader: c.Leader, Term: c.Term, AppliedIndex: c.AppliedIndex, Version: c.Version}
	for i := range c.Members {
		out.Members = append(out.Members, memberToProto(&c.Members[i]))
	}
	return out
}

func memberToProto(m *controlplane.Member) *v1.Member {
	return &v1.Member{Name: m.Name, Address: m.Address, Role: memberRoleToProto[m.Role], AppliedIndex: m.AppliedIndex, Version: m.Version}
}

func verificationToProto(v *controlplane.Verification) *v1.VerifyResponse {
	out := &v1.VerifyResponse{Index: v.Index, Equal: v.Equal()}
	for _, m := range v.Members {
		content := &v1.MemberContent{Name: m.Name, Tables: m.Tables}
		if m.Err != nil {
			content.Error = cut(m.Err.Error(), maxMessage)
		}
		out.Members = append(out.Members, content)
	}
	for _, d := range v.Differences() {
		out.Differences = append(out.Differences, &v1.TableDifference{Table: d.Table, Members: d.Members})
	}
	return out
}
