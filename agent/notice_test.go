package agent

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestNotice(t *testing.T) {
	at := time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"2031-02-03T04:05:06Z\n": at, "": {}, "soon": {}, "0001-01-01T00:00:00Z": {}, // 30 s from now
	} {
		file := filepath.Join(t.TempDir(), "notice")
		n := &notice{file: file, log: slog.New(slog.DiscardHandler)}
		if got := n.time(); !got.IsZero() {
			t.Errorf("%q: %v before there is a file", text, got)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got := n.time()
		if left := time.Until(got); want.IsZero() && (left < 20*time.Second || left > noticeTime) || !want.IsZero() && !got.Equal(want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		if again := n.time(); !again.Equal(got) {
			t.Errorf("%q: the notice is forgotten", text)
		}
	}
	if got := (&notice{}).time(); !got.IsZero() {
		t.Errorf("without a file: %v", got)
	}
}
