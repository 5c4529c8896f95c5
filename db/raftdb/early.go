package raftdb

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// earlyTransport sends entries to followers while this leader syncs them to its own log.
// Raft's library sends an entry once its leader has synced it, so that a write takes two syncs,
// one after the other. The protocol does not ask for that (Ongaro's thesis, section 10.2.1): an
// entry is committed once a majority has it, and the leader is one of those that are
// counted, after its sync, and not before.
//
// The library is not changed for it and decides all that it decides. When it comes to send
// what was sent early, it is given the answer to that, and the entries are not sent again:
// a leader makes one entry of an index in its term, so what the library means is what the
// follower has. If anything does not match, the library's message is sent as it is, and one
// that was sent before does no harm: followers skip what they have.
type earlyTransport struct {
	*raft.NetworkTransport
	committed func() uint64

	mu   sync.Mutex
	open map[*earlyPipeline]struct{}
}

func newEarlyTransport(t *raft.NetworkTransport, committed func() uint64) *earlyTransport {
	return &earlyTransport{NetworkTransport: t, committed: committed, open: map[*earlyPipeline]struct{}{}}
}

// AppendEntriesPipeline implements raft.Transport.
func (t *earlyTransport) AppendEntriesPipeline(id raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	inner, err := t.NetworkTransport.AppendEntriesPipeline(id, target)
	if err != nil {
		return nil, err
	}
	p := newEarlyPipeline(inner, t.committed)
	p.leave = func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.open, p)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open[p] = struct{}{}
	return p, nil
}

// storing is told of the entries that are about to be written to this member's log, and does
// not wait.
func (t *earlyTransport) storing(logs []*raft.Log) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for p := range t.open {
		select {
		case <-p.offers: // it was sending: the library sends those, with what has come by then
		default:
		}
		p.offers <- offer{logs, p.committed()}
	}
}

// earlyPipeline is the library's pipeline to one follower, in which messages were sent that the
// library has not asked for yet. It has one only while it leads, in one term.
type earlyPipeline struct {
	inner     raft.AppendPipeline
	committed func() uint64
	leave     func()

	offers chan offer    // the newest
	wake   chan struct{} // asked has changed
	done   chan raft.AppendFuture
	closed chan struct{}
	once   sync.Once

	sending sync.Mutex // orders what is sent
	last    raft.AppendEntriesRequest
	sent    position // of the newest entry that was sent

	mu    sync.Mutex
	early []*sentMessage // sent, and not yet asked for; each goes on where the one before ends
	asked []*earlyFuture // what the library waits for, in its order
	wire  []*sentMessage // sent and not answered, in their order
}

// offer is entries that are about to be stored, and what was committed then. Sent later, they must
// not go with what is committed by that time: it may be another leader's, with others in their place.
type offer struct {
	logs      []*raft.Log
	committed uint64
}

// position is a place in the log.
type position struct{ index, term uint64 }

func before(r *raft.AppendEntriesRequest) position { return position{r.PrevLogEntry, r.PrevLogTerm} }

// endOf is where the entries of a request end.
func endOf(r *raft.AppendEntriesRequest) position {
	if n := len(r.Entries); n > 0 {
		return position{r.Entries[n-1].Index, r.Entries[n-1].Term}
	}
	return before(r)
}

// sentMessage is a message to the follower, and its answer.
type sentMessage struct {
	request  *raft.AppendEntriesRequest
	response *raft.AppendEntriesResponse
	answered bool
	err      error
}

// earlyFuture is what the library waits for: that a message is answered, which may have been
// sent before.
type earlyFuture struct {
	start    time.Time
	request  *raft.AppendEntriesRequest
	response *raft.AppendEntriesResponse
	by       *sentMessage
	settled  bool
	done     chan struct{} // closed once it is settled
}

// Start, Request, Response and Error implement raft.AppendFuture.
func (f *earlyFuture) Start() time.Time                      { return f.start }
func (f *earlyFuture) Request() *raft.AppendEntriesRequest   { return f.request }
func (f *earlyFuture) Response() *raft.AppendEntriesResponse { return f.response }
func (f *earlyFuture) Error() error                          { <-f.done; return f.by.err }

func newEarlyPipeline(inner raft.AppendPipeline, committed func() uint64) *earlyPipeline {
	p := &earlyPipeline{
		inner: inner, committed: committed, leave: func() {},
		offers: make(chan offer, 1), wake: make(chan struct{}, 1), done: make(chan raft.AppendFuture), closed: make(chan struct{}),
	}
	go p.sendEarly()
	go p.relay()
	return p
}

// sendEarly sends what is offered.
func (p *earlyPipeline) sendEarly() {
	for {
		select {
		case o := <-p.offers:
			p.offer(o)
		case <-p.closed:
			return
		}
	}
}

