package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// madeUp is a migration of the release after this one. It cannot run twice, and notes
// when it ran.
const madeUp = `CREATE TABLE made_up (n INTEGER PRIMARY KEY, tasks INTEGER NOT NULL) STRICT;
INSERT INTO made_up (tasks) SELECT count(*) FROM tasks;
ALTER TABLE nodes ADD COLUMN made_up TEXT;
`

// TestRollingUpgradeToTheNextRelease runs this release and one with another migration
// side by side.
func TestRollingUpgradeToTheNextRelease(t *testing.T) {
	next, version := nextRelease(t)
	(&upgrade{cluster: prepare(t, 3), from: raftNode, to: next, before: version - 1, after: version}).run()
}

// TestRollingUpgradeFromTheLastRelease runs the last release and this one side by side.
func TestRollingUpgradeFromTheLastRelease(t *testing.T) {
	last, version := lastRelease(t)
	(&upgrade{cluster: prepare(t, 3), from: last, to: raftNode, before: version, after: migrationsIn(t, "../migrations")}).run()
}

func migrationsIn(t *testing.T, dir string) int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.sql"))
	if err != nil || len(files) == 0 {
		t.Fatalf("migrations in %s: %v, %v", dir, files, err)
	}
	return len(files)
}

// nextRelease builds this commit with one more migration, and returns its number.
func nextRelease(t *testing.T) (binary string, version int) {
	t.Helper()
	dir := t.TempDir()
	version = migrationsIn(t, "../migrations") + 1
	place, err := filepath.Abs(fmt.Sprintf("../migrations/%04d_made_up.sql", version))
	if err != nil {
		t.Fatal(err)
	}
	sql, overlay := filepath.Join(dir, "made_up.sql"), filepath.Join(dir, "overlay.json")
	text, err := json.Marshal(m{"Replace": map[string]string{place: sql}})
	if err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string][]byte{sql: []byte(madeUp), overlay: text} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return build(t, "..", dir, "-overlay", overlay), version
}

// lastRelease builds the release that was tagged last, and returns its schema version.
func lastRelease(t *testing.T) (binary string, version int) {
	t.Helper()
	tag, err := exec.Command("git", "describe", "--tags", "--abbrev=0", "--match", "v[0-9]*").Output()
	if err != nil {
		t.Skip("no release is tagged yet (v*), or this is no git checkout: there is none to upgrade from")
	}
	dir := t.TempDir()
	src := filepath.Join(dir, "src")
	if out, err := exec.Command("sh", "-c", `mkdir "$1" && git -C .. archive "$2" | tar -x -C "$1"`, "sh", src, strings.TrimSpace(string(tag))).CombinedOutput(); err != nil {
		t.Fatalf("the files of %s: %v\n%s", tag, err, out)
	}
	return build(t, src, dir), migrationsIn(t, filepath.Join(src, "migrations"))
}

func build(t *testing.T, src, dir string, flags ...string) string {
	t.Helper()
	binary := filepath.Join(dir, "raft-node")
	cmd := exec.Command("go", append(append([]string{"build"}, flags...), "-o", binary, "./cmd/raft-node")...)
	cmd.Dir, cmd.Env = src, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s %v: %v\n%s", src, flags, err, out)
	}
	return binary
}

// upgrade replaces the members of a cluster one by one, under load.
type upgrade struct {
	*cluster
	from, to      string // binaries
	before, after int    // schema versions
	submitted     atomic.Int64
}

func (u *upgrade) run() {
	for _, name := range u.names {
		u.members[name].binary = u.from
		u.members[name].start()
	}
	u.ready()
	u.addAgent("n1", 8)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go u.load(stop, stopped)

	// An old leader and a new follower.
	lead, followers := u.leader()
	u.replace(followers[0])
	u.at(u.before, "the first member was upgraded")
	// A new leader and old followers.
	u.lead(followers[0])
	u.progress(20)
	u.at(u.before, "an upgraded member leads")
	u.replace(lead)
	u.progress(20)
	u.at(u.before, "two members were upgraded")
	// The last one, while an upgraded one leads.
	began := time.Now().UnixMilli()
	u.replace(followers[1])
	until(u.t, "the migration", func() bool { return u.version(u.any()) == u.after })
	u.progress(20)
	close(stop)
	<-stopped
	u.migratedOnce(began)
	u.nothingLost()
	u.equal()
	u.oldIsRefused(followers[1])
}

