// Package raftdb is the embedded engine: SQLite replicated through Raft.
//
// An entry of the Raft log is a list of statements (db.Entry); each member runs
// it on a SQLite database of its own. The database file is the state machine: it
// holds the index up to which it has applied, is not rebuilt at a start and not
// copied at a snapshot. See DESIGN.md beside this file for what that asks of
// checkpoints, snapshots, installs and starts.
package raftdb

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	raftwal "github.com/hashicorp/raft-wal"

	"github.com/raft-control-plane/control-plane/db"
)

// Config is what a member needs to know.
type Config struct {
	// Dir holds everything that the member keeps. One process at a time.
	Dir string
	// Name of the member, unique in its cluster: letters, digits, '.', '_' and '-'.
	Name string
	// Advertise is the address, host:port, at which others reach Handler.
	Advertise string
	// Join are addresses of members, of which this one may be one.
	Join []string
	// BootstrapExpect is the number of members that form a new cluster together; 0
	// for none: then a fresh member joins the cluster at Join, or is a cluster of one
	// if Join is empty. A member that has state ignores both.
	BootstrapExpect int
	// Token is the secret that members share; empty if there is none.
	Token string
	// TLS is used to reach other members; plain TCP if nil.
	TLS *tls.Config
	// Version of the binary, for Cluster.
	Version string
	// SchemaVersion is the newest migration that this release knows; db.SchemaVersion()
	// if 0.
	SchemaVersion int
	// MinFreeBytes is what must be free where Dir is for new work to be taken; 0 for no
	// bound.
	MinFreeBytes int64
	Logger       *slog.Logger

	// Timing scales what Raft waits for; zero values stand for the defaults.
	Timing Timing
}

// Timing are durations and thresholds that tests shorten.
type Timing struct {
	// Heartbeat is how long a follower waits for its leader before it calls an
	// election; 1 s.
	Heartbeat time.Duration
	// Commit is how long Raft waits, and up to twice that, before it sends a follower a
	// message that has no entries; 50 ms.
	Commit time.Duration
	// SnapshotInterval is how often the need for a snapshot is looked at; 30 s.
	SnapshotInterval time.Duration
	// SnapshotEntries is how many log entries call for a snapshot; 8,192.
	SnapshotEntries uint64
	// TrailingEntries is how much log is kept behind a snapshot, for followers that
	// are a little behind; 2,048.
	TrailingEntries uint64
	// SnapshotWALBytes is the size of SQLite's WAL that calls for a snapshot; 64 MiB. At
	// other members than the first this and SnapshotInterval are less, by up to 0.38: they
	// take turns.
	SnapshotWALBytes int64
	// SegmentBytes is the size of a file of the log; 32 MiB.
	SegmentBytes int
	// StoreTimeout is how long one write of the log may take before the disk is taken
	// for stuck; 20 s.
	StoreTimeout time.Duration
}

// ValidName reports whether a member may have this name: 1 to 63 letters, digits,
// '.', '_' or '-', beginning with a letter or digit.
func ValidName(name string) bool { return namePattern.MatchString(name) }

var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

func (c *Config) check() error {
	c.SchemaVersion = cmp.Or(c.SchemaVersion, db.SchemaVersion())
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("no data directory is given"))
	}
	if !ValidName(c.Name) {
		errs = append(errs, fmt.Errorf("member name %q: use 1 to 63 letters, digits, '.', '_' or '-', beginning with a letter or digit", c.Name))
	}
	if _, port, err := net.SplitHostPort(c.Advertise); err != nil || port == "" {
		errs = append(errs, fmt.Errorf("advertised address %q: give host:port at which other members reach this one", c.Advertise))
	}
	if c.BootstrapExpect < 0 || c.BootstrapExpect > 9 {
		errs = append(errs, fmt.Errorf("bootstrap-expect %d: give 1 to 9, at best 3 or 5", c.BootstrapExpect))
	}
	if c.BootstrapExpect > 1 && len(c.Join) < c.BootstrapExpect-1 {
		errs = append(errs, fmt.Errorf("bootstrap-expect %d needs the addresses of all members in join, which has %d", c.BootstrapExpect, len(c.Join)))
	}
	return errors.Join(errs...)
}

