// Package dbtest is the conformance suite of db.Engine: what the manifest, and
// everything above it, relies on. Every engine runs it in a test of its own:
//
//	func TestConformance(t *testing.T) { dbtest.Run(t, open) }
//
// The suite needs one member that leads. What several members owe each other is
// tested beside the engine.
package dbtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// patience bounds what a test waits for; nothing should come near it.
const patience = 60 * time.Second

// Run tests an engine. engine returns one whose state is empty and which will lead
// without further help; it closes it by t.Cleanup.
func Run(t *testing.T, engine func(t *testing.T) db.Engine) {
	open := func(t *testing.T) db.Engine { return checked{engine(t), t} }
	groups := []struct {
		name  string
		tests map[string]func(*testing.T, *rig)
	}{
		{"Lead", leadTests},
		{"Apply", applyTests},
		{"Read", readTests},
		{"Guarded", guardedTests},
	}
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			r := newRig(t, open(t))
			for name, test := range g.tests {
				t.Run(name, func(t *testing.T) { test(t, r.reset(t)) })
			}
		})
	}
	t.Run("Manifest", func(t *testing.T) { runManifest(t, open) })
}

// rig is an engine that leads, with a table to write to.
type rig struct {
	engine db.Engine
	term   db.Term
}

func newRig(t *testing.T, engine db.Engine) *rig {
	t.Helper()
	term, err := engine.AwaitLeadership(await(t))
	if err != nil {
		t.Fatalf("await leadership: %v", err)
	}
	return &rig{engine: engine, term: term}
}

const (
	sqlReset = `DROP TABLE IF EXISTS pairs; DROP TABLE IF EXISTS journal;
CREATE TABLE pairs (k INTEGER PRIMARY KEY, v ANY CHECK (v IS NOT 'bad')) STRICT;
CREATE TABLE journal (log_index INTEGER PRIMARY KEY, stamp_ms INTEGER, body TEXT) STRICT;`
	sqlPut     = `INSERT INTO pairs (k, v) VALUES (?1, ?2)`
	sqlChange  = `UPDATE pairs SET v = ?2 WHERE k = ?1`
	sqlJournal = `INSERT INTO journal (log_index, stamp_ms, body) VALUES (?1, ?2, ?3)`
)

// reset empties the tables.
func (r *rig) reset(t *testing.T) *rig {
	t.Helper()
	r.apply(t, &db.Op{Savepoint: true, Steps: []db.Step{{SQL: sqlReset, Script: true}}})
	return r
}

// apply commits operations of which none may fail as a whole.
func (r *rig) apply(t *testing.T, ops ...*db.Op) db.Applied {
	t.Helper()
	applied, err := r.try(t, ops...)
	if err != nil {
		t.Fatalf("apply: %v", err)
	}
	if len(applied.Results) != len(ops) {
		t.Fatalf("%d results of %d operations", len(applied.Results), len(ops))
	}
	return applied
}

// stamp is the clock of the suite's entries.
const stamp = 1_900_000_000_000

func (r *rig) try(t *testing.T, ops ...*db.Op) (db.Applied, error) {
	entry := db.Entry{StampMs: stamp, JournalSQL: sqlJournal, Ops: ops}
	return r.engine.Apply(await(t), r.term, entry.Encoded(nil))
}

// put is an operation of one step that inserts and says so in the journal.
func put(k int64, v db.Value) *db.Op {
	return &db.Op{Steps: []db.Step{{SQL: sqlPut, Args: []db.Value{db.Int(k), v}}}, Journal: fmt.Appendf(nil, `"put %d"`, k)}
}

// rows returns the rows of a query, columns parted by a bar.
func rows(t *testing.T, engine db.Engine, sql string, args ...db.Value) []string {
	t.Helper()
	var all []string
	_, err := engine.Read(await(t), db.ReadOptions{Level: db.Stale}, func(c db.Conn) (err error) {
		all, err = collect(c, sql, args...)
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return all
}

func collect(c db.Conn, sql string, args ...db.Value) (all []string, err error) {
	r, err := c.Query(sql, args...)
	if err != nil {
		return nil, err
	}
	for r.Next() {
		cols := make([]string, len(r.Columns()))
		for i := range cols {
			cols[i] = r.Value(i).String()
		}
		all = append(all, strings.Join(cols, "|"))
	}
	return all, r.Close()
}

// pairs returns the table as "k=v k=v".
func (r *rig) pairs(t *testing.T) string {
	t.Helper()
	return strings.Join(rows(t, r.engine, "SELECT k || '=' || coalesce(v, 'NULL') FROM pairs ORDER BY k"), " ")
}

func await(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func wantCode(t *testing.T, what string, err error, code controlplane.Code) {
	t.Helper()
	var e *controlplane.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Errorf("%s: got %s, want %s", what, g, w)
	}
}
