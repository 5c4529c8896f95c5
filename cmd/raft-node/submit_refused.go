package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"connectrpc.com/connect"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// cutOff is the error of a call in which tasks were submitted, after known of them were stored.
// places are those of the call's tasks.
func (a *app) cutOff(ctx context.Context, err error, m many, places []string, known int) error {
	again := fmt.Sprintf("%d of %d tasks are known to be submitted: the same command with --request-id %s goes on, and submits none twice",
		known, m.count, shellWord(m.key))
	if m.label != "" {
		again += fmt.Sprintf(", 'raft-node task cancel --label %s' ends those that are", shellWord(m.label))
	}
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return exitError{exitInterrupted, fmt.Errorf("interrupted while submitting, %s", again)}
	case connect.CodeOf(err) == connect.CodeInvalidArgument: // a repeat would be refused as well
		text := itemPath.ReplaceAllStringFunc(a.explain(err), func(path string) string {
			parts := itemPath.FindStringSubmatch(path)
			if i, err := strconv.Atoi(parts[1]); err == nil && i < len(places) {
				return places[i] + ": "
			}
			return path
		})
		if known == 0 {
			return fmt.Errorf("%s\nnothing was submitted", text)
		}
		return fmt.Errorf("%s\n%d of %d tasks were submitted before", text, known, m.count)
	}
	return fmt.Errorf("%s\n%s", a.explain(err), again)
}

// itemPath is how a member names a task of a call.
var itemPath = regexp.MustCompile(`requests\[([0-9]+)\](?:\.task)?[.:] ?`)

// refusedItem says why a task was refused, in the words of the file or the flags that it
// comes from.
func refusedItem(place string, e *v1.ItemError) error {
	text := e.GetMessage()
	path := itemPath.FindString(text)
	if !strings.HasPrefix(text, path) || path == "" {
		return fmt.Errorf("%s: %s: %s", place, e.GetCode(), text)
	}
	return fmt.Errorf("%s: %s", place, keyFlags(text[len(path):]))
}

// keyFlags puts the flags for what makes a repeat safe into a refusal that begins with it.
func keyFlags(text string) string {
	if strings.HasPrefix(text, "request_id: ") {
		return strings.ReplaceAll(text, "request_id", "--request-id")
	}
	if id, ok := strings.CutPrefix(text, "task.id: "); ok {
		return "--id: " + id
	}
	return text
}

// refusedItems is the error of the tasks that were refused, nil if none was.
func refusedItems(refused []error, count int) error {
	if len(refused) == 0 {
		return nil
	}
	switch {
	case count == 1:
		return firstOf(refused, errors.New("the task was refused, nothing is submitted"))
	case len(refused) == count:
		return firstOf(refused, fmt.Errorf("all %d tasks were refused, nothing is submitted", count))
	default:
		return firstOf(refused, fmt.Errorf("%d of %d tasks were refused, the others are submitted", len(refused), count))
	}
}

// firstOf tells of the first errors of many tasks, a line each, and ends with the sum.
func firstOf(all []error, sum error) error {
	lines := slices.Clone(all[:min(len(all), refusedShown)])
	if more := len(all) - len(lines); more > 0 {
		lines = append(lines, fmt.Errorf("and %d more", more))
	}
	return errors.Join(append(lines, sum)...)
}
