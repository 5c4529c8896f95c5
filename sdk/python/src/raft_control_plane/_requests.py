"""Messages that both clients send."""

from __future__ import annotations

import dataclasses
import datetime
import fractions
import json
import math
import re
import secrets
import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from connectrpc.code import Code
from protobuf import Oneof
from protobuf.wkt.google.protobuf.struct_pb import ListValue, Struct, Value

from . import _tracing
from ._convert import to_json
from ._gen.controlplane.v1.query_pb import QueryRequest, QueryResponse
from ._gen.controlplane.v1.task_pb import (
    ExecTask,
    FunctionTask,
    GetTaskOutcome,
    Resources,
    SubmitTaskOutcome,
    SubmitTaskRequest,
    Task,
    TaskStatus,
)
from ._options import Constraints, RetryPolicy, within
from ._signature import checked
from ._time import duration, timestamp
from .errors import CallError, TaskCancelledError, TaskFailedError

if TYPE_CHECKING:
    from collections.abc import Sequence

FINAL = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED)
# The items and the bytes of one call of SubmitTasks; a message may have 4 MiB.
SUBMIT_ITEMS = 1000
SUBMIT_BYTES = 3 << 20
# The tasks that one call of GetTasks names.
GET_ITEMS = 1000
# What a cursor fails with when changes after it are no longer kept, or from another cluster.
STALE_CURSOR = (Code.OUT_OF_RANGE, Code.INVALID_ARGUMENT)
# A watch names at most this many tasks.
WATCH_IDS = 100
# What a function is called with: bytes as its worker expects them, or arguments by name.
Payload: TypeAlias = bytes | Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """How a task is to run; each field has the meaning and limits that the contract gives it."""

    queue: str = ""
    """Queue it waits in; "default" when empty."""
    priority: int = 0
    """Higher runs first, -1000 to 1000."""
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """At most 32 pairs."""
    resources: Mapping[str, float | str] = dataclasses.field(default_factory=dict)
    """What it reserves: "cpu" in cores, "memory" and "disk" in bytes or as text like "2GiB", "gpus"."""
    timeout: float | None = None
    """Longest run time of an attempt in seconds; none when None."""
    no_progress_timeout: float | None = None
    """An attempt that reports no progress for so many seconds is stopped and fails; never when None."""
    retries: int = 0
    """How often it is tried again after a failure, 0 to 99."""
    max_lost_attempts: int = 0
    """How many attempts may be lost with their worker, 1 to 100; 5 when 0."""
    retry_policy: RetryPolicy | None = None
    """How long it waits between failures, and which of them count; the control plane's own way when None."""
    constraints: Constraints | None = None
    """On which nodes it may run; on all when None."""
    custom: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """What else it reserves that nodes have a number of, such as {"license": 1}: at most 32 names, 1 to 10^9 each."""
    start_delay: float | None = None
    """Seconds after its submission before which it is not placed, 0.001 to 31,536,000; at once when None."""
    earliest_start: datetime.datetime | None = None
    """Instead: a time, with its zone, before which it is not placed, 1970 to 2099."""
    queue_timeout: float | None = None
    """It fails if no node has started it after so many seconds, 0.001 to 31,536,000; never when None."""
    concurrency_key: str = ""
    """At most max_concurrency tasks of one key hold nodes at a time; at most 128 bytes, none when empty."""
    max_concurrency: int = 0
    """1 to 10,000; 1 when 0. Only with a concurrency_key."""

    def __post_init__(self) -> None:
        if not 0 <= self.retries <= 99:
            raise ValueError(f"retries: {self.retries} is out of range: give 0 to 99")
        if self.timeout is not None and not 0.001 <= self.timeout <= 31_536_000:
            raise ValueError(f"timeout: {self.timeout} s is out of range: give 0.001 s to 365 days, or None")
        stuck = self.no_progress_timeout
        if stuck is not None and not 1 <= stuck <= 31_536_000:
            raise ValueError(f"no_progress_timeout: {stuck} s is out of range: give 1 s to 365 days, or None")
        unknown = sorted(self.resources.keys() - {"cpu", "memory", "disk", "gpus"})
        if unknown:
            raise ValueError(
                f"resources: {', '.join(unknown)} is not known: give cpu (cores), memory or disk (bytes) "
                "or gpus, and anything else as custom="
            )
        resources(self.resources, {})
        within("start_delay", self.start_delay, 0.001, 31_536_000)
        within("queue_timeout", self.queue_timeout, 0.001, 31_536_000)
        if self.start_delay is not None and self.earliest_start is not None:
            raise ValueError("start_delay is given beside earliest_start: give one of them")
        if self.max_concurrency and not self.concurrency_key:
            raise ValueError("max_concurrency is given without a concurrency_key: give the key whose tasks are counted")

    def replace(self, **changes: Any) -> TaskOptions:
        """Returns a copy with some options changed."""
        return dataclasses.replace(self, **changes) if changes else self


