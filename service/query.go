package service

import (
	"context"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// Limits of a query.
const (
	queryTimeLimit = 2 * time.Second
	queryMaxRows   = 10_000
)

// Query implements QueryService.
func (s *server) Query(ctx context.Context, req *connect.Request[v1.QueryRequest]) (*connect.Response[v1.QueryResponse], error) {
	params, err := paramsFromProto(req.Msg.GetParams())
	if err != nil {
		return nil, err
	}
	var result db.QueryResult
	err = s.read(ctx, req.Header(), req.Msg.GetConsistency(), func(ctx context.Context, opts db.ReadOptions) error {
		limited, cancel := context.WithTimeout(ctx, queryTimeLimit)
		defer cancel()
		result, err = s.Tasks.Query(limited, req.Msg.GetSql(), params, db.QueryLimits{Rows: queryMaxRows, Bytes: maxMessageBytes}, opts)
		if err != nil && limited.Err() != nil && ctx.Err() == nil {
			return controlplane.Errorf(controlplane.CodeDeadline,
				"the query ran for more than %s and was stopped: narrow it with WHERE on an indexed column, or add LIMIT", queryTimeLimit)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	msg, err := queryResponse(result)
	if err != nil {
		return nil, err
	}
	res := connect.NewResponse(msg)
	res.Header().Set(appliedHeader, strconv.FormatUint(result.Index, 10))
	return res, nil
}

func queryResponse(result db.QueryResult) (*v1.QueryResponse, error) {
	msg := &v1.QueryResponse{AppliedIndex: result.Index, Truncated: result.Truncated}
	for _, c := range result.Rows.GetColumns() {
		msg.Columns = append(msg.Columns, validText(c))
	}
	size := proto.Size(msg) + minCompressBytes
	for _, row := range result.Rows.GetValues() {
		r := rowToProto(row)
		size += proto.Size(r) + 8
		if size > maxMessageBytes {
			msg.Truncated = true
			break
		}
		msg.Rows = append(msg.Rows, r)
	}
	if len(msg.Rows) == 0 && msg.Truncated {
		return nil, controlplane.FieldErrorf("sql", "the first row has more than %d bytes: select fewer columns, or a part by substr()", maxMessageBytes)
	}
	return msg, nil
}
