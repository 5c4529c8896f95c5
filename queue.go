package controlplane

import (
	"maps"
	"time"
)

// Limits of queues. The public contract (proto) states the same.
const (
	// MaxQueues bounds the queues that have settings.
	MaxQueues = 10_000
	// DefaultQueueWeight is the weight of a queue that does not say.
	DefaultQueueWeight = 1
)

// Placement says which of the nodes that have room takes a task. The names are
// stored as they are.
type Placement string

// The placements: the least loaded node, the most loaded, or the one where the part
// that the task takes costs least.
const (
	PlacementSpread   Placement = "SPREAD"
	PlacementBinpack  Placement = "BINPACK"
	PlacementCheapest Placement = "CHEAPEST"
)

// Placements are all of them.
var Placements = []Placement{PlacementSpread, PlacementBinpack, PlacementCheapest}

// Queue is where tasks wait, with how it shares the nodes with other queues.
type Queue struct {
	Name string
	QueueSettings

	// Implicit is set for a queue without settings of its own: the defaults hold.
	Implicit     bool
	PendingTasks int64
	// RunningTasks and Used are what its tasks hold, ASSIGNED or RUNNING.
	RunningTasks int64
	Used         Resources
	// DominantShareMillionths is the largest part of any resource of the healthy
	// nodes that its tasks hold.
	DominantShareMillionths int64
	CreateTime              time.Time
	UpdateTime              time.Time
}

// QueueSettings are what a user sets.
type QueueSettings struct {
	Weight    int32
	Paused    bool
	Limits    QueueLimits
	Placement Placement
	// AgeingInterval is the time by which a task counts as one priority higher; 0 for
	// never.
	AgeingInterval time.Duration
}

// Equal reports whether settings are the same.
func (s *QueueSettings) Equal(o *QueueSettings) bool {
	return s.Weight == o.Weight && s.Paused == o.Paused && s.Placement == o.Placement && s.AgeingInterval == o.AgeingInterval && s.Limits.Equal(&o.Limits)
}

// DefaultQueueSettings hold for a queue that was given none.
func DefaultQueueSettings() QueueSettings {
	return QueueSettings{Weight: DefaultQueueWeight, Placement: PlacementSpread}
}

// QueueLimits bound what the tasks of a queue hold together.
type QueueLimits struct {
	Tasks, CPUMillis, MemoryBytes, GPUs, DiskBytes QueueLimit
	// Custom bounds what has names of its own: at most how many of what. What it does not
	// name is not bounded.
	Custom map[string]int64
}

// Equal reports whether limits are the same.
func (l *QueueLimits) Equal(o *QueueLimits) bool {
	return l.Tasks == o.Tasks && l.CPUMillis == o.CPUMillis && l.MemoryBytes == o.MemoryBytes && l.GPUs == o.GPUs && l.DiskBytes == o.DiskBytes &&
		maps.Equal(l.Custom, o.Custom)
}

// QueueLimit is one bound; the zero value does not bound.
type QueueLimit struct {
	Set bool
	Max int64
}

// Allows reports whether an amount is within the limit.
func (l QueueLimit) Allows(amount int64) bool { return !l.Set || amount <= l.Max }

// QueueField names a setting, as one bit of a set.
type QueueField int64

// The settings of a queue.
const (
	QueueWeight QueueField = 1 << iota
	QueuePaused
	QueueLimitTasks
	QueueLimitCPU
	QueueLimitMemory
	QueueLimitGPUs
	QueuePlacement
	QueueAgeingInterval
	QueueLimitDisk
	QueueLimitCustom

	QueueAllFields = 1<<iota - 1
)
