package service

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/gen/go/controlplane/v1/controlplanev1connect"
)

const endlessSQL = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"

// TestQueryRefuses tries what could change the state, the files or the connection.
func TestQueryRefuses(t *testing.T) {
	m := solo(t)
	m.submit("a")
	const state = "SELECT group_concat(name), (SELECT count(*) FROM tasks) FROM sqlite_schema"
	before := fmt.Sprint(m.rows(state))
	dir := t.TempDir()
	for _, sql := range []string{
		"ATTACH '" + dir + "/x' AS x", "ATTACH ':memory:' AS x", "ATTACH 'file:" + dir + "/x?mode=rwc' AS x", "VACUUM", "VACUUM INTO '" + dir + "/x'",
		"PRAGMA query_only = 0", "PRAGMA writable_schema = 1", "PRAGMA writable_schema(RESET)", "PRAGMA journal_mode = DELETE", "PRAGMA user_version = 9",
		"PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA trusted_schema = 1", "PRAGMA temp_store_directory = '" + dir + "'", "PRAGMA cache_size = -1000000", "PRAGMA mmap_size = 1",
		"SELECT * FROM pragma_journal_mode('delete')", "SELECT * FROM pragma_wal_checkpoint", "SELECT * FROM pragma_integrity_check",
		"SELECT load_extension('" + dir + "/x')", "SELECT writefile('" + dir + "/x', 'y')", "SELECT readfile('/etc/passwd')", "SELECT * FROM fsdir('/')",
		"UPDATE sqlite_schema SET sql = ''", "DELETE FROM tasks", "INSERT INTO nodes (id) VALUES ('x')", "WITH x AS (SELECT 1) DELETE FROM tasks RETURNING *",
		"CREATE TABLE x (a)", "CREATE TEMP TABLE x (a)", "CREATE TEMP VIEW x AS SELECT 1", "CREATE TEMP TRIGGER x AFTER INSERT ON tasks BEGIN SELECT 1; END",
		"CREATE VIRTUAL TABLE x USING fts5(a)", "CREATE VIRTUAL TABLE temp.x USING rtree(a, b, c)", "CREATE VIRTUAL TABLE x USING dbstat",
		"SELECT fts3_tokenizer('simple', x'00')", "BEGIN IMMEDIATE", "SAVEPOINT x", "SELECT 1; DELETE FROM tasks", "EXPLAIN DELETE FROM tasks",
	} {
		if _, err := m.query(sql); connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), "sql: ") {
			t.Errorf("%s: %v", sql, err)
		}
	}
	if after := fmt.Sprint(m.rows(state)); after != before {
		t.Errorf("the state was %s and is %s", before, after)
	}
	if left, _ := filepath.Glob(dir + "/*"); left != nil {
		t.Errorf("files were written: %v", left)
	}
}

// greedySQL asks for all the memory or time that there is.
var greedySQL = map[string]string{
	"recursion without end":    endlessSQL,
	"zeroblob":                 "SELECT zeroblob(1000000000)",
	"the length of a zeroblob": "SELECT length(zeroblob(1000000000))",
	"randomblob":               "SELECT randomblob(1000000000)",
	"printf":                   "SELECT printf('%*d', 1000000000, 1)",
	"group_concat":             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT group_concat(hex(zeroblob(100000))) FROM n",
	"json_group_object":        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT json_group_object(i, i) FROM n",
	"a cross join":             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3000) SELECT count(*) FROM n a, n b, n c",
	"a sorted cross join":      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3000) SELECT a.i, hex(zeroblob(5000)) AS z FROM n a, n b ORDER BY z, b.i",
	"a join of 40 tables":      "SELECT count(*) FROM tasks t0" + joins(40),
	"a doubling text":          "WITH RECURSIVE n(s) AS (SELECT 'xxxxxxxx' UNION ALL SELECT s || s FROM n) SELECT max(length(s)) FROM n",
	"distinct values":          "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(DISTINCT hex(zeroblob(2000)) || i) FROM n",
	"a long pattern":           "SELECT sum(hex(zeroblob(600000)) || a.id LIKE '%" + strings.Repeat("0", 250) + "1%') FROM tasks a, tasks b",
	"a pattern too long":       "SELECT hex(zeroblob(600000)) GLOB '*" + strings.Repeat("0", 2500) + "1*'",
	"subqueries that double":   "WITH a0(x) AS (SELECT random())" + doubling(30) + " SELECT x FROM a29",
	"JSON of many rows":        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT json_group_array(hex(zeroblob(600000))) FROM n",
	"JSON with indents":        "SELECT json_pretty('[" + strings.Repeat("1,", 9999) + "1]', hex(zeroblob(600000)))",
	"JSON of many values":      "WITH b(b) AS MATERIALIZED (SELECT replace(hex(zeroblob(600000)), '0', char(1))) SELECT length(json_array(b" + strings.Repeat(",b", 15) + ")) FROM b",
	"JSON of too many values":  "SELECT json_array(1" + strings.Repeat(", 1", 16) + ")",
	"trim":                     "SELECT sum(length(trim(hex(zeroblob(600000)), replace(hex(zeroblob(600000)), '0', 'x') || i || '0'))) FROM (SELECT 1 AS i" + rowsOf(500) + ")",
	"instr":                    "SELECT sum(instr(hex(zeroblob(600000)) || i, hex(zeroblob(300000)) || '1')) FROM (SELECT 1 AS i" + rowsOf(500) + ")",
	"replace":                  "SELECT sum(length(replace(hex(zeroblob(600000)) || i, hex(zeroblob(300000)) || '1', 'x'))) FROM (SELECT 1 AS i" + rowsOf(500) + ")",
	"unhex":                    "SELECT sum(length(unhex(replace(hex(zeroblob(600000)), '0', '-') || i, replace(hex(zeroblob(600000)), '0', 'x') || '-'))) FROM (SELECT 1 AS i" + rowsOf(500) + ")",
}

