package raftdb

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// record says of which state the main file of its generation is the snapshot.
type record struct {
	Index              uint64 `json:"index"`
	Term               uint64 `json:"term"`
	Configuration      []byte `json:"configuration"`
	ConfigurationIndex uint64 `json:"configuration_index"`
	// InstalledIndex is the index of the last state received from a leader: log that
	// ends below it is older than that state, not lost.
	InstalledIndex uint64 `json:"installed_index,omitempty"`
}

func readRecord(g generation) (*record, error) {
	text, err := os.ReadFile(g.record())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r := new(record)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s: %w", g.record(), err)
	}
	return r, nil
}

func (r *record) meta(g generation, size int64) *raft.SnapshotMeta {
	return &raft.SnapshotMeta{
		Version: raft.SnapshotVersionMax, ID: snapshotID(g, r.Index), Index: r.Index, Term: r.Term, Size: size,
		Configuration: raft.DecodeConfiguration(r.Configuration), ConfigurationIndex: r.ConfigurationIndex,
	}
}

// snapshotStore is Raft's view of the snapshots: the one that the main file of
// the present generation is, and one that is being received.
type snapshotStore struct{ e *Engine }

// List implements raft.SnapshotStore.
func (s *snapshotStore) List() ([]*raft.SnapshotMeta, error) {
	f := s.e.fsm
	f.mu.RLock()
	defer f.mu.RUnlock()
	r, err := readRecord(f.state.gen)
	if err != nil || r == nil {
		return nil, err
	}
	return []*raft.SnapshotMeta{r.meta(f.state.gen, 0)}, nil
}

// Create implements raft.SnapshotStore.
func (s *snapshotStore) Create(_ raft.SnapshotVersion, index, term uint64, c raft.Configuration, configurationIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	return &snapshotSink{e: s.e, record: record{Index: index, Term: term, Configuration: raft.EncodeConfiguration(c), ConfigurationIndex: configurationIndex}}, nil
}

