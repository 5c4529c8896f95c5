// Package e2e runs the real binary: members and agents as processes, killed and
// stopped as machines are, and clients that know nothing of the code.
package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane/internal/testport"
)

// patience bounds what a test waits for. It is long because machines are shared,
// and no test measures time against it.
const patience = 90 * time.Second

var raftNode string

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// run tests the binary in RAFT_NODE_BINARY, or builds one.
func run(m *testing.M) (int, error) {
	if raftNode = os.Getenv("RAFT_NODE_BINARY"); raftNode == "" {
		dir, err := os.MkdirTemp("", "raft-node-e2e-")
		if err != nil {
			return 0, err
		}
		defer os.RemoveAll(dir)
		raftNode = filepath.Join(dir, "raft-node")
		build := exec.Command("go", "build", "-o", raftNode, "../cmd/raft-node")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return 0, fmt.Errorf("build raft-node: %w\n%s", err, out)
		}
	}
	return m.Run(), nil
}

// process is a child with its output in a file.
type process struct {
	t      *testing.T
	name   string
	binary string // raftNode unless a test says otherwise
	args   []string
	log    string
	cmd    *exec.Cmd
	done   chan struct{} // closed when it has ended
}

func newProcess(t *testing.T, name string, args ...string) *process {
	p := &process{t: t, name: name, binary: raftNode, args: args, log: filepath.Join(t.TempDir(), name+".log")}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("the end of the log of %s:\n%s", name, tail(p.output(), 4000))
		}
	})
	return p
}

func (p *process) start() *process { return p.startWith(cleanEnv()) }

func (p *process) startWith(env []string) *process {
	p.t.Helper()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(p.binary, p.args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	p.cmd, p.done = cmd, done
	return p
}

// cleanEnv is the environment without what would override flags.
func cleanEnv() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "RAFT_NODE_") && !strings.HasPrefix(e, "PORT=") {
			env = append(env, e)
		}
	}
	return env
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("%s to %s: %v", s, p.name, err)
	}
}

// kill ends the process at once.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	<-p.done
	p.cmd = nil
}

// wait returns the exit status once the process has ended by itself.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		p.t.Fatalf("%s does not end", p.name)
		return -1
	}
}

func (p *process) output() string {
	text, _ := os.ReadFile(p.log)
	return string(text)
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// cluster is members and agents on loopback.
type cluster struct {
	t         *testing.T
	names     []string
	addresses map[string]string
	members   map[string]*process
	agents    map[string]*process
	extra     []string // flags of every member
	agentArgs []string
	client    *http.Client
	token     string
	scheme    string
	compared  bool // its members, at the end of the test
}

// newCluster starts n members and waits until all are ready.
func newCluster(t *testing.T, n int, extra ...string) *cluster {
	c := prepare(t, n, extra...)
	for _, name := range c.names {
		c.members[name].start()
	}
	c.ready()
	return c
}

func prepare(t *testing.T, n int, extra ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, addresses: map[string]string{}, members: map[string]*process{}, agents: map[string]*process{}, extra: extra,
		client: &http.Client{Timeout: 30 * time.Second}, scheme: "http"}
	var all []string
	for i := range n {
		name := fmt.Sprintf("m%d", i+1)
		c.names = append(c.names, name)
		c.addresses[name] = testport.Address(t)
		all = append(all, c.addresses[name])
	}
	for _, name := range c.names {
		var args []string
		if n > 1 {
			args = []string{"--bootstrap-expect", fmt.Sprint(n), "--join", strings.Join(all, ",")}
		}
		c.members[name] = c.member(name, c.addresses[name], args...)
	}
	t.Cleanup(c.endsEqual) // before the processes end
	return c
}

// member prepares a process that serves at an address, with an empty data directory.
func (c *cluster) member(name, address string, args ...string) *process {
	c.t.Helper()
	all := []string{"serve", "--name", name, "--listen", address, "--data-dir", filepath.Join(c.t.TempDir(), name)}
	return newProcess(c.t, name, slices.Concat(all, args, c.extra)...)
}

// addresses of all members, as --join takes them.
func (c *cluster) join() string {
	var all []string
	for _, name := range c.names {
		all = append(all, c.addresses[name])
	}
	return strings.Join(all, ",")
}

func (c *cluster) servers() string {
	var urls []string
	for _, name := range c.names {
		urls = append(urls, c.scheme+"://"+c.addresses[name])
	}
	return strings.Join(urls, ",")
}

// ready waits until every running member says that it is.
func (c *cluster) ready() {
	c.t.Helper()
	for _, name := range c.names {
		if c.members[name].cmd == nil {
			continue
		}
		until(c.t, name+" is ready", func() bool {
			resp, err := c.client.Get(c.scheme + "://" + c.addresses[name] + "/readyz")
			if err != nil {
				return false
			}
			resp.Body.Close()
			return resp.StatusCode == http.StatusOK
		})
	}
}

