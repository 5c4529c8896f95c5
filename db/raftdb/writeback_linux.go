package raftdb

import (
	"os"

	"golang.org/x/sys/unix"
)

// writeBack writes a part of a file that is only in memory to the disk and waits for
// that. It is no sync: what says where the blocks are, and the disk's own cache, are left
// to one.
func writeBack(f *os.File, from, bytes int64) error {
	return unix.SyncFileRange(int(f.Fd()), from, bytes,
		unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
}
