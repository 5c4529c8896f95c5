package client

import (
	"context"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// Query runs one read-only SQL statement.
func (c *Client) Query(ctx context.Context, req *v1.QueryRequest) (*v1.QueryResponse, error) {
	return call(ctx, c, method{name: "Query", repeatable: true}, req,
		func(s *server) unary[v1.QueryRequest, v1.QueryResponse] { return s.query.Query })
}
