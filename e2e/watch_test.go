package e2e

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

const (
	watchKills  = 20     // of members, under a watcher
	watchEvents = 10_000 // changes that it must see
)

// watcher gathers the cursors of all changes that it is told.
type watcher struct {
	seen   []string
	count  atomic.Int64
	target chan string // the cursor of the newest change, once it is known
}

var errSeenAll = errors.New("seen all")

// run watches from before the first change until the newest.
func (w *watcher) run(ctx context.Context, servers []string) error {
	c, err := client.New(servers, client.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return err
	}
	defer c.Close()
	last := ""
	err = c.WatchEvents(ctx, &v1.WatchEventsRequest{Cursor: "0"}, func(m *v1.WatchEventsResponse) error {
		if e := m.GetEvent(); e != nil {
			place := e.GetCursor()
			if parts := strings.SplitN(place, "-", 3); len(parts) == 3 { // the third tells the cluster
				place = parts[0] + "-" + parts[1]
			}
			w.seen = append(w.seen, fmt.Sprintf("%s %s", place, strings.TrimPrefix(e.GetType().String(), "EVENT_TYPE_")))
			w.count.Add(1)
		}
		select {
		case last = <-w.target:
		default:
		}
		if last != "" && len(w.seen) > 0 && strings.HasPrefix(w.seen[len(w.seen)-1], last+" ") {
			return errSeenAll
		}
		return nil
	})
	if errors.Is(err, errSeenAll) {
		return nil
	}
	return err
}

// TestAWatcherLivesThroughKills kills members, one after another, while tasks are
// submitted and run: whoever watches sees every change once, in order.
func TestAWatcherLivesThroughKills(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d, %d kills, %d changes", seed, watchKills, watchEvents)
	rnd := rand.New(rand.NewPCG(seed, 0))
	c := newCluster(t, 3, "--log-level", "warn")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	servers := strings.Split(c.servers(), ",")
	w := &watcher{target: make(chan string, 1)}
	watched := make(chan error, 1)
	go func() { watched <- w.run(ctx, servers) }()
	submitted := make(chan error, 1)
	go func() { submitted <- submitUntil(ctx, servers, w) }()

	for i := range watchKills {
		// Kills are spread over the load, so that each finds the watcher at work.
		share := int64(watchEvents * i / watchKills)
		until(t, fmt.Sprintf("the watcher has seen %d changes", share), func() bool { return w.count.Load() >= share })
		victim := c.names[rnd.IntN(len(c.names))]
		c.members[victim].kill()
		before := w.count.Load()
		until(t, "the watcher goes on without "+victim, func() bool { return w.count.Load() > before || len(submitted) > 0 })
		c.members[victim].start()
		c.ready()
	}
	if err := <-submitted; err != nil {
		t.Fatal(err)
	}
	rows := c.query("m1", "SELECT log_index || '-' || ordinal FROM events ORDER BY log_index DESC, ordinal DESC LIMIT 1")
	w.target <- rows[0][0] // which it looks at with the next message, a sign of life at the latest
	if err := <-watched; err != nil {
		t.Fatalf("the watch ended after %d changes: %v", len(w.seen), err)
	}
	for _, name := range c.names {
		c.sameEvents(name, w.seen)
	}
	t.Logf("%d changes seen by a watcher that lived through %d kills", len(w.seen), watchKills)
}

// submitUntil submits tasks until the watcher has seen enough of them.
func submitUntil(ctx context.Context, servers []string, w *watcher) error {
	c, err := client.New(servers, client.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return err
	}
	defer c.Close()
	for i := 0; w.count.Load() < int64(watchEvents); i++ {
		req := &v1.SubmitTasksRequest{}
		for j := range 20 {
			id := fmt.Sprintf("w-%d-%d", i, j)
			req.Requests = append(req.Requests, &v1.SubmitTaskRequest{Task: &v1.Task{Id: id, Work: &v1.Task_Exec{Exec: &v1.ExecTask{Command: []string{"true"}}}}})
		}
		if _, err := c.SubmitTasks(ctx, req); err != nil {
			return fmt.Errorf("submit: %w", err)
		}
		if _, err := c.CancelTask(ctx, &v1.CancelTaskRequest{Id: fmt.Sprintf("w-%d-0", i)}); err != nil {
			return fmt.Errorf("cancel: %w", err)
		}
	}
	return nil
}

// sameEvents compares what a watcher saw with what a member's state shows.
func (c *cluster) sameEvents(member string, seen []string) {
	c.t.Helper()
	const page = 5000
	from := 0
	for {
		rows := c.query(member, fmt.Sprintf("SELECT log_index || '-' || ordinal || ' ' || type FROM events ORDER BY log_index, ordinal LIMIT %d OFFSET %d", page, from))
		for i, row := range rows {
			if from+i >= len(seen) || seen[from+i] != row[0] {
				c.t.Fatalf("change %d is %s at %s, and the watcher saw %v", from+i, row[0], member, seen[max(0, from+i-2):min(len(seen), from+i+3)])
			}
		}
		from += len(rows)
		if len(rows) < page {
			break
		}
	}
	if from != len(seen) {
		c.t.Errorf("%s has %d changes, the watcher saw %d", member, from, len(seen))
	}
}
