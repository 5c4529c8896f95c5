package db

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/raft-control-plane/control-plane/migrations"
)

var rewrite = flag.Bool("rewrite", false, "write testdata anew")

// openSchema opens an empty database with the migrations applied.
func openSchema(t *testing.T) *sqlite.Conn {
	t.Helper()
	conn, err := sqlite.OpenConn(":memory:")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	all, err := migrations.All()
	if err != nil {
		t.Fatal(err)
	}
	script := query("migration_table") + ";"
	for _, m := range all {
		script += m.SQL
	}
	if err := sqlitex.ExecuteScript(conn, script, nil); err != nil {
		t.Fatal(err)
	}
	return conn
}

// run steps through one statement with 1 for every parameter: it stands for an
// integer, a text, a JSON value and a limit alike.
func run(conn *sqlite.Conn, sql string, row func(*sqlite.Stmt)) error {
	s, _, err := conn.PrepareTransient(sql)
	if err != nil {
		return err
	}
	defer s.Finalize()
	for i := range s.BindParamCount() {
		s.BindInt64(i+1, 1)
	}
	for {
		more, err := s.Step()
		if err != nil || !more {
			return err
		}
		row(s)
	}
}

// plan returns what EXPLAIN QUERY PLAN says, indented as a tree.
func plan(t *testing.T, conn *sqlite.Conn, name, sql string) string {
	t.Helper()
	var b strings.Builder
	depth := map[int64]int{}
	err := run(conn, "EXPLAIN QUERY PLAN "+sql, func(s *sqlite.Stmt) {
		d := depth[s.ColumnInt64(1)] + 1
		depth[s.ColumnInt64(0)] = d
		fmt.Fprintf(&b, "%s%s\n", strings.Repeat("  ", d), s.ColumnText(3))
	})
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	return b.String()
}

func plans(t *testing.T) (names []string, byName map[string]string) {
	conn := openSchema(t)
	all := statements(t)
	byName = map[string]string{}
	for name, sql := range all {
		byName[name] = plan(t, conn, name, sql)
	}
	return slices.Sorted(maps.Keys(all)), byName
}

// TestPlans holds how SQLite runs each statement against testdata/plans.txt, so
// that a lost index shows. After a change that is meant: go test ./db -run
// TestPlans -rewrite, and read the difference.
func TestPlans(t *testing.T) {
	const golden = "testdata/plans.txt"
	var b strings.Builder
	names, byName := plans(t)
	for _, name := range names {
		p := byName[name]
		if p == "" {
			p = "  (searches nothing)\n"
		}
		fmt.Fprintf(&b, "%s\n%s\n", name, p)
	}
	if *rewrite {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the plans differ from %s (rewrite it if that is meant):\n%s", golden, difference(string(want), b.String()))
	}
}

// difference lists the statements whose plans differ.
func difference(want, got string) string {
	old := map[string]bool{}
	for block := range strings.SplitSeq(want, "\n\n") {
		old[block] = true
	}
	var b strings.Builder
	for block := range strings.SplitSeq(got, "\n\n") {
		if !old[block] {
			b.WriteString(block + "\n")
		}
	}
	return b.String()
}

// TestStatementsRun runs each statement as it stands in its file.
func TestStatementsRun(t *testing.T) {
	conn := openSchema(t)
	for name := range statements(t) {
		raw, err := queryFiles.ReadFile("query/" + name + ".sql")
		if err != nil {
			t.Fatal(err)
		}
		err = run(conn, string(raw), func(*sqlite.Stmt) {})
		// 1 is neither a blob nor a list of devices, which the schema says.
		if err != nil && sqlite.ErrCode(err).ToPrimary() != sqlite.ResultConstraint {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestStatementsRunBefore runs what statements were before the last migration that
// concerns them on the schema of then: a cluster has it while it is upgraded.
func TestStatementsRunBefore(t *testing.T) {
	conn, err := sqlite.OpenConn(":memory:")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	all, err := migrations.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if m.Name == "queue_limits" { // the only one with marks
			break
		}
		if err := sqlitex.ExecuteScript(conn, m.SQL, nil); err != nil {
			t.Fatal(err)
		}
	}
	ran := 0
	for name := range statements(t) {
		if before(name) == query(name) {
			continue
		}
		ran++
		if err := run(conn, before(name), func(*sqlite.Stmt) {}); err != nil && sqlite.ErrCode(err).ToPrimary() != sqlite.ResultConstraint {
			t.Errorf("%s: %v", name, err)
		}
	}
	if ran == 0 {
		t.Error("no statement has marks")
	}
}
