"""The functions that tests submit, and a program that runs a worker with them."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pydantic
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from raft_control_plane import Cancelled, PermanentError, RetryAfter, SessionReplacedError, Worker, current

QUEUE = "functions"


def make_worker(servers: str | None = None, **options: Any) -> Worker:
    """Makes a worker with all functions below."""
    worker = Worker(servers, **options)
    for function in (
        add,
        no_op,
        shout,
        scale,
        blend,
        countdown,
        train,
        broken,
        picky,
        slow,
        hold,
        spawn,
        crash,
        leave,
        mark,
        gone,
        flood,
        spans,
    ):
        worker.task(function)
    worker.task(retries=2)(flaky)
    worker.task(isolation="process", name="own_loop")(nap)
    worker.task(nap)
    worker.task(spans_async)
    worker.task(isolation="thread", name="spans_thread")(spans)
    worker.task(isolation="thread")(patient)
    worker.task(chat)
    worker.task(chat_async)
    worker.task(isolation="thread", name="chat_thread")(chat)
    last = (ArithmeticError, Fatal)
    worker.task(permanent=last)(refuse)
    worker.task(permanent=last)(refuse_async)
    worker.task(permanent=last)(refuse_yielding)
    worker.task(permanent=last, isolation="thread", name="refuse_thread")(refuse)
    worker.task(permanent=last, isolation="thread", name="refuse_yielding_thread")(refuse_yielding)
    return worker


@dataclasses.dataclass
class Settings:
    rate: float
    layers: list[int] = dataclasses.field(default_factory=list)


class Model(pydantic.BaseModel):
    name: str
    score: float = 0.5


def add(x: int, y: int = 1) -> int:
    print(f"adding {x} and {y}")
    return x + y


def chat(gate: str) -> str:
    """Prints, waits for a file, and logs."""
    print("grüße")
    while not Path(gate).exists():
        time.sleep(0.02)
    logging.getLogger("chat").warning("two")
    return "said"


chat_thread = chat


async def chat_async(gate: str) -> str:
    """Does what chat does."""
    print("grüße")
    while not Path(gate).exists():  # noqa: ASYNC110 - another process makes it
        await asyncio.sleep(0.02)
    logging.getLogger("chat").warning("two")
    return "said"


def no_op(n: int) -> int:
    return n


def shout(data: bytes) -> bytes:
    return data.upper()


def scale(settings: Settings) -> Settings:
    return Settings(settings.rate * 2, [layer + 1 for layer in settings.layers])


def blend(model: Model, others: list[Settings], tag: str | None = None) -> Model:
    return Model(name=f"{model.name}-{tag}", score=model.score + sum(other.rate for other in others))


def countdown(n: int) -> Generator[dict[str, int], None, str]:
    for left in range(n, 0, -1):
        yield {"left": left}
    return "liftoff"


async def nap(seconds: float) -> str:
    print(f"napping {seconds}")
    if seconds > 60:
        Path(os.environ["SCRATCH"], "nap-begun").touch()
    logging.getLogger("nap").warning("zzz")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        Path(os.environ.get("SCRATCH", "/nowhere"), "nap-cancelled").touch()
        raise
    return "rested"


def broken(what: str) -> None:
    print("about to break")
    logging.getLogger("broken").info("a line at level info")
    raise ValueError(f"broken: {what}")


def picky(what: str, n: int) -> int:
    if what == "bad":
        raise ValueError("no good")
    return n


def flaky(folder: str, failures: int) -> int:
    attempt = current().attempt
    if attempt <= failures:
        raise RuntimeError(f"failure {attempt}")
    return attempt


class Fatal(Exception):
    """Trying again is of no use after it, as the registration says."""


def refuse(how: str) -> Any:
    """Fails in the way asked for, or says which attempt it is."""
    if how == "permanent":
        raise PermanentError("no use")
    if how == "permanent about":
        raise PermanentError(KeyError("no use"))
    if how == "because of permanent":
        raise RuntimeError("no use") from PermanentError("deeper")
    if how == "listed":
        raise Fatal("no use")
    if how == "below listed":
        raise ZeroDivisionError("no use")
    if how == "no result":
        return {"no use"}.pop
    if how == "much later":
        raise RetryAfter(OSError("disk full"), 3600)
    if how == "soon" and current().attempt == 1:
        raise RuntimeError("busy") from RetryAfter("ask again", 0.001)
    return current().attempt


def refuse_yielding(how: str) -> Generator[str, None, Any]:
    yield "about to refuse"
    return refuse(how)


async def refuse_async(how: str) -> Any:
    await asyncio.sleep(0)
    return refuse(how)


def slow(seconds: float, folder: str) -> str:
    """Sleeps, and notes how it went."""
    try:
        Path(folder, "slow-begun").touch()
        time.sleep(seconds)
    except Cancelled:
        assert current().cancelled
        Path(folder, "slow-cancelled").write_text(str(time.monotonic()))
        raise
    return "slept"


def hold(folder: str) -> None:
    """Holds on, whatever is asked of it."""
    while True:
        try:
            Path(folder, "hold-begun").write_text(str(os.getpid()))
            time.sleep(3600)
        except BaseException as error:
            print("ignoring", repr(error))


def spawn(folder: str) -> None:
    """Starts a process and waits for it."""
    child = subprocess.Popen(["sleep", "3600"])
    Path(folder, "spawn-pid").write_text(str(child.pid))
    child.wait()


def crash() -> None:
    print("last words")
    os.kill(os.getpid(), signal.SIGKILL)


def flood(count: int) -> int:
    print("x" * count + "end")
    return count


def spans() -> list[str]:
    """Tells what it sees of the trace: its own span, the task's, and that of the environment."""
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return [carrier.get("traceparent", ""), current().traceparent, os.environ.get("TRACEPARENT", "")]


