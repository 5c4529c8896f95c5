package raftdb

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"zombiezen.com/go/sqlite"

	"github.com/raft-control-plane/control-plane/db"
)

// database is one generation's SQLite database with its one writer connection and the
// readers. Whoever uses the writer connection holds writing: the FSM's goroutine, and on the
// leader the one that runs an entry ahead.
type database struct {
	gen     generation
	writing sync.Mutex
	conn    *sqlite.Conn
	ahead   *ahead
	closed  bool
	stmts   map[string]*prepared
	recent  recent
	entries db.Decoder
	// unpacked is the entry that was packed last.
	unpacked []byte
	readers  *pool
	guarded  *pool
	// beside is for checkpoints beside the FSM, and main the main file, to be synced by
	// them. Whoever uses them holds Engine.snapshotMu.
	beside *sqlite.Conn
	main   *os.File
	meta   meta
	schema int // the newest migration that this release knows

	// mainIndex is the index of which the main file is exactly the state: set by a
	// complete checkpoint, 0 while it is none.
	mainIndex atomic.Uint64
}

// meta is the row of raft_state. It is written in the transaction of the entries
// that it speaks of.
type meta struct {
	appliedIndex       uint64
	appliedTerm        uint64
	configuration      []byte // raft.EncodeConfiguration
	configurationIndex uint64
	clusterID          string
	clockMs            int64
	// removed are the servers that were taken out, and the index at which that was
	// noted. Never changed in place.
	removed map[raft.ServerID]uint64
}

const (
	sqlMetaTable = `CREATE TABLE raft_state (
  id                  INTEGER PRIMARY KEY CHECK (id = 1),
  applied_index       INTEGER NOT NULL,
  applied_term        INTEGER NOT NULL,
  configuration       BLOB,
  configuration_index INTEGER NOT NULL,
  cluster_id          TEXT NOT NULL,
  clock_ms            INTEGER NOT NULL,
  sqlite_version      TEXT NOT NULL
) STRICT`
	// The servers that were taken out of the cluster. Incarnations do not come twice, so
	// that whoever is in here can be refused without knowing the present configuration.
	sqlRemovedTable = `CREATE TABLE raft_removed (
  server_id TEXT PRIMARY KEY,
  log_index INTEGER NOT NULL
) STRICT, WITHOUT ROWID`
	sqlRemovedRead  = `SELECT server_id, log_index FROM raft_removed ORDER BY server_id`
	sqlRemovedAdd   = `INSERT OR IGNORE INTO raft_removed VALUES (?1, ?2)`
	sqlRemovedClear = `DELETE FROM raft_removed`

	sqlMetaInit  = `INSERT INTO raft_state SELECT 1, 0, 0, NULL, 0, '', 0, sqlite_version()`
	sqlMetaRead  = `SELECT applied_index, applied_term, configuration, configuration_index, cluster_id, clock_ms FROM raft_state`
	sqlMetaWrite = `UPDATE raft_state SET applied_index = ?1, applied_term = ?2, configuration = ?3, configuration_index = ?4, cluster_id = ?5, clock_ms = ?6`

	// writerCacheKiB is small because SQLite looks through the whole cache at commits.
	writerCacheKiB = 4096
	// readers and guardedReaders are how many reads go on at once.
	readers        = 8
	guardedReaders = 2
	// busyWait is how long a connection waits for a lock that another one has.
	busyWait = time.Second
	// pageBytes is the size of SQLite's pages, its default.
	pageBytes = 4096
)

// createDatabase makes an empty state.
func createDatabase(g generation) error {
	conn, err := openWriter(g.database())
	if err != nil {
		return err
	}
	for _, sql := range []string{"BEGIN", sqlMetaTable, sqlRemovedTable, sqlMetaInit, "COMMIT"} {
		if err == nil {
			err = script(conn, sql)
		}
	}
	return errors.Join(err, conn.Close()) // the last connection checkpoints
}

func openWriter(path string) (*sqlite.Conn, error) {
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite, sqlite.OpenCreate, sqlite.OpenWAL)
	if err != nil {
		return nil, err
	}
	conn.SetBusyTimeout(busyWait)
	// A commit is not synced: the Raft log is what makes it durable. Only checkpoints
	// are, and only this package makes them.
	for _, pragma := range []string{
		"PRAGMA synchronous = NORMAL", "PRAGMA wal_autocheckpoint = 0", "PRAGMA temp_store = MEMORY",
		fmt.Sprintf("PRAGMA cache_size = -%d", writerCacheKiB),
	} {
		if err := script(conn, pragma); err != nil {
			conn.Close()
			return nil, err
		}
	}
	return conn, nil
}