func joins(n int) (sql string) {
	for i := 1; i <= n; i++ {
		sql += fmt.Sprintf(" JOIN tasks t%d ON t%d.priority + t%d.seq > t0.seq - %d", i, i-1, i, i)
	}
	return sql
}

func doubling(n int) (sql string) {
	for i := 1; i < n; i++ {
		sql += fmt.Sprintf(", a%d(x) AS (SELECT x + x FROM a%d)", i, i-1)
	}
	return sql
}

// rowsOf is the rest of a compound of n rows, so that what each of them takes cannot be
// computed once.
func rowsOf(n int) string {
	return " UNION ALL SELECT value FROM json_each('[" + strings.Repeat("2,", n) + "3]')"
}

// queryGrowthBytes is by how much the process may grow: the values of a few statements,
// as SQLite, the answer and its encoding hold them, and what is not collected yet.
const queryGrowthBytes = 400 << 20

// greedy runs a statement for half a second at most.
func greedy(c controlplanev1connect.QueryServiceClient, sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	_, err := c.Query(ctx, connect.NewRequest(&v1.QueryRequest{Sql: sql}))
	return err
}

// counted serves a member's handler on another port, and counts the calls under way.
func (m *member) counted() (url string, underWay *atomic.Int64) {
	underWay = new(atomic.Int64)
	address := m.serveOn(100, func(srv *http.Server) {
		inner := srv.Handler
		srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			underWay.Add(1)
			defer underWay.Add(-1)
			inner.ServeHTTP(w, r)
		})
	})
	return "http://" + address, underWay
}

func TestQueryStopsTheGreedy(t *testing.T) {
	m := solo(t)
	for i := range 20 {
		m.submit(fmt.Sprint("t", i))
	}
	url, underWay := m.counted()
	c := controlplanev1connect.NewQueryServiceClient(h2(t), url)
	before, patience := peakMemory(t), testContext(t)
	for name, sql := range greedySQL {
		err := greedy(c, sql)
		for connect.CodeOf(err) == connect.CodeResourceExhausted && patience.Err() == nil {
			err = greedy(c, sql) // the one before still gives its connection back
		}
		switch connect.CodeOf(err) {
		case connect.CodeInvalidArgument, connect.CodeDeadlineExceeded:
		default:
			t.Errorf("%s: %v", name, err)
		}
		if grown := peakMemory(t) - before; grown > queryGrowthBytes {
			t.Fatalf("%s: the process grew by %d MiB", name, grown>>20)
		}
	}
	// No statement goes on for which nobody waits.
	for ctx := testContext(t); underWay.Load() > 0; time.Sleep(5 * time.Millisecond) {
		if ctx.Err() != nil {
			t.Fatalf("%d statements go on", underWay.Load())
		}
	}
	if got := m.rows("SELECT count(*) FROM tasks"); got[0][0] != "20" {
		t.Errorf("afterwards: %v", got)
	}
}

