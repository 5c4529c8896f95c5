package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// topRefresh is how often everything is read again, without a change being told.
const topRefresh = 2 * time.Second

const topLong = `Shows members, queues and nodes on the whole terminal, and how full they are, as they
change; q or Ctrl-C ends it. Nodes that are in trouble come first, then the fullest.

What is shown is what the member knows that is asked: it goes on without a leader.
--once prints it once, for files, pipes and scripts.`

func newTopCommand(a *app) *cobra.Command {
	var once bool
	cmd := &cobra.Command{Use: "top", Short: "Watch nodes and queues on the terminal", Long: topLong, Args: cobra.NoArgs}
	cmd.Flags().BoolVar(&once, "once", false, "print it once and end")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		if once {
			now, err := readFleet(cmd.Context(), c)
			if err != nil {
				return err
			}
			_, err = a.out.Write(topPicture(now, a.colours(a.out)))
			return err
		}
		if !isTerminal(a.out) {
			return usageErrorf("standard output is no terminal: give --once to print it once")
		}
		return a.top(cmd.Context(), c)
	}
	return limitFormats(cmd, formatTable)
}

// fleet is what top shows.
type fleet struct {
	cluster *v1.GetClusterResponse
	nodes   *v1.ListNodesResponse
	queues  *v1.ListQueuesResponse
	at      time.Time
}

// readFleet reads from the member that is asked, which may have no leader.
func readFleet(ctx context.Context, c *client.Client) (*fleet, error) {
	f := &fleet{at: time.Now()}
	var errs [3]error
	var reads sync.WaitGroup
	reads.Go(func() { f.cluster, errs[0] = c.GetCluster(ctx, &v1.GetClusterRequest{}) })
	reads.Go(func() {
		f.nodes, errs[1] = c.ListNodes(ctx, &v1.ListNodesRequest{PageSize: pageMax, Consistency: v1.Consistency_CONSISTENCY_STALE})
	})
	reads.Go(func() {
		f.queues, errs[2] = c.ListQueues(ctx, &v1.ListQueuesRequest{PageSize: pageMax, Consistency: v1.Consistency_CONSISTENCY_STALE})
	})
	reads.Wait()
	for _, err := range errs { // one is enough: they fail for the same cause
		if err != nil {
			return nil, err
		}
	}
	return f, nil
}

// top shows the fleet until q or Ctrl-C. When it cannot be read, the last picture stays
// and says so.
func (a *app) top(ctx context.Context, c *client.Client) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	now, err := readFleet(ctx, c)
	if err != nil {
		return err // before the screen is taken
	}
	s := newScreen(a.out)
	defer s.close()
	quit, restore := quitKey(a.in)
	defer restore() // before what close prints
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)
	read := make(chan fleetRead)
	go keepReading(ctx, c, read)
	for {
		picture := topPicture(now, a.colours(a.out))
		if err != nil {
			picture = append(picture, "\n"+oneLine(a.explain(err))+"\n"...)
		}
		s.draw(picture)
		select {
		case r := <-read:
			if err = r.err; err == nil {
				now = r.fleet
			}
		case <-resized:
		case <-quit:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

type fleetRead struct {
	fleet *fleet
	err   error
}

// keepReading reads the fleet whenever it has changed, and from time to time.
func keepReading(ctx context.Context, c *client.Client, to chan<- fleetRead) {
	changed := changes(ctx, c, &v1.WatchEventsRequest{})
	refresh := time.NewTicker(topRefresh)
	defer refresh.Stop()
	for await(ctx, changed, refresh.C) {
		f, err := readFleet(ctx, c)
		select {
		case to <- fleetRead{f, err}:
		case <-ctx.Done():
			return
		}
	}
}

// quitKey signals once q or Ctrl-C is typed. Meanwhile the terminal does not show what is
// typed, until restore is called.
func quitKey(in io.Reader) (quit <-chan struct{}, restore func()) {
	typed := make(chan struct{})
	file, ok := in.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return typed, func() {}
	}
	before, err := term.MakeRaw(int(file.Fd()))
	if err != nil {
		return typed, func() {}
	}
	go func() {
		defer close(typed)
		b := make([]byte, 1)
		for {
			n, err := file.Read(b)
			if errors.Is(err, io.EOF) || err != nil || n == 1 && (b[0] == 'q' || b[0] == 'Q' || b[0] == keyCtrlC) {
				return
			}
		}
	}()
	return typed, func() { _ = term.Restore(int(file.Fd()), before) }
}

// topCount counts what there is, such as "3 healthy, 1 unknown".
func topCount(parts ...any) string {
	var text []string
	for i := 0; i < len(parts); i += 2 {
		if n := parts[i].(int); n > 0 || i == 0 {
			text = append(text, fmt.Sprintf("%d %s", n, parts[i+1]))
		}
	}
	return strings.Join(text, ", ")
}
