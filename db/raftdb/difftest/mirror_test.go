package difftest

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	command "github.com/rqlite/rqlite/v8/command/proto"

	"github.com/raft-control-plane/control-plane/db"
)

// mirror does in rqlite what an entry has done in the embedded engine, and compares
// the outcomes. What an operation is (a guard, steps after it, a savepoint, a journal)
// rqlite does not know: the mirror sends the statements that ran, as a transaction what has
// a savepoint or several steps.
type mirror struct {
	t      *testing.T
	rqlite *rqlite
	// statements and failed count what was compared.
	statements, failed int
}

// apply repeats an entry.
func (m *mirror) apply(e *db.Entry, applied db.Applied) {
	m.t.Helper()
	journal, ended := []string{}, []int64{}
	ops, results := ran(e, applied)
	for i := 0; i < len(ops); {
		n := alone(ops[i:])
		if n == 0 {
			m.steps(ops[i], results[i])
			n = 1
		} else {
			m.each(ops[i:i+n], results[i:i+n])
		}
		for ; n > 0; n-- {
			if results[i].Held() {
				if len(ops[i].Journal) > 0 {
					journal = append(journal, string(ops[i].Journal))
				}
				if ops[i].Ends != 0 {
					ended = append(ended, ops[i].Ends)
				}
			}
			i++
		}
	}
	m.ends(e.EndsSQL, ended)
	if e.JournalSQL != "" && len(journal) > 0 {
		res := m.rqlite.execute(true, statement(e.JournalSQL, []db.Value{
			db.Int(int64(applied.Index)), db.Int(e.StampMs), db.Str("[" + strings.Join(journal, ",") + "]")}))
		if err := errorOf(res); err != "" {
			m.t.Fatalf("the journal: %s", err)
		}
	}
}

// ran leaves out the operations that need another one which did nothing.
func ran(e *db.Entry, applied db.Applied) (ops []*db.Op, results []db.OpResult) {
	for i, op := range e.Ops {
		if op.Needs == 0 || applied.Results[op.Needs-1].Held() {
			ops, results = append(ops, op), append(results, applied.Results[i])
		}
	}
	return ops, results
}

// ends repeats what notes the tasks that an entry has ended.
func (m *mirror) ends(sql string, ended []int64) {
	m.t.Helper()
	if sql == "" {
		return
	}
	for tasks := range slices.Chunk(ended, db.EndsAtOnce) {
		list, err := json.Marshal(tasks)
		if err != nil {
			m.t.Fatal(err)
		}
		res := m.rqlite.execute(true, statement(sql, []db.Value{db.Int(int64(len(tasks))), db.Str(string(list))}))
		if err := errorOf(res); err != "" {
			m.t.Fatalf("the ends: %s", err)
		}
	}
}

// alone is how many operations of one step, and without a savepoint, stand at the front:
// in rqlite they go in one request, which is no transaction.
func alone(ops []*db.Op) (n int) {
	for n < len(ops) && len(ops[n].Steps) == 1 && !ops[n].Savepoint {
		n++
	}
	return n
}

func (m *mirror) each(ops []*db.Op, results []db.OpResult) {
	m.t.Helper()
	statements := make([]*command.Statement, len(ops))
	for i, op := range ops {
		statements[i] = statement(op.Steps[0].SQL, op.Steps[0].Args)
	}
	res := m.rqlite.execute(false, statements...)
	if len(res) != len(ops) {
		m.t.Fatalf("rqlite answers %d of %d statements", len(res), len(ops))
	}
	for i, op := range ops {
		m.compare(op, results[i], res[i], errorOf(res[i:i+1]))
	}
}

// steps repeats an operation of several steps, of which those ran that the guard let.
// RETURNING is left out: in rqlite 8.43.4 a statement with it that fails does not end its
// transaction, and what was done before stays.
func (m *mirror) steps(op *db.Op, result db.OpResult) {
	m.t.Helper()
	var statements []*command.Statement
	for i, s := range op.Steps {
		if i == 0 || s.Always || result.Changed > 0 || result.Err != nil {
			sql, _, _ := strings.Cut(s.SQL, " RETURNING ")
			statements = append(statements, statement(sql, s.Args))
		}
	}
	res := m.rqlite.execute(true, statements...)
	m.compare(op, result, res[0], errorOf(res))
}

func (m *mirror) compare(op *db.Op, ours db.OpResult, theirs *command.ExecuteQueryResponse, theirErr string) {
	m.t.Helper()
	m.statements += len(op.Steps)
	if (ours.Err != nil) != (theirErr != "") {
		m.t.Fatalf("%s\nthe engine: %v\nrqlite:     %s", show(op), ours.Err, theirErr)
	}
	if ours.Err != nil {
		m.failed++
		if constraint := theirErr; strings.Contains(theirErr, "constraint failed") && !strings.Contains(ours.Err.Error(), constraint) {
			m.t.Fatalf("%s\nthe engine: %v\nrqlite:     %s", show(op), ours.Err, theirErr)
		}
		return
	}
	if n, counted := changed(op, theirs); counted && n != ours.Changed {
		m.t.Fatalf("%s\nchanged rows: %d in the engine, %d in rqlite", show(op), ours.Changed, n)
	}
}

// changed is how many rows rqlite says that the first step changed. Of what is no
// INSERT, UPDATE or DELETE it tells what the statement before did.
func changed(op *db.Op, res *command.ExecuteQueryResponse) (n int64, counted bool) {
	if op.Steps[0].Script || !writes(op.Steps[0].SQL) {
		return 0, false
	}
	if q := res.GetQ(); q != nil {
		return int64(len(q.Values)), true
	}
	return res.GetE().GetRowsAffected(), true
}