func openDatabase(g generation, schema int) (d *database, err error) {
	d = &database{gen: g, schema: schema, stmts: map[string]*prepared{}}
	if d.conn, err = openWriter(g.database()); err != nil {
		return nil, err
	}
	d.readers = newPool(g.database(), readers, false)
	d.guarded = newPool(g.database(), guardedReaders, true)
	if err = errors.Join(d.readMeta(), d.checkSchema(), d.openBeside()); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

// close gives back everything. SQLite does not close a connection, and keeps its
// files open, while a statement of it is not finalized.
func (d *database) close() error {
	d.readers.close()
	d.guarded.close()
	d.writing.Lock()
	defer d.writing.Unlock()
	d.closed = true
	_ = d.undoAhead()
	for _, p := range d.stmts {
		_ = p.stmt.Finalize() // repeats the error of its last step
	}
	err := d.conn.Close()
	if d.beside != nil {
		err = errors.Join(err, d.beside.Close())
	}
	if d.main != nil { // last: closing any descriptor of a file gives up the process's locks on it
		err = errors.Join(err, d.main.Close())
	}
	return err
}

func (d *database) openBeside() (err error) {
	if d.beside, err = openWriter(d.gen.database()); err != nil {
		return err
	}
	d.main, err = os.OpenFile(d.gen.database(), os.O_RDWR, 0)
	return err
}

func (d *database) readMeta() error {
	s, err := d.stmt(sqlMetaRead)
	if err != nil {
		return err
	}
	defer s.Reset()
	if ok, err := s.Step(); err != nil || !ok {
		return fmt.Errorf("raft_state has no row (%v): the database is not one of a member", err)
	}
	d.meta = meta{
		appliedIndex: uint64(s.ColumnInt64(0)), appliedTerm: uint64(s.ColumnInt64(1)), configuration: columnBytes(s, 2),
		configurationIndex: uint64(s.ColumnInt64(3)), clusterID: s.ColumnText(4), clockMs: s.ColumnInt64(5),
	}
	return d.readRemoved()
}

func (d *database) readRemoved() error {
	s, err := d.stmt(sqlRemovedRead)
	if err != nil {
		return err
	}
	defer s.Reset()
	d.meta.removed = map[raft.ServerID]uint64{}
	for {
		row, err := s.Step()
		if err != nil || !row {
			return err
		}
		d.meta.removed[raft.ServerID(s.ColumnText(0))] = uint64(s.ColumnInt64(1))
	}
}

func (d *database) writeMeta(m *meta) error {
	_, err := d.step(&db.Step{SQL: sqlMetaWrite, Args: []db.Value{
		db.Int(int64(m.appliedIndex)), db.Int(int64(m.appliedTerm)), {Kind: db.Blob, Bytes: m.configuration},
		db.Int(int64(m.configurationIndex)), db.Str(m.clusterID), db.Int(m.clockMs)}})
	return err
}

// servers decodes the configuration in the state.
func (m *meta) servers() raft.Configuration {
	if len(m.configuration) == 0 {
		return raft.Configuration{}
	}
	return raft.DecodeConfiguration(m.configuration)
}

// prepare returns the prepared statement of a text, kept for as long as the
// database is open: the texts are few. Conn.Prepare tells SQLite that it is kept; it
// would otherwise take up the memory that the connection has ready for what a step
// needs for a moment (lookaside), and each step would call malloc, a tenth of its time.
func (d *database) prepare(sql string) (*prepared, error) {
	if p := d.recent.find(sql); p != nil {
		return p, nil
	}
	if p, ok := d.stmts[sql]; ok {
		d.recent.add(sql, p)
		return p, nil
	}
	s, err := d.conn.Prepare(sql)
	if err != nil {
		return nil, err
	}
	p := &prepared{stmt: s, counts: changesRows(sql, s), bound: make([]boundValue, s.BindParamCount())}
	d.stmts[sql] = p
	return p, nil
}

func (d *database) stmt(sql string) (*sqlite.Stmt, error) {
	p, err := d.prepare(sql)
	if err != nil {
		return nil, err
	}
	return p.stmt, nil
}

// finish steps a statement to its end.
func (d *database) finish(s *sqlite.Stmt) error {
	for {
		row, err := s.Step()
		if err != nil {
			_ = s.Reset()
			return err
		}
		if !row {
			return s.Reset()
		}
	}
}

// exec runs a statement without parameters.
func (d *database) exec(sql string) error {
	s, err := d.stmt(sql)
	if err != nil {
		return err
	}
	return d.finish(s)
}

// script runs every statement of a text.
func script(conn *sqlite.Conn, sql string) error {
	for sql != "" {
		s, trailing, err := conn.PrepareTransient(sql)
		if err != nil {
			return err
		}
		if s.ColumnCount() == 0 && trailing == 0 && isBlank(sql) {
			return s.Finalize()
		}
		for row := true; row && err == nil; {
			row, err = s.Step()
		}
		if err = errors.Join(err, s.Finalize()); err != nil {
			return err
		}
		sql = sql[len(sql)-trailing:]
	}
	return nil
}

func columnBytes(s *sqlite.Stmt, col int) []byte {
	if s.ColumnIsNull(col) {
		return nil
	}
	b := make([]byte, s.ColumnLen(col))
	s.ColumnBytes(col, b)
	return b
}
