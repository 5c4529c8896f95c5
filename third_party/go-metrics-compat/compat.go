// Package metrics stands in for go-metrics' compat package, which raft-wal imports
// and go-metrics no longer has. It is that library itself.
package metrics

import "github.com/hashicorp/go-metrics"

// Metrics, Label and Default are all that raft-wal uses.
type (
	Metrics = metrics.Metrics
	Label   = metrics.Label
)

// Default returns the metrics that the process shares.
func Default() *Metrics { return metrics.Default() }
