package raftdb

import (
	"context"
	"log/slog"
	"strings"
	"testing"
)

// hearing is a log handler that tells of lines that hold a text.
type hearing struct {
	slog.Handler
	text  string
	heard chan string
}

// Enabled implements slog.Handler.
func (h hearing) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (h hearing) Handle(ctx context.Context, r slog.Record) error {
	if strings.Contains(r.Message, h.text) {
		line := r.Message
		r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
		select {
		case h.heard <- line:
		default:
		}
	}
	if !h.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h hearing) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.Handler = h.Handler.WithAttrs(attrs)
	return h
}

func TestAMemberToldToJoinAnotherClusterSaysSo(t *testing.T) {
	m1, m2 := newMember(t, "m1").start(), newMember(t, "m2").start()
	add(t, []*member{m1}, "a")
	add(t, []*member{m2}, "a")
	m2.close()
	heard := make(chan string, 1)
	m2.cfg.Join = []string{m1.cfg.Advertise}
	m2.cfg.Logger = slog.New(hearing{m2.cfg.Logger.Handler(), "keeps to the cluster", heard})
	m2.start()
	select {
	case line := <-heard:
		for _, want := range []string{m1.cfg.Advertise, m2.cfg.Dir, m1.engine.fsm.cluster(), m2.engine.fsm.cluster(), "empty data directory"} {
			if !strings.Contains(line, want) {
				t.Errorf("no %s in %s", want, line)
			}
		}
	case <-testContext(t).Done():
		t.Error("nothing is said")
	}
	add(t, []*member{m2}, "b") // it goes on as before
}
