package main

import (
	"context"
	"testing"
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
	cliWith(ctx, "", "--server", m.url, "task", "wait", "t1", "t2").expect(t, 130, nil, []string{"no longer waiting: 2 of 2 tasks are not there"})
}