// load submits tasks one after the other.
func (u *upgrade) load(stop <-chan struct{}, stopped chan<- struct{}) {
	defer close(stopped)
	for {
		select {
		case <-stop:
			return
		default:
			u.submit(fmt.Sprintf("load-%d", u.submitted.Load()), "true")
			u.submitted.Add(1)
		}
	}
}

// progress waits until more tasks were acknowledged.
func (u *upgrade) progress(tasks int64) {
	u.t.Helper()
	from := u.submitted.Load()
	until(u.t, "tasks are taken", func() bool { return u.submitted.Load() >= from+tasks })
}

// replace kills a member and starts its next release.
func (u *upgrade) replace(name string) {
	u.t.Helper()
	u.members[name].kill()
	u.members[name].binary = u.to
	u.members[name].start()
	u.ready()
}

// lead lets a member lead.
func (u *upgrade) lead(name string) {
	u.t.Helper()
	until(u.t, name+" leads", func() bool {
		if now, _ := u.leader(); now == name {
			return true
		}
		var a struct{}
		_ = u.try(u.any(), "ClusterService/TransferLeadership", m{"name": name}, &a)
		return false
	})
}

func (u *upgrade) version(member string) int {
	u.t.Helper()
	n, err := strconv.Atoi(u.query(member, "SELECT max(version) FROM schema_migrations")[0][0])
	if err != nil {
		u.t.Fatal(err)
	}
	return n
}

// at checks the schema version of every member, as all see it.
func (u *upgrade) at(version int, when string) {
	u.t.Helper()
	for _, name := range u.names {
		if v := u.version(name); v != version {
			u.t.Fatalf("%s is at schema version %d when %s, want %d", name, v, when, version)
		}
	}
}

// migratedOnce checks that migrations ran once, and none before the last member was
// replaced.
func (u *upgrade) migratedOnce(began int64) {
	u.t.Helper()
	u.at(u.after, "all were upgraded")
	for _, name := range u.names {
		for _, row := range u.query(name, fmt.Sprintf("SELECT version, time_ms || '' FROM schema_migrations WHERE version > %d", u.before)) {
			if ms, err := strconv.ParseInt(row[1], 10, 64); err != nil || ms < began {
				u.t.Errorf("%s: migration %s ran %d ms before the last member was replaced (%v)", name, row[0], began-ms, err)
			}
		}
		if n := len(u.query(name, fmt.Sprintf("SELECT 1 FROM schema_migrations WHERE version > %d", u.before))); n != u.after-u.before {
			u.t.Errorf("%s records %d migrations, want %d", name, n, u.after-u.before)
		}
	}
	logged := 0
	for _, name := range u.names {
		logged += strings.Count(u.members[name].output(), `msg="schema migrated" version=`+fmt.Sprint(u.after)+" ")
	}
	if logged != 1 && u.after > u.before {
		u.t.Errorf("members say %d times that they migrated to %d", logged, u.after)
	}
}

func (u *upgrade) nothingLost() {
	u.t.Helper()
	n := u.submitted.Load()
	until(u.t, "all tasks end", func() bool {
		return u.query(u.any(), "SELECT count(*) FROM tasks WHERE status = 'COMPLETED'")[0][0] == fmt.Sprint(n)
	})
	u.exactlyOnce("load-", int(n))
	u.t.Logf("%d tasks were submitted and completed", n)
}

// equal has the members hash their tables at one index.
func (u *upgrade) equal() {
	u.t.Helper()
	var v struct {
		Equal       bool
		Members     []struct{ Name, Error string }
		Differences []struct{ Table string }
	}
	until(u.t, "a verification", func() bool { return u.try(u.any(), "ClusterService/Verify", m{}, &v) == nil })
	if !v.Equal || len(v.Members) != len(u.names) {
		u.t.Errorf("members are not equal: %+v", v)
	}
}

// oldIsRefused starts the release before the migration on the state behind it.
func (u *upgrade) oldIsRefused(name string) {
	u.t.Helper()
	if u.before == u.after {
		u.t.Logf("both releases have schema version %d: nothing to refuse", u.after)
		return
	}
	p := u.members[name]
	p.kill()
	p.binary = u.from
	p.start()
	if code := p.wait(); code == 0 || !strings.Contains(p.output(), "upgrade this member") {
		u.t.Errorf("the old release on the new state ends with %d: %s", code, tail(p.output(), 500))
	}
	u.replace(name)
	u.equal()
}
