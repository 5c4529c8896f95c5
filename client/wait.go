package client

import (
	"context"
	"errors"
	"time"

	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

var errStreamEnded = errors.New("the server ended the stream")

const (
	lookAfterMin = 250 * time.Millisecond
	lookAfterMax = 10 * time.Second
)

// Wait follows a task to its end and returns it with its result. It ends with an
// error when ctx ends, the task does not exist, or the control plane cannot be
// asked.
//
// A watch tells at once when the task changed. GetTask tells what it is, and is
// also asked from time to time, so that a change before the watch was in place,
// or a proxy that holds streams back, only costs time.
func (c *Client) Wait(ctx context.Context, taskID string) (*v1.Task, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changed := c.watchTask(ctx, taskID)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for pause := lookAfterMin; ; pause = min(2*pause, lookAfterMax) {
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			return nil, contextError(ctx)
		}
		res, err := c.GetTask(ctx, &v1.GetTaskRequest{Id: taskID})
		if err != nil {
			return nil, err
		}
		if Final(res.GetTask().GetStatus()) {
			return res.GetTask(), nil
		}
		timer.Reset(pause)
	}
}

// watchTask signals when the task has reached its end. What goes wrong here
// shows in GetTask as well, which is asked anyway.
func (c *Client) watchTask(ctx context.Context, taskID string) <-chan struct{} {
	ended := make(chan struct{}, 1)
	go func() {
		req := &v1.WatchTasksRequest{TaskIds: []string{taskID}}
		err := c.WatchTasks(ctx, req, func(m *v1.WatchTasksResponse) error {
			if Final(m.GetEvent().GetStatus()) {
				ended <- struct{}{}
				return errStreamEnded
			}
			return nil
		})
		if ctx.Err() == nil && !errors.Is(err, errStreamEnded) {
			c.options.logger.Debug("watching failed, the task is asked for instead", "task", taskID, "error", err)
		}
	}()
	return ended
}

// Final reports whether a task of this status never changes again.
func Final(s v1.TaskStatus) bool {
	switch s {
	case v1.TaskStatus_TASK_STATUS_COMPLETED, v1.TaskStatus_TASK_STATUS_FAILED, v1.TaskStatus_TASK_STATUS_CANCELLED:
		return true
	default:
		return false
	}
}
