// Package controlplane holds the nouns of the control plane: tasks, nodes,
// attempts, members, and the errors that every layer speaks.
//
// The package imports nothing else of the project. The same nouns recur in
// every layer: to change how a task is listed, see the files named task in
// proto, db, db/query, service and cmd/raft-node.
package controlplane

import "time"

// Limits that every layer shares. The public contract (proto) states the same.
const (
	// DefaultQueue is the queue of a task that names none.
	DefaultQueue = "default"
	// DefaultMaxAttempts is how often a task may fail when it does not say.
	DefaultMaxAttempts = 1
	// DefaultMaxLostAttempts is how many attempts may be lost with their node
	// before the task is taken for one that kills its nodes.
	DefaultMaxLostAttempts = 5
	// MaxPayloadBytes bounds a payload and a result, each.
	MaxPayloadBytes = 1 << 20
	// MaxLogTailBytes bounds the end of the output that is kept.
	MaxLogTailBytes = 64 << 10
	// MaxBatchItems bounds the tasks or results of one call.
	MaxBatchItems = 1000
	// MaxPollWait bounds a long poll.
	MaxPollWait = 25 * time.Second
	// LeaseDuration is how long a node keeps its tasks without being heard.
	LeaseDuration = 15 * time.Second
	// HeartbeatInterval is how often a node should be heard.
	HeartbeatInterval = 5 * time.Second
)
