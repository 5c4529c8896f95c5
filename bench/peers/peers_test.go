package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane/clienttest"
	"github.com/raft-control-plane/control-plane/internal/bench"
)

// quick is options for a run of a moment, which finds no server in bin.
func quick(t *testing.T) *options {
	t.Helper()
	o, err := parse([]string{"-raft-node", "/nowhere/raft-node", "-bin", t.TempDir(), "-rounds", "2", "-duration", "100ms", "-callers", "8", "-slots", "8"})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestRounds puts a member within this process through the whole load, beside systems that
// are not installed, and one that fails.
func TestRounds(t *testing.T) {
	o := quick(t)
	if !testing.Short() {
		o.duration = 300 * time.Millisecond
	}
	var said []string
	r := &rounds{options: o, dir: t.TempDir(), report: newReport(o), say: func(format string, args ...any) {
		said = append(said, fmt.Sprintf(format, args...))
		t.Logf(format, args...)
	}}
	own := system{"own", "a member", "fsync", func(context.Context, *env) (*running, error) {
		p := clienttest.New(t)
		return &running{version: "v1", config: bench.Config{Client: p.Client}, stop: func() {}}, nil
	}}
	bad := system{"bad", "one that fails", "none", func(context.Context, *env) (*running, error) { return nil, errors.New("it is broken") }}
	all := append([]system{own, bad}, o.chosen()...)
	all = without(all, "postgres", "river") // they may be installed
	if err := r.run(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	rows := map[string]*row{}
	for _, x := range r.report.Systems {
		rows[x.Name] = x
	}
	if x := rows["own"]; len(x.Rounds) != 2 || x.Version != "v1" || len(x.Failures) != 0 {
		t.Errorf("%+v", x)
	}
	for _, phase := range bench.Comparable() { // on a busy machine nothing may come about in so short a time
		if f := rows["own"].figure(phase, perSecond); !f.ok || f.low > f.median || f.median > f.high {
			t.Errorf("%s: %+v", phase, f)
		}
	}
	if x := rows["bad"]; len(x.Failures) != 2 || x.Failures[0] != "it is broken" {
		t.Errorf("%+v", x)
	}
	for _, name := range []string{"ours-1", "nats-3", "etcd-1"} {
		if x := rows[name]; !strings.Contains(x.Missing, "is not installed: make ") {
			t.Errorf("%s: %q", name, x.Missing)
		}
	}
	if n := strings.Count(strings.Join(said, "\n"), "is left out"); n != 6 {
		t.Errorf("%d systems are left out, each once: %q", n, said)
	}
}

func without(all []system, names ...string) (left []system) {
	for _, s := range all {
		if s.name != names[0] && s.name != names[1] {
			left = append(left, s)
		}
	}
	return left
}

// TestInstalledPeers puts those that are there through the load: it is the same code that
// measures.
func TestInstalledPeers(t *testing.T) {
	for _, s := range systems()[2:] {
		t.Run(s.name, func(t *testing.T) {
			o := quick(t)
			if bin := os.Getenv("PEERS_BIN"); bin != "" {
				o.bin = bin
			}
			dir, err := os.MkdirTemp("/tmp", "peers-test-") //nolint:usetesting // another user must get through to it
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir)
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			r := &rounds{options: o, dir: dir, report: newReport(o), say: t.Logf}
			switch err := r.one(t.Context(), 0, s); {
			case errors.Is(err, errMissing):
				t.Skip(err)
			case err != nil:
				t.Fatal(err)
			}
		})
	}
}

func TestMarkdown(t *testing.T) {
	r := &report{
		Time: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC), Machine: "2 cores (x), linux", Load: "0.1 0.2 0.3", LoadEnd: "2.0 1.0 0.5",
		Rounds: 3, Duration: 2, Payload: 256, Callers: 64, Slots: 64, Rate: 100,
	}
	round := func(cycles, fsync float64) []bench.Result {
		return []bench.Result{
			{Phase: "fsync", PerSecond: fsync, P50: 0.25}, {Phase: "cycle", PerSecond: cycles, ServerCPUMicros: 99.6}, {Phase: "dispatch", P50: 1.24, P99: 3},
		}
	}
	r.Systems = []*row{
		{Title: "ours", Version: "v1 (of today)", Durability: "fsync", Rounds: [][]bench.Result{round(900, 100), round(1000, 300), round(2000, 200)}},
		{Title: "theirs", Version: "v2", Durability: "none", Rounds: [][]bench.Result{round(400, 400), round(600, 500)}, Failures: []string{"broken"}},
		{Title: "others", Missing: "not installed: make it"},
	}
	got := r.markdown()
	for _, want := range []string{
		"Medians of 3 rounds over all systems, 2 s a phase",
		"2026-01-02; 2 cores (x), linux. The load average was 0.1 0.2 0.3 at the beginning and 2.0 1.0 0.5 at the end",
		"| ours, v1 | – | – | – | 1000 (900–2000) | 1.00 | 1.2 ms (1.2–1.2) | 3.0 ms (3.0–3.0) | 100 µs (100–100) | fsync |",
		"| theirs, v2 | – | – | – | 500 (400–600) | 0.50 |",
		"| others | left out: not installed: make it |",
		"| the disk alone: 4 KiB appended, fdatasync | 300 (100–500), p50 0.25 ms (0.25–0.25) |",
		"A round of theirs failed: broken",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}

func TestTheTableOfAFileIsReplaced(t *testing.T) {
	text := "before\n" + tableBegins + "old\n" + tableEnds + "after\n"
	if got, err := replaced(text, "new\n"); err != nil || got != "before\n"+tableBegins+"new\n"+tableEnds+"after\n" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := replaced("before\n"+tableBegins+"old\n", "new\n"); err == nil {
		t.Error("a table without an end")
	}
}

func TestMistakesAreAllNamed(t *testing.T) {
	_, err := parse([]string{"-rounds", "0", "-payload", "1", "-rate", "0", "-callers", "0", "-slots", "2000", "-duration", "1ns", "-systems", "redis", "more"})
	for _, want := range []string{"-rounds 0: give 1 to 100", "-payload 1", "-rate 0", "-callers 0", "-slots 2000", "-duration 1ns", "-systems redis: give some of ours-1", "more"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}

func TestParseStat(t *testing.T) {
	pid, parent, used := parseStat([]byte("17 (a b) c) S 5 17 17 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 100"))
	if pid != 17 || parent != 5 || used != time.Second {
		t.Errorf("%d, %d, %s", pid, parent, used)
	}
	if pid, _, _ := parseStat([]byte("x")); pid != 0 {
		t.Errorf("%d of no line", pid)
	}
}
