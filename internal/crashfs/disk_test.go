package crashfs

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// mounted returns a disk, and the directory where it is mounted.
func mounted(t *testing.T, d *Disk) string {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skipf("no FUSE here, which loses unsynced writes for this test: %v", err)
	}
	at := t.TempDir()
	unmount, err := d.Mount(at)
	if err != nil {
		t.Fatalf("mount (needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := unmount(); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return at
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func syncPath(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	must(t, errors.Join(f.Sync(), f.Close()))
}

// image is the files of a capture, by path, with their text.
func image(t *testing.T, c *Capture, left Survival) map[string]string {
	t.Helper()
	to := t.TempDir()
	must(t, c.Extract(to, left))
	files := map[string]string{}
	must(t, filepath.WalkDir(to, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			text, err := os.ReadFile(path)
			files[strings.TrimPrefix(path, to+"/")] = string(text)
			return err
		}
		return err
	}))
	return files
}

func TestOnlyWhatWasSyncedIsLeft(t *testing.T) {
	d := New(false)
	at := mounted(t, d)
	file := filepath.Join(at, "a")
	must(t, os.WriteFile(file, []byte("first"), 0o600))
	syncPath(t, file)
	if left := image(t, d.Capture(), Survival{}); len(left) != 0 {
		t.Errorf("a file whose name was not synced is there: %v", left)
	}
	syncPath(t, at)
	must(t, os.WriteFile(file, []byte("second"), 0o600))
	must(t, os.WriteFile(filepath.Join(at, "b"), []byte("new"), 0o600))
	if left := image(t, d.Capture(), Survival{}); len(left) != 1 || left["a"] != "first" {
		t.Errorf("left is %v, want the first text of a alone", left)
	}
	if left := image(t, d.Capture(), Survival{All: true}); len(left) != 2 || left["a"] != "second" || left["b"] != "new" {
		t.Errorf("everything is %v", left)
	}
}

func TestARenameIsLostOrKeptAsAWhole(t *testing.T) {
	d := New(false)
	at := mounted(t, d)
	for _, name := range []string{"old", "new.tmp"} {
		must(t, os.WriteFile(filepath.Join(at, name), []byte(name), 0o600))
		syncPath(t, filepath.Join(at, name))
	}
	syncPath(t, at)
	must(t, os.Rename(filepath.Join(at, "new.tmp"), filepath.Join(at, "old")))
	c := d.Capture()
	seen := map[string]bool{}
	for seed := range uint64(20) {
		left := image(t, c, Survival{Rand: rand.New(rand.NewPCG(seed, 0))})
		seen[left["old"]] = true
		if _, both := left["new.tmp"]; both != (left["old"] == "old") {
			t.Errorf("seed %d: half a rename: %v", seed, left)
		}
	}
	if len(seen) != 2 {
		t.Errorf("old is %v over the seeds, want it both ways", seen)
	}
}

func TestUnsyncedPagesAreLostKeptOrTorn(t *testing.T) {
	d := New(false)
	at := mounted(t, d)
	file := filepath.Join(at, "a")
	must(t, os.WriteFile(file, bytes.Repeat([]byte("1"), pageBytes), 0o600))
	syncPath(t, file)
	syncPath(t, at)
	must(t, os.WriteFile(file, bytes.Repeat([]byte("2"), pageBytes), 0o600))
	c, lost, kept, torn := d.Capture(), 0, 0, 0
	for seed := range uint64(50) {
		switch strings.Count(image(t, c, Survival{Rand: rand.New(rand.NewPCG(seed, 0))})["a"], "2") {
		case 0:
			lost++
		case pageBytes:
			kept++
		default:
			torn++
		}
	}
	if lost == 0 || kept == 0 || torn == 0 {
		t.Errorf("of 50 images %d have the old page, %d the new, %d a torn one: want some of each", lost, kept, torn)
	}
}

func TestNothingWorksOnceThePowerIsCut(t *testing.T) {
	d := New(false)
	at := mounted(t, d)
	file, err := os.Create(filepath.Join(at, "a"))
	must(t, err)
	defer file.Close()
	d.CutAt(1)
	_, err = file.WriteString("kept")
	must(t, errors.Join(err, file.Sync()))
	if _, err := file.WriteString("lost"); err != nil {
		t.Fatal(err)
	}
	if err := file.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("the fsync at the cut: %v, want EIO", err)
	}
	select {
	case <-d.Off():
	default:
		t.Error("the disk is still on")
	}
	if _, err := file.WriteString("more"); !errors.Is(err, syscall.EIO) {
		t.Errorf("a write after the cut: %v, want EIO", err)
	}
	if err := os.Mkdir(filepath.Join(at, "d"), 0o700); !errors.Is(err, syscall.EIO) {
		t.Errorf("mkdir after the cut: %v, want EIO", err)
	}
	if caps := d.Captures(); len(caps) != 1 || caps[0].Path != "a" || len(d.Syncs()) != 2 {
		t.Errorf("captured %v of syncs %v, want the cut alone", caps, d.Syncs())
	}
}

func TestFilesReadAsWritten(t *testing.T) {
	d := New(false)
	at := mounted(t, d)
	r := rand.New(rand.NewPCG(1, 2))
	want := make([]byte, 5*pageBytes+77)
	f, err := os.Create(filepath.Join(at, "a"))
	must(t, err)
	defer f.Close()
	must(t, f.Truncate(int64(len(want))))
	for range 200 {
		off := r.IntN(len(want))
		data := make([]byte, r.IntN(len(want)-off))
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		copy(want[off:], data)
		_, err := f.WriteAt(data, int64(off))
		must(t, err)
	}
	must(t, f.Truncate(3*pageBytes+5))
	must(t, f.Truncate(int64(len(want))))
	clear(want[3*pageBytes+5:])
	if got := image(t, d.Capture(), Survival{All: true})["a"]; got != string(want) {
		t.Error("the image differs from what was written")
	}
	got, err := os.ReadFile(f.Name())
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("it reads other than written, %v", err)
	}
}

func TestAFileIsCutAsAWholeOrNotAtAll(t *testing.T) {
	d := New(false)
	at := mounted(t, d)
	file := filepath.Join(at, "a")
	must(t, os.WriteFile(file, bytes.Repeat([]byte("1"), 4*pageBytes), 0o600))
	syncPath(t, file)
	syncPath(t, at)
	must(t, os.Truncate(file, 0))
	must(t, os.WriteFile(file, bytes.Repeat([]byte("2"), 2*pageBytes), 0o600))
	c, whole, cut := d.Capture(), 0, 0
	for seed := range uint64(50) {
		switch text := image(t, c, Survival{Rand: rand.New(rand.NewPCG(seed, 0))})["a"]; {
		case text == strings.Repeat("1", 4*pageBytes):
			whole++
		case !strings.Contains(text, "1"):
			cut++
		default:
			t.Errorf("seed %d: the file is half cut", seed)
		}
	}
	if whole == 0 || cut == 0 {
		t.Errorf("of 50 images %d are whole and %d cut: want some of each", whole, cut)
	}
}
