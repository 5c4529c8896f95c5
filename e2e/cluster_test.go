package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/raft-control-plane/control-plane/internal/testport"
)

// do runs a command line on the cluster and returns what it printed.
func (c *cluster) do(args ...string) string {
	c.t.Helper()
	out, errOut, code := c.command(args...)
	if code != 0 {
		c.t.Fatalf("raft-node %s: exit %d\n%s%s", strings.Join(args, " "), code, out, errOut)
	}
	return out
}

func (c *cluster) command(args ...string) (stdout, stderr string, code int) {
	c.t.Helper()
	return tool(c.t, append(args, "--server", c.servers())...)
}

// dir is the data directory of a member.
func (c *cluster) dir(member string) string {
	args := c.members[member].args
	for i, a := range args {
		if a == "--data-dir" {
			return args[i+1]
		}
	}
	c.t.Fatal("no --data-dir")
	return ""
}

// takeIn starts a new member that joins, and waits until it is ready and has a vote.
func (c *cluster) takeIn(name, address string) {
	c.t.Helper()
	c.members[name] = c.member(name, address, "--join", c.join()).start()
	if c.addresses[name] == "" {
		c.names = append(c.names, name)
	}
	c.addresses[name] = address
	c.ready()
	c.votes(name)
}

func (c *cluster) votes(name string) {
	c.t.Helper()
	until(c.t, name+" has a vote", func() bool {
		role := c.role(name)
		return role == "MEMBER_ROLE_FOLLOWER" || role == "MEMBER_ROLE_LEADER"
	})
}

// role is a member's part as the cluster has it; "" if it is none of it.
func (c *cluster) role(name string) string {
	for _, m := range c.describe().Members {
		if m.Name == name {
			return m.Role
		}
	}
	return ""
}

type description struct {
	ClusterID string `json:"clusterId"`
	Term      string
	Members   []struct{ Name, Role string }
}

func (c *cluster) describe() (d description) {
	c.t.Helper()
	until(c.t, "the cluster describes itself", func() bool {
		d = description{}
		return c.try(c.any(), "ClusterService/GetCluster", m{}, &d) == nil
	})
	return d
}

// forget takes a member that was removed out of what the test looks at.
func (c *cluster) forget(name string) *process {
	p := c.members[name]
	var names []string
	for _, n := range c.names {
		if n != name {
			names = append(names, n)
		}
	}
	c.names = names
	delete(c.members, name)
	return p
}

// TestADeadMemberIsReplaced first under its name and at its address, then by another.
func TestADeadMemberIsReplaced(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	c.submit("a", "true")
	_, followers := c.leader()
	first, second := followers[0], followers[1]

	// The same name and address, with an empty disk.
	c.members[first].kill()
	c.do("cluster", "remove", first)
	if role := c.role(first); role != "" {
		t.Errorf("%s is removed, and has the role %s", first, role)
	}
	lost := filepath.Join(t.TempDir(), "lost")
	if err := os.Rename(c.dir(first), lost); err != nil {
		t.Fatal(err)
	}
	c.takeIn(first, c.addresses[first])
	c.submit("b", "true")
	c.equal()

	// Another name and address.
	c.members[second].kill()
	if _, errOut, code := c.command("cluster", "remove", first); code != 1 || !strings.Contains(errOut, "start "+second+" first, or remove it first") {
		t.Errorf("the removal of a living member while one of three is dead: exit %d, %s", code, errOut)
	}
	c.do("cluster", "remove", second)
	gone := c.forget(second)
	c.takeIn("m4", testport.Address(t))
	c.submit("c", "true")
	if out := c.do("cluster", "verify"); strings.Count(out, "equal") != 3 {
		t.Errorf("verify:\n%s", out)
	}

	// The removed one comes back with its data: it is told so, and disturbs nobody.
	before := c.describe()
	gone.start()
	until(t, "the removed member says so", func() bool {
		return strings.Contains(gone.output(), "this member was removed from its cluster")
	})
	if !strings.Contains(gone.output(), "start it with an empty data directory and --join") {
		t.Errorf("its log does not say what to do:\n%s", tail(gone.output(), 2000))
	}
	address := c.addresses[second]
	resp, err := c.client.Get(c.scheme + "://" + address + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	text := make([]byte, 2000)
	n, _ := resp.Body.Read(text)
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(text[:n]), "was removed from the cluster") {
		t.Errorf("/readyz of a removed member: %d %s", resp.StatusCode, text[:n])
	}
	if _, errOut, code := tool(t, "task", "get", "a", "--server", address, "--call-timeout", "2s"); code != 1 || !strings.Contains(errOut, "was removed from the cluster") {
		t.Errorf("a read at a removed member: exit %d, %s", code, errOut)
	}
	if _, errOut, code := c.command("cluster", "join", address); code != 1 || !strings.Contains(errOut, "was removed from the cluster") {
		t.Errorf("a removed member is to be taken in: exit %d, %s", code, errOut)
	}
	for i := range 20 { // some elections' worth of time, in which it is refused
		c.submit(fmt.Sprintf("after-%d", i), "true")
	}
	if after := c.describe(); after.Term != before.Term || len(after.Members) != 3 {
		t.Errorf("the cluster was %+v, and is %+v", before, after)
	}
}

