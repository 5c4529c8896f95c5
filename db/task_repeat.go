package db

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"reflect"
	"slices"

	"github.com/raft-control-plane/control-plane"
)

// repeats answers submissions while no new ones are taken: if each repeats one that is
// stored, as if they were, else with why.
func (m *TaskManifest) repeats(ctx context.Context, subs []*Submission, why error) ([]AddOutcome, error) {
	for _, s := range subs {
		if stored, _, err := m.submitted(ctx, s.Task); err != nil || stored == nil {
			return nil, cmp.Or(err, why)
		}
	}
	return m.outcomes(ctx, subs), nil
}

// submitted returns the task that has the id of a submission, or else its key; nil if there
// is none. owner is the id of the task that has the key, "" if none does.
func (m *TaskManifest) submitted(ctx context.Context, t *controlplane.Task) (stored *controlplane.Task, owner string, err error) {
	err = m.readShort(ctx, func(c Conn) (err error) {
		if stored, err = m.byID(c, t.ID); err != nil || t.RequestID == "" {
			return err
		}
		if err = each(c, sqlTaskIDByRequest, func(r Cursor) { owner = r.Text(0) }, Str(t.RequestID)); err != nil || stored != nil || owner == "" {
			return err
		}
		stored, err = m.byID(c, owner)
		return err
	})
	return stored, owner, err
}

// repeated answers a submission whose id or key is taken: with the stored task if
// it is a repeat of that one's submission, else with CodeExists. Either makes it a repeat:
// who submits by id may come with a new key, or with none, and is told of the same task.
func (m *TaskManifest) repeated(ctx context.Context, s *Submission) (*controlplane.Task, error) {
	t := s.Task
	stored, owner, err := m.submitted(ctx, t)
	if err != nil {
		return nil, err
	}
	if stored == nil { // deleted between the two
		return nil, controlplane.Errorf(controlplane.CodeExists, "the id was in use a moment ago: submit again")
	}
	what := differsIn(stored, t)
	switch {
	case stored.ID == t.ID && what != "":
		return nil, &controlplane.Error{Code: controlplane.CodeExists, Field: "task.id",
			Message: "task " + t.ID + " exists and is another one, it differs in " + what + ": choose another id, or leave it empty"}
	case s.named && owner != "" && owner != t.ID:
		return nil, &controlplane.Error{Code: controlplane.CodeExists, Field: "request_id",
			Message: "it belongs to task " + owner + ", which has another id: use a new request_id"}
	case what != "":
		return nil, &controlplane.Error{Code: controlplane.CodeExists, Field: "request_id",
			Message: "it belongs to task " + stored.ID + ", which differs in " + what + ": use a new request_id, or submit the same as then"}
	}
	return stored, nil
}

// differsIn names a field in which a submission asks for something else than a stored
// task's did, as a path within the task; "" if it repeats that one. Ids and keys are not
// compared: an id may have been made here, and different for each of two submissions.
// Nor is the trace: who asks again may be another span.
func differsIn(stored, t *controlplane.Task) string {
	a, b := ClassOf(stored).key(), ClassOf(t).key()
	constraints := a.constraints == b.constraints
	a.function, b.function = "", "" // sameWork names it better
	a.constraints, b.constraints = "", ""
	for _, f := range []struct {
		name string
		same bool
	}{
		{differentWork(stored, t), false},
		{"name", stored.Name == t.Name},
		{"queue", stored.Queue == t.Queue},
		{"priority", stored.Priority == t.Priority},
		{"labels", maps.Equal(stored.Labels, t.Labels)},
		{"resources.custom", a.custom == b.custom},
		{"resources", a == b},
		{"constraints", constraints},
		{"timeout", stored.Timeout == t.Timeout},
		{"no_progress_timeout", stored.NoProgressTimeout == t.NoProgressTimeout},
		{"max_attempts", sameBound(stored.MaxAttempts, t.MaxAttempts, stored.FailedAttempts)},
		{"max_lost_attempts", sameBound(stored.MaxLostAttempts, t.MaxLostAttempts, stored.LostAttempts)},
		{"earliest_start_time", sameStart(stored, t)},
		{"queue_timeout", stored.QueueTimeout == t.QueueTimeout},
		{"retry_policy", reflect.DeepEqual(stored.Retry, t.Retry)},
		{"concurrency_key", stored.ConcurrencyKey == t.ConcurrencyKey},
		{"max_concurrency", stored.MaxConcurrency == t.MaxConcurrency},
	} {
		if !f.same && f.name != "" {
			return f.name
		}
	}
	return ""
}

// sameBound compares a bound on attempts. RetryTask raises that of a task which has used
// it up, so a higher one may be what the same submission has become.
func sameBound(stored, given, used int32) bool {
	return stored == given || stored > given && used >= given
}

// sameStart compares when the tasks are to start. A delay counts from the first
// submission, so a repeat comes to a later time.
func sameStart(stored, t *controlplane.Task) bool {
	return t.StartDelay > 0 && !stored.EarliestStart.IsZero() || stored.EarliestStart.Equal(t.EarliestStart)
}

// differentWork names what is to be done otherwise.
func differentWork(a, b *controlplane.Task) string {
	switch {
	case (a.Exec == nil) != (b.Exec == nil) || (a.Function == nil) != (b.Function == nil):
		return "its kind of work"
	case a.Function != nil && a.Function.Name != b.Function.Name:
		return "function.name"
	case a.Function != nil && !bytes.Equal(a.Function.Payload, b.Function.Payload):
		return "function.payload"
	case a.Exec == nil:
		return ""
	case !slices.Equal(a.Exec.Command, b.Exec.Command):
		return "exec.command"
	case !maps.Equal(a.Exec.Env, b.Exec.Env):
		return "exec.env"
	case a.Exec.WorkingDir != b.Exec.WorkingDir:
		return "exec.working_dir"
	}
	return ""
}
