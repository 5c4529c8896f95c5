package db

import (
	"context"

	command "github.com/rqlite/rqlite/v8/command/proto"
)

// QueryLimits bound the answer of Query.
type QueryLimits struct {
	Rows  int
	Bytes int // of the values
}

// QueryResult is the answer of Query: rqlite's own message, so that its clients
// can be answered as they expect.
type QueryResult struct {
	Rows      *command.QueryRows
	Index     uint64
	Truncated bool
}

// Query runs one read-only statement that comes from outside, behind SQLite's
// authorizer. CodeInvalid if it is not one, CodeDeadline if ctx ends first.
func (m *TaskManifest) Query(ctx context.Context, sql string, params []Value, limits QueryLimits, opts ...ReadOptions) (QueryResult, error) {
	o := ReadOptions{}
	if len(opts) > 0 {
		o = opts[0]
	}
	o.Guarded = true
	var res QueryResult
	index, err := m.engine.Read(ctx, o, func(c Conn) (err error) {
		res.Rows, res.Truncated, err = queryRows(c, sql, params, limits)
		return err
	})
	res.Index = index
	return res, err
}

func queryRows(c Conn, sql string, params []Value, limits QueryLimits) (*command.QueryRows, bool, error) {
	r, err := c.Query(sql, params...)
	if err != nil {
		return nil, false, err
	}
	rows := &command.QueryRows{Columns: r.Columns()}
	size := 0
	for r.Next() {
		if len(rows.Values) == limits.Rows || size > limits.Bytes {
			return rows, true, r.Close()
		}
		values := &command.Values{Parameters: make([]*command.Parameter, len(rows.Columns))}
		for i := range values.Parameters {
			v := r.Value(i)
			size += 16 + len(v.Bytes)
			values.Parameters[i] = v.Parameter()
		}
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
