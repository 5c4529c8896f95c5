package raftdb

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// wire is a pipeline of which the test is the follower.
type wire struct {
	sent   chan *wireMessage
	done   chan raft.AppendFuture
	closed chan struct{}
	fault  error         // of what is sent
	full   chan struct{} // if not nil, nothing can be sent until it is closed
}

func newWire() *wire {
	return &wire{sent: make(chan *wireMessage, 100), done: make(chan raft.AppendFuture), closed: make(chan struct{})}
}

type wireMessage struct {
	w        *wire
	request  *raft.AppendEntriesRequest
	response *raft.AppendEntriesResponse
	err      error
}

func (m *wireMessage) Start() time.Time                      { return time.Time{} }
func (m *wireMessage) Request() *raft.AppendEntriesRequest   { return m.request }
func (m *wireMessage) Response() *raft.AppendEntriesResponse { return m.response }
func (m *wireMessage) Error() error                          { return m.err }

// answer gives the follower's answer, and waits until it is taken.
func (m *wireMessage) answer(r raft.AppendEntriesResponse) {
	*m.response = r
	m.w.done <- m
}

func (w *wire) AppendEntries(q *raft.AppendEntriesRequest, r *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	if w.fault != nil {
		return nil, w.fault
	}
	if w.full != nil {
		<-w.full
	}
	m := &wireMessage{w: w, request: q, response: r}
	w.sent <- m
	return m, nil
}

func (w *wire) Consumer() <-chan raft.AppendFuture { return w.done }
func (w *wire) Close() error                       { close(w.closed); return nil }

const earlyTerm = 7

// logs are the entries of an interval, of the leader's term.
func logs(first, last uint64) (all []*raft.Log) {
	for i := first; i <= last; i++ {
		all = append(all, &raft.Log{Index: i, Term: earlyTerm})
	}
	return all
}

// asks is what the library sends of these entries.
func asks(first, last uint64) *raft.AppendEntriesRequest {
	return &raft.AppendEntriesRequest{Term: earlyTerm, RPCHeader: raft.RPCHeader{ID: []byte("leader")}, PrevLogEntry: first - 1, PrevLogTerm: earlyTerm, Entries: logs(first, last)}
}

// earlyRig is a pipeline between a library and a follower that are the test's.
type earlyRig struct {
	t *testing.T
	w *wire
	p *earlyPipeline
}

// inEarlyRig runs a test of a pipeline, in which the follower has all up to entry 4.
func inEarlyRig(t *testing.T, test func(*earlyRig)) {
	synctest.Test(t, func(t *testing.T) {
		r := &earlyRig{t: t, w: newWire()}
		r.p = newEarlyPipeline(r.w, func() uint64 { return 3 })
		defer r.p.Close()
		r.ask(asks(4, 4))
		r.expectSent("4")
		r.answer("4", raft.AppendEntriesResponse{Success: true})
		r.expectHeard("4 true")
		test(r)
	})
}

func name(q *raft.AppendEntriesRequest) string {
	switch n := len(q.Entries); n {
	case 0:
		return fmt.Sprintf("after %d", q.PrevLogEntry)
	case 1:
		return fmt.Sprint(q.Entries[0].Index)
	default:
		return fmt.Sprintf("%d-%d", q.Entries[0].Index, q.Entries[n-1].Index)
	}
}

func (r *earlyRig) ask(q *raft.AppendEntriesRequest) {
	r.t.Helper()
	if _, err := r.p.AppendEntries(q, new(raft.AppendEntriesResponse)); err != nil {
		r.t.Fatal(err)
	}
}

// offer is what the log does before it writes.
func (r *earlyRig) offer(logs []*raft.Log) {
	synctest.Wait() // it is not sending
	tr := &earlyTransport{open: map[*earlyPipeline]struct{}{r.p: {}}}
	tr.storing(logs)
	synctest.Wait()
}

// expectSent takes what was sent; "" means nothing.
func (r *earlyRig) expectSent(want string) *wireMessage {
	r.t.Helper()
	synctest.Wait()
	select {
	case m := <-r.w.sent:
		if got := name(m.request); got != want {
			r.t.Fatalf("sent %s, want %q", got, want)
		}
		r.w.sent <- m // to be answered; there is one at a time in these tests
		return m
	default:
		if want != "" {
			r.t.Fatalf("nothing was sent, want %s", want)
		}
	}
	return nil
}

// answer answers what was sent first.
func (r *earlyRig) answer(want string, response raft.AppendEntriesResponse) {
	r.t.Helper()
	m := <-r.w.sent
	if got := name(m.request); got != want {
		r.t.Fatalf("sent %s, want %s", got, want)
	}
	m.answer(response)
}

