"""Follows the progress of a task: what the clients have in common."""

from __future__ import annotations

from ._gen.controlplane.v1.task_pb import Task, TaskProgress, WatchTasksResponse
from ._requests import FINAL


class Following:
    """What was told of one task."""

    def __init__(self, task_id: str) -> None:
        self.ended = False
        self._task_id = task_id
        self._begun = False
        self._last: TaskProgress | None = None

    def asks(self, message: WatchTasksResponse) -> bool:
        """Tells whether the task is to be asked for: it may have ended before the watch stood."""
        return not self._begun or (message.event is not None and message.event.status in FINAL)

    def next(self, message: WatchTasksResponse, task: Task | None) -> list[TaskProgress]:
        """Takes in a message, and the task if it was asked for; returns what is new."""
        self._begun = True
        told = [] if message.progress is None else [message.progress]
        if task is not None and task.status in FINAL:
            self.ended = True
            if task.progress is not None:  # what came with the result
                told.append(
                    TaskProgress(task_id=task.id, attempt=task.attempt, progress=task.progress, time=task.progress_time)
                )
        fresh = []
        for progress in told:
            if progress != self._last:
                fresh.append(progress)
                self._last = progress
        return fresh
