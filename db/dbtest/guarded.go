package dbtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

var guardedTests = map[string]func(*testing.T, *rig){
	"statements that read":             testGuardedReads,
	"statements that do anything else": testGuardedRefuses,
	"parameters":                       testGuardedParams,
	"parameters with names":            testGuardedNames,
	"several statements":               testGuardedMany,
	"bounded memory":                   testGuardedMemory,
	"bounded answers":                  testGuardedLimits,
	"bounded time":                     testGuardedTime,
	"the caller goes away":             testGuardedCancel,
	"all connections are taken":        testGuardedBusy,
}

var someLimits = db.QueryLimits{Rows: 1000, Bytes: 1 << 20}

func (r *rig) query(t *testing.T, sql string, args ...db.Value) (db.QueryResult, error) {
	t.Helper()
	return db.NewTaskManifest(r.engine).Query(await(t), sql, args, someLimits)
}

func testGuardedReads(t *testing.T, r *rig) {
	a := r.apply(t, put(1, db.Str("a")), put(2, db.Float(2.5)), put(3, db.Value{}), put(4, db.Bytes([]byte{1})))
	res, err := r.query(t, "SELECT k, v AS value FROM pairs ORDER BY k")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "columns", res.Rows.GetColumns(), "[k value]")
	var got []string
	for _, v := range res.Rows.GetValues() {
		got = append(got, v.GetParameters()[1].String())
	}
	equal(t, "values", strings.ReplaceAll(strings.Join(got, ","), " ", ""), `s:"a",d:2.5,,y:"\x01"`)
	if res.Truncated || res.Index < a.Index {
		t.Errorf("truncated %v at index %d of %d", res.Truncated, res.Index, a.Index)
	}
	for sql, want := range map[string]string{
		"SELECT a.k, b.k, a.v, b.k FROM pairs a, pairs b":        "[k k v k]",
		"SELECT 1, 1, 2; -- the end ; ":                          "[1 1 2]",
		"SELECT * FROM pairs a JOIN pairs b ON a.k = b.k -- end": "[k v k v]",
		"SELECT 1 AS 'x:1', 2 AS 'x:1', 3 AS x, 4 AS x":          "[x:1 x:1 x x]",
		"WITH n AS (SELECT 1 AS i) SELECT i, I, i FROM n":        "[i I i]",
		"SELECT 1 AS a, 2 AS A, 3 AS a":                          "[a A a]",
	} {
		if res, err = r.query(t, sql); err != nil {
			t.Fatal(err)
		}
		equal(t, sql, res.Rows.GetColumns(), want)
	}
	for _, sql := range []string{
		"SELECT 1;", "SELECT 1 -- and no more", "SELECT 1; -- and no more\n ;", "  \n-- first\nSELECT 1", "VALUES (1), (2)", "SELECT 'a;b'",
		"WITH a AS (SELECT 1 AS x) SELECT * FROM a JOIN a AS b USING (x)", "EXPLAIN QUERY PLAN SELECT * FROM pairs",
		"SELECT name FROM sqlite_schema", "PRAGMA table_info(pairs)", "SELECT * FROM pragma_table_info('pairs')",
		"SELECT json_extract('{\"a\":1}', '$.a'), '{}' ->> 'a', datetime('now'), sum(k) OVER () FROM pairs",
		"SELECT value FROM json_each('[1,2]')",
	} {
		if _, err := r.query(t, sql); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

// Each is refused with words for whoever sent it, and leaves the state and the
// connection as they were.
func testGuardedRefuses(t *testing.T, r *rig) {
	r.apply(t, put(1, db.Str("a")))
	before := r.content(t)
	file := filepath.Join(t.TempDir(), "out.db")
	for _, sql := range []string{
		"", " ;; ", "-- nothing", "SELECT", "SELECT * FROM no_such_table", "SELECT 1; SELECT 2", "SELECT 1; DROP TABLE pairs", "SELECT 1\x00; SELECT 2",
		"INSERT INTO pairs VALUES (2, 2)", "INSERT INTO pairs VALUES (2, 2) RETURNING k", "UPDATE pairs SET v = 1", "DELETE FROM pairs",
		"REPLACE INTO pairs VALUES (1, 1) RETURNING v", "WITH x AS (SELECT 1) DELETE FROM pairs", "EXPLAIN DELETE FROM pairs",
		"CREATE TABLE x (a)", "CREATE TEMP TABLE x (a)", "CREATE TEMP VIEW x AS SELECT 1", "CREATE VIRTUAL TABLE x USING fts5(a)", "DROP TABLE pairs",
		"ALTER TABLE pairs RENAME TO x", "CREATE INDEX x ON pairs (v)", "REINDEX", "ANALYZE", "VACUUM", "VACUUM INTO '" + file + "'",
		"ATTACH '" + file + "' AS x", "ATTACH ':memory:' AS x", "DETACH main",
		"BEGIN", "BEGIN IMMEDIATE", "COMMIT", "ROLLBACK", "END", "SAVEPOINT a", "RELEASE a",
		"PRAGMA query_only = OFF", "PRAGMA query_only(0)", "PRAGMA journal_mode = DELETE", "PRAGMA user_version = 5", "PRAGMA writable_schema = ON",
		"PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA wal_autocheckpoint = 1", "PRAGMA synchronous = OFF", "PRAGMA locking_mode = EXCLUSIVE",
		"PRAGMA temp_store_directory = '/'", "PRAGMA mmap_size = 1000000000", "PRAGMA cache_size = 1000000", "PRAGMA optimize", "PRAGMA incremental_vacuum",
		"PRAGMA hard_heap_limit = 1", "PRAGMA trusted_schema = ON", "PRAGMA temp_store = MEMORY", "SELECT * FROM pragma_user_version; PRAGMA user_version = 6",
		"SELECT load_extension('" + file + "')", "SELECT writefile('" + file + "', 'x')", "SELECT readfile('/etc/hostname')", "SELECT edit('x')",
		"SELECT fts3_tokenizer('simple')", "SELECT * FROM pairs WHERE load_extension(v)",
	} {
		_, err := r.query(t, sql)
		wantCode(t, sql, err, controlplane.CodeInvalid)
	}
	equal(t, "content after all that", r.content(t), before)
	if _, err := os.Stat(file); err == nil {
		t.Error("a file was written")
	}
	if _, err := r.query(t, "SELECT 1"); err != nil {
		t.Errorf("a good one after all that: %v", err)
	}
	r.apply(t, put(9, db.Int(9)))
}

// content is the schema, the rows and what pragmas keep in the file.
func (r *rig) content(t *testing.T) string {
	t.Helper()
	return strings.Join(rows(t, r.engine, "SELECT sql FROM sqlite_schema ORDER BY name"), ";") + r.pairs(t) +
		strings.Join(rows(t, r.engine, "SELECT user_version FROM pragma_user_version"), "")
}

func testGuardedParams(t *testing.T, r *rig) {
	res, err := r.query(t, "SELECT ?1 + ?2", db.Int(1), db.Int(2))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "1 + 2", res.Rows.GetValues()[0].GetParameters()[0].GetI(), "3")
	_, err = r.query(t, "SELECT ?1", db.Int(1), db.Int(2))
	wantCode(t, "a parameter too many", err, controlplane.CodeInvalid)
	// One that was forgotten is neither NULL nor what the statement was given before.
	for _, args := range [][]db.Value{nil, {db.Int(1)}} {
		_, err = r.query(t, "SELECT ?1 + ?2", args...)
		wantCode(t, "a parameter too few", err, controlplane.CodeInvalid)
	}
}

