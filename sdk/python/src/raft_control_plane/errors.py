"""What can go wrong, as exceptions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from connectrpc.code import Code

    from ._gen.controlplane.v1.task_pb import Task


class ControlPlaneError(Exception):
    """Base of the errors that this package raises."""


class CallError(ControlPlaneError):
    """A call that the control plane refused or did not answer; `code` is its Connect code."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code

    def __str__(self) -> str:
        return f"{self.code.value}: {super().__str__()}"


class UnreachableError(CallError):
    """No server gave any answer in the time allowed."""

    def __init__(self, code: Code, servers: Sequence[str], message: str) -> None:
        super().__init__(code, f"no answer from {', '.join(servers)}: {message}")
        self.servers = tuple(servers)


class TaskError(ControlPlaneError):
    """A task that did not end well; `task` is its record, with `error` and `log_tail`."""

    def __init__(self, task: Task, message: str) -> None:
        super().__init__(message)
        self.task = task


class TaskFailedError(TaskError):
    """The task ended FAILED: no attempts were left."""

    def __init__(self, task: Task) -> None:
        super().__init__(task, f"task {task.id} failed at attempt {task.attempt}: {task.error or 'no reason given'}")


class TaskCancelledError(TaskError):
    """The task was cancelled."""

    def __init__(self, task: Task) -> None:
        super().__init__(task, f"task {task.id} was cancelled")


class ResultTimeoutError(ControlPlaneError, TimeoutError):
    """The task had not ended in the time that the caller would wait; it goes on."""


def unfinished(left: int, count: int, timeout_s: float | None) -> ResultTimeoutError:
    """Makes the error of a wait that is over."""
    return ResultTimeoutError(f"{left} of {count} tasks have not ended after {timeout_s} s: they go on")


class SessionReplacedError(ControlPlaneError):
    """Another worker registered under this one's name, which has stopped its tasks.

    Do not start it again under that name by itself: two workers would throw each other
    out for ever.
    """


class Cancelled(BaseException):
    """Raised inside a running function when its attempt is to stop.

    The reasons are a cancellation, its time limit, the end of its worker, or a lease that
    could not be renewed. Clean up and let it pass; what does not end within the grace
    period is killed. Like KeyboardInterrupt it is no Exception, so that code which
    handles errors does not swallow it.
    """
