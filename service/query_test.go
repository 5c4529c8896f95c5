package service

import (
	"fmt"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/structpb"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

func (m *member) query(sql string, params ...*structpb.Value) (*v1.QueryResponse, error) {
	res, err := m.queryClient().Query(testContext(m.t), connect.NewRequest(&v1.QueryRequest{Sql: sql, Params: params}))
	if err != nil {
		return nil, err
	}
	return res.Msg, nil
}

func TestQueryTasks(t *testing.T) {
	m := solo(t)
	m.submit("a")
	m.submit("b")
	res, err := m.query("SELECT id, status, priority, node_id FROM tasks WHERE id > ?1 ORDER BY id", structpb.NewStringValue("a"))
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(res.GetColumns()) != "[id status priority node_id]" || len(res.GetRows()) != 1 || res.GetAppliedIndex() == 0 || res.GetTruncated() {
		t.Fatalf("%v", res)
	}
	if row := res.GetRows()[0].AsSlice(); fmt.Sprint(row) != "[b PENDING 0 <nil>]" {
		t.Errorf("row %v", row)
	}
}

// TestQueryTakesAValueForEachParameter: one that was forgotten would be NULL.
func TestQueryTakesAValueForEachParameter(t *testing.T) {
	m := solo(t)
	one := structpb.NewNumberValue(1)
	for sql, want := range map[string]string{
		"SELECT ?1, ?2":    "no value for the parameter 2 of the 2 that the statement takes",
		"SELECT ?, ?, :at": "no value for the parameter 2 of the 3",
		"SELECT ?1, :at":   "no value for :at",
		"SELECT 1":         "more values than the 0",
	} {
		if _, err := m.query(sql, one); connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", sql, err, want)
		}
	}
	if res, err := m.query("SELECT ?1, ?2", one, structpb.NewNullValue()); err != nil || fmt.Sprint(res.GetRows()[0].AsSlice()) != "[1 <nil>]" {
		t.Errorf("with a null: %v, %v", res, err)
	}
}

func TestQueryIsLimited(t *testing.T) {
	m := solo(t)
	res, err := m.query("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 20000) SELECT i FROM c")
	if err != nil || len(res.GetRows()) != 10_000 || !res.GetTruncated() {
		t.Errorf("%d rows, truncated %v, %v", len(res.GetRows()), res.GetTruncated(), err)
	}
	_, err = m.query("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c) SELECT count(*) FROM c")
	if connect.CodeOf(err) != connect.CodeDeadlineExceeded || !strings.Contains(err.Error(), "2s") {
		t.Errorf("an endless query: %v", err)
	}
	res, err = m.query("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 100) SELECT zeroblob(100000) FROM c")
	if err != nil || !res.GetTruncated() || len(res.GetRows()) == 0 {
		t.Errorf("10 MB: %d rows, %v", len(res.GetRows()), err)
	}
}

func TestQueryOnlyReads(t *testing.T) {
	m := solo(t)
	m.submit("a")
	for _, sql := range []string{
		"DELETE FROM tasks", "SELECT 1; DELETE FROM tasks", "SELEKT 1", "SELECT * FROM nothing", "PRAGMA journal_mode = DELETE", "ATTACH 'x' AS y",
		"VACUUM INTO '/tmp/x'", "BEGIN", "  ", "-- nothing",
	} {
		if res, err := m.query(sql); connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("%s: %v, %v", sql, res, err)
		}
	}
	if res, err := m.query("SELECT count(*) FROM tasks"); err != nil || res.GetRows()[0].AsSlice()[0] != 1.0 {
		t.Errorf("afterwards: %v, %v", res, err)
	}
}
