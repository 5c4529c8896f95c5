"""The blocking client.

A Client knows one or more members and keeps to the one that works: when one cannot be
reached, or has no leader to ask, the call goes on with the next, and between rounds over
all of them it waits, longer each time, until the time allowed is over. All calls are safe
to repeat: a task that has neither an id nor a request_id is given an id here.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from typing_extensions import Self

from ._admin import AdminCalls
from ._config import PEM, Servers, make_config
from ._following import Following
from ._gen.controlplane.v1.cluster_connect import ClusterServiceClientSync
from ._gen.controlplane.v1.cluster_pb import GetClusterRequest, GetClusterResponse
from ._gen.controlplane.v1.log_connect import LogServiceClientSync
from ._gen.controlplane.v1.node_connect import NodeServiceClientSync
from ._gen.controlplane.v1.query_connect import QueryServiceClientSync
from ._gen.controlplane.v1.queue_connect import QueueServiceClientSync
from ._gen.controlplane.v1.task_connect import TaskServiceClientSync
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
from ._reading import READ_S, Reading
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
from .errors import CallError, unfinished

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Client"]

Request = TypeVar("Request", contravariant=True)  # noqa: PLC0105
Response = TypeVar("Response", covariant=True)  # noqa: PLC0105
_STUBS = (
    TaskServiceClientSync,
    NodeServiceClientSync,
    QueueServiceClientSync,
    ClusterServiceClientSync,
    QueryServiceClientSync,
    LogServiceClientSync,
)


class Method(Protocol[Request, Response]):
    """A method of a generated stub, not bound to one."""

    __qualname__: str

    def __call__(
        self, stub: Any, request: Request, /, *, headers: Any = None, timeout_ms: int | None = None
    ) -> Response:
        """Calls it."""


class Client(AdminCalls):
    """Calls the control plane; for use by any number of threads.

    Args:
        servers: URLs of members, such as "http://127.0.0.1:8080", as a list or with commas
            between them; RAFT_NODE_SERVER, or a member on this machine, when None.
        token: the secret that servers with a token file ask for; RAFT_NODE_TOKEN, or what
            is in the file RAFT_NODE_TOKEN_FILE, when None.
        tls_ca: authorities that sign the servers' certificates, PEM or the name of a file;
            those of the system when None.
        tls_cert: certificate to show, PEM or the name of a file; together with tls_key.
        tls_key: its private key.
        http2: use HTTP/2 in plaintext too, where HTTP/1.1 is the default.
        timeout: how long a call may take, with all its attempts, in seconds.

    """

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
        self.config = make_config(servers, token, tls_ca, tls_cert, tls_key, http2=http2, timeout=timeout)
        self._rota = Rota(self.config.servers)
        self._connections: list[dict[str, Any]] = []
        self._streams: list[TaskServiceClientSync] = []
        self._mutex = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def servers(self) -> tuple[str, ...]:
        """The URLs that it calls."""
        return self.config.servers

    def close(self) -> None:
        """Gives up the connections; a later call makes new ones."""
        with self._mutex:
            self._connections, self._streams = [], []

    def call(self, method: Method[Request, Response], request: Request, *, timeout: float | None = None) -> Response:
        """Makes any call of the contract that is safe to repeat.

        For example ``client.call(TaskServiceClientSync.get_task, GetTaskRequest(id="t1"))``,
        with the stubs of ``raft_control_plane.v1``.
        """
        name = method.__qualname__
        retry = Retry(self._rota, name, self.config.timeout_s if timeout is None else timeout)
        while True:
            index = self._rota.pick()
            stub = self._connected()[index][name.partition(".")[0]]
            try:
                return method(stub, request, headers=self.config.headers, timeout_ms=retry.share_ms())
            except ConnectError as error:
                time.sleep(retry.next(index, error))

    def submit(
        self, function: str, payload: Payload = b"", *, task_id: str = "", options: TaskOptions | None = None
    ) -> Task:
        """Stores a call of a function that some worker has registered, and returns the task.

        Args:
            function: its registered name.
            payload: its arguments by name, as a dict or a dataclass, which are sent as JSON; or
                bytes as the worker expects them. At most 1 MiB.
            task_id: an id of your own; the control plane gives one when empty.
            options: queue, retries, timeout and so on.

        """
        return self.submit_task(function_task(function, payload, options or TaskOptions(), task_id))

    def submit_command(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        name: str = "",
        task_id: str = "",
        options: TaskOptions | None = None,
    ) -> Task:
        """Stores a command for the agents to run, and returns the task."""
        return self.submit_task(exec_task(command, env or {}, name, options or TaskOptions(), task_id))

    def submit_task(self, request: SubmitTaskRequest) -> Task:
        """Stores one task and returns it as stored."""
        response = self.call(TaskServiceClientSync.submit_task, keyed(request))
        return _present(response.task, "task")

    def submit_tasks(self, requests: Sequence[SubmitTaskRequest]) -> list[Task]:
        """Stores any number of tasks, in calls of up to 1,000, and returns them in order.

        Raises:
            CallError: one was not stored; others may have been.

        """
        tasks: list[Task] = []
        for batch in batches([keyed(request) for request in requests]):
            response = self.call(TaskServiceClientSync.submit_tasks, SubmitTasksRequest(requests=batch))
            tasks.extend(stored(outcome) for outcome in response.outcomes)
        return tasks

    def get(self, task_id: str) -> Task:
        """Returns a task with its result."""
        return _present(self.call(TaskServiceClientSync.get_task, GetTaskRequest(id=task_id)).task, "task")

    def get_tasks(self, task_ids: Sequence[str]) -> list[Task | None]:
        """Returns any number of tasks with their results, in order, None for one that is not there.

        They are read in calls of up to 1,000 tasks and some 2 MiB, each as of one moment.
        """
        tasks: list[Task | None] = []
        while len(tasks) < len(task_ids):
            ids = list(task_ids[len(tasks) : len(tasks) + GET_ITEMS])
            response = self.call(TaskServiceClientSync.get_tasks, GetTasksRequest(ids=ids))
            tasks.extend(found(response.outcomes))
        return tasks

    def cancel(self, task_id: str) -> Task:
        """Cancels a task: at once if it is not running, and through its worker otherwise."""
        return _present(self.call(TaskServiceClientSync.cancel_task, CancelTaskRequest(id=task_id)).task, "task")

    def cluster(self) -> GetClusterResponse:
        """Returns the members that hold the state."""
        return self.call(ClusterServiceClientSync.get_cluster, GetClusterRequest())

    def query(self, sql: str, params: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Runs one read-only SQL statement and returns its rows, at most 10,000, by column."""
        return rows(self.call(QueryServiceClientSync.query, query_request(sql, params)))

    def watch(
        self,
        *,
        cursor: str = "",
        task_ids: Sequence[str] = (),
        queue: str = "",
        node_id: str = "",
        timeout: float | None = None,
        progress: bool = False,
    ) -> Iterator[WatchTasksResponse]:
        """Yields each change of tasks, in order, none left out, and signs of life without one.

        It goes on at another member when one is lost. The first message comes at once.

        Args:
            cursor: where to resume: that of the last message; from now on when empty, and
                "0" for all that are kept.
            task_ids: only these, at most 100.
            queue: only this queue.
            node_id: only tasks of this node.
            timeout: ends after so many seconds, rather than never.
            progress: also yields how far these tasks come, which needs task_ids; at most once
                a second each.

        """
        request = WatchTasksRequest(
            cursor=cursor, task_ids=list(task_ids), queue=queue, node_id=node_id, progress=progress
        )
        end = None if timeout is None else time.monotonic() + timeout
        retry = Retry(self._rota, "WatchTasks", math.inf)
        while end is None or time.monotonic() < end:
            index = self._rota.pick()
            left = None if end is None else max(1, int((end - time.monotonic()) * 1000))
            try:
                self._connected()
                for message in self._streams[index].watch_tasks(request, headers=self.config.headers, timeout_ms=left):
                    request.cursor = message.cursor
                    retry.progressed()
                    yield message
                self._rota.skip(index)  # a watch has no end of its own: the server is stopping
            except ConnectError as error:
                if end is None or time.monotonic() < end:
                    time.sleep(retry.next(index, error))

    def progress(self, task_id: str, *, timeout: float | None = None) -> Iterator[TaskProgress]:
        """Yields how far a task has come, as that becomes known, until its end.

        Raises:
            ResultTimeoutError: it had not ended in time.

        """
        following = Following(task_id)
        for message in self.watch(task_ids=[task_id], timeout=timeout, progress=True):
            task = self.get(task_id) if following.asks(message) else None
            yield from following.next(message, task)
            if following.ended:
                return
        raise unfinished(1, 1, timeout)

    def logs(self, task_id: str, *, follow: bool = False, attempt: int = 0) -> Iterator[str]:
        """Yields what a task has printed, of its present or last attempt or of the one named.

        The last 64 KiB are held; a line in brackets stands for what was printed faster than
        it could be read.

        Args:
            task_id: its id.
            follow: go on as it prints more, attempt after attempt, until its end.
            attempt: only of this one.

        """
        reading = Reading(task_id, attempt, follow=follow)
        while not reading.over:
            try:
                part = self.call(LogServiceClientSync.read_log, reading.request(), timeout=READ_S).part
            except CallError as error:
                reading.refused(error)
            else:
                yield from reading.take(part)

    def wait(self, task_id: str, *, timeout: float | None = None) -> Task:
        """Waits for the end of a task and returns it, however it ended.

        Raises:
            ResultTimeoutError: it had not ended in time.

        """
        for task in self.as_completed([task_id], timeout=timeout):
            return task
        raise AssertionError("as_completed ended without its task")

    def result(self, task_id: str, *, timeout: float | None = None) -> bytes:
        """Waits for the end of a task and returns what it returned.

        Raises:
            TaskFailedError: it failed.
            TaskCancelledError: it was cancelled.
            ResultTimeoutError: it had not ended in time.

        """
        return ended_well(self.wait(task_id, timeout=timeout)).result

    def as_completed(
        self,
        task_ids: Sequence[str],
        *,
        timeout: float | None = None,
        cursor: str = "",
        queue: str = "",
        on_progress: Callable[[TaskProgress], None] | None = None,
    ) -> Iterator[Task]:
        """Yields tasks as they end, with their results.

        Args:
            task_ids: the tasks.
            timeout: raises ResultTimeoutError after so many seconds.
            cursor: of a watch that began before the tasks were stored. Without it each
                task is asked for at the beginning.
            queue: the queue of all of them, if that is one.
            on_progress: is called with how far they come, if they are at most 100.

        """
        pending = dict.fromkeys(task_ids)
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            yield from self._completed(pending, cursor, queue, deadline, on_progress)
        except CallError as error:
            if not cursor or error.code not in STALE_CURSOR:
                raise
            yield from self._completed(pending, "", queue, deadline, on_progress)
        if pending:
            raise unfinished(len(pending), len(task_ids), timeout)

    def _completed(
        self,
        pending: dict[str, None],
        cursor: str,
        queue: str,
        deadline: float | None,
        on_progress: Callable[[TaskProgress], None] | None = None,
    ) -> Iterator[Task]:
        """Yields pending tasks as they end, until none is left or the time is over."""
        begun = bool(cursor)
        ids = list(pending) if len(pending) <= WATCH_IDS else []
        left = None if deadline is None else max(0.001, deadline - time.monotonic())
        if not pending:
            return
        wanted = bool(ids) and on_progress is not None
        for message in self.watch(cursor=cursor, task_ids=ids, queue=queue, timeout=left, progress=wanted):
            if message.progress is not None and on_progress is not None:
                on_progress(message.progress)
            # The watch stands from the first message on: what ended before shows now.
            ended = [] if begun else list(pending)
            begun = True
            if message.event is not None and message.event.status in FINAL:
                ended.append(message.event.task_id)
            for task_id in ended:
                if task_id in pending and (task := self.get(task_id)).status in FINAL:
                    del pending[task_id]
                    yield task
            if not pending:
                return

    def cursor(self) -> str:
        """Returns where a watch that begins now would begin."""
        for message in self.watch(timeout=self.config.timeout_s):
            return message.cursor
        raise CallError(Code.DEADLINE_EXCEEDED, "no answer to a watch: is every server reachable?")

    def _connected(self) -> list[dict[str, Any]]:
        """Returns the stubs of each server, made at the first call."""
        with self._mutex:
            if not self._connections:
                # Messages are small: to compress each costs more than it saves.
                http, streams = self.config.sync_http(), self.config.sync_http(stream=True)
                self._connections = [
                    {kind.__name__: kind(server, http_client=http, send_compression=None) for kind in _STUBS}
                    for server in self.servers
                ]
                self._streams = [
                    TaskServiceClientSync(server, http_client=streams, send_compression=None) for server in self.servers
                ]
            return self._connections


Message = TypeVar("Message")


def _present(message: Message | None, what: str) -> Message:
    if message is None:
        raise CallError(Code.INTERNAL, f"the control plane answered without a {what}")
    return message
