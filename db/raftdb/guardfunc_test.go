package raftdb

import (
	"cmp"
	"fmt"
	"strings"
	"testing"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// openGuarded opens a database in memory as for strangers.
func openGuarded(t *testing.T) *sqlite.Conn {
	t.Helper()
	conn := openPlain(t)
	if err := guard(conn, new(bool)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func openPlain(t *testing.T) *sqlite.Conn {
	t.Helper()
	conn, err := sqlite.OpenConn(":memory:")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func value(conn *sqlite.Conn, sql string) (text string, err error) {
	err = sqlitex.ExecuteTransient(conn, sql, &sqlitex.ExecOptions{ResultFunc: func(s *sqlite.Stmt) error {
		text = s.ColumnType(0).String() + " " + s.ColumnText(0)
		return nil
	}})
	return text, err
}

// TestReplacedFunctionsAreSQLites compares the functions of a guarded connection with
// SQLite's own.
func TestReplacedFunctionsAreSQLites(t *testing.T) {
	plain, guarded := openPlain(t), openGuarded(t)
	values := []string{"NULL", "''", "'a'", "'abcabc'", "'bc'", "'äöü€ä'", "'€'", "'ö'", "'xxabxx'", "'x'", "'  a '", "' '", "12.50", "5", "121", "x'6162'", "x'62'", "x'c3a4'", "x'00'",
		"'0a-0b-ff'", "'-'", "'0a 0'", "'--'", "'0'", "'zz'", "'Aa'", "'\U0001F600a'", "'aé\U0001F600'", "1e3", "-7"}
	compare := func(sql string) {
		t.Helper()
		want, wantErr := value(plain, "SELECT "+sql)
		got, err := value(guarded, "SELECT "+sql)
		if got != want || (err == nil) != (wantErr == nil) {
			t.Errorf("%s is %q, %v, SQLite says %q, %v", sql, got, err, want, wantErr)
		}
	}
	for _, a := range values {
		for _, b := range values {
			for _, f := range []string{"instr", "trim", "ltrim", "rtrim", "unhex"} {
				compare(fmt.Sprintf("%s(%s, %s)", f, a, b))
			}
			for _, c := range []string{"NULL", "''", "'x'", "'ää'", "7"} {
				compare(fmt.Sprintf("replace(%s, %s, %s)", a, b, c))
			}
		}
	}
	for _, sql := range []string{"trim(' a ')", "unhex('0aff')", "json_object('a', json('[1]'))", "json_array(1, 2)", "'abc' LIKE 'A%'", "max(1, 2, 3)"} {
		compare(sql)
	}
}

func TestFunctionsAreRefused(t *testing.T) {
	conn := openGuarded(t)
	arguments := map[string]int{"json_group_array": 1, "jsonb_group_array": 1, "geopoly_group_bbox": 1, "geopoly_contains_point": 3, "geopoly_regular": 4}
	for _, name := range refusedFunctions {
		args := strings.TrimSuffix(strings.Repeat("'[1]',", cmp.Or(arguments[name], 2)), ",")
		if text, err := value(conn, "SELECT "+strings.ToUpper(name)+"("+args+")"); err == nil || !strings.Contains(err.Error(), "not authorized to use function: "+strings.ToUpper(name)) {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	for sql, want := range map[string]string{
		"SELECT 'a' LIKE '" + strings.Repeat("%a", 129) + "'":   "pattern too complex",
		"SELECT coalesce(" + strings.Repeat("NULL,", 16) + "1)": "too many arguments",
		"SELECT replace(hex(zeroblob(500000)), '0', 'xx')":      "too big",
		"SELECT length(hex(zeroblob(655361)))":                  "too big",
		"SELECT sum(1) OVER (), json_group_array(1) OVER ()":    "not authorized to use function",
	} {
		if text, err := value(conn, sql); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %q, %v", sql, text, err)
		}
	}
}
