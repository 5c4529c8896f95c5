package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNearlyFullDisk gives a member a small disk and fills it up: new tasks are
// refused, what was submitted before runs and can be cancelled, and once there is room
// all goes on without a restart.
func TestNearlyFullDisk(t *testing.T) {
	const floor = 128 << 20
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=256m"); err != nil {
		t.Skipf("no small file system for this test, as this user may not mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	c := prepare(t, 1, "--data-dir", filepath.Join(disk, "m1"), "--min-free-bytes", fmt.Sprint(floor))
	c.members["m1"].start()
	c.ready()
	c.addAgent("n1", 1)
	c.submit("holds", "sleep", "600")
	c.submit("waits", "echo", "ran")

	ballast := filepath.Join(disk, "ballast")
	fillUpTo(t, disk, ballast, floor-(16<<20))
	var refused *apiError
	until(t, "a refusal", func() bool {
		err := c.try("m1", "TaskService/SubmitTask", m{"task": m{"exec": m{"command": []string{"true"}}}}, &m{})
		return err != nil && errors.As(err, &refused)
	})
	if refused.Code != "resource_exhausted" || !regexp.MustCompile(`[0-9]+ bytes are free .* need 134217728 .*--min-free-bytes.* make room`).MatchString(refused.Message) {
		t.Errorf("refused: %+v", refused)
	}
	if status, _ := c.page("/readyz"); status != http.StatusOK {
		t.Errorf("/readyz is %d: the member still takes reports, cancellations and reads", status)
	}
	if _, text := c.page("/metrics"); !strings.Contains(text, "\ncontrolplane_refuses_tasks 1\n") || !strings.Contains(text, "\ncontrolplane_disk_full 0\n") {
		t.Error("/metrics does not tell of the refusal")
	}
	c.call("m1", "TaskService/CancelTask", m{"id": "holds"}, &m{})
	if end := c.ends("waits"); end.Status != completed {
		t.Errorf("the task that was submitted before is %+v", end)
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	c.submit("later", "true")
	if end := c.ends("later"); end.Status != completed {
		t.Errorf("after room was made: %+v", end)
	}
	if _, text := c.page("/metrics"); !strings.Contains(text, "\ncontrolplane_refuses_tasks 0\n") {
		t.Error("/metrics still tells of a refusal")
	}
}

// page gets a page of the member that was started first.
func (c *cluster) page(path string) (status int, text string) {
	c.t.Helper()
	resp, err := c.client.Get(c.scheme + "://" + c.addresses[c.names[0]] + path)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// fillUpTo writes a file until only so many bytes are free.
func fillUpTo(t *testing.T, disk, path string, leave int64) {
	t.Helper()
	var s unix.Statfs_t
	if err := unix.Statfs(disk, &s); err != nil {
		t.Fatal(err)
	}
	free := int64(s.Bavail) * s.Bsize
	if free <= leave {
		t.Fatalf("%d bytes are free, want more than %d", free, leave)
	}
	if err := os.WriteFile(path, make([]byte, free-leave), 0o600); err != nil {
		t.Fatal(err)
	}
}
