"""Calls a function for an attempt: what its own process and the worker's have in common."""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Literal

from ._signature import Signature
from .context import TaskContext
from .errors import Cancelled


@dataclass(frozen=True)
class Outcome:
    """How a call ended: with a result, an error, cancelled, or without a word ("lost")."""

    kind: Literal["result", "error", "cancelled", "lost"]
    result: bytes = b""
    error: str = ""
    trace: str = ""
    exit_code: int | None = None


def call(function: Callable[..., Any], payload: bytes, context: TaskContext) -> Outcome:
    """Calls a function to its end, whatever kind it is."""
    try:
        signature = Signature(function)
        value = function(**signature.decode(payload))
        if inspect.isgenerator(value):
            value = _drive(value, context)
        elif inspect.iscoroutine(value):
            value = asyncio.run(value)
        return Outcome("result", signature.encode_result(value))
    except BaseException as error:
        return failure(error)


async def call_async(function: Callable[..., Any], payload: bytes) -> Outcome:
    """Awaits a coroutine function to its end."""
    try:
        signature = Signature(function)
        return Outcome("result", signature.encode_result(await function(**signature.decode(payload))))
    except BaseException as error:
        return failure(error)


def failure(error: BaseException) -> Outcome:
    """Returns the outcome of a call that raised."""
    if isinstance(error, (Cancelled, asyncio.CancelledError)):
        return Outcome("cancelled")
    # The first frame is this module's.
    frames = error.__traceback__.tb_next if error.__traceback__ is not None else None
    trace = "".join(traceback.format_exception(type(error), error, frames))
    return Outcome("error", error="".join(traceback.format_exception_only(type(error), error)).strip(), trace=trace)


def _drive(generator: Generator[Any, Any, Any], context: TaskContext) -> Any:
    """Runs a generator to its end: what it yields is progress, what it returns the result."""
    while True:
        try:
            context.progress(next(generator))
        except StopIteration as end:
            return end.value
