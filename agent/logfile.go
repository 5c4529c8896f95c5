package agent

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	controlplanev1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

const (
	// logQueue is how many pieces of at most 32 KiB wait to be written.
	logQueue = 32
	// logPatience is how long a disk that does not write may hold up the task, once:
	// from then on what it is too slow for is left out of the file.
	logPatience = 5 * time.Second
	// logClosePatience is how long the end of an attempt waits for its file.
	logClosePatience = 2 * time.Second
)

// logFile keeps all that an attempt prints, in a file. What goes wrong with the file is
// logged once and never the task's trouble.
type logFile struct {
	log   *slog.Logger
	path  string
	queue chan []byte
	done  chan struct{}

	// of the writing goroutine
	dst    io.WriteCloser
	left   int64 // until the limit
	failed bool

	mu     sync.Mutex
	closed bool
	slow   bool  // it is waited for no more
	lost   int64 // bytes that were not queued since the last that was
}

// logFileName is the name of an attempt's file in the log directory.
func logFileName(t *controlplanev1.Task) string {
	return fmt.Sprintf("%s.%d.log", t.GetId(), t.GetAttempt())
}

// openLogFile makes the file of an attempt; nil if there is no log directory or it
// cannot be made. A file of this name is from another session of the attempt's node, and
// is replaced.
func (a *agent) openLogFile(t *controlplanev1.Task) *logFile {
	if a.cfg.LogDir == "" {
		return nil
	}
	path := filepath.Join(a.cfg.LogDir, logFileName(t))
	dst, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		a.log.Warn("the full log of a task cannot be kept", "task", t.GetId(), "attempt", t.GetAttempt(), "error", err)
		return nil
	}
	return newLogFile(dst, path, a.cfg.LogLimitBytes, a.log.With("task", t.GetId(), "attempt", t.GetAttempt()))
}

func newLogFile(dst io.WriteCloser, path string, limit int64, log *slog.Logger) *logFile {
	f := &logFile{log: log, path: path, dst: dst, left: limit, queue: make(chan []byte, logQueue), done: make(chan struct{})}
	go f.run()
	return f
}

// write queues what was printed. It waits for a slow disk for logPatience at most, and
// then no more until the disk has caught up.
func (f *logFile) write(p []byte) {
	if f == nil || len(p) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	piece := append([]byte(nil), p...)
	if f.lost > 0 {
		piece = append(fmt.Appendf(nil, "\n[raft-node: %d bytes are missing here, the disk was too slow]\n", f.lost), piece...)
	}
	if f.enqueue(piece) {
		f.lost, f.slow = 0, false
		return
	}
	f.lost += int64(len(p))
	if !f.slow {
		f.slow = true
		f.log.Warn("the file of a task's full log cannot be written fast enough: some of it will be missing", "file", f.path)
	}
}

func (f *logFile) enqueue(piece []byte) bool {
	select {
	case f.queue <- piece:
		return true
	default:
	}
	if f.slow {
		return false
	}
	timer := time.NewTimer(logPatience)
	defer timer.Stop()
	select {
	case f.queue <- piece:
		return true
	case <-timer.C:
		return false
	}
}

// close ends the file, and waits a little for what is queued.
func (f *logFile) close() {
	if f == nil {
		return
	}
	f.mu.Lock()
	f.closed = true
	close(f.queue)
	f.mu.Unlock()
	timer := time.NewTimer(logClosePatience)
	defer timer.Stop()
	select {
	case <-f.done:
	case <-timer.C:
		f.log.Warn("the file of a task's full log is still being written", "file", f.path)
	}
}

// run writes what is queued.
func (f *logFile) run() {
	defer close(f.done)
	for piece := range f.queue {
		f.append(piece)
	}
	if err := f.dst.Close(); err != nil {
		f.fail(err)
	}
}

// append writes up to the limit, and says in the file that it was reached.
func (f *logFile) append(piece []byte) {
	if f.failed || f.left < 0 {
		return
	}
	if int64(len(piece)) > f.left {
		piece = append(piece[:f.left:f.left], "\n[raft-node: the file has reached --log-limit, what follows is not kept]\n"...)
		f.left = -1
	} else {
		f.left -= int64(len(piece))
	}
	if _, err := f.dst.Write(piece); err != nil {
		f.fail(err)
	}
}

func (f *logFile) fail(err error) {
	if !f.failed {
		f.failed = true
		f.log.Warn("the full log of a task could not be kept: the task goes on", "file", f.path, "error", err)
	}
}

// makeLogDir makes the log directory, and finds out whether it can be written to.
func makeLogDir(cfg *Config) error {
	if cfg.LogDir == "" {
		return nil
	}
	err := os.MkdirAll(cfg.LogDir, 0o700)
	if err == nil {
		var probe *os.File
		if probe, err = os.CreateTemp(cfg.LogDir, ".raft-node-probe-"); err == nil {
			err = errors.Join(probe.Close(), os.Remove(probe.Name()))
		}
	}
	if err != nil {
		return fmt.Errorf("--log-dir: %w: give a directory that this user can write to", err)
	}
	return nil
}
