package main

import (
	"io"
	"strconv"

	"github.com/spf13/cobra"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

func newClusterCommand(a *app) *cobra.Command {
	return newGroup("cluster", "Show the members",
		&cobra.Command{
			Use: "status", Short: "Show the leader and all members", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				c, err := a.client()
				if err != nil {
					return err
				}
				res, err := c.GetCluster(cmd.Context(), &v1.GetClusterRequest{})
				if err != nil {
					return err
				}
				return a.print(res, func(w io.Writer) { clusterTable(w, res) })
			},
		})
}

func clusterTable(w io.Writer, res *v1.GetClusterResponse) {
	leader := res.GetLeader()
	if leader == "" {
		leader = "none: writes wait until a majority of the members is there"
	}
	field(w, "Cluster", res.GetClusterId())
	field(w, "Leader", leader)
	field(w, "Term", strconv.FormatUint(res.GetTerm(), 10))
	field(w, "Applied index", strconv.FormatUint(res.GetAppliedIndex(), 10))
	field(w, "Version", res.GetVersion())
	row(w)
	row(w, "MEMBER", "ADDRESS", "ROLE", "APPLIED INDEX", "VERSION")
	for _, m := range res.GetMembers() {
		applied, version := strconv.FormatUint(m.GetAppliedIndex(), 10), m.GetVersion()
		if m.GetAppliedIndex() == 0 && version == "" {
			applied, version = "no answer", "-"
		}
		row(w, m.GetName(), m.GetAddress(), enum(m.GetRole(), "MEMBER_ROLE_"), applied, version)
	}
}
