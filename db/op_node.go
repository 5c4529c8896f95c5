package db

import (
	"github.com/raft-control-plane/control-plane"
)

// NodeChange is a change of a node that watchers are told.
type NodeChange byte

// The changes; a renewal of a lease that is live is none.
const (
	NodeRegistered      NodeChange = 'N'
	NodeUpdated         NodeChange = 'U'
	NodeSessionReplaced NodeChange = 'P'
	NodeExpired         NodeChange = 'E'
	NodeBack            NodeChange = 'B'
	NodeRemoved         NodeChange = 'D'
)

// of is the change as an operation tells it to watchers; nothing if it is 0.
func (n NodeChange) of(nodeID string) []byte {
	if n == 0 {
		return nil
	}
	return event(nil, byte(n), 0, 0, nodeID, "")
}

// RegisterOp registers a node or a new session of it; former is the session that
// it replaces, "" if there is none or it is the same. It changes nothing if the
// session was replaced before. Watchers are told of change, if it is not 0.
func RegisterOp(id, session, former string, s *controlplane.NodeSpec, change NodeChange, nowMs int64) *Op {
	op := &Op{Savepoint: true, Journal: change.of(id)}
	op.Steps = append(op.Steps, Step{SQL: sqlNodeRegister, Args: []Value{
		Str(id), Str(session), Int(int64(s.Slots)), Int(s.Capacity.CPUMillis), Int(s.Capacity.MemoryBytes), Int(s.Capacity.DiskBytes),
		Int(int64(len(s.GPUDevices))), jsonCounts(s.Capacity.Custom),
		Bool(s.Exec), jsonStrings(s.Functions), jsonMap(s.Labels), OptStr(s.Provider), OptStr(s.Region), OptStr(s.Zone),
		OptStr(s.InstanceType), OptStr(s.Version), Bool(s.Spot), Int(s.PriceMicrosPerHour), Int(nowMs)}})
	if former != "" {
		op.Steps = append(op.Steps, Step{SQL: sqlNodeSessionRetire, Args: []Value{Str(former), Str(id), Int(nowMs)}})
	}
	return op
}

// DevicesOp replaces the devices of a node. Those that stay keep their holders.
func DevicesOp(id string, gpus []controlplane.GPUDevice) *Op {
	return &Op{Savepoint: true, Steps: deviceSteps(id, gpus, true)}
}

func deviceSteps(id string, gpus []controlplane.GPUDevice, always bool) []Step {
	args := []Value{Str(id), jsonValue(devices(gpus))}
	return []Step{{SQL: sqlNodeGPUsClear, Args: args, Always: always}, {SQL: sqlNodeGPUsInsert, Args: args, Always: always}}
}

// device is a GPU in JSON.
type device struct {
	Index       int32  `json:"index"`
	Model       string `json:"model"`
	MemoryBytes int64  `json:"memory_bytes"`
	UUID        string `json:"uuid,omitempty"`
}

func devices(gpus []controlplane.GPUDevice) []device {
	list := make([]device, len(gpus))
	for i, g := range gpus {
		list[i] = device(g)
	}
	return list
}

// TakeDeviceOp gives a free device of a node to a task.
func TakeDeviceOp(id string, device int32, seq int64) *Op {
	return &Op{Steps: []Step{{SQL: sqlNodeGPUTake, Args: []Value{Str(id), Int(int64(device)), Int(seq)}}}}
}

// RenewOp renews the lease of the present session of a node. Watchers are told of
// change, if it is not 0.
func RenewOp(id, session string, usage *controlplane.NodeUsage, change NodeChange, nowMs int64) *Op {
	args := []Value{Str(id), Str(session), Int(nowMs), {}, {}, {}}
	if usage != nil {
		args[3], args[4] = Int(usage.CPUMillis), Int(usage.MemoryBytes)
	}
	return &Op{Steps: []Step{{SQL: sqlNodeRenew, Args: args}}, Journal: change.of(id)}
}

// ExpireOp lets the lease of a node lapse unless it was renewed since; lapses is how
// often it did so in a short time, this one included.
func ExpireOp(id string, renewal int64, lapses int32, nowMs int64) *Op {
	return &Op{Steps: []Step{{SQL: sqlNodeExpire, Args: []Value{Str(id), Int(renewal), Int(int64(lapses)), Int(nowMs)}}}, Journal: NodeExpired.of(id)}
}

// LapseOp notes that a node lost what it ran although its lease was live; lapses and nowMs
// are as in ExpireOp.
func LapseOp(id string, lapses int32, nowMs int64) *Op {
	return &Op{Steps: []Step{{SQL: sqlNodeLapse, Args: []Value{Str(id), Int(int64(lapses)), Int(nowMs)}}}}
}

// scheduling tells watchers that it changed whether a node is given tasks.
func scheduling(id, how string) []byte { return event(nil, 'O', 0, 0, id, how) }

// CordonOp keeps new tasks from a node.
func CordonOp(id string) *Op {
	return &Op{Steps: []Step{{SQL: sqlNodeCordon, Args: []Value{Str(id)}}}, Journal: scheduling(id, "cordoned")}
}

// UncordonOp lets a node have tasks again.
func UncordonOp(id string) *Op {
	return &Op{Steps: []Step{{SQL: sqlNodeUncordon, Args: []Value{Str(id)}}}, Journal: scheduling(id, "uncordoned")}
}

// DrainOp begins to drain a node that holds a number of tasks, or moves the deadline,
// 0 for none.
func DrainOp(id string, deadlineMs int64, tasks int, nowMs int64) *Op {
	return &Op{Steps: []Step{{SQL: sqlNodeDrain, Args: []Value{Str(id), Int(nowMs), OptInt(deadlineMs), Int(int64(tasks))}}}, Journal: scheduling(id, "draining")}
}

// TerminatingOp notes when the machine of a node's session is taken away.
func TerminatingOp(id, session string, atMs int64) *Op {
	return &Op{Steps: []Step{{SQL: sqlNodeTerminating, Args: []Value{Str(id), Str(session), Int(atMs)}}}, Journal: scheduling(id, "terminating")}
}

// PollingOp notes whether a node's session asks for work. Watchers are not told.
func PollingOp(id, session string, polling bool) *Op {
	return &Op{Steps: []Step{{SQL: sqlNodePolling, Args: []Value{Str(id), Str(session), Bool(polling)}}}}
}

// ProbationOp holds a node back until a time, 0 to end that.
func ProbationOp(id string, endMs int64) *Op {
	return &Op{Steps: []Step{{SQL: sqlNodeProbation, Args: []Value{Str(id), OptInt(endMs)}}}}
}

// jsonCounts is numbers by name, NULL if there are none.
func jsonCounts(m map[string]int64) Value {
	if len(m) == 0 {
		return Value{}
	}
	return jsonValue(m) // keys are sorted
}

func jsonStrings(v []string) Value {
	if len(v) == 0 {
		return Value{}
	}
	return jsonValue(v)
}