func TestAMemberThatWaitsIsTakenIn(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	address := testport.Address(t)
	if _, errOut, code := c.command("cluster", "join", address); code != 1 || !strings.Contains(errOut, "raft-node serve --join") {
		t.Errorf("nobody is there: exit %d, %s", code, errOut)
	}
	waits := c.member("m4", address, "--join", testport.Address(t)).start()
	until(t, "it can be asked", func() bool {
		resp, err := c.client.Get(c.scheme + "://" + address + "/livez")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return true
	})
	if out := c.do("cluster", "join", address); !strings.Contains(out, "m4 at "+address) {
		t.Errorf("join: %s", out)
	}
	c.names, c.addresses["m4"], c.members["m4"] = append(c.names, "m4"), address, waits
	c.ready()
	c.votes("m4")
	c.do("cluster", "promote", "m4")
	if out := c.do("cluster", "transfer", "m4"); out != "m4 leads\n" {
		t.Errorf("transfer: %s", out)
	}
	c.submit("a", "true")
	for _, name := range c.names {
		if out := c.do("cluster", "snapshot", name); !strings.Contains(out, name+" has a snapshot at log index ") {
			t.Errorf("snapshot: %s", out)
		}
	}
	// One of another cluster.
	other := newCluster(t, 1)
	if _, errOut, code := c.command("cluster", "join", other.addresses["m1"]); code != 1 || !strings.Contains(errOut, "is part of another cluster") {
		t.Errorf("a member of another cluster: exit %d, %s", code, errOut)
	}
}

// TestOneSurvivorGoesOn: two of three members are lost for good.
func TestOneSurvivorGoesOn(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	for i := range 20 {
		c.submit(fmt.Sprintf("t%d", i), "true")
	}
	old := c.describe()
	for _, name := range c.names { // the survivor has what was acknowledged
		until(t, name+" has all", func() bool { return c.query(name, "SELECT count(*) FROM tasks")[0][0] == "20" })
	}
	survivor, lost := c.names[0], c.names[1:]
	for _, name := range lost {
		c.members[name].kill()
	}
	if _, errOut, code := tool(t, "recover", "--data-dir", c.dir(survivor), "--name", survivor, "--yes"); code == 0 || !strings.Contains(errOut, "in use") {
		t.Errorf("recover while it runs: exit %d, %s", code, errOut)
	}
	backup := filepath.Join(t.TempDir(), "last.db")
	if _, errOut, code := c.command("backup", backup, "--call-timeout", "2s"); code == 0 {
		t.Errorf("a backup of a cluster without a leader that is not asked to be stale: %s", errOut)
	}
	c.do("backup", backup, "--stale")
	c.members[survivor].signal(syscall.SIGTERM)
	c.members[survivor].wait()
	if _, errOut, code := tool(t, "recover", "--data-dir", c.dir(survivor), "--name", survivor); code != 2 || !strings.Contains(errOut, "--yes") {
		t.Errorf("recover without --yes: exit %d, %s", code, errOut)
	}
	out, errOut, code := tool(t, "recover", "--data-dir", c.dir(survivor), "--name", survivor, "--yes")
	if code != 0 || !strings.Contains(out, "start it by: raft-node serve") {
		t.Fatalf("recover: exit %d\n%s%s", code, out, errOut)
	}
	back := c.forget(lost[0])
	c.forget(lost[1])
	c.members[survivor].start()
	c.ready()
	c.submit("after", "true")
	if n := c.query(survivor, "SELECT count(*) FROM tasks")[0][0]; n != "21" {
		t.Errorf("%s tasks, want 21", n)
	}
	if now := c.describe(); now.ClusterID == old.ClusterID || len(now.Members) != 1 {
		t.Errorf("the cluster was %+v, and is %+v", old, now)
	}
	// A lost one that comes back is of another cluster now.
	term := c.describe().Term
	back.start()
	until(t, "the lost member is refused", func() bool { return strings.Contains(back.output(), "is of cluster") })
	back.kill()
	if now := c.describe().Term; now != term {
		t.Errorf("the term went from %s to %s", term, now)
	}
	c.takeIn("m4", testport.Address(t))
	c.takeIn("m5", testport.Address(t))
	c.submit("again", "true")
	c.equal()
}

// backupLine is what backup says of what it wrote.
var backupLine = regexp.MustCompile(`of cluster \w+ at log index (\d+), taken by m\d: (\d+) tasks, (\d+) nodes, SHA-256 [0-9a-f]{64}`)

