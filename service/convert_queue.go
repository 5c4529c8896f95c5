package service

import (
	"time"

	"github.com/raft-control-plane/control-plane"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

var placementToProto = map[controlplane.Placement]v1.Placement{
	controlplane.PlacementSpread:   v1.Placement_PLACEMENT_SPREAD,
	controlplane.PlacementBinpack:  v1.Placement_PLACEMENT_BINPACK,
	controlplane.PlacementCheapest: v1.Placement_PLACEMENT_CHEAPEST,
}

var placementFromProto = inverse(placementToProto)

var queueFieldFromProto = map[v1.QueueField]controlplane.QueueField{
	v1.QueueField_QUEUE_FIELD_WEIGHT:          controlplane.QueueWeight,
	v1.QueueField_QUEUE_FIELD_PAUSED:          controlplane.QueuePaused,
	v1.QueueField_QUEUE_FIELD_LIMIT_TASKS:     controlplane.QueueLimitTasks,
	v1.QueueField_QUEUE_FIELD_LIMIT_CPU:       controlplane.QueueLimitCPU,
	v1.QueueField_QUEUE_FIELD_LIMIT_MEMORY:    controlplane.QueueLimitMemory,
	v1.QueueField_QUEUE_FIELD_LIMIT_GPUS:      controlplane.QueueLimitGPUs,
	v1.QueueField_QUEUE_FIELD_PLACEMENT:       controlplane.QueuePlacement,
	v1.QueueField_QUEUE_FIELD_AGEING_INTERVAL: controlplane.QueueAgeingInterval,
	v1.QueueField_QUEUE_FIELD_LIMIT_DISK:      controlplane.QueueLimitDisk,
	v1.QueueField_QUEUE_FIELD_LIMIT_CUSTOM:    controlplane.QueueLimitCustom,
}

func queueFieldsFromProto(fields []v1.QueueField) (set controlplane.QueueField) {
	if len(fields) == 0 {
		return controlplane.QueueAllFields
	}
	for _, f := range fields {
		set |= queueFieldFromProto[f]
	}
	return set
}

// queueFromProto reads settings, with defaults for those that are not set.
func queueFromProto(q *v1.Queue) controlplane.QueueSettings {
	s := controlplane.DefaultQueueSettings()
	if q.GetWeight() > 0 {
		s.Weight = q.GetWeight()
	}
	if p := placementFromProto[q.GetPlacement()]; p != "" {
		s.Placement = p
	}
	if l := q.GetLimits(); l != nil {
		s.Limits = controlplane.QueueLimits{Tasks: limitFromProto(l.Tasks), CPUMillis: limitFromProto(l.CpuMillis),
			MemoryBytes: limitFromProto(l.MemoryBytes), GPUs: limitFromProto(l.Gpus), DiskBytes: limitFromProto(l.DiskBytes), Custom: l.GetCustom()}
	}
	s.Paused, s.AgeingInterval = q.GetPaused(), q.GetAgeingInterval().AsDuration().Truncate(time.Millisecond) // as it is stored
	return s
}

func limitFromProto[T int32 | int64](limit *T) controlplane.QueueLimit {
	if limit == nil {
		return controlplane.QueueLimit{}
	}
	return controlplane.QueueLimit{Set: true, Max: int64(*limit)}
}

func queueToProto(q *controlplane.Queue) *v1.Queue {
	if q == nil {
		return nil
	}
	return &v1.Queue{
		Name: q.Name, Weight: q.Weight, Paused: q.Paused, Limits: limitsToProto(&q.Limits), Placement: placementToProto[q.Placement],
		AgeingInterval: durationToProto(q.AgeingInterval), Implicit: q.Implicit, PendingTasks: q.PendingTasks, RunningTasks: q.RunningTasks,
		Used: resourcesToProto(q.Used), DominantShareMillionths: q.DominantShareMillionths,
		CreateTime: timeToProto(q.CreateTime), UpdateTime: timeToProto(q.UpdateTime),
	}
}

// limitsToProto leaves out what bounds nothing.
func limitsToProto(l *controlplane.QueueLimits) *v1.QueueLimits {
	if l.Equal(&controlplane.QueueLimits{}) {
		return nil
	}
	return &v1.QueueLimits{Tasks: limitToProto[int32](l.Tasks), CpuMillis: limitToProto[int64](l.CPUMillis),
		MemoryBytes: limitToProto[int64](l.MemoryBytes), Gpus: limitToProto[int32](l.GPUs), DiskBytes: limitToProto[int64](l.DiskBytes), Custom: l.Custom}
}

func limitToProto[T int32 | int64](l controlplane.QueueLimit) *T {
	if !l.Set {
		return nil
	}
	v := T(l.Max)
	return &v
}
