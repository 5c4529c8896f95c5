package difftest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane/db"
	"github.com/raft-control-plane/control-plane/db/raftdb"
)

// patience bounds what a test waits for; nothing should come near it.
const patience = 60 * time.Second

// member is the embedded engine as a cluster of one.
type member struct {
	t      *testing.T
	cfg    raftdb.Config
	engine *raftdb.Engine
	term   db.Term
}

// startMember starts an engine that takes a snapshot every few entries.
func startMember(t *testing.T) *member {
	t.Helper()
	m := &member{t: t, cfg: raftdb.Config{Dir: t.TempDir(), Name: "solo", Advertise: "127.0.0.1:1", Logger: slog.New(slog.DiscardHandler),
		Timing: raftdb.Timing{Heartbeat: 100 * time.Millisecond, SnapshotInterval: 50 * time.Millisecond, SnapshotEntries: 50, TrailingEntries: 10}}}
	m.start()
	t.Cleanup(m.stop)
	return m
}

func (m *member) start() {
	m.t.Helper()
	engine, err := raftdb.Open(m.cfg)
	if err != nil {
		m.t.Fatal(err)
	}
	m.engine = engine
	if m.term, err = engine.AwaitLeadership(within(m.t)); err != nil {
		m.t.Fatal(err)
	}
}

func (m *member) stop() {
	if err := m.engine.Close(); err != nil {
		m.t.Errorf("close: %v", err)
	}
}

// query returns the rows of a statement that reads.
func (m *member) query(sql string, args []db.Value) (rows [][]db.Value, err error) {
	m.t.Helper()
	_, err = m.engine.Read(within(m.t), db.ReadOptions{Level: db.Stale}, func(c db.Conn) error {
		cur, err := c.Query(sql, args...)
		if err != nil {
			return err
		}
		for cur.Next() {
			row := make([]db.Value, len(cur.Columns()))
			for i := range row {
				row[i] = cur.Value(i)
			}
			rows = append(rows, row)
		}
		return cur.Close()
	})
	return rows, err
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}
