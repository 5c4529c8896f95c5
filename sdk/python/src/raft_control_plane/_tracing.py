"""Traces go through tasks, in the form of W3C Trace Context.

With opentelemetry-api installed, a task is submitted with the present span, and its function
runs within a span of kind consumer whose parent that is. Without it nothing happens here, and
the trace context that a task has is handed on all the same.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ._version import __version__

if TYPE_CHECKING:
    from ._gen.controlplane.v1.task_pb import Task
    from .context import TaskContext

try:
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    _PROPAGATOR: TraceContextTextMapPropagator | None = TraceContextTextMapPropagator()
except ImportError:
    _PROPAGATOR = None

# What the contract takes of a tracestate.
_MAX_STATE = 512
# Spans are exported between tasks, for a process may be killed at any time after one.
_FLUSH_MS = 1000


def present() -> dict[str, str]:
    """Returns traceparent and tracestate of the present span; empty if there is none."""
    carrier: dict[str, str] = {}
    if _PROPAGATOR is not None:
        _PROPAGATOR.inject(carrier)
    if len(carrier.get("tracestate", "")) > _MAX_STATE:
        del carrier["tracestate"]  # a state that is not sent harms no trace
    return carrier


def fill(task: Task) -> Task:
    """Names the present span as the one that submits a task, unless the task names one."""
    if not task.traceparent and (carrier := present()):
        task.traceparent = carrier.get("traceparent", "")
        task.tracestate = carrier.get("tracestate", "")
    return task


def export_to_environ(context: TaskContext) -> None:
    """Sets TRACEPARENT and TRACESTATE for what the function starts."""
    for name, value in (("TRACEPARENT", context.traceparent), ("TRACESTATE", context.tracestate)):
        if value:
            os.environ[name] = value
        else:
            os.environ.pop(name, None)


@contextlib.contextmanager
def consumer(context: TaskContext) -> Iterator[None]:
    """Puts a span around a function; one that raises ends it with the error."""
    if _PROPAGATOR is None:
        yield
        return
    # One that is malformed is ignored, as the specification asks.
    parent = _PROPAGATOR.extract({"traceparent": context.traceparent, "tracestate": context.tracestate})
    attributes: dict[str, str | int] = {
        "controlplane.task.id": context.task_id,
        "controlplane.task.attempt": context.attempt,
    }
    tracer = trace.get_tracer("raft_control_plane", __version__)
    with tracer.start_as_current_span(
        context.function or "task", context=parent, kind=trace.SpanKind.CONSUMER, attributes=attributes
    ):
        yield


def flush() -> None:
    """Exports what spans there are, in programs that have set up the SDK of OpenTelemetry."""
    if _PROPAGATOR is not None:
        force_flush = getattr(trace.get_tracer_provider(), "force_flush", None)
        if force_flush is not None:
            with contextlib.suppress(Exception):
                force_flush(_FLUSH_MS)
