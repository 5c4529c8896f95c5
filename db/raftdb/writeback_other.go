//go:build !linux

package raftdb

import "os"

// writeBack leaves all of it to the sync that follows: only Linux writes a part of a file.
func writeBack(*os.File, int64, int64) error { return nil }
