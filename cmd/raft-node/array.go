package main

import (
	"fmt"
	"maps"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

const (
	// arrayMax is how many tasks one command submits as an array.
	arrayMax = 100_000
	// arrayIndexMax bounds the numbers themselves.
	arrayIndexMax = 1_000_000_000

	placeholder = "{}"
	// What a task of an array finds in its environment.
	arrayIndexEnv = "TASK_ARRAY_INDEX"
	arrayItemEnv  = "TASK_ARRAY_ITEM"
	// Labels by which tasks of an array are found again.
	arrayLabel      = "array"
	arrayIndexLabel = "array-index"
)

// parseArray reads indexes such as 0-99, 0-99:10 and 1,5,7.
func parseArray(s string) ([]int, error) {
	var out []int
	seen := map[int]bool{}
	for part := range strings.SplitSeq(s, ",") {
		from, to, step, err := parseRange(part)
		if err != nil {
			return nil, err
		}
		if (to-from)/step+1+len(out) > arrayMax {
			return nil, fmt.Errorf("%q: has more than %d indexes: divide it", short(s, 40), arrayMax)
		}
		for i := from; i <= to; i += step {
			if seen[i] {
				return nil, fmt.Errorf("%q: has %d twice: give each index once", short(s, 40), i)
			}
			seen[i] = true
			out = append(out, i)
		}
	}
	return out, nil
}

// parseRange reads 7, 0-99 or 0-99:10.
func parseRange(s string) (from, to, step int, err error) {
	bounds, steps, hasStep := strings.Cut(s, ":")
	first, last, isRange := strings.Cut(bounds, "-")
	if !isRange {
		last = first
	}
	step = 1
	for _, n := range []struct {
		text string
		into *int
		read bool
	}{{first, &from, true}, {last, &to, true}, {steps, &step, hasStep}} {
		if !n.read {
			continue
		}
		v, convErr := strconv.ParseUint(n.text, 10, 32)
		if convErr != nil || v > arrayIndexMax {
			return 0, 0, 0, fmt.Errorf("%q: give whole numbers of at most %d, such as 0-99, 0-99:10 or 1,5,7", short(s, 40), arrayIndexMax)
		}
		*n.into = int(v)
	}
	if to < from || step < 1 || hasStep && !isRange {
		return 0, 0, 0, fmt.Errorf("%q: give first-last, or first-last:step with a step of 1 at least", short(s, 40))
	}
	return from, to, step, nil
}

// arrayTask is a task of an array, made of what all have in common. item is the line
// that it is for; none has one in an array of numbers.
func arrayTask(common *v1.Task, key string, index int, item *string) *v1.Task {
	t := proto.CloneOf(common)
	if t.Labels == nil {
		t.Labels = map[string]string{}
	}
	t.Labels[arrayLabel], t.Labels[arrayIndexLabel] = key, strconv.Itoa(index)
	text := strconv.Itoa(index)
	if item != nil {
		text = *item
	}
	t.Name = strings.ReplaceAll(t.GetName(), placeholder, text)
	if f := t.GetFunction(); f != nil {
		f.Payload = jsonOf(text)
		return t
	}
	e := t.GetExec()
	used := false
	for i, word := range e.GetCommand() {
		used = used || strings.Contains(word, placeholder)
		e.Command[i] = strings.ReplaceAll(word, placeholder, text)
	}
	if item != nil && !used {
		e.Command = append(e.Command, text)
	}
	env := maps.Clone(e.GetEnv())
	if env == nil {
		env = map[string]string{}
	}
	for k, v := range env {
		env[k] = strings.ReplaceAll(v, placeholder, text)
	}
	env[arrayIndexEnv] = strconv.Itoa(index)
	if item != nil {
		env[arrayItemEnv] = *item
	}
	e.Env = env
	return t
}

// checkArray refuses what cannot be said of many tasks at once.
func (s *submission) checkArray(flag string) error {
	for _, f := range []string{"id", "payload"} {
		if s.given(f) {
			return fmt.Errorf("--%s: is for one task: leave it out with %s, or describe the tasks in a --file", f, flag)
		}
	}
	for _, l := range []string{arrayLabel, arrayIndexLabel} {
		if _, taken := s.task.GetLabels()[l]; taken {
			return fmt.Errorf("--label %s: is set by %s: give another key", l, flag)
		}
	}
	return nil
}
