package service

import (
	"context"
	"time"

	"connectrpc.com/connect"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// watchBatch is how many changes are read at a time.
const watchBatch = 256

// watchTimes bound the silence of a watch and the patience with its reader.
type watchTimes struct {
	// heartbeat is how long a watch is silent at most.
	heartbeat time.Duration
	// slow is how long a reader may leave one message lying; one that took longer is
	// dropped.
	slow time.Duration
	// cut is when the connection of a reader that takes nothing at all is cut.
	cut time.Duration
}

var defaultWatchTimes = watchTimes{heartbeat: 5 * time.Second, slow: 10 * time.Second, cut: time.Minute}

// WatchTasks implements TaskService.
func (s *server) WatchTasks(ctx context.Context, req *connect.Request[v1.WatchTasksRequest], stream *connect.ServerStream[v1.WatchTasksResponse]) error {
	filter := newEventFilter(req.Msg)
	filter.tasksOnly = true
	w := &watch{s: s, filter: filter, send: func(cursor string, e *controlplane.Event) error {
		msg := &v1.WatchTasksResponse{Cursor: cursor}
		if e != nil {
			msg.Event = taskEventToProto(e)
		}
		return stream.Send(msg)
	}}
	if req.Msg.GetProgress() {
		if len(req.Msg.GetTaskIds()) == 0 {
			return controlplane.FieldErrorf("progress", "is true without task_ids: name the tasks, at most 100")
		}
		w.progress = &progressWatch{ids: req.Msg.GetTaskIds(), sent: map[string]db.TaskProgress{}, send: func(cursor string, p *v1.TaskProgress) error {
			return stream.Send(&v1.WatchTasksResponse{Cursor: cursor, Progress: p})
		}}
	}
	return w.watch(ctx, req.Msg.GetCursor())
}

// WatchEvents implements EventService.
func (s *server) WatchEvents(ctx context.Context, req *connect.Request[v1.WatchEventsRequest], stream *connect.ServerStream[v1.WatchEventsResponse]) error {
	filter := newEventFilter(req.Msg)
	filter.setTypes(req.Msg.GetTypes())
	w := &watch{s: s, filter: filter, send: func(cursor string, e *controlplane.Event) error {
		msg := &v1.WatchEventsResponse{Cursor: cursor}
		if e != nil {
			msg.Event = eventToProto(e, cursor)
		}
		return stream.Send(msg)
	}}
	return w.watch(ctx, req.Msg.GetCursor())
}

// watch sends changes until ctx ends. It reads this member's own state, in which
// all changes stand in the order of the log, and waits for the next entry when it
// has sent them all: what is not sent yet is kept nowhere else.
func (w *watch) watch(ctx context.Context, cursor string) error {
	ctx, cancel := untilClosing(ctx)
	defer cancel()
	from, err := w.s.eventStart(ctx, cursor, db.ReadOptions{})
	if err != nil {
		return err
	}
	w.cursor = from
	defer w.release(ctx)
	err = w.run(ctx)
	if isClosing(ctx) {
		return errWatchStopping
	}
	return err
}

var errWatchStopping = &controlplane.Error{Code: controlplane.CodeUnavailable,
	Message: "this member is stopping: go on at another one with the cursor of the last message"}

// watch is a stream of changes under way.
type watch struct {
	s        *server
	send     func(cursor string, e *controlplane.Event) error
	filter   eventFilter
	progress *progressWatch // nil if it is not asked for
	cursor   db.EventCursor
	sent     time.Time // when something was last sent
	deadline time.Time // of writing to the connection
}

// run sends until ctx ends. The first message comes at once, without a change: it
// tells the caller that the watch has begun, and where.
func (w *watch) run(ctx context.Context) error {
	if err := w.message(ctx, nil); err != nil {
		return err
	}
	for {
		applied := w.s.engine.AppliedIndex()
		events, err := w.s.events(ctx, w.cursor, watchBatch)
		if err != nil {
			return err
		}
		if err := w.sendAll(ctx, events); err != nil {
			return err
		}
		if len(events) > 0 {
			continue
		}
		if err := w.sendProgress(ctx); err != nil {
			return err
		}
		w.cursor = after(w.cursor, applied)
		if err := w.await(ctx, applied+1); err != nil {
			return err
		}
	}
}

// after moves a cursor behind an entry up to which there is nothing more.
func after(c db.EventCursor, index uint64) db.EventCursor {
	if index+1 > c.Index {
		return db.EventCursor{Index: index + 1}
	}
	return c
}

func (w *watch) sendAll(ctx context.Context, events []controlplane.Event) error {
	for i := range events {
		e := &events[i]
		w.cursor = db.EventCursor{Index: e.Index, Ordinal: e.Ordinal}
		if !w.filter.matches(e) {
			continue
		}
		if err := w.message(ctx, e); err != nil {
			return err
		}
	}
	return w.beat(ctx)
}

// await waits until this member has applied an index, with signs of life.
func (w *watch) await(ctx context.Context, index uint64) error {
	for {
		until := w.sent.Add(w.s.watchTimes.heartbeat)
		if p := w.progress; p != nil && p.pending && p.due.Before(until) {
			until = p.due
		}
		step, cancel := context.WithDeadline(ctx, until)
		err := w.s.engine.AwaitApplied(step, index)
		timeout := step.Err() != nil
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && !timeout {
			return err
		}
		if failed := w.beat(ctx); failed != nil || err == nil || w.progress.isDue() {
			return failed
		}
	}
}

// beat sends a sign of life if one is due.
func (w *watch) beat(ctx context.Context) error {
	if time.Since(w.sent) < w.s.watchTimes.heartbeat {
		return nil
	}
	return w.message(ctx, nil)
}

// message sends one message. The connection's own buffers are all that stands
// between this and the reader, so a reader that is behind holds the call up.
func (w *watch) message(ctx context.Context, e *controlplane.Event) error {
	return w.deliver(ctx, func(cursor string) error { return w.send(cursor, e) })
}

func (w *watch) deliver(ctx context.Context, send func(cursor string) error) error {
	begun := time.Now()
	w.extend(ctx, begun)
	if err := send(w.s.cursorText(w.cursor)); err != nil {
		return err
	}
	w.sent = time.Now()
	if took := w.sent.Sub(begun); took > w.s.watchTimes.slow {
		return &controlplane.Error{Code: controlplane.CodeUnavailable, Reason: reasonSlowReader, Metadata: map[string]string{cursorKey: w.s.cursorText(w.cursor)},
			Message: "a message was not read for more than " + w.s.watchTimes.slow.String() + ": go on with the cursor of the last message that was read"}
	}
	return nil
}

// extend moves the deadline of the connection on. It is moved seldom, since that
// costs as much as a message.
func (w *watch) extend(ctx context.Context, now time.Time) {
	if w.deadline.Sub(now) < w.s.watchTimes.cut/2 {
		w.deadline = now.Add(w.s.watchTimes.cut)
		setWriteDeadline(ctx, w.deadline)
	}
}

// release takes the deadline off a connection that other calls may use yet.
func (w *watch) release(ctx context.Context) { setWriteDeadline(ctx, time.Time{}) }