// until polls a condition of another process, which nothing here can wait on.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not in %s: %s", patience, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// addAgent starts an agent and waits until its node is healthy.
func (c *cluster) addAgent(name string, slots int, extra ...string) *process {
	c.t.Helper()
	args := append([]string{"agent", "--server", c.servers(), "--name", name, "--slots", fmt.Sprint(slots), "--cpu", "64", "--memory", "64GiB"}, c.agentArgs...)
	p := newProcess(c.t, name, append(args, extra...)...).start()
	c.agents[name] = p
	c.healthy(name)
	return p
}

func (c *cluster) healthy(node string) {
	c.t.Helper()
	until(c.t, "node "+node+" is healthy", func() bool {
		var a struct{ Node struct{ Status string } }
		return c.try(c.any(), "NodeService/GetNode", m{"id": node}, &a) == nil && a.Node.Status == "NODE_STATUS_HEALTHY"
	})
}

// any returns a member that runs.
func (c *cluster) any() string {
	for _, name := range c.names {
		if c.members[name].cmd != nil {
			return name
		}
	}
	c.t.Fatal("no member runs")
	return ""
}

// leader waits until the members agree on a leader that runs, and returns it with
// the others.
func (c *cluster) leader() (leader string, followers []string) {
	c.t.Helper()
	until(c.t, "there is a leader", func() bool {
		var a struct{ Leader string }
		if c.try(c.any(), "ClusterService/GetCluster", m{}, &a) != nil || a.Leader == "" || c.members[a.Leader].cmd == nil {
			return false
		}
		leader = a.Leader
		return true
	})
	for _, name := range c.names {
		if name != leader && c.members[name].cmd != nil {
			followers = append(followers, name)
		}
	}
	return leader, followers
}

type m = map[string]any

// apiError is a refused call.
type apiError struct {
	Status  int
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (e *apiError) Error() string { return fmt.Sprintf("HTTP %d %s: %s", e.Status, e.Code, e.Message) }

// codeOf is the code of a refusal, "" if err is something else.
func codeOf(err error) string {
	if e, ok := errors.AsType[*apiError](err); ok {
		return e.Code
	}
	return ""
}

// try calls a member with JSON, once.
func (c *cluster) try(member, method string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(http.MethodPost, c.scheme+"://"+c.addresses[member]+"/controlplane.v1."+method, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		e := &apiError{Status: resp.StatusCode}
		_ = json.Unmarshal(text, e)
		return e
	}
	return json.Unmarshal(text, out)
}

// call is try that fails the test.
func (c *cluster) call(member, method string, in, out any) {
	c.t.Helper()
	if err := c.try(member, method, in, out); err != nil {
		c.t.Fatalf("%s at %s: %v", method, member, err)
	}
}

// task is what the tests look at in a task.
type task struct {
	ID        string
	Status    string
	NodeID    string `json:"nodeId"`
	Attempt   int
	Result    []byte
	Error     string
	ExitCode  *int
	LogTail   string
	LostCount int `json:"lostAttempts"`
}

const completed = "TASK_STATUS_COMPLETED"

func (c *cluster) get(member, id string) task {
	c.t.Helper()
	var a struct{ Task task }
	c.call(member, "TaskService/GetTask", m{"id": id}, &a)
	return a.Task
}

// submit stores an exec task, at whatever member answers, until it is
// acknowledged.
func (c *cluster) submit(id string, command ...string) {
	c.t.Helper()
	c.submitTask(m{"id": id, "exec": m{"command": command}})
}

func (c *cluster) submitTask(t m) {
	c.t.Helper()
	until(c.t, fmt.Sprintf("task %s is acknowledged", t["id"]), func() bool {
		var a struct{ Task task }
		for _, name := range c.names {
			if c.members[name].cmd != nil && c.try(name, "TaskService/SubmitTask", m{"task": t}, &a) == nil {
				return true
			}
		}
		return false
	})
}

// ends waits until a task has a final status.
func (c *cluster) ends(id string) (end task) {
	c.t.Helper()
	until(c.t, "task "+id+" ends", func() bool {
		var a struct{ Task task }
		if c.try(c.any(), "TaskService/GetTask", m{"id": id}, &a) != nil {
			return false
		}
		end = a.Task
		return final(end.Status)
	})
	return end
}

func final(status string) bool {
	return status == completed || status == "TASK_STATUS_FAILED" || status == "TASK_STATUS_CANCELLED"
}

// query runs SQL at a member and returns the rows as strings.
func (c *cluster) query(member, sql string) [][]string {
	c.t.Helper()
	var a struct{ Rows [][]any }
	var err error
	until(c.t, "the query is answered", func() bool { // a member that has just started may not be
		err = c.try(member, "QueryService/Query", m{"sql": sql}, &a)
		return err == nil
	})
	rows := make([][]string, len(a.Rows))
	for i, row := range a.Rows {
		for _, v := range row {
			rows[i] = append(rows[i], fmt.Sprint(v))
		}
	}
	return rows
}

// parallel runs fn for 0 to n-1, w at a time.
func parallel(n, w int, fn func(i int)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range w {
		wg.Go(func() {
			for i := range next {
				fn(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}