// expectHeard takes what the library hears; "" means nothing.
func (r *earlyRig) expectHeard(want string) raft.AppendFuture {
	r.t.Helper()
	synctest.Wait()
	select {
	case f := <-r.p.Consumer():
		if got := fmt.Sprint(name(f.Request()), " ", f.Response().Success); got != want {
			r.t.Fatalf("the library hears %s, want %q", got, want)
		}
		return f
	default:
		if want != "" {
			r.t.Fatalf("the library hears nothing, want %s", want)
		}
	}
	return nil
}

var yes = raft.AppendEntriesResponse{Success: true}

func TestWhatIsSentEarlyIsNotSentAgain(t *testing.T) {
	inEarlyRig(t, func(r *earlyRig) {
		r.offer(logs(5, 6))
		m := r.expectSent("5-6")
		if q := m.request; q.Term != earlyTerm || string(q.ID) != "leader" || q.PrevLogEntry != 4 || q.PrevLogTerm != earlyTerm || q.LeaderCommitIndex != 3 {
			t.Errorf("sent %+v", q)
		}
		r.answer("5-6", yes)
		r.expectHeard("") // it has not asked
		r.ask(asks(5, 6))
		r.expectSent("")
		r.expectHeard("5-6 true")

		r.offer(logs(7, 7)) // asked for before the answer
		r.ask(asks(7, 7))
		r.expectHeard("")
		r.answer("7", yes)
		r.expectHeard("7 true")
	})
}

func TestSeveralMessagesAreAskedForAtOnce(t *testing.T) {
	inEarlyRig(t, func(r *earlyRig) {
		r.offer(logs(5, 5))
		r.offer(logs(6, 7))
		r.ask(asks(5, 9)) // the library has two more by now
		r.answer("5", yes)
		r.answer("6-7", yes)
		r.expectHeard("")
		r.answer("8-9", yes)
		r.expectHeard("5-9 true")
		r.expectSent("")

		r.offer(logs(10, 10))
		r.offer(logs(11, 12))
		r.ask(asks(10, 12))
		r.answer("10", yes)
		r.expectHeard("")
		r.answer("11-12", yes)
		r.expectHeard("10-12 true")
	})
}

func TestAnswersAreGivenInTheLibrarysOrder(t *testing.T) {
	inEarlyRig(t, func(r *earlyRig) {
		r.offer(logs(5, 5))
		r.ask(asks(5, 4)) // tells what is committed
		r.ask(asks(5, 5))
		r.answer("5", yes)
		r.expectHeard("")
		r.answer("after 4", yes)
		r.expectHeard("after 4 true")
		r.expectHeard("5 true")
	})
}

// TestWhatIsNotSentEarly offers what a follower could not take, or what is not this
// leadership's.
func TestWhatIsNotSentEarly(t *testing.T) {
	other := logs(5, 5)
	other[0].Term++
	for what, offered := range map[string][]*raft.Log{
		"there is a gap before it":         logs(6, 6),
		"the follower has it":              logs(4, 5),
		"it is of another term":            other,
		"there are too many for a message": logs(5, 5+maxAppendEntries),
	} {
		t.Run(what, func(t *testing.T) {
			inEarlyRig(t, func(r *earlyRig) {
				r.offer(offered)
				r.expectSent("")
				r.offer(logs(5, 5))
				r.expectSent("5")
			})
		})
	}
	t.Run("nothing was sent before", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := &earlyRig{t: t, w: newWire()}
			r.p = newEarlyPipeline(r.w, func() uint64 { return 0 })
			defer r.p.Close()
			r.offer(logs(1, 1))
			r.expectSent("")
		})
	})
}

// TestALateMessageTellsWhatWasCommittedThen: a follower that has not heard of the next leader
// would take the entry for the one that was committed in its place.
func TestALateMessageTellsWhatWasCommittedThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &earlyRig{t: t, w: newWire()}
		committed := uint64(3)
		r.p = newEarlyPipeline(r.w, func() uint64 { return committed })
		defer r.p.Close()
		r.ask(asks(4, 4))
		r.expectSent("4")
		r.answer("4", yes)
		r.expectHeard("4 true")
		r.w.full = make(chan struct{})
		r.offer(logs(5, 5))
		r.offer(logs(6, 6)) // while 5 cannot be sent
		committed = 9       // by another leader
		close(r.w.full)
		synctest.Wait()
		for _, want := range []string{"5", "6"} {
			select {
			case m := <-r.w.sent:
				if name(m.request) != want || m.request.LeaderCommitIndex != 3 {
					t.Errorf("sent %s with commit index %d, want %s with 3", name(m.request), m.request.LeaderCommitIndex, want)
				}
			default:
				t.Errorf("%s was not sent", want)
			}
		}
	})
}

