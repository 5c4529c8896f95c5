package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

const (
	// progressEvery is how often a terminal is told how far a work is.
	progressEvery = 200 * time.Millisecond
	progressBar   = 24 // characters
)

// progress tells people at a terminal how far a work is, on a line that is cleared at
// its end.
type progress struct {
	mu          sync.Mutex
	w           io.Writer // nil if nobody looks
	done, total int64
	text        func(done, total int64) string
	began, told time.Time
	stop        chan struct{}
}

// newProgress tells of bytes.
func newProgress(w io.Writer) *progress {
	return progressOf(w, func(done, total int64) string { return memory(done) + " of " + memory(total) })
}

func progressOf(w io.Writer, text func(done, total int64) string) *progress {
	p := &progress{text: text, began: time.Now()}
	if isTerminal(w) {
		p.w = w
	}
	return p
}

// ticking draws the line from time to time also when nothing is done, for works that
// do not tell how far they are.
func (p *progress) ticking() *progress {
	if p.w == nil {
		return p
	}
	p.stop = make(chan struct{})
	go func() {
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				p.add(0)
			case <-p.stop:
				return
			}
		}
	}()
	return p
}

// Write implements io.Writer: what is written is done.
func (p *progress) Write(b []byte) (int, error) {
	p.add(int64(len(b)))
	return len(b), nil
}

func (p *progress) add(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += n
	if p.w != nil && (time.Since(p.told) >= progressEvery || p.done == p.total) {
		p.told = time.Now()
		fmt.Fprint(p.w, "\r"+p.line()+clearRest)
	}
}

// line is a bar if the end is known, and the time otherwise.
func (p *progress) line() string {
	text := p.text(p.done, p.total)
	if p.total <= 0 {
		return fmt.Sprintf("%s  %s", text, time.Since(p.began).Round(time.Second))
	}
	filled := int(min(p.done, p.total) * progressBar / p.total)
	return fmt.Sprintf("[%s%s] %s", strings.Repeat("=", filled), strings.Repeat(" ", progressBar-filled), text)
}

// above lets show print what stays, over the line.
func (p *progress) above(show func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.w != nil {
		fmt.Fprint(p.w, "\r"+clearRest)
	}
	show()
}

// end clears the line.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stop != nil {
		close(p.stop)
		p.stop = nil
	}
	if p.w != nil {
		fmt.Fprint(p.w, "\r"+clearRest)
		p.w = nil
	}
}
