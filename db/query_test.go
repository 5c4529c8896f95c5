package db

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/raft-control-plane/control-plane/migrations"
)

// statements returns the text of every file in query, by name without extension.
func statements(t *testing.T) map[string]string {
	t.Helper()
	files, err := fs.Glob(queryFiles, "query/*.sql")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d statements, %v", len(files), err)
	}
	all := map[string]string{}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".sql")
		all[name] = query(name)
	}
	return all
}

func TestQueryLeavesOutCommentsAndSpace(t *testing.T) {
	want := "SELECT log_index, time_ms, body FROM event_log WHERE log_index >= ?1 ORDER BY log_index LIMIT 0 + ?2"
	if got := query("event_list"); got != want {
		t.Errorf("got %q", got)
	}
	defer func() {
		if recover() == nil {
			t.Error("a file that is not there gave a statement")
		}
	}()
	query("no_such_file")
}

// query strips what looks like a comment or space without regard to literals, so
// no literal may hold either.
func TestLiteralsSurviveStripping(t *testing.T) {
	literal := regexp.MustCompile(`'[^']*'`)
	for name := range statements(t) {
		raw, _ := queryFiles.ReadFile("query/" + name + ".sql")
		for _, l := range literal.FindAllString(regexp.MustCompile(`(?m)^--.*$`).ReplaceAllString(string(raw), ""), -1) {
			if strings.Contains(l, "--") || regexp.MustCompile(`\s\s|[\t\n]`).MatchString(l) {
				t.Errorf("%s: the literal %s does not survive", name, l)
			}
		}
	}
}

func TestStatementsAreDistinctAndCommented(t *testing.T) {
	seen := map[string]string{}
	for name, sql := range statements(t) {
		if other, ok := seen[sql]; ok {
			t.Errorf("%s and %s are the same text", name, other)
		}
		seen[sql] = name
		raw, _ := queryFiles.ReadFile("query/" + name + ".sql")
		if !strings.HasPrefix(string(raw), "-- ") {
			t.Errorf("%s does not begin with what it guarantees", name)
		}
		if sql == "" || strings.Contains(sql, ";") {
			t.Errorf("%s is not one statement: %q", name, sql)
		}
	}
}

// TestEveryStatementIsUsed looks for query("name") or both("name") and for the use of the variable
// that it is kept in.
func TestEveryStatementIsUsed(t *testing.T) {
	var source strings.Builder
	files, _ := filepath.Glob("*.go")
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		source.Write(text)
	}
	variables := map[string]string{}
	for _, m := range regexp.MustCompile(`(\w+)\s*= (?:query|both)\("(\w+)"\)`).FindAllStringSubmatch(source.String(), -1) {
		variables[m[2]] = m[1]
	}
	for name := range statements(t) {
		v := variables[name]
		if v == "" {
			t.Errorf("%s.sql is loaded nowhere", name)
		} else if n := len(regexp.MustCompile(`\b`+v+`\b`).FindAllString(source.String(), -1)); n < 2 {
			t.Errorf("%s.sql is loaded as %s and never used", name, v)
		}
	}
}

// Every replica runs the writes: what depends on when or where it runs would make
// them part. The reads are held to the same, so that none becomes a write by a
// copy.
var nondeterministic = []struct{ what, pattern string }{
	{"a clock", `(?i)\b(CURRENT_(TIME|DATE|TIMESTAMP)|(datetime|date|time|julianday|strftime|unixepoch|timediff)\s*\()`},
	{"chance", `(?i)\brandom(blob)?\s*\(`},
	{"the connection's history", `(?i)\b(changes|total_changes|last_insert_rowid)\s*\(`},
	{"the build of SQLite", `(?i)\bsqlite_(version|source_id|compileoption_used|compileoption_get)\s*\(`},
	{"the order of rows", `(?i)\b(group_concat|string_agg)\s*\(`},
	{"a bare LIMIT ?, which prepares the statement anew at each bind: write LIMIT 0 + ?", `(?i)\b(LIMIT|OFFSET)\s+\?`},
}

func nondeterminism(sql string) (found []string) {
	for _, n := range nondeterministic {
		if regexp.MustCompile(n.pattern).MatchString(sql) {
			found = append(found, n.what)
		}
	}
	return found
}

