"""Traces go from the submitter through the task to the function."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from typing import Literal

import functions
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from protobuf import Oneof

from raft_control_plane import AsyncClient, CallError, Client, Task, TaskOptions, Worker
from raft_control_plane.testing import LocalControlPlane
from raft_control_plane.v1 import FunctionTask, SubmitTaskRequest
from raft_control_plane.v1 import Task as TaskMessage

SPAN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture(scope="module")
def worker(control_plane: LocalControlPlane, exporter: InMemorySpanExporter) -> Iterator[Worker]:
    with functions.make_worker(control_plane.url, name="traced", slots=4) as one:
        yield one


def traceparent(context: trace.SpanContext | None) -> str:
    assert context is not None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


@pytest.mark.parametrize("where", ["spans", "spans_thread", "spans_async"])
def test_a_function_runs_in_the_trace_of_its_submitter(
    client: Client, worker: Worker, exporter: InMemorySpanExporter, where: str
) -> None:
    task: Task[[], list[str]] = Task(functions.spans, where, TaskOptions(), lambda: client)
    exporter.clear()
    with trace.get_tracer("test").start_as_current_span("submit") as span:
        handle = task.submit()
    parent = traceparent(span.get_span_context())
    own, of_task, environ = handle.result(60)
    assert client.get(handle.id).traceparent == of_task == parent
    if where == "spans":  # its process has not set up the SDK: the submitter's span is the present one
        assert (own, environ) == (parent, parent)
        return
    (consumer,) = (one for one in exporter.get_finished_spans() if one.name == where)
    assert traceparent(consumer.get_span_context()) == own
    assert traceparent(consumer.parent) == parent
    assert consumer.kind is trace.SpanKind.CONSUMER
    assert dict(consumer.attributes or {}) == {"controlplane.task.id": handle.id, "controlplane.task.attempt": 1}


def test_without_a_span_there_is_no_trace(client: Client, worker: Worker) -> None:
    task: Task[[], list[str]] = Task(functions.spans, "spans", TaskOptions(), lambda: client)
    assert task.submit().result(60) == ["", "", ""]


def test_a_function_that_raises_ends_its_span_with_the_error(
    client: Client, worker: Worker, exporter: InMemorySpanExporter
) -> None:
    exporter.clear()
    client.wait(client.submit("refuse_thread", b'{"how":"permanent"}').id, timeout=60)
    (span,) = (one for one in exporter.get_finished_spans() if one.name == "refuse_thread")
    assert span.status.status_code is trace.StatusCode.ERROR
    assert "no use" in (span.status.description or "")


def test_what_names_a_span_keeps_it(client: Client, worker: Worker, exporter: InMemorySpanExporter) -> None:
    request = SubmitTaskRequest(task=TaskMessage(work=_spans(), traceparent=SPAN, tracestate="a=1"))
    with trace.get_tracer("test").start_as_current_span("another"):
        stored = client.submit_task(request)
    assert (stored.traceparent, stored.tracestate) == (SPAN, "a=1")


def test_messages_made_by_hand_get_the_present_span(control_plane: LocalControlPlane, client: Client) -> None:
    async def submit() -> str:
        async with AsyncClient(control_plane.url) as one:
            return (await one.submit_task(request)).traceparent

    request = SubmitTaskRequest(task=TaskMessage(work=_spans()))
    with trace.get_tracer("test").start_as_current_span("by hand") as span:
        assert client.submit_task(request).traceparent == traceparent(span.get_span_context())
        assert asyncio.run(submit()) == traceparent(span.get_span_context())
    assert request.task is not None
    assert request.task.traceparent == "", "the caller's message was changed"


def test_a_malformed_trace_is_refused(client: Client) -> None:
    with pytest.raises(CallError, match=r"traceparent: .* is not allowed: give a W3C traceparent"):
        client.submit_task(SubmitTaskRequest(task=TaskMessage(work=_spans(), traceparent="00-x")))


def test_without_opentelemetry_all_goes_on() -> None:
    script = """
import sys
sys.modules["opentelemetry"] = None
from raft_control_plane import TaskContext, _tracing
assert _tracing.present() == {}
with _tracing.consumer(TaskContext("t", 1)):
    pass
_tracing.flush()
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def _spans() -> Oneof[Literal["function"], FunctionTask]:
    return Oneof("function", FunctionTask(name="spans"))
