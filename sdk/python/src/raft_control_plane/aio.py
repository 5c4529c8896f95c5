"""The asyncio client: the same calls as Client, to be awaited."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from typing_extensions import Self

from ._admin import AsyncAdminCalls
from ._config import PEM, Config, Servers, make_config
from ._following import Following
from ._gen.controlplane.v1.cluster_connect import ClusterServiceClient
from ._gen.controlplane.v1.cluster_pb import GetClusterRequest, GetClusterResponse
from ._gen.controlplane.v1.log_connect import LogServiceClient
from ._gen.controlplane.v1.node_connect import NodeServiceClient
from ._gen.controlplane.v1.query_connect import QueryServiceClient
from ._gen.controlplane.v1.queue_connect import QueueServiceClient
from ._gen.controlplane.v1.task_connect import TaskServiceClient
from ._gen.controlplane.v1.task_pb import (
    CancelTaskRequest,
    GetTaskRequest,
    GetTasksRequest,
    SubmitTaskRequest,
    SubmitTasksRequest,
    Task,
    TaskProgress,
    WatchTasksRequest,
    WatchTasksResponse,
)
from ._reading import READ_SLACK_S, Reading
from ._requests import (
    FINAL,
    GET_ITEMS,
    STALE_CURSOR,
    WATCH_IDS,
    Payload,
    TaskOptions,
    batches,
    ended_well,
    exec_task,
    found,
    function_task,
    keyed,
    query_request,
    rows,
    stored,
)
from ._retry import Retry, Rota
from .client import _present
from .errors import CallError, unfinished

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["AsyncClient"]

Request = TypeVar("Request", contravariant=True)  # noqa: PLC0105
Response = TypeVar("Response", covariant=True)  # noqa: PLC0105
_STUBS = (
    TaskServiceClient,
    NodeServiceClient,
    QueueServiceClient,
    ClusterServiceClient,
    QueryServiceClient,
    LogServiceClient,
)


class Method(Protocol[Request, Response]):
    """A method of a generated asyncio stub, not bound to one."""

    __qualname__: str

    def __call__(
        self, stub: Any, request: Request, /, *, headers: Any = None, timeout_ms: int | None = None
    ) -> Awaitable[Response]:
        """Calls it."""


class AsyncClient(AsyncAdminCalls):
    """Calls the control plane from one event loop; the arguments are those of Client."""

    def __init__(
        self,
        servers: Servers = None,
        *,
        token: str | None = None,
        tls_ca: PEM = None,
        tls_cert: PEM = None,
        tls_key: PEM = None,
        http2: bool = False,
        timeout: float = 30.0,
    ) -> None:
        self._set_up(make_config(servers, token, tls_ca, tls_cert, tls_key, http2=http2, timeout=timeout))

    @classmethod
    def of(cls, config: Config) -> Self:
        """Makes a client that reaches what another one does."""
        client = cls.__new__(cls)
        client._set_up(config)
        return client

    def _set_up(self, config: Config) -> None:
        self.config = config
        self._rota = Rota(config.servers)
        # Messages are small: to compress each costs more than it saves.
        http, streams = config.async_http(), config.async_http(stream=True)
        self._stubs: list[dict[str, Any]] = [
            {kind.__name__: kind(server, http_client=http, send_compression=None) for kind in _STUBS}
            for server in config.servers
        ]
        self._streams = [
            TaskServiceClient(server, http_client=streams, send_compression=None) for server in config.servers
        ]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives up the connections."""
        self._stubs, self._streams = [], []

    async def call(
        self,
        method: Method[Request, Response],
        request: Request,
        *,
        timeout: float | None = None,
        wait: float = 0.0,
        repeatable: bool = True,
    ) -> Response:
        """Makes any call of the contract.

        Args:
            method: a method of a stub class of ``raft_control_plane.v1``.
            request: its message.
            timeout: how long it may take, with all its attempts, in seconds.
            wait: how long the server itself may wait before it answers, on top.
            repeatable: false for a call that must not be tried again by itself.

        """
        name = method.__qualname__
        timeout = self.config.timeout_s if timeout is None else timeout
        retry = Retry(self._rota, name, timeout, wait_s=wait, repeatable=repeatable)
        while True:
            index = self._rota.pick()
            stub = self._stubs[index][name.partition(".")[0]]
            try:
                return await method(stub, request, headers=self.config.headers, timeout_ms=retry.share_ms())
            except ConnectError as error:
                await asyncio.sleep(retry.next(index, error))

    async def submit(
        self, function: str, payload: Payload = b"", *, task_id: str = "", options: TaskOptions | None = None
    ) -> Task:
        """Stores a call of a function that some worker has registered, and returns the task."""
        return await self.submit_task(function_task(function, payload, options or TaskOptions(), task_id))

    async def submit_command(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        name: str = "",
        task_id: str = "",
        options: TaskOptions | None = None,
    ) -> Task:
        """Stores a command for the agents to run, and returns the task."""
        return await self.submit_task(exec_task(command, env or {}, name, options or TaskOptions(), task_id))

    async def submit_task(self, request: SubmitTaskRequest) -> Task:
        """Stores one task and returns it as stored."""
        return _present((await self.call(TaskServiceClient.submit_task, keyed(request))).task, "task")

    async def submit_tasks(self, requests: Sequence[SubmitTaskRequest]) -> list[Task]:
        """Stores any number of tasks, in calls of up to 1,000, and returns them in order."""
        tasks: list[Task] = []
        for batch in batches([keyed(request) for request in requests]):
            response = await self.call(TaskServiceClient.submit_tasks, SubmitTasksRequest(requests=batch))
            tasks.extend(stored(outcome) for outcome in response.outcomes)
        return tasks

    async def get(self, task_id: str) -> Task:
        """Returns a task with its result."""
        return _present((await self.call(TaskServiceClient.get_task, GetTaskRequest(id=task_id))).task, "task")

    async def get_tasks(self, task_ids: Sequence[str]) -> list[Task | None]:
        """Returns any number of tasks with their results, in order, None for one that is not there."""
        tasks: list[Task | None] = []
        while len(tasks) < len(task_ids):
            ids = list(task_ids[len(tasks) : len(tasks) + GET_ITEMS])
            response = await self.call(TaskServiceClient.get_tasks, GetTasksRequest(ids=ids))
            tasks.extend(found(response.outcomes))
        return tasks

    async def cancel(self, task_id: str) -> Task:
        """Cancels a task: at once if it is not running, and through its worker otherwise."""
        return _present((await self.call(TaskServiceClient.cancel_task, CancelTaskRequest(id=task_id))).task, "task")

    async def cluster(self) -> GetClusterResponse:
        """Returns the members that hold the state."""
        return await self.call(ClusterServiceClient.get_cluster, GetClusterRequest())

    async def query(self, sql: str, params: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Runs one read-only SQL statement and returns its rows, at most 10,000, by column."""
        return rows(await self.call(QueryServiceClient.query, query_request(sql, params)))

    async def watch(
        self,
        *,
        cursor: str = "",
        task_ids: Sequence[str] = (),
        queue: str = "",
        node_id: str = "",
        timeout: float | None = None,
        progress: bool = False,
    ) -> AsyncIterator[WatchTasksResponse]:
        """Yields each change of tasks, as Client.watch does."""
        request = WatchTasksRequest(
            cursor=cursor, task_ids=list(task_ids), queue=queue, node_id=node_id, progress=progress
        )
        end = None if timeout is None else time.monotonic() + timeout
        retry = Retry(self._rota, "WatchTasks", math.inf)
        while end is None or time.monotonic() < end:
            index = self._rota.pick()
            left = None if end is None else max(1, int((end - time.monotonic()) * 1000))
            try:
                stream = self._streams[index].watch_tasks(request, headers=self.config.headers, timeout_ms=left)
                async for message in stream:
                    request.cursor = message.cursor
                    retry.progressed()
                    yield message
                self._rota.skip(index)  # a watch has no end of its own: the server is stopping
            except ConnectError as error:
                if end is None or time.monotonic() < end:
                    await asyncio.sleep(retry.next(index, error))

    async def progress(self, task_id: str, *, timeout: float | None = None) -> AsyncIterator[TaskProgress]:
        """Yields how far a task has come, as Client.progress does."""
        following = Following(task_id)
        async for message in self.watch(task_ids=[task_id], timeout=timeout, progress=True):
            task = await self.get(task_id) if following.asks(message) else None
            for progress in following.next(message, task):
                yield progress
            if following.ended:
                return
        raise unfinished(1, 1, timeout)

    async def logs(self, task_id: str, *, follow: bool = False, attempt: int = 0) -> AsyncIterator[str]:
        """Yields what a task has printed, as Client.logs does."""
        reading = Reading(task_id, attempt, follow=follow)
        while not reading.over:
            try:
                response = await self.call(
                    LogServiceClient.read_log, reading.request(), timeout=READ_SLACK_S, wait=reading.wait_s
                )
            except CallError as error:
                reading.refused(error)
            else:
                for text in reading.take(response.part):
                    yield text

    async def wait(self, task_id: str, *, timeout: float | None = None) -> Task:
        """Waits for the end of a task and returns it, however it ended."""
        async for task in self.as_completed([task_id], timeout=timeout):
            return task
        raise AssertionError("as_completed ended without its task")

    async def result(self, task_id: str, *, timeout: float | None = None) -> bytes:
        """Waits for the end of a task and returns what it returned, or raises as Client.result does."""
        return ended_well(await self.wait(task_id, timeout=timeout)).result

    async def as_completed(
        self,
        task_ids: Sequence[str],
        *,
        timeout: float | None = None,
        cursor: str = "",
        queue: str = "",
    ) -> AsyncIterator[Task]:
        """Yields tasks as they end, with their results, as Client.as_completed does."""
        pending = dict.fromkeys(task_ids)
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            async for task in self._completed(pending, cursor, queue, deadline):
                yield task
        except CallError as error:
            if not cursor or error.code not in STALE_CURSOR:
                raise
            async for task in self._completed(pending, "", queue, deadline):
                yield task
        if pending:
            raise unfinished(len(pending), len(task_ids), timeout)

    async def cursor(self) -> str:
        """Returns where a watch that begins now would begin."""
        async for message in self.watch(timeout=self.config.timeout_s):
            return message.cursor
        raise CallError(Code.DEADLINE_EXCEEDED, "no answer to a watch: is every server reachable?")

    async def _completed(
        self, pending: dict[str, None], cursor: str, queue: str, deadline: float | None
    ) -> AsyncIterator[Task]:
        """Yields pending tasks as they end, until none is left or the time is over."""
        if not pending:
            return
        ids = list(pending) if len(pending) <= WATCH_IDS else []
        begun = bool(cursor)
        left = None if deadline is None else max(0.001, deadline - time.monotonic())
        async for message in self.watch(cursor=cursor, task_ids=ids, queue=queue, timeout=left):
            # The watch stands from the first message on: what ended before shows now.
            ended = [] if begun else list(pending)
            begun = True
            if message.event is not None and message.event.status in FINAL:
                ended.append(message.event.task_id)
            for task_id in ended:
                if task_id in pending and (task := await self.get(task_id)).status in FINAL:
                    del pending[task_id]
                    yield task
            if not pending:
                return
