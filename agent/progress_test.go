package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	controlplanev1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// TestProgressOfAProcess has a process tell how far it is, and end once that was heard.
func TestProgressOfAProcess(t *testing.T) {
	p := newPlane(t)
	p.lease = 900 * time.Millisecond // heartbeats follow each other soon
	work := t.TempDir()
	a := startAgent(t, p, func(c *Config) { c.WorkDir = work })
	gate := filepath.Join(t.TempDir(), "heard")
	p.give(shell("a", 1, nil, `echo "21/50 epoch 3" > "$TASK_PROGRESS_FILE"; while [ ! -e `+gate+` ]; do sleep 0.01; done; echo 100% >> "$TASK_PROGRESS_FILE"`))
	want := &controlplanev1.Progress{Done: 21, Total: 50, Message: "epoch 3"}
	for {
		held := receive(t, "a heartbeat", p.beats).GetHeld()
		if len(held) == 1 && held[0].GetProgress() != nil {
			if !proto.Equal(held[0].GetProgress(), want) {
				t.Fatalf("said %v", held[0])
			}
			break
		}
	}
	for range 3 { // one may be under way; what was answered is not said again
		if held := receive(t, "a heartbeat", p.beats).GetHeld(); len(held) == 1 && held[0].GetProgress() == nil {
			want = nil
			break
		}
	}
	if want != nil {
		t.Error("it says the same again and again")
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := p.result(t).GetProgress(); got.GetDone() != 1_000_000 || got.GetTotal() != 1_000_000 {
		t.Errorf("in the end %v", got)
	}
	a.stop()
	if err := receive(t, "the end", a.done); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(work); len(left) > 0 {
		t.Errorf("left in the work dir: %v", left)
	}
}

// TestAStuckProcessIsStoppedAndFails follows an order of the control plane.
func TestAStuckProcessIsStoppedAndFails(t *testing.T) {
	p := newPlane(t)
	p.lease = 900 * time.Millisecond
	startAgent(t, p, func(*Config) {})
	p.set(func() { p.stops = []*controlplanev1.StopAttempt{{TaskId: "a", Attempt: 1, Reason: "no_progress"}} })
	p.give(shell("a", 1, nil, `sleep 1000`))
	got := p.result(t)
	if got.GetStatus() != failed || !strings.Contains(got.GetError(), "no progress") || got.ExitCode != nil {
		t.Errorf("reports %v", got)
	}
}

func TestProgressLines(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"0.42 epoch 3\n", "420000/1000000 epoch 3"},
		{"42% epoch 3", "420000/1000000 epoch 3"},
		{"0\n1\n", "1000000/1000000 "},
		{"21/50\n", "21/50 "},
		{"21/ files\n", "21/0 files"},
		{"epoch 3\n", "0/0 epoch 3"},
		{"7 files\n", "0/0 7 files"},
		{"1/2\n2/2 and more", "1/2 "},
		{"1/2\r\n\n", "1/2 "},
		{`{"done": 3, "total": 4, "message": "m", "loss": [1]}`, "3/4 m"},
		{`{"fraction": 0.5}` + "\n", "500000/1000000 "},
		{"{half\n", "<nil>"},
		{"", "<nil>"},
		{"\n \n", "<nil>"},
		{"NaN\n", "0/0 NaN"},
		{"-1/2\n", "0/0 -1/2"},
		{"9999999999999999999/1\n", "0/0 9999999999999999999/1"},
		{"9000000000000000000/1\n", "1000000000000000/1 "},
		{"0.1 " + strings.Repeat("ä", 200), "100000/1000000 " + strings.Repeat("ä", 128)},
	} {
		got := "<nil>"
		if p := parseProgress([]byte(tt.text)); p != nil {
			got = fmt.Sprintf("%d/%d %s", p.GetDone(), p.GetTotal(), p.GetMessage())
		}
		if got != tt.want {
			t.Errorf("%q is %q, want %q", tt.text, got, tt.want)
		}
	}
}

// TestProgressFilesThatAreNone reads nothing, and waits for nothing, where the task has put
// something else.
func TestProgressFilesThatAreNone(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("0.5"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(secret, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{link, dir, newFIFO(t).path, filepath.Join(dir, "none")} {
		f := progressFile{path: path}
		if p := f.read(); p != nil {
			t.Errorf("%s says %v", path, p)
		}
	}
	long := filepath.Join(dir, "long")
	if err := os.WriteFile(long, []byte(strings.Repeat("x", 1<<20)+"\n1/3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := progressFile{path: long}
	if p := f.read(); p.GetTotal() != 3 {
		t.Errorf("the end of a long file says %v", p)
	}
	f.end()
	if _, err := os.Stat(long); err == nil || f.read().GetTotal() != 3 {
		t.Errorf("after the end it says %v, %v", f.read(), err)
	}
}

// FuzzProgress reads anything that a task may write, within the contract.
func FuzzProgress(f *testing.F) {
	for _, s := range []string{"", "0.42 epoch 3", "42%", "1/2\n", "1/", "/", "1e400", "{", `{"done":1e308,"total":-1,"message":"\ud800"}`, "\xff\n", "0x1p-2 a", "1_0/2"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p := parseProgress(text)
		if p == nil {
			return
		}
		if p.GetDone() < 0 || p.GetDone() > 1e15 || p.GetTotal() < 0 || p.GetTotal() > 1e15 || len(p.GetMessage()) > 256 || !utf8.ValidString(p.GetMessage()) {
			t.Errorf("%q is read as %v", text, p)
		}
	})
}
