//go:build unix

package raftdb

import (
	"errors"

	"golang.org/x/sys/unix"
)

// freeBytes is what this user may still write to the file system of a directory.
func freeBytes(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	if s.Blocks == 0 {
		return 0, errors.ErrUnsupported // a file system that does not tell
	}
	return int64(s.Bavail) * int64(s.Bsize), nil //nolint:unconvert,gosec // their types differ between systems
}
