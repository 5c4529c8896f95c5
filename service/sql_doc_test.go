package service

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/structpb"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

const (
	sqlDoc          = "../docs/sql.md"
	webExamplesFile = "../web/src/pages/examples.ts"
)

var (
	docHeading  = regexp.MustCompile("^### `(\\w+)`$")
	docKind     = regexp.MustCompile(`^A (table|view) `)
	docColumn   = regexp.MustCompile("^\\| `(\\w+)` \\| ([A-Z]+) \\| (\\S.*) \\|$")
	docExamples = regexp.MustCompile("(?s)\n```sql\n(.*?)\n```\n")
	docMeasured = regexp.MustCompile(`_s$|_gib$|percent$|^usd_`)
	webExamples = regexp.MustCompile(`sql: "([^"]+)"`)
)

// documented returns what the document says there is, as "table tasks", "tasks.seq
// INTEGER" and so on.
func documented(t *testing.T, text string) map[string]string {
	t.Helper()
	said, of := map[string]string{}, ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if m := docHeading.FindStringSubmatch(line); m != nil {
			of = m[1]
		} else if strings.HasPrefix(line, "## ") {
			of = ""
		} else if m := docKind.FindStringSubmatch(line); m != nil && of != "" {
			said[of] = m[1]
		} else if m := docColumn.FindStringSubmatch(line); m != nil && of != "" {
			said[of+"."+m[1]] = m[2]
			checkUnit(t, m[1], m[3])
		}
	}
	return said
}

// checkUnit wants the unit beside what has one.
func checkUnit(t *testing.T, column, meaning string) {
	t.Helper()
	if strings.HasPrefix(meaning, "as in ") {
		return
	}
	for suffix, unit := range map[string]string{
		"_time_ms": "ms since 1970", "timeout_ms": ", ms", "_bytes": "bytes", "_millis": "thousandths of a core", "_micros_per_hour": "millionths of a US dollar",
	} {
		if strings.HasSuffix(column, suffix) && !strings.Contains(meaning, unit) {
			t.Errorf("%s: %q does not say %q", column, meaning, unit)
		}
	}
}

// TestSQLDocNamesTheSchema holds docs/sql.md against a member's database.
func TestSQLDocNamesTheSchema(t *testing.T) {
	text, err := os.ReadFile(sqlDoc)
	if err != nil {
		t.Fatal(err)
	}
	said := documented(t, string(text))
	m := solo(t)
	is := map[string]string{}
	for _, r := range m.rows("SELECT name, type FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'") {
		is[r[0]] = r[1]
	}
	for _, r := range m.rows("SELECT s.name || '.' || c.name, c.type FROM sqlite_schema s, pragma_table_xinfo(s.name) c WHERE s.type IN ('table', 'view') AND s.name NOT LIKE 'sqlite_%'") {
		is[r[0]] = r[1]
	}
	if len(is) < 100 {
		t.Fatalf("the schema has %d tables, views and columns only", len(is))
	}
	for name, kind := range is {
		if what, ok := said[name]; !ok || kind != "" && what != kind { // what a view computes has no declared type
			t.Errorf("%s is %q, %s says %q", name, kind, sqlDoc, what)
		}
		delete(said, name)
	}
	for name := range said {
		t.Errorf("%s is in %s, not in the schema", name, sqlDoc)
	}
}

// sqlExamples are the queries of docs/sql.md, and those with which the dashboard begins.
func sqlExamples(t *testing.T) (queries []string) {
	t.Helper()
	for file, find := range map[string]*regexp.Regexp{sqlDoc: docExamples, webExamplesFile: webExamples} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found := find.FindAllStringSubmatch(string(text), -1)
		if len(found) < 11 {
			t.Fatalf("%s has %d examples", file, len(found))
		}
		for _, e := range found {
			queries = append(queries, strings.TrimSuffix(strings.ReplaceAll(e[1], `\n`, "\n"), ";"))
		}
	}
	return queries
}

// TestSQLExamples runs each. What they measure in seconds, gibibytes and percent is not
// cut to whole ones: SQLite divides integers as Go does.
func TestSQLExamples(t *testing.T) {
	m := solo(t)
	spec := &v1.NodeSpec{
		Slots: 4, Exec: true, Capacity: &v1.Resources{CpuMillis: 3000, MemoryBytes: 1 << 30, Gpus: 1},
		GpuDevices: []*v1.GpuDevice{{Model: "h100", MemoryBytes: 85520809984}}, PriceMicrosPerHour: 1,
	}
	if _, err := m.nodeClient().Heartbeat(testContext(t), connect.NewRequest(&v1.HeartbeatRequest{NodeId: "n1", SessionId: "s1", Spec: spec})); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b"} { // one ends, one runs, one waits
		m.submit(id)
		if work, err := m.poll("n1", "s1", 20*time.Second); err != nil || len(work.GetTasks()) != 1 {
			t.Fatalf("polled %v, %v", work, err)
		}
	}
	m.report("n1", "s1", "a", 1, v1.TaskStatus_TASK_STATUS_COMPLETED, "", 0)
	huge := echo("c")
	huge.Resources = &v1.Resources{Gpus: 8}
	if _, err := m.trySubmit(huge); err != nil {
		t.Fatal(err)
	}
	measured := map[string]int{}
	for _, sql := range sqlExamples(t) {
		var params []*structpb.Value
		if strings.Contains(sql, "?1") {
			params = append(params, structpb.NewStringValue("a"))
		}
		res, err := m.query(sql, params...)
		if err != nil {
			t.Errorf("%s\n%v", sql, err)
			continue
		}
		for _, column := range res.GetColumns() {
			if !docMeasured.MatchString(column) {
				continue
			}
			for _, kind := range m.rows(fmt.Sprintf("SELECT typeof(%s) FROM (%s)", column, sql)) {
				if kind[0] == "null" { // assigned, and not begun
					continue
				}
				if measured[column]++; kind[0] != "real" {
					t.Errorf("%s is of type %s in\n%s", column, kind[0], sql)
				}
			}
		}
	}
	if len(measured) < 8 {
		t.Errorf("only %v were looked at", measured)
	}
}

// rows returns a query's rows as text.
func (m *member) rows(sql string) (rows [][]string) {
	m.t.Helper()
	res, err := m.query(sql)
	if err != nil || res.GetTruncated() {
		m.t.Fatalf("%s: %v", sql, err)
	}
	for _, r := range res.GetRows() {
		row := make([]string, len(r.GetValues()))
		for i, v := range r.AsSlice() {
			row[i] = fmt.Sprint(v)
		}
		rows = append(rows, row)
	}
	return rows
}
