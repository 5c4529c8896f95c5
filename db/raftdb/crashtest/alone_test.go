package crashtest

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/raft-control-plane/control-plane/internal/crashfs"
	"github.com/raft-control-plane/control-plane/internal/testport"
)

// seed decides what is left of that which was not synced; RAFT_NODE_CRASH_SEED
// chooses another.
func seed(t *testing.T) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(cmp.Or(os.Getenv("RAFT_NODE_CRASH_SEED"), "1"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// images is how many images of each fsync are looked at beside the barest;
// RAFT_NODE_CRASH_IMAGES asks for more.
func images(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(cmp.Or(os.Getenv("RAFT_NODE_CRASH_IMAGES"), "1"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// alone is the load of a cluster of one.
func alone(t *testing.T) job {
	t.Helper()
	address, err := testport.Free()
	if err != nil {
		t.Fatal(err)
	}
	return job{Name: "m1", Advertise: address, Tasks: 24, Prefix: "t", SnapshotEvery: 8}
}

// record runs the load of a cluster of one on a new disk to its end.
func record(t *testing.T, ignore func(path string) bool) *crashfs.Disk {
	t.Helper()
	d := crashfs.New(true)
	d.Ignore = ignore
	p := startOn(t, d, alone(t))
	p.await("done")
	p.end()
	return d
}

// survives starts a cluster of one on an image, and returns an error unless it holds
// all that was acknowledged and takes a write.
func survives(dir string, c *crashfs.Capture, left crashfs.Survival) error {
	if err := c.Extract(dir, left); err != nil {
		return err
	}
	address, err := testport.Free()
	if err != nil {
		return err
	}
	m, err := open(config(filepath.Join(dir, dataDir), "m1", address))
	if err != nil {
		return fmt.Errorf("it does not start: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err = m.tasks.AwaitWritable(ctx); err == nil {
		err = m.lacks(ctx, c.Notes)
	}
	if err == nil {
		err = m.add(ctx, "after")
	}
	closed := m.close()
	return cmp.Or(err, closed)
}

// kind names what an fsync is for.
func kind(s crashfs.Sync) string {
	name := filepath.Base(s.Path)
	switch {
	case s.Path == ".", s.Path == "":
		return "parent of the data directory"
	case s.Path == dataDir:
		return "data directory"
	case s.Dir && strings.HasPrefix(name, "state-"):
		return "generation directory"
	case s.Dir:
		return "log directory"
	case strings.HasSuffix(name, ".wal"):
		return "log"
	case strings.HasPrefix(name, "wal-meta.db"):
		return "log meta"
	}
	return strings.TrimSuffix(name, ".tmp")
}

// needed are the kinds of fsync that the load of a cluster of one must bring about.
var needed = []string{
	"parent of the data directory", "data directory", "generation directory", "log directory", "log", "log meta",
	"member.json", "CURRENT", "snapshot.json", "state.db", "state.db-wal",
}

func count(syncs []crashfs.Sync) map[string]int {
	n := map[string]int{}
	for _, s := range syncs {
		n[kind(s)]++
	}
	return n
}

// eachImage calls check with some images of each capture, several at a time.
func eachImage(t *testing.T, captures []*crashfs.Capture, check func(dir string, c *crashfs.Capture, left crashfs.Survival) error) {
	t.Helper()
	base, n := seed(t), images(t)
	slots := make(chan struct{}, 12) // most of it is waiting for elections
	var wg sync.WaitGroup
	for at, c := range captures {
		for image := range n + 1 {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				dir := t.TempDir()
				defer os.RemoveAll(dir) // there are hundreds
				if err := check(dir, c, survival(base, at, image)); err != nil {
					t.Errorf("power lost at fsync %d (of %s), image %d of seed %d, %d writes acknowledged: %v", at, cmp.Or(c.Path, "the root"), image, base, len(c.Notes), err)
				}
			})
		}
	}
	wg.Wait()
}

// survival of image 0 is the barest.
func survival(base uint64, at, image int) crashfs.Survival {
	if image == 0 {
		return crashfs.Survival{}
	}
	return crashfs.Survival{Rand: rand.New(rand.NewPCG(base, uint64(at)<<16+uint64(image)))}
}

func TestAloneAMemberHoldsWhatItAcknowledged(t *testing.T) {
	d := record(t, nil)
	kinds := count(d.Syncs())
	t.Logf("fsyncs: %v", kinds)
	for _, k := range needed {
		if kinds[k] == 0 {
			t.Errorf("the load has no fsync of %s", k)
		}
	}
	eachImage(t, append(d.Captures(), d.Capture()), survives)
}