func TestNoStatementDependsOnWhereItRuns(t *testing.T) {
	all := statements(t)
	files, err := migrations.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range files {
		all[m.Name] = strip(m.SQL)
	}
	for name, sql := range all {
		for _, what := range nondeterminism(sql) {
			t.Errorf("%s depends on %s", name, what)
		}
	}
}

func TestNondeterminismIsFound(t *testing.T) {
	for _, sql := range []string{
		"SELECT datetime('now')", "SELECT unixepoch ()", "DEFAULT CURRENT_TIMESTAMP", "ORDER BY random()", "SELECT randomblob(16)",
		"SELECT changes()", "VALUES (last_insert_rowid())", "SELECT sqlite_version()", "SELECT 1 LIMIT ?1", "LIMIT 0 + ?1 OFFSET ?2",
		"SELECT strftime('%s', 'now')", "SELECT julianday('now')", "SELECT date('now')",
	} {
		if nondeterminism(sql) == nil {
			t.Errorf("%q passes", sql)
		}
	}
	if found := nondeterminism("SELECT create_time_ms, update_date FROM t ORDER BY id LIMIT 0 + ?1"); found != nil {
		t.Errorf("a good statement depends on %v", found)
	}
}

// uniqueKeys are columns that are unique among the rows of the statements that
// order by them last.
var uniqueKeys = map[string]string{
	"event_last":               "log_index DESC",
	"node_prunable":            "n.id",
	"event_list":               "log_index",
	"event_prunable":           "log_index",
	"event_tasks":              "t.seq",
	"event_pruned_tasks":       "p.seq",
	"migration_list":           "version",
	"node_get":                 "device_index", // of one node
	"restore_attempts":         "seq",
	"task_retry_facts":         "e.number", // of tasks that ended together any will do
	"task_end_insert":          "number DESC",
	"task_last_end":            "number DESC",
	"node_gpus_insert":         "2", // index: one row for each by the primary key
	"node_list":                "n.id",
	"node_select_least_loaded": "node_id",
	"node_select_most_loaded":  "node_id",
	"node_select_cheapest":     "node_id",
	"pruned_task_insert":       "t.seq",
	"pruned_task_prune":        "seq",
	"task_class_list":          "id",
	"task_class_used":          "class_id", // grouped by it
	"task_get_for_work":        "j.key",
	"task_heads":               "seq",
	"task_held":                "seq",
	"task_list":                "t.seq DESC",
	"task_list_on_node":        "t.seq DESC",
	"task_prunable":            "e.number",
	"task_retries":             "seq",
	"task_cancelled":           "j.key",
	"task_overdue":             "seq",
	"task_streams":             "priority DESC", // grouped by all five
	"queue_list":               "name",
	"queue_settings":           "name",
}

// uniqueEverywhere are columns that are unique in whatever is ordered by them.
var uniqueEverywhere = map[string]bool{"device_index": true, "log_index": true, "number": true, "resource": true, "seq": true}

func TestOrderEndsInAUniqueKey(t *testing.T) {
	order := regexp.MustCompile(`(?i)ORDER BY ([^()]+?)(?: LIMIT [^()]*)?(?:\)|$)`)
	for name, sql := range statements(t) {
		orders := order.FindAllStringSubmatch(sql, -1)
		if len(orders) == 0 {
			if strings.Contains(sql, " LIMIT ") {
				t.Errorf("%s limits what is in no order", name)
			}
			continue
		}
		for _, o := range orders {
			terms := strings.Split(o[1], ", ")
			if last := terms[len(terms)-1]; last != uniqueKeys[name] && !uniqueEverywhere[last] {
				t.Errorf("%s orders by %q last: is that unique? say so in uniqueKeys", name, last)
			}
		}
	}
}

func TestMigrationsAreCountedFromOne(t *testing.T) {
	all, err := migrations.All()
	if err != nil || len(all) == 0 {
		t.Fatalf("%d migrations, %v", len(all), err)
	}
	for i, m := range all {
		if m.Version != i+1 || m.Name == "" || m.SQL == "" {
			t.Errorf("migration %d is %+v", i+1, m)
		}
	}
}