func testGuardedNames(t *testing.T, r *rig) {
	stmt := func(sql string, params ...db.Param) string {
		t.Helper()
		res, err := db.NewTaskManifest(r.engine).QueryAll(await(t), []db.Statement{{SQL: sql, Params: params}}, someLimits, db.ReadOptions{})
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		if res[0].Err != nil {
			wantCode(t, sql, res[0].Err, controlplane.CodeInvalid)
			return res[0].Err.Error()
		}
		return res[0].Rows.GetValues()[0].GetParameters()[0].GetS()
	}
	named := func(name, v string) db.Param { return db.Param{Name: name, Value: db.Str(v)} }
	const all = "SELECT concat_ws('-', :a, @a, $a, :b)"
	equal(t, "each way to write a name", stmt(all, named("b", "y"), named("a", "x")), "x-x-x-y")
	if got := stmt(all, named("a", "x")); !strings.Contains(got, "no value for :b") {
		t.Errorf("a name left out: %s", got)
	}
	equal(t, "names and places", stmt("SELECT concat_ws('-', ?1, :a)", db.Param{Value: db.Str("x")}, named("a", "y")), "x-y")
	for _, name := range []string{"c", ":a", "A", "1"} {
		if got := stmt(all+", ?1", named(name, "x")); !strings.Contains(got, name) {
			t.Errorf("a name that is not there: %s", got)
		}
	}
}

