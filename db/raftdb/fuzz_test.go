package raftdb

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// fuzzMember is a leader with a little state.
func fuzzMember(f *testing.F, change ...func(*Config)) *member {
	m := newMember(f, "m1")
	for _, c := range change {
		c(&m.cfg)
	}
	m.start()
	if err := m.tasks.AwaitWritable(testContext(f)); err != nil {
		f.Fatal(err)
	}
	for _, id := range []string{"a", "b"} {
		if _, err := m.tasks.AddTask(testContext(f), &controlplane.Task{ID: id, Exec: &controlplane.Exec{Command: []string{"true"}}}); err != nil {
			f.Fatal(err)
		}
	}
	return m
}

// filesUnder lists everything below some directories.
func filesUnder(t testing.TB, dirs ...string) (all []string) {
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			all = append(all, path)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// fuzzReadTime is the time that a statement is given, and fuzzEndTime when it
// must have ended, on a machine that is shared.
const (
	fuzzReadTime = 250 * time.Millisecond
	fuzzEndTime  = 6 * time.Second
)

// FuzzGuardedRead runs any text as a stranger's statement: it ends in time, as rows
// or as an error that callers can act on, it changes nothing, and the connection is
// as good as before.
func FuzzGuardedRead(f *testing.F) {
	f.Chdir(f.TempDir())
	m := fuzzMember(f)
	for _, sql := range []string{
		"SELECT id, status FROM tasks WHERE id = ?1", "SELECT * FROM attempts", "SELECT * FROM v_node_load", "PRAGMA table_info(tasks)", "PRAGMA table_info = tasks",
		"PRAGMA query_only = OFF", "PRAGMA query_only", "PRAGMA journal_mode = DELETE", "PRAGMA writable_schema = ON", "PRAGMA wal_checkpoint", "PRAGMA optimize",
		"INSERT INTO tasks DEFAULT VALUES", "DELETE FROM tasks RETURNING *", "UPDATE raft_state SET applied_index = 0 RETURNING *", "REPLACE INTO nodes VALUES (1) RETURNING *",
		"DROP TABLE tasks", "CREATE TABLE x(y)", "CREATE TEMP TABLE x AS SELECT 1", "ALTER TABLE tasks ADD COLUMN x", "REINDEX", "ANALYZE",
		"VACUUM", "VACUUM INTO 'stolen.db'", "ATTACH 'other.db' AS x", "ATTACH ':memory:' AS x", "DETACH main", "BEGIN", "BEGIN IMMEDIATE", "COMMIT", "ROLLBACK", "SAVEPOINT a", "RELEASE a",
		"EXPLAIN SELECT 1", "EXPLAIN DELETE FROM tasks", "EXPLAIN QUERY PLAN SELECT * FROM tasks", "VALUES (1), (?1)", "SELECT 1; SELECT 2", "SELECT 1; -- rest", "-- nothing", "", ";", "SELECT '",
		"SELECT load_extension('x')", "SELECT writefile('x', 'y')", "SELECT readfile('/etc/passwd')", "SELECT fts3_tokenizer('x', x'00')", "SELECT zeroblob(9000000)", "SELECT randomblob(8000000)",
		"WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c", "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x || x FROM c) SELECT x FROM c",
		"SELECT group_concat(a.id) FROM tasks a, tasks b, tasks c", "SELECT json_group_array(value) FROM generate_series(1, 10)", "SELECT * FROM json_each('[1, 2]')", "SELECT * FROM dbstat", "SELECT * FROM sqlite_schema",
		"SELECT printf('%*d', 100000000, 1)", "SELECT replace(hex(zeroblob(1000000)), '0', 'xxxxxxxx')", "SELECT 9223372036854775807 + 1, 1 / 0, -9223372036854775808 / -1, 1e999", "SELECT x'00ff', 'a\xffb', char(0)",
		"SELECT * FROM tasks ORDER BY random()", "SELECT id REGEXP 'a' FROM tasks", "SELECT id FROM tasks WHERE id MATCH 'a'", "SELECT id GLOB '*[a-z]*' FROM tasks", "SELECT id LIKE '%%%%%%%%%%%%%' FROM tasks", "SELECT last_insert_rowid(), changes(), total_changes()",
		"SELECT * FROM pragma_table_info('tasks')", "SELECT * FROM pragma_database_list", "SELECT * FROM pragma_wal_checkpoint", "SELECT sum(1) OVER (ORDER BY id ROWS 1 PRECEDING) FROM tasks", "SELECT (SELECT (SELECT (SELECT 1)))",
	} {
		f.Add(sql, "a")
	}
	place, err := filepath.Abs(".")
	if err != nil {
		f.Fatal(err)
	}
	files, hash, index := filesUnder(f, m.cfg.Dir, place), contentHash(f, m), m.engine.AppliedIndex()
	f.Fuzz(func(t *testing.T, sql, param string) {
		begun := time.Now()
		err := guardedRead(t, m, sql, param)
		if took := time.Since(begun); took > fuzzEndTime {
			t.Errorf("it took %s", took)
		}
		if _, ok := errors.AsType[*controlplane.Error](err); err != nil && !ok {
			t.Errorf("the error is none that a caller can act on: %v", err)
		}
		if err := guardedRead(t, m, "SELECT id FROM tasks WHERE id = ?1", "a"); err != nil {
			t.Errorf("afterwards: %v", err)
		}
		if m.engine.AppliedIndex() != index || contentHash(t, m) != hash {
			t.Error("the state changed")
		}
		if now := filesUnder(t, m.cfg.Dir, place); !slices.Equal(now, files) {
			t.Errorf("there are other files: %v, not %v", now, files)
		}
	})
}

func guardedRead(t *testing.T, m *member, sql, param string) error {
	ctx, cancel := context.WithTimeout(t.Context(), fuzzReadTime)
	defer cancel()
	var params []db.Value
	if param != "" {
		params = []db.Value{db.Str(param)}
	}
	_, err := m.tasks.Query(ctx, sql, params, db.QueryLimits{Rows: 1000, Bytes: 4 << 20}, db.ReadOptions{Level: db.Stale})
	if err != nil && errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// FuzzHandshake sends anything to what members ask of each other. None of it bears
// the token, or, at a member without one, makes it take anybody in.
func FuzzHandshake(f *testing.F) {
	m, locked := fuzzMember(f), fuzzMember(f, func(c *Config) { c.Token = "secret" })
	for _, member := range []*member{m, locked} { // a join makes a member ask back; nobody is there
		member.engine.peers.client.Transport = nobody{}
	}
	id := string(m.engine.self.serverID())
	for _, s := range [][5]string{
		{"GET", "/raft", "Upgrade", "raft", ""},
		{"GET", "/raft", "Raft-To", id, ""},
		{"GET", "/raft", "Raft-To", "m2-0", ""},
		{"GET", "/raft/member", "Raft-Cluster-Id", "x", ""},
		{"GET", "/raft/member", "Authorization", "Bearer wrong", ""},
		{"POST", "/raft/term", "", "", ""},
		{"POST", "/raft/read-index", "", "", ""},
		{"POST", "/raft/join", "Content-Type", "application/json", `{"id":"m2-00112233","address":"127.0.0.1:1","applied_index":3}`},
		{"POST", "/raft/join", "", "", `{"id":"` + id + `","address":"127.0.0.1:1"}`},
		{"POST", "/raft/join", "", "", `{"id":5}`},
		{"POST", "/raft/join", "", "", `[`},
		{"DELETE", "/raft/member/../join", "", "", ""},
	} {
		f.Add(s[0], s[1], s[2], s[3], []byte(s[4]))
	}
	f.Fuzz(func(t *testing.T, method, target, name, value string, body []byte) {
		u, err := url.ParseRequestURI(target)
		if err != nil || strings.ContainsAny(method, " \r\n") {
			return
		}
		req := func() *http.Request {
			r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1/", bytes.NewReader(body))
			r.Method, r.URL, r.RequestURI = method, u, target
			r.Header.Set(name, value)
			r.Header.Set("Upgrade", "raft")
			return r
		}
		before := m.engine.servers()
		rec := httptest.NewRecorder()
		begun := time.Now()
		m.engine.Handler().ServeHTTP(rec, req())
		if took := time.Since(begun); took > fuzzEndTime {
			t.Errorf("it took %s", took)
		}
		if rec.Code == http.StatusInternalServerError || !slices.Equal(m.engine.servers(), before) {
			t.Errorf("HTTP %d %q, members %v", rec.Code, rec.Body, m.engine.servers())
		}
		r := req()
		if r.Header.Get("Authorization") == scheme+"secret" {
			return
		}
		rec = httptest.NewRecorder()
		locked.engine.Handler().ServeHTTP(rec, r)
		if rec.Code != http.StatusUnauthorized {
			t.Errorf("without the token: HTTP %d %q", rec.Code, rec.Body)
		}
	})
}

// nobody is a network on which nobody answers.
type nobody struct{}

func (nobody) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("nobody answers")
}

// FuzzOpenEnvelope opens what was sealed and nothing else.
func FuzzOpenEnvelope(f *testing.F) {
	whole := envelope{kind: kindEntry, term: 3, body: []byte("body")}.seal()
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add(envelope{kind: kindLead, term: 1 << 63}.seal())
	f.Add(envelope{kind: 9}.seal())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := openEnvelope(b)
		if err == nil && !bytes.Equal(e.seal(), b) {
			t.Errorf("%x opens as %+v, which seals as %x", b, e, e.seal())
		}
		own := envelope{kind: kindEntry, term: uint64(len(b)) << 40, body: b}
		if e, err := openEnvelope(own.seal()); err != nil || e.kind != own.kind || e.term != own.term || !bytes.Equal(e.body, b) {
			t.Errorf("sealed %x opens as %+v, %v", b, e, err)
		}
	})
}
