package db

import (
	"errors"
	"testing"

	"zombiezen.com/go/sqlite"
)

// TestStatementsArePreparedOnce runs each statement again and again with other
// parameters. Where SQLite's planner compares a bound value with something, as in LIMIT ?
// and with some joins, it prepares the statement anew at each binding, which takes many
// times as long as running it: CAST(?1 AS TEXT), and 0 + ?1 for numbers, prevent that. The
// authorizer is called while a statement is prepared, and never else.
func TestStatementsArePreparedOnce(t *testing.T) {
	for name, sql := range statements(t) {
		conn := openSchema(t)
		s, err := conn.Prepare(sql)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		questions := 0
		if err := conn.SetAuthorizer(sqlite.AuthorizeFunc(func(sqlite.Action) sqlite.AuthResult { questions++; return sqlite.AuthResultOK })); err != nil {
			t.Fatal(err)
		}
		runs := 0
		for i := range 5 {
			if i == 2 { // the first is prepared anew because of the authorizer, and the schema may be read
				questions = 0
			}
			for p := range s.BindParamCount() {
				s.BindInt64(p+1, int64(i+1))
			}
			for more := true; more && err == nil; {
				more, err = s.Step()
			}
			if err != nil { // it takes other parameters, or once only
				break
			}
			runs++
			if err := errors.Join(s.Reset(), s.ClearBindings()); err != nil { // as the engine does
				t.Fatal(err)
			}
		}
		if runs > 2 && questions > 0 {
			t.Errorf("%s is prepared anew each time its parameters are bound", name)
		}
		_ = s.Reset()
	}
}
