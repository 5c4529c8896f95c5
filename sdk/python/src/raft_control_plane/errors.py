"""What can go wrong, as exceptions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from connectrpc.code import Code

    from ._gen.controlplane.v1.task_pb import Task

# What the contract allows.
MIN_RETRY_AFTER_S, MAX_RETRY_AFTER_S = 0.001, 86_400.0


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

    position: int | None = None
    """Of calls that were waited for together: the index of its arguments among theirs, from 0."""
    task_ids: tuple[str, ...] = ()
    """Of calls that were waited for together: the ids of all, in order. They go on."""

    def __init__(self, task: Task, message: str) -> None:
        super().__init__(message)
        self.task = task

    def __str__(self) -> str:
        text = super().__str__()
        return text if self.position is None else f"at index {self.position} of {len(self.task_ids)} calls: {text}"


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

    task_ids: tuple[str, ...] = ()
    """The ids of all tasks that were waited for, in order, where the caller has not named them."""


def unfinished(left: int, count: int, timeout_s: float | None) -> ResultTimeoutError:
    """Makes the error of a wait that is over."""
    return ResultTimeoutError(f"{left} of {count} tasks have not ended after {timeout_s} s: they go on")


class SessionReplacedError(ControlPlaneError):
    """Another worker registered under this one's name, which has stopped its tasks.

    Do not start it again under that name by itself: two workers would throw each other
    out for ever.
    """


class PermanentError(ControlPlaneError):
    """Raised by a function: trying again is of no use, and its task fails at once.

    It counts too when another error is raised ``from`` it. A message may be given, or the
    error that it is about: then the task has the text of that one.
    """

    def __init__(self, error: BaseException | str) -> None:
        super().__init__(error)
        if isinstance(error, BaseException):
            self.__cause__ = error


class RetryAfter(ControlPlaneError):
    """Raised by a function: its attempt failed, and the next one is to begin after so many seconds.

    It counts as a failure like any other: after the last of its ``retries`` the task has
    failed. It counts too when another error is raised ``from`` it. The wait is 0.001 s to
    24 h; what is beyond counts as the limit.
    """

    def __init__(self, error: BaseException | str, seconds: float) -> None:
        super().__init__(error, seconds)
        if math.isnan(seconds):
            raise ValueError("seconds: NaN is no time: give 0.001 to 86400")
        self.seconds = min(max(float(seconds), MIN_RETRY_AFTER_S), MAX_RETRY_AFTER_S)
        if isinstance(error, BaseException):
            self.__cause__ = error

    def __str__(self) -> str:
        return str(self.args[0])


class Cancelled(BaseException):
    """Raised inside a running function when its attempt is to stop.

    The reasons are a cancellation, its time limit, the end of its worker, or a lease that
    could not be renewed. Clean up and let it pass; what does not end within the grace
    period is killed. Like KeyboardInterrupt it is no Exception, so that code which
    handles errors does not swallow it.
    """
