package raftdb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/raft-control-plane/control-plane/db"
)

// Backup writes this member's state to w as an ordinary, compact SQLite file,
// while writes go on, and returns the log index at which it was taken: everything
// that was acknowledged before the call is in it. It needs as much free disk as
// the state takes.
func (e *Engine) Backup(ctx context.Context, w io.Writer) (index uint64, err error) {
	if err := e.freshen(ctx, db.ReadOptions{}); err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp(e.cfg.Dir, "backup-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "backup.db")
	if err := e.copyState(ctx, path); err != nil {
		return 0, fmt.Errorf("backup: %w", err)
	}
	if index, err = checkBackup(path); err != nil {
		return 0, fmt.Errorf("backup: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(w, f)
	return index, errors.Join(err, f.Close())
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

// checkBackup looks whether a file is a whole state, and at which index.
func checkBackup(path string) (uint64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	if info.IsDir() {
		return 0, fmt.Errorf("%s is a directory: give the file of a backup", path)
	}
	r, err := (&pool{path: path}).open()
	if err != nil {
		return 0, err
	}
	defer func() { _ = r.conn.Close() }()
	index, err := r.begin()
	if err != nil {
		return 0, fmt.Errorf("%s is not the state of a cluster: %w", path, err)
	}
	defer r.end()
	result, err := texts(r.conn, "PRAGMA integrity_check(3)")
	if err == nil && (len(result) != 1 || result[0] != "ok") {
		err = fmt.Errorf("%s is damaged: %s", path, strings.Join(result, "; "))
	}
	return index, err
}
