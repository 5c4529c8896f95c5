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

// WatchTasks implements TaskService. It reads this member's own state, in which
// all changes stand in the order of the log, and waits for the next entry when it
// has sent them all.
func (s *server) WatchTasks(ctx context.Context, req *connect.Request[v1.WatchTasksRequest], stream *connect.ServerStream[v1.WatchTasksResponse]) error {
	ctx, cancel := untilClosing(ctx)
	defer cancel()
	cursor, err := s.watchStart(ctx, req)
	if err != nil {
		return err
	}
	w := &watch{s: s, stream: stream, filter: newWatchFilter(req.Msg), cursor: cursor}
	err = w.run(ctx)
	if isClosing(ctx) {
		return &controlplane.Error{Code: controlplane.CodeUnavailable, Message: "this member is stopping: go on at another one with the cursor of the last message"}
	}
	return err
}

// watchStart returns the cursor to begin at. A linearizable read fixes what "from
// now on" means, and tells a cursor of another cluster from one of this.
func (s *server) watchStart(ctx context.Context, req *connect.Request[v1.WatchTasksRequest]) (db.EventCursor, error) {
	var asked, now db.EventCursor
	if text := req.Msg.GetCursor(); text != "" {
		var err error
		if asked, err = db.ParseCursor(text); err != nil {
			return asked, err
		}
	}
	err := s.read(ctx, req.Header(), v1.Consistency_CONSISTENCY_LINEARIZABLE, func(ctx context.Context, opts db.ReadOptions) error {
		index, err := s.engine.Read(ctx, opts, func(db.Conn) error { return nil })
		now = db.EventCursor{Index: index + 1}
		return err
	})
	switch {
	case err != nil || req.Msg.GetCursor() == "":
		return now, err
	case asked.Index > now.Index:
		return asked, controlplane.FieldErrorf("cursor", "%q is beyond the newest change: it comes from another cluster; leave it empty, or give 0 for all changes", req.Msg.GetCursor())
	}
	return asked, nil
}

// watch is a stream of changes under way.
type watch struct {
	s      *server
	stream *connect.ServerStream[v1.WatchTasksResponse]
	filter watchFilter
	cursor db.EventCursor
	sent   time.Time // when something was last sent
}

// run sends until ctx ends. The first message comes at once, without a change: it
// tells the caller that the watch has begun, and where.
func (w *watch) run(ctx context.Context) error {
	if err := w.send(nil); err != nil {
		return err
	}
	for {
		applied := w.s.engine.AppliedIndex()
		events, err := w.s.Tasks.Events(ctx, w.cursor, watchBatch)
		if err != nil {
			return err
		}
		if err := w.sendAll(events); err != nil {
			return err
		}
		if len(events) > 0 {
			continue
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

func (w *watch) sendAll(events []controlplane.Event) error {
	for i := range events {
		e := &events[i]
		w.cursor = db.EventCursor{Index: e.Index, Ordinal: e.Ordinal}
		if !w.filter.matches(e) {
			continue
		}
		if err := w.send(e); err != nil {
			return err
		}
	}
	return w.beat()
}

// await waits until this member has applied an index, with signs of life.
func (w *watch) await(ctx context.Context, index uint64) error {
	for {
		step, cancel := context.WithDeadline(ctx, w.sent.Add(w.s.watchHeartbeat))
		err := w.s.engine.AwaitApplied(step, index)
		timeout := step.Err() != nil
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && !timeout {
			return err
		}
		if failed := w.beat(); failed != nil || err == nil {
			return failed
		}
	}
}

// beat sends a sign of life if one is due.
func (w *watch) beat() error {
	if time.Since(w.sent) < w.s.watchHeartbeat {
		return nil
	}
	return w.send(nil)
}

func (w *watch) send(e *controlplane.Event) error {
	msg := &v1.WatchTasksResponse{Cursor: w.cursor.String()}
	if e != nil {
		msg.Event = eventToProto(e)
	}
	w.sent = time.Now()
	return w.stream.Send(msg)
}

// watchFilter says which changes a watcher wants.
type watchFilter struct {
	ids         map[string]bool
	queue, node string
}

func newWatchFilter(r *v1.WatchTasksRequest) watchFilter {
	f := watchFilter{queue: r.GetQueue(), node: r.GetNodeId()}
	if len(r.GetTaskIds()) > 0 {
		f.ids = make(map[string]bool, len(r.GetTaskIds()))
		for _, id := range r.GetTaskIds() {
			f.ids[id] = true
		}
	}
	return f
}

func (f watchFilter) matches(e *controlplane.Event) bool {
	return e.OfTask() && (f.ids == nil || f.ids[e.TaskID]) &&
		(f.queue == "" || e.Task != nil && e.Task.Queue == f.queue) &&
		(f.node == "" || e.NodeID == f.node)
}
