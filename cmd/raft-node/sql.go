package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"google.golang.org/protobuf/types/known/structpb"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

const (
	// cellChars is where tables cut a value.
	cellChars = 100
	// statementMaxBytes bounds what is read from standard input; the server's own
	// limit is lower and has the better message.
	statementMaxBytes = 1 << 20
)

const sqlLong = `Runs one read-only SQLite statement on the replicated state: tables and views
tasks, nodes, attempts, events and others (SELECT name FROM sqlite_schema).

'-' reads the statement from standard input. Parameters stand for ?1, ?2 …, one
for each: numbers, true, false and null are taken as such, everything else as text; text
that looks like one of them goes in double quotes within quotes: '"7"'. Put '--'
before a parameter that begins with '-'.

Tables cut values at 100 characters; -o csv, json, jsonl and yaml do not. With jsonl
each row is an object.

Without a statement, at a terminal, it asks for statements, with .help and a
history of what was typed (kept in $XDG_STATE_HOME or ~/.local/state).`

func newSQLCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "sql [STATEMENT|- [PARAMETER…]]", Short: "Ask in SQL", Long: sqlLong,
		Example: `  raft-node sql 'SELECT status, count(*) FROM tasks GROUP BY status'
  raft-node sql 'SELECT id, node_id FROM tasks WHERE status = ?1 LIMIT ?2' RUNNING 10
  raft-node sql - <report.sql`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.promptSQL(cmd)
			}
			return a.query(cmd, args[0], args[1:])
		},
	}
	addConsistencyFlag(cmd)
	return limitFormats(cmd, strings.Join(sqlModes, " "))
}

func (a *app) query(cmd *cobra.Command, statement string, params []string) error {
	if statement == "-" {
		text, err := io.ReadAll(io.LimitReader(a.in, statementMaxBytes))
		if err != nil {
			return fmt.Errorf("read the statement: %w", err)
		}
		statement = string(text)
	}
	if strings.TrimSpace(statement) == "" {
		return usageErrorf("the statement is empty: give one such as 'SELECT count(*) FROM tasks'")
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	req := &v1.QueryRequest{Sql: statement, Consistency: consistency(cmd)}
	for _, p := range params {
		req.Params = append(req.Params, parameter(p))
	}
	res, err := c.Query(cmd.Context(), req)
	if err != nil {
		return err
	}
	return a.showRows(res, a.v.GetString("output"))
}

// promptSQL asks for statements at the terminal.
func (a *app) promptSQL(cmd *cobra.Command) error {
	in, isFile := a.in.(*os.File)
	if !isFile || !term.IsTerminal(int(in.Fd())) {
		return usageErrorf("no statement is given, and standard input is no terminal to ask at: give one, or '-' to read it from there")
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	history := openHistory(a.err)
	defer history.close()
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	defer signal.Stop(interrupts)
	p := sqlPrompt{app: a, client: c, lines: newTerminal(in, a.out, history), interrupts: interrupts,
		mode: a.v.GetString("output"), consistency: consistency(cmd)}
	return p.run(cmd.Context())
}

// formatCSV is a format of sql alone.
const formatCSV = "csv"

// showRows writes an answer in one of sqlModes.
func (a *app) showRows(res *v1.QueryResponse, mode string) error {
	var err error
	switch mode {
	case formatJSON:
		err = a.printJSON(res)
	case formatYAML:
		err = a.printYAML(res)
	case formatLines:
		err = a.printRowLines(res)
	case formatCSV:
		err = a.printCSV(res)
	default:
		err = a.printTable(func(w io.Writer) { queryTable(w, res) })
	}
	if err != nil {
		return err
	}
	if res.GetTruncated() {
		fmt.Fprintf(a.err, "raft-node: only the first %d rows are shown, a limit was reached: narrow it down, or add LIMIT and OFFSET\n", len(res.GetRows()))
	}
	return nil
}

// parameter reads a parameter as JSON if it is a single value of it, else as text.
func parameter(s string) *structpb.Value {
	var v any
	if json.Unmarshal([]byte(s), &v) == nil {
		switch v := v.(type) {
		case float64:
			// SQLite has whole numbers that a float has not; as text they are exact, and
			// compare as numbers with a column of numbers.
			if math.Abs(v) >= 1<<53 && !strings.ContainsAny(s, ".eE") {
				return structpb.NewStringValue(s)
			}
			return structpb.NewNumberValue(v)
		case nil:
			return structpb.NewNullValue()
		case bool:
			return structpb.NewBoolValue(v)
		case string:
			return structpb.NewStringValue(v)
		}
	}
	return structpb.NewStringValue(s)
}

// printRowLines writes each row as an object of its own, with the columns in their
// order.
func (a *app) printRowLines(res *v1.QueryResponse) error {
	for _, r := range res.GetRows() {
		var b bytes.Buffer
		for i, v := range r.GetValues() {
			name, err := json.Marshal(res.GetColumns()[i])
			if err != nil {
				return err
			}
			value, err := compactJSON(v)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "%s%s:%s", map[bool]string{true: "{", false: ","}[i == 0], name, value)
		}
		if _, err := fmt.Fprintf(a.out, "%s}\n", b.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

// printCSV writes values whole, NULL as nothing.
func (a *app) printCSV(res *v1.QueryResponse) error {
	w := csv.NewWriter(a.out)
	line := slices.Clone(res.GetColumns())
	for i := range line {
		line[i] = multiline(line[i])
	}
	_ = w.Write(line) // Flush keeps the error
	for _, r := range res.GetRows() {
		for i, v := range r.GetValues() {
			line[i] = ""
			if _, null := v.GetKind().(*structpb.Value_NullValue); !null {
				line[i] = multiline(cell(v))
			}
		}
		_ = w.Write(line)
	}
	w.Flush()
	return w.Error()
}

func queryTable(w io.Writer, res *v1.QueryResponse) {
	row(w, append([]string(nil), res.GetColumns()...)...)
	for _, r := range res.GetRows() {
		cells := make([]string, len(r.GetValues()))
		for i, v := range r.GetValues() {
			cells[i] = short(cell(v), cellChars)
		}
		row(w, cells...)
	}
}

// cell writes a value as SQLite's own shell would.
func cell(v *structpb.Value) string {
	switch v := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		return v.StringValue
	case *structpb.Value_NumberValue:
		return number(v.NumberValue)
	case *structpb.Value_BoolValue:
		return strconv.FormatBool(v.BoolValue)
	default:
		return "NULL"
	}
}

// number writes whole numbers without an exponent.
func number(f float64) string {
	if whole := int64(f); float64(whole) == f && f < 1<<53 && f > -(1<<53) {
		return strconv.FormatInt(whole, 10)
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

func addConsistencyFlag(cmd *cobra.Command) {
	cmd.Flags().Var(newChoice("linearizable", "linearizable", "stale"), "consistency",
		"linearizable sees all that was acknowledged; stale asks one member only, and works without a leader")
	must(cmd.RegisterFlagCompletionFunc("consistency", completions("linearizable", "stale")))
}

func consistency(cmd *cobra.Command) v1.Consistency {
	return consistencyOf(cmd.Flag("consistency").Value.String())
}

func consistencyOf(word string) v1.Consistency {
	if word == "stale" {
		return v1.Consistency_CONSISTENCY_STALE
	}
	return v1.Consistency_CONSISTENCY_LINEARIZABLE
}
