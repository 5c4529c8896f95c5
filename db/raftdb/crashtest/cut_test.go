package crashtest

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/raft-control-plane/control-plane/internal/crashfs"
)

// points chooses one fsync of each kind, by seed, and a few more.
func points(t *testing.T, syncs []crashfs.Sync, more int) []int {
	t.Helper()
	r, taken := rand.New(rand.NewPCG(seed(t), 2)), map[string]bool{}
	var chosen []int
	for _, i := range r.Perm(len(syncs)) {
		if k := kind(syncs[i]); !taken[k] {
			taken[k] = true
		} else if more--; more < 0 {
			continue
		}
		chosen = append(chosen, i)
	}
	return chosen
}

// TestAMemberWhosePowerIsCut really takes the disk away: what the member does from
// there on must not be an acknowledgement. Then the power is cut again, at every fsync
// of the start on what was left.
func TestAMemberWhosePowerIsCut(t *testing.T) {
	syncs := record(t, nil).Syncs()
	for round, n := range points(t, syncs, (images(t)-1)*4) {
		d := crashfs.New(false)
		d.CutAt(n)
		p := startOn(t, d, alone(t))
		p.awaitAny("done") // the last fsyncs are of a snapshot, which nobody waits for
		p.end()
		left := survival(seed(t), n, round%2)
		dir := t.TempDir()
		if err := d.Capture().Extract(dir, left); err != nil {
			t.Fatal(err)
		}
		again, err := crashfs.Load(dir, true)
		if err != nil {
			t.Fatal(err)
		}
		notes := d.Capture().Notes
		for _, id := range notes {
			again.Note(id)
		}
		j := alone(t)
		j.Tasks, j.Prefix, j.SnapshotEvery = 2, "u", 2
		p = startOn(t, again, j)
		p.await("done")
		p.end()
		t.Logf("cut at fsync %d, of %s, with %d writes acknowledged; then at each of %d", n, syncs[n].Path, len(notes), len(again.Syncs()))
		eachImage(t, append(again.Captures(), again.Capture()), survives)
	}
}

// TestWhatAKilledMemberHadNotSyncedIsSyncedBeforeItCounts: the process is killed
// between writing its log and syncing it. When it starts it finds the entries, and
// may tell the leader that it has them.
func TestWhatAKilledMemberHadNotSyncedIsSyncedBeforeItCounts(t *testing.T) {
	killed := true
	d := crashfs.New(false)
	d.Ignore = func(path string) bool {
		return killed && (path == dataDir || strings.HasPrefix(path, dataDir+"/log"))
	}
	p := startOn(t, d, alone(t))
	p.await("done")
	p.end()
	killed = false
	j := alone(t)
	j.Tasks = 0
	p = startOn(t, d, j)
	p.await("open")
	c := d.Capture()
	p.end()
	if err := survives(t.TempDir(), c, crashfs.Survival{}); err != nil {
		t.Errorf("power lost once it was open again: %v", err)
	}
}