async def spans_async() -> list[str]:
    await asyncio.sleep(0)
    return spans()


def leave(code: int) -> None:
    sys.exit(code)


def patient() -> bool:
    """Waits in a thread until it is told to stop."""
    Path(os.environ["SCRATCH"], "patient-begun").touch()
    return current().wait(3600)


def mark(folder: str, name: str) -> str:
    """Appends a line and waits for a file: for tests of workers that are killed in the middle."""
    with Path(folder, "marks").open("a") as marks:
        marks.write(f"begun by {os.getppid()} in {os.getpid()}\n")
    while not Path(folder, name).exists():
        time.sleep(0.02)
    return f"attempt {current().attempt}"


def train(steps: int, folder: str) -> list[int]:
    """Trains with a checkpoint at each step, as the example does."""
    path = Path(folder, "checkpoint")
    done = int(path.read_text()) if path.exists() else 0
    begun = done
    for step in range(done, steps):
        path.write_text(str(step + 1))
        if step + 1 == steps // 2 and current().attempt == 1:
            raise RuntimeError("lost in the middle")
    return [begun, steps]


def gone(seconds: float) -> bool:
    """Holds the interpreter: no other thread of its process runs meanwhile."""
    import re

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        re.match(r"(a+)+$", "a" * 22 + "b")  # does not let go of the interpreter until it is done
    return threading.active_count() >= 1


def main() -> None:
    logging.basicConfig(level=logging.DEBUG, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    name, *options = sys.argv[1:]
    numbers = dict(option.split("=") for option in options)
    worker = make_worker(
        name=name,
        slots=int(numbers.get("slots", 2)),
        drain=float(numbers.get("drain", 0)),
        shutdown_grace=float(numbers.get("shutdown_grace", 2)),
        stop_grace=float(numbers.get("stop_grace", 1)),
    )
    try:
        worker.run()
    except SessionReplacedError as error:
        print("replaced:", error)
        sys.exit(3)


if __name__ == "__main__":
    main()
