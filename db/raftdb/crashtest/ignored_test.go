package crashtest

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/raft-control-plane/control-plane/internal/crashfs"
)

// TestWithoutAnFsyncTheTestsFail takes each fsync out, by a disk that only pretends
// to do it, and looks for an image that has lost something: what the tests here find
// is what fsyncs are for.
func TestWithoutAnFsyncTheTestsFail(t *testing.T) {
	for name, ignore := range map[string]func(path string) bool{
		"log":                     func(path string) bool { return strings.HasSuffix(path, ".wal") },
		"log meta":                func(path string) bool { return strings.HasPrefix(path, dataDir+"/log/wal-meta.db") },
		"log directory":           func(path string) bool { return path == dataDir+"/log" },
		"database at checkpoints": func(path string) bool { return strings.HasSuffix(path, "/state.db") },
		"WAL of the database":     func(path string) bool { return strings.HasSuffix(path, "/state.db-wal") },
		"snapshot record":         func(path string) bool { return strings.HasSuffix(path, "/snapshot.json.tmp") },
		"generation directory": func(path string) bool {
			return strings.HasPrefix(path, dataDir+"/state-") && strings.Count(path, "/") == 1
		},
		"CURRENT":                      func(path string) bool { return path == dataDir+"/CURRENT.tmp" },
		"member.json":                  func(path string) bool { return path == dataDir+"/member.json.tmp" },
		"data directory":               func(path string) bool { return path == dataDir },
		"parent of the data directory": func(path string) bool { return path == "" },
	} {
		t.Run(name, func(t *testing.T) {
			d := record(t, ignore)
			if loses(t, append(d.Captures(), d.Capture())) == nil {
				t.Error("every image has everything: the tests would not miss this fsync")
			}
		})
	}
}

// loses returns why the first image that does not survive does not, nil if all do.
func loses(t *testing.T, captures []*crashfs.Capture) error {
	t.Helper()
	base := seed(t)
	for image := range 20 {
		for at, c := range slices.Backward(captures) { // what comes late has the most to lose
			dir := t.TempDir()
			err := survives(dir, c, survival(base, at, image))
			if os.RemoveAll(dir) != nil || err != nil {
				return err
			}
		}
	}
	return nil
}
