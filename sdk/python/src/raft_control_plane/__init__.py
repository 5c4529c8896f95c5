"""Python SDK of the Raft control plane.

::

    worker = Worker("http://127.0.0.1:8080")

    @worker.task(retries=2, timeout=60)
    def train(rate: float) -> float: ...

    if __name__ == "__main__":
        with worker:
            print(train.map([0.1, 0.01]))
"""

from ._admin import CancelCount
from ._gen.controlplane.v1.task_pb import Task as TaskRecord
from ._gen.controlplane.v1.task_pb import TaskStatus
from ._options import Constraints, RetryPolicy, Selector
from ._queues import QueueSettings
from ._requests import TaskOptions
from ._version import __version__
from .aio import AsyncClient
from .client import Client
from .context import TaskContext, current
from .errors import (
    CallError,
    Cancelled,
    ControlPlaneError,
    PermanentError,
    ResultTimeoutError,
    RetryAfter,
    SessionReplacedError,
    TaskCancelledError,
    TaskError,
    TaskFailedError,
    UnreachableError,
)
from .task import Handle, SweepResult, Task, gather
from .worker import Gpu, RunningTask, Worker

__all__ = [
    "AsyncClient",
    "CallError",
    "CancelCount",
    "Cancelled",
    "Client",
    "Constraints",
    "ControlPlaneError",
    "Gpu",
    "Handle",
    "PermanentError",
    "QueueSettings",
    "ResultTimeoutError",
    "RetryAfter",
    "RetryPolicy",
    "RunningTask",
    "Selector",
    "SessionReplacedError",
    "SweepResult",
    "Task",
    "TaskCancelledError",
    "TaskContext",
    "TaskError",
    "TaskFailedError",
    "TaskOptions",
    "TaskRecord",
    "TaskStatus",
    "UnreachableError",
    "Worker",
    "__version__",
    "current",
    "gather",
]
