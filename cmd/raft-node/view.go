package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

const (
	// watchPause is the least time between two reads of what is watched.
	watchPause = 200 * time.Millisecond
	// watchRefresh is how often that is read which no event tells: heartbeats,
	// settings of queues, members.
	watchRefresh = 5 * time.Second
	// watchBegin is how long to wait until the stream of events stands.
	watchBegin = 3 * time.Second
)

// view is what a command shows once, or with --watch as it changes.
type view[M proto.Message] struct {
	read  func(ctx context.Context, c *client.Client) (M, error)
	table func(w io.Writer, m M)
	// more is what people are told beside the table.
	more func(m M)
	// events are those that may change it; nil if there are none.
	events *v1.WatchEventsRequest
	// ended reports whether it will not change any more.
	ended func(m M) bool
}

func addWatchFlag(cmd *cobra.Command) {
	cmd.Flags().BoolP("watch", "w", false, "go on and show it as it changes, until Ctrl-C; to a file or pipe, with jsonl and name only what changed")
}

// showView reads and prints a view; again and again if --watch is given.
func showView[M proto.Message](cmd *cobra.Command, a *app, v view[M]) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	if watch := cmd.Flag("watch"); watch != nil && watch.Value.String() == "true" {
		return watchView(cmd.Context(), a, c, v)
	}
	m, err := v.read(cmd.Context(), c)
	if err != nil {
		return err
	}
	return printView(a, v, m)
}

func printView[M proto.Message](a *app, v view[M], m M) error {
	if err := a.print(m, func(w io.Writer) { v.table(w, m) }); err != nil {
		return err
	}
	if v.more != nil {
		v.more(m)
	}
	return nil
}

// watchView shows a view until Ctrl-C, which is its regular end.
func watchView[M proto.Message](ctx context.Context, a *app, c *client.Client, v view[M]) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	var s *screen
	if !a.forPrograms() && isTerminal(a.out) {
		s = newScreen(a.out)
		defer s.close()
	}
	changed := changes(ctx, c, v.events)
	refresh := time.NewTicker(watchRefresh)
	defer refresh.Stop()
	for printed := (changedItems{}); ; {
		m, err := v.read(ctx, c)
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil
		}
		if err != nil {
			return err
		}
		if s != nil {
			s.draw(renderTable(func(w io.Writer) { v.table(w, m) }, a.colours(a.out)))
		} else if err := printChanged(a, v, m, printed); err != nil {
			return err
		}
		if v.ended != nil && v.ended(m) {
			return nil
		}
		if !await(ctx, changed, refresh.C) {
			return nil
		}
	}
}

// await waits for a change, and for a moment more so that changes come together. It
// reports whether to go on.
func await(ctx context.Context, changed <-chan struct{}, refresh <-chan time.Time) bool {
	pause := time.NewTimer(watchPause)
	defer pause.Stop()
	select {
	case <-changed:
	case <-refresh:
	case <-ctx.Done():
		return false
	}
	select {
	case <-pause.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// changes signals that something has changed since the last signal. It returns once
// the stream stands, so that what is read afterwards misses nothing. Where no stream
// gets through, what is watched is read from time to time all the same.
func changes(ctx context.Context, c *client.Client, req *v1.WatchEventsRequest) <-chan struct{} {
	changed := make(chan struct{}, 1)
	if req == nil {
		return changed
	}
	begun, begin := context.WithTimeout(ctx, watchBegin)
	go func() {
		defer begin()
		_ = c.WatchEvents(ctx, req, func(m *v1.WatchEventsResponse) error {
			begin()
			if m.GetEvent() != nil {
				select {
				case changed <- struct{}{}:
				default:
				}
			}
			return nil
		})
	}()
	<-begun.Done()
	return changed
}

// changedItems are the items that were printed last, by their names.
type changedItems map[string]proto.Message

// of returns those items that are new or not as they were.
func (c changedItems) of(items []proto.Message) []proto.Message {
	var changed []proto.Message
	for _, m := range items {
		seen := proto.Clone(m)
		clearVolatile(seen.ProtoReflect())
		if name := nameOf(m); !proto.Equal(c[name], seen) {
			c[name] = seen
			changed = append(changed, m)
		}
	}
	return changed
}

// volatile are fields that change all the time without anything happening.
var volatile = []protoreflect.Name{"heartbeat_time", "usage", "applied_index", "lease_remaining"}

func clearVolatile(m protoreflect.Message) {
	for _, name := range volatile {
		if f := m.Descriptor().Fields().ByName(name); f != nil {
			m.Clear(f)
		}
	}
}

// printChanged prints what has changed: the items alone where each has a line of its
// own, else everything.
func printChanged[M proto.Message](a *app, v view[M], m M, printed changedItems) error {
	first := len(printed) == 0
	changed := printed.of(itemsOf(m))
	switch {
	case !first && len(changed) == 0:
		return nil
	case a.format() == formatLines:
		return a.printLines(changed)
	case a.format() == formatName:
		return a.printNames(changed)
	case !first && a.format() == formatYAML:
		fmt.Fprintln(a.out, "---")
	case !first && !a.forPrograms():
		fmt.Fprintln(a.out)
	}
	return printView(a, v, m)
}
