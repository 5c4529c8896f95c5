package agent

import (
	"bytes"
	"encoding/json"
	"sync"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/internal/tasklog"
)

// output takes what a process writes: its log has it as text, a file of the agent's
// log directory as it came. It is safe for concurrent use: standard output and standard
// error arrive at the same time.
type output struct {
	out, err *tasklog.Writer
	file     *logFile // nil without a log directory

	mu   sync.Mutex
	line lastLine
}

func newOutput(log *tasklog.Log, file *logFile) *output {
	return &output{out: log.Writer(), err: log.Writer(), file: file}
}

// stdout takes what the process wrote to its standard output.
func (o *output) stdout(p []byte) {
	_, _ = o.out.Write(p)
	o.file.write(p)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.line.write(p)
}

// stderr takes what it wrote to its standard error.
func (o *output) stderr(p []byte) {
	_, _ = o.err.Write(p)
	o.file.write(p)
}

// close ends the output: nothing is written any more.
func (o *output) close() {
	_ = o.out.Close()
	_ = o.err.Close()
	o.file.close()
}

// result is the last line of standard output if it is JSON, at most
// controlplane.MaxPayloadBytes; else nil.
func (o *output) result() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	line := o.line.get()
	if len(line) == 0 || len(line) > controlplane.MaxPayloadBytes || !json.Valid(line) {
		return nil
	}
	return bytes.Clone(line)
}

// lastLine keeps the last line that is not blank, up to one byte more than a
// result may have: a longer line is no result.
type lastLine struct {
	last, present []byte
}

func (l *lastLine) write(p []byte) {
	i := bytes.IndexByte(p, '\n')
	if i < 0 {
		l.add(p)
		return
	}
	l.add(p[:i])
	l.end()
	p = p[i+1:]
	if i = bytes.LastIndexByte(p, '\n'); i >= 0 { // of whole lines only the last that is not blank counts
		whole := bytes.TrimSpace(p[:i])
		l.add(whole[bytes.LastIndexByte(whole, '\n')+1:])
		l.end()
		p = p[i+1:]
	}
	l.add(p)
}

func (l *lastLine) add(p []byte) {
	room := controlplane.MaxPayloadBytes + 1 - len(l.present)
	l.present = append(l.present, p[:min(room, len(p))]...)
}

func (l *lastLine) end() {
	if len(bytes.TrimSpace(l.present)) > 0 {
		l.last, l.present = l.present, l.last
	}
	l.present = l.present[:0]
}

func (l *lastLine) get() []byte {
	if line := bytes.TrimSpace(l.present); len(line) > 0 {
		return line
	}
	return bytes.TrimSpace(l.last)
}
