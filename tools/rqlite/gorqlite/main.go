// Command gorqlite reads a member's state with rqlite's Go client and prints what it
// got as JSON. Its one argument is the URL of a member.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/rqlite/gorqlite"
)

type answer struct {
	Leader  string
	Peers   []string
	Rows    []map[string]any
	Types   []string
	Request [][]any
	Write   string // why it was refused
	Failed  string // why a bad statement was
}

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(url string) error {
	conn, err := gorqlite.Open(url)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer conn.Close()
	var a answer
	if a.Leader, err = conn.Leader(); err != nil {
		return fmt.Errorf("leader: %w", err)
	}
	if a.Peers, err = conn.Peers(); err != nil {
		return fmt.Errorf("peers: %w", err)
	}
	rows, err := conn.QueryOneParameterized(gorqlite.ParameterizedStatement{
		Query:     "SELECT id, status, priority, name, create_time_ms > 0 AS timed FROM tasks WHERE id >= ? AND status = ? ORDER BY id",
		Arguments: []any{"a", "PENDING"},
	})
	if err != nil {
		return fmt.Errorf("query: %w", err)
	}
	a.Types = rows.Types()
	for rows.Next() {
		row, err := rows.Map()
		if err != nil {
			return err
		}
		a.Rows = append(a.Rows, row)
	}
	both, err := conn.RequestParameterized([]gorqlite.ParameterizedStatement{
		{Query: "SELECT count(*) FROM tasks"}, {Query: "SELECT :a || '-' || :b", Arguments: []any{map[string]any{"a": "x", "b": 7}}}})
	if err != nil {
		return fmt.Errorf("request: %w", err)
	}
	for _, r := range both {
		if r.Err != nil || r.Query == nil || !r.Query.Next() {
			return fmt.Errorf("request: %+v", r)
		}
		row, err := r.Query.Slice()
		if err != nil {
			return err
		}
		a.Request = append(a.Request, row)
	}
	if _, err := conn.WriteOne("DELETE FROM tasks"); err != nil {
		a.Write = err.Error()
	}
	if _, err := conn.QueryOne("SELECT nix FROM tasks"); err != nil {
		a.Failed = err.Error()
	}
	return json.NewEncoder(os.Stdout).Encode(a)
}
