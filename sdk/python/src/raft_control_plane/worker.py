"""Workers: registered functions, and the process that runs them."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import inspect
import logging
import multiprocessing
import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from typing_extensions import ParamSpec, Self, TypedDict, Unpack

from ._config import PEM, Servers
from ._gen.controlplane.v1.node_pb import GpuDevice, NodeSpec
from ._gen.controlplane.v1.task_pb import Resources
from ._log import routed
from ._options import MICROS, Constraints, RetryPolicy
from ._process import PROCESS_NAME
from ._requests import TaskOptions
from ._session import Session
from ._settings import Function, Settings
from ._verdict import name_of
from ._version import __version__
from .client import Client
from .task import Task

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Gpu", "RunningTask", "Worker"]

logger = logging.getLogger("raft_control_plane")

P = ParamSpec("P")
R = TypeVar("R")
Isolation = Literal["process", "thread", "coroutine"]
_FUNCTION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
_NODE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class _Decorator:
    """Registers a function; its result is typed by the kind of the function."""

    def __init__(self, register: Callable[[Callable[..., Any]], Task[Any, Any]]) -> None:
        self._register = register

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...

    @overload
    def __call__(self, function: Callable[P, Generator[Any, Any, R]], /) -> Task[P, R]: ...

    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...

    def __call__(self, function: Callable[..., Any], /) -> Task[Any, Any]:
        """Registers it."""
        return self._register(function)


@dataclass(frozen=True)
class Gpu:
    """A GPU that a worker offers."""

    index: int
    """By which CUDA_VISIBLE_DEVICES names it, 0 to 1,023."""
    model: str = ""
    """Such as "NVIDIA H100 80GB HBM3"; at most 128 bytes."""
    memory: int = 0
    """Its memory in bytes."""


class MoreOptions(TypedDict, total=False):
    """Options of a task beside the usual ones, as TaskOptions has them."""

    retry_policy: RetryPolicy | None
    constraints: Constraints | None
    custom: Mapping[str, int]
    start_delay: float | None
    earliest_start: datetime.datetime | None
    queue_timeout: float | None
    concurrency_key: str
    max_concurrency: int


@dataclass(frozen=True)
class RunningTask:
    """A task that a worker holds."""

    task_id: str
    attempt: int
    function: str
    progress: str
    """What its function last said of its progress, as JSON; empty when it said nothing."""


class Worker:
    """Runs functions for the control plane.

    It registers as a node, keeps a lease by heartbeats, fetches tasks and reports how they
    ended. What runs when it is stopped is handed back and goes to another worker.

    Args:
        servers: URLs of members; see Client, like the next four.
        token: the shared secret.
        tls_ca: authorities of the servers' certificates.
        tls_cert: certificate to show.
        tls_key: its private key.
        http2: use HTTP/2 in plaintext too.
        name: the worker's name among the nodes, 1 to 63 letters, digits, '.', '_' or '-';
            that of the host with the process id when None. Only one worker may have it.
        slots: how many tasks run at once, 1 to 10,000; the number of cores when None.
        cpu: cores that tasks may reserve; all when None.
        memory: bytes that tasks may reserve; all when None.
        disk: bytes of disk that tasks may reserve; none when 0.
        gpus: the GPUs to offer: how many from index 0 on, their indexes, or a Gpu for each, with
            the model and memory that constraints of tasks look at.
        custom: what else tasks may reserve, such as {"license": 2}: at most 32 names, 1 to 10^9 each.
        labels: at most 32 pairs by which people and constraints find it: keys 1 to 63 bytes,
            values at most 256.
        provider: its cloud, such as "aws"; at most 63 bytes, like the next three.
        region: its region.
        zone: its zone.
        instance_type: its instance type.
        spot: the machine can be taken away at short notice.
        price: US dollars an hour, up to 1,000,000; 0 when not known.
        stop_grace: seconds between Cancelled and the end by force, for a task that was
            cancelled or exceeded its timeout.
        shutdown_grace: the same for all tasks when the worker stops.
        drain: seconds that tasks have to end by themselves when the worker stops, before.
        echo: copy what functions in processes of their own print to standard error.

    """

    def __init__(
        self,
        servers: Servers = None,
        *,
        token: str | None = None,
        tls_ca: PEM = None,
        tls_cert: PEM = None,
        tls_key: PEM = None,
        http2: bool = False,
        name: str | None = None,
        slots: int | None = None,
        cpu: float | None = None,
        memory: int | None = None,
        disk: int = 0,
        gpus: int | Sequence[int] | Sequence[Gpu] = 0,
        custom: Mapping[str, int] | None = None,
        labels: Mapping[str, str] | None = None,
        provider: str = "",
        region: str = "",
        zone: str = "",
        instance_type: str = "",
        spot: bool = False,
        price: float = 0.0,
        stop_grace: float = 10.0,
        shutdown_grace: float = 5.0,
        drain: float = 0.0,
        echo: bool = False,
    ) -> None:
        self.client = Client(servers, token=token, tls_ca=tls_ca, tls_cert=tls_cert, tls_key=tls_key, http2=http2)
        """A client of the same control plane."""
        self.name = name or _default_name()
        if not _NODE_NAME.fullmatch(self.name):
            raise ValueError(f"name: {self.name!r}: give 1 to 63 letters, digits, '.', '_' or '-'")
        self.slots = _within("slots", slots if slots is not None else _cores(), 1, 10_000)
        for option, value in (("stop_grace", stop_grace), ("shutdown_grace", shutdown_grace), ("drain", drain)):
            _within(option, value, 0, 86_400)
        self._capacity = Resources(
            cpu_millis=int((cpu if cpu is not None else _cores()) * 1000),
            memory_bytes=memory if memory is not None else _memory_bytes(),
            disk_bytes=disk,
            custom=dict(custom or {}),
        )
        given = range(gpus) if isinstance(gpus, int) else gpus
        self._gpus = [gpu if isinstance(gpu, Gpu) else Gpu(gpu) for gpu in given]
        self._labels = dict(labels or {})
        self._place = (provider, region, zone, instance_type)
        self._spot = spot
        self._price = _within("price", price, 0, 1_000_000)
        self._graces = (stop_grace, shutdown_grace, drain)
        self._echo = echo
        self._functions: dict[str, Function] = {}
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._session: Session | None = None
        self._registered = threading.Event()
        self._ended = threading.Event()
        self._error: BaseException | None = None
        self._stops = 0

    @overload
    def task(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...

    @overload
    def task(self, function: Callable[P, Generator[Any, Any, R]], /) -> Task[P, R]: ...

    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...

    @overload
    def task(
        self,
        *,
        name: str | None = ...,
        isolation: Isolation | None = ...,
        retries: int = ...,
        timeout: float | None = ...,
        no_progress_timeout: float | None = ...,
        resources: Mapping[str, float | str] | None = ...,
        queue: str = ...,
        priority: int = ...,
        labels: Mapping[str, str] | None = ...,
        max_lost_attempts: int = ...,
        permanent: type[Exception] | Sequence[type[Exception]] = ...,
        **options: Unpack[MoreOptions],
    ) -> _Decorator: ...

    def task(
        self,
        function: Callable[..., Any] | None = None,
        *,
        name: str | None = None,
        isolation: Isolation | None = None,
        retries: int = 0,
        timeout: float | None = None,
        no_progress_timeout: float | None = None,
        resources: Mapping[str, float | str] | None = None,
        queue: str = "",
        priority: int = 0,
        labels: Mapping[str, str] | None = None,
        max_lost_attempts: int = 0,
        permanent: type[Exception] | Sequence[type[Exception]] = (),
        **more: Unpack[MoreOptions],
    ) -> Task[Any, Any] | _Decorator:
        """Registers a function; to be used as a decorator.

        Args:
            function: a plain function, a coroutine function, or a generator that yields its
                progress and returns its result.
            name: registered name, 1 to 128 letters, digits, '.', '_', '-', '/' or ':'; that
                of the function when None.
            isolation: where it runs. "process": in a process of its own, which can be
                killed and does not hold up the worker; the default of plain functions and
                generators. "coroutine": on an event loop in the worker's process; the default
                of coroutine functions. "thread": in a thread of the worker's process, for
                functions that wait more than they compute and look at
                ``current().cancelled``.
            retries: how often it is tried again after a failure, 0 to 99.
            timeout: longest run time of an attempt in seconds.
            no_progress_timeout: an attempt that reports no progress for so many seconds, 1 to
                365 days, is stopped and fails; see TaskContext.progress.
            resources: what it reserves: "cpu" in cores, "memory" and "disk" in bytes or like "2GiB",
                "gpus".
            queue: queue of its calls.
            priority: -1000 to 1000; higher runs first.
            labels: labels of its calls.
            max_lost_attempts: how many attempts may be lost with their worker, 5 when 0.
            permanent: exceptions after which trying again is of no use: a task that raises
                one of them, or of a class below, fails at once as by PermanentError. Arguments
                that do not fit and results that cannot be sent always do.
            more: retry_policy, constraints, custom, start_delay, earliest_start, queue_timeout,
                concurrency_key and max_concurrency, as TaskOptions has them.

        """
        options = TaskOptions(
            queue=queue,
            priority=priority,
            labels=labels or {},
            resources=resources or {},
            timeout=timeout,
            no_progress_timeout=no_progress_timeout,
            retries=retries,
            max_lost_attempts=max_lost_attempts,
            **more,
        )

        def register(function: Callable[..., Any]) -> Task[Any, Any]:
            return self._register(function, name, isolation, options, permanent)

        return _Decorator(register) if function is None else register(function)

    def _register(
        self,
        function: Callable[..., Any],
        name: str | None,
        isolation: Isolation | None,
        options: TaskOptions,
        permanent: type[Exception] | Sequence[type[Exception]],
    ) -> Task[Any, Any]:
        name = name or function.__name__
        if not _FUNCTION_NAME.fullmatch(name):
            raise ValueError(f"name: {name!r}: give 1 to 128 letters, digits, '.', '_', '-', '/' or ':'")
        if name in self._functions:
            raise ValueError(f"name: {name} is registered already: give each function a name of its own")
        if self._thread is not None:
            raise RuntimeError(f"{name}: register functions before the worker starts")
        chosen = isolation or ("coroutine" if inspect.iscoroutinefunction(function) else "process")
        _check_kind(function, name, chosen)
        task: Task[Any, Any] = Task(function, name, options, lambda: self.client)
        self._functions[name] = Function(
            name, function, chosen, function.__module__, function.__qualname__, _class_names(name, permanent)
        )
        return task

    def running(self) -> list[RunningTask]:
        """Returns the tasks that it holds now."""
        session = self._session
        if session is None:
            return []
        return [
            RunningTask(attempt.task_id, attempt.number, attempt.function, attempt.said.text if attempt.said else "")
            for attempt in session.held.all()
        ]

    def run(self) -> None:
        """Runs until SIGTERM or SIGINT, and then stops as stop says; a second signal hurries it.

        Raises:
            SessionReplacedError: another worker took the name; this one has stopped.
            ControlPlaneError: it cannot begin, for example because the token is wrong.

        """
        with self._signals():
            self._launch()
            self._ended.wait()
        self._finish()

    def start(self) -> None:
        """Starts in the background, and returns when the control plane knows the worker.

        It waits for a control plane that does not answer yet.
        """
        self._launch()
        while not self._registered.wait(0.1) and not self._ended.is_set():
            pass
        if self._ended.is_set():
            self._finish()

    def stop(self, *, hard: bool = False) -> None:
        """Stops: tasks have ``drain`` seconds to end, are then told to stop, and handed back.

        Args:
            hard: ends the functions at once.

        """
        self._ask_to_stop(hard=hard)
        self._finish()

    def join(self) -> None:
        """Waits until the worker has ended, for example because its session was replaced, and raises why."""
        self._finish()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(hard=kind is not None)

    def _launch(self) -> None:
        if multiprocessing.current_process().name == PROCESS_NAME:
            raise RuntimeError(
                "this script is imported by the process that runs its functions: "
                'start the worker under `if __name__ == "__main__":` only'
            )
        if not self._functions:
            raise RuntimeError("no function is registered: decorate one with @worker.task")
        if self._thread is not None:
            raise RuntimeError("the worker was started already: make another one")
        self._thread = threading.Thread(target=self._main, name="raft-worker", daemon=True)
        self._thread.start()

    def _main(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._error = error
        finally:
            self._ended.set()

    async def _serve(self) -> None:
        inline = any(function.isolation != "process" for function in self._functions.values())
        self._session = Session(self._settings(), self._registered.set)
        self._loop = asyncio.get_running_loop()
        if self._stops:
            self._session.stop(hard=self._stops > 1)
        with routed() if inline else contextlib.nullcontext():
            await self._session.run()

    def _settings(self) -> Settings:
        self._capacity.gpus = len(self._gpus)
        provider, region, zone, instance_type = self._place
        spec = NodeSpec(
            slots=self.slots,
            capacity=self._capacity,
            gpu_devices=[GpuDevice(index=gpu.index, model=gpu.model, memory_bytes=gpu.memory) for gpu in self._gpus],
            labels=self._labels,
            spot=self._spot,
            price_micros_per_hour=round(self._price * MICROS),
            provider=provider,
            region=region,
            zone=zone,
            instance_type=instance_type,
            version=f"python/{__version__}",
            functions=sorted(self._functions),
        )
        return Settings(self.client.config, self.name, spec, dict(self._functions), *self._graces, self._echo)

    def _ask_to_stop(self, *, hard: bool) -> None:
        self._stops += 2 if hard else 1
        loop, session = self._loop, self._session
        if loop is not None and session is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(lambda: session.stop(hard=hard))

    def _finish(self) -> None:
        if self._thread is not None:
            self._thread.join()
        self.client.close()
        error, self._error = self._error, None
        if error is not None:
            raise error

    @contextlib.contextmanager
    def _signals(self) -> Generator[None, None, None]:
        """Makes SIGTERM and SIGINT stop the worker, where signals are this thread's to handle."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def on_signal(number: int, _frame: FrameType | None) -> None:
            logger.info("%s: stopping", signal.Signals(number).name)
            self._ask_to_stop(hard=self._stops > 0)

        before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _check_kind(function: Callable[..., Any], name: str, isolation: str) -> None:
    """Refuses what cannot run in that way, and says what can."""
    if inspect.isasyncgenfunction(function):
        raise TypeError(f"{name}: an async generator cannot return a result: use async def and current().progress(…)")
    if isolation not in ("process", "thread", "coroutine"):
        raise ValueError(f"{name}: isolation {isolation!r}: give process, thread or coroutine")
    if isolation == "coroutine" and not inspect.iscoroutinefunction(function):
        raise TypeError(f"{name}: isolation coroutine is for async def functions: give process or thread")
    if isolation == "process" and "<" in function.__qualname__:
        raise TypeError(
            f"{name}: a process of its own has to import the function: define it at the top of a module, "
            'or give isolation="thread"'
        )


def _class_names(name: str, permanent: type[Exception] | Sequence[type[Exception]]) -> frozenset[str]:
    """Returns the names of exception classes, and refuses what is none."""
    kinds = (permanent,) if isinstance(permanent, type) else tuple(permanent)
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise TypeError(f"{name}: permanent: {kind!r} is no class of exceptions: give such as ValueError")
    return frozenset(map(name_of, kinds))


def _within(option: str, value: Any, low: float, high: float) -> Any:
    if not low <= value <= high:
        raise ValueError(f"{option}: {value} is out of range: give {low} to {high}")
    return value


def _default_name() -> str:
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname().partition(".")[0]).strip("._-") or "worker"
    return f"{host[:48]}-{os.getpid()}"


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
