package agent

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// fakeDisk is a file that a test looks into, with faults.
type fakeDisk struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	full bool
	hold chan struct{} // a write waits for it to be closed
}

func (d *fakeDisk) Write(p []byte) (int, error) {
	if d.hold != nil {
		<-d.hold
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.full {
		return 0, syscall.ENOSPC
	}
	return d.buf.Write(p)
}

func (d *fakeDisk) Close() error { return nil }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestLogFileKeepsAllUpToItsLimit(t *testing.T) {
	var d fakeDisk
	f := newLogFile(&d, "f", 10, quiet())
	for _, text := range []string{"0123", "4567", "89ab", "cdef"} {
		f.write([]byte(text))
	}
	f.close()
	if want := "0123456789\n[raft-node: the file has reached --log-limit, what follows is not kept]\n"; d.buf.String() != want {
		t.Errorf("the file holds %q", d.buf.String())
	}
}

func TestAFullDiskHarmsNobody(t *testing.T) {
	d := fakeDisk{full: true}
	var said bytes.Buffer
	f := newLogFile(&d, "f", 1<<20, slog.New(slog.NewTextHandler(&said, nil)))
	for range 10 * logQueue {
		f.write([]byte("text"))
	}
	f.close()
	if n := strings.Count(said.String(), "could not be kept"); n != 1 || !strings.Contains(said.String(), "no space left") {
		t.Errorf("it was told %d times: %s", n, said.String())
	}
}

// TestASlowDiskLosesLines has the disk hang: after one wait nothing waits for it, and the
// file tells what is missing.
func TestASlowDiskLosesLines(t *testing.T) {
	d := fakeDisk{hold: make(chan struct{})}
	f := newLogFile(&d, "f", 1<<20, quiet())
	f.slow = true // the one wait is over
	for range 3 * logQueue {
		f.write([]byte("0123456789"))
	}
	f.mu.Lock()
	lost := f.lost
	f.mu.Unlock()
	if lost < logQueue*10 {
		t.Fatalf("%d bytes were not queued", lost)
	}
	close(d.hold)
	for f.lostBytes() > 0 {
		f.write([]byte("0123456789"))
	}
	f.close()
	if text := d.buf.String(); !strings.Contains(text, "bytes are missing here, the disk was too slow]\n") || len(text) < logQueue*10 {
		t.Errorf("the file holds %d bytes: %.300q", len(text), text)
	}
}

func (f *logFile) lostBytes() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lost
}

func TestLogDirOfTheAgent(t *testing.T) {
	p := newPlane(t)
	dir := filepath.Join(t.TempDir(), "logs")
	startAgent(t, p, func(c *Config) { c.LogDir = dir })
	p.give(shell("a", 3, nil, `printf 'a\377b\n'; echo err >&2`))
	got := p.result(t)
	text, err := os.ReadFile(filepath.Join(dir, "a.3.log"))
	if err != nil || len(text) != 8 || !bytes.Contains(text, []byte("a\xffb\n")) || !bytes.Contains(text, []byte("err\n")) {
		t.Errorf("the file holds %q, %v", text, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "a.3.log")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if !strings.Contains(got.GetLogTail(), "a\uFFFDb\n") || got.GetLogOffset() != 0 {
		t.Errorf("reported: %v", got)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err = Run(t.Context(), Config{Name: "n2", Slots: 1, GPUs: gpusNone, ControlPlane: dial(p.url), LogDir: file, Logger: quiet()})
	if err == nil || !strings.Contains(err.Error(), "--log-dir") || errors.Is(err, ErrReplaced) {
		t.Errorf("a file as log directory: %v", err)
	}
}

// TestWhatRunsIsRelayed reads what a process prints while it runs.
func TestWhatRunsIsRelayed(t *testing.T) {
	p := newPlane(t)
	startAgent(t, p)
	f := newFIFO(t)
	p.give(shell("a", 2, f, `echo begun; echo here >&9; kill -STOP $$; echo not reached`))
	f.expect(t, "here")
	c := receive(t, "what was printed", p.chunks)
	if c.GetTaskId() != "a" || c.GetAttempt() != 2 || c.GetOffset() != 0 || c.GetText() != "begun\n" {
		t.Errorf("%v", c)
	}
}
