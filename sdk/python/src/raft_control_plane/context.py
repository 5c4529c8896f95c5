"""What a running function can ask about its attempt."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ._said import Said, understand
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
    _on_progress: Callable[[Said], None] = field(default=lambda _: None, repr=False)

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

    def progress(
        self, value: Any = None, *, done: float | None = None, total: float | None = None, message: str = ""
    ) -> None:
        """Tells how far the function is, which the control plane shows with its task.

        The newest goes with the worker's next heartbeat, every 5 s, and the last with the
        result. Each is a line in the log too. What differs from the one before counts as
        progress, which is what no_progress_timeout goes by.

        Args:
            value: a number from 0 to 1, the part of the whole that is done; a larger one, a
                count; two numbers, done of total; a text; a mapping of "done" and "total", or
                "fraction", and "message", and of anything else, which is shown as a text.
            done: how much is done, in a unit of your own.
            total: of how much; not known when None.
            message: what it is at, cut to 256 bytes.

        """
        self._on_progress(understand(value, done, total, message))


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
