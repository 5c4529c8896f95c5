"""Calls a function for an attempt: what its own process and the worker's have in common."""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Literal

from ._signature import Signature
from ._tracing import consumer
from ._verdict import Verdict, judge, name_of
from .context import TaskContext
from .errors import Cancelled, PermanentError, RetryAfter

# Arguments that do not fit, and results that have no JSON form, will not do so next time.
_OF_CODING = frozenset(map(name_of, (TypeError, ValueError)))


@dataclass(frozen=True)
class Outcome:
    """How a call ended: with a result, an error, cancelled, or without a word ("lost")."""

    kind: Literal["result", "error", "cancelled", "lost"]
    result: bytes = b""
    error: str = ""
    trace: str = ""
    exit_code: int | None = None
    verdict: Verdict = field(default_factory=Verdict)


def call(
    function: Callable[..., Any], payload: bytes, context: TaskContext, permanent: frozenset[str] = frozenset()
) -> Outcome:
    """Calls a function to its end, whatever kind it is.

    Args:
        function: what to call.
        payload: its arguments.
        context: the attempt.
        permanent: names of the exceptions after which trying again is of no use.

    """
    coding = True
    try:
        signature = Signature(function)
        arguments = signature.decode(payload)
        coding = False
        with consumer(context):
            value = function(**arguments)
            if inspect.isgenerator(value):
                value = _drive(value, context)
            elif inspect.iscoroutine(value):
                value = asyncio.run(value)
        coding = True
        return Outcome("result", signature.encode_result(value))
    except BaseException as error:
        return failure(error, permanent | (_OF_CODING if coding else frozenset()))


async def call_async(
    function: Callable[..., Any], payload: bytes, context: TaskContext, permanent: frozenset[str] = frozenset()
) -> Outcome:
    """Awaits a coroutine function to its end; otherwise as call."""
    coding = True
    try:
        signature = Signature(function)
        arguments = signature.decode(payload)
        coding = False
        with consumer(context):
            value = await function(**arguments)
        coding = True
        return Outcome("result", signature.encode_result(value))
    except BaseException as error:
        return failure(error, permanent | (_OF_CODING if coding else frozenset()))


def failure(error: BaseException, permanent: frozenset[str] = frozenset()) -> Outcome:
    """Returns the outcome of a call that raised."""
    if isinstance(error, (Cancelled, asyncio.CancelledError)):
        return Outcome("cancelled")
    # The first frame is this module's.
    frames = error.__traceback__.tb_next if error.__traceback__ is not None else None
    trace = "".join(traceback.format_exception(type(error), error, frames))
    return Outcome("error", error=_text(error), trace=trace, verdict=judge(error, permanent))


def _text(error: BaseException) -> str:
    """Returns what an error says; of one that only wraps another, what the other says."""
    while isinstance(error, (PermanentError, RetryAfter)) and error.args and isinstance(error.args[0], BaseException):
        error = error.args[0]
    return "".join(traceback.format_exception_only(type(error), error)).strip()


def _drive(generator: Generator[Any, Any, Any], context: TaskContext) -> Any:
    """Runs a generator to its end: what it yields is progress, what it returns the result."""
    while True:
        try:
            context.progress(next(generator))
        except StopIteration as end:
            return end.value
