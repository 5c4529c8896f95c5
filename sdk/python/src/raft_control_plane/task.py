"""Registered functions as the submitter sees them."""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, cast, overload

from typing_extensions import ParamSpec

from ._gen.controlplane.v1.task_pb import SubmitTaskRequest, TaskProgress
from ._gen.controlplane.v1.task_pb import Task as TaskRecord
from ._progress import bar
from ._requests import TaskOptions, ended_well, function_task
from ._signature import Signature
from .client import Client
from .errors import ResultTimeoutError, TaskError

__all__ = ["Handle", "SweepResult", "Task", "gather"]

P = ParamSpec("P")
R = TypeVar("R")


class Handle(Generic[R]):
    """A submitted call."""

    def __init__(self, client: Client, record: TaskRecord, signature: Signature) -> None:
        self._client = client
        self._signature = signature
        self.id = record.id
        """The task's id."""
        self.queue = record.queue
        """The queue that it waits in."""

    def __repr__(self) -> str:
        return f"Handle({self.id!r})"

    def record(self) -> TaskRecord:
        """Returns the task as it stands: status, attempt, error, log_tail and so on."""
        return self._client.get(self.id)

    def cancel(self) -> None:
        """Cancels the task."""
        self._client.cancel(self.id)

    def progress(self, timeout: float | None = None) -> Iterator[TaskProgress]:
        """Yields how far the function has come, as that becomes known, until the task's end."""
        return self._client.progress(self.id, timeout=timeout)

    def logs(self, *, follow: bool = False) -> Iterator[str]:
        """Yields what the function has printed; with follow also what it prints from now on, until its end."""
        return self._client.logs(self.id, follow=follow)

    async def cancel_async(self) -> None:
        """Does what cancel does, without blocking the event loop."""
        await asyncio.to_thread(self.cancel)

    def retry(self) -> None:
        """Puts the task, which failed or was cancelled, back to its queue."""
        self._client.retry(self.id)

    def explain(self) -> str:
        """Tells in one sentence why the task waits, or where it would go."""
        return self._client.explain(self.id).summary

    def wait(self, timeout: float | None = None) -> TaskRecord:
        """Waits for the end, however it is; ResultTimeoutError if it does not come in time."""
        return self._client.wait(self.id, timeout=timeout)

    def result(self, timeout: float | None = None) -> R:
        """Waits for the end and returns what the function returned.

        Raises:
            TaskFailedError: it failed; with the text of the error and its traceback.
            TaskCancelledError: it was cancelled.
            ResultTimeoutError: it had not ended in time.

        """
        return self.decode(self.wait(timeout))

    async def result_async(self, timeout: float | None = None) -> R:
        """Does what result does, without blocking the event loop."""
        return await asyncio.to_thread(self.result, timeout)

    def decode(self, record: TaskRecord) -> R:
        """Returns what the function returned, from the record of its end."""
        return cast("R", self._signature.decode_result(ended_well(record).result))


@dataclass(frozen=True)
class SweepResult(Generic[R]):
    """One point of a sweep."""

    params: dict[str, Any]
    """The arguments."""
    result: R
    """What the function returned for them."""


