package raftdb

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// chain nests n subqueries, each of which makes its columns of those of the one before.
func chain(n int, columns string, as string) string {
	sql := "WITH a0(x, y) AS (SELECT 1, random())"
	for i := 1; i < n; i++ {
		sql += fmt.Sprintf(", a%d(x, y) %s (SELECT %s FROM a%d)", i, as, columns, i-1)
	}
	return sql + fmt.Sprintf(" SELECT x FROM a%d", n-1)
}

func nested(n int, columns string) string {
	return strings.Repeat("SELECT "+columns+" FROM (", n) + "SELECT 1 AS x, random() AS y" + strings.Repeat(")", n)
}

func TestGrowthIsRefused(t *testing.T) {
	for name, sql := range map[string]string{
		"doubling":          chain(30, "x + x, y", "AS"),
		"by two columns":    chain(30, "x + y, x - y", "AS"),
		"few and wide":      chain(4, "coalesce("+strings.Repeat("x, ", 60)+"y), y", "AS"),
		"in cases":          chain(20, "CASE WHEN x THEN x ELSE y END, y", "AS"),
		"not materialized":  chain(30, "x + x, y", "AS NOT MATERIALIZED"),
		"nested":            nested(30, "x + x AS x, y"),
		"nested, no AS":     nested(30, "x + x x, y"),
		"quoted":            strings.ReplaceAll(strings.ReplaceAll(chain(30, `"x" + [x], y`, "AS"), " a3(", " `A3`("), "FROM a4)", `FROM [A4])`),
		"with comments":     chain(30, "x/**/+--\nx, y", "/* a ( */ AS"),
		"in reverse order":  "WITH b(x) AS (SELECT x + x FROM c), c(x) AS (SELECT x+x+x+x FROM d), d(x) AS (SELECT x*x*x*x*x*x*x*x FROM e), e(x) AS (SELECT " + strings.Repeat("x+", 90) + "x FROM f), f(x) AS (SELECT x+x+x+x+x+x+x+x+x+x FROM tasks) SELECT x FROM b",
		"in an expression":  "SELECT (" + strings.TrimSuffix(strings.Repeat(nested(3, strings.Repeat("x+", 9)+"x AS x"), 1), "") + ")" + strings.Repeat("+ ("+nested(3, strings.Repeat("x+", 9)+"x AS x")+")", 20),
		"in a condition":    "SELECT 1 WHERE EXISTS (" + nested(20, "x + x AS x") + ")",
		"stars":             "SELECT *, *, *, * FROM (SELECT *, *, *, * FROM (SELECT *, *, *, * FROM (SELECT *, *, *, * FROM (SELECT *, *, *, * FROM (SELECT *,*,*,*,*,* FROM (SELECT *,*,*,*,*,* FROM (SELECT 1 AS x)))))))",
		"parentheses":       "SELECT " + strings.Repeat("(", 501) + "1" + strings.Repeat(")", 501),
		"shadowed":          "WITH a(x) AS (SELECT 1), b AS (WITH " + strings.TrimPrefix(chain(30, "x + x, y", "AS"), "WITH ") + ") SELECT * FROM b",
		"one name for two":  "WITH a AS (SELECT 1 AS x), b AS (WITH c AS (SELECT x FROM a), a AS (SELECT x FROM c) SELECT x FROM a), c AS (SELECT x FROM b) SELECT x FROM c -- ask in parts",
		"behind a compound": "SELECT 1 UNION ALL " + nested(30, "x + x AS x, y"),
	} {
		err := checkGrowth(sql)
		if err == nil {
			t.Errorf("%s passes: %.200s", name, sql)
		} else if !strings.Contains(err.Error(), "sql: ") || !strings.Contains(err.Error(), "ask in parts") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUsualStatementsDoNotGrow(t *testing.T) {
	for name, sql := range map[string]string{
		"materialized":        chain(30, "x + x, y", "AS MATERIALIZED"),
		"long chain":          chain(60, "x + 1, y", "AS"),
		"recursive":           "WITH RECURSIVE n(i, j) AS (SELECT 1, 1 UNION ALL SELECT i + 1, j * 2 + i FROM n WHERE i < 100) SELECT i * i * i FROM n",
		"recursive in a part": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT j FROM (SELECT i + 1 AS j FROM n WHERE i < 100)) SELECT i FROM n",
		"same names apart":    "SELECT * FROM (WITH t AS (SELECT id FROM tasks), u AS (SELECT id FROM t) SELECT id FROM u), (WITH t AS (SELECT id FROM nodes), u AS (SELECT id FROM t) SELECT id FROM u)",
		"a long list":         "SELECT * FROM tasks WHERE id IN (" + strings.Repeat("'a', ", 5000) + "'b')",
		"many columns":        "SELECT " + strings.Repeat("status, ", 1500) + "id FROM tasks",
		"many conditions":     "SELECT * FROM tasks WHERE " + strings.Repeat("status = 'A' OR ", 150) + "name = 'b'",
		"many unions":         strings.Repeat("SELECT id, status, name FROM tasks WHERE queue = 'a' AND priority > 1 UNION ALL ", 40) + "SELECT 1, 2, 3",
		"text that is none":   `SELECT 'SELECT (((((' || "a""b" || [x y] /* ( */ -- (`,
		"not SQL":             ") ) x ( ; '",
		"empty":               "",
	} {
		if err := checkGrowth(sql); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	doc, err := os.ReadFile("../../docs/sql.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range regexp.MustCompile("(?s)```sql\n(.*?)\n```").FindAllStringSubmatch(string(doc), -1) {
		root, _ := parseGroups(tokenize(e[1]))
		g := growth{named: map[string][]*subquery{}}
		g.define(root)
		if w := g.weigh(&subquery{body: root}); w.total > growthLimit/50 {
			t.Errorf("%s\nhas %v terms", e[1], w.total)
		}
	}
}

// TestGrowthIsBoundedInSQLite lets SQLite prepare what just passes.
func TestGrowthIsBoundedInSQLite(t *testing.T) {
	conn := openGuarded(t)
	for _, columns := range []string{"x + x, y", "x + y, x - y", "x + x + x + x, y", "CASE WHEN x THEN x ELSE y END, y", "coalesce(x, x, x, x, x, x, x, x, x, x), y"} {
		for n := 40; n > 1; n-- {
			sql := chain(n, columns, "AS")
			if checkGrowth(sql) != nil {
				continue
			}
			s, _, err := conn.PrepareTransient("EXPLAIN " + sql)
			if err != nil {
				t.Fatalf("%s: %v", sql, err)
			}
			steps := 0
			for more, err := s.Step(); more || err != nil; more, err = s.Step() {
				if err != nil {
					t.Fatal(err)
				}
				steps++
			}
			_ = s.Finalize()
			if steps > 10*growthLimit {
				t.Errorf("%s, %d times: %d steps", columns, n, steps)
			}
			break
		}
	}
}

func TestGrowthIsQuickToTell(t *testing.T) {
	for _, sql := range []string{
		strings.Repeat("(", guardSQLBytes), strings.Repeat("SELECT(", guardSQLBytes/7), nested(490, "x"), nested(400, "(SELECT x) AS x"),
		strings.Repeat("'", guardSQLBytes), strings.Repeat("\"", guardSQLBytes-1), strings.Repeat("/*", guardSQLBytes/2), strings.Repeat("a,", guardSQLBytes/2),
		"SELECT " + strings.Repeat("(SELECT ", 490) + "x" + strings.Repeat(")", 490), "WITH " + strings.Repeat("a AS (SELECT * FROM a, a), ", 2000) + "b AS (SELECT 1) SELECT * FROM a",
	} {
		_ = checkGrowth(sql) // it ends: what is exponential here would not
	}
}
