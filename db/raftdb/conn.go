package raftdb

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"zombiezen.com/go/sqlite"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// reader is a read-only connection. It implements db.Conn.
type reader struct {
	conn    *sqlite.Conn
	guarded bool
	trusted bool // the statement that is prepared is our own
}

// Query implements db.Conn.
func (r *reader) Query(sql string, args ...db.Value) (db.Cursor, error) {
	if r.guarded {
		params := make([]db.Param, len(args))
		for i, v := range args {
			params[i].Value = v
		}
		return r.QueryNamed(sql, params)
	}
	s, err := r.conn.Prepare(sql)
	if err != nil {
		return nil, err
	}
	bind(s, args)
	return &cursor{stmt: s}, nil
}

// QueryNamed implements db.Conn.
func (r *reader) QueryNamed(sql string, params []db.Param) (db.Cursor, error) {
	if strings.ContainsRune(sql, 0) {
		return nil, controlplane.FieldErrorf("sql", "has a NUL byte: remove it")
	}
	if isBlank(sql) {
		return nil, controlplane.FieldErrorf("sql", "is empty: give one SELECT statement")
	}
	if len(sql) <= guardSQLBytes { // SQLite refuses what is longer
		if err := checkGrowth(sql); err != nil {
			return nil, err
		}
	}
	s, trailing, err := r.conn.PrepareTransient(sql)
	if err != nil {
		return nil, sqlError(err)
	}
	if rest := sql[len(sql)-trailing:]; !isBlank(rest) {
		_ = s.Finalize()
		return nil, controlplane.FieldErrorf("sql", "has more than one statement: give one SELECT at a time")
	}
	if s.ColumnCount() == 0 {
		_ = s.Finalize()
		return nil, controlplane.FieldErrorf("sql", "returns no columns: only statements that read are allowed")
	}
	if err := bindParams(s, params); err != nil {
		_ = s.Finalize()
		return nil, err
	}
	return &cursor{stmt: s, guarded: true, columns: r.columnNames(s, sql[:len(sql)-trailing])}, nil
}

// columnNames returns the names that the driver knows, which is the last of several
// columns with the same, and finds out the others: in a subquery SQLite tells them
// apart by adding ":1" and so on.
func (r *reader) columnNames(s *sqlite.Stmt, sql string) []string {
	names := namesOf(s)
	if !slices.Contains(names, "") {
		return names
	}
	wrapped, _, err := r.conn.PrepareTransient("SELECT * FROM (" + strings.TrimRight(sql, "; \t\r\n") + "\n)")
	if err != nil {
		return names
	}
	defer wrapped.Finalize()
	for i, name := range namesOf(wrapped) {
		if i < len(names) && names[i] == "" {
			if at := strings.LastIndexByte(name, ':'); s.ColumnIndex(name) < 0 && at > 0 {
				name = name[:at]
			}
			names[i] = name
		}
	}
	return names
}

func namesOf(s *sqlite.Stmt) []string {
	names := make([]string, s.ColumnCount())
	for i := range names {
		names[i] = s.ColumnName(i)
	}
	return names
}

// bindParams binds what a stranger gave: a value for each parameter of the statement. Of
// one that was forgotten SQLite would make NULL, which no comparison finds.
func bindParams(s *sqlite.Stmt, params []db.Param) error {
	given, named := 0, map[int]bool{}
	for i := range params {
		p := &params[i]
		if p.Name == "" {
			given++
			if n := s.BindParamCount(); given > n {
				return controlplane.FieldErrorf("params", "has more values than the %d that the statement takes", n)
			}
			bindOne(s, given, &p.Value)
		} else if !bindNamed(s, p, named) {
			return controlplane.FieldErrorf("params", "%.80q is no parameter of the statement: write :%.80s where its value belongs", p.Name, p.Name)
		}
	}
	for i, n := given+1, s.BindParamCount(); i <= n; i++ {
		if named[i] {
			continue
		}
		if name := s.BindParamName(i); name != "" && name[0] != '?' {
			return controlplane.FieldErrorf("params", "has no value for %.80s: give one, or null", name)
		}
		return controlplane.FieldErrorf("params", "has no value for the parameter %d of the %d that the statement takes: give one for each, or null", i, n)
	}
	return nil
}

// bindNamed binds a value to all parameters of its name, and notes which.
func bindNamed(s *sqlite.Stmt, p *db.Param, bound map[int]bool) (found bool) {
	for i := 1; i <= s.BindParamCount(); i++ {
		if name := s.BindParamName(i); name != "" && name[0] != '?' && name[1:] == p.Name {
			bindOne(s, i, &p.Value)
			found, bound[i] = true, true
		}
	}
	return found
}

