package service

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"connectrpc.com/connect"
	command "github.com/rqlite/rqlite/v8/command/proto"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/raft-control-plane/control-plane/db"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

func TestStrictJSONTakesBothSpellings(t *testing.T) {
	for _, text := range []string{`{"requestId":"k","task":{"maxAttempts":2}}`, `{"request_id":"k","task":{"max_attempts":2}}`} {
		var m v1.SubmitTaskRequest
		if err := (strictJSON{}).Unmarshal([]byte(text), &m); err != nil || m.GetRequestId() != "k" || m.GetTask().GetMaxAttempts() != 2 {
			t.Errorf("%s: %v, %v", text, &m, err)
		}
	}
}

// TestNobodySendsAFault sends what a codec leaves in a message that it cannot read,
// but for the secret.
func TestNobodySendsAFault(t *testing.T) {
	var m v1.GetTaskRequest
	if err := (strictJSON{}).Unmarshal([]byte(`{"ids":1}`), &m); err != nil || faultOf(&m) == nil {
		t.Fatalf("%v, %v", err, faultOf(&m))
	}
	b, err := proto.Marshal(&m)
	if err != nil {
		t.Fatal(err)
	}
	forged := bytes.Replace(b, []byte(faultSecret), bytes.Repeat([]byte("x"), len(faultSecret)), 1)
	if err := (plainProto{}).Unmarshal(forged, &m); err != nil || faultOf(&m) != nil {
		t.Errorf("a forged fault is taken for one: %v, %v", err, faultOf(&m))
	}
}

// TestABombIsNotUnpacked counts what is unpacked of a message that is too large.
func TestABombIsNotUnpacked(t *testing.T) {
	g := newBoundedGzip()
	if err := g.Reset(bytes.NewReader(zeros(64 << 20))); err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, g)
	if n > maxMessageBytes || connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("%d bytes, %v", n, err)
	}
	if err := g.Reset(bytes.NewReader(zeros(maxMessageBytes))); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, g); n != maxMessageBytes || err != nil {
		t.Errorf("a message that fits: %d bytes, %v", n, err)
	}
}

func TestPlainSpaces(t *testing.T) {
	if got := plainSpaces(errors.New("proto:\u00a0(line 1:2):\u00a0no")); got != "(line 1:2): no" {
		t.Errorf("%q", got)
	}
}

func TestValuesOfQueries(t *testing.T) {
	for _, c := range []struct {
		in   *command.Parameter
		want any
	}{
		{&command.Parameter{}, nil},
		{db.Int(1 << 53).Parameter(), float64(1 << 53)},
		{db.Int(1<<53 + 1).Parameter(), "9007199254740993"},
		{db.Int(-1<<53 - 1).Parameter(), "-9007199254740993"},
		{db.Int(math.MinInt64).Parameter(), "-9223372036854775808"},
		{db.Float(0.5).Parameter(), 0.5},
		{db.Float(math.Inf(-1)).Parameter(), "-Inf"},
		{db.Str("a\xffb").Parameter(), "a\ufffdb"},
		{db.Bytes([]byte{0, 255}).Parameter(), base64.StdEncoding.EncodeToString([]byte{0, 255})},
	} {
		if got := valueToProto(c.in).AsInterface(); got != c.want {
			t.Errorf("%v: %v, want %v", c.in, got, c.want)
		}
	}
}

func TestParamsOfQueries(t *testing.T) {
	for _, c := range []struct {
		in   *structpb.Value
		want db.Value
		ok   bool
	}{
		{structpb.NewNullValue(), db.Value{}, true},
		{structpb.NewBoolValue(true), db.Int(1), true},
		{structpb.NewNumberValue(-3), db.Int(-3), true},
		{structpb.NewNumberValue(0.5), db.Float(0.5), true},
		{structpb.NewNumberValue(1e300), db.Float(1e300), true},
		{structpb.NewNumberValue(math.NaN()), db.Value{}, false},
		{structpb.NewNumberValue(math.Inf(1)), db.Value{}, false},
		{structpb.NewStringValue("x"), db.Str("x"), true},
		{structpb.NewListValue(&structpb.ListValue{}), db.Value{}, false},
		{&structpb.Value{}, db.Value{}, false},
	} {
		got, ok := valueFromProto(c.in)
		if ok != c.ok || ok && (got.Kind != c.want.Kind || got.String() != c.want.String()) {
			t.Errorf("%v: %v %v, want %v %v", c.in, got, ok, c.want, c.ok)
		}
	}
}

func TestPagesAreCutToTheLimits(t *testing.T) {
	large := &v1.Task{Name: strings.Repeat("x", 1<<20)}
	if n := cutPage([]*v1.Task{large, large, large, large, large}, 10); n != 3 {
		t.Errorf("%d tasks of 1 MiB in a message of 4 MiB", n)
	}
	if n := cutPage([]*v1.Task{{}, {}, {}}, 2); n != 2 {
		t.Errorf("%d rows in a page of 2", n)
	}
	huge := &v1.Task{Name: strings.Repeat("x", 5<<20)}
	if n := cutPage([]*v1.Task{huge, {}}, 10); n != 1 {
		t.Errorf("a row that is too large must not stop a list: %d rows", n)
	}
}

func TestLargeQueryResultIsCut(t *testing.T) {
	row := &command.Values{Parameters: []*command.Parameter{db.Bytes(make([]byte, 1<<20)).Parameter()}}
	rows := &command.QueryRows{Columns: []string{"b"}, Values: []*command.Values{row, row, row, row}}
	msg, err := queryResponse(db.QueryResult{Rows: rows, Index: 7})
	if err != nil || !msg.GetTruncated() || len(msg.GetRows()) != 2 || proto.Size(msg) > maxMessageBytes {
		t.Errorf("%d rows, truncated %v, %d bytes, %v", len(msg.GetRows()), msg.GetTruncated(), proto.Size(msg), err)
	}
	rows.Values = []*command.Values{{Parameters: []*command.Parameter{db.Bytes(make([]byte, 4<<20)).Parameter()}}}
	if _, err := queryResponse(db.QueryResult{Rows: rows}); err == nil || !strings.HasPrefix(err.Error(), "sql: ") {
		t.Errorf("a row that does not fit: %v", err)
	}
}