// TestABackupUnderLoadBecomesACluster takes a backup while tasks are submitted and run.
func TestABackupUnderLoadBecomesACluster(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	c.addAgent("n1", 4)
	gate := filepath.Join(t.TempDir(), "gate")
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	c.submit("in-flight", "cat", gate)
	until(t, "it runs", func() bool { return c.get("m1", "in-flight").Status == "TASK_STATUS_RUNNING" })

	var submitted atomic.Int64
	over := make(chan struct{})
	var clients sync.WaitGroup
	for i := range 4 {
		clients.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-over:
					return
				default:
					c.submit(fmt.Sprintf("load-%d-%d", i, n), "true")
					submitted.Add(1)
				}
			}
		})
	}
	more := func(n int64) {
		before := submitted.Load()
		until(t, "the load goes on", func() bool { return submitted.Load() >= before+n })
	}
	more(50)
	dir := t.TempDir()
	file := filepath.Join(dir, "backup.db")
	acknowledged := submitted.Load()
	out := c.do("backup", file)
	more(50)
	close(over)
	clients.Wait()

	said := backupLine.FindStringSubmatch(out)
	if said == nil {
		t.Fatalf("backup says %s", out)
	}
	var n [3]int64
	for i := range n {
		n[i], _ = strconv.ParseInt(said[i+1], 10, 64) // digits
	}
	index, tasks, nodes := n[0], n[1], n[2]
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("besides the backup there is %v, %v", entries, err)
	}
	if tasks < acknowledged || nodes != 1 {
		t.Errorf("%d tasks on %d nodes, of %d that were acknowledged before: %s", tasks, nodes, acknowledged, out)
	}
	// What the log had by that index, says the cluster.
	want := c.query("m1", fmt.Sprintf("SELECT count(*) FROM events WHERE type = 'TASK_SUBMITTED' AND log_index <= %d", index))[0][0]
	for _, r := range readers(t) {
		for sql, want := range map[string]string{
			"PRAGMA integrity_check":                                            "ok",
			"SELECT count(*) FROM tasks":                                        want,
			"SELECT applied_index FROM raft_state":                              fmt.Sprint(index),
			"SELECT count(*) FROM events WHERE type = 'TASK_SUBMITTED'":         want,
			"SELECT status, attempt FROM tasks WHERE id = 'in-flight'":          "RUNNING|1",
			"SELECT max(log_index) <= " + fmt.Sprint(index) + " FROM event_log": "1",
		} {
			if got := r.run(t, file, sql); got != want {
				t.Errorf("%s of the backup, %s: %s, want %s", r.name, sql, got, want)
			}
		}
	}
	if fmt.Sprint(tasks) != want {
		t.Errorf("%d tasks are announced, the cluster had %s at index %d", tasks, want, index)
	}
	if _, errOut, code := c.command("backup", file); code != 1 || !strings.Contains(errOut, "is there already") {
		t.Errorf("a second backup to the same file: exit %d, %s", code, errOut)
	}
	c.do("backup", file+".2", "-o", "json")
	c.restored(file, c.describe().ClusterID)
}

// restored makes a cluster of a backup that has the task in-flight running on n1.
func (c *cluster) restored(file, old string) {
	t := c.t
	t.Helper()
	r := prepare(t, 1)
	out, errOut, code := tool(t, "restore", file, "--data-dir", r.dir("m1"), "--name", "m1")
	if code != 0 || !strings.Contains(out, "raft-node serve") {
		t.Fatalf("restore: exit %d\n%s%s", code, out, errOut)
	}
	r.members["m1"].start()
	r.ready()
	if id := r.describe().ClusterID; id == old || id == "" {
		t.Errorf("the restored cluster has the id %q, the old one %q", id, old)
	}
	if status := r.query("m1", "SELECT status FROM nodes WHERE id = 'n1'"); status[0][0] != "UNKNOWN" {
		t.Errorf("node n1 is %s before it is heard", status)
	}
	if got := r.get("m1", "in-flight"); got.Status != "TASK_STATUS_PENDING" || got.Attempt != 1 {
		t.Errorf("in flight: %+v", got)
	}
	// The first node to come runs it anew, and the old node may come too.
	r.addAgent("n2", 2)
	until(t, "it runs again", func() bool { return r.get("m1", "in-flight").Status == "TASK_STATUS_RUNNING" })
	if got := r.get("m1", "in-flight"); got.Attempt != 2 || got.NodeID != "n2" {
		t.Errorf("in flight, once more: %+v", got)
	}
	r.addAgent("n1", 2)
	r.takeIn("m2", testport.Address(t))
	r.submit("new", "true")
	if end := r.ends("new"); end.Status != completed {
		t.Errorf("a new task: %+v", end)
	}
}
