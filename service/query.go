package service

import (
	"context"
	"errors"
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
	opts, err := readOptions(req.Header(), req.Msg)
	if err != nil {
		return nil, err
	}
	opts.MaxTime = queryTimeLimit
	results, err := s.queryAll(ctx, []db.Statement{{SQL: req.Msg.GetSql(), Params: params}}, opts)
	if err == nil {
		err = results[0].Err
	}
	if err != nil {
		return nil, err
	}
	msg, err := queryResponse(results[0])
	if err != nil {
		return nil, err
	}
	res := connect.NewResponse(msg)
	res.Header().Set(appliedHeader, strconv.FormatUint(msg.GetAppliedIndex(), 10))
	return res, nil
}

// queryAll runs statements within the limits of a query and those of opts.
func (s *server) queryAll(ctx context.Context, stmts []db.Statement, opts db.ReadOptions) (results []db.QueryResult, err error) {
	var late error
	err = s.readAs(ctx, opts, func(ctx context.Context, opts db.ReadOptions) (err error) {
		opts.MaxTime = min(opts.MaxTime, time.Until(opts.Until))
		results, err = s.Tasks.QueryAll(ctx, stmts, db.QueryLimits{Rows: queryMaxRows, Bytes: maxMessageBytes}, opts)
		if errors.Is(err, db.ErrTooLong) {
			late = controlplane.Errorf(controlplane.CodeDeadline,
				"the query ran for more than %s and was stopped: narrow it with WHERE on an indexed column, or add LIMIT", opts.MaxTime.Round(time.Millisecond))
		}
		return err
	})
	if late != nil {
		return nil, late
	}
	return results, err
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
