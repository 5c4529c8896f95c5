package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/raft-control-plane/control-plane/db/raftdb"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

const backupLong = `Writes the whole state to FILE, an ordinary SQLite database, while writes go on. All
that was acknowledged before the call is in it.

The state goes to FILE.tmp first, is checked there (size, SHA-256, and SQLite's
integrity_check), synced to the disk, and only then named FILE. A file that is there
is not replaced without --force. 'raft-node restore FILE' makes a cluster of it.

It takes as long as it takes: --call-timeout bounds for how long members that fail
are tried again.`

func newBackupCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "backup FILE", Short: "Write the whole state to a file", Long: backupLong, Args: cobra.ExactArgs(1),
		Example: "  raft-node backup \"backup-$(date +%F).db\"",
	}
	stale := cmd.Flags().Bool("stale", false, "take what the first member that answers has, also when the cluster has no leader")
	force := cmd.Flags().Bool("force", false, "replace FILE, and a FILE.tmp that was left, if they are there")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		req := &v1.BackupRequest{}
		if *stale {
			req.Consistency = v1.Consistency_CONSISTENCY_STALE
		}
		ctx, stop := interruptible(cmd.Context())
		defer stop()
		f, err := newBackupFile(args[0], *force)
		if err != nil {
			return err
		}
		info, err := f.write(ctx, a, req)
		if err != nil && errors.Is(ctx.Err(), context.Canceled) {
			err = exitError{exitInterrupted, fmt.Errorf("interrupted: there is no backup, and no part of one is left at %s", args[0])}
		}
		if err != nil {
			return errors.Join(err, f.discard())
		}
		return a.print(info, says("%s: %s of cluster %s at log index %d, taken by %s: %d tasks, %d nodes, SHA-256 %s", args[0],
			memory(info.GetSizeBytes()), info.GetClusterId(), info.GetIndex(), info.GetMember(), info.GetTasks(), info.GetNodes(), info.GetSha256()))
	}
	return limitFormats(cmd, nameless)
}

// backupFile is a backup that gets its name when it is whole.
type backupFile struct {
	path  string
	force bool
	tmp   *os.File
}

func newBackupFile(path string, force bool) (*backupFile, error) {
	if _, err := os.Lstat(path); err == nil && !force {
		return nil, fmt.Errorf("%s is there already: give another name, or --force to replace it", path)
	}
	how := os.O_CREATE | os.O_EXCL | os.O_WRONLY
	if force {
		how = os.O_CREATE | os.O_TRUNC | os.O_WRONLY
	}
	tmp, err := os.OpenFile(path+".tmp", how, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%s.tmp is there already: another backup is being written to it, or one was cut off; remove it if none runs, or give --force", path)
	}
	if err != nil {
		return nil, err
	}
	return &backupFile{path: path, force: force, tmp: tmp}, nil
}

func (f *backupFile) write(ctx context.Context, a *app, req *v1.BackupRequest) (*v1.BackupInfo, error) {
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	p := newProgress(a.err)
	info, err := c.Backup(ctx, req, func(i *v1.BackupInfo) { p.total = i.GetSizeBytes() }, io.MultiWriter(f.tmp, p))
	p.end()
	if err == nil {
		err = f.tmp.Sync()
	}
	if err = errors.Join(err, f.tmp.Close()); err != nil {
		return nil, err
	}
	// As it is on the disk, page by page: it is looked at again when it is too late.
	p = progressOf(a.err, func(int64, int64) string { return "checking " + memory(info.GetSizeBytes()) }).ticking()
	state, err := raftdb.CheckBackup(f.tmp.Name())
	p.end()
	if err != nil {
		return nil, err
	}
	if state.SHA256 != info.GetSha256() || state.Index != info.GetIndex() || state.Tasks != info.GetTasks() || state.Nodes != info.GetNodes() {
		return nil, fmt.Errorf("%s does not hold what was sent: check the disk, and take the backup again", f.tmp.Name())
	}
	return info, f.publish()
}

// publish gives the file its name. Without --force a file that has come meanwhile
// stays.
func (f *backupFile) publish() error {
	var err error
	if !f.force {
		err = os.Link(f.tmp.Name(), f.path)
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%s has come meanwhile: give another name, or --force to replace it", f.path)
	case err == nil && !f.force:
		err = os.Remove(f.tmp.Name())
	default: // with --force, or where there are no links
		err = os.Rename(f.tmp.Name(), f.path)
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(f.path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (f *backupFile) discard() error {
	_ = f.tmp.Close()
	if err := os.Remove(f.tmp.Name()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
