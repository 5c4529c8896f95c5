package service

import (
	"context"
	"strconv"

	"connectrpc.com/connect"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// GetCluster implements ClusterService. It is what this member sees, also while
// there is no leader.
func (s *server) GetCluster(ctx context.Context, _ *connect.Request[v1.GetClusterRequest]) (*connect.Response[v1.GetClusterResponse], error) {
	c, err := s.engine.Cluster(ctx)
	if err != nil {
		return nil, err
	}
	if c.Version == "" {
		c.Version = s.Version
	}
	res := connect.NewResponse(clusterToProto(&c))
	res.Header().Set(appliedHeader, strconv.FormatUint(c.AppliedIndex, 10))
	return res, nil
}
