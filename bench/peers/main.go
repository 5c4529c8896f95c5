// Command peers puts this control plane and systems that a user might take instead through
// the same load on one machine, in one run, and prints how they compare.
//
// Each system is started in a directory of its own on loopback, loaded by the same driver
// (internal/bench) with the client library that its makers recommend, and ended. Several
// rounds over all systems are made, so that what else the machine does meets all of them.
// Every system syncs to disk before it acknowledges.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/raft-control-plane/control-plane/internal/collector"
)

type options struct {
	raftNode, bin, dir string
	postgresUser       string
	systems            []string
	rounds             int
	duration           time.Duration
	payload, rate      int
	callers, slots     int
	jsonFile, readme   string
}

func main() {
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		collector.CollectLess()
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		err = o.compare(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1) //nolint:gocritic // only the handling of signals is left undone
	}
}

func parse(args []string) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("peers", flag.ContinueOnError)
	f.StringVar(&o.raftNode, "raft-node", "bin/raft-node", "this project's binary")
	f.StringVar(&o.bin, "bin", ".tools/peers", "where nats-server and etcd are")
	f.StringVar(&o.dir, "dir", "", "where the systems keep their state: on the disk that is meant; a temporary directory by default")
	f.StringVar(&o.postgresUser, "postgres-user", "postgres", "the user that PostgreSQL runs as, if this is run by root, as whom it refuses to run")
	names := f.String("systems", strings.Join(systemNames(), ","), "those to run")
	f.IntVar(&o.rounds, "rounds", 3, "over all systems, 1 to 100; medians are shown")
	f.DurationVar(&o.duration, "duration", 2*time.Second, "of each phase, 100ms to 1m")
	f.IntVar(&o.payload, "payload", 256, "bytes of each task's argument, 22 to 100,000")
	f.IntVar(&o.rate, "rate", 100, "submissions a second of the phase dispatch, 1 to 10,000")
	f.IntVar(&o.callers, "callers", 64, "who submit at once, 1 to 1,000")
	f.IntVar(&o.slots, "slots", 64, "tasks that are worked on at once, 1 to 1,000")
	f.StringVar(&o.readme, "readme", "", "also put the table into this file, between the lines that README.md has for it")
	f.StringVar(&o.jsonFile, "json", "", "also write every round's figures to this file")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	o.systems = strings.Split(*names, ",")
	return o, o.check(f.Args())
}

func (o *options) check(rest []string) error {
	var all []error
	within := func(flag string, n, low, high int) {
		if n < low || n > high {
			all = append(all, fmt.Errorf("-%s %d: give %d to %d", flag, n, low, high))
		}
	}
	within("rounds", o.rounds, 1, 100)
	within("payload", o.payload, 22, 100_000)
	within("rate", o.rate, 1, 10_000)
	within("callers", o.callers, 1, 1000)
	within("slots", o.slots, 1, 1000)
	if o.duration < 100*time.Millisecond || o.duration > time.Minute {
		all = append(all, fmt.Errorf("-duration %s: give 100ms to 1m", o.duration))
	}
	for _, name := range o.systems {
		if !slices.Contains(systemNames(), name) {
			all = append(all, fmt.Errorf("-systems %s: give some of %s", name, strings.Join(systemNames(), ", ")))
		}
	}
	if len(rest) > 0 {
		all = append(all, fmt.Errorf("%q: there are flags only", rest))
	}
	return errors.Join(all...)
}

// compare runs everything and prints the tables.
func (o *options) compare(ctx context.Context) error {
	dir, err := os.MkdirTemp(o.dir, "peers-")
	if err != nil {
		return fmt.Errorf("-dir: %w", err)
	}
	defer os.RemoveAll(dir)                      //nolint:errcheck // what is left is in a temporary directory
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // PostgreSQL's user must get through to its own
		return err
	}
	if o.raftNode, err = filepath.Abs(o.raftNode); err != nil {
		return err
	}
	if o.bin, err = filepath.Abs(o.bin); err != nil {
		return err
	}
	report := newReport(o)
	r := &rounds{options: o, dir: dir, report: report, say: func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }}
	if err := r.run(ctx, o.chosen()); err != nil {
		return err
	}
	return o.write(report)
}

// write prints the table, and writes the files that were asked for.
func (o *options) write(report *report) error {
	table := report.markdown()
	if _, err := os.Stdout.WriteString(table); err != nil {
		return err
	}
	if o.jsonFile != "" {
		text, err := json.MarshalIndent(report, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.jsonFile, append(text, '\n'), 0o644); err != nil { //nolint:gosec // for everyone to read
			return err
		}
	}
	if o.readme == "" {
		return nil
	}
	text, err := os.ReadFile(o.readme)
	if err != nil {
		return err
	}
	changed, err := replaced(string(text), table)
	if err != nil {
		return fmt.Errorf("-readme %s: %w", o.readme, err)
	}
	return os.WriteFile(o.readme, []byte(changed), 0o644) //nolint:gosec // for everyone to read
}

// The table stands between these lines.
const (
	tableBegins = "<!-- the table of make bench/peers -->\n"
	tableEnds   = "<!-- its end -->\n"
)

func replaced(text, table string) (string, error) {
	before, rest, ok := strings.Cut(text, tableBegins)
	_, after, ended := strings.Cut(rest, tableEnds)
	if !ok || !ended {
		return "", fmt.Errorf("it has no lines %q and %q", strings.TrimSpace(tableBegins), strings.TrimSpace(tableEnds))
	}
	return before + tableBegins + table + tableEnds + after, nil
}