// TestTheLibraryAsksForSomethingElse: its message is sent as it is.
func TestTheLibraryAsksForSomethingElse(t *testing.T) {
	for what, asked := range map[string]*raft.AppendEntriesRequest{
		"it goes back":                  asks(3, 6),
		"it asks for less":              asks(5, 5),
		"it means another entry before": {Term: earlyTerm, PrevLogEntry: 4, PrevLogTerm: 1, Entries: logs(5, 6)},
	} {
		t.Run(what, func(t *testing.T) {
			inEarlyRig(t, func(r *earlyRig) {
				r.offer(logs(5, 6))
				r.ask(asked)
				r.answer("5-6", yes)
				r.expectHeard("")
				r.answer(name(asked), yes)
				r.expectHeard(name(asked) + " true")
			})
		})
	}
}

func TestAnEarlyMessageIsRefused(t *testing.T) {
	inEarlyRig(t, func(r *earlyRig) {
		r.offer(logs(5, 5))
		r.answer("5", raft.AppendEntriesResponse{Term: 9})
		r.ask(asks(5, 5))
		if f := r.expectHeard("5 false"); f.Response().Term != 9 {
			t.Errorf("term %d", f.Response().Term)
		}
	})
}

func TestAnEarlyMessageCannotBeSent(t *testing.T) {
	inEarlyRig(t, func(r *earlyRig) {
		r.w.fault = errors.New("the connection is gone")
		r.offer(logs(5, 5))
		r.ask(asks(5, 5))
		if f := r.expectHeard("5 false"); !errors.Is(f.Error(), r.w.fault) {
			t.Errorf("error %v", f.Error())
		}
		if _, err := r.p.AppendEntries(asks(6, 6), new(raft.AppendEntriesResponse)); !errors.Is(err, r.w.fault) {
			t.Errorf("error %v", err)
		}
	})
}

// TestAnswersThatTheLibraryDoesNotTake keeps nobody from sending: the library's own pipeline
// may wait for ever once its reader of answers has ended.
func TestAnswersThatTheLibraryDoesNotTake(t *testing.T) {
	inEarlyRig(t, func(r *earlyRig) {
		for i := uint64(5); i < 9; i++ {
			r.ask(asks(i, i))
			r.answer(fmt.Sprint(i), yes) // it is taken
		}
	})
}

// TestEarlyMessagesAtRandom has a library ask for what it may, in any order of events, and a
// follower answer by Raft's rules. What the library is told that the follower has, it has.
func TestEarlyMessagesAtRandom(t *testing.T) {
	for range 300 {
		seed := rand.Uint64()
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			w := newWire()
			p := newEarlyPipeline(w, func() uint64 { return 0 })
			defer p.Close()
			tr := &earlyTransport{open: map[*earlyPipeline]struct{}{p: {}}}
			var stored, next, has, heard uint64 = 3, 4, 3, 0 // of the leader's log, for the library, of the follower
			var asked []string
			var whole int
			for step := 0; step < 200 || heard < uint64(len(asked)); step++ {
				synctest.Wait()
				switch pick := random.IntN(5); {
				case pick == 0 && step < 200: // the leader stores
					n := 1 + random.Uint64N(3)
					tr.storing(logs(stored+1, stored+n))
					if random.IntN(2) == 0 {
						synctest.Wait()
					}
					stored += n
				case pick == 1 && step < 200 && len(w.sent) < 50: // the library sends
					last := min(stored, next+random.Uint64N(4)-1)
					if random.IntN(4) > 0 {
						last = stored
					}
					q := asks(next, max(last, next-1))
					q.PrevLogTerm = map[bool]uint64{true: earlyTerm, false: 1}[next > 4]
					asked = append(asked, name(q))
					if _, err := p.AppendEntries(q, new(raft.AppendEntriesResponse)); err != nil {
						t.Fatal(err)
					}
					next = max(next, last+1)
				case pick <= 3 && len(w.sent) > 0: // the follower answers
					m := <-w.sent
					end := endOf(m.request)
					if before(m.request).index > has {
						t.Fatalf("seed %d: %s was sent to a follower that has %d", seed, name(m.request), has)
					}
					has = max(has, end.index)
					whole += len(m.request.Entries)
					m.answer(yes)
				default: // the library listens
					select {
					case f := <-p.Consumer():
						if got := name(f.Request()); got != asked[heard] || !f.Response().Success {
							t.Fatalf("seed %d: the library hears of %s %v, asked %s", seed, got, f.Response().Success, asked[heard])
						}
						if end := endOf(f.Request()).index; end > has {
							t.Fatalf("seed %d: the library hears of %d, the follower has %d", seed, end, has)
						}
						heard++
					default:
					}
				}
			}
		})
	}
}
