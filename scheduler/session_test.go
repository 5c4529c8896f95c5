package scheduler

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/raft-control-plane/control-plane"
)

// session runs the commands of transcripts.
type session struct {
	*rig
	workers map[string]*worker
	polls   []*outstanding
}

// worker is what a test knows of a node.
type worker struct {
	id      string
	session int // counts from 1
	spec    controlplane.NodeSpec
}

func (w *worker) sessionID() string { return fmt.Sprintf("%s.%d", w.id, w.session) }

// outstanding is a poll that waits.
type outstanding struct {
	name   string
	poll   *poll
	hangUp context.CancelFunc
	result chan func() string
}

func newSession(t testing.TB) *session {
	s := &session{rig: newRig(t), workers: map[string]*worker{}}
	s.rig.hooks.answering = (&workChecker{t: t}).compareGiven
	s.start()
	return s
}

// run runs a command and returns what it and the polls that it releases answer.
func (s *session) run(where, input string) string {
	s.t.Helper()
	lines := strings.Split(input, "\n")
	var finish []func() string
	begin := func() {
		for _, line := range lines {
			finish = append(finish, s.begin(where, line))
		}
	}
	if lines[0] == "together" {
		lines = lines[1:]
		s.together(begin)
	} else {
		begin()
	}
	out := ""
	for i, f := range finish {
		answer := f()
		if len(finish) > 1 && answer != "" {
			answer = strings.Fields(lines[i])[0] + ":\n" + answer
		}
		out += answer
	}
	s.settle()
	out += s.released()
	s.check()
	return out
}

// released are the answers of the polls that wait no longer.
func (s *session) released() (out string) {
	s.polls = slices.DeleteFunc(s.polls, func(o *outstanding) bool {
		if !o.poll.isDone() {
			return false
		}
		out += o.name + ":\n" + (<-o.result)()
		return true
	})
	return out
}

func (p *poll) isDone() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// command is a line of a transcript: a name, words, and options.
type command struct {
	s     *session
	where string
	name  string
	words []string
	opts  map[string]string
}

// begin queues what a command does, and returns what waits for its answer.
func (s *session) begin(where, line string) func() string {
	fields := strings.Fields(line)
	c := &command{s: s, where: where, name: fields[0], opts: map[string]string{}}
	for _, f := range fields[1:] {
		if k, v, ok := strings.Cut(f, "="); ok && !strings.Contains(k, "/") && c.name != "sql" {
			c.opts[k] = v
		} else {
			c.words = append(c.words, f)
		}
	}
	run := commands[c.name]
	if run == nil {
		c.fatalf("there is no such command")
	}
	return run(c)
}

var commands map[string]func(c *command) func() string

func init() {
	commands = map[string]func(c *command) func() string{
		"node": (*command).node, "restart-session": (*command).restart, "heartbeat": (*command).heartbeat,
		"poll": (*command).poll, "report": (*command).report, "submit": (*command).submit, "cancel": (*command).cancel,
		"hangup": (*command).hangUp, "timeout": (*command).timeout, "advance": (*command).advance, "clock": (*command).advance, "tick": (*command).tick,
		"new-leader": (*command).newLeader, "reopen": (*command).reopen, "assign": (*command).assign, "renew": (*command).renew, "complete": (*command).complete,
		"cordon": (*command).mark, "uncordon": (*command).mark, "drain": (*command).mark,
		"remove": (*command).remove, "prune-nodes": (*command).pruneNodes, "leftovers": (*command).leftovers,
		"register": (*command).register, "sql": (*command).sql, "queue": (*command).queue, "queues": (*command).queues,
		"retry": (*command).retry, "cancel-tasks": (*command).cancelTasks,
		"tasks": (*command).tasks, "nodes": (*command).nodes, "attempts": (*command).attempts, "events": (*command).events, "polling": (*command).polling, "explain": (*command).explain,
	}
}

func (c *command) fatalf(format string, args ...any) {
	c.s.t.Helper()
	c.s.t.Fatalf("%s: %s: %s", c.where, c.name, fmt.Sprintf(format, args...))
}

func (c *command) word(i int) string {
	if i >= len(c.words) {
		c.fatalf("needs %d words", i+1)
	}
	return c.words[i]
}

func (c *command) int(name string, otherwise int) int {
	v, ok := c.opts[name]
	if !ok {
		return otherwise
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		c.fatalf("%s=%s: %v", name, v, err)
	}
	return n
}

func (c *command) duration(v string) time.Duration {
	d, err := time.ParseDuration(v)
	if err != nil {
		c.fatalf("%v", err)
	}
	return d
}

