package raftdb

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

// openIn are the files in a directory that this process has open, removed ones too.
func openIn(t *testing.T, dir string) (paths []string) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		path, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name()))
		if err == nil && strings.HasPrefix(path, dir) {
			paths = append(paths, path)
		}
	}
	return paths
}

func TestAClosedMemberHasNoFileOpen(t *testing.T) {
	m := newMember(t, "m1").start()
	add(t, []*member{m}, "a")
	if len(openIn(t, m.cfg.Dir)) == 0 {
		t.Fatal("a member that runs has no file open: the test looks in the wrong place")
	}
	m.close()
	if left := openIn(t, m.cfg.Dir); len(left) > 0 {
		t.Errorf("still open: %v", left)
	}
}

// A member that is closed while it forms its cluster has not failed: it lets go of its files.
func TestAMemberThatIsClosedWhileItForms(t *testing.T) {
	m := newMember(t, "m1").start()
	e := m.engine
	if err := e.raft.Shutdown().Error(); err != nil { // the first thing that Close does
		t.Fatal(err)
	}
	if err := e.bootstrap([]memberInfo{e.info()}); !errors.Is(err, raft.ErrRaftShutdown) {
		t.Errorf("forming: %v", err)
	}
	if err := e.Err(); err != nil {
		t.Errorf("it has failed: %v", err)
	}
	m.close()
	if left := openIn(t, m.cfg.Dir); len(left) > 0 {
		t.Errorf("still open: %v", left)
	}
}

func TestTheStateBeforeAReceivedOneIsLetGo(t *testing.T) {
	members, late := installed(t)
	add(t, members, "next") // applied only when the install has ended
	if err := late.engine.AwaitApplied(testContext(t), leader(t, members).engine.AppliedIndex()); err != nil {
		t.Fatal(err)
	}
	// Its files are removed: what is open of them would keep their room on the disk.
	if left := openIn(t, filepath.Join(late.cfg.Dir, "state-000001")); len(left) > 0 {
		t.Errorf("still open: %v", left)
	}
}
