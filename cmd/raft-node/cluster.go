package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

const joinLong = `Takes in the member that runs at ADDRESS and waits to be part of a cluster: one that
was started with a --join at which nobody answers. It has no vote at first, and
gets one by itself once it has caught up.

A member that is told where the cluster is joins by itself, without this command:
  raft-node serve --name d --listen 10.0.0.4:8080 --token-file token --join 10.0.0.1:8080`

const removeLong = `Takes a member out of the cluster for good, dead or alive: what its data directory
holds is refused from then on. A member of the same name may join with an empty
one. It is refused if the voters that would be left, as far as they answer, are no
majority: remove the dead ones first.`

const verifyLong = `Has every member hash all of its tables at one and the same log index, while writes
go on, and compares. The exit code is 0 only if all members answer and hold the same.`

func newClusterCommand(a *app) *cobra.Command {
	return newGroup("cluster", "Show and change the members",
		newClusterStatusCommand(a),
		a.clusterCommand("join ADDRESS", "Take in a member that waits", joinLong, cobra.ExactArgs(1), joinMember),
		a.clusterCommand("remove MEMBER", "Take a member out for good", removeLong, cobra.ExactArgs(1), removeMember),
		a.clusterCommand("promote MEMBER", "Give a member its vote before it has caught up", "", cobra.ExactArgs(1), promoteMember),
		a.clusterCommand("transfer [MEMBER]", "Let another member lead: this one, or the one that is the furthest", "", cobra.MaximumNArgs(1), transferLeadership),
		a.clusterCommand("snapshot [MEMBER]", "Make a member checkpoint its state and drop old log: this one, or the one that is asked", "", cobra.MaximumNArgs(1), snapshot),
		a.clusterCommand("verify", "Compare what all members hold", verifyLong, cobra.NoArgs, verify))
}

// clusterCall makes a call and says what it did: the answer, and that answer for
// people. It may return both an answer and an error.
type clusterCall func(ctx context.Context, c *client.Client, args []string) (proto.Message, func(io.Writer), error)

func (a *app) clusterCommand(use, short, long string, args cobra.PositionalArgs, do clusterCall) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Long: long, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			res, table, err := do(cmd.Context(), c, args)
			if table == nil {
				return err
			}
			return errors.Join(a.print(res, table), err)
		},
	}
}

// says is what one line tells people.
func says(format string, args ...any) func(io.Writer) {
	return func(w io.Writer) { fmt.Fprintln(w, oneLine(fmt.Sprintf(format, args...))) }
}

// nameIn is the member that is named; "" if none is.
func nameIn(args []string) string { return strings.Join(args, "") }

func newClusterStatusCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "status", Short: "Show the leader and all members", Args: cobra.NoArgs}
	addWatchFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return showView(cmd, a, view[*v1.GetClusterResponse]{
			read: func(ctx context.Context, c *client.Client) (*v1.GetClusterResponse, error) {
				return c.GetCluster(ctx, &v1.GetClusterRequest{})
			},
			table: clusterTable, // no event tells of members
		})
	}
	return cmd
}

func joinMember(ctx context.Context, c *client.Client, args []string) (proto.Message, func(io.Writer), error) {
	res, err := c.JoinMember(ctx, &v1.JoinMemberRequest{Address: args[0]})
	if err != nil {
		return nil, nil, err
	}
	m := res.GetMember()
	if m.GetRole() == v1.MemberRole_MEMBER_ROLE_NON_VOTER {
		return res, says("%s at %s has joined; it gets its vote once it has caught up, see 'raft-node cluster status'", m.GetName(), m.GetAddress()), nil
	}
	return res, says("%s at %s is a member, with a vote", m.GetName(), m.GetAddress()), nil
}

func removeMember(ctx context.Context, c *client.Client, args []string) (proto.Message, func(io.Writer), error) {
	res, err := c.RemoveMember(ctx, &v1.RemoveMemberRequest{Name: args[0]})
	if err != nil {
		return nil, nil, err
	}
	return res, says("%s is no member any more: stop it if it runs, and remove its data directory", args[0]), nil
}

func promoteMember(ctx context.Context, c *client.Client, args []string) (proto.Message, func(io.Writer), error) {
	res, err := c.PromoteMember(ctx, &v1.PromoteMemberRequest{Name: args[0]})
	if err != nil {
		return nil, nil, err
	}
	return res, says("%s has a vote", args[0]), nil
}

func transferLeadership(ctx context.Context, c *client.Client, args []string) (proto.Message, func(io.Writer), error) {
	res, err := c.TransferLeadership(ctx, &v1.TransferLeadershipRequest{Name: nameIn(args)})
	if err != nil {
		return nil, nil, err
	}
	if res.GetLeader() == "" {
		return res, says("the leader has stood down and the election is under way: see 'raft-node cluster status'"), nil
	}
	return res, says("%s leads", res.GetLeader()), nil
}

func snapshot(ctx context.Context, c *client.Client, args []string) (proto.Message, func(io.Writer), error) {
	res, err := c.Snapshot(ctx, &v1.SnapshotRequest{Name: nameIn(args)})
	if err != nil {
		return nil, nil, err
	}
	return res, says("%s has a snapshot at log index %d", res.GetName(), res.GetIndex()), nil
}

func verify(ctx context.Context, c *client.Client, _ []string) (proto.Message, func(io.Writer), error) {
	res, err := c.Verify(ctx, &v1.VerifyRequest{})
	if err != nil {
		return nil, nil, err
	}
	switch {
	case len(res.GetDifferences()) > 0:
		err = errors.New("the members do not hold the same: take a backup, then replace a member that differs by removing it and letting it join with an empty data directory")
	case !res.GetEqual():
		err = errors.New("not all members have answered: those that have hold the same; start the others, or give a longer --call-timeout")
	}
	return res, func(w io.Writer) { verifyTable(w, res) }, err
}

func verifyTable(w io.Writer, res *v1.VerifyResponse) {
	differ := map[string][]string{}
	for _, d := range res.GetDifferences() {
		for _, m := range d.GetMembers() {
			differ[m] = append(differ[m], d.GetTable())
		}
	}
	field(w, "Log index", strconv.FormatUint(res.GetIndex(), 10))
	row(w)
	row(w, "MEMBER", "TABLES", "RESULT")
	for _, m := range res.GetMembers() {
		result := "equal"
		switch {
		case m.GetError() != "":
			result = "no answer: " + m.GetError()
		case len(differ[m.GetName()]) > 0:
			result = "differs in " + strings.Join(differ[m.GetName()], ", ")
		}
		row(w, m.GetName(), strconv.Itoa(len(m.GetTables())), result)
	}
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
