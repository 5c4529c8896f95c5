package crashtest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane/internal/crashfs"
)

// childEnv makes the test binary a member: a process of its own, since a member
// must not run in the process that serves its disk.
const childEnv = "RAFT_NODE_CRASHTEST_CHILD"

// job is what the child is to do.
type job struct {
	Dir, Name, Advertise string
	Join                 []string
	Expect               int
	Heartbeat            time.Duration
	// Tasks are stored one after the other, named Prefix0 and on; a snapshot is taken
	// after each SnapshotEvery. None: be a member until the end of the input.
	Tasks         int
	Prefix        string
	SnapshotEvery int
	// Answer serves reads and writes that are asked for on the input instead.
	Answer bool
}

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		if err := child(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func child(text string) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	cfg := config(j.Dir, j.Name, j.Advertise)
	cfg.Join, cfg.BootstrapExpect = j.Join, j.Expect
	cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	if j.Heartbeat > 0 {
		cfg.Timing.Heartbeat = j.Heartbeat
	}
	m, err := open(cfg)
	if err != nil {
		return err
	}
	go func() {
		<-m.engine.Failed()
		fmt.Fprintln(os.Stderr, m.engine.Err())
		os.Exit(1)
	}()
	fmt.Println("open")
	if j.Answer {
		return m.answer(os.Stdin, os.Stdout)
	}
	if j.Tasks == 0 {
		return m.follow(j.SnapshotEvery > 0)
	}
	return m.work(&j)
}

// work stores tasks and says of each that it is stored.
func (m *member) work(j *job) error {
	for i := range j.Tasks {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		err := m.tasks.AwaitWritable(ctx)
		id := fmt.Sprintf("%s%d", j.Prefix, i)
		if err == nil {
			err = m.add(ctx, id)
		}
		cancel()
		if err != nil {
			return err
		}
		fmt.Println("ack", id)
		if (i+1)%j.SnapshotEvery == 0 {
			// Without one the member goes on; that the disk is off shows at the next write.
			if _, err := m.engine.SnapshotNow(context.Background()); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
	}
	fmt.Println("done")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// follow takes a snapshot for each line of the input, and says that it did.
func (m *member) follow(snapshots bool) error {
	for in := bufio.NewScanner(os.Stdin); in.Scan() && snapshots; {
		if _, err := m.engine.SnapshotNow(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		fmt.Println("snapshot")
	}
	return nil
}

// process is a child on a disk of its own.
type process struct {
	t       *testing.T
	cmd     *exec.Cmd
	in      io.WriteCloser
	lines   chan string
	log     *strings.Builder
	ended   chan struct{}
	unmount func() error
}

func scan(r io.Reader) *bufio.Scanner { return bufio.NewScanner(r) }

// dataDir is in a directory that the member has to make, as a user's may be.
const dataDir = "data"

// startOn starts the job on a disk. What it acknowledges is noted there.
func startOn(t *testing.T, d *crashfs.Disk, j job) *process {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skipf("there is no FUSE here, and so no disk that loses what was not synced: %v", err)
	}
	at := t.TempDir()
	unmount, err := d.Mount(at)
	if err != nil {
		t.Fatalf("mount a disk that can lose its power (this needs root): %v", err)
	}
	j.Dir = filepath.Join(at, dataDir)
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.Command(os.Args[0]), lines: make(chan string, 1000), log: new(strings.Builder), ended: make(chan struct{}), unmount: unmount}
	p.cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	p.cmd.Stderr = p.log
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.end)
	go p.read(d, out)
	return p
}

func (p *process) read(d *crashfs.Disk, out io.Reader) {
	for in := bufio.NewScanner(out); in.Scan(); {
		if id, ok := strings.CutPrefix(in.Text(), "ack "); ok {
			d.Note(id)
			continue
		}
		p.lines <- in.Text()
	}
	_ = p.cmd.Wait()
	close(p.ended)
}

// await waits for a line.
func (p *process) await(want string) {
	p.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case line := <-p.lines:
			if line == want {
				return
			}
		case <-p.ended:
			p.t.Fatalf("the member has ended before it was %q:\n%s", want, p.log)
		case <-timeout:
			p.t.Fatalf("the member is not %q after %s", want, patience)
		}
	}
}

// awaitAny waits until the process has ended by itself or said a line.
func (p *process) awaitAny(want string) {
	p.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case line := <-p.lines:
			if line == want {
				return
			}
		case <-p.ended:
			return
		case <-timeout:
			p.t.Fatalf("the member goes on without a disk after %s:\n%s", patience, p.log)
		}
	}
}

// end kills the process, if there still is one, and takes its disk away.
func (p *process) end() {
	if p.unmount == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	<-p.ended
	if err := p.unmount(); err != nil {
		p.t.Errorf("unmount: %v", err)
	}
	p.unmount = nil
}
