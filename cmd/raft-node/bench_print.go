package main

import (
	"fmt"
	"io"

	"github.com/raft-control-plane/control-plane/internal/bench"
)

func (a *app) printBench(results []bench.Result) error {
	if a.forPrograms() {
		return a.printValue(results)
	}
	return a.printTable(func(w io.Writer) {
		row(w, "PHASE", "CALLERS", "PER SECOND", "P50 MS", "P99 MS", "P99.9 MS", "MAX MS", "CPU US", "ERRORS")
		for _, r := range results {
			ms := func(v float64) string { return fmt.Sprintf("%.2f", v) }
			row(w, r.Phase, fmt.Sprint(r.Callers), fmt.Sprintf("%.0f", r.PerSecond), ms(r.P50), ms(r.P99), ms(r.P999), ms(r.Max), fmt.Sprintf("%.0f", r.CPUMicros), fmt.Sprint(r.Errors))
		}
		for _, r := range results {
			printOverload(w, r)
			if s := r.Size; s != nil {
				row(w, "")
				field(w, "With "+r.Phase+" of", fmt.Sprintf("%d tasks", s.Tasks))
				field(w, "Memory", fmt.Sprintf("%.0f MiB in a member", s.MemoryMiB))
				field(w, "Disk", fmt.Sprintf("%.0f bytes a task in each member's database", s.DiskBytesPerTask))
			}
			if b := r.Backlog; b != nil {
				row(w, "")
				field(w, "Behind", fmt.Sprintf("%d tasks: %.0f us of CPU a cycle", b.FewTasks, b.FewCPUMicros))
				field(w, "Behind", fmt.Sprintf("%d tasks: %.0f us of CPU a cycle, %.2f times as much", b.ManyTasks, b.ManyCPUMicros, b.Growth))
			}
		}
	})
}

func printOverload(w io.Writer, r bench.Result) {
	o := r.Overload
	if o == nil {
		return
	}
	perSecond := func(v float64) string { return fmt.Sprintf("%.0f a second", v) }
	row(w, "")
	field(w, "Phase", r.Phase)
	field(w, "Peak", perSecond(o.PeakPerSecond))
	field(w, "Offered", perSecond(o.OfferedPerSecond))
	field(w, "Done", fmt.Sprintf("%.0f a second, %.2f of the peak", o.DonePerSecond, o.Ratio))
	field(w, "Accepted", fmt.Sprintf("%d tasks", o.AcceptedTasks))
	field(w, "Refused", fmt.Sprintf("%d tasks, to be tried again after %.0f to %.0f ms", o.RefusedTasks, o.RetryDelayMinMS, o.RetryDelayMaxMS))
	field(w, "Failed otherwise", fmt.Sprintf("%d tasks %s", o.FailedTasks, o.FirstFailure))
	field(w, "Nodes lost", fmt.Sprintf("%d of %d that heartbeat, and the worker", o.NodesLost, o.Nodes))
	field(w, "Memory", fmt.Sprintf("%.0f MiB at most in a member", o.MemoryMiB))
}

func (a *app) printBenchScale(res bench.ScaleResult) error {
	if a.forPrograms() {
		return a.printValue(res)
	}
	return a.printTable(func(w io.Writer) {
		seconds := func(v float64) string { return fmt.Sprintf("%.1f s", v) }
		cores := func(all, members float64) string {
			return fmt.Sprintf("%.2f of a core in the members, %.2f with the nodes", members, all)
		}
		field(w, "Tasks", fmt.Sprint(res.Tasks))
		field(w, "Nodes", fmt.Sprint(res.Nodes))
		field(w, "Registered in", seconds(res.RegisterSeconds))
		field(w, "Heartbeats", cores(res.HeartbeatCPU, res.HeartbeatMemberCPU))
		field(w, "One of them", fmt.Sprintf("%.0f us in the members, at %.0f a second", res.HeartbeatMemberMicros, res.HeartbeatsPerSecond))
		field(w, "And waiting", cores(res.IdleCPU, res.IdleMemberCPU))
		field(w, "Submitted in", seconds(res.SubmitSeconds))
		field(w, "Completed in", fmt.Sprintf("%.1f s, %.0f tasks a second", res.CompleteSeconds, res.TasksPerSecond))
		field(w, "Tasks a call", fmt.Sprintf("%.1f", res.TasksPerCall))
		field(w, "CPU of a task", fmt.Sprintf("%.0f us in the members, %.0f with the nodes", res.MemberCPUMicros, res.CPUMicros))
		field(w, "Memory", fmt.Sprintf("%.0f MiB at most in a member", res.MemoryMiB))
	})
}
