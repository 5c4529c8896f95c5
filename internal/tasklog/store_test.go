package tasklog

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

var a1 = Attempt{TaskID: "a", Number: 1}

// read is what a new reader gets.
func read(s *Store, key Attempt, offset int64) (string, int64) {
	r := s.Open(key)
	if r == nil {
		return "", -1
	}
	defer r.Close()
	return r.Read(offset)
}

func TestPush(t *testing.T) {
	s := NewStore(StoreBytes)
	for _, step := range []struct {
		what           string
		offset, oldest int64
		text           string
		next           int64
		held           string
		at             int64
	}{
		{"the beginning", 0, 0, "abc", 3, "abc", 0},
		{"a repeat", 0, 0, "abc", 3, "abc", 0},
		{"a part of it again", 1, 0, "bcde", 5, "abcde", 0},
		{"text is missing that the worker has", 9, 0, "jk", 5, "abcde", 0},
		{"of what is missing the worker has the end", 9, 7, "jk", 7, "abcde", 0},
		{"what is missing is lost", 7, 7, "hi", 9, "hi", 7},
		{"and on", 9, 7, "jk", 11, "hijk", 7},
		{"what is no UTF-8 does not get through", 11, 7, "\xff", 14, "hijk\uFFFD", 7},
	} {
		if next := s.Push(a1, step.offset, step.oldest, step.text); next != step.next {
			t.Errorf("%s: held up to %d, want %d", step.what, next, step.next)
		}
		if text, at := read(s, a1, 0); text != step.held || at != step.at {
			t.Errorf("%s: %q at %d, want %q at %d", step.what, text, at, step.held, step.at)
		}
	}
}

func TestAttemptsDoNotMix(t *testing.T) {
	s := NewStore(StoreBytes)
	a2 := Attempt{TaskID: "a", Number: 2}
	s.Push(a1, 0, 0, "first")
	old := s.Open(a1)
	defer old.Close()
	changed := old.Changed()
	s.Push(a2, 0, 0, "second")
	<-changed
	s.Push(a1, 5, 0, " still there")
	if text, _ := read(s, a2, 0); text != "second" {
		t.Errorf("attempt 2 has %q", text)
	}
	if s.Open(a1) != nil {
		t.Error("attempt 1 is held beside attempt 2")
	}
}

func TestTheSumIsBounded(t *testing.T) {
	const logs = 50
	s := NewStore(10 * MaxBytes)
	followed := s.Open(Attempt{TaskID: "t0", Number: 1})
	defer followed.Close()
	for i := range logs {
		key := Attempt{TaskID: fmt.Sprintf("t%d", i), Number: 1}
		for at := int64(0); at < 3*MaxBytes; at += MaxBytes / 2 {
			s.Push(key, at, at, strings.Repeat("x", MaxBytes/2))
		}
		if s.Size() > s.limit {
			t.Fatalf("%d bytes are held, more than %d", s.Size(), s.limit)
		}
	}
	if text, _ := followed.Read(0); len(text) != MaxBytes {
		t.Errorf("of the log that is read %d bytes are left", len(text))
	}
	if _, at := read(s, Attempt{TaskID: "t1", Number: 1}, 0); at != 3*MaxBytes {
		t.Errorf("a log that was let go is at %d: its worker would send it again", at)
	}
	if text, _ := read(s, Attempt{TaskID: fmt.Sprintf("t%d", logs-1), Number: 1}, 0); len(text) != MaxBytes {
		t.Errorf("of the newest log %d bytes are held", len(text))
	}
}

func TestLogsGoWithTheirAttempts(t *testing.T) {
	now := time.Unix(1000, 0)
	s := NewStore(StoreBytes)
	s.now = func() time.Time { return now }
	b1, c1 := Attempt{TaskID: "b", Number: 1}, Attempt{TaskID: "c", Number: 1}
	for _, k := range []Attempt{a1, b1, c1} {
		s.Push(k, 0, 0, "text")
	}
	r := s.Open(a1)
	s.End(a1)
	if text, _ := r.Read(0); text != "text" {
		t.Errorf("a log that is read went with its attempt: %q", text)
	}
	r.Close()
	now = now.Add(staleAfter + time.Second)
	s.Sweep(func(k Attempt) bool { return k == b1 })
	if len(s.all) != 1 || s.all["b"] == nil || s.Size() != 4 {
		t.Errorf("held: %d logs of %d bytes", len(s.all), s.Size())
	}
	s.Open(c1).Close() // nothing was printed: a reader leaves nothing behind
	if len(s.all) != 1 {
		t.Errorf("held: %d logs", len(s.all))
	}
}

func TestInterval(t *testing.T) {
	now := time.Unix(1000, 0)
	s := NewStore(StoreBytes)
	s.now = func() time.Time { return now }
	keys := []Attempt{a1}
	s.Push(a1, 0, 0, "text")
	if d := s.Interval(keys); d != unfollowed {
		t.Errorf("%v while nobody reads", d)
	}
	r := s.Open(a1)
	defer r.Close()
	if d := s.Interval(keys); d != followed {
		t.Errorf("%v while somebody reads", d)
	}
	for i := range int64(3 * storeRate / MaxBytes) {
		s.Push(a1, 4+i*MaxBytes, 4+i*MaxBytes, strings.Repeat("x", MaxBytes))
	}
	if d := s.Interval(keys); d < 3*followed || d > slowest {
		t.Errorf("%v at three times the rate", d)
	}
	now = now.Add(2 * time.Second)
	s.Push(a1, 0, 0, "text")
	if d := s.Interval(keys); d != followed {
		t.Errorf("%v after a pause", d)
	}
}

// FuzzPush looks that no chunk, however wrong, makes a log of more than its bound or
// moves its end back.
func FuzzPush(f *testing.F) {
	f.Add(int64(0), int64(0), "abc", int64(5), int64(1), "def")
	f.Add(int64(1<<60), int64(1<<60), "\xff", int64(0), int64(0), "x")
	f.Fuzz(func(t *testing.T, offset1, oldest1 int64, text1 string, offset2, oldest2 int64, text2 string) {
		if min(offset1, oldest1, offset2, oldest2) < 0 || max(offset1, oldest1, offset2, oldest2) > 1<<60 {
			t.Skip() // by the rules of the contract
		}
		s := NewStore(2 * MaxBytes)
		first := s.Push(a1, offset1, oldest1, text1)
		second := s.Push(a1, offset2, oldest2, text2)
		_, end := s.all["a"].log.Bounds()
		if s.Size() > MaxBytes || s.Size() != s.all["a"].log.Size() {
			t.Errorf("%d bytes are held", s.Size())
		}
		if first < 0 || second < 0 || end < 0 {
			t.Errorf("%d, %d, %d", first, second, end)
		}
	})
}
