"""What a running function can ask about its attempt."""

from __future__ import annotations

import contextvars
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .errors import Cancelled

__all__ = ["TaskContext", "current"]


@dataclass(frozen=True, eq=False)
class TaskContext:
    """One attempt, as seen by the function that it runs."""

    task_id: str
    """The task."""
    attempt: int
    """Number of the attempt, from 1."""
    gpu_devices: tuple[int, ...] = ()
    """Indexes of the GPUs that it holds, to which CUDA_VISIBLE_DEVICES is set in its process."""
    function: str = ""
    """Registered name of the function."""
    traceparent: str = ""
    """The span that submitted the task, as W3C Trace Context has it; empty if there is none."""
    tracestate: str = ""
    """What tracing systems add to that."""
    _cancelled: threading.Event = field(default_factory=threading.Event, repr=False)
    _on_progress: Callable[[str], None] = field(default=lambda _: None, repr=False)

    @property
    def cancelled(self) -> bool:
        """Whether the function is to stop."""
        return self._cancelled.is_set()

    def check(self) -> None:
        """Raises Cancelled if the function is to stop: for loops of functions that run in threads."""
        if self.cancelled:
            raise Cancelled(f"attempt {self.attempt} of task {self.task_id} is to stop")

    def wait(self, seconds: float) -> bool:
        """Sleeps, and returns True early when the function is to stop."""
        return self._cancelled.wait(seconds)

    def progress(self, value: Any) -> None:
        """Notes how far the function is: a line in its log, and Worker.running() shows the last one."""
        try:
            text = json.dumps(value, default=str)
        except (TypeError, ValueError):
            text = repr(value)
        self._on_progress(text)


_current: contextvars.ContextVar[TaskContext | None] = contextvars.ContextVar("raft_control_plane_task", default=None)
# In a process of its own there is one attempt at a time; threads that its function
# starts do not inherit the variable above.
_of_process: list[TaskContext] = []


def current() -> TaskContext:
    """Returns the attempt that the calling function belongs to.

    Raises:
        RuntimeError: it is called outside of a task.

    """
    context = _current.get() or (_of_process[-1] if _of_process else None)
    if context is None:
        raise RuntimeError("there is no task here: current() is for functions that a worker runs")
    return context
