package agent

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"unicode"

	controlplanev1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
	"github.com/raft-control-plane/control-plane/internal/session"
)

// A task tells how far it has come by writing to the file that TASK_PROGRESS_FILE names,
// over what is there or behind it: any language can do that, and a task that is killed
// has said it all the same. The last line counts.

// maxProgressLine is how much of the end of the file is looked at.
const maxProgressLine = 4 << 10

// progressFile is where a task writes its progress. It need not exist.
type progressFile struct {
	path string

	mu   sync.Mutex
	last *controlplanev1.Progress // nil before the first
	over bool
}

// read returns what the task has said last.
func (f *progressFile) read() *controlplanev1.Progress {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over || f.path == "" {
		return f.last
	}
	if p := parseProgress(tailOf(f.path)); p != nil {
		f.last = p
	}
	return f.last
}

// end reads once more and removes the file.
func (f *progressFile) end() {
	f.read()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
	if f.path != "" {
		_ = os.Remove(f.path)
	}
}

// tailOf returns the end of a file, nil if there is none. The task may have put anything
// there: no link is followed, and nothing is waited for.
func tailOf(path string) []byte {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil
	}
	defer file.Close() //nolint:errcheck // it was only read
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil
	}
	end, err := io.ReadAll(io.NewSectionReader(file, max(0, info.Size()-maxProgressLine), maxProgressLine))
	if err != nil {
		return nil
	}
	return end
}

// parseProgress reads the last line that is whole: a line behind another one counts once
// its end is written. Nil if there is none, or none that says something.
//
//	0.42 epoch 3          a part of the whole, 0 to 1
//	42% epoch 3           the same
//	21/50 epoch 3         so many of so many; 21/ if it is not known of how many
//	epoch 3               a text only
//	{"done": 21, "total": 50, "message": "epoch 3"}, or with "fraction": 0.42
func parseProgress(text []byte) *controlplanev1.Progress {
	if i := bytes.LastIndexByte(text, '\n'); i >= 0 {
		text = text[:i]
	}
	text = bytes.TrimRight(text, "\r\n\t ")
	line := strings.TrimSpace(string(text[bytes.LastIndexByte(text, '\n')+1:]))
	switch {
	case line == "":
		return nil
	case line[0] == '{':
		return progressOfJSON(line)
	}
	word, rest := line, ""
	if i := strings.IndexFunc(line, unicode.IsSpace); i >= 0 {
		word, rest = line[:i], line[i:]
	}
	if p := progressOfWord(word); p != nil {
		p.Message = session.ProgressMessage(rest)
		return p
	}
	return &controlplanev1.Progress{Message: session.ProgressMessage(line)}
}

func progressOfJSON(line string) *controlplanev1.Progress {
	var said struct {
		Done, Total, Fraction float64
		Message               string
	}
	if json.Unmarshal([]byte(line), &said) != nil {
		return nil
	}
	if said.Fraction != 0 {
		said.Done, said.Total = said.Fraction*session.ProgressWhole, session.ProgressWhole
	}
	return session.NewProgress(said.Done, said.Total, said.Message)
}

func progressOfWord(word string) *controlplanev1.Progress {
	if done, total, ok := strings.Cut(word, "/"); ok {
		d, err := strconv.ParseUint(done, 10, 63)
		t, err2 := strconv.ParseUint(total, 10, 63)
		if err != nil || err2 != nil && total != "" {
			return nil
		}
		return session.NewProgress(float64(d), float64(t), "")
	}
	number, percent := strings.CutSuffix(word, "%")
	part, err := strconv.ParseFloat(number, 64)
	if percent {
		part /= 100
	}
	if err != nil || math.IsNaN(part) || part < 0 || part > 1 {
		return nil
	}
	return session.NewProgress(part*session.ProgressWhole, session.ProgressWhole, "")
}