func (t Timing) withDefaults() Timing {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&t.Heartbeat, time.Second)
	def(&t.Commit, min(50*time.Millisecond, t.Heartbeat/10))
	def(&t.SnapshotInterval, 30*time.Second)
	def(&t.StoreTimeout, 20*time.Second)
	if t.SnapshotEntries == 0 {
		t.SnapshotEntries = 8192
	}
	if t.TrailingEntries == 0 {
		t.TrailingEntries = 2048
	}
	if t.SegmentBytes == 0 {
		t.SegmentBytes = segmentBytes
	}
	if t.SnapshotWALBytes == 0 {
		t.SnapshotWALBytes = 64 << 20
	}
	return t
}

// Engine is a member of the cluster. It implements db.Engine.
type Engine struct {
	cfg     Config
	log     *slog.Logger
	dir     *dataDir
	self    identity
	fsm     *fsm
	wal     *raftwal.WAL
	entries *logCache // wal as Raft has it
	votes   *logMeta  // closed with wal, once that is open

	logFiles *logFiles
	raft     *raft.Raft
	peers    *peers
	disk     *diskWatch

	streams   *streamLayer
	transport *raft.NetworkTransport
	leader    *leaderWatch
	announcer *announcer
	confirm   *coalescer
	index     *coalescer
	short     *shortReads
	started   chan struct{} // closed once raft is set: Raft dials before Open ends
	closed    chan struct{} // closed when Close begins
	admitMu   sync.Mutex
	backups   chan struct{} // holds a token while no backup is being taken
	removal   removal       // of this member, once it has heard of it
	// snapshotMu lets one snapshot be taken at a time.
	snapshotMu sync.Mutex

	stop    context.CancelFunc
	done    sync.WaitGroup
	closing sync.Once

	failOnce sync.Once
	failed   chan struct{}
	failure  error
}

var _ db.Engine = (*Engine)(nil)

// Open opens the member's state and starts Raft on it. Forming or joining a
// cluster goes on in the background: Handler may be served afterwards.
func Open(cfg Config) (*Engine, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	cfg.Timing = cfg.Timing.withDefaults()
	e := &Engine{cfg: cfg, log: cfg.Logger.With("member", cfg.Name), failed: make(chan struct{}), started: make(chan struct{}), closed: make(chan struct{}), leader: newLeaderWatch(), backups: make(chan struct{}, 1)}
	e.backups <- struct{}{}
	if err := e.openState(); err != nil {
		return nil, errors.Join(err, e.release())
	}
	if err := e.startRaft(); err != nil {
		return nil, errors.Join(err, e.release())
	}
	e.startBackground()
	return e, nil
}

// openState opens the data directory, the database and the log, and checks that
// they belong together.
func (e *Engine) openState() (err error) {
	if e.dir, err = openDataDir(e.cfg.Dir); err != nil {
		return err
	}
	e.disk = newDiskWatch(&e.cfg)
	if e.self, err = e.dir.identity(e.cfg.Name); err != nil {
		return err
	}
	gen, err := e.dir.current()
	if err != nil {
		return err
	}
	state, err := openDatabase(gen, e.cfg.SchemaVersion)
	if err != nil {
		return fmt.Errorf("open the database in %s: %w", gen.path, err)
	}
	e.fsm = newFSM(e, state)
	if err := e.checkRelease(state); err != nil {
		return err
	}
	logDir := filepath.Join(e.cfg.Dir, "log")
	if err := errors.Join(makeDir(logDir), settle(logDir)); err != nil {
		return err
	}
	e.votes, e.logFiles = new(logMeta), newLogFiles(logDir, e.log)
	e.wal, err = raftwal.Open(logDir, raftwal.WithSegmentFiler(e.logFiles), raftwal.WithSegmentSize(e.cfg.Timing.SegmentBytes), raftwal.WithMetaStore(e.votes), raftwal.WithLogger(raftLogger(e.log)))
	if err != nil {
		return fmt.Errorf("open the Raft log in %s: %w", logDir, err)
	}
	return e.reconcile(state)
}

func (e *Engine) startRaft() (err error) {
	e.entries = &logCache{maxBytes: logCacheBytes, logStore: &logStore{WAL: e.wal, timeout: e.cfg.Timing.StoreTimeout, fail: e.fail}}
	if err := e.entries.recall(e.fsm.generation()); err != nil {
		return err
	}
	e.peers = newPeers(e)
	e.announcer = newAnnouncer(e)
	e.short = newShortReads(e)
	e.confirm = newCoalescer(e.confirmLeadership, e.short.confirmed)
	e.index = newCoalescer(e.askReadIndex, e.short.confirmed)
	e.streams = newStreamLayer(e)
	e.transport = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: e.streams, MaxPool: 3, Timeout: 10 * time.Second, Logger: raftLogger(e.log), MsgpackUseNewTimeFormat: true,
	})
	early := newEarlyTransport(e.transport, e.knownCommit)
	entries := &roomyLog{logCache: e.entries, disk: e.disk, storing: early.storing}
	e.raft, err = raft.NewRaft(e.raftConfig(), e.fsm, entries, e.wal, &snapshotStore{e: e}, early)
	if err != nil {
		return fmt.Errorf("start Raft: %w", err)
	}
	close(e.started)
	return nil
}

