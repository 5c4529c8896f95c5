package db

import (
	"context"
	"errors"
	"fmt"
	"time"

	command "github.com/rqlite/rqlite/v8/command/proto"

	"github.com/raft-control-plane/control-plane"
)

// QueryLimits bound the answers of Query and QueryAll.
type QueryLimits struct {
	Rows  int
	Bytes int // of the values
}

// Statement is one that comes from outside.
type Statement struct {
	SQL    string
	Params []Param
}

// Param is a parameter of a Statement. Those without a name stand for ?1, ?2 … in
// their order among themselves; a name stands for :name, @name and $name.
type Param struct {
	Name  string
	Value Value
}

// QueryResult is the answer of a statement: rqlite's own message, so that its
// clients can be answered as they expect.
type QueryResult struct {
	Rows  *command.QueryRows
	Index uint64 // of the state that it shows
	// Truncated says that a limit was reached.
	Truncated bool
	// Err is why QueryAll has no Rows of this statement.
	Err error
}

// ErrTooLong is in the chain of the error of a query that was stopped while it ran:
// its code is CodeDeadline, and freshness was not what it waited for.
var ErrTooLong = errors.New("stopped while it ran")

// Query runs one read-only statement that comes from outside, behind SQLite's
// authorizer. CodeInvalid if it is not one, CodeDeadline if its time ends first,
// CodeExhausted if others take up all connections for as long.
func (m *TaskManifest) Query(ctx context.Context, sql string, params []Value, limits QueryLimits, opts ...ReadOptions) (QueryResult, error) {
	o := ReadOptions{}
	if len(opts) > 0 {
		o = opts[0]
	}
	stmt := Statement{SQL: sql, Params: make([]Param, len(params))}
	for i, v := range params {
		stmt.Params[i].Value = v
	}
	results, err := m.QueryAll(ctx, []Statement{stmt}, limits, o)
	if err != nil {
		return QueryResult{}, err
	}
	return results[0], results[0].Err
}

// QueryAll runs several, all on one state, with the limits of Query for all of them
// together. A statement that is invalid has its error in its result, and the next is
// run; whatever else goes wrong ends them all.
func (m *TaskManifest) QueryAll(ctx context.Context, stmts []Statement, limits QueryLimits, opts ReadOptions) ([]QueryResult, error) {
	opts.Guarded = true
	results, began := make([]QueryResult, len(stmts)), false
	index, err := m.engine.Read(ctx, opts, func(c Conn) error {
		began = true
		for i := range stmts {
			r := &results[i]
			r.Rows, r.Truncated, r.Err = queryRows(c, &stmts[i], &limits)
			if r.Err != nil && controlplane.CodeOf(r.Err) != controlplane.CodeInvalid {
				return r.Err
			}
		}
		return nil
	})
	if began && controlplane.CodeOf(err) == controlplane.CodeDeadline {
		err = fmt.Errorf("%w: %w", ErrTooLong, err)
	}
	for i := range results {
		results[i].Index = index
	}
	return results, err
}

// queryRows takes what it returns from left.
func queryRows(c Conn, stmt *Statement, left *QueryLimits) (*command.QueryRows, bool, error) {
	r, err := c.QueryNamed(stmt.SQL, stmt.Params)
	if err != nil {
		return nil, false, err
	}
	begun := time.Now()
	rows := &command.QueryRows{Columns: r.Columns()}
	defer func() { rows.Time = time.Since(begun).Seconds() }()
	for r.Next() {
		if left.Rows <= 0 || left.Bytes < 0 {
			return rows, true, r.Close()
		}
		values := &command.Values{Parameters: make([]*command.Parameter, len(rows.Columns))}
		for i := range values.Parameters {
			v := r.Value(i)
			left.Bytes -= 16 + len(v.Bytes)
			values.Parameters[i] = v.Parameter()
		}
		left.Rows--
		rows.Values = append(rows.Values, values)
	}
	return rows, false, r.Close()
}

// Parameter returns the value as rqlite's message; NULL has none of its fields.
func (v Value) Parameter() *command.Parameter {
	switch v.Kind {
	case Integer:
		return &command.Parameter{Value: &command.Parameter_I{I: v.Int}}
	case Real:
		return &command.Parameter{Value: &command.Parameter_D{D: v.Float}}
	case Text:
		return &command.Parameter{Value: &command.Parameter_S{S: string(v.Bytes)}}
	case Blob:
		return &command.Parameter{Value: &command.Parameter_Y{Y: v.Bytes}}
	}
	return &command.Parameter{}
}
