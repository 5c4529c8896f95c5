package db

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/raft-control-plane/control-plane"
)

// submittedTasks are a plain task and, for each column of a task's row that a submission may
// fill, one that fills it.
func submittedTasks() map[string]func(*controlplane.Task) {
	return map[string]func(*controlplane.Task){
		"nothing":             func(*controlplane.Task) {},
		"name":                func(t *controlplane.Task) { t.Name = "name" },
		"queue, priority":     func(t *controlplane.Task) { t.Queue, t.Priority = "queue", -3 },
		"labels":              func(t *controlplane.Task) { t.Labels = map[string]string{"b": "1", "a": "2"} },
		"timeout, attempts":   func(t *controlplane.Task) { t.Timeout, t.MaxAttempts, t.MaxLostAttempts = time.Second, 7, 8 },
		"request_id":          func(t *controlplane.Task) { t.RequestID = "request" },
		"start_delay":         func(t *controlplane.Task) { t.StartDelay = time.Minute },
		"earliest_start":      func(t *controlplane.Task) { t.EarliestStart = fromMs(submittedMs + 5) },
		"a start in the past": func(t *controlplane.Task) { t.EarliestStart = fromMs(submittedMs - 5) },
		"queue_timeout":       func(t *controlplane.Task) { t.QueueTimeout = time.Hour },
		"retry": func(t *controlplane.Task) {
			t.Retry = &controlplane.RetryPolicy{InitialBackoff: time.Second, MaxBackoff: time.Minute, Multiplier: 2}
		},
		"concurrency_key": func(t *controlplane.Task) { t.ConcurrencyKey = "key" },
		"max_concurrency": func(t *controlplane.Task) { t.MaxConcurrency = 4 },
	}
}

const submittedMs = 1_700_000_000_000

// submitted is the submission of a task, ready to be written down.
func submitted(t *testing.T, set func(*controlplane.Task)) *Submission {
	t.Helper()
	task := &controlplane.Task{ID: "id", Function: &controlplane.Function{Name: "f", Payload: []byte("p")}}
	set(task)
	subs, err := newSubmissions(1, slices.Values([]*controlplane.Task{task}))
	if err != nil {
		t.Fatal(err)
	}
	s := subs[0]
	s.class = &interned{id: 9}
	s.Task.Seq, s.Task.ClassID = 5, s.class.id
	s.begin(submittedMs)
	return s
}

// A task has the same row whichever statement stores it: nothing that it says is lost with the
// columns that task_insert_waiting leaves out.
func TestASubmissionHasTheSameRowByEitherStatement(t *testing.T) {
	waiting := 0
	for name, set := range submittedTasks() {
		for _, status := range []controlplane.TaskStatus{controlplane.TaskPending, controlplane.TaskAssigned, controlplane.TaskRunning} {
			s := submitted(t, set)
			if status != controlplane.TaskPending {
				s.Place("node", "session", status, []int32{1})
			}
			s.Task.CreateTime = fromMs(submittedMs)
			step, full := s.insertStep(submittedMs, new(memory)), s.fullInsert(submittedMs, new(memory))
			if step.SQL == sqlTaskInsertWaiting {
				waiting++
			}
			if got, want := rowOf(t, step), rowOf(t, full); got != want {
				t.Errorf("%s, %s: the row is\n%s\nwant\n%s", name, status, got, want)
			}
		}
	}
	if waiting != 5 {
		t.Errorf("%d of the tasks are stored by task_insert_waiting, want the first five", waiting)
	}
}

// rowOf is the row that a step leaves in an empty database.
func rowOf(t *testing.T, step Step) (row string) {
	t.Helper()
	conn := openSchema(t)
	s, err := conn.Prepare(step.SQL)
	if err != nil {
		t.Fatal(err)
	}
	if n := s.BindParamCount(); n != len(step.Args) {
		t.Fatalf("the statement takes %d parameters and is given %d", n, len(step.Args))
	}
	for i, v := range step.Args {
		switch v.Kind {
		case Null:
			s.BindNull(i + 1)
		case Integer:
			s.BindInt64(i+1, v.Int)
		case Text:
			s.BindText(i+1, string(v.Bytes))
		default:
			t.Fatalf("parameter %d is of kind %d", i+1, v.Kind)
		}
	}
	if _, err := s.Step(); err != nil {
		t.Fatal(err)
	}
	if err := run(conn, "SELECT * FROM tasks", func(s *sqlite.Stmt) {
		for i := range s.ColumnCount() {
			row += fmt.Sprintf("%s %v %q, ", s.ColumnName(i), s.ColumnType(i), s.ColumnText(i))
		}
	}); err != nil || row == "" {
		t.Fatalf("no row is left: %v", err)
	}
	return row
}
