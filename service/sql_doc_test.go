package service

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"
)

const sqlDoc = "../docs/sql.md"

var (
	docHeading  = regexp.MustCompile("^### `(\\w+)`$")
	docKind     = regexp.MustCompile(`^A (table|view) `)
	docColumn   = regexp.MustCompile("^\\| `(\\w+)` \\| ([A-Z]+) \\| (\\S.*) \\|$")
	docExamples = regexp.MustCompile("(?s)\n```sql\n(.*?)\n```\n")
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

func TestSQLDocExamplesRun(t *testing.T) {
	text, err := os.ReadFile(sqlDoc)
	if err != nil {
		t.Fatal(err)
	}
	examples := docExamples.FindAllStringSubmatch(string(text), -1)
	if len(examples) < 12 {
		t.Fatalf("%d examples", len(examples))
	}
	m := solo(t)
	m.submit("a")
	m.register("n1", "s1", 1)
	for _, e := range examples {
		var params []*structpb.Value
		if strings.Contains(e[1], "?1") {
			params = append(params, structpb.NewStringValue("a"))
		}
		if _, err := m.query(e[1], params...); err != nil {
			t.Errorf("%s\n%v", e[1], err)
		}
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
