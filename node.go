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
	// Polling says that it asks for work, or did when it last had a free slot.
	Polling bool
	Drain   NodeDrain
	// TerminatingTime is when the machine is taken away; zero if that is not known.
	TerminatingTime time.Time
	// Lapses counts how often its lease lapsed or a session was replaced that ran tasks,
	// each time soon after the one before, the last of them
	// at LapseTime. ProbationEnd is set while it is held back for them.
	Lapses       int32
	LapseTime    time.Time
	ProbationEnd time.Time
	// Renewal counts the renewals of the lease: an expiry is guarded by the one
	// that it saw last.
	Renewal int64
}

// NodeDrain is a drain of a node; StartTime is zero if there is none.
type NodeDrain struct {
	StartTime time.Time
	// Deadline is when what still runs is stopped; zero if that is waited for.
	Deadline time.Time
	// InitialTasks is how many tasks it held at the start.
	InitialTasks int32
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
	// UUID names it for CUDA_VISIBLE_DEVICES if the index does not; "" else.
	UUID string
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
	// Progress is that of the attempts held, as far as the node says it.
	Progress map[Attempt]Progress
	// TerminatingTime is when the machine is taken away; zero if that is not known.
	TerminatingTime time.Time
}

// Poll asks for work. Held is taken into account only if HeldComplete.
type Poll struct {
	NodeID       string
	SessionID    string
	MaxTasks     int
	Wait         time.Duration
	Held         []Attempt
	Progress     map[Attempt]Progress
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
	StopCancelled  = "cancelled"
	StopDrained    = "drained"
	StopNoProgress = "no_progress"
	StopNotYours   = "not_yours"
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