func testGuardedMany(t *testing.T, r *rig) {
	r.apply(t, put(1, db.Str("a")), put(2, db.Str("b")))
	m := db.NewTaskManifest(r.engine)
	stmts := []db.Statement{{SQL: "SELECT k FROM pairs ORDER BY k"}, {SQL: "DELETE FROM pairs"}, {SQL: "SELECT k FROM pairs ORDER BY k DESC"}, {SQL: "SELECT 1"}}
	res, err := m.QueryAll(await(t), stmts, db.QueryLimits{Rows: 3, Bytes: 1 << 20}, db.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, q := range res {
		got = append(got, fmt.Sprintf("%d %v %v", len(q.Rows.GetValues()), q.Truncated, q.Err != nil))
	}
	equal(t, "rows, truncated, refused", strings.Join(got, ", "), "2 false false, 0 false true, 1 true false, 0 true false")
	wantCode(t, "the one that writes", res[1].Err, controlplane.CodeInvalid)
	if res[0].Index == 0 || res[0].Index != res[3].Index {
		t.Errorf("of state %d and %d", res[0].Index, res[3].Index)
	}
	_, err = m.QueryAll(await(t), []db.Statement{{SQL: endless}, {SQL: "SELECT 1"}}, someLimits, db.ReadOptions{MaxTime: 50 * time.Millisecond})
	wantCode(t, "one that never ends", err, controlplane.CodeDeadline)
}

func testGuardedLimits(t *testing.T, r *rig) {
	m := db.NewTaskManifest(r.engine)
	const numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) SELECT i FROM n"
	for _, c := range []struct {
		sql       string
		arg       int64
		limits    db.QueryLimits
		rows      int
		truncated bool
	}{
		{numbers, 9, db.QueryLimits{Rows: 10, Bytes: 1 << 20}, 9, false},
		{numbers, 10, db.QueryLimits{Rows: 10, Bytes: 1 << 20}, 10, false},
		{numbers, 11, db.QueryLimits{Rows: 10, Bytes: 1 << 20}, 10, true},
		{numbers, 1 << 40, db.QueryLimits{Rows: 10, Bytes: 1 << 20}, 10, true},
		{"SELECT zeroblob(1000) FROM (" + numbers + ")", 1 << 40, db.QueryLimits{Rows: 1000, Bytes: 10_000}, 10, true},
	} {
		res, err := m.Query(await(t), c.sql, []db.Value{db.Int(c.arg)}, c.limits)
		if err != nil || len(res.Rows.GetValues()) != c.rows || res.Truncated != c.truncated {
			t.Errorf("%s up to %d with %+v: %d rows, truncated %v, %v", c.sql, c.arg, c.limits, len(res.Rows.GetValues()), res.Truncated, err)
		}
	}
}

func testGuardedTime(t *testing.T, r *rig) {
	ctx, cancel := context.WithTimeout(await(t), 50*time.Millisecond)
	defer cancel()
	_, err := db.NewTaskManifest(r.engine).Query(ctx, endless, nil, someLimits)
	wantCode(t, "a query that never ends", err, controlplane.CodeDeadline)
}