// sqlError makes what SQLite says of a stranger's statement an error for them.
func sqlError(err error) error {
	switch sqlite.ErrCode(err).ToPrimary() {
	case sqlite.ResultInterrupt:
		return controlplane.Errorf(controlplane.CodeDeadline, "the statement ran for too long and was stopped: narrow it, or add a LIMIT")
	case sqlite.ResultAuth, sqlite.ResultReadOnly:
		return controlplane.FieldErrorf("sql", "only statements that read are allowed: give SELECT, or a PRAGMA that tells about the schema")
	case sqlite.ResultTooBig:
		return controlplane.FieldErrorf("sql", "a value or the statement is too large: values may have %d bytes, take a part by substr()", guardValueBytes)
	case sqlite.ResultError, sqlite.ResultRange, sqlite.ResultMismatch, sqlite.ResultConstraint:
		return controlplane.FieldErrorf("sql", "%s", plain(err))
	}
	return err
}

// sqlPlace is where the driver found a mistake: line and column.
var sqlPlace = regexp.MustCompile(`^([0-9]+):([0-9]+): `)

// sqlHints say what to do about mistakes that are made often.
var sqlHints = map[string]string{
	"no such table":  ": SELECT name FROM sqlite_schema lists what there is",
	"no such column": ": PRAGMA table_info(TABLE) lists what there is",
	"not authorized": ": a function in it is not allowed here",
}

// plain removes the driver's own words from a message, and adds what to do.
func plain(err error) string {
	text := err.Error()
	if i := strings.LastIndex(text, "sqlite: "); i >= 0 {
		text = text[i+len("sqlite: "):]
	}
	text = strings.TrimPrefix(strings.TrimPrefix(text, "prepare: "), "step: ")
	at := ""
	if m := sqlPlace.FindStringSubmatch(text); m != nil {
		text, at = text[len(m[0]):], fmt.Sprintf(" (line %s, column %s)", m[1], m[2])
	}
	text = strings.TrimPrefix(text, "SQL logic error: ")
	if len(text) > maxSQLFault { // it quotes what it does not understand
		text = strings.ToValidUTF8(text[:maxSQLFault], "") + "…"
	}
	for part, hint := range sqlHints {
		if strings.Contains(text, part) {
			return text + at + hint
		}
	}
	return text + at
}

// maxSQLFault bounds what is said of a mistake, in bytes.
const maxSQLFault = 200

// cursor implements db.Cursor.
type cursor struct {
	stmt    *sqlite.Stmt
	guarded bool
	columns []string
	err     error
}

// Next implements db.Cursor.
func (c *cursor) Next() bool {
	if c.err != nil {
		return false
	}
	row, err := c.stmt.Step()
	if err != nil && c.guarded {
		err = sqlError(err)
	}
	c.err = err
	return row && err == nil
}

// Err implements db.Cursor.
func (c *cursor) Err() error { return c.err }

// Columns implements db.Cursor.
func (c *cursor) Columns() []string {
	if c.columns == nil {
		c.columns = namesOf(c.stmt)
	}
	return c.columns
}

// Value implements db.Cursor.
func (c *cursor) Value(i int) db.Value {
	switch c.stmt.ColumnType(i) {
	case sqlite.TypeInteger:
		return db.Int(c.stmt.ColumnInt64(i))
	case sqlite.TypeFloat:
		return db.Float(c.stmt.ColumnFloat(i))
	case sqlite.TypeText:
		return db.Str(c.stmt.ColumnText(i))
	case sqlite.TypeBlob:
		return db.Value{Kind: db.Blob, Bytes: columnBytes(c.stmt, i)}
	}
	return db.Value{}
}

// Int implements db.Cursor.
func (c *cursor) Int(i int) int64 { return c.stmt.ColumnInt64(i) }

// Text implements db.Cursor.
func (c *cursor) Text(i int) string { return c.stmt.ColumnText(i) }

// IsNull implements db.Cursor.
func (c *cursor) IsNull(i int) bool { return c.stmt.ColumnIsNull(i) }

// Close implements db.Cursor.
func (c *cursor) Close() error {
	if c.guarded {
		_ = c.stmt.Finalize() // repeats the error of the last step
		return c.err
	}
	_ = c.stmt.Reset()
	return errors.Join(c.err, c.stmt.ClearBindings())
}
