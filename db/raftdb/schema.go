package raftdb

import (
	"context"
	"errors"
	"fmt"

	"zombiezen.com/go/sqlite"

	"github.com/raft-control-plane/control-plane/db"
)

// Members of different releases run side by side while a cluster is upgraded. A
// migration is logged once all members know it (db.migrate asks by Schema). A member
// that meets one that it does not know all the same stops before it, so that its
// state stays what its release understands, and goes on from there when upgraded.

// errUpgrade is in the chain of the error of a member that has to be upgraded.
var errUpgrade = errors.New("upgrade this member")

// schemaTable and schemaVersion tell the newest migration of the state: the table is
// made with the first.
const (
	schemaTable   = `SELECT 1 FROM sqlite_schema WHERE name = 'schema_migrations'`
	schemaVersion = `SELECT coalesce(max(version), 0) FROM schema_migrations`
)

// checkSchema refuses a state that has migrations which this release does not know.
func (d *database) checkSchema() error {
	version, err := schemaOf(d.conn)
	if err != nil {
		return fmt.Errorf("read the schema version: %w", err)
	}
	if version > d.schema {
		return fmt.Errorf("the state is at schema version %d: %w", version, d.upgrade())
	}
	return nil
}

func (d *database) upgrade() error {
	return fmt.Errorf("this release knows versions up to %d: %w to the release of the others; its state is kept, and it goes on where it stopped", d.schema, errUpgrade)
}

func schemaOf(conn *sqlite.Conn) (version int, err error) {
	there, err := number(conn, schemaTable)
	if err != nil || there == 0 {
		return 0, err
	}
	return number(conn, schemaVersion)
}

// number returns the first column of the first row, 0 if there is none.
func number(conn *sqlite.Conn, sql string) (n int, err error) {
	s, _, err := conn.PrepareTransient(sql)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.Finalize()) }()
	row, err := s.Step()
	if row {
		n = s.ColumnInt(0)
	}
	return n, err
}

// schemaVersion is the newest migration of this member's state.
func (e *Engine) schemaVersion() (version int) {
	_, err := e.Read(context.Background(), db.ReadOptions{Level: db.Stale}, func(c db.Conn) (err error) {
		version, err = schemaOf(c.(*reader).conn)
		return err
	})
	if err != nil {
		e.log.Warn("cannot read the schema version", "error", err)
	}
	return version
}

// Schema implements db.Engine.
func (e *Engine) Schema(ctx context.Context) (db.SchemaSupport, error) {
	support := db.SchemaSupport{Version: e.cfg.SchemaVersion}
	var others []string
	for _, s := range e.servers() {
		if s.ID != e.self.serverID() {
			others = append(others, string(s.Address))
		}
	}
	for _, a := range e.ask(ctx, others) {
		if a.err != nil {
			support.Silent = append(support.Silent, a.address)
			continue
		}
		support.Version = min(support.Version, a.info.Schema)
		if a.info.Schema < e.cfg.SchemaVersion {
			support.Behind = append(support.Behind, fmt.Sprintf("%s (%s) knows %d", a.info.Name, a.info.Version, a.info.Schema))
		}
		if a.info.SQLite != sqlite.Version {
			e.log.Info("members have different releases of SQLite: upgrade all to one release", "member", a.info.Name, "sqlite", a.info.SQLite, "here", sqlite.Version)
		}
	}
	return support, ctx.Err()
}

const (
	sqliteRecorded = `SELECT sqlite_version FROM raft_state`
	sqliteRecord   = `UPDATE raft_state SET sqlite_version = sqlite_version()`
)

// checkRelease tells if another release of SQLite than this one wrote the state last,
// and records this one. It is no reason to stop: the file format is the same, and
// what may differ, the result of a statement, a verification of the members finds.
func (e *Engine) checkRelease(d *database) error {
	recorded, err := texts(d.conn, sqliteRecorded)
	if err != nil || len(recorded) != 1 || recorded[0] == sqlite.Version {
		return err
	}
	e.log.Warn("another release of SQLite wrote this state last: run the same release of raft-node on all members, and compare them once they do",
		"sqlite", recorded[0], "here", sqlite.Version)
	return script(d.conn, sqliteRecord)
}
