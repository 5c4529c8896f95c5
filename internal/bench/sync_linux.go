package bench

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncData makes what was written to a file last, as databases do it.
func syncData(f *os.File) error { return unix.Fdatasync(int(f.Fd())) } //nolint:gosec // a descriptor
