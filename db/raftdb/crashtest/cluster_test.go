package crashtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db/raftdb"
	"github.com/raft-control-plane/control-plane/internal/crashfs"
	"github.com/raft-control-plane/control-plane/internal/testport"
)

// cluster is m1 and m2 in this process, on a disk that stays, and m3 in a process
// of its own on a disk that loses its power.
type cluster struct {
	t       *testing.T
	configs map[string]raftdb.Config
	running map[string]*member
	disk    *crashfs.Disk
	m3      *process
	ids     []string
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, configs: map[string]raftdb.Config{}, running: map[string]*member{}, disk: crashfs.New(true)}
	for _, name := range []string{"m1", "m2", "m3"} {
		address, err := testport.Free()
		if err != nil {
			t.Fatal(err)
		}
		c.configs[name] = config(filepath.Join(t.TempDir(), name), name, address)
	}
	t.Cleanup(func() {
		for name := range c.running {
			c.stop(name)
		}
	})
	return c
}

// expect makes the named members a cluster from the start.
func (c *cluster) expect(names ...string) {
	var all []string
	for _, name := range names {
		all = append(all, c.configs[name].Advertise)
	}
	for _, name := range names {
		cfg := c.configs[name]
		cfg.Join, cfg.BootstrapExpect = all, len(names)
		c.configs[name] = cfg
	}
}

func (c *cluster) start(name string) {
	c.t.Helper()
	m, err := open(c.configs[name])
	if err != nil {
		c.t.Fatalf("start %s: %v", name, err)
	}
	c.running[name] = m
}

func (c *cluster) stop(name string) {
	c.t.Helper()
	if err := c.running[name].close(); err != nil {
		c.t.Errorf("close %s: %v", name, err)
	}
	delete(c.running, name)
}

// startM3 starts it with a patience that lets others lead.
func (c *cluster) startM3() {
	c.t.Helper()
	cfg := c.configs["m3"]
	c.m3 = startOn(c.t, c.disk, job{Name: "m3", Advertise: cfg.Advertise, Join: cfg.Join, Expect: cfg.BootstrapExpect,
		Heartbeat: 10 * timing.Heartbeat, SnapshotEvery: 1})
	c.m3.await("open")
}

// add stores n tasks at m1, which has to lead, and notes them as acknowledged.
func (c *cluster) add(n int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	m1 := c.running["m1"]
	for range n {
		id := fmt.Sprintf("t%d", len(c.ids))
		err := c.addOne(ctx, m1, id)
		for isInDoubt(err) && ctx.Err() == nil { // on a slow machine leadership may move
			err = c.addOne(ctx, m1, id)
		}
		if err != nil {
			c.t.Fatalf("add %s: %v", id, err)
		}
		c.disk.Note(id)
		c.ids = append(c.ids, id)
	}
}

// addOne adds a task at m1, which is given the lead if another member has it.
func (c *cluster) addOne(ctx context.Context, m1 *member, id string) error {
	soon, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if m1.tasks.AwaitWritable(soon) != nil {
		for _, m := range c.running {
			_, _ = m.engine.TransferLeadership(ctx, "m1") // refused by those that do not lead
		}
	}
	return m1.add(ctx, id)
}

// isInDoubt reports whether the same task may be added again.
func isInDoubt(err error) bool {
	code := controlplane.CodeOf(err)
	return err != nil && (code == controlplane.CodeUnavailable || code == controlplane.CodeUnknownOutcome)
}

// snapshot has m3 take one.
func (c *cluster) snapshot() {
	c.t.Helper()
	if _, err := io.WriteString(c.m3.in, "\n"); err != nil {
		c.t.Fatal(err)
	}
	c.m3.await("snapshot")
}

// sample chooses up to n captures of each kind, by seed.
func sample(t *testing.T, captures []*crashfs.Capture, n int) []*crashfs.Capture {
	t.Helper()
	if os.Getenv("RAFT_NODE_CRASH_ALL") != "" {
		return captures
	}
	r, taken := rand.New(rand.NewPCG(seed(t), 1)), map[string]int{}
	var chosen []*crashfs.Capture
	for _, i := range r.Perm(len(captures)) {
		k := kind(captures[i].Sync)
		if captures[i].Dir || k == "state.db" || k == "snapshot.json" {
			k = captures[i].Path // of which generation
		}
		if taken[k]++; taken[k] <= n {
			chosen = append(chosen, captures[i])
		}
	}
	return chosen
}

// returns starts copies of some members beside m3 on an image, and returns an error
// unless m3 and the leader then hold what the image owes and the given tasks.
func (c *cluster) returns(image *crashfs.Capture, left crashfs.Survival, beside []string, ids []string) (err error) {
	dir := c.t.TempDir()
	if err := image.Extract(dir, left); err != nil {
		return err
	}
	members := map[string]*member{}
	defer func() {
		for _, m := range members {
			err = errors.Join(err, m.close())
		}
	}()
	for _, name := range append([]string{"m3"}, beside...) {
		cfg := c.configs[name]
		from := cfg.Dir
		cfg.Dir = filepath.Join(dir, dataDir)
		if name != "m3" {
			cfg.Dir = filepath.Join(dir, name)
			if err := os.CopyFS(cfg.Dir, os.DirFS(from)); err != nil {
				return err
			}
		}
		if members[name], err = open(cfg); err != nil {
			delete(members, name)
			return fmt.Errorf("%s does not start: %w", name, err)
		}
	}
	return agree(members, append(ids, image.Notes...))
}

