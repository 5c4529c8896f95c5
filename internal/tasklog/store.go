package tasklog

import (
	"container/list"
	"strings"
	"sync"
	"time"
)

const (
	// StoreBytes is how much a Store holds of all logs together.
	StoreBytes = 64 << 20
	// storeRate is how many bytes a second a Store takes before it asks workers to send
	// less often.
	storeRate = 8 << 20
	// followed, unfollowed and slowest are how long workers wait between two calls: while
	// somebody reads what they send, while nobody does, and at most.
	followed   = 200 * time.Millisecond
	unfollowed = 800 * time.Millisecond
	slowest    = 5 * time.Second
	// sweepEvery is how often logs are looked for whose attempt has ended, and staleAfter
	// for how long nothing must have come of them.
	sweepEvery = 10 * time.Second
	staleAfter = time.Minute
	// evictLooks is how many logs are passed over because somebody reads them.
	evictLooks = 16
)

// Attempt names the attempt of a log.
type Attempt struct {
	TaskID string
	Number int32
}

// Store holds the logs of running attempts at the leader: the newest attempt of each
// task that has printed something or is being read. What it holds is bounded for each
// and for all together. It is safe for concurrent use.
type Store struct {
	limit int
	now   func() time.Time

	mu   sync.Mutex
	all  map[string]*entry // by task
	full *list.List        // of those that hold something, the one written last at the back
	size int
	// second and taken are how much came in the present second, before how much in the
	// one before.
	second int64
	taken  int
	before int
	swept  time.Time
}

// entry is one log. Store.mu guards it.
type entry struct {
	key     Attempt
	log     *Log
	readers int
	ended   bool
	written time.Time
	changed chan struct{} // closed, and replaced, at each change
	place   *list.Element // in Store.full
}

// NewStore returns a store that holds at most limit bytes of text.
func NewStore(limit int) *Store {
	return &Store{limit: limit, now: time.Now, all: map[string]*entry{}, full: list.New()}
}

// entry returns the log of an attempt, a new one if there is none; nil if a newer
// attempt of the task has one. mu is held.
func (s *Store) entry(key Attempt) *entry {
	e := s.all[key.TaskID]
	if e != nil && e.key.Number >= key.Number {
		if e.key.Number > key.Number {
			return nil
		}
		return e
	}
	if e != nil {
		s.remove(e)
	}
	e = &entry{key: key, log: New(nil), changed: make(chan struct{}), written: s.now()}
	s.all[key.TaskID] = e
	return e
}

// remove forgets a log, and wakes those that read it.
func (s *Store) remove(e *entry) {
	s.clear(e)
	if s.all[e.key.TaskID] == e {
		delete(s.all, e.key.TaskID)
	}
	e.broadcast()
}

func (s *Store) clear(e *entry) {
	s.size -= e.log.Clear()
	if e.place != nil {
		s.full.Remove(e.place)
		e.place = nil
	}
}

func (e *entry) broadcast() {
	close(e.changed)
	e.changed = make(chan struct{})
}

// Push takes in text that begins at an offset and returns up to where the log is held
// then. If that is below offset nothing was taken: text is missing that the worker,
// whose oldest begins at oldest, still has. The caller has found the attempt to be the
// sender's.
func (s *Store) Push(key Attempt, offset, oldest int64, text string) (next int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count(len(text))
	e := s.entry(key)
	if e == nil {
		return offset + int64(len(text)) // a newer attempt: nobody will ask for this
	}
	e.written = s.now()
	_, end := e.log.Bounds()
	if offset > end {
		if offset > max(end, oldest) {
			return max(end, oldest)
		}
		s.clear(e)
		e.log.Skip(offset)
		end = offset
	}
	if int64(len(text)) <= end-offset {
		return end // a repeat
	}
	s.append(e, strings.ToValidUTF8(text[end-offset:], string(replacement)))
	_, end = e.log.Bounds()
	return end
}

func (s *Store) append(e *entry, text string) {
	before := e.log.Size()
	e.log.Append([]byte(text))
	s.size += e.log.Size() - before
	if e.place == nil {
		e.place = s.full.PushBack(e)
	} else {
		s.full.MoveToBack(e.place)
	}
	e.broadcast()
	for s.size > s.limit && s.full.Len() > 1 {
		s.clear(s.victim())
	}
}

// victim is the log that was written longest ago, one that nobody reads if there is one
// among the first.
func (s *Store) victim() *entry {
	at := s.full.Front()
	for range evictLooks {
		if e := at.Value.(*entry); e.readers == 0 { //nolint:forcetypeassert // nothing else is in it
			return e
		}
		if at = at.Next(); at == nil || at == s.full.Back() {
			break
		}
	}
	return s.full.Front().Value.(*entry) //nolint:forcetypeassert // as above
}

// count notes how much comes in.
func (s *Store) count(bytes int) {
	if second := s.now().Unix(); second != s.second {
		s.before = 0
		if second == s.second+1 {
			s.before = s.taken
		}
		s.second, s.taken = second, 0
	}
	s.taken += bytes
}

// Interval is how long a worker that has just sent text of these attempts should wait
// before it sends more.
func (s *Store) Interval(keys []Attempt) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := unfollowed
	for _, key := range keys {
		if e := s.all[key.TaskID]; e != nil && e.key == key && e.readers > 0 {
			d = followed
			break
		}
	}
	if rate := max(s.taken, s.before); rate > storeRate {
		d = time.Duration(float64(d) * float64(rate) / storeRate)
	}
	return min(d, slowest)
}

// End says that the end of an attempt's log is stored: it goes as soon as nobody reads it.
func (s *Store) End(key Attempt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.all[key.TaskID]
	if e == nil || e.key != key {
		return
	}
	e.ended = true
	if e.readers == 0 {
		s.remove(e)
	}
}

// Sweep forgets logs that nobody has written or reads and whose attempt is over, such as
// those of nodes that were lost. It looks at most every ten seconds.
func (s *Store) Sweep(runs func(Attempt) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if now.Sub(s.swept) < sweepEvery {
		return
	}
	s.swept = now
	for _, e := range s.all {
		if e.readers == 0 && now.Sub(e.written) > staleAfter && !runs(e.key) {
			s.remove(e)
		}
	}
}

// Size is how many bytes of text are held.
func (s *Store) Size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size
}

// Reader reads a log. Close it.
type Reader struct {
	s *Store
	e *entry
}

// Open returns a reader of an attempt's log, which may be empty yet; nil if a newer
// attempt of the task is held.
func (s *Store) Open(key Attempt) *Reader {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entry(key)
	if e == nil {
		return nil
	}
	e.readers++
	return &Reader{s: s, e: e}
}

// Close ends the reading.
func (r *Reader) Close() {
	s := r.s
	s.mu.Lock()
	defer s.mu.Unlock()
	r.e.readers--
	if _, end := r.e.log.Bounds(); r.e.readers == 0 && (r.e.ended || end == 0) && s.all[r.e.key.TaskID] == r.e {
		s.remove(r.e)
	}
}

// Changed returns a channel that is closed when there is more than a Read after this
// call would give.
func (r *Reader) Changed() <-chan struct{} {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	return r.e.changed
}

// Read returns what is held from an offset on, at most MaxBytes, and where it begins.
func (r *Reader) Read(offset int64) (text string, at int64) {
	return r.e.log.Read(offset, MaxBytes)
}
