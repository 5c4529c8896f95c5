"""One try of a task on this worker: until when it may run, and what becomes of it."""

from __future__ import annotations

import asyncio
import enum
import math
from dataclasses import dataclass
from typing import Any, Protocol

from ._call import Outcome
from ._clock import boot_clock
from ._gen.controlplane.v1.node_pb import TaskResult
from ._gen.controlplane.v1.task_pb import FunctionTask, Task, TaskStatus
from ._log import Tail, cut_middle
from ._said import Said
from ._time import duration, seconds

# Timers stand still while the machine is suspended: the clock is looked at this often.
_TICK_S = 1.0


class Fate(enum.IntEnum):
    """What is to become of an attempt that is stopped; a greater one counts."""

    NONE = 0
    HANDED_BACK = 1  # the worker is going away: report it unfinished
    STUCK = 2  # it makes no progress: report FAILED
    CANCELLED = 3  # report CANCELLED
    DROPPED = 4  # it is no longer this worker's: report nothing


class Cause(enum.Enum):
    """Why an attempt was told to stop."""

    ORDER = enum.auto()
    TIMEOUT = enum.auto()
    LEASE = enum.auto()


class Lease:
    """Until when the worker may run its tasks, by its own clock.

    It counts from when the last renewal that was acknowledged was SENT: the control plane
    counts from later, so the worker stops first. At four fifths of the lease functions are
    told to stop, at nine tenths they are killed; the rest is for killing and for clocks
    that run apart.
    """

    def __init__(self) -> None:
        self.length_s = 0.0
        self.stop_at = self.kill_at = -math.inf
        # How often it was renewed only after functions had to be killed.
        self.lapses = 0

    def renewed(self, sent: float, length_s: float) -> bool:
        """Takes in a renewal, and reports whether it moves the deadlines."""
        if length_s <= 0 or sent + length_s * 0.8 <= self.stop_at:
            return False  # an answer to a long poll may be older than a heartbeat's
        if boot_clock() >= self.kill_at > 0:
            self.lapses += 1
        self.length_s = length_s
        self.stop_at, self.kill_at = sent + length_s * 0.8, sent + length_s * 0.9
        return True


class Call(Protocol):
    """A call of a function under way."""

    async def outcome(self) -> Outcome:
        """Begins it and waits for its end."""

    def stop(self) -> None:
        """Tells it to stop."""

    def kill(self) -> None:
        """Makes it end, as far as that can be done."""


@dataclass(frozen=True)
class _Limit:
    soft: float
    hard: float
    cause: Cause