func agree(members map[string]*member, ids []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	leader, err := store(ctx, members, "after")
	if err != nil {
		return fmt.Errorf("a write: %w", err)
	}
	if err := leader.lacks(ctx, ids); err != nil {
		return fmt.Errorf("at the leader: %w", err)
	}
	m3 := members["m3"].engine
	if err := m3.AwaitApplied(ctx, leader.engine.AppliedIndex()); err != nil {
		return fmt.Errorf("m3 does not catch up with %d: %w", leader.engine.AppliedIndex(), err)
	}
	if err := members["m3"].lacks(ctx, append(ids, "after")); err != nil {
		return fmt.Errorf("at m3: %w", err)
	}
	return nil
}

// store has whoever leads store a task, and returns who that was.
func store(ctx context.Context, members map[string]*member, id string) (*member, error) {
	for {
		leads := make(chan *member, len(members))
		for _, m := range members {
			go func() {
				if m.tasks.AwaitWritable(ctx) == nil {
					leads <- m
				}
			}()
		}
		select {
		case leader := <-leads:
			if err := leader.add(ctx, id); !isInDoubt(err) { // on a slow machine leadership may move
				return leader, err
			}
		case <-ctx.Done():
			return nil, errors.New("nobody leads")
		}
	}
}

// eachReturn checks sampled images one after the other: they need the same ports.
func (c *cluster) eachReturn(captures []*crashfs.Capture, beside []string, ids []string) {
	c.t.Helper()
	for at, image := range captures {
		if err := c.returns(image, survival(seed(c.t), at, at%2), beside, ids); err != nil {
			c.t.Errorf("m3 lost its power at an fsync of %s, image %d of seed %d, %d writes acknowledged: %v", image.Path, at%2, seed(c.t), len(image.Notes), err)
		}
	}
}

// TestAMajorityRestsOnTheMemberThatLosesPower: m2 is away, so whatever m1
// acknowledges it has from m3. Then m1 is gone for good.
func TestAMajorityRestsOnTheMemberThatLosesPower(t *testing.T) {
	c := newCluster(t)
	c.expect("m1", "m2", "m3")
	c.startM3()
	c.start("m1")
	c.start("m2")
	c.add(1)
	c.stop("m2")
	for range 3 {
		c.add(4)
		c.snapshot()
	}
	c.m3.end()
	c.stop("m1")
	var late []*crashfs.Capture
	for _, image := range append(c.disk.Captures(), c.disk.Capture()) {
		if len(image.Notes) > 1 {
			late = append(late, image)
		}
	}
	c.eachReturn(sample(t, late, 2), []string{"m2"}, nil)
}

// received has m3 join when the log no longer has the beginning, so that it is sent
// the whole state, and ends all members.
func received(t *testing.T, ignore func(path string) bool) *cluster {
	t.Helper()
	c := newCluster(t)
	c.disk.Ignore = ignore
	c.expect("m1", "m2")
	c.start("m1")
	c.start("m2")
	c.add(12)
	for _, m := range c.running {
		if _, err := m.engine.SnapshotNow(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	m3 := c.configs["m3"]
	m3.Join = c.configs["m1"].Join
	c.configs["m3"] = m3
	c.startM3()
	c.voter("m3")
	c.add(4)
	c.both()
	c.snapshot()
	c.m3.end()
	c.stop("m1")
	c.stop("m2")
	return c
}

// both waits until m2 has what m1 has, of which m3 may be the majority's other half: an
// image of m3 from before that owes nothing.
func (c *cluster) both() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.running["m2"].engine.AwaitApplied(ctx, c.running["m1"].engine.AppliedIndex()); err != nil {
		c.t.Fatalf("m2 does not catch up: %v", err)
	}
}

func TestPowerIsLostWhileAStateIsReceived(t *testing.T) {
	c := received(t, nil)
	captures := c.disk.Captures()
	kinds := map[string]bool{}
	for _, image := range captures {
		kinds[image.Path] = true
	}
	for _, path := range []string{"state-000002/state.db", "state-000002/snapshot.json.tmp", "state-000002", "CURRENT.tmp"} {
		if !kinds[filepath.Join(dataDir, path)] {
			t.Errorf("no fsync of %s: was no state received? The member says:\n%s", path, c.m3.log)
		}
	}
	c.eachReturn(sample(t, captures, 1), []string{"m1", "m2"}, c.ids)
}

func TestWithoutAnFsyncAReceivedStateIsLost(t *testing.T) {
	for _, path := range []string{"state-000002/state.db", "state-000002/snapshot.json.tmp", "state-000002", "CURRENT.tmp"} {
		t.Run(path, func(t *testing.T) {
			c := received(t, func(synced string) bool { return synced == filepath.Join(dataDir, path) })
			if err := c.returns(c.disk.Capture(), crashfs.Survival{}, []string{"m1", "m2"}, c.ids); err == nil {
				t.Error("m3 has everything: the tests would not miss this fsync")
			}
		})
	}
}

// voter waits until a member is one and has caught up.
func (c *cluster) voter(name string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	index := c.running["m1"].engine.AppliedIndex()
	for ctx.Err() == nil {
		state, err := c.running["m1"].engine.Cluster(ctx)
		for _, m := range state.Members {
			if err == nil && m.Name == name && m.Role == controlplane.MemberFollower && m.AppliedIndex >= index {
				return
			}
		}
	}
	c.t.Fatalf("%s does not become a voter", name)
}
