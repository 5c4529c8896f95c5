package db

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/raft-control-plane/control-plane"
)

// scanTask reads the columns that the task_*.sql queries select, in their order.
func scanTask(r Cursor) (*controlplane.Task, error) {
	s := scanner{r: r}
	t := s.task()
	return t, s.err
}

// scanTaskWhole is scanTask for those that also select what is known of the progress.
func scanTaskWhole(r Cursor) (*controlplane.Task, error) {
	s := scanner{r: r}
	t := s.task()
	t.NoProgressTimeout = time.Duration(s.int()) * time.Millisecond
	if t.ProgressTime = s.time(); !t.ProgressTime.IsZero() {
		t.Progress = &controlplane.Progress{Done: s.int(), Total: s.int(), Message: s.text()}
	}
	return t, s.err
}

func (s *scanner) task() *controlplane.Task {
	t := &controlplane.Task{
		Seq: s.int(), ID: s.text(), RequestID: s.text(), Name: s.text(), Queue: s.text(), Priority: int32(s.int()),
	}
	s.json(&t.Labels)
	t.ClassID = s.int()
	t.Timeout = time.Duration(s.int()) * time.Millisecond
	t.MaxAttempts, t.MaxLostAttempts = int32(s.int()), int32(s.int())
	t.Status, t.NodeID = controlplane.TaskStatus(s.text()), s.text()
	t.Attempt, t.FailedAttempts, t.LostAttempts = int32(s.int()), int32(s.int()), int32(s.int())
	t.CancelRequested = s.int() != 0 && !t.Status.Final()
	s.json(&t.GPUDevices)
	t.CreateTime, t.AssignTime, t.StartTime, t.EndTime, t.RetryTime = s.time(), s.time(), s.time(), s.time(), s.time()
	t.ExitCode, t.Error = s.int32(), s.text()
	t.EarliestStart, t.QueueTimeout = s.time(), time.Duration(s.int())*time.Millisecond
	t.Retry = s.retryPolicy()
	t.ConcurrencyKey, t.MaxConcurrency = s.text(), int32(s.int())
	t.Resources = controlplane.Resources{CPUMillis: s.int(), MemoryBytes: s.int(), DiskBytes: s.int(), GPUs: int32(s.int())}
	t.Resources.Custom = s.counts()
	s.json(&t.Constraints)
	s.work(t, s.text())
	t.Result, t.LogTail = s.bytes(), s.text()
	t.Trace = controlplane.TraceContext{Parent: s.text(), State: s.text()}
	return t
}

// scanner reads columns from left to right.
type scanner struct {
	r   Cursor
	i   int
	err error
}

func (s *scanner) next() int { s.i++; return s.i - 1 }

func (s *scanner) int() int64   { return s.r.Int(s.next()) }
func (s *scanner) text() string { return s.r.Text(s.next()) }

func (s *scanner) bytes() []byte {
	if v := s.r.Value(s.next()); v.Kind != Null {
		return v.Bytes
	}
	return nil
}

func (s *scanner) int32() *int32 {
	i := s.next()
	if s.r.IsNull(i) {
		return nil
	}
	v := int32(s.r.Int(i))
	return &v
}

func (s *scanner) time() time.Time {
	i := s.next()
	if s.r.IsNull(i) {
		return time.Time{}
	}
	return fromMs(s.r.Int(i))
}

func (s *scanner) json(into any) {
	i := s.next()
	if s.r.IsNull(i) {
		return
	}
	text := s.r.Text(i)
	if text == nothing { // the constraints of most classes, and what else they need
		return
	}
	if err := json.Unmarshal([]byte(text), into); err != nil && s.err == nil {
		s.err = fmt.Errorf("column %s: %w", s.r.Columns()[i], err)
	}
}

// counts reads numbers by name, nil if there are none.
func (s *scanner) counts() (m map[string]int64) {
	if s.json(&m); len(m) == 0 {
		return nil
	}
	return m
}

// work reads exec and payload; function is the class's, "" for exec tasks.
func (s *scanner) work(t *controlplane.Task, function string) {
	var exec controlplane.Exec
	s.json(&exec)
	payload := s.bytes()
	if function != "" {
		t.Function = &controlplane.Function{Name: function, Payload: payload}
	} else {
		t.Exec = &exec
	}
}

func scanNode(r Cursor) (*controlplane.Node, error) {
	s := scanner{r: r}
	n := &controlplane.Node{ID: s.text(), SessionID: s.text(), Status: controlplane.NodeStatus(s.text())}
	n.Schedulable, n.Renewal = s.int() != 0, s.int()
	sp := &n.Spec
	sp.Slots = int32(s.int())
	sp.Capacity = controlplane.Resources{CPUMillis: s.int(), MemoryBytes: s.int(), DiskBytes: s.int(), GPUs: int32(s.int())}
	sp.Capacity.Custom = s.counts()
	sp.Exec = s.int() != 0
	s.json(&sp.Functions)
	s.json(&sp.Labels)
	sp.Provider, sp.Region, sp.Zone, sp.InstanceType, sp.Version = s.text(), s.text(), s.text(), s.text(), s.text()
	sp.Spot, sp.PriceMicrosPerHour = s.int() != 0, s.int()
	n.Usage = controlplane.NodeUsage{CPUMillis: s.int(), MemoryBytes: s.int()}
	n.CreateTime, n.HeartbeatTime = s.time(), s.time()
	n.Polling = s.int() != 0
	n.Drain = controlplane.NodeDrain{StartTime: s.time(), Deadline: s.time(), InitialTasks: int32(s.int())}
	n.TerminatingTime = s.time()
	n.Lapses, n.LapseTime, n.ProbationEnd = int32(s.int()), s.time(), s.time()
	n.RunningTasks = int32(s.int())
	var reserved [4]int64
	s.json(&reserved)
	n.Reserved = controlplane.Resources{CPUMillis: reserved[0], MemoryBytes: reserved[1], DiskBytes: reserved[2], GPUs: int32(reserved[3])}
	n.Reserved.Custom = s.counts()
	var gpus []device
	s.json(&gpus)
	for _, d := range gpus {
		sp.GPUDevices = append(sp.GPUDevices, controlplane.GPUDevice(d))
	}
	return n, s.err
}

func fromMs(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// Time is Unix milliseconds as the times of tasks and nodes are read.
func Time(ms int64) time.Time { return fromMs(ms) }

// optMs is 0 for the zero time.
func optMs(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// first reads the row of a query that has one at most, or returns the zero value. It does not
// ask for a second one, which SQLite would look for.
func first[T any](c Conn, scan func(Cursor) (T, error), sql string, args ...Value) (v T, err error) {
	r, err := c.Query(sql, args...)
	if err != nil {
		return v, err
	}
	if r.Next() {
		if v, err = scan(r); err != nil {
			r.Close()
			return v, err
		}
	}
	return v, r.Close()
}

// collect reads all rows of a query with scan.
func collect[T any](c Conn, scan func(Cursor) (T, error), sql string, args ...Value) ([]T, error) {
	r, err := c.Query(sql, args...)
	if err != nil {
		return nil, err
	}
	var all []T
	for r.Next() {
		v, err := scan(r)
		if err != nil {
			r.Close()
			return nil, err
		}
		all = append(all, v)
	}
	return all, r.Close()
}
