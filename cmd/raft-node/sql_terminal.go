package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/term"
)

// terminal reads lines that can be edited. The terminal is in raw mode only meanwhile:
// what is printed and Ctrl-C are as usual otherwise.
type terminal struct {
	in   *os.File
	keys *keys
	edit *term.Terminal
}

func newTerminal(in *os.File, out io.Writer, history *history) *terminal {
	k := &keys{in: in}
	edit := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{k, out}, "")
	edit.History = history
	return &terminal{in: in, keys: k, edit: edit}
}

// readLine implements lineReader.
func (t *terminal) readLine(prompt string) (string, error) {
	fd := int(t.in.Fd())
	before, err := term.MakeRaw(fd)
	if err != nil {
		return "", err
	}
	defer func() { _ = term.Restore(fd, before) }()
	if width, height, err := term.GetSize(fd); err == nil && width > 0 {
		_ = t.edit.SetSize(width, height) // it only fails to write, which shows at once
	}
	t.edit.SetPrompt(prompt)
	line, err := t.edit.ReadLine()
	if errors.Is(err, term.ErrPasteIndicator) {
		err = nil
	}
	if t.keys.interrupted {
		t.keys.interrupted = false
		return "", errInterrupted
	}
	return line, err
}

const (
	keyCtrlC = 3
	// clearLine deletes all that is typed, on both sides of the cursor, and enters it.
	clearLine = "\x15\x0b\r"
)

// keys are what is typed, with Ctrl-C as keys that clear the line: the editor would
// take it for the end.
type keys struct {
	in          io.Reader
	interrupted bool
	next        []byte // typed, from a Ctrl-C on
	typed       []byte // before that, and not yet taken
}

// Read implements io.Reader.
func (k *keys) Read(b []byte) (int, error) {
	if len(k.typed) == 0 {
		if len(k.next) == 0 {
			n, err := k.in.Read(b)
			if n == 0 {
				return 0, err
			}
			k.next = slices.Clone(b[:n])
		}
		k.typed, k.next = k.next, nil
		switch i := slices.Index(k.typed, keyCtrlC); {
		case i > 0:
			k.typed, k.next = k.typed[:i], k.typed[i:]
		case i == 0:
			k.typed, k.next = []byte(clearLine), k.typed[1:]
			k.interrupted = true
		}
	}
	n := copy(b, k.typed)
	k.typed = k.typed[n:]
	return n, nil
}

// Limits of the history.
const (
	historyLines     = 1000
	historyFileLines = 2 * historyLines // from here on the file is written anew
)

// history is what was typed, oldest first, here and in earlier sessions. It
// implements term.History.
type history struct {
	lines []string
	file  *os.File // nil if there is none
	warn  io.Writer
}

// historyPath is where users keep what programs remember.
func historyPath() (string, error) {
	dir := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(dir) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(dir, "raft-node", "sql_history"), nil
}

// openHistory reads the history. Without a file it lasts as long as the session.
func openHistory(warn io.Writer) *history {
	h := &history{warn: warn}
	if err := h.open(); err != nil {
		h.forget(err)
	}
	return h
}

func (h *history) open() error {
	path, err := historyPath()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if h.file, err = os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600); err != nil {
		return err
	}
	in := bufio.NewScanner(h.file)
	in.Buffer(nil, statementMaxBytes)
	for in.Scan() {
		h.lines = append(h.lines, in.Text())
	}
	if len(h.lines) > historyFileLines {
		return h.shorten()
	}
	return in.Err()
}

// shorten leaves the newest lines in the file.
func (h *history) shorten() error {
	h.lines = slices.Clone(h.lines[len(h.lines)-historyLines:])
	if err := h.file.Truncate(0); err != nil {
		return err
	}
	_, err := h.file.WriteString(strings.Join(h.lines, "\n") + "\n")
	return err
}

// forget goes on without a file.
func (h *history) forget(err error) {
	h.close()
	fmt.Fprintf(h.warn, "raft-node: what is typed will not be remembered: %v\n", err)
}

func (h *history) close() {
	if h.file != nil {
		_ = h.file.Close()
		h.file = nil
	}
}

// Add implements term.History.
func (h *history) Add(line string) {
	if strings.TrimSpace(line) == "" || len(h.lines) > 0 && h.lines[len(h.lines)-1] == line {
		return
	}
	h.lines = append(h.lines, line)
	if h.file == nil {
		return
	}
	if _, err := h.file.WriteString(line + "\n"); err != nil {
		h.forget(err)
	}
}

// Len implements term.History.
func (h *history) Len() int { return len(h.lines) }

// At implements term.History: 0 is the newest.
func (h *history) At(i int) string { return h.lines[len(h.lines)-1-i] }