class Attempt:
    """One try of a task."""

    def __init__(self, task: Task, older: Attempt | None) -> None:
        self.task = task
        self.task_id = task.id
        self.number = task.attempt
        self.key = (task.id, task.attempt)
        self.older = older  # of the same task: must end before this one begins
        self.ended = asyncio.Event()
        self.fate = Fate.NONE
        self.log = Tail()
        # Up to where its log was sent; whether there is more; whether nobody wants it: see _relay.py.
        self.relayed = 0
        self.relay_due = self.muted = False
        self.said: Said | None = None  # of its progress, last
        self.known: Said | None = None  # what the control plane knows of that
        self._order: _Limit | None = None
        self._told = asyncio.Event()
        self._begun_at = math.inf
        self._cause: Cause | None = None

    @property
    def function(self) -> str:
        """The registered name of its function; empty for a task that is none."""
        work = self.task.work
        return work.value.name if work is not None and isinstance(work.value, FunctionTask) else ""

    @property
    def payload(self) -> bytes:
        """The arguments."""
        work = self.task.work
        return work.value.payload if work is not None and isinstance(work.value, FunctionTask) else b""

    def stop(self, fate: Fate, grace_s: float) -> None:
        """Orders it to stop now, and to be killed after the grace period."""
        self.fate = max(self.fate, fate)
        now = boot_clock()
        if self._order is None or now + grace_s < self._order.hard:
            self._order = _Limit(now if self._order is None else self._order.soft, now + grace_s, Cause.ORDER)
        self._told.set()

    def begun(self) -> None:
        """Starts counting its time limit: its process is ready."""
        self._begun_at = boot_clock()
        self._told.set()

    async def supervise(self, call: Call, lease: Lease, grace_s: float) -> TaskResult:
        """Runs a call to its end, which comes in time."""
        lapses = lease.lapses
        timeout_s = seconds(self.task.timeout) if self.task.timeout is not None else math.inf
        done = asyncio.ensure_future(call.outcome())
        due: _Limit | None = None
        killed = False
        try:
            while not done.done():
                end = self._begun_at + timeout_s
                limits = [
                    _Limit(end, end + grace_s, Cause.TIMEOUT),
                    _Limit(lease.stop_at, lease.kill_at, Cause.LEASE),
                    *filter(None, (self._order,)),
                ]
                now = boot_clock()
                passed = [one for one in limits if now >= one.soft]
                if due is None and passed:
                    due = min(passed, key=lambda one: one.soft)
                    self._cause = due.cause
                    call.stop()
                # What was told to stop is killed at its time, though the lease be renewed since.
                hard = min((one.hard for one in (due, *passed) if one is not None), default=math.inf)
                if now >= hard and not killed:
                    killed = True
                    call.kill()
                following = [one.soft for one in limits if one.soft > now] + ([] if killed else [hard])
                await self._await_any(done, min(_TICK_S, min(following, default=math.inf) - now))
        except asyncio.CancelledError:
            call.kill()
            done.cancel()
            raise
        if self._cause is None and lease.lapses != lapses:
            self._cause = Cause.LEASE  # its process was killed by the warden
        return self._judge(done.result(), timeout_s)

    async def _await_any(self, done: asyncio.Future[Outcome], timeout_s: float) -> None:
        self._told.clear()
        told = asyncio.ensure_future(self._told.wait())
        try:
            waited: set[asyncio.Future[Any]] = {done, told}
            await asyncio.wait(waited, timeout=max(0.0, timeout_s), return_when=asyncio.FIRST_COMPLETED)
        finally:
            told.cancel()

    def _judge(self, outcome: Outcome, timeout_s: float) -> TaskResult:
        if outcome.trace:
            self.log.write(outcome.trace.encode(errors="replace"))
        if self._cause is Cause.TIMEOUT:
            return self.failed(f"timed out after {timeout_s:g} s", outcome)
        if outcome.kind == "result" and (self._cause is None or self.fate is not Fate.CANCELLED):
            return self.result(TaskStatus.COMPLETED, result=outcome.result)
        if self._cause is not None:
            return self.unfinished(
                "stopped because its worker could not renew its lease in time"
                if self._cause is Cause.LEASE
                else "stopped by its worker"
            )
        if outcome.kind == "cancelled":
            return self.failed("its function was cancelled from within", outcome)
        return self._judged(outcome)

    def unfinished(self, why: str) -> TaskResult:
        """Is the outcome of an attempt that was stopped on purpose."""
        if self.fate is Fate.CANCELLED:
            return self.result(TaskStatus.CANCELLED)
        if self.fate is Fate.STUCK:
            limit_s = seconds(self.task.no_progress_timeout)
            return self.failed(f"stopped: it has reported no progress for {limit_s:g} s")
        return self.result(TaskStatus.PENDING, error=why)

    def failed(self, why: str, outcome: Outcome | None = None) -> TaskResult:
        """Is the outcome of an attempt that failed."""
        text = f"{why}\n\n{outcome.trace}" if outcome is not None and outcome.trace else why
        return self.result(TaskStatus.FAILED, error=text, exit_code=outcome.exit_code if outcome is not None else None)

    def _judged(self, outcome: Outcome) -> TaskResult:
        """Is the outcome of a function that failed, with what it says about trying again."""
        report = self.failed(outcome.error, outcome)
        report.permanent = outcome.verdict.permanent
        if outcome.verdict.retry_after_s > 0:
            report.retry_after = duration(outcome.verdict.retry_after_s)
        return report

    def result(
        self, status: TaskStatus, *, result: bytes = b"", error: str = "", exit_code: int | None = None
    ) -> TaskResult:
        """Makes the message that reports the attempt."""
        log_tail, log_offset = self.log.read(0)
        report = TaskResult(
            task_id=self.task_id,
            attempt=self.number,
            status=status,
            result=result,
            error=cut_middle(error),
            log_tail=log_tail,
            log_offset=log_offset,
        )
        if self.said is not None and self.said != self.known:
            report.progress = self.said.message_of_contract()
        if exit_code is not None:
            report.exit_code = exit_code
        return report