// peakMemory is the largest size that the process has had.
func peakMemory(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if errors.Is(err, os.ErrNotExist) {
		return 0 // only Linux tells
	}
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// TestQueryEndsWithItsCaller lets callers go away, in each way that they can, while
// their statements occupy all connections.
func TestQueryEndsWithItsCaller(t *testing.T) {
	for name, c := range map[string]struct {
		method string
		call   func(ctx context.Context, m *member) error
	}{
		"HTTP/2": {"Query", func(ctx context.Context, m *member) error {
			_, err := m.queryClient().Query(ctx, connect.NewRequest(&v1.QueryRequest{Sql: endlessSQL}))
			return err
		}},
		"HTTP/1.1": {"Query", func(ctx context.Context, m *member) error {
			_, err := controlplanev1connect.NewQueryServiceClient(http.DefaultClient, m.url()).Query(ctx, connect.NewRequest(&v1.QueryRequest{Sql: endlessSQL}))
			return err
		}},
		"rqlite": {rqliteMethod, func(ctx context.Context, m *member) error {
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.url()+"/db/query", strings.NewReader(`["`+endlessSQL+`"]`))
			if err != nil {
				return err
			}
			res, err := http.DefaultClient.Do(req)
			if err == nil {
				err = fmt.Errorf("answered: %w", res.Body.Close())
			}
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			m := solo(t)
			ctx, goAway := context.WithCancel(testContext(t))
			const callers = 2 // as many as there are connections
			ended := make(chan error, callers)
			for range callers {
				go func() { ended <- c.call(ctx, m) }()
			}
			m.awaitBusy(t)
			goAway()
			for range callers {
				if err := <-ended; err == nil {
					t.Error("a query without end was answered")
				}
			}
			m.awaitMetric(t, fmt.Sprintf(`controlplane_rpc_calls_total{code="canceled",method=%q} %d`, c.method, callers))
			if got := m.rows("SELECT 1"); got[0][0] != "1" {
				t.Errorf("afterwards: %v", got)
			}
		})
	}
}

// awaitBusy waits until all connections for queries are taken.
func (m *member) awaitBusy(t *testing.T) {
	t.Helper()
	ctx := testContext(t)
	for {
		_, err := m.tasks.Query(ctx, "SELECT 1", nil, db.QueryLimits{Rows: 1, Bytes: 1}, db.ReadOptions{Level: db.Stale, MaxTime: time.Millisecond})
		if controlplane.CodeOf(err) == controlplane.CodeExhausted {
			return
		}
		if ctx.Err() != nil {
			t.Fatal("the connections are not all taken")
		}
	}
}

// awaitMetric waits until /metrics has a line.
func (m *member) awaitMetric(t *testing.T, line string) {
	t.Helper()
	ctx := testContext(t)
	for {
		_, _, body := m.get("/metrics")
		text := fmt.Sprint(body["text"])
		if strings.Contains(text, line+"\n") {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("/metrics has no %s:\n%s", line, text)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestQueryTellsWhyItWaitedInVain(t *testing.T) {
	m := solo(t)
	ctx, end := context.WithCancel(testContext(t))
	ended := make(chan struct{})
	for range 2 {
		go func() {
			_, _ = m.tasks.Query(ctx, endlessSQL, nil, db.QueryLimits{}, db.ReadOptions{MaxTime: time.Hour})
			ended <- struct{}{}
		}()
	}
	m.awaitBusy(t)
	_, err := m.query("SELECT 1")
	if connect.CodeOf(err) != connect.CodeResourceExhausted || !strings.Contains(err.Error(), "try again") {
		t.Errorf("no connection came free: %v", err)
	}
	if status, h, text := m.rqlite("/db/query?timeout=100ms&q=SELECT+1", ""); status != 503 || h.Get("Retry-After") == "" {
		t.Errorf("rqlite: %d %s", status, text)
	}
	end()
	<-ended
	<-ended
	// A deadline of the caller's own, shorter than the limit.
	status, _, body := m.post("QueryService/Query", `{"sql":"`+endlessSQL+`"}`, "Connect-Timeout-Ms", "600")
	if status != 504 || body["code"] != "deadline_exceeded" || !strings.Contains(fmt.Sprint(body["message"]), "narrow it") {
		t.Errorf("a short deadline: %d %v", status, body)
	}
}