// offer sends entries if they follow what was sent last, in the term of the leadership.
func (p *earlyPipeline) offer(o offer) {
	p.sending.Lock()
	defer p.sending.Unlock()
	logs := o.logs
	if logs[0].Index != p.sent.index+1 || logs[len(logs)-1].Term != p.last.Term || len(logs) > maxAppendEntries {
		return
	}
	request := p.last // its header, term and leader
	request.PrevLogEntry, request.PrevLogTerm = p.sent.index, p.sent.term
	request.Entries, request.LeaderCommitIndex = logs, o.committed
	// If it fails, whoever asks for it hears of it.
	_ = p.send(&sentMessage{request: &request, response: new(raft.AppendEntriesResponse)}, nil)
}

// AppendEntries implements raft.AppendPipeline.
func (p *earlyPipeline) AppendEntries(request *raft.AppendEntriesRequest, response *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	p.sending.Lock()
	defer p.sending.Unlock()
	p.last = *request
	p.last.Entries = nil
	f := &earlyFuture{start: time.Now(), request: request, response: response, done: make(chan struct{})}
	rest := p.claim(f)
	if rest == nil {
		return f, nil
	}
	if err := p.send(&sentMessage{request: rest, response: new(raft.AppendEntriesResponse)}, f); err != nil {
		return nil, err
	}
	return f, nil
}

// claim makes f wait for what was sent early, if that is all that it asks for. Otherwise it
// returns what is to be sent.
func (p *earlyPipeline) claim(f *earlyFuture) (rest *raft.AppendEntriesRequest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(f.request.Entries) == 0 { // tells what is committed
		return f.request
	}
	end := endOf(f.request)
	var covers *sentMessage
	for len(p.early) > 0 {
		e := p.early[0]
		if covers == nil && before(e.request) != before(f.request) || endOf(e.request).index > end.index {
			break
		}
		covers, p.early = e, p.early[1:]
	}
	switch {
	case covers == nil:
		p.early = nil
		return f.request
	case endOf(covers.request) == end:
		f.by = covers
		p.asked = append(p.asked, f)
		p.notify()
		return nil
	}
	part := *f.request
	part.PrevLogEntry, part.PrevLogTerm = endOf(covers.request).index, endOf(covers.request).term
	part.Entries = part.Entries[part.PrevLogEntry-f.request.PrevLogEntry:]
	p.early = nil
	return &part
}

// send sends a message, which answers f unless it is nil. sending is held.
func (p *earlyPipeline) send(m *sentMessage, f *earlyFuture) error {
	if end := endOf(m.request); len(m.request.Entries) > 0 || p.sent.index == 0 {
		p.sent = end
	}
	p.mu.Lock()
	p.wire = append(p.wire, m)
	if f != nil {
		f.by = m
		p.asked = append(p.asked, f)
	} else {
		p.early = append(p.early, m)
	}
	p.mu.Unlock()
	_, err := p.inner.AppendEntries(m.request, m.response)
	if err != nil {
		p.settle(m, err) // whoever waits for it hears at once
		p.notify()
	}
	return err
}

// settle notes the answer to a message, or why there is none.
func (p *earlyPipeline) settle(m *sentMessage, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m.answered, m.err = true, err
}

func (p *earlyPipeline) notify() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// relay gives the library the answers that it waits for, in its order. It goes on to take
// answers while the library takes none: else nothing could be sent.
func (p *earlyPipeline) relay() {
	for {
		head := p.ready()
		var out chan<- raft.AppendFuture
		if head != nil {
			out = p.done
		}
		select {
		case out <- head:
			p.mu.Lock()
			p.asked = p.asked[1:]
			p.mu.Unlock()
		case answer := <-p.inner.Consumer():
			p.answered(answer)
		case <-p.wake:
		case <-p.closed:
			return
		}
	}
}

// ready is the first of what the library waits for, if it is answered.
func (p *earlyPipeline) ready() *earlyFuture {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.asked) == 0 || !p.asked[0].by.answered {
		return nil
	}
	f := p.asked[0]
	if !f.settled {
		f.settled, *f.response = true, *f.by.response
		close(f.done)
	}
	return f
}

// answered notes the answer to the oldest message that has none. They come in order.
func (p *earlyPipeline) answered(answer raft.AppendFuture) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.wire) > 0 {
		m := p.wire[0]
		p.wire = p.wire[1:]
		if m.request == answer.Request() {
			m.answered, m.err = true, answer.Error()
			return
		}
	}
}

// Consumer implements raft.AppendPipeline.
func (p *earlyPipeline) Consumer() <-chan raft.AppendFuture { return p.done }

// Close implements raft.AppendPipeline.
func (p *earlyPipeline) Close() error {
	p.once.Do(func() {
		p.leave()
		close(p.closed)
	})
	return p.inner.Close()
}
