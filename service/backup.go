package service

import (
	"context"
	"errors"
	"io"
	"time"

	"connectrpc.com/connect"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// backupChunkBytes is how much of a backup goes into one message.
const backupChunkBytes = 256 << 10

// Backup implements ClusterService: it streams this member's state.
func (s *server) Backup(ctx context.Context, req *connect.Request[v1.BackupRequest], stream *connect.ServerStream[v1.BackupResponse]) error {
	ctx, cancel := untilClosing(ctx)
	defer cancel()
	err := s.backup(ctx, req.Msg, stream.Send)
	if err != nil && isClosing(ctx) {
		return errBackupStopping
	}
	return err
}

var errBackupStopping = &controlplane.Error{Code: controlplane.CodeUnavailable,
	Message: "this member is stopping: take the backup from another one"}

func (s *server) backup(ctx context.Context, req *v1.BackupRequest, send func(*v1.BackupResponse) error) (err error) {
	var opts db.ReadOptions
	if req.GetConsistency() == v1.Consistency_CONSISTENCY_STALE {
		opts.Level = db.Stale
	}
	// A read that asks for nothing waits for what the backup needs, as every read does.
	if err := s.readAs(ctx, opts, func(ctx context.Context, opts db.ReadOptions) error {
		_, err := s.engine.Read(ctx, opts, func(db.Conn) error { return nil })
		return err
	}); err != nil {
		return err
	}
	state, file, err := s.Admin.Backup(ctx, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	c, err := s.engine.Cluster(ctx)
	if err != nil {
		return err
	}
	defer setWriteDeadline(ctx, time.Time{}) // other calls may use the connection yet
	setWriteDeadline(ctx, time.Now().Add(s.watchTimes.cut))
	info := &v1.BackupInfo{ClusterId: state.ClusterID, Member: c.Self, Index: state.Index, SizeBytes: state.SizeBytes, Sha256: state.SHA256, Tasks: state.Tasks, Nodes: state.Nodes}
	if err := send(&v1.BackupResponse{Info: info}); err != nil {
		return err
	}
	return s.sendFile(ctx, file, send)
}

// sendFile sends a file in chunks. The connection of a reader that takes nothing is
// cut, as that of a watch is: until then the file takes up the disk.
func (s *server) sendFile(ctx context.Context, file io.Reader, send func(*v1.BackupResponse) error) error {
	chunk := make([]byte, backupChunkBytes)
	for ctx.Err() == nil {
		n, err := io.ReadFull(file, chunk)
		if n > 0 {
			setWriteDeadline(ctx, time.Now().Add(s.watchTimes.cut))
			if err := send(&v1.BackupResponse{Data: chunk[:n]}); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return err
		}
	}
	return ctx.Err()
}