def function_task(name: str, payload: Payload, options: TaskOptions, task_id: str = "") -> SubmitTaskRequest:
    """Makes the submission of a function's call, with a key that makes a repeat safe."""
    call = FunctionTask(name=name, payload=payload_bytes(payload))
    return _submission(Oneof("function", call), name, options, task_id)


def payload_bytes(payload: Payload) -> bytes:
    """Returns bytes as they are, and the JSON of arguments by name, as a Task sends them."""
    if isinstance(payload, (bytes, bytearray, memoryview)):
        return checked(bytes(payload), "the payload")
    if isinstance(payload, Mapping):
        return checked(to_json(dict(payload)), "the payload")
    raise TypeError(
        f"payload: {type(payload).__name__} is not allowed: give a dict of the arguments by name, "
        "or bytes as the worker expects them, such as json.dumps(value).encode()"
    )


def exec_task(
    command: Sequence[str], env: Mapping[str, str], name: str, options: TaskOptions, task_id: str = ""
) -> SubmitTaskRequest:
    """Makes the submission of a command."""
    if isinstance(command, (str, bytes)):
        raise TypeError(
            f"command: {type(command).__name__} is not allowed: give a list of the program and its arguments, "
            'such as ["echo", "hi"] or shlex.split(…); ["sh", "-c", …] for a shell'
        )
    if wrong := [item for item in command if not isinstance(item, str)]:
        raise TypeError(f"command: {wrong[0]!r} is not allowed: give str for the program and each argument")
    return _submission(Oneof("exec", ExecTask(command=list(command), env=dict(env))), name, options, task_id)


def _submission(work: Any, name: str, options: TaskOptions, task_id: str) -> SubmitTaskRequest:
    task = Task(
        id=task_id or new_task_id(),
        name=name,
        queue=options.queue,
        priority=options.priority,
        labels=dict(options.labels),
        work=work,
        resources=resources(options.resources, options.custom),
        timeout=duration(options.timeout) if options.timeout is not None else None,
        no_progress_timeout=(
            duration(options.no_progress_timeout) if options.no_progress_timeout is not None else None
        ),
        max_attempts=options.retries + 1,
        max_lost_attempts=options.max_lost_attempts,
        retry_policy=options.retry_policy.message() if options.retry_policy is not None else None,
        constraints=options.constraints.message() if options.constraints is not None else None,
        start_delay=duration(options.start_delay) if options.start_delay is not None else None,
        earliest_start_time=timestamp(options.earliest_start) if options.earliest_start is not None else None,
        queue_timeout=duration(options.queue_timeout) if options.queue_timeout is not None else None,
        concurrency_key=options.concurrency_key,
        max_concurrency=options.max_concurrency,
    )
    return SubmitTaskRequest(task=_tracing.fill(task))


def resources(amounts: Mapping[str, float | str], custom: Mapping[str, int]) -> Resources | None:
    """Turns cores, bytes and GPUs into the contract's units."""
    if not amounts and not custom:
        return None
    return Resources(
        cpu_millis=math.ceil(_number("cpu", amounts.get("cpu", 0), "cores") * 1000),
        memory_bytes=_bytes("memory", amounts.get("memory", 0)),
        disk_bytes=_bytes("disk", amounts.get("disk", 0)),
        gpus=_whole("gpus", amounts.get("gpus", 0)),
        custom=dict(custom),
    )


_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]*)")
_PREFIXES = "kmgtp"
# The units of the command line and of job files, in lower case.
_UNITS = {"": 1, "b": 1} | {
    prefix + ending: base ** (power + 1)
    for power, prefix in enumerate(_PREFIXES)
    for ending, base in (("ib", 1024), ("i", 1024), ("b", 1000))
}


def _bytes(name: str, amount: float | str) -> int:
    if not isinstance(amount, str):
        return int(_number(name, amount, "bytes, or text with a unit, such as '2GiB'"))
    found = _QUANTITY.fullmatch(amount)
    if found is None or (unit := _UNITS.get(found[2].lower())) is None:
        raise ValueError(
            f"resources: {name}: {amount!r}: give a number of bytes, or text with a unit, such as '512MiB' or '2GiB': "
            "KiB, MiB, GiB, TiB or PiB, KB, MB, GB, TB or PB, or B"
        )
    exact = fractions.Fraction(found[1]) * unit
    if exact.denominator != 1 or exact >= 1 << 63:
        raise ValueError(f"resources: {name}: {amount!r}: give a whole number of bytes, less than 8 EiB")
    return int(exact)


