package service

import (
	"context"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// eventScanTime bounds how long a call that does not wait looks for changes that
// its filters let through.
const eventScanTime = time.Second

// ListEvents implements EventService.
func (s *server) ListEvents(ctx context.Context, req *connect.Request[v1.ListEventsRequest]) (*connect.Response[v1.ListEventsResponse], error) {
	opts, err := readOptions(req.Header(), req.Msg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := untilClosing(ctx)
	defer cancel()
	from, err := s.eventStart(ctx, req.Msg.GetCursor(), opts)
	if err != nil {
		return nil, err
	}
	filter := newEventFilter(req.Msg)
	filter.setTypes(req.Msg.GetTypes())
	p := &eventPage{s: s, filter: filter, cursor: from, limit: pageSize(req.Msg.GetPageSize()), left: countdown(req.Msg.GetWait())}
	if err := p.fill(ctx); err != nil && (len(p.events) == 0 || !isClosing(ctx)) {
		if isClosing(ctx) {
			err = errWatchStopping
		}
		return nil, err
	}
	return connect.NewResponse(&v1.ListEventsResponse{Events: p.events, NextCursor: s.cursorText(p.cursor)}), nil
}

// eventPage is an answer of ListEvents in the making.
type eventPage struct {
	s      *server
	filter eventFilter
	cursor db.EventCursor // behind what was looked at
	limit  int
	left   func() time.Duration
	events []*v1.Event
	size   int
}

// fill gathers changes until the page is full, or it has some and there are no more,
// or the wait is over.
func (p *eventPage) fill(ctx context.Context) error {
	s := p.s
	begun := time.Now()
	for {
		applied := s.engine.AppliedIndex()
		events, err := s.events(ctx, p.cursor, min(p.limit, watchBatch))
		if err != nil || p.add(events) {
			return err
		}
		over := p.left() == 0
		if len(events) > 0 {
			if over && time.Since(begun) > eventScanTime {
				return nil
			}
			continue
		}
		p.cursor = after(p.cursor, applied)
		if over || len(p.events) > 0 {
			return nil
		}
		if err := awaitUpTo(ctx, s.engine, applied+1, p.left()); err != nil {
			return err
		}
	}
}

// awaitUpTo waits for an index for at most d; that it did not come is no error.
func awaitUpTo(ctx context.Context, engine db.Engine, index uint64, d time.Duration) error {
	step, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	if err := engine.AwaitApplied(step, index); err != nil && (ctx.Err() != nil || step.Err() == nil) {
		return err
	}
	return ctx.Err()
}

// add takes changes into the page; true if it is full.
func (p *eventPage) add(events []controlplane.Event) (full bool) {
	for i := range events {
		e := &events[i]
		at := db.EventCursor{Index: e.Index, Ordinal: e.Ordinal}
		if p.filter.matches(e) {
			msg := eventToProto(e, p.s.cursorText(at))
			p.size += proto.Size(msg) + 8
			if len(p.events) == p.limit || len(p.events) > 0 && p.size > maxMessageBytes-minCompressBytes {
				return true
			}
			p.events = append(p.events, msg)
		}
		p.cursor = at
	}
	return len(p.events) == p.limit
}

// eventStart returns the cursor to begin at. A linearizable read fixes what "from
// now on" means, and tells a cursor of another cluster from one of this.
func (s *server) eventStart(ctx context.Context, text string, opts db.ReadOptions) (db.EventCursor, error) {
	var asked, now db.EventCursor
	var tag string
	if text != "" {
		var err error
		if asked, tag, err = parseCursor(text); err != nil {
			return asked, err
		}
	}
	err := s.readAs(ctx, opts, func(ctx context.Context, opts db.ReadOptions) error {
		index, err := s.engine.Read(ctx, opts, func(db.Conn) error { return nil })
		now = db.EventCursor{Index: index + 1}
		return err
	})
	switch {
	case err != nil || text == "":
		return now, err
	case s.isForeign(tag):
		return asked, foreignCursor(text)
	case asked.Index > now.Index && opts.Level == db.Stale: // this member may be behind
		return s.eventStart(ctx, text, db.ReadOptions{})
	case asked.Index > now.Index:
		return asked, foreignCursor(text)
	}
	return asked, nil
}

// eventFilter says which changes a caller wants.
type eventFilter struct {
	ids         map[string]bool
	types       map[controlplane.EventType]bool
	queue, node string
	tasksOnly   bool
}

func newEventFilter(r interface {
	GetTaskIds() []string
	GetQueue() string
	GetNodeId() string
}) eventFilter {
	f := eventFilter{queue: r.GetQueue(), node: r.GetNodeId()}
	if len(r.GetTaskIds()) > 0 {
		f.ids = make(map[string]bool, len(r.GetTaskIds()))
		for _, id := range r.GetTaskIds() {
			f.ids[id] = true
		}
	}
	return f
}

func (f *eventFilter) setTypes(types []v1.EventType) {
	if len(types) == 0 {
		return
	}
	f.types = make(map[controlplane.EventType]bool, len(types))
	for _, t := range types {
		f.types[eventTypeFromProto[t]] = true
	}
}

func (f *eventFilter) matches(e *controlplane.Event) bool {
	return (f.ids == nil || f.ids[e.TaskID]) &&
		(f.types == nil || f.types[e.Type]) &&
		(f.queue == "" || e.Queue == f.queue) &&
		(f.node == "" || e.NodeID == f.node) &&
		(!f.tasksOnly || e.OfTask())
}
