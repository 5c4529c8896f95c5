package raftdb

import (
	"context"
	"sync"
)

// watermark is a number that rises and can be waited for.
type watermark struct {
	mu    sync.Mutex
	value uint64
	moved chan struct{} // closed and replaced at each rise; nil while nobody waits
}

func (w *watermark) load() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.value
}

func (w *watermark) store(v uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.value = v
	if w.moved != nil {
		close(w.moved)
		w.moved = nil
	}
}

// await blocks until the value is at least v.
func (w *watermark) await(ctx context.Context, v uint64) error {
	for {
		w.mu.Lock()
		if w.value >= v {
			w.mu.Unlock()
			return nil
		}
		if w.moved == nil {
			w.moved = make(chan struct{})
		}
		moved := w.moved
		w.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
