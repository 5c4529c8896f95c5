package service

import (
	"context"
	"io"
	"strconv"
	"time"

	"connectrpc.com/connect"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// Admin changes the cluster and looks after its state. Changes of the membership,
// TransferLeadership and Verify fail with CodeUnavailable on a member that does not
// lead; SnapshotNow and Backup are about the member that is asked.
type Admin interface {
	JoinMember(ctx context.Context, address string) (controlplane.Member, error)
	RemoveMember(ctx context.Context, name string) error
	PromoteMember(ctx context.Context, name string) error
	TransferLeadership(ctx context.Context, name string) (leader string, err error)
	SnapshotNow(ctx context.Context) (index uint64, err error)
	Verify(ctx context.Context) (controlplane.Verification, error)
	// Backup returns the file of a backup, which must be closed.
	Backup(ctx context.Context, opts db.ReadOptions) (controlplane.Backup, io.ReadCloser, error)
}

// verifyWait is how long a verification without a deadline waits for members.
const verifyWait = time.Minute

// GetCluster implements ClusterService. It is what this member sees, also while
// there is no leader.
func (s *server) GetCluster(ctx context.Context, _ *connect.Request[v1.GetClusterRequest]) (*connect.Response[v1.GetClusterResponse], error) {
	c, err := s.engine.Cluster(ctx)
	if err != nil {
		return nil, err
	}
	if c.Version == "" {
		c.Version = s.Version
	}
	res := connect.NewResponse(clusterToProto(&c))
	res.Header().Set(appliedHeader, strconv.FormatUint(c.AppliedIndex, 10))
	return res, nil
}

// JoinMember implements ClusterService.
func (s *server) JoinMember(ctx context.Context, req *connect.Request[v1.JoinMemberRequest]) (*connect.Response[v1.JoinMemberResponse], error) {
	return call[v1.JoinMemberResponse]{
		header: req.Header(),
		safe:   true,
		here: func(ctx context.Context) (*v1.JoinMemberResponse, error) {
			m, err := s.Admin.JoinMember(ctx, req.Msg.GetAddress())
			return &v1.JoinMemberResponse{Member: memberToProto(&m)}, err
		},
		there: func(ctx context.Context, p *peer) (*connect.Response[v1.JoinMemberResponse], error) {
			return p.cluster.JoinMember(ctx, connect.NewRequest(req.Msg))
		},
	}.do(ctx, s)
}

// RemoveMember implements ClusterService.
func (s *server) RemoveMember(ctx context.Context, req *connect.Request[v1.RemoveMemberRequest]) (*connect.Response[v1.RemoveMemberResponse], error) {
	return call[v1.RemoveMemberResponse]{
		header: req.Header(),
		safe:   true,
		here: func(ctx context.Context) (*v1.RemoveMemberResponse, error) {
			return &v1.RemoveMemberResponse{}, s.Admin.RemoveMember(ctx, req.Msg.GetName())
		},
		there: func(ctx context.Context, p *peer) (*connect.Response[v1.RemoveMemberResponse], error) {
			return p.cluster.RemoveMember(ctx, connect.NewRequest(req.Msg))
		},
	}.do(ctx, s)
}

// PromoteMember implements ClusterService.
func (s *server) PromoteMember(ctx context.Context, req *connect.Request[v1.PromoteMemberRequest]) (*connect.Response[v1.PromoteMemberResponse], error) {
	return call[v1.PromoteMemberResponse]{
		header: req.Header(),
		safe:   true,
		here: func(ctx context.Context) (*v1.PromoteMemberResponse, error) {
			return &v1.PromoteMemberResponse{}, s.Admin.PromoteMember(ctx, req.Msg.GetName())
		},
		there: func(ctx context.Context, p *peer) (*connect.Response[v1.PromoteMemberResponse], error) {
			return p.cluster.PromoteMember(ctx, connect.NewRequest(req.Msg))
		},
	}.do(ctx, s)
}

// TransferLeadership implements ClusterService.
func (s *server) TransferLeadership(ctx context.Context, req *connect.Request[v1.TransferLeadershipRequest]) (*connect.Response[v1.TransferLeadershipResponse], error) {
	return call[v1.TransferLeadershipResponse]{
		header: req.Header(),
		safe:   true,
		here: func(ctx context.Context) (*v1.TransferLeadershipResponse, error) {
			leader, err := s.Admin.TransferLeadership(ctx, req.Msg.GetName())
			return &v1.TransferLeadershipResponse{Leader: leader}, err
		},
		there: func(ctx context.Context, p *peer) (*connect.Response[v1.TransferLeadershipResponse], error) {
			return p.cluster.TransferLeadership(ctx, connect.NewRequest(req.Msg))
		},
	}.do(ctx, s)
}

// Verify implements ClusterService. It ends a little before the caller's time does,
// so that a member that hangs is named instead of holding up the answer.
func (s *server) Verify(ctx context.Context, req *connect.Request[v1.VerifyRequest]) (*connect.Response[v1.VerifyResponse], error) {
	return call[v1.VerifyResponse]{
		header: req.Header(),
		safe:   true,
		here: func(ctx context.Context) (*v1.VerifyResponse, error) {
			ctx, cancel := context.WithDeadline(ctx, inTime(ctx, verifyWait))
			defer cancel()
			v, err := s.Admin.Verify(ctx)
			return verificationToProto(&v), err
		},
		there: func(ctx context.Context, p *peer) (*connect.Response[v1.VerifyResponse], error) {
			return p.cluster.Verify(ctx, connect.NewRequest(req.Msg))
		},
	}.do(ctx, s)
}

// Snapshot implements ClusterService: here, or at the member that is named.
func (s *server) Snapshot(ctx context.Context, req *connect.Request[v1.SnapshotRequest]) (*connect.Response[v1.SnapshotResponse], error) {
	c, err := s.engine.Cluster(ctx)
	if err != nil {
		return nil, err
	}
	name := req.Msg.GetName()
	if name == "" || name == c.Self {
		index, err := s.Admin.SnapshotNow(ctx)
		return connect.NewResponse(&v1.SnapshotResponse{Name: c.Self, Index: index}), err
	}
	for _, m := range c.Members {
		if m.Name == name && req.Header().Get(hopHeader) == "" {
			return s.snapshotAt(ctx, m.Address, req.Msg)
		}
	}
	return nil, &controlplane.Error{Code: controlplane.CodeNotFound, Field: "name",
		Message: "there is no member " + name + ": see who there is by 'raft-node cluster status'"}
}

func (s *server) snapshotAt(ctx context.Context, address string, req *v1.SnapshotRequest) (*connect.Response[v1.SnapshotResponse], error) {
	res, err := s.peers.get(address).cluster.Snapshot(ctx, connect.NewRequest(req))
	if err == nil {
		return passOn(res), nil
	}
	if ce, ok := err.(*connect.Error); ok && connect.IsWireError(err) { //nolint:errorlint // what clients return
		return nil, copyError(ce)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, &controlplane.Error{Code: controlplane.CodeUnavailable,
		Message: "member " + req.GetName() + " does not answer at " + address + ": start it, or try again"}
}
