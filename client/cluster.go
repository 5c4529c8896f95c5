package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// GetCluster returns the members as the member that answers sees them.
func (c *Client) GetCluster(ctx context.Context, req *v1.GetClusterRequest) (*v1.GetClusterResponse, error) {
	return call(ctx, c, method{name: "GetCluster", repeatable: true}, req,
		func(s *server) unary[v1.GetClusterRequest, v1.GetClusterResponse] { return s.cluster.GetCluster })
}

// JoinMember takes in a member that runs and is part of no cluster.
func (c *Client) JoinMember(ctx context.Context, req *v1.JoinMemberRequest) (*v1.JoinMemberResponse, error) {
	return call(ctx, c, method{name: "JoinMember", repeatable: true}, req,
		func(s *server) unary[v1.JoinMemberRequest, v1.JoinMemberResponse] { return s.cluster.JoinMember })
}

// RemoveMember takes a member out for good. It is not tried again when its outcome is
// not known: by then another member may have joined under the name.
func (c *Client) RemoveMember(ctx context.Context, req *v1.RemoveMemberRequest) (*v1.RemoveMemberResponse, error) {
	return call(ctx, c, method{name: "RemoveMember"}, req,
		func(s *server) unary[v1.RemoveMemberRequest, v1.RemoveMemberResponse] { return s.cluster.RemoveMember })
}

// PromoteMember gives a vote to a member that has none.
func (c *Client) PromoteMember(ctx context.Context, req *v1.PromoteMemberRequest) (*v1.PromoteMemberResponse, error) {
	return call(ctx, c, method{name: "PromoteMember", repeatable: true}, req,
		func(s *server) unary[v1.PromoteMemberRequest, v1.PromoteMemberResponse] {
			return s.cluster.PromoteMember
		})
}

// TransferLeadership lets another member lead. It is tried again after an unknown
// outcome only if that member is named: otherwise leadership might move twice.
func (c *Client) TransferLeadership(ctx context.Context, req *v1.TransferLeadershipRequest) (*v1.TransferLeadershipResponse, error) {
	return call(ctx, c, method{name: "TransferLeadership", repeatable: req.GetName() != ""}, req,
		func(s *server) unary[v1.TransferLeadershipRequest, v1.TransferLeadershipResponse] {
			return s.cluster.TransferLeadership
		})
}

// Snapshot makes a member checkpoint its database and drop log.
func (c *Client) Snapshot(ctx context.Context, req *v1.SnapshotRequest) (*v1.SnapshotResponse, error) {
	return call(ctx, c, method{name: "Snapshot", repeatable: true}, req,
		func(s *server) unary[v1.SnapshotRequest, v1.SnapshotResponse] { return s.cluster.Snapshot })
}

// Verify compares what all members hold at one log index. It takes as long as the
// members need to hash their tables, or until the deadline of ctx: members that have
// not answered by then are listed with the reason.
func (c *Client) Verify(ctx context.Context, req *v1.VerifyRequest) (*v1.VerifyResponse, error) {
	return call(ctx, c, method{name: "Verify", repeatable: true}, req,
		func(s *server) unary[v1.VerifyRequest, v1.VerifyResponse] { return s.cluster.Verify })
}

// Backup writes the state of one member to w, as a SQLite database file, and checks
// its size and checksum. begun, if it is set, is called once before the first byte
// with what is to come. A member that fails before that is passed over; a backup that
// is cut off after it is an error, and what w was given is no backup. It takes as long
// as it takes; only members that fail are not tried again when the time for a call is
// over.
func (c *Client) Backup(ctx context.Context, req *v1.BackupRequest, begun func(*v1.BackupInfo), w io.Writer) (*v1.BackupInfo, error) {
	r := c.newRetry(method{name: "Backup", repeatable: true})
	for end := time.Now().Add(c.options.callTimeout); ; {
		index, srv := c.pick()
		stream, info, err := openBackup(ctx, srv, req)
		if err == nil {
			if begun != nil {
				begun(info)
			}
			return info, receiveBackup(stream, info, w)
		}
		if next := r.next(ctx, index, srv, err); next != nil {
			return nil, next
		}
		if time.Now().After(end) {
			return nil, r.giveUp(err)
		}
	}
}

type backupStream = connect.ServerStreamForClient[v1.BackupResponse]

func openBackup(ctx context.Context, srv *server, req *v1.BackupRequest) (*backupStream, *v1.BackupInfo, error) {
	stream, err := srv.cluster.Backup(ctx, connect.NewRequest(req))
	if err != nil {
		return nil, nil, err
	}
	if !stream.Receive() {
		err := stream.Err()
		if err == nil {
			err = connect.NewWireError(connect.CodeUnavailable, errStreamEnded)
		}
		_ = stream.Close()
		return nil, nil, err
	}
	return stream, stream.Msg().GetInfo(), nil
}

// receiveBackup writes what comes, and ends the stream.
func receiveBackup(stream *backupStream, info *v1.BackupInfo, w io.Writer) error {
	defer stream.Close() //nolint:errcheck // what was received counts
	sum, size := sha256.New(), int64(0)
	w = io.MultiWriter(w, sum)
	for stream.Receive() {
		data := stream.Msg().GetData()
		if _, err := w.Write(data); err != nil {
			return err
		}
		size += int64(len(data))
	}
	if err := stream.Err(); err != nil {
		return fmt.Errorf("the backup was cut off after %d of %d bytes: take it again: %w", size, info.GetSizeBytes(), err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); size != info.GetSizeBytes() || got != info.GetSha256() {
		return fmt.Errorf("the backup was damaged on the way: %d bytes with SHA-256 %s came, %d with %s were announced: take it again",
			size, got, info.GetSizeBytes(), info.GetSha256())
	}
	return nil
}
