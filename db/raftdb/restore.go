package raftdb

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	raftwal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"

	"github.com/raft-control-plane/control-plane/db"
)

// Restore makes the data directory of a new cluster of one out of a backup: its
// cluster id is new, its nodes are UNKNOWN until they are heard, and what they ran
// is PENDING again. Start the member on it, and let others join. The log begins
// behind the backup's index, so that cursors and indexes go on.
func Restore(cfg Config, backup string) (index uint64, err error) {
	if err := cfg.check(); err != nil {
		return 0, err
	}
	state, err := CheckBackup(backup)
	if err != nil {
		return 0, err
	}
	if entries, err := os.ReadDir(cfg.Dir); err == nil && len(entries) > 0 {
		return 0, fmt.Errorf("%s is not empty: give a new data directory", cfg.Dir)
	}
	dir, err := openDataDir(cfg.Dir)
	if err != nil {
		return 0, err
	}
	defer dir.close()
	self, err := dir.identity(cfg.Name)
	if err != nil {
		return 0, err
	}
	g, err := dir.next(generation{filepath.Join(cfg.Dir, generationPrefix+"000000")})
	if err != nil {
		return 0, err
	}
	if err := copyFile(g.database(), backup); err != nil {
		return 0, err
	}
	d, err := openDatabase(g, cfg.SchemaVersion)
	if err != nil {
		return 0, err
	}
	version, err := schemaOf(d.conn)
	if err == nil {
		err = d.begin(cfg, self, db.RestoreSteps(version, time.Now().UnixMilli()))
	}
	err = errors.Join(err, d.close())
	if err == nil {
		err = vote(cfg.Dir, d.meta.appliedTerm)
	}
	if err == nil {
		err = dir.use(g) // last: before it there is no state
	}
	return state.Index, err
}

// Recover makes a cluster of one out of a member whose cluster has lost its
// majority for good: what its log holds beyond what it knew to be committed counts
// as committed. The cluster id is new, so that a member that comes back after all is
// refused. The member must be stopped.
func Recover(cfg Config) (index uint64, err error) {
	if err := cfg.check(); err != nil {
		return 0, err
	}
	if _, err := os.Stat(filepath.Join(cfg.Dir, "CURRENT")); err != nil {
		return 0, fmt.Errorf("%s is no member's data directory: %w", cfg.Dir, err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	e := &Engine{cfg: cfg, log: cfg.Logger, failed: make(chan struct{})}
	e.cfg.Timing = e.cfg.Timing.withDefaults()
	defer func() { err = errors.Join(err, e.release()) }()
	if err := e.openState(); err != nil {
		return 0, err
	}
	d := e.fsm.state
	if err := e.replay(d); err != nil {
		return 0, fmt.Errorf("replay the log: %w", err)
	}
	if d.meta.appliedIndex == 0 {
		return 0, fmt.Errorf("data directory %s holds no state: there is nothing to recover", cfg.Dir)
	}
	if err := d.begin(cfg, e.self, nil); err != nil {
		return 0, err
	}
	first, err := e.wal.FirstIndex()
	if err != nil {
		return 0, err
	}
	last, err := e.wal.LastIndex()
	if err == nil && last > 0 {
		err = e.wal.DeleteRange(first, last)
	}
	return d.meta.appliedIndex, err
}

// replay applies what the log has beyond the database.
func (e *Engine) replay(d *database) error {
	last, err := e.wal.LastIndex()
	if err != nil {
		return err
	}
	logs := &logStore{WAL: e.wal, timeout: time.Minute, fail: e.fail}
	for i := d.meta.appliedIndex + 1; i <= last; i++ {
		var l raft.Log
		if err := logs.GetLog(i, &l); err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		if l.Type != raft.LogCommand && l.Type != raft.LogConfiguration {
			continue
		}
		if err := d.apply([]*raft.Log{&l}, make([]any, 1)); err != nil {
			return err
		}
	}
	return nil
}

// begin makes the state that of a new cluster of one, at the index where it is.
func (d *database) begin(cfg Config, self identity, steps []db.Step) (err error) {
	if err := d.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	for i := range steps {
		if _, err := d.step(&steps[i]); err != nil {
			return errors.Join(err, d.exec("ROLLBACK"))
		}
	}
	if err := d.exec(sqlRemovedClear); err != nil { // incarnations of another cluster
		return errors.Join(err, d.exec("ROLLBACK"))
	}
	next := d.meta
	next.removed = map[raft.ServerID]uint64{}
	next.clusterID = randomID(8)
	next.configuration = raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{{ID: self.serverID(), Address: raft.ServerAddress(cfg.Advertise)}}})
	next.configurationIndex = next.appliedIndex
	if err := errors.Join(d.writeMeta(&next), d.exec("COMMIT")); err != nil {
		return err
	}
	d.meta = next
	if err := d.checkpoint(0); err != nil {
		return err
	}
	return writeJSON(d.gen.record(), &record{Index: next.appliedIndex, Term: next.appliedTerm, Configuration: next.configuration,
		ConfigurationIndex: next.configurationIndex, InstalledIndex: next.appliedIndex})
}

// vote notes the term in the log's store: a member without one has lost its log.
func vote(dir string, term uint64) error {
	logDir := filepath.Join(dir, "log")
	if err := makeDir(logDir); err != nil {
		return err
	}
	meta := new(metadb.BoltMetaDB)
	wal, err := raftwal.Open(logDir, raftwal.WithSegmentSize(segmentBytes), raftwal.WithMetaStore(meta))
	if err != nil {
		return err
	}
	return errors.Join(wal.SetUint64([]byte("CurrentTerm"), max(term, 1)), wal.Close(), meta.Close())
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}
