package raftdb

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// raftLogger gives what hashicorp's libraries log to slog.
func raftLogger(log *slog.Logger) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "raft", Level: hclog.Debug, Output: io.Discard})
	l.RegisterSink(&slogSink{log: log, last: map[string]time.Time{}})
	return l
}

// slogSink implements hclog.SinkAdapter.
type slogSink struct {
	log *slog.Logger

	mu   sync.Mutex
	last map[string]time.Time // when a warning was last logged: one for each text of Raft's
}

// repeatAfter is how long a warning is not repeated: Raft says that a member is
// away ten times a second.
const repeatAfter = 10 * time.Second

// ordinary are warnings and errors of Raft's that belong to forming a cluster,
// catching up and shutting down.
var ordinary = []string{
	"failed to get previous log", "appendEntries rejected, sending older logs", "failed to decode incoming command",
	"failed to accept connection", "heartbeat timeout reached, starting election",
}

// Accept implements hclog.SinkAdapter. Raft's Info is every vote and connection:
// that is Debug here. Its Error is a failed try that will be repeated: Warn.
func (s *slogSink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	to := slog.LevelDebug
	if level >= hclog.Warn && s.isNews(msg) {
		to = slog.LevelWarn
	}
	if ctx := context.Background(); s.log.Enabled(ctx, to) {
		s.log.Log(ctx, to, "raft: "+strings.ReplaceAll(msg, "\n", " "), args...)
	}
}

func (s *slogSink) isNews(msg string) bool {
	for _, o := range ordinary {
		if strings.HasPrefix(msg, o) {
			return false
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Sub(s.last[msg]) < repeatAfter {
		return false
	}
	s.last[msg] = now
	return true
}
