package service

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

const (
	rqliteMaxStatements = 256
	rqliteMaxParams     = 999
)

// rqliteQuery is a request to /db/query or /db/request.
type rqliteQuery struct {
	values     url.Values
	statements []db.Statement
	read       db.ReadOptions
	timeout    time.Duration // of the whole, 0 for the usual
}

// has reports whether a parameter is there; its value does not matter.
func (q *rqliteQuery) has(name string) bool { return q.values.Has(name) }

func parseRqliteQuery(w http.ResponseWriter, r *http.Request) (*rqliteQuery, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, controlplane.Errorf(controlplane.CodeInvalid, "the URL's query cannot be read: %v", err)
	}
	q := &rqliteQuery{values: values}
	if err := q.parseOptions(); err != nil {
		return nil, err
	}
	if r.Method == http.MethodGet {
		if values.Get("q") == "" {
			return nil, controlplane.FieldErrorf("q", "is empty: give a statement, such as /db/query?q=SELECT+1")
		}
		q.statements = []db.Statement{{SQL: values.Get("q")}}
		return q, nil
	}
	body, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	if r.URL.Path == "/db/query" && strings.HasPrefix(r.Header.Get("Content-Type"), "text/plain") {
		q.statements = []db.Statement{{SQL: string(body)}}
		return q, nil
	}
	q.statements, err = parseStatements(body)
	return q, err
}

func (q *rqliteQuery) parseOptions() error {
	dbTimeout, freshness, linearizable := time.Duration(0), time.Duration(0), time.Duration(0)
	for name, to := range map[string]*time.Duration{
		"timeout": &q.timeout, "db_timeout": &dbTimeout, "freshness": &freshness, "linearizable_timeout": &linearizable,
	} {
		text := q.values.Get(name)
		if !q.has(name) {
			continue
		}
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 {
			return controlplane.FieldErrorf(name, "%.40q is no duration: write one such as 500ms or 2s", text)
		}
		*to = d
	}
	if q.has("freshness_strict") && !q.has("freshness") {
		return controlplane.FieldErrorf("freshness_strict", "needs freshness: give that too, such as freshness=1s")
	}
	if strings.EqualFold(q.values.Get("level"), "none") && !q.has("freshness_strict") {
		q.read = db.ReadOptions{Level: db.Stale, MaxStaleness: freshness}
	} else if q.timeout == 0 {
		q.timeout = linearizable
	}
	q.read.MaxTime = queryTimeLimit
	if dbTimeout > 0 {
		q.read.MaxTime = min(dbTimeout, queryTimeLimit)
	}
	return nil
}

// readBody reads what a client may send, within a bounded time.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	ctl := http.NewResponseController(w)
	_ = ctl.SetReadDeadline(time.Now().Add(rqliteBodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxMessageBytes))
	_ = ctl.SetReadDeadline(time.Time{})
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, controlplane.FieldErrorf("body", "has more than %d bytes: send fewer statements at a time", maxMessageBytes)
	}
	if err != nil {
		return nil, controlplane.FieldErrorf("body", "did not arrive whole within %s: %v", rqliteBodyTimeout, err)
	}
	return body, nil
}

// parseStatements reads rqlite's form: a list whose items are a statement, or a list
// of a statement and its parameters, of which objects hold those with names.
func parseStatements(body []byte) ([]db.Statement, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var items []json.RawMessage
	if err := dec.Decode(&items); err != nil {
		return nil, controlplane.FieldErrorf("body", `is no JSON list of statements, such as ["SELECT 1", ["SELECT ?", 1], ["SELECT :a", {"a": 1}]]: %v`, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, controlplane.FieldErrorf("body", "goes on after the list of statements: send one list")
	}
	if len(items) == 0 || len(items) > rqliteMaxStatements {
		return nil, controlplane.FieldErrorf("body", "has %d statements: send 1 to %d", len(items), rqliteMaxStatements)
	}
	stmts := make([]db.Statement, len(items))
	for i, item := range items {
		stmt, err := parseStatement(item)
		if err != nil {
			return nil, within(fmt.Sprintf("body[%d]", i), err)
		}
		stmts[i] = stmt
	}
	return stmts, nil
}

func parseStatement(item json.RawMessage) (stmt db.Statement, err error) {
	var sql string
	if json.Unmarshal(item, &sql) == nil && item[0] == '"' {
		return db.Statement{SQL: sql}, nil
	}
	dec := json.NewDecoder(bytes.NewReader(item))
	dec.UseNumber()
	var parts []any
	if dec.Decode(&parts) == nil && len(parts) > 0 {
		sql, ok := parts[0].(string)
		if ok {
			stmt.SQL = sql
			stmt.Params, err = parseParams(parts[1:])
			return stmt, err
		}
	}
	return stmt, controlplane.FieldErrorf("sql", "must be a statement, or a list that begins with one")
}

func parseParams(values []any) (params []db.Param, err error) {
	add := func(name string, v any) {
		p, paramErr := parseParam(v)
		if paramErr != nil {
			err = controlplane.FieldErrorf("params", "value %d: %v", len(params), paramErr)
		}
		params = append(params, db.Param{Name: name, Value: p})
	}
	for _, v := range values {
		named, ok := v.(map[string]any)
		if !ok {
			add("", v)
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(named)) {
			if name == "" {
				return nil, controlplane.FieldErrorf("params", "has a name that is empty: give it one, or give the value without an object")
			}
			add(name, named[name])
		}
	}
	if len(params) > rqliteMaxParams {
		return nil, controlplane.FieldErrorf("params", "has %d values: give at most %d", len(params), rqliteMaxParams)
	}
	return params, err
}

var errParam = errors.New("must be null, a bool, a finite number, a string, or a list of bytes: give other lists and objects as JSON text")

// parseParam reads a value as rqlite does: "x'0A0B'" and lists of bytes are blobs.
func parseParam(v any) (db.Value, error) {
	switch v := v.(type) {
	case nil:
		return db.Value{}, nil
	case bool:
		return db.Bool(v), nil
	case string:
		if blob, ok := hexLiteral(v); ok {
			return db.Value{Kind: db.Blob, Bytes: blob}, nil
		}
		return db.Str(v), nil
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return db.Int(i), nil
		}
		if f, err := v.Float64(); err == nil {
			return db.Float(f), nil
		}
	case []any:
		return byteList(v)
	}
	return db.Value{}, errParam
}

func byteList(list []any) (db.Value, error) {
	blob := make([]byte, len(list))
	for i, item := range list {
		n, _ := item.(json.Number)
		b, err := n.Int64()
		if err != nil || b < 0 || b > 255 {
			return db.Value{}, errParam
		}
		blob[i] = byte(b)
	}
	return db.Value{Kind: db.Blob, Bytes: blob}, nil
}

func hexLiteral(s string) ([]byte, bool) {
	if len(s) < 3 || s[0] != 'x' && s[0] != 'X' || s[1] != '\'' || s[len(s)-1] != '\'' {
		return nil, false
	}
	blob, err := hex.DecodeString(s[2 : len(s)-1])
	return blob, err == nil
}
