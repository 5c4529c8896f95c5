package service

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"strings"

	command "github.com/rqlite/rqlite/v8/command/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// maxExactInt is the largest integer that a JSON number holds exactly in every
// language.
const maxExactInt = 1 << 53

// paramsFromProto reads the parameters of a query.
func paramsFromProto(params []*structpb.Value) ([]db.Param, error) {
	out := make([]db.Param, len(params))
	for i, p := range params {
		v, ok := valueFromProto(p)
		if !ok {
			return nil, controlplane.FieldErrorf(fmt.Sprintf("params[%d]", i),
				"must be null, a bool, a finite number or a string: give lists and objects as JSON text and take them apart by json_each")
		}
		out[i].Value = v
	}
	return out, nil
}

func valueFromProto(p *structpb.Value) (db.Value, bool) {
	switch k := p.GetKind().(type) {
	case *structpb.Value_NullValue:
		return db.Value{}, true
	case *structpb.Value_BoolValue:
		return db.Bool(k.BoolValue), true
	case *structpb.Value_StringValue:
		return db.Str(k.StringValue), true
	case *structpb.Value_NumberValue:
		n := k.NumberValue
		if n == math.Trunc(n) && math.Abs(n) <= maxExactInt {
			return db.Int(int64(n)), true
		}
		return db.Float(n), !math.IsNaN(n) && !math.IsInf(n, 0)
	}
	return db.Value{}, false
}

// rowToProto writes a row as the contract says: integers beyond ±2^53 as strings,
// blobs as base64.
func rowToProto(row *command.Values) *structpb.ListValue {
	out := &structpb.ListValue{Values: make([]*structpb.Value, len(row.GetParameters()))}
	for i, p := range row.GetParameters() {
		out.Values[i] = valueToProto(p)
	}
	return out
}

func valueToProto(p *command.Parameter) *structpb.Value {
	switch v := p.GetValue().(type) {
	case *command.Parameter_I:
		if v.I > maxExactInt || v.I < -maxExactInt {
			return structpb.NewStringValue(strconv.FormatInt(v.I, 10))
		}
		return structpb.NewNumberValue(float64(v.I))
	case *command.Parameter_D:
		if math.IsInf(v.D, 0) { // JSON has no such number
			return structpb.NewStringValue(strconv.FormatFloat(v.D, 'g', -1, 64))
		}
		return structpb.NewNumberValue(v.D)
	case *command.Parameter_S:
		return structpb.NewStringValue(validText(v.S))
	case *command.Parameter_Y:
		return structpb.NewStringValue(base64.StdEncoding.EncodeToString(v.Y))
	}
	return structpb.NewNullValue()
}

// validText replaces what a message cannot carry: SQLite's texts may hold any bytes.
func validText(s string) string { return strings.ToValidUTF8(s, "\ufffd") }
