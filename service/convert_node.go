package service

import (
	"github.com/raft-control-plane/control-plane"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

var nodeStatusToProto = map[controlplane.NodeStatus]v1.NodeStatus{
	controlplane.NodeHealthy:   v1.NodeStatus_NODE_STATUS_HEALTHY,
	controlplane.NodeUnhealthy: v1.NodeStatus_NODE_STATUS_UNHEALTHY,
	controlplane.NodeUnknown:   v1.NodeStatus_NODE_STATUS_UNKNOWN,
}

var nodeStatusFromProto = inverse(nodeStatusToProto)

var memberRoleToProto = map[controlplane.MemberRole]v1.MemberRole{
	controlplane.MemberLeader:   v1.MemberRole_MEMBER_ROLE_LEADER,
	controlplane.MemberFollower: v1.MemberRole_MEMBER_ROLE_FOLLOWER,
	controlplane.MemberNonVoter: v1.MemberRole_MEMBER_ROLE_NON_VOTER,
}

func heartbeatFromProto(r *v1.HeartbeatRequest) controlplane.Heartbeat {
	hb := controlplane.Heartbeat{NodeID: r.GetNodeId(), SessionID: r.GetSessionId(), Held: heldFromProto(r.GetHeld()), Progress: progressOfHeld(r.GetHeld())}
	if t := r.GetTerminatingTime(); t != nil {
		hb.TerminatingTime = t.AsTime()
	}
	if r.GetSpec() != nil {
		hb.Spec = nodeSpecFromProto(r.GetSpec())
	}
	if u := r.GetUsage(); u != nil {
		hb.Usage = &controlplane.NodeUsage{CPUMillis: u.GetCpuMillis(), MemoryBytes: u.GetMemoryBytes()}
	}
	return hb
}

func heldFromProto(held []*v1.HeldAttempt) []controlplane.Attempt {
	out := make([]controlplane.Attempt, len(held))
	for i, h := range held {
		out[i] = controlplane.Attempt{TaskID: h.GetTaskId(), Attempt: h.GetAttempt()}
	}
	return out
}

// progressOfHeld is how far the attempts have come of which that is said.
func progressOfHeld(held []*v1.HeldAttempt) map[controlplane.Attempt]controlplane.Progress {
	var out map[controlplane.Attempt]controlplane.Progress
	for _, h := range held {
		if p := progressFromProto(h.GetProgress()); p != nil {
			if out == nil {
				out = map[controlplane.Attempt]controlplane.Progress{}
			}
			out[controlplane.Attempt{TaskID: h.GetTaskId(), Attempt: h.GetAttempt()}] = *p
		}
	}
	return out
}

func progressFromProto(p *v1.Progress) *controlplane.Progress {
	if p == nil {
		return nil
	}
	return &controlplane.Progress{Done: p.GetDone(), Total: p.GetTotal(), Message: p.GetMessage()}
}

func progressToProto(p *controlplane.Progress) *v1.Progress {
	if p == nil {
		return nil
	}
	return &v1.Progress{Done: p.Done, Total: p.Total, Message: p.Message}
}

func nodeSpecFromProto(s *v1.NodeSpec) *controlplane.NodeSpec {
	out := &controlplane.NodeSpec{
		Slots: s.GetSlots(), Capacity: resourcesFromProto(s.GetCapacity()), Labels: s.GetLabels(),
		Provider: s.GetProvider(), Region: s.GetRegion(), Zone: s.GetZone(), InstanceType: s.GetInstanceType(), Version: s.GetVersion(),
		Spot: s.GetSpot(), PriceMicrosPerHour: s.GetPriceMicrosPerHour(), Exec: s.GetExec(), Functions: s.GetFunctions(),
	}
	for _, g := range s.GetGpuDevices() {
		out.GPUDevices = append(out.GPUDevices, controlplane.GPUDevice{Index: g.GetIndex(), Model: g.GetModel(), MemoryBytes: g.GetMemoryBytes(), UUID: g.GetUuid()})
	}
	return out
}

func nodeToProto(n *controlplane.Node) *v1.Node {
	out := &v1.Node{
		Id: n.ID, SessionId: n.SessionID, Spec: nodeSpecToProto(&n.Spec),
		Usage:  &v1.NodeUsage{CpuMillis: n.Usage.CPUMillis, MemoryBytes: n.Usage.MemoryBytes},
		Status: nodeStatusToProto[n.Status], Schedulable: n.Schedulable, RunningTasks: n.RunningTasks,
		Reserved: resourcesToProto(n.Reserved), CreateTime: timeToProto(n.CreateTime), HeartbeatTime: timeToProto(n.HeartbeatTime),
		Polling: n.Polling, TerminatingTime: timeToProto(n.TerminatingTime), Lapses: n.Lapses, ProbationEndTime: timeToProto(n.ProbationEnd),
	}
	if d := n.Drain; !d.StartTime.IsZero() {
		out.Drain = &v1.NodeDrain{StartTime: timeToProto(d.StartTime), Deadline: timeToProto(d.Deadline), InitialTasks: d.InitialTasks}
	}
	return out
}

func nodeSpecToProto(s *controlplane.NodeSpec) *v1.NodeSpec {
	out := &v1.NodeSpec{
		Slots: s.Slots, Capacity: resourcesToProto(s.Capacity), Labels: s.Labels,
		Provider: s.Provider, Region: s.Region, Zone: s.Zone, InstanceType: s.InstanceType, Version: s.Version,
		Spot: s.Spot, PriceMicrosPerHour: s.PriceMicrosPerHour, Exec: s.Exec, Functions: s.Functions,
	}
	for _, g := range s.GPUDevices {
		out.GpuDevices = append(out.GpuDevices, &v1.GpuDevice{Index: g.Index, Model: g.Model, MemoryBytes: g.MemoryBytes, Uuid: g.UUID})
	}
	return out
}

func stopsToProto(stops []controlplane.Stop) []*v1.StopAttempt {
	var out []*v1.StopAttempt
	for _, s := range stops {
		out = append(out, &v1.StopAttempt{TaskId: s.TaskID, Attempt: s.Attempt, Reason: s.Reason})
	}
	return out
}

func resultFromProto(r *v1.TaskResult) controlplane.Result {
	return controlplane.Result{
		TaskID: r.GetTaskId(), Attempt: r.GetAttempt(), Status: taskStatusFromProto[r.GetStatus()],
		Result: r.GetResult(), Error: r.GetError(), ExitCode: r.ExitCode, LogTail: r.GetLogTail(), LogOffset: r.GetLogOffset(),
		Permanent: r.GetPermanent(), RetryAfter: r.GetRetryAfter().AsDuration(), Progress: progressFromProto(r.GetProgress()),
	}
}
