package raftdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	walfs "github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// logMeta is raft-wal's record of its files. A file that is full is closed by an
// index at its end, and then the record is told that there is a next one. raft-wal does
// not go on from a crash between the two: the log would take no entry ever again. So
// what the crash has interrupted is finished here, or undone if the index is torn.
type logMeta struct{ metadb.BoltMetaDB }

// Load implements types.MetaStore.
func (m *logMeta) Load(dir string) (types.PersistentState, error) {
	state, err := m.read(dir)
	if err != nil || len(state.Segments) == 0 {
		return state, err
	}
	tail := &state.Segments[len(state.Segments)-1]
	if !tail.SealTime.IsZero() {
		return state, nil
	}
	last, at, err := closedAt(dir, *tail)
	if err != nil {
		return state, fmt.Errorf("log file %s: %w", segment.FileName(*tail), err)
	}
	if at == 0 {
		return state, nil
	}
	now := time.Now()
	tail.SealTime, tail.MaxIndex, tail.IndexStart = now, last, at
	state.Segments = append(state.Segments, types.SegmentInfo{
		ID: state.NextSegmentID, BaseIndex: last + 1, MinIndex: last + 1, Codec: tail.Codec, CreateTime: now, SizeLimit: tail.SizeLimit,
	})
	state.NextSegmentID++
	return state, m.CommitState(state)
}

func (m *logMeta) read(dir string) (state types.PersistentState, err error) {
	defer func() {
		if p := recover(); p != nil { // so bbolt meets damage
			err = fmt.Errorf("%s is damaged (%v): the member's log and vote cannot be trusted; remove the data directory and join anew", filepath.Join(dir, metadb.FileName), p)
		}
	}()
	return m.BoltMetaDB.Load(dir)
}

// closedAt returns the last entry of the newest file and where its index begins; 0
// if it has none. An index that is not whole is removed.
func closedAt(dir string, tail types.SegmentInfo) (last, at uint64, err error) {
	recovered, err := segment.NewFiler(dir, walfs.New()).RecoverTail(tail)
	if errors.Is(err, fs.ErrNotExist) { // raft-wal makes it
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = recovered.Close() }()
	_, at, err = recovered.Sealed()
	if err != nil || at == 0 {
		return 0, 0, err
	}
	f, err := os.OpenFile(filepath.Join(dir, segment.FileName(tail)), os.O_RDWR, 0)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	last = recovered.LastIndex()
	if wholeIndex(f, int64(at), tail, last, recovered.(*segment.Writer)) {
		return last, at, nil
	}
	// Without the head of the index what was read ends at the last whole write.
	if _, err := f.WriteAt(make([]byte, indexHeadBytes), int64(at)-indexHeadBytes); err != nil {
		return 0, 0, err
	}
	return 0, 0, f.Sync()
}

// indexHeadBytes precede the index: its length in bytes is in the second half.
const indexHeadBytes = 8

// wholeIndex reports whether the index at an offset is that of the file's entries.
func wholeIndex(f *os.File, at int64, tail types.SegmentInfo, last uint64, entries *segment.Writer) bool {
	if last < tail.BaseIndex {
		return false
	}
	count := last - tail.BaseIndex + 1
	index := make([]byte, indexHeadBytes+4*count)
	if _, err := f.ReadAt(index, at-indexHeadBytes); err != nil || uint64(binary.LittleEndian.Uint32(index[4:])) != 4*count {
		return false
	}
	for i := max(tail.BaseIndex, tail.MinIndex); i <= last; i++ {
		offset, err := entries.OffsetForFrame(i)
		if err != nil || binary.LittleEndian.Uint32(index[indexHeadBytes+4*(i-tail.BaseIndex):]) != offset {
			return false
		}
	}
	return true
}
