package difftest

import (
	"cmp"
	"os"
	"strconv"
	"testing"

	"github.com/raft-control-plane/control-plane/db"
)

const (
	// compareEvery is after how many entries all tables are compared, and restartEvery
	// after how many the member is started again.
	compareEvery = 25
	restartEvery = 120
)

// setting reads a number from the environment.
func setting(t *testing.T, name, otherwise string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(cmp.Or(os.Getenv(name), otherwise), 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestRandomStatements runs RAFT_NODE_DIFF_STATEMENTS random statements of
// RAFT_NODE_DIFF_SEED through both: the same errors or none, the same counts of
// changed rows, the same rows, and in the end the same tables.
func TestRandomStatements(t *testing.T) {
	seed, wanted := setting(t, "RAFT_NODE_DIFF_SEED", "1"), setting(t, "RAFT_NODE_DIFF_STATEMENTS", "3000")
	m := &mirror{t: t, rqlite: startRqlite(t)}
	solo := startMember(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("again by RAFT_NODE_DIFF_SEED=%d RAFT_NODE_DIFF_STATEMENTS=%d", seed, wanted)
		}
	})
	g := newGenerator(seed)
	setup := &db.Entry{Ops: []*db.Op{{Savepoint: true, Steps: []db.Step{{SQL: schema, Script: true}}}}}
	m.both(solo, setup)
	entries := 0
	for ; m.statements < int(wanted); entries++ {
		if g.oneIn(40) {
			m.byHalves(solo, g, entries)
		}
		m.both(solo, g.entry(entries))
		for range g.rand.IntN(4) {
			read := g.step(pick(g, readTemplates))
			m.same(solo, read.SQL, read.Args...)
			m.statements++
		}
		if entries%restartEvery == restartEvery-1 {
			solo.stop()
			solo.start()
		}
		if entries%compareEvery == compareEvery-1 {
			m.sameTables(solo)
		}
	}
	m.sameTables(solo)
	if m.failed == 0 || m.failed > m.statements/2 {
		t.Errorf("%d of %d statements failed: the mixture is none", m.failed, m.statements)
	}
	t.Logf("seed %d: %d statements in %d entries, of which %d failed on both sides", seed, m.statements, entries, m.failed)
}

// both applies an entry to both.
func (m *mirror) both(solo *member, e *db.Entry) {
	m.t.Helper()
	applied, err := solo.engine.Apply(within(m.t), solo.term, db.Encoded{Bytes: encode(m.t, e)})
	if err != nil {
		m.t.Fatalf("apply: %v", err)
	}
	m.apply(e, applied)
}

// byHalves gives the engine alone an entry of which an operation fails half-way: all of
// it is undone, and so rqlite need not hear of it.
func (m *mirror) byHalves(solo *member, g *generator, i int) {
	m.t.Helper()
	e := g.entry(i)
	e.Ops = append(e.Ops, g.halves())
	if _, err := solo.engine.Apply(within(m.t), solo.term, db.Encoded{Bytes: encode(m.t, e)}); err == nil {
		m.t.Fatal("an operation that was done by halves is no error")
	}
}
