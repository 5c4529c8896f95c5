package service

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// rqlite sends a request as a client of rqlite would: a GET if there is no body.
func (m *member) rqlite(path, body string, header ...string) (status int, h http.Header, text string) {
	m.t.Helper()
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(testContext(m.t), method, m.url()+path, strings.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req) // redirects are part of the answer
	if err != nil {
		m.t.Fatal(err)
	}
	defer res.Body.Close()
	all, err := io.ReadAll(res.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	return res.StatusCode, res.Header, strings.TrimSpace(string(all))
}

func get(path, sql string) string { return path + "q=" + url.QueryEscape(sql) }

// TestRqliteAnswers holds the form of each answer against what rqlite v8 answers to
// the same request.
func TestRqliteAnswers(t *testing.T) {
	m := solo(t)
	m.submit("a")
	m.submit("b")
	const two = "SELECT id, priority, name FROM tasks ORDER BY id"
	for _, c := range []struct{ path, body, want string }{
		{get("/db/query?", two), "", `{"results":[{"columns":["id","priority","name"],"types":["text","integer",""],"values":[["a",0,null],["b",0,null]]}]}`},
		{get("/db/query?associative&", two), "",
			`{"results":[{"types":{"id":"text","name":"","priority":"integer"},"rows":[{"id":"a","name":null,"priority":0},{"id":"b","name":null,"priority":0}]}]}`},
		{get("/db/query?pretty&", "SELECT 1 AS one"), "", "{\n    \"results\": [\n        {\n            \"columns\": [\n                \"one\"\n            ],\n            \"types\": [\n                \"integer\"\n            ],\n            \"values\": [\n                [\n                    1\n                ]\n            ]\n        }\n    ]\n}"},
		{get("/db/query?", "SELECT x'0aff' AS b, 1.5 AS r"), "", `{"results":[{"columns":["b","r"],"types":["blob","real"],"values":[["Cv8=",1.5]]}]}`},
		{get("/db/query?blob_array&", "SELECT x'0aff' AS b"), "", `{"results":[{"columns":["b"],"types":["blob"],"values":[[[10,255]]]}]}`},
		{get("/db/query?", "SELECT id FROM tasks WHERE 0"), "", `{"results":[{"columns":["id"],"types":[""]}]}`},
		{get("/db/query?", "SELECT 9e999 AS inf, 9223372036854775807 AS big"), "", `{"results":[{"columns":["inf","big"],"types":["text","integer"],"values":[["+Inf",9223372036854775807]]}]}`},
		{"/db/query", `["SELECT 1", "SELECT 2"]`, `{"results":[{"columns":["1"],"types":["integer"],"values":[[1]]},{"columns":["2"],"types":["integer"],"values":[[2]]}]}`},
		{"/db/query", `[["SELECT ? + ?", 40, 2], ["SELECT :x, $y, @z", {"x": true, "y": null}, {"z": 1.5}]]`,
			`{"results":[{"columns":["? + ?"],"types":["integer"],"values":[[42]]},{"columns":[":x","$y","@z"],"types":["integer","","real"],"values":[[1,null,1.5]]}]}`},
		{"/db/query", `[["SELECT hex(?), hex(?), ?, ?", "x'0aff'", [10, 255], "x'0", 9007199254740993]]`,
			`{"results":[{"columns":["hex(?)","hex(?)","?","?"],"types":["text","text","text","integer"],"values":[["0AFF","0AFF","x'0",9007199254740993]]}]}`},
		{"/db/query", `["SELECT nix", "SELECT 1"]`, `{"results":[{"error":"sql: no such column: nix (line 1, column 8): PRAGMA table_info(TABLE) lists what there is"},{"columns":["1"],"types":["integer"],"values":[[1]]}]}`},
		{"/db/query?associative", `["SELECT nix"]`, `{"results":[{"rows":[],"error":"sql: no such column: nix (line 1, column 8): PRAGMA table_info(TABLE) lists what there is"}]}`},
		{"/db/request", `["SELECT 1", "DELETE FROM tasks"]`, `{"results":[{"columns":["1"],"types":["integer"],"values":[[1]]},{"error":"sql: only statements that read are allowed: give SELECT, or a PRAGMA that tells about the schema"}]}`},
		// Double quotes, as rqlite's SQLite takes them and its shell writes them.
		{"/db/query", `["SELECT \"id\", \"what's\" AS w FROM tasks WHERE status = \"PENDING\" AND id=\"a\"", "SELECT \"a\", '\"a\"', nix"]`,
			`{"results":[{"columns":["id","w"],"types":["text","text"],"values":[["a","what's"]]},{"error":"sql: no such column: \"a\" - should this be a string literal in single-quotes? (line 1, column 8): PRAGMA table_info(TABLE) lists what there is"}]}`},
		{get("/db/query?", "SELECT '<&>'"), "", `{"results":[{"columns":["'\u003c\u0026\u003e'"],"types":["text"],"values":[["\u003c\u0026\u003e"]]}]}`},
	} {
		status, h, text := m.rqlite(c.path, c.body)
		if status != 200 || text != c.want || h.Get("Content-Type") != "application/json; charset=utf-8" || h.Get(appliedHeader) == "" || h.Get("X-Rqlite-Version") != "raft-node test" {
			t.Errorf("%s %s: %d %v\n%s\nwant\n%s", c.path, c.body, status, h, text, c.want)
		}
	}
	if status, _, text := m.rqlite("/db/query", "SELECT 7", "Content-Type", "text/plain; charset=utf-8"); status != 200 || !strings.Contains(text, "[[7]]") {
		t.Errorf("plain text: %d %s", status, text)
	}
}

func TestRqliteOptions(t *testing.T) {
	m := solo(t)
	for _, level := range []string{"none", "weak", "strong", "linearizable", "auto", "STRONG", "what"} {
		if status, _, text := m.rqlite("/db/query?level="+level, `["SELECT 1"]`); status != 200 || !strings.Contains(text, "[[1]]") {
			t.Errorf("level %s: %d %s", level, status, text)
		}
	}
	_, _, text := m.rqlite("/db/query?timings&raft_index&level=none&freshness=1h&freshness_strict&transaction&redirect&noparse&retries=3", `["SELECT 1"]`)
	var answer struct {
		Results []struct{ Time float64 }
		Time    float64
		Index   uint64 `json:"raft_index"`
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil || answer.Time <= 0 || answer.Results[0].Time <= 0 || answer.Index == 0 {
		t.Errorf("%s, %v", text, err)
	}
}

func TestRqliteMistakes(t *testing.T) {
	m := solo(t)
	m.submit("a")
	many := "[" + strings.Repeat(`"SELECT 1",`, rqliteMaxStatements) + `"SELECT 1"]`
	for _, c := range []struct {
		path, body string
		status     int
		want       string
	}{
		{"/db/query", "", 400, "q: is empty"},
		{"/db/query?q=", "", 400, "q: is empty"},
		{"/db/query?level=none&freshness=soon", `["SELECT 1"]`, 400, `freshness: "soon" is no duration`},
		{"/db/query?timeout=-1s", `["SELECT 1"]`, 400, "timeout"},
		{"/db/query?freshness_strict", `["SELECT 1"]`, 400, "freshness_strict: needs freshness"},
		{"/db/query?%zz", `["SELECT 1"]`, 400, "%zz"},
		{"/db/query", `{"sql":"SELECT 1"}`, 400, "body: is no JSON list"},
		{"/db/query", `["SELECT 1"`, 400, "body: is no JSON list"},
		{"/db/query", `["SELECT 1"] ["SELECT 2"]`, 400, "body: goes on"},
		{"/db/query", `[]`, 400, "body: has 0 statements"},
		{"/db/query", many, 400, "body: has 257 statements: send 1 to 256"},
		{"/db/query", `["SELECT 1", 7]`, 400, "body[1].sql"},
		{"/db/query", `[null]`, 400, "body[0].sql"},
		{"/db/query", `[[]]`, 400, "body[0].sql"},
		{"/db/query", `[[7, "SELECT 1"]]`, 400, "body[0].sql"},
		{"/db/query", `[["SELECT ?", [1, 256]]]`, 400, "body[0].params: value 0"},
		{"/db/query", `[["SELECT ?", ["a"]]]`, 400, "body[0].params: value 0"},
		{"/db/query", `[["SELECT :a", {"a": {}}]]`, 400, "body[0].params: value 0"},
		{"/db/query", `[["SELECT :a", {"": 1}]]`, 400, "body[0].params: has a name that is empty"},
		{"/db/query", `[["SELECT ?", 1e999]]`, 400, "body[0].params: value 0"},
		{"/db/query", `[["SELECT ?"` + strings.Repeat(",1", 1000) + `]]`, 400, "body[0].params: has 1000 values"},
		{"/db/query", `["SELECT 1", "` + strings.Repeat("x", maxMessageBytes) + `"]`, 400, "body: has more than 4194304 bytes"},
		{"/db/query", `[["SELECT :a", {"b": 1}]]`, 200, `\"b\" is no parameter of the statement`},
		{"/db/query", `[["SELECT 1", 1]]`, 200, "params: has more values than the 0"},
		{"/db/query", `["SELECT 1; SELECT 2"]`, 200, "sql: has more than one statement"},
		{"/db/query", `[""]`, 200, "sql: is empty"},
		{"/db/execute", `["INSERT INTO tasks (id) VALUES ('x')"]`, 403, "the state can be read only"},
		{"/db/execute?queue", `["SELECT 1"]`, 403, "the state can be read only"},
		{"/db/backup", "", 403, `\"/db/backup\" is not offered`},
		{"/db/load", "x", 403, `\"/db/load\" is not offered`},
		{"/db/request", "", 405, "takes POST"},
		{"/status", "[]", 405, "takes GET"},
		{"/nodes", "[]", 405, "takes GET"},
		{"/leader", "[]", 405, "takes GET"},
	} {
		status, _, text := m.rqlite(c.path, c.body)
		if status != c.status || !strings.Contains(text, c.want) {
			t.Errorf("%s %.80s: %d %.200s\nwant %d %s", c.path, c.body, status, text, c.status, c.want)
		}
	}
	if _, _, text := m.rqlite(get("/db/query?", "SELECT count(*) FROM tasks"), ""); !strings.Contains(text, "[[1]]") {
		t.Errorf("afterwards: %s", text)
	}
}

const numbersTo = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) SELECT "

// An answer that is cut off says so: nothing else in it could.
func TestRqliteLimits(t *testing.T) {
	m := solo(t)
	for _, c := range []struct {
		path, sql string
		ok        bool
		want      string
	}{
		{"/db/query", fmt.Sprintf(numbersTo, 10_000) + "i FROM n", true, "[10000]"},
		{"/db/query", fmt.Sprintf(numbersTo, 10_001) + "i FROM n", false, "more than 10000 rows or 4194304 bytes"},
		{"/db/query", fmt.Sprintf(numbersTo, 100) + "zeroblob(100000) FROM n", false, "more than 10000 rows or 4194304 bytes"},
		{"/db/query?associative", fmt.Sprintf(numbersTo, 10_000) + "i AS " + strings.Repeat("name", 1000) + " FROM n", false, "associative: the answer would have more than"},
		{"/db/query?db_timeout=50ms", fmt.Sprintf(numbersTo, 1<<40) + "count(*) FROM n", false, "ran for more than 50ms"},
		{"/db/query?timeout=60ms", fmt.Sprintf(numbersTo, 1<<40) + "count(*) FROM n", false, "ran for more than 5"},
		{"/db/query", fmt.Sprintf(numbersTo, 1<<40) + "count(*) FROM n", false, "ran for more than 2s"},
	} {
		body, _ := json.Marshal([]string{c.sql, "SELECT 1 LIMIT 0"})
		status, _, text := m.rqlite(c.path, string(body))
		if status != 200 || strings.Contains(text, `"error"`) == c.ok || !strings.Contains(text, c.want) {
			t.Errorf("%s %.100s: %d %.300s", c.path, c.sql, status, text[max(0, len(text)-300):])
		}
	}
	rows := fmt.Sprintf(numbersTo, 6000) + "i FROM n"
	body, _ := json.Marshal([]string{rows, rows})
	if _, _, text := m.rqlite("/db/query", string(body)); strings.Count(text, `"columns"`) != 1 || strings.Count(text, `"error"`) != 1 {
		t.Errorf("two that are too much together: %.300s", text)
	}
}

func TestRqliteToken(t *testing.T) {
	m := solo(t, withToken)
	basic := func(password string) string {
		req, _ := http.NewRequest(http.MethodGet, "/", http.NoBody)
		req.SetBasicAuth("anyone", password)
		return req.Header.Get("Authorization")
	}
	for _, path := range []string{"/db/query?q=SELECT+1", "/status", "/nodes", "/leader"} {
		for header, want := range map[string]int{"": 401, basic("wrong"): 401, basic(""): 401, "Bearer wrong": 401, basic(testToken): 200, "Bearer " + testToken: 200} {
			status, h, text := m.rqlite(path, "", "Authorization", header)
			if status != want {
				t.Errorf("%s with %q: %d %s", path, header, status, text)
			}
			if strings.Contains(h.Get("WWW-Authenticate"), "Basic") {
				t.Errorf("%s asks browsers for a password: %q", path, h.Get("WWW-Authenticate"))
			}
		}
	}
	if status, _, text := m.rqlite("/db/execute", "[]", "Authorization", basic(testToken)); status != 403 {
		t.Errorf("execute: %d %s", status, text)
	}
	for _, path := range []string{"/metrics", "/", "/dbx", "/statusx"} {
		if status, _, _ := m.rqlite(path, "", "Authorization", basic(testToken)); status != 401 {
			t.Errorf("%s with a password: %d", path, status)
		}
	}
}

func TestRqliteStatusAndNodes(t *testing.T) {
	members := newCluster(t, 3)
	leader, followers := roles(t, members)
	down := followers[0]
	down.close()
	var status struct {
		Store struct {
			NodeID string `json:"node_id"`
			Addr   string
			Ready  bool
			Leader struct {
				NodeID string `json:"node_id"`
				Addr   string
			}
			Nodes   []map[string]string
			Raft    struct{ State string }
			Sqlite3 struct{ Version string }
		}
		HTTP struct{ Auth string }
	}
	at := followers[1]
	decode(t, at, "/status", &status)
	s := status.Store
	if s.NodeID != at.cfg.Name || s.Addr != at.cfg.Advertise || !s.Ready || s.Leader.NodeID != leader.cfg.Name || s.Leader.Addr != leader.cfg.Advertise ||
		len(s.Nodes) != 3 || s.Raft.State != "Follower" || s.Sqlite3.Version == "" || status.HTTP.Auth != "disabled" {
		t.Errorf("status: %+v", status)
	}
	for path, want := range map[string]string{
		"/status?key=store.leader.node_id": `"` + leader.cfg.Name + `"`, "/status?key=store.none.x": "{}", "/status?key=extensions": "{}",
	} {
		if _, _, text := at.rqlite(path, ""); text != want {
			t.Errorf("%s: %s", path, text)
		}
	}
	var nodes map[string]rqliteNode
	decode(t, at, "/nodes?nonvoters&pretty", &nodes)
	for _, m := range members {
		n, up := nodes[m.cfg.Name], m != down
		if n.ID != m.cfg.Name || n.Addr != m.cfg.Advertise || n.Leader != (m == leader) || n.Reachable != up || !n.Voter || (n.Error == "") != up || (n.APIAddr == m.url()) != up {
			t.Errorf("node %s: %+v", m.cfg.Name, n)
		}
	}
	var list struct{ Nodes []rqliteNode }
	decode(t, at, "/nodes?ver=2", &list)
	if len(list.Nodes) != 3 || list.Nodes[0].ID != "m1" {
		t.Errorf("nodes, version 2: %+v", list)
	}
	var l rqliteNode
	decode(t, at, "/leader", &l)
	if l != nodes[leader.cfg.Name] {
		t.Errorf("leader: %+v", l)
	}
}

func decode(t *testing.T, m *member, path string, to any) {
	t.Helper()
	status, h, text := m.rqlite(path, "")
	if err := json.Unmarshal([]byte(text), to); err != nil || status != 200 || h.Get("X-Rqlite-Version") == "" {
		t.Fatalf("%s: %d %s, %v", path, status, text, err)
	}
}

func TestRqliteWithoutALeader(t *testing.T) {
	members := newCluster(t, 3)
	leader, followers := roles(t, members)
	leader.submit("a")
	index := leader.engine.AppliedIndex()
	last := followers[0]
	if err := last.engine.AwaitApplied(testContext(t), index); err != nil {
		t.Fatal(err)
	}
	leader.close()
	followers[1].close()
	if err := awaitNoLeader(t, last); err != nil {
		t.Fatal(err)
	}
	const count = `["SELECT count(*) FROM tasks"]`
	if status, _, text := last.rqlite("/db/query?level=none", count); status != 200 || !strings.Contains(text, "[[1]]") {
		t.Errorf("level none: %d %s", status, text)
	}
	for _, path := range []string{"/db/query?timeout=300ms", "/db/query?level=strong&timeout=300ms", "/db/query?level=linearizable&linearizable_timeout=300ms",
		"/db/query?level=none&freshness=1ns", "/db/query?level=none&freshness=1h&freshness_strict&timeout=300ms"} {
		status, _, text := last.rqlite(path, count)
		if status != 503 || !strings.Contains(text, "leader") {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
	if status, _, text := last.rqlite("/leader", ""); status != 503 || text != "leader not found" {
		t.Errorf("leader: %d %s", status, text)
	}
	for path, want := range map[string]string{"/readyz": "503 [+]node ok\n[-]not ready: ", "/readyz?noleader": "200 [+]node ok"} {
		status, _, text := last.rqlite(path, "")
		if got := fmt.Sprint(status, " ", text); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s", path, got)
		}
	}
}

func awaitNoLeader(t *testing.T, m *member) error {
	t.Helper()
	ctx := testContext(t)
	for {
		if _, _, ok := m.engine.Leader(); !ok {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func TestRqliteReadyz(t *testing.T) {
	m := solo(t)
	for path, want := range map[string]string{
		"/readyz": "[+]node ok\n[+]leader ok\n[+]store ok", "/readyz?noleader": "[+]node ok", "/readyz?sync": "[+]node ok\n[+]leader ok\n[+]store ok\n[+]sync ok",
	} {
		if status, _, text := m.rqlite(path, ""); status != 200 || text != want {
			t.Errorf("%s: %d %q", path, status, text)
		}
	}
	// rqlite's shell asks for //status, does not follow, and reads the header.
	if _, h, _ := m.rqlite("//status", ""); h.Get("X-Rqlite-Version") != "raft-node test" {
		t.Errorf("//status: %v", h)
	}
}
