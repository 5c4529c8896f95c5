"""A worker that runs Python's share of the functions in interop_test.go, and a program that calls them.

functions.py work            runs them as node "python" until SIGTERM
functions.py submit WORKER   calls them at a worker and prints each task's id, by function
functions.py follow WORKER   prints how far a call of climb comes at a worker, which ends once that was seen
functions.py sweep COUNT     runs COUNT calls of its own, the second half once the file GO is there

CA_FILE holds the authority of servers with TLS.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

from raft_control_plane import Task, TaskOptions, Worker

trace.set_tracer_provider(TracerProvider())  # here, so that the processes of functions have it too

# RAFT_NODE_SERVER names the servers, RAFT_NODE_TOKEN_FILE the token.
worker = Worker(name="python", slots=4, tls_ca=os.environ.get("CA_FILE"))


@dataclasses.dataclass
class Greeting:
    name: str
    rates: list[float]


@dataclasses.dataclass
class Described:
    text: str
    total: float


@worker.task(name="python/describe")
def describe(greeting: Greeting) -> Described:
    return Described(f"{greeting.name}!", sum(greeting.rates))


@worker.task(name="python/reverse")
def reverse(data: bytes) -> bytes:
    return data[::-1]


@worker.task(name="python/span")
def span(_: None = None) -> list[str]:
    """Returns the ids of the present span's trace and of the span above it."""
    present = trace.get_current_span()
    assert isinstance(present, ReadableSpan)
    assert present.parent is not None
    return [f"{present.parent.trace_id:032x}", f"{present.parent.span_id:016x}"]


@worker.task(name="python/climb", no_progress_timeout=3600)
def climb(gate: str) -> Generator[tuple[int, int, str], None, str]:
    """Goes on once the file is there, which its caller makes when it has seen how far it is."""
    yield 1, 2, "Grüße"
    while not Path(gate).exists():
        time.sleep(0.02)
    yield 2, 2, "done"
    return "up"


@worker.task(name="python/double")
async def double(n: int, held: bool) -> int:
    while held and not Path(os.environ["GO"]).exists():
        await asyncio.sleep(0.02)
    return 2 * n


def sweep(count: int) -> None:
    with worker:
        results = double.map(range(count), [n >= count // 2 for n in range(count)], timeout=300)
    assert results == [2 * n for n in range(count)], results


def follow(where: str) -> None:
    call: Task[[str], str] = Task(climb.function, f"{where}/climb", climb.options, lambda: worker.client)
    with tempfile.TemporaryDirectory() as folder:
        gate = Path(folder, "gate")
        for said in call.submit(str(gate)).progress(timeout=60):
            assert said.progress is not None
            print(said.progress.done, said.progress.total, said.progress.message)
            gate.touch()


def submit(where: str) -> None:
    calls: list[tuple[Task[[Any], Any], Any]] = [
        (describe, Greeting("Grüße, 世界 😀", [0.5, 0.25])),
        (reverse, b"\x00\xff\n\x80a"),
    ]
    ids = {}
    for task, argument in calls:
        name = task.function.__name__
        call: Task[[Any], Any] = Task(task.function, f"{where}/{name}", TaskOptions(), lambda: worker.client)
        handle = call.submit(argument)
        result, wanted = handle.result(60), task(argument)
        assert result == wanted, (name, result, wanted)
        ids[name] = handle.id
    print(json.dumps(ids))


if __name__ == "__main__":
    if sys.argv[1] == "work":
        worker.run()
    elif sys.argv[1] == "sweep":
        sweep(int(sys.argv[2]))
    elif sys.argv[1] == "follow":
        follow(sys.argv[2])
    else:
        submit(sys.argv[2])
