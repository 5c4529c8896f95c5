package controlplane

import "time"

// TaskStatus is where a task stands in its life. The names are stored as they
// are, so that they read plainly in SQL.
type TaskStatus string

// The statuses of a task; the last three are final.
const (
	TaskPending   TaskStatus = "PENDING"
	TaskAssigned  TaskStatus = "ASSIGNED"
	TaskRunning   TaskStatus = "RUNNING"
	TaskCompleted TaskStatus = "COMPLETED"
	TaskFailed    TaskStatus = "FAILED"
	TaskCancelled TaskStatus = "CANCELLED"
)

// Final reports whether a task of this status never changes again.
func (s TaskStatus) Final() bool {
	return s == TaskCompleted || s == TaskFailed || s == TaskCancelled
}

// OnNode reports whether a task of this status holds resources of a node.
func (s TaskStatus) OnNode() bool { return s == TaskAssigned || s == TaskRunning }

// Task is a unit of work. The fields up to Trace are given by whoever
// submits it, the others by the control plane.
type Task struct {
	ID        string
	RequestID string
	Name      string
	Queue     string
	Priority  int32
	Labels    map[string]string
	Exec      *Exec     // either this
	Function  *Function // or that
	Resources Resources
	// Constraints say which nodes will do.
	Constraints Constraints
	Timeout     time.Duration // of one attempt; none if 0
	// NoProgressTimeout is how long an attempt may go without progress; for ever if 0.
	NoProgressTimeout time.Duration
	// MaxAttempts bounds failures, MaxLostAttempts attempts lost with their node.
	MaxAttempts     int32
	MaxLostAttempts int32
	// EarliestStart is when it may be placed first; at once if zero. StartDelay says
	// so from the time of its submission, and is not kept.
	EarliestStart time.Time
	StartDelay    time.Duration
	// QueueTimeout is how long it may wait for its first start; for ever if 0.
	QueueTimeout time.Duration
	Retry        *RetryPolicy // nil: the default
	// At most MaxConcurrency tasks of a ConcurrencyKey, if it has one, hold nodes.
	ConcurrencyKey string
	MaxConcurrency int32
	// Trace is the span that submitted it.
	Trace TraceContext

	// Seq is the key that the leader gives: it rises with each submission.
	Seq     int64
	ClassID int64
	Status  TaskStatus
	NodeID  string
	// Attempt is the fencing token: it rises with each assignment.
	Attempt         int32
	FailedAttempts  int32
	LostAttempts    int32
	CancelRequested bool
	GPUDevices      []int32

	CreateTime time.Time
	AssignTime time.Time
	StartTime  time.Time
	EndTime    time.Time
	// RetryTime is set while a pending task waits for its start or next attempt.
	RetryTime time.Time

	Result   []byte
	Error    string
	ExitCode *int32
	LogTail  string
	// Progress is the last that the attempt has reported, at ProgressTime; nil if it
	// has reported none.
	Progress     *Progress
	ProgressTime time.Time
}

// Progress is how far an attempt has come: Done of Total, in a unit of the task's own.
// Total is 0 if it is not known.
type Progress struct {
	Done, Total int64
	Message     string
}

// RetryPolicy is how a task is tried again after a failure.
type RetryPolicy struct {
	InitialBackoff time.Duration
	MaxBackoff     time.Duration
	Multiplier     float64
	Jitter         float64 // part of the wait, either way
	// ExitCodes, if any, are those of failures that are tried again.
	ExitCodes []int32
}

// DefaultRetryPolicy holds for a task that gives none.
func DefaultRetryPolicy() RetryPolicy {
	return RetryPolicy{InitialBackoff: time.Second, MaxBackoff: 5 * time.Minute, Multiplier: 2, Jitter: 0.25}
}

// TraceContext names a span, in the headers traceparent and tracestate of W3C Trace
// Context. Both are empty where nothing is traced.
type TraceContext struct {
	Parent string
	State  string
}

// Exec is a command that the agent runs as a process.
type Exec struct {
	Command    []string          `json:"command"`
	Env        map[string]string `json:"env,omitempty"`
	WorkingDir string            `json:"working_dir,omitempty"`
}

// Function is a call of a function that a worker has registered.
type Function struct {
	Name    string
	Payload []byte
}

// Resources are amounts that a task reserves or a node has.
type Resources struct {
	CPUMillis   int64
	MemoryBytes int64
	DiskBytes   int64
	GPUs        int32
	// Custom are numbers of whatever else nodes have, such as licenses, by name.
	Custom map[string]int64
}

// Result is how an attempt ended, as its node reports it. Status is
// TaskCompleted, TaskFailed, TaskCancelled, or TaskPending for an attempt that
// is handed back unfinished.
type Result struct {
	TaskID   string
	Attempt  int32
	Status   TaskStatus
	Result   []byte
	Error    string
	ExitCode *int32
	LogTail  string
	// LogOffset is where LogTail begins in the attempt's whole log, in bytes.
	LogOffset int64
	// Permanent says of a failure that another attempt would fail as well.
	Permanent bool
	// RetryAfter is how long to wait before another attempt; 0 for the wait that
	// grows with each failure.
	RetryAfter time.Duration
	// Progress is how far it came, if that was not known yet; nil else.
	Progress *Progress
}

// Attempt names one try of a task.
type Attempt struct {
	TaskID  string
	Attempt int32
}

// TaskFilter selects tasks; the zero value of a field selects all.
type TaskFilter struct {
	Statuses []TaskStatus
	Queue    string
	NodeID   string
	Name     string
	Labels   map[string]string
}
