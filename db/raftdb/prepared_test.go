package raftdb

import (
	"math"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"zombiezen.com/go/sqlite"

	"github.com/raft-control-plane/control-plane/db"
)

// newWriter returns a writer on an empty database with a table of two columns.
func newWriter(t *testing.T) *database {
	t.Helper()
	conn, err := openWriter(filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := script(conn, "CREATE TABLE runs (n INTEGER PRIMARY KEY, a, b)"); err != nil {
		t.Fatal(err)
	}
	return &database{conn: conn, stmts: map[string]*prepared{}}
}

const sqlRun = "INSERT INTO runs VALUES (?1, ?2, ?3)"

func (d *database) run(n int, a, b db.Value) error {
	_, err := d.step(&db.Step{SQL: sqlRun, Args: []db.Value{db.Int(int64(n)), a, b}})
	return err
}

// runs returns what the runs wrote.
func (d *database) runs(t *testing.T) (rows [][2]db.Value) {
	t.Helper()
	c, err := (&reader{conn: d.conn}).Query("SELECT a, b FROM runs ORDER BY n")
	if err != nil {
		t.Fatal(err)
	}
	for c.Next() {
		rows = append(rows, [2]db.Value{c.Value(0), c.Value(1)})
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	return rows
}

// Values that are left bound are those of the run, whatever ran before it, and though the
// memory that they were in is used for others.
func TestEachRunHasItsOwnValues(t *testing.T) {
	values := []db.Value{
		{}, db.Int(0), db.Int(1), db.Int(49), db.Float(0), db.Float(1), db.Float(math.Inf(1)), db.Str(""), db.Str("1"), db.Str("a"), db.Str("b"),
		db.Str(strings.Repeat("a", maxBoundBytes)), db.Str(strings.Repeat("a", maxBoundBytes+1)), db.Str(strings.Repeat("a", maxBoundBytes) + "b"),
		{Kind: db.Blob, Bytes: []byte{}}, db.Bytes([]byte("1")), db.Bytes([]byte("a")), db.Bytes([]byte(strings.Repeat("a", maxBoundBytes+1))),
	}
	d := newWriter(t)
	rng := rand.New(rand.NewPCG(1, 2))
	var want [][2]db.Value
	memory := make([]byte, 2*(maxBoundBytes+1))
	for n := range 4000 {
		row := [2]db.Value{values[rng.IntN(len(values))], values[rng.IntN(len(values))]}
		want = append(want, row)
		used := memory
		for i, v := range row {
			if v.Bytes != nil {
				row[i].Bytes = used[:copy(used, v.Bytes)]
				used = used[len(v.Bytes):]
			}
		}
		if err := d.run(n, row[0], row[1]); err != nil {
			t.Fatal(err)
		}
	}
	for n, got := range d.runs(t) {
		if !reflect.DeepEqual(got, want[n]) {
			t.Fatalf("run %d wrote %+v, want %+v", n, got, want[n])
		}
	}
}

// What SQLite has not taken is bound again, also if it is the same.
func TestValuesAreBoundAgainAfterAnError(t *testing.T) {
	d := newWriter(t)
	long := db.Str(strings.Repeat("x", maxBoundBytes))
	if err := d.run(0, long, long); err != nil {
		t.Fatal(err)
	}
	whole := d.conn.Limit(sqlite.LimitLength, maxBoundBytes/2)
	if err := d.run(1, db.Str(strings.Repeat("y", maxBoundBytes)), long); sqlite.ErrCode(err).ToPrimary() != sqlite.ResultTooBig {
		t.Fatalf("a text beyond the limit: %v", err)
	}
	d.conn.Limit(sqlite.LimitLength, whole)
	if err := d.run(1, db.Str(strings.Repeat("y", maxBoundBytes)), long); err != nil {
		t.Fatal(err)
	}
	if got := d.runs(t); len(got) != 2 || got[1][0].String() != strings.Repeat("y", maxBoundBytes) {
		t.Errorf("the second run wrote %v", got)
	}
}
