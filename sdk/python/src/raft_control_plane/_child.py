"""The process that runs functions, one after the other, for a worker.

It holds no connection to the control plane. The worker gives it jobs over a socket; its
output goes to a pipe that the worker reads. When the worker ends, so does it.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import pickle
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

from . import _tracing
from . import context as contexts
from ._call import Outcome, call, failure
from ._log import LOG_FORMAT
from ._said import Said
from .context import TaskContext
from .errors import Cancelled

HEADER = struct.Struct("!I")


@dataclass(frozen=True)
class Job:
    """What a worker asks for."""

    module: str
    qualname: str
    payload: bytes
    task_id: str
    attempt: int
    gpu_devices: tuple[int, ...]
    gpus_named: bool  # the worker offers GPUs: a job without one must see none
    permanent: frozenset[str]  # names of exceptions
    function: str = ""
    traceparent: str = ""
    tracestate: str = ""


def pack(message: object) -> bytes:
    """Frames a message between a worker and its process."""
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return HEADER.pack(len(data)) + data


def find(module: str, qualname: str) -> Callable[..., Any]:
    """Returns the function of that name; of a decorated one, what is within."""
    found: Any = importlib.import_module(module)
    for name in qualname.split("."):
        found = getattr(found, name)
    return getattr(found, "function", found)  # type: ignore[no-any-return]


def main(link: socket.socket, output: Any, modules: Sequence[str]) -> None:
    """Runs jobs until the worker is gone.

    Args:
        link: to the worker.
        output: where standard output and error go.
        modules: those of the functions, imported before it is ready.

    """
    # A session of its own: Ctrl-C is for the worker, and what a function starts ends with it.
    os.setsid()
    for number, name in ((1, "stdout"), (2, "stderr")):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            getattr(sys, name).flush()
        os.dup2(output.fileno(), number)
        # A new one: the old one knows whether what it wrote to could seek.
        setattr(sys, name, open(number, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False))  # noqa: SIM115
    if not logging.getLogger().handlers:
        logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for module in modules:
        importlib.import_module(module)
    child = _Child(link)
    signal.signal(signal.SIGTERM, child.on_stop)
    with contextlib.suppress(EOFError, OSError):
        child.serve()
    os._exit(0)  # threads that functions left behind must not hold it up


class _Child:
    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._mutex = threading.Lock()
        self._calling = False
        self._stop = threading.Event()

    def serve(self) -> None:
        self._send(("ready", None))
        while True:
            self._send(("outcome", self._run(self._receive())))
            _tracing.flush()

    def on_stop(self, _number: int, _frame: FrameType | None) -> None:
        """Is the handler of SIGTERM; the worker gives no further job after one."""
        first = not self._stop.is_set()
        self._stop.set()
        if self._calling and first:
            raise Cancelled("the attempt is to stop")

    def _run(self, job: Job) -> Outcome:
        if job.gpus_named:
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, job.gpu_devices))
        os.environ["TASK_ID"], os.environ["TASK_ATTEMPT"] = job.task_id, str(job.attempt)
        context = TaskContext(
            job.task_id,
            job.attempt,
            job.gpu_devices,
            job.function,
            job.traceparent,
            job.tracestate,
            self._stop,
            self._progress,
        )
        _tracing.export_to_environ(context)
        contexts._of_process[:] = [context]
        try:
            self._calling = True
            outcome = call(find(job.module, job.qualname), job.payload, context, job.permanent)
            self._calling = False
        except BaseException as error:
            self._calling = False
            outcome = failure(error)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        return outcome

    def _progress(self, said: Said) -> None:
        print("progress:", said.text, flush=True)
        self._send(("progress", said))

    def _send(self, message: object) -> None:
        with self._mutex:
            self._link.sendall(pack(message))

    def _receive(self) -> Job:
        (size,) = HEADER.unpack(self._exactly(HEADER.size))
        job = pickle.loads(self._exactly(size))  # noqa: S301 - from the worker, which started this process
        assert isinstance(job, Job)  # noqa: S101
        return job

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            chunk = self._link.recv(size - len(data))
            if not chunk:
                raise EOFError
            data += chunk
        return bytes(data)