func (c *command) list(name string) []string {
	v := strings.Trim(c.opts[name], "[]")
	if v == "" || v == "none" {
		return nil
	}
	return strings.Split(v, ",")
}

// held are attempts such as t1/1,t2/1.
func (c *command) held() (held []controlplane.Attempt) {
	for _, v := range c.list("held") {
		held = append(held, c.attempt(v))
	}
	return held
}

func (c *command) attempt(v string) controlplane.Attempt {
	id, n, _ := strings.Cut(v, "/")
	attempt, err := strconv.Atoi(n)
	if err != nil {
		c.fatalf("%q is no attempt such as t1/1", v)
	}
	return controlplane.Attempt{TaskID: id, Attempt: int32(attempt)}
}

func (c *command) worker() *worker {
	id := c.word(0)
	w := c.s.workers[id]
	if w == nil {
		w = &worker{id: id, session: 1, spec: controlplane.NodeSpec{Slots: 4, Capacity: controlplane.Resources{CPUMillis: 4000, MemoryBytes: 1000}, Exec: true}}
		c.s.workers[id] = w
	}
	return w
}

// as is the session by which a node speaks: its own unless the command says.
func (c *command) as(w *worker) string { return cmp.Or(c.opts["session"], w.sessionID()) }

// spec applies the options of a command to what a node says of itself.
func (c *command) spec(w *worker) *controlplane.NodeSpec {
	w.spec.Slots = int32(c.int("slots", int(w.spec.Slots)))
	w.spec.Capacity.CPUMillis = int64(c.int("cpu", int(w.spec.Capacity.CPUMillis)))
	w.spec.Capacity.MemoryBytes = int64(c.int("mem", int(w.spec.Capacity.MemoryBytes)))
	if v, ok := c.opts["gpus"]; ok {
		w.spec.GPUDevices = c.devices(v)
	}
	if _, ok := c.opts["functions"]; ok {
		w.spec.Functions, w.spec.Exec = c.list("functions"), false
	}
	w.spec.Capacity.GPUs = int32(len(w.spec.GPUDevices))
	w.spec.Capacity.DiskBytes = int64(c.int("disk", int(w.spec.Capacity.DiskBytes)))
	w.spec.PriceMicrosPerHour = int64(c.int("price", int(w.spec.PriceMicrosPerHour)))
	if _, ok := c.opts["custom"]; ok {
		w.spec.Capacity.Custom = c.counts("custom")
	}
	if _, ok := c.opts["labels"]; ok {
		w.spec.Labels = map[string]string{}
		for _, pair := range c.list("labels") {
			k, v, _ := strings.Cut(pair, ":")
			w.spec.Labels[k] = v
		}
	}
	for name, into := range map[string]*string{"provider": &w.spec.Provider, "region": &w.spec.Region, "zone": &w.spec.Zone, "type": &w.spec.InstanceType} {
		if v, ok := c.opts[name]; ok {
			*into = strings.TrimSuffix(v, "-")
		}
	}
	if v, ok := c.opts["spot"]; ok {
		w.spec.Spot = v == "yes"
	}
	spec := w.spec
	spec.GPUDevices = slices.Clone(spec.GPUDevices)
	return &spec
}

// counts are numbers by name, such as license:2,slot:1; nil for "-".
func (c *command) counts(name string) map[string]int64 {
	if v, ok := c.opts[name]; !ok || v == "-" {
		return nil
	}
	counts := map[string]int64{}
	for _, pair := range c.list(name) {
		k, v, _ := strings.Cut(pair, ":")
		n, err := strconv.Atoi(v)
		if err != nil {
			c.fatalf("%s=%s: %v", name, pair, err)
		}
		counts[k] = int64(n)
	}
	return counts
}

// devices are a number of them, or the index of each, such as [0,2], or also their
// model and memory, such as [0:A100:40,1:H100:80].
func (c *command) devices(v string) (devices []controlplane.GPUDevice) {
	if !strings.HasPrefix(v, "[") {
		for i := range c.int("gpus", 0) {
			devices = append(devices, controlplane.GPUDevice{Index: int32(i), Model: "H100", MemoryBytes: 80})
		}
		return devices
	}
	for _, i := range c.list("gpus") {
		d := controlplane.GPUDevice{Model: "H100", MemoryBytes: 80}
		if _, err := fmt.Sscanf(strings.ReplaceAll(i, ":", " "), "%d %s %d", &d.Index, &d.Model, &d.MemoryBytes); err != nil && strings.Contains(i, ":") {
			c.fatalf("%s: %v", i, err)
		}
		devices = append(devices, d)
	}
	return devices
}
