package main

import (
	"context"
	"testing"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

func TestTaskWaitHearsOfTheEnd(t *testing.T) {
	m, _ := sequenced(t, "t1")
	m.at(t, "task", "wait", "t1", "--for", "failed", "-o", "name").expect(t, 0, []string{"t1\n"}, nil)
}

func TestTaskWaitIsInterrupted(t *testing.T) {
	m, asked := sequenced(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	cliWith(ctx, "", "--server", m.url, "task", "wait", "t1", "t2").expect(t, 130, nil, []string{"no longer waiting: 2 of 2 tasks are not there: t1, t2. They go on"})
}

func TestMissingTasksAreNamed(t *testing.T) {
	ids := []string{"a", "b", "c", "d", "e"}
	for want, found := range map[string]map[string]*v1.Task{
		"5 of 5 tasks are not there: a, b, c and 2 more": {},
		"3 of 5 tasks are not there: a, c, e":            {"b": {}, "d": {}},
	} {
		if got := missing(ids, found); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