// occupy runs statements without end on every connection for strangers until ctx
// ends, and returns how each ended.
func occupy(ctx context.Context, t *testing.T, r *rig) <-chan error {
	t.Helper()
	ended := make(chan error, 64)
	for range 64 { // no engine has as many
		go func() {
			_, err := db.NewTaskManifest(r.engine).Query(ctx, endless, nil, someLimits, db.ReadOptions{Level: db.Stale, MaxTime: time.Hour})
			ended <- err
		}()
	}
	for {
		_, err := db.NewTaskManifest(r.engine).Query(await(t), "SELECT 1", nil, someLimits, db.ReadOptions{MaxTime: time.Millisecond})
		if controlplane.CodeOf(err) == controlplane.CodeExhausted {
			return ended
		}
		if ctx.Err() != nil {
			t.Fatal("the connections are not all taken")
		}
	}
}

func testGuardedCancel(t *testing.T, r *rig) {
	ctx, goAway := context.WithCancel(await(t))
	ended := occupy(ctx, t, r)
	goAway()
	for range cap(ended) {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("a query whose caller went away ended with %v", err)
		}
	}
	if _, err := r.query(t, "SELECT 1"); err != nil {
		t.Errorf("a query afterwards: %v", err)
	}
}

func testGuardedBusy(t *testing.T, r *rig) {
	ctx, end := context.WithCancel(await(t))
	ended := occupy(ctx, t, r)
	// The engine's own reads have connections of their own.
	equal(t, "a read of the engine's own", rows(t, r.engine, "SELECT 1"), "[1]")
	r.apply(t, put(1, db.Int(1)))
	end()
	for range cap(ended) {
		if err := <-ended; err == nil {
			t.Error("an endless read ended by itself")
		}
	}
}

// greedy ask for as much memory as they can get.
var greedy = []string{
	"SELECT length(zeroblob(1000000000))", "SELECT zeroblob(1000000000)", "SELECT length(randomblob(900000000))", "SELECT length(printf('%.*c', 900000000, 'x'))",
	"SELECT length(replace(hex(zeroblob(4000000)), '0', hex(zeroblob(4000000))))",
	"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT length(group_concat(i)) FROM n",
	"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT length(json_group_array(i)) FROM n",
	"WITH RECURSIVE n(i) AS (SELECT 'x' UNION ALL SELECT i || i FROM n) SELECT count(*) FROM n",
	"WITH RECURSIVE n(i, b) AS (SELECT 1, zeroblob(1000000) UNION ALL SELECT i + 1, zeroblob(1000000) FROM n) SELECT * FROM n ORDER BY i DESC",
	"WITH RECURSIVE n(i) AS (SELECT 1 UNION SELECT i + 1 FROM n) SELECT count(DISTINCT i || hex(zeroblob(10000))) FROM n",
	"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i, sum(length(hex(zeroblob(10000)))) OVER () FROM n",
	"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n), m AS MATERIALIZED (SELECT i, hex(zeroblob(100000)) AS b FROM n) SELECT count(*) FROM m AS a JOIN m AS c USING (b)",
}

// greedyBytes is by how much the process may grow: a few values of the largest
// size and the caches of the connections.
const greedyBytes = 300 << 20

func testGuardedMemory(t *testing.T, r *rig) {
	before, ok := peakBytes()
	for _, sql := range greedy {
		ctx, cancel := context.WithTimeout(await(t), 500*time.Millisecond)
		_, err := db.NewTaskManifest(r.engine).Query(ctx, sql, nil, someLimits)
		cancel()
		if code := controlplane.CodeOf(err); err == nil || code != controlplane.CodeInvalid && code != controlplane.CodeDeadline {
			t.Errorf("%s: %v", sql, err)
		}
		if now, _ := peakBytes(); ok && now-before > greedyBytes {
			t.Fatalf("%s: the process grew by %d MiB", sql, (now-before)>>20)
		}
	}
}

// peakBytes is the largest size that the process has had, where the system tells.
func peakBytes() (int64, bool) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, false
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.ParseInt(strings.Fields(rest + " 0")[0], 10, 64)
	return kib << 10, err == nil
}
