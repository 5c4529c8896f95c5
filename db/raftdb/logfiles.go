package raftdb

import (
	"log/slog"
	"sync"

	"github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// logFiles are the files of the log. raft-wal deletes those that a snapshot made needless
// while nothing can be appended, which took 10 to 18 ms for one of 32 MiB, so a goroutine
// does that. By then no record names them: what a crash leaves of them is deleted when the
// log is opened.
type logFiles struct {
	types.SegmentFiler
	log      *slog.Logger
	deleting sync.WaitGroup
}

func newLogFiles(dir string, log *slog.Logger) *logFiles {
	return &logFiles{SegmentFiler: segment.NewFiler(dir, fs.New()), log: log}
}

// Delete implements types.SegmentFiler.
func (f *logFiles) Delete(baseIndex, id uint64) error {
	f.deleting.Go(func() {
		if err := f.SegmentFiler.Delete(baseIndex, id); err != nil {
			f.log.Warn("a file of the log that is not needed any more is not deleted: the next start does that", "first_index", baseIndex, "error", err)
		}
	})
	return nil
}