def _number(name: str, amount: float | str, what: str) -> float:
    if isinstance(amount, str):
        raise TypeError(f"resources: {name}: {amount!r}: give a number of {what}")
    if not 0 <= amount < 1 << 63:  # nor NaN
        raise ValueError(f"resources: {name}: {amount!r} is out of range: give 0 or more {what}")
    return amount


def _whole(name: str, amount: float | str) -> int:
    number = _number(name, amount, "whole GPUs")
    if number != int(number):
        raise ValueError(f"resources: {name}: {amount!r}: give a whole number")
    return int(number)


def keyed(request: SubmitTaskRequest) -> SubmitTaskRequest:
    """Returns the submission with a key that makes a repeat safe and the present span, if it has none."""
    task = request.task
    if task is None:  # the control plane refuses it
        return request
    spanless = not task.traceparent and _tracing.present()
    keyless = not request.request_id and not task.id
    if not spanless and not keyless:
        return request
    task = Task.from_binary(task.to_binary())  # the caller's stays as it is
    if spanless:
        task = _tracing.fill(task)
    if keyless:
        task.id = new_task_id()
    return SubmitTaskRequest(task=task, request_id=request.request_id)


def new_task_id() -> str:
    """Makes a UUID of version 7, which Python has itself from 3.14 on.

    Such ids are ordered by time, so that the control plane's index over them stays compact.
    """
    ms = time.time_ns() // 1_000_000
    chance = secrets.randbits(74)
    return str(uuid.UUID(int=ms << 80 | 7 << 76 | chance >> 62 << 64 | 2 << 62 | chance & (1 << 62) - 1))


def batches(requests: Sequence[SubmitTaskRequest]) -> list[list[SubmitTaskRequest]]:
    """Cuts submissions into calls that the contract allows."""
    calls: list[list[SubmitTaskRequest]] = []
    size = SUBMIT_BYTES
    for request in requests:
        added = len(request.to_binary())
        if size + added > SUBMIT_BYTES or len(calls[-1]) == SUBMIT_ITEMS:
            calls.append([])
            size = 0
        calls[-1].append(request)
        size += added
    return calls


def stored(outcome: SubmitTaskOutcome) -> Task:
    """Returns the task of one submission of several, or raises why it was not stored."""
    found = outcome.outcome
    if found is not None and found.field == "task":
        return found.value
    if found is not None and found.field == "task_id":
        return Task(id=found.value)
    if found is not None and found.field == "error":
        raise CallError(Code(found.value.code), found.value.message)
    raise CallError(Code.INTERNAL, "the control plane gave no outcome of the submission: submit again")


def found(outcomes: Sequence[GetTaskOutcome]) -> list[Task | None]:
    """Returns the tasks that an answer holds, None for one that is not there, up to what did not fit."""
    tasks: list[Task | None] = []
    for outcome in outcomes:
        one = outcome.outcome
        if one is not None and one.field == "task":
            tasks.append(one.value)
        elif one is not None and one.value.code == Code.NOT_FOUND.value:
            tasks.append(None)
        elif one is not None and one.value.code == Code.RESOURCE_EXHAUSTED.value and tasks:
            break
        elif one is not None:
            raise CallError(Code(one.value.code), one.value.message)
        else:
            break
    if not tasks:
        raise CallError(Code.INTERNAL, "the control plane gave no outcome of the read: ask again")
    return tasks


def ended_well(task: Task) -> Task:
    """Returns a task that ended COMPLETED, and raises for the others."""
    if task.status is TaskStatus.FAILED:
        raise TaskFailedError(task)
    if task.status is TaskStatus.CANCELLED:
        raise TaskCancelledError(task)
    return task


def query_request(sql: str, params: Sequence[Any]) -> QueryRequest:
    """Makes the request of a statement with its parameters."""
    return QueryRequest(sql=sql, params=[_value(param) for param in params])


def rows(response: QueryResponse) -> list[dict[str, Any]]:
    """Returns a statement's rows, each by the names of the columns."""
    return [dict(zip(response.columns, (_plain(value) for value in row.values), strict=True)) for row in response.rows]


def _value(param: Any) -> Value:
    if param is not None and not isinstance(param, (bool, int, float, str)):
        raise TypeError(f"params: {type(param).__name__} is not allowed: give None, bool, a number or str")
    value: Value = Value.from_json(json.dumps(param))
    return value


def _plain(value: Value) -> Any:
    kind = value.kind
    if kind is None or kind.field == "null_value":
        return None
    if kind.field == "number_value":
        return int(kind.value) if kind.value.is_integer() else kind.value
    if isinstance(kind.value, ListValue):
        return [_plain(item) for item in kind.value.values]
    if isinstance(kind.value, Struct):
        return {key: _plain(item) for key, item in kind.value.fields.items()}
    return kind.value