// Open implements raft.SnapshotStore: for a snapshot of our own the main file, to
// be sent to a follower; for a received one nothing, Restore has it at hand.
func (s *snapshotStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	f := s.e.fsm
	if p := f.received(id); p != nil {
		return p, io.NopCloser(bytes.NewReader(nil)), nil
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	d := f.state
	r, err := readRecord(d.gen)
	if err != nil {
		return nil, nil, err
	}
	if r == nil || snapshotID(d.gen, r.Index) != id {
		return nil, nil, fmt.Errorf("snapshot %s is no longer there", id)
	}
	h := f.holds.add()
	if h == nil {
		return nil, nil, errors.New("a checkpoint is under way: try again")
	}
	if d.mainIndex.Load() != r.Index {
		h.release()
		return nil, nil, fmt.Errorf("snapshot %s: the main file has moved on; the next snapshot can be sent", id)
	}
	file, err := os.Open(d.gen.database())
	if err != nil {
		h.release()
		return nil, nil, err
	}
	info, err := file.Stat()
	if err != nil {
		h.release()
		return nil, nil, errors.Join(err, file.Close())
	}
	return r.meta(d.gen, info.Size()+sha256.Size), newStateReader(file, info.Size(), h), nil
}

// fsmSnapshot is a checkpoint that has been made; what is left is its record.
type fsmSnapshot struct {
	f     *fsm
	state *database
	index uint64
}

// Persist implements raft.FSMSnapshot.
func (s *fsmSnapshot) Persist(sink raft.SnapshotSink) error {
	own := sink.(*snapshotSink)
	if own.record.Index != s.index {
		return fmt.Errorf("the state is at index %d, not %d", s.index, own.record.Index)
	}
	own.local = s
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (s *fsmSnapshot) Release() {}

// snapshotSink writes the record of a local snapshot, or receives a state from a
// leader into a new generation.
type snapshotSink struct {
	e      *Engine
	record record
	local  *fsmSnapshot

	gen    generation
	file   *os.File
	sum    hash.Hash
	tail   []byte // the last bytes received: the checksum, once all has come
	closed bool
}

// ID implements raft.SnapshotSink.
func (s *snapshotSink) ID() string {
	if s.gen.path != "" {
		return snapshotID(s.gen, s.record.Index)
	}
	return snapshotID(s.e.fsm.generation(), s.record.Index)
}

// Write implements raft.SnapshotSink: it receives a state.
func (s *snapshotSink) Write(b []byte) (int, error) {
	if s.file == nil {
		if err := s.create(); err != nil {
			return 0, err
		}
	}
	s.tail = append(s.tail, b...)
	if n := len(s.tail) - sha256.Size; n > 0 {
		s.sum.Write(s.tail[:n])
		if _, err := s.file.Write(s.tail[:n]); err != nil {
			return 0, err
		}
		s.tail = append(s.tail[:0], s.tail[n:]...)
	}
	return len(b), nil
}

func (s *snapshotSink) create() (err error) {
	if s.gen, err = s.e.dir.next(s.e.fsm.generation()); err != nil {
		return err
	}
	s.sum = sha256.New()
	s.file, err = os.OpenFile(s.gen.database(), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	return err
}

// Close implements raft.SnapshotSink.
func (s *snapshotSink) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	if s.local != nil {
		s.record.InstalledIndex = s.local.f.installedIndex()
		return writeJSON(s.local.state.gen.record(), &s.record)
	}
	if s.file == nil {
		return errors.New("an empty state was sent")
	}
	if err := s.receive(); err != nil {
		s.discard()
		return fmt.Errorf("received state: %w", err)
	}
	return nil
}

// receive verifies what was received, makes it durable and leaves it to Restore.
// It is not in use before CURRENT names it.
func (s *snapshotSink) receive() error {
	err := errors.Join(s.file.Sync(), s.file.Close())
	s.file = nil
	if err != nil {
		return err
	}
	if !bytes.Equal(s.tail, s.sum.Sum(nil)) {
		return errors.New("its checksum differs: it was damaged on the way")
	}
	d, err := openDatabase(s.gen, s.e.cfg.SchemaVersion)
	if errors.Is(err, errUpgrade) {
		s.e.fail(err)
	}
	if err != nil {
		return err
	}
	if err := d.verify(s.record.Index); err != nil {
		return errors.Join(err, d.close())
	}
	s.record.InstalledIndex = s.record.Index
	if err := writeJSON(s.gen.record(), &s.record); err != nil {
		return errors.Join(err, d.close())
	}
	d.mainIndex.Store(d.meta.appliedIndex)
	s.e.fsm.offer(d, s.record)
	return nil
}

func (d *database) verify(index uint64) error {
	if d.meta.appliedIndex != index {
		return fmt.Errorf("it is at index %d, not %d", d.meta.appliedIndex, index)
	}
	s, err := d.stmt("PRAGMA quick_check(1)")
	if err != nil {
		return err
	}
	defer s.Reset()
	if ok, err := s.Step(); err != nil || !ok || s.ColumnText(0) != "ok" {
		return fmt.Errorf("quick_check fails: %w", errors.Join(err, errors.New("the database is damaged")))
	}
	return nil
}

// Cancel implements raft.SnapshotSink.
func (s *snapshotSink) Cancel() error {
	if !s.closed {
		s.closed = true
		s.discard()
	}
	return nil
}

func (s *snapshotSink) discard() {
	if s.file != nil {
		_ = s.file.Close()
	}
	if s.gen.path != "" {
		_ = os.RemoveAll(s.gen.path)
	}
}

func (f *fsm) generation() generation {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.state.gen
}

// offer hands a received state to Restore.
func (f *fsm) offer(d *database, r record) {
	f.holds.mu.Lock()
	defer f.holds.mu.Unlock()
	f.pending = d
	f.holds.received = r.meta(d.gen, 0)
}

func (f *fsm) received(id string) *raft.SnapshotMeta {
	f.holds.mu.Lock()
	defer f.holds.mu.Unlock()
	if m := f.holds.received; m != nil && m.ID == id && f.pending != nil {
		return m
	}
	return nil
}

// receivedTerm is the term of the entry that the received state ends with.
func (f *fsm) receivedTerm() uint64 {
	f.holds.mu.Lock()
	defer f.holds.mu.Unlock()
	return f.holds.received.Term
}

func (f *fsm) installedIndex() uint64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.installed
}

// maxHold bounds how long sending a state may hold off checkpoints.
const maxHold = 10 * time.Minute

// holds keeps checkpoints away from a main file that is being sent.
type holds struct {
	mu       sync.Mutex
	open     map[*hold]time.Time
	writing  bool // a checkpoint is under way
	received *raft.SnapshotMeta
}

type hold struct {
	of      *holds
	revoked bool
}

// add returns nil while a checkpoint is under way.
func (h *holds) add() *hold {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.writing {
		return nil
	}
	if h.open == nil {
		h.open = map[*hold]time.Time{}
	}
	one := &hold{of: h}
	h.open[one] = time.Now()
	return one
}

var (
	// errSending keeps checkpoints away from a main file that is read, errCheckpoint from
	// one that another checkpoint changes.
	errSending    = errors.New("a follower is being sent the database: no checkpoint meanwhile")
	errCheckpoint = errors.New("another checkpoint is under way")
)

// beginCheckpoint fails while something is sent, or another checkpoint is under way; it
// ends what has been sent for too long. If it does not fail, nothing is sent until
// endCheckpoint.
func (h *holds) beginCheckpoint() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.writing {
		return errCheckpoint
	}
	for one, since := range h.open {
		if time.Since(since) < maxHold {
			return errSending
		}
		one.revoked = true
		delete(h.open, one)
	}
	h.writing = true
	return nil
}

func (h *holds) endCheckpoint() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.writing = false
}

func (h *hold) release() {
	h.of.mu.Lock()
	defer h.of.mu.Unlock()
	delete(h.of.open, h)
}

func (h *hold) isRevoked() bool {
	h.of.mu.Lock()
	defer h.of.mu.Unlock()
	return h.revoked
}

// stateReader streams a main file, followed by its SHA-256.
type stateReader struct {
	file *os.File
	left int64
	sum  hash.Hash
	tail *bytes.Reader
	hold *hold
}

func newStateReader(file *os.File, size int64, h *hold) *stateReader {
	return &stateReader{file: file, left: size, sum: sha256.New(), hold: h}
}

// Read implements io.Reader.
func (r *stateReader) Read(b []byte) (int, error) {
	if r.hold.isRevoked() {
		return 0, fmt.Errorf("sending the state took more than %s: it starts anew", maxHold)
	}
	if r.left > 0 {
		n, err := r.file.Read(b[:min(int64(len(b)), r.left)])
		r.sum.Write(b[:n])
		r.left -= int64(n)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return n, err
	}
	if r.tail == nil {
		r.tail = bytes.NewReader(r.sum.Sum(nil))
	}
	return r.tail.Read(b)
}

// Close implements io.Closer.
func (r *stateReader) Close() error {
	r.hold.release()
	return r.file.Close()
}