class Task(Generic[P, R]):
    """A function that is registered with a worker.

    Calling it calls the function, here and now. ``submit`` and its like store calls for
    workers, here or on other machines, which have registered it under the same name.
    """

    def __init__(
        self, function: Callable[..., Any], name: str, options: TaskOptions, client: Callable[[], Client]
    ) -> None:
        self.function = function
        """The function itself."""
        self.name = name
        """The name under which it is registered."""
        self.options = options
        """How its calls are to run."""
        self._client = client
        self._signature = Signature(function)
        self.__doc__ = function.__doc__
        self.__name__ = getattr(function, "__name__", name)
        self.__module__ = function.__module__
        self.__wrapped__ = function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Calls the function itself: a coroutine function returns its coroutine, and so on."""
        return self.function(*args, **kwargs)

    def with_options(self, **changes: Any) -> Task[P, R]:
        """Returns the same function with other options, such as ``queue`` or ``priority``."""
        other = copy.copy(self)
        other.options = self.options.replace(**changes)
        return other

    def request(self, *args: P.args, **kwargs: P.kwargs) -> SubmitTaskRequest:
        """Makes the message that submits a call."""
        return function_task(self.name, self._signature.encode(args, kwargs), self.options)

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Handle[R]:
        """Stores a call; it is durable when this returns."""
        client = self._client()
        return Handle(client, client.submit_task(self.request(*args, **kwargs)), self._signature)

    async def submit_async(self, *args: P.args, **kwargs: P.kwargs) -> Handle[R]:
        """Does what submit does, without blocking the event loop."""
        return await asyncio.to_thread(self.submit, *args, **kwargs)

    def handle(self, task_id: str) -> Handle[R]:
        """Returns a call that was submitted before, by its id."""
        client = self._client()
        return Handle(client, client.get(task_id), self._signature)

    def submit_many(self, calls: Iterable[SubmitTaskRequest]) -> list[Handle[R]]:
        """Stores calls made by ``request``, up to 1,000 at a time."""
        client = self._client()
        return [Handle(client, record, self._signature) for record in client.submit_tasks(list(calls))]

    @overload
    def map(
        self,
        *iterables: Iterable[Any],
        progress: bool = ...,
        timeout: float | None = ...,
        return_errors: Literal[False] = ...,
    ) -> list[R]: ...

    @overload
    def map(
        self, *iterables: Iterable[Any], progress: bool = ..., timeout: float | None = ..., return_errors: Literal[True]
    ) -> list[R | TaskError]: ...

    def map(
        self,
        *iterables: Iterable[Any],
        progress: bool = False,
        timeout: float | None = None,
        return_errors: bool = False,
    ) -> Sequence[R | TaskError]:
        """Calls the function for each item, as the built-in map does, and returns the results in order.

        What was submitted goes on if this is interrupted.

        Args:
            iterables: the arguments: the first iterable gives the first argument, and so on.
            progress: shows a progress bar, by tqdm or rich if one of them is installed. Beside
                it stands how far those that run have come, where they say so and are at most 100.
            timeout: raises ResultTimeoutError after so many seconds.
            return_errors: puts a TaskError in the place of a result, rather than raise the first.

        """
        calls = [self.request(*args) for args in zip(*iterables, strict=False)]  # type: ignore[call-arg]
        return self._all(calls, progress=progress, timeout=timeout, return_errors=return_errors)

    @overload
    def sweep(
        self,
        *,
        progress: bool = ...,
        timeout: float | None = ...,
        return_errors: Literal[False] = ...,
        **params: Iterable[Any],
    ) -> list[SweepResult[R]]: ...

    @overload
    def sweep(
        self,
        *,
        progress: bool = ...,
        timeout: float | None = ...,
        return_errors: Literal[True],
        **params: Iterable[Any],
    ) -> list[SweepResult[R | TaskError]]: ...

    def sweep(
        self,
        *,
        progress: bool = False,
        timeout: float | None = None,
        return_errors: bool = False,
        **params: Iterable[Any],
    ) -> Any:
        """Calls the function for every combination of the values given for its parameters.

        Args:
            progress: shows a progress bar.
            timeout: raises ResultTimeoutError after so many seconds.
            return_errors: puts a TaskError in the place of a result, rather than raise the first.
            params: the values of each parameter.

        """
        points = [dict(zip(params, values, strict=True)) for values in itertools.product(*params.values())]
        calls = [self.request(**point) for point in points]  # type: ignore[call-arg]
        results = self._all(calls, progress=progress, timeout=timeout, return_errors=return_errors)
        return [SweepResult(point, result) for point, result in zip(points, results, strict=True)]

    @overload
    async def map_async(
        self,
        *iterables: Iterable[Any],
        progress: bool = ...,
        timeout: float | None = ...,
        return_errors: Literal[False] = ...,
    ) -> list[R]: ...

    @overload
    async def map_async(
        self, *iterables: Iterable[Any], progress: bool = ..., timeout: float | None = ..., return_errors: Literal[True]
    ) -> list[R | TaskError]: ...

    async def map_async(
        self,
        *iterables: Iterable[Any],
        progress: bool = False,
        timeout: float | None = None,
        return_errors: bool = False,
    ) -> Sequence[R | TaskError]:
        """Does what map does, without blocking the event loop."""
        call: Callable[..., Sequence[R | TaskError]] = self.map
        how: dict[str, Any] = {"progress": progress, "timeout": timeout, "return_errors": return_errors}
        return await asyncio.to_thread(call, *iterables, **how)

    @overload
    async def sweep_async(
        self,
        *,
        progress: bool = ...,
        timeout: float | None = ...,
        return_errors: Literal[False] = ...,
        **params: Iterable[Any],
    ) -> list[SweepResult[R]]: ...

    @overload
    async def sweep_async(
        self,
        *,
        progress: bool = ...,
        timeout: float | None = ...,
        return_errors: Literal[True],
        **params: Iterable[Any],
    ) -> list[SweepResult[R | TaskError]]: ...

    async def sweep_async(
        self,
        *,
        progress: bool = False,
        timeout: float | None = None,
        return_errors: bool = False,
        **params: Iterable[Any],
    ) -> Any:
        """Does what sweep does, without blocking the event loop."""
        how: dict[str, Any] = {"progress": progress, "timeout": timeout, "return_errors": return_errors}
        return await asyncio.to_thread(self.sweep, **how, **params)

    def _all(
        self, calls: list[SubmitTaskRequest], *, progress: bool, timeout: float | None, return_errors: bool
    ) -> list[R | TaskError]:
        cursor = self._client().cursor() if calls else ""
        handles = self.submit_many(calls)
        return gather(
            handles, progress=self.name if progress else "", timeout=timeout, return_errors=return_errors, cursor=cursor
        )


def gather(
    handles: Sequence[Handle[R]],
    *,
    progress: str = "",
    timeout: float | None = None,
    return_errors: bool = False,
    cursor: str = "",
) -> list[R | TaskError]:
    """Waits for several calls and returns their results in order.

    Args:
        handles: the calls.
        progress: shows a progress bar with this title, unless it is empty.
        timeout: raises ResultTimeoutError after so many seconds.
        return_errors: puts a TaskError in the place of a result, rather than raise the first. Either
            says by ``position`` which call it is of, and by ``task_ids`` the ids of all.
        cursor: of a watch that began before the first was submitted.

    """
    results: dict[str, R | TaskError] = {}
    by_id = {handle.id: handle for handle in handles}
    task_ids = tuple(handle.id for handle in handles)
    with bar(len(by_id), progress) as shown:
        try:
            for record in _ended(by_id, timeout, cursor, shown.note if progress else None):
                try:
                    results[record.id] = by_id[record.id].decode(record)
                except TaskError as error:
                    error.position, error.task_ids = task_ids.index(record.id), task_ids
                    if not return_errors:
                        raise
                    results[record.id] = error
                shown.advance(record.id)
        except ResultTimeoutError as error:
            error.task_ids = task_ids
            raise
    return [results[handle.id] for handle in handles]


def _ended(
    by_id: dict[str, Handle[R]],
    timeout: float | None,
    cursor: str,
    on_progress: Callable[[TaskProgress], None] | None,
) -> Iterator[TaskRecord]:
    if not by_id:
        return iter(())
    queues = {handle.queue for handle in by_id.values()}
    client = next(iter(by_id.values()))._client
    return client.as_completed(
        list(by_id),
        timeout=timeout,
        cursor=cursor,
        queue=queues.pop() if len(queues) == 1 else "",
        on_progress=on_progress,
    )
