// Package proto holds the text of the contract, for what is said in its comments only.
package proto

import _ "embed" // for the files below

// Task is task.proto.
//
//go:embed controlplane/v1/task.proto
var Task string
