"""One session of a worker: lease, polls, calls and reports, on an event loop of its own.

Four loops share one set of attempts (_held.py): heartbeats, polls, reports, and what is
printed (_relay.py); each
attempt is a coroutine beside them. All state belongs to the loop, so there are no locks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from connectrpc.code import Code

from ._attempt import Attempt, Call, Fate, Lease
from ._child import Job
from ._clock import boot_clock
from ._exit import rest_at_exit
from ._gen.controlplane.v1.node_connect import NodeServiceClient
from ._gen.controlplane.v1.node_pb import (
    HeartbeatRequest,
    NodeSpec,
    PollTaskRequest,
    ReportOutcome,
    ReportTaskResultsRequest,
    StopAttempt,
    TaskResult,
)
from ._gen.controlplane.v1.task_pb import Task, TaskStatus
from ._guard import Guard
from ._held import MAX_POLL_TASKS, Held
from ._inline import CoroutineCall, FunctionLoop, ThreadCall
from ._process import Pool, ProcessCall
from ._relay import Relay
from ._settings import Backoff, Function, Settings
from ._time import duration, seconds
from .aio import AsyncClient
from .errors import CallError, ControlPlaneError, SessionReplacedError

logger = logging.getLogger("raft_control_plane")

_HEARTBEAT_S = 5.0
_POLL_WAIT_S = 20.0
_POLL_SLACK_S = 10.0
_REPORT_S = 10.0
_LAST_POLL_S = 1.0
_HAND_BACK_S = 2.0
# One call of ReportTaskResults; a message may have 4 MiB.
_REPORT_BYTES = 3 << 20
_REFUSED = (Code.FAILED_PRECONDITION, Code.NOT_FOUND)


class Session:
    """Runs until it is stopped or replaced; to be made on its loop."""

    def __init__(self, settings: Settings, on_registered: Callable[[], None]) -> None:
        self._settings = settings
        self._on_registered = on_registered
        self._session_id = str(uuid.uuid4())
        self._client = AsyncClient.of(settings.config)
        self._relay = Relay(self._client, settings.node_id, self._session_id)
        self._lease = Lease()
        self.held = Held(settings.spec.slots)
        self._guard = Guard()
        modules = {function.module for function in settings.functions.values() if function.isolation == "process"}
        self._pool = Pool(self._guard, sorted(modules), echo=settings.echo)
        self._function_loop = FunctionLoop()
        self._reports: deque[tuple[Attempt, TaskResult]] = deque()
        self._report_due = asyncio.Event()
        self._register_again = asyncio.Event()
        self._stopping = asyncio.Event()
        self._hard = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._unheard = False

    def stop(self, *, hard: bool = False) -> None:
        """Begins the end: in good order, or at once."""
        self._stopping.set()
        if hard:
            self._hard.set()

    async def run(self) -> None:
        """Runs it.

        Raises:
            SessionReplacedError: another worker took the name.
            ControlPlaneError: it cannot begin at all.

        """
        try:
            if await self._until_stopping(self._register()):
                self._on_registered()
                await self._work()
        finally:
            for task in self._running:
                task.cancel()
            if self._running:
                await asyncio.wait(self._running)
            await self._pool.close()
            self._guard.close()
            self._function_loop.close()
            self._client.close()
            rest_at_exit()

    async def _until_stopping(self, work: Coroutine[Any, Any, None]) -> bool:
        """Reports whether the work was done before an order to stop came."""
        task = asyncio.ensure_future(work)
        await _first(task, self._stopping.wait())
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
            return False
        task.result()
        return True

    async def _work(self) -> None:
        polls = asyncio.ensure_future(self._poll_loop())
        others = [
            asyncio.ensure_future(loop) for loop in (self._heartbeat_loop(), self._report_loop(), self._relay.run())
        ]
        try:
            await _first(polls, *others, self._stopping.wait())
            if self._stopping.is_set():
                await self._shut_down(polls)
            for loop in (polls, *others):
                if loop.done() and not loop.cancelled():
                    loop.result()
        finally:
            for loop in (polls, *others):
                loop.cancel()
            self.held.stop_all(Fate.DROPPED, 0)

    async def _shut_down(self, polls: asyncio.Task[None]) -> None:
        """Lets finish, then stops and hands back what runs."""
        settings = self._settings
        self.held.draining = True
        polls.cancel()
        await asyncio.wait({polls})
        if settings.drain_s > 0 and self.held.all():
            logger.info("stopping: %d tasks have %g s to end", len(self.held.all()), settings.drain_s)
            await _first(self.held.empty(), self._hard.wait(), timeout_s=settings.drain_s)
        grace_s = 0.0 if self._hard.is_set() else settings.shutdown_grace_s
        if count := self.held.stop_all(Fate.HANDED_BACK, grace_s):
            logger.info("stopping: %d tasks are stopped and handed back", count)
        await self._last_poll()
        hurry = asyncio.ensure_future(self._hurry())
        await _first(self.held.empty(), timeout_s=grace_s + _HAND_BACK_S)
        hurry.cancel()
        if left := len(self.held.all()):
            logger.warning("%d tasks could not be handed back: they go to other workers when the lease is over", left)

    async def _hurry(self) -> None:
        await self._hard.wait()
        self.held.stop_all(Fate.HANDED_BACK, 0)

    # The lease.

    async def _register(self) -> None:
        """Registers the worker, and waits for a control plane that does not answer yet."""
        backoff = Backoff()
        while True:
            try:
                await self._beat(self._settings.spec)
            except CallError as error:
                if error.code is Code.FAILED_PRECONDITION:
                    raise self._replaced(error) from error
                if error.code in (Code.UNAUTHENTICATED, Code.PERMISSION_DENIED):
                    raise ControlPlaneError(f"register {self._settings.node_id}: {error}: check the token") from error
                if error.code in (Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED, Code.NOT_FOUND):
                    raise ControlPlaneError(f"register {self._settings.node_id}: {error}") from error
                self._no_answer(error)
                await asyncio.sleep(backoff.next())
            else:
                logger.info("registered as %s with %d slots", self._settings.node_id, self._settings.spec.slots)
                return

    async def _beat(self, spec: NodeSpec | None) -> None:
        interval_s = self._interval_s()
        said = self.held.said()  # before it is listed: what is said in between is said again
        request = HeartbeatRequest(
            node_id=self._settings.node_id, session_id=self._session_id, spec=spec, held=self.held.listed()
        )
        sent = boot_clock()
        timeout_s = min(interval_s, _HEARTBEAT_S)
        response = await self._client.call(NodeServiceClient.heartbeat, request, timeout=timeout_s)
        for attempt, progress in said:
            attempt.known = progress
        self._renewed(sent, seconds(response.lease))
        self._relay.held_by(response.log_generation, self.held.all())
        self._obey(response.stop)
        if self._unheard:
            self._unheard = False
            logger.info("the control plane answers again")

    async def _heartbeat_loop(self) -> None:
        backoff = Backoff()
        spec: NodeSpec | None = None  # set to register again
        wait_s = self._interval_s()
        while True:
            await _first(self._register_again.wait(), timeout_s=wait_s)
            if self._register_again.is_set():
                self._register_again.clear()
                spec = self._settings.spec
            try:
                await self._beat(spec)
            except CallError as error:
                if error.code is Code.FAILED_PRECONDITION:
                    raise self._replaced(error) from error
                if error.code is Code.NOT_FOUND and spec is None:
                    logger.warning("the control plane does not know this worker: registering again")
                    spec = self._settings.spec
                else:
                    self._no_answer(error)
                wait_s = min(backoff.next(), self._interval_s())
            else:
                spec = None
                backoff.reset()
                wait_s = self._interval_s()

    def _interval_s(self) -> float:
        return self._lease.length_s / 3 or _HEARTBEAT_S

    def _renewed(self, sent: float, length_s: float) -> None:
        if self._lease.renewed(sent, length_s):
            self._guard.until(self._lease.kill_at)

    def _obey(self, stops: Iterable[StopAttempt]) -> None:
        """Stops what the control plane says."""
        for stop in stops:
            attempt = self.held.get(stop.task_id, stop.attempt)
            if attempt is None:
                continue  # it has ended meanwhile
            if stop.reason == "cancelled":
                attempt.stop(Fate.CANCELLED, self._settings.stop_grace_s)
                continue
            if stop.reason == "drained":
                attempt.stop(Fate.HANDED_BACK, self._settings.stop_grace_s)
                continue
            if stop.reason == "no_progress":
                if attempt.fate < Fate.STUCK:
                    logger.warning("task %s makes no progress: it is stopped", attempt.task_id)
                attempt.stop(Fate.STUCK, self._settings.stop_grace_s)
                continue
            if attempt.fate is not Fate.DROPPED:
                logger.warning("task %s is no longer this worker's: stopped and dropped", attempt.task_id)
            attempt.stop(Fate.DROPPED, 0)
            self._report_due.set()  # a report of it may be waiting

    def _replaced(self, error: CallError) -> SessionReplacedError:
        return SessionReplacedError(
            f"another worker registered under the name {self._settings.node_id}, so this one has stopped its tasks: "
            f"give each worker a name of its own, or stop the other one first ({error})"
        )

    def _no_answer(self, error: CallError) -> None:
        level = logging.DEBUG if self._unheard else logging.WARNING
        logger.log(level, "no answer from the control plane: trying on (%s)", error)
        self._unheard = True

    # Polls.

    async def _poll_loop(self) -> None:
        backoff = Backoff()
        while True:
            count = await self.held.reserve()
            try:
                await self._poll(count, _POLL_WAIT_S)
            except CallError as error:
                if error.code is Code.FAILED_PRECONDITION:
                    raise self._replaced(error) from error
                if error.code is Code.NOT_FOUND:
                    self._register_again.set()
                logger.debug("poll failed: %s", error)
                await asyncio.sleep(backoff.next())
            else:
                backoff.reset()
            finally:
                self.held.release(count)

    async def _poll(self, count: int, wait_s: float) -> None:
        """Fetches tasks and begins them."""
        complete, self.held.uncertain = self.held.uncertain, True  # until the answer is here
        request = PollTaskRequest(
            node_id=self._settings.node_id,
            session_id=self._session_id,
            max_tasks=count,
            wait=duration(wait_s),
            held=self.held.listed(),
            held_complete=complete,
        )
        sent = boot_clock()
        response = await self._client.call(
            NodeServiceClient.poll_task, request, timeout=_POLL_SLACK_S, wait=wait_s, repeatable=False
        )
        self.held.uncertain = False
        self._renewed(sent, seconds(response.lease))
        self._begin(response.tasks)
        self._obey(response.stop)

    async def _last_poll(self) -> None:
        """Asks for what the poll that was cut off may have been given, to hand it back."""
        with contextlib.suppress(CallError, asyncio.TimeoutError):
            await asyncio.wait_for(self._poll(min(self._settings.spec.slots, MAX_POLL_TASKS), 0), _LAST_POLL_S)

    # Attempts.

    def _begin(self, tasks: Iterable[Task]) -> None:
        for attempt in self.held.add(tasks):
            self._relay.watch(attempt)
            task = asyncio.ensure_future(self._run(attempt))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _run(self, attempt: Attempt) -> None:
        if attempt.older is not None:
            await attempt.older.ended.wait()
            attempt.older = None
        try:
            result = await self._execute(attempt)
        except Exception as error:
            logger.exception("task %s: this worker failed to run it", attempt.task_id)
            result = attempt.failed(f"its worker failed to run it: {error!r}")
        finally:
            attempt.ended.set()
        self._reports.append((attempt, result))
        self._report_due.set()

    async def _execute(self, attempt: Attempt) -> TaskResult:
        if attempt.fate is not Fate.NONE:
            return attempt.unfinished("it was stopped before it began")
        function = self._settings.functions.get(attempt.function)
        if function is None:
            return attempt.failed(f"this worker has no function {attempt.function!r}")
        logger.debug("task %s begins: attempt %d of %s", attempt.task_id, attempt.number, function.name)
        result = await attempt.supervise(self._call(function, attempt), self._lease, self._settings.stop_grace_s)
        if result.status is TaskStatus.FAILED:
            logger.warning("task %s (%s) failed: %s", attempt.task_id, function.name, result.error.partition("\n")[0])
        return result

    def _call(self, function: Function, attempt: Attempt) -> Call:
        if function.isolation == "coroutine":
            return CoroutineCall(function, attempt, self._function_loop)
        if function.isolation == "thread":
            return ThreadCall(function, attempt)
        job = Job(
            function.module,
            function.qualname,
            attempt.payload,
            attempt.task_id,
            attempt.number,
            tuple(attempt.task.gpu_devices),
            bool(self._settings.spec.gpu_devices),
            function.permanent,
            function.name,
            attempt.task.traceparent,
            attempt.task.tracestate,
        )
        return ProcessCall(self._pool, job, attempt)

    # Reports.

    async def _report_loop(self) -> None:
        """Reports outcomes, each until it is answered.

        Also when the lease is over: only the control plane knows whether the attempt is
        still this worker's.
        """
        backoff = Backoff()
        most = MAX_POLL_TASKS
        while True:
            batch = self._take(most)
            if not batch:
                self._report_due.clear()
                await self._report_due.wait()
                continue
            most = MAX_POLL_TASKS
            try:
                left = await self._send(batch)
            except CallError as error:
                left = batch
                if error.code in _REFUSED:  # the session's end, which the heartbeats hear too
                    left = []
                    for attempt, _ in batch:
                        self.held.remove(attempt, answered=True)
                elif error.code is Code.INVALID_ARGUMENT:
                    most = 1  # find the one that is malformed
                    if len(batch) == 1:
                        left = self._malformed(*batch[0], str(error))
                logger.debug("report failed: %s", error)
            if not left:
                backoff.reset()
                continue
            self._reports.extendleft(reversed(left))
            await asyncio.sleep(backoff.next())

    def _take(self, most: int) -> list[tuple[Attempt, TaskResult]]:
        """Takes reports for one call, and leaves out what is no longer this worker's."""
        batch: list[tuple[Attempt, TaskResult]] = []
        size = 0
        while self._reports and len(batch) < most:
            attempt, result = self._reports[0]
            if attempt.fate is Fate.DROPPED:
                self.held.remove(attempt, answered=False)
                self._reports.popleft()
                continue
            size += len(result.result) + len(result.log_tail) * 2 + len(result.error) * 2 + 256
            if batch and size > _REPORT_BYTES:
                break
            batch.append(self._reports.popleft())
        return batch

    async def _send(self, batch: Sequence[tuple[Attempt, TaskResult]]) -> list[tuple[Attempt, TaskResult]]:
        """Reports a batch, and returns what was not answered.

        The call polls for the slots that the batch makes free, without waiting, so that a
        worker with work queued needs one call for each task.
        """
        most = 0 if self.held.draining else len(batch)
        request = ReportTaskResultsRequest(
            node_id=self._settings.node_id,
            session_id=self._session_id,
            results=[result for _, result in batch],
            max_tasks=most,
        )
        sent = boot_clock()
        try:
            response = await self._client.call(
                NodeServiceClient.report_task_results, request, timeout=_REPORT_S, repeatable=most == 0
            )
        except BaseException:
            self.held.uncertain = True
            raise
        self._renewed(sent, seconds(response.lease))
        self._begin(response.tasks)  # before the batch gives up its slots
        self._obey(response.stop)
        outcomes = list(response.outcomes)
        left = list(batch[len(outcomes) :])
        for (attempt, result), outcome in zip(batch, outcomes, strict=False):
            left.extend(self._answered(attempt, result, outcome))
        return left

    def _answered(
        self, attempt: Attempt, result: TaskResult, outcome: ReportOutcome
    ) -> list[tuple[Attempt, TaskResult]]:
        """Takes in the outcome of one report, and returns what to report again."""
        found = outcome.outcome
        if found is None or found.field == "status":
            self.held.remove(attempt, answered=True)
            return []
        error = found.value
        if error.code in {code.value for code in _REFUSED}:
            logger.warning("the result of task %s is refused and dropped: %s", attempt.task_id, error.message)
            self.held.remove(attempt, answered=True)
            return []
        if error.code == Code.INVALID_ARGUMENT.value:
            return self._malformed(attempt, result, error.message)
        return [(attempt, result)]

    def _malformed(self, attempt: Attempt, result: TaskResult, why: str) -> list[tuple[Attempt, TaskResult]]:
        """Replaces a report that is found malformed by a plain failure, and gives up a plain one."""
        logger.error("the result of task %s is refused as malformed: %s", attempt.task_id, why)
        if result.status is TaskStatus.FAILED and not result.log_tail:
            self.held.remove(attempt, answered=True)
            return []
        plain = TaskResult(
            task_id=attempt.task_id,
            attempt=attempt.number,
            status=TaskStatus.FAILED,
            error=f"the control plane refused the outcome of the attempt: {why[:1000]}",
            permanent=result.permanent,
        )
        return [(attempt, plain)]


async def _first(*awaited: Any, timeout_s: float | None = None) -> None:
    """Waits for the first of several, and cancels those that were made for it."""
    given = [one for one in awaited if isinstance(one, asyncio.Future)]
    made = [asyncio.ensure_future(one) for one in awaited if not isinstance(one, asyncio.Future)]
    try:
        await asyncio.wait({*given, *made}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in made:
            one.cancel()
