package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// follow waits for the end of a task, prints its output and ends with its exit
// code.
func (a *app) follow(ctx context.Context, c *client.Client, id string) error {
	fmt.Fprintf(a.err, "raft-node: submitted %s, waiting for its end\n", id)
	ctx, stop := interruptible(ctx)
	defer stop()
	endProgress := a.showProgress(ctx, c, id)
	task, err := c.Wait(ctx, id)
	endProgress()
	if errors.Is(ctx.Err(), context.Canceled) {
		return exitError{exitInterrupted, fmt.Errorf("no longer waiting. Task %s goes on: 'raft-node task get %s' shows it, 'raft-node task cancel %s' ends it", id, id, id)}
	}
	if err != nil {
		return fmt.Errorf("task %s goes on, but it could not be followed: %s. 'raft-node task get %s' shows it", id, a.explain(err), id)
	}
	if a.forPrograms() {
		err = a.print(&v1.GetTaskResponse{Task: task}, nil)
	} else {
		err = a.printOutput(task)
	}
	if err != nil {
		return err
	}
	return ending(task)
}

// printOutput prints what the task has to show: the end of a command's output as
// it is, or what a function returned.
func (a *app) printOutput(task *v1.Task) error {
	text := task.GetLogTail()
	if text == "" && task.GetFunction() != nil {
		text = string(task.GetResult())
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	_, err := fmt.Fprint(a.out, text)
	return err
}

// ending is how a task ended, as exit code and message.
func ending(task *v1.Task) error {
	switch task.GetStatus() {
	case v1.TaskStatus_TASK_STATUS_COMPLETED:
		return nil
	case v1.TaskStatus_TASK_STATUS_CANCELLED:
		return exitError{exitInterrupted, fmt.Errorf("task %s was cancelled", task.GetId())}
	}
	code := exitFailed
	if task.ExitCode != nil && task.GetExitCode() > 0 && task.GetExitCode() < 256 {
		code = int(task.GetExitCode())
	}
	message := fmt.Sprintf("task %s failed in attempt %d", task.GetId(), task.GetAttempt())
	switch {
	case task.GetError() != "":
		message += ": " + task.GetError()
	case task.ExitCode != nil:
		message += fmt.Sprintf(" with exit code %d", task.GetExitCode())
	}
	return exitError{code, errors.New(message)}
}
