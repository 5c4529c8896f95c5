package controlplane

import "time"

// NodeStatus is whether a node is heard.
type NodeStatus string

// The statuses of a node.
const (
	NodeHealthy   NodeStatus = "HEALTHY"
	NodeUnhealthy NodeStatus = "UNHEALTHY"
	NodeUnknown   NodeStatus = "UNKNOWN"
)

// Node is a worker machine.
type Node struct {
	ID            string
	SessionID     string
	Spec          NodeSpec
	Usage         NodeUsage
	Status        NodeStatus
	Schedulable   bool
	RunningTasks  int32
	Reserved      Resources
	CreateTime    time.Time
	HeartbeatTime time.Time
	// Renewal counts the renewals of the lease: an expiry is guarded by the one
	// that it saw last.
	Renewal int64
}

// NodeSpec is what a node says of itself when it registers.
type NodeSpec struct {
	Slots              int32
	Capacity           Resources
	GPUDevices         []GPUDevice
	Labels             map[string]string
	Provider           string
	Region             string
	Zone               string
	InstanceType       string
	Version            string
	Spot               bool
	PriceMicrosPerHour int64
	Exec               bool
	Functions          []string
}

// GPUDevice is one GPU of a node.
type GPUDevice struct {
	Index       int32
	Model       string
	MemoryBytes int64
}

// NodeUsage is what a node measured of itself.
type NodeUsage struct {
	CPUMillis   int64
	MemoryBytes int64
}

// Heartbeat is a sign of life of a node's session. With a Spec it registers.
type Heartbeat struct {
	NodeID    string
	SessionID string
	Spec      *NodeSpec
	Usage     *NodeUsage
	Held      []Attempt
}

// Poll asks for work. Held is taken into account only if HeldComplete.
type Poll struct {
	NodeID       string
	SessionID    string
	MaxTasks     int
	Wait         time.Duration
	Held         []Attempt
	HeldComplete bool
}

// Stop tells a node to stop an attempt that it holds.
type Stop struct {
	TaskID  string
	Attempt int32
	Reason  string
}

// Reasons of a Stop.
const (
	StopCancelled = "cancelled"
	StopNotYours  = "not_yours"
)

// Work is what a node gets for a heartbeat or a poll. Lease is 0 if the call did
// not renew it.
type Work struct {
	Tasks []*Task
	Stop  []Stop
	Lease time.Duration
}

// ReportOutcome is what became of one reported result.
type ReportOutcome struct {
	Status TaskStatus
	Err    error
}
