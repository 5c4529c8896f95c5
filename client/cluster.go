package client

import (
	"context"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// GetCluster returns the members as the member that answers sees them.
func (c *Client) GetCluster(ctx context.Context, req *v1.GetClusterRequest) (*v1.GetClusterResponse, error) {
	return call(ctx, c, method{name: "GetCluster", repeatable: true}, req,
		func(s *server) unary[v1.GetClusterRequest, v1.GetClusterResponse] { return s.cluster.GetCluster })
}
