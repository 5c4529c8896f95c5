package raftdb

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// backupPrefix begins the names of directories in which backups are made. A start
// removes what a killed process has left.
const backupPrefix = "backup-"

// backupPatience is how long a backup waits for another one to end: one whose reader
// went away takes a moment to notice.
const backupPatience = time.Second

// backupFile is a backup that is being read; its directory goes when it is closed.
type backupFile struct {
	*os.File
	dir    string
	closed func()
}

// Close implements io.Closer.
func (f *backupFile) Close() error {
	defer f.closed()
	return errors.Join(f.File.Close(), os.RemoveAll(f.dir))
}

// Backup makes an ordinary, compact SQLite file of this member's state, as fresh as
// asked, while writes go on. It needs as much free disk as the state takes until the
// file is closed. One at a time: CodeExhausted if another one is still open after
// backupPatience.
func (e *Engine) Backup(ctx context.Context, opts db.ReadOptions) (controlplane.Backup, io.ReadCloser, error) {
	select {
	case <-e.backups:
	case <-time.After(backupPatience):
		return controlplane.Backup{}, nil, &controlplane.Error{Code: controlplane.CodeExhausted, RetryAfter: 5 * time.Second,
			Message: "this member is taking another backup: try again, or ask another member"}
	case <-ctx.Done():
		return controlplane.Backup{}, nil, ctx.Err()
	}
	state, file, err := e.backup(ctx, opts)
	if err != nil {
		e.backups <- struct{}{}
		return controlplane.Backup{}, nil, err
	}
	return state, file, nil
}

func (e *Engine) backup(ctx context.Context, opts db.ReadOptions) (state controlplane.Backup, _ *backupFile, err error) {
	if err := e.freshen(ctx, opts); err != nil {
		return state, nil, err
	}
	dir, err := os.MkdirTemp(e.cfg.Dir, backupPrefix)
	if err != nil {
		return state, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(backupError(ctx, err), os.RemoveAll(dir))
		}
	}()
	path := filepath.Join(dir, "backup.db")
	if err := e.copyState(ctx, path); err != nil {
		return state, nil, err
	}
	if state, err = CheckBackup(path); err != nil {
		return state, nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return state, nil, err
	}
	return state, &backupFile{File: f, dir: dir, closed: func() { e.backups <- struct{}{} }}, nil
}

// backupError says what the caller can do about it.
func backupError(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case sqlite.ErrCode(err).ToPrimary() == sqlite.ResultFull:
		return controlplane.Errorf(controlplane.CodeExhausted, "the disk of this member has no room for a second copy of the state: make room, or ask another member")
	}
	return fmt.Errorf("backup: %w", err)
}

// copyState writes the state as one transaction shows it.
func (e *Engine) copyState(ctx context.Context, path string) error {
	e.fsm.mu.RLock()
	r, err := (&pool{path: e.fsm.state.gen.database()}).open()
	e.fsm.mu.RUnlock()
	if err != nil {
		return err
	}
	defer func() { _ = r.conn.Close() }()
	r.conn.SetInterrupt(ctx.Done())
	if err := script(r.conn, "PRAGMA query_only = OFF"); err != nil { // the file itself stays read-only
		return err
	}
	return script(r.conn, "VACUUM INTO '"+strings.ReplaceAll(path, "'", "''")+"'")
}

const (
	sqlBackupCluster = "SELECT cluster_id FROM raft_state"
	sqlBackupTasks   = "SELECT count(*) FROM tasks"
	sqlBackupNodes   = "SELECT count(*) FROM nodes"
)

// CheckBackup looks whether a file is the whole state of a cluster, every page of
// it, and describes it.
func CheckBackup(path string) (state controlplane.Backup, err error) {
	if state.SizeBytes, state.SHA256, err = sumFile(path); err != nil {
		return state, err
	}
	r, err := (&pool{path: path}).open()
	if err != nil {
		return state, err
	}
	defer func() { _ = r.conn.Close() }()
	if state.Index, err = r.begin(); err != nil {
		return state, fmt.Errorf("%s is not the state of a cluster: %w", path, err)
	}
	defer r.end()
	result, err := texts(r.conn, "PRAGMA integrity_check(3)")
	if err == nil && (len(result) != 1 || result[0] != "ok") {
		err = fmt.Errorf("%s is damaged: %s", path, strings.Join(result, "; "))
	}
	if err != nil {
		return state, err
	}
	cluster, err := texts(r.conn, sqlBackupCluster)
	if err != nil || len(cluster) != 1 {
		return state, fmt.Errorf("%s is not the state of a cluster: %w", path, err)
	}
	state.ClusterID = cluster[0]
	for sql, n := range map[string]*int64{sqlBackupTasks: &state.Tasks, sqlBackupNodes: &state.Nodes} {
		if *n, err = count(r.conn, sql); err != nil {
			return state, fmt.Errorf("%s is the state of a cluster that has no tables yet: %w", path, err)
		}
	}
	return state, nil
}

func sumFile(path string) (size int64, sum string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = f.Close() }() // nothing was written
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return 0, "", fmt.Errorf("%s is a directory: give the file of a backup", path)
	}
	h := sha256.New()
	size, err = io.Copy(h, f)
	return size, hex.EncodeToString(h.Sum(nil)), err
}

func count(conn *sqlite.Conn, sql string) (n int64, err error) {
	s, _, err := conn.PrepareTransient(sql)
	if err != nil {
		return 0, err
	}
	defer func() { _ = s.Finalize() }()
	if _, err := s.Step(); err != nil {
		return 0, err
	}
	return s.ColumnInt64(0), nil
}