func writes(sql string) bool {
	word, _, _ := strings.Cut(strings.TrimSpace(sql), " ")
	switch word {
	case "INSERT", "UPDATE", "DELETE", "REPLACE", "WITH":
		return true
	}
	return false
}

// errorOf is the error that ended a request, "" if there is none.
func errorOf(res []*command.ExecuteQueryResponse) string {
	for _, r := range res {
		if text := r.GetError(); text != "" {
			return text
		}
		if text := r.GetE().GetError() + r.GetQ().GetError(); text != "" {
			return text
		}
	}
	return ""
}

// statement makes a statement of rqlite's. Its HTTP API finds out by itself that a
// statement has rows to return; in its cluster's protocol the caller says so.
func statement(sql string, args []db.Value) *command.Statement {
	return &command.Statement{Sql: sql, Parameters: parameters(args), ForceQuery: strings.Contains(sql, "RETURNING")}
}

func parameters(args []db.Value) []*command.Parameter {
	out := make([]*command.Parameter, len(args))
	for i, v := range args {
		out[i] = parameter(v)
	}
	return out
}

func parameter(v db.Value) *command.Parameter {
	switch v.Kind {
	case db.Integer:
		if v.Bytes != nil { // see boolean
			return &command.Parameter{Value: &command.Parameter_B{B: v.Int != 0}}
		}
		return &command.Parameter{Value: &command.Parameter_I{I: v.Int}}
	case db.Real:
		return &command.Parameter{Value: &command.Parameter_D{D: v.Float}}
	case db.Text:
		return &command.Parameter{Value: &command.Parameter_S{S: string(v.Bytes)}}
	case db.Blob:
		return &command.Parameter{Value: &command.Parameter_Y{Y: v.Bytes}}
	}
	return &command.Parameter{}
}

// renderOurs and renderTheirs write a value with its type and all its digits.
func renderOurs(v db.Value) string { return renderTheirs(parameter(v)) }

func renderTheirs(p *command.Parameter) string {
	switch v := p.GetValue().(type) {
	case *command.Parameter_I:
		return strconv.FormatInt(v.I, 10)
	case *command.Parameter_B:
		return renderOurs(db.Bool(v.B))
	case *command.Parameter_D:
		return fmt.Sprintf("%v#%x", v.D, math.Float64bits(v.D))
	case *command.Parameter_S:
		return strconv.Quote(v.S)
	case *command.Parameter_Y:
		return "x'" + hex.EncodeToString(v.Y) + "'"
	}
	return "NULL"
}

func render[V any](rows [][]V, one func(V) string) []string {
	out := make([]string, len(rows))
	for i, row := range rows {
		cols := make([]string, len(row))
		for j, v := range row {
			cols[j] = one(v)
		}
		out[i] = strings.Join(cols, " | ")
	}
	return out
}

// show writes an operation for a message.
func show(op *db.Op) string {
	var b strings.Builder
	for _, s := range op.Steps {
		fmt.Fprintf(&b, "%s (always %v, script %v, savepoint %v)\n", showStatement(s.SQL, s.Args), s.Always, s.Script, op.Savepoint)
	}
	return b.String()
}

func showStatement(sql string, args []db.Value) string {
	for _, v := range args {
		sql += fmt.Sprintf(" %.200s", renderOurs(v))
	}
	return sql
}

// same runs a query on both sides and compares the rows.
func (m *mirror) same(solo *member, sql string, args ...db.Value) {
	m.t.Helper()
	ours, err := solo.query(sql, args)
	theirs, theirErr := m.rqlite.query(statement(sql, args))
	if (err != nil) != (theirErr != nil) {
		m.t.Fatalf("%s\nthe engine: %v\nrqlite:     %v", showStatement(sql, args), err, theirErr)
	}
	a, b := render(ours, renderOurs), render(theirs, renderTheirs)
	for i := range max(len(a), len(b)) {
		x, y := "(no row)", "(no row)"
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			m.t.Fatalf("%s\nrow %d in the engine: %s\nrow %d in rqlite:     %s", showStatement(sql, args), i, x, i, y)
		}
	}
}

// sameTables compares the schema and the rows of every table, in the order of all
// columns, each value with its type.
func (m *mirror) sameTables(solo *member) {
	m.t.Helper()
	const schema = "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT GLOB 'sqlite_*' AND name NOT GLOB 'raft_*' ORDER BY type, name"
	m.same(solo, schema)
	tables, err := solo.query("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB 'sqlite_*' AND name NOT GLOB 'raft_*' ORDER BY name", nil)
	if err != nil {
		m.t.Fatal(err)
	}
	for _, table := range tables {
		columns, err := solo.query("SELECT name FROM pragma_table_xinfo(?1) ORDER BY cid", table)
		if err != nil {
			m.t.Fatal(err)
		}
		m.same(solo, contentSQL(string(table[0].Bytes), columns))
	}
}

// contentSQL reads a table by expressions, which have no declared type: rqlite makes
// times and booleans of values by that. A blob goes in hexadecimal.
func contentSQL(table string, columns [][]db.Value) string {
	var cols, order []string
	for i, c := range columns {
		name := `"` + string(c[0].Bytes) + `"`
		cols = append(cols, fmt.Sprintf("typeof(%[1]s), iif(typeof(%[1]s) = 'blob', hex(%[1]s), %[1]s)", name))
		order = append(order, strconv.Itoa(2*i+1), strconv.Itoa(2*i+2))
	}
	return "SELECT " + strings.Join(cols, ", ") + " FROM " + table + " ORDER BY " + strings.Join(order, ", ")
}