// knownCommit is what this member knows to be committed as the leader, 0 if it is none: what another
// leader has committed must not be told in an earlier one's name. It may run before Open ends.
func (e *Engine) knownCommit() uint64 {
	select {
	case <-e.started:
	default:
		return 0
	}
	if e.raft.State() != raft.Leader {
		return 0
	}
	return e.raft.CommitIndex()
}

// knownServers is servers for Raft's own goroutines, which run before Open ends.
func (e *Engine) knownServers() []raft.Server {
	<-e.started
	return e.servers()
}

func (e *Engine) raftConfig() *raft.Config {
	t := e.cfg.Timing
	c := raft.DefaultConfig()
	c.LocalID = e.self.serverID()
	c.Logger = raftLogger(e.log)
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = t.Heartbeat, t.Heartbeat, t.Heartbeat/2
	c.CommitTimeout = t.Commit
	c.SnapshotThreshold, c.TrailingLogs = math.MaxUint64, t.TrailingEntries // keepSnapshots asks for snapshots
	c.MaxAppendEntries = maxAppendEntries
	c.NoSnapshotRestoreOnStart = true // the database is at or above it: see reconcile
	c.NotifyCh = e.leader.notify
	c.NoLegacyTelemetry = true
	c.ShutdownOnRemove = false // a leader that removes itself goes on to answer, that it was removed
	return c
}

const (
	// segmentBytes is the size of a file of the log unless Timing says otherwise.
	segmentBytes = 32 << 20
	// maxAppendEntries bounds what is sent at once; an entry has up to 8 MiB.
	maxAppendEntries = 32
)

func (e *Engine) startBackground() {
	ctx, stop := context.WithCancel(context.Background())
	e.stop = stop
	for _, fn := range []func(context.Context){e.watchLeadership, e.keepSnapshots, e.watchDisk, e.runMembership} {
		e.done.Go(func() { fn(ctx) })
	}
	for range shortReaders() {
		e.done.Go(func() { e.short.run(ctx) })
	}
}

// fail ends the member: what it holds on disk or in memory can no longer be
// trusted to be the state. Nothing is applied from here on.
func (e *Engine) fail(err error) {
	e.failOnce.Do(func() {
		e.failure = err
		e.log.Error("this member stops", "error", err)
		close(e.failed)
	})
}

// Failed is closed when the member has to stop; Err says why.
func (e *Engine) Failed() <-chan struct{} { return e.failed }

// Err is why the member has to stop; nil while it has not.
func (e *Engine) Err() error {
	select {
	case <-e.failed:
		return e.failure
	default:
		return nil
	}
}

// Close stops Raft and closes the state. The other members go on.
func (e *Engine) Close() error {
	var err error
	e.closing.Do(func() {
		close(e.closed)
		e.fsm.hurry.Store(true)
		if e.stop != nil {
			e.stop()
		}
		e.announcer.timer.Stop()
		shutdown := e.raft.Shutdown()
		_ = e.transport.Close() // and the streams
		select {
		case <-e.failed: // a stuck disk would hold it up for ever
		case err = <-wait(shutdown.Error):
		}
		e.leader.close()
		e.done.Wait()
		e.peers.close()
		err = errors.Join(err, e.release())
	})
	return err
}

func wait(fn func() error) <-chan error {
	c := make(chan error, 1)
	go func() { c <- fn() }()
	return c
}

// release closes what Open has opened.
func (e *Engine) release() error {
	select {
	case <-e.failed: // a write may still be under way in these files: the process is to end
		return nil
	default:
	}
	var errs []error
	if e.wal != nil {
		errs = append(errs, e.wal.Close())
		e.logFiles.deleting.Wait() // the next one that opens the log would find them
	}
	if e.votes != nil {
		errs = append(errs, e.votes.Close())
	}
	if e.fsm != nil {
		errs = append(errs, e.fsm.close())
	}
	if e.dir != nil {
		e.dir.close()
	}
	return errors.Join(errs...)
}
