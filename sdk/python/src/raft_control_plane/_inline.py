"""Functions in the worker's own process: coroutines on a loop of theirs, and threads.

They can be asked to stop but not be made to. The loop is not the worker's own, so that a
coroutine which blocks delays other coroutines and not the heartbeats.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

from . import context as contexts
from ._call import Outcome, call, call_async
from ._log import route, sink
from ._said import Said
from .context import TaskContext

if TYPE_CHECKING:
    from ._attempt import Attempt
    from ._settings import Function

logger = logging.getLogger("raft_control_plane")


class FunctionLoop:
    """The event loop of coroutine functions, in a thread that begins with the first."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def get(self) -> asyncio.AbstractEventLoop:
        """Returns the loop."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, name="raft-functions", daemon=True).start()
        return self._loop

    def close(self) -> None:
        """Ends the loop."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)


class _Inline:
    """What both kinds have in common."""

    def __init__(self, function: Function, attempt: Attempt) -> None:
        self._function = function
        self._attempt = attempt
        self._stop = threading.Event()
        self._outcome: Future[Outcome] = Future()
        self._context = TaskContext(
            attempt.task_id,
            attempt.number,
            tuple(attempt.task.gpu_devices),
            attempt.function,
            attempt.task.traceparent,
            attempt.task.tracestate,
            self._stop,
            self._progress,
        )

    def kill(self) -> None:
        """Gives up waiting for it."""
        if not self._outcome.done():
            logger.error(
                "task %s: its function does not stop and cannot be killed: it goes on unheeded", self._attempt.task_id
            )
            self._settle(Outcome("lost", error="its function did not stop when told to"))

    def _payload(self) -> bytes:
        return self._attempt.payload

    def _settle(self, outcome: Outcome) -> None:
        if not self._outcome.done():
            self._outcome.set_result(outcome)

    def _progress(self, said: Said) -> None:
        self._attempt.said = said
        self._attempt.log.write(f"progress: {said.text}\n".encode(errors="replace"))

    def _enter(self) -> None:
        contexts._current.set(self._context)
        sink.set(self._attempt.log)
        route()


class ThreadCall(_Inline):
    """A call in a thread."""

    async def outcome(self) -> Outcome:
        """Waits for the end."""
        self._attempt.begun()
        name = f"raft-task-{self._attempt.task_id}"
        threading.Thread(target=contextvars.copy_context().run, args=(self._run,), name=name, daemon=True).start()
        return await asyncio.wrap_future(self._outcome)

    def stop(self) -> None:
        """Sets the flag that the function looks at."""
        self._stop.set()

    def _run(self) -> None:
        self._enter()
        self._settle(call(self._function.function, self._payload(), self._context, self._function.permanent))


class CoroutineCall(_Inline):
    """A coroutine."""

    def __init__(self, function: Function, attempt: Attempt, loop: FunctionLoop) -> None:
        super().__init__(function, attempt)
        self._loop = loop.get()
        self._running: asyncio.Task[None] | None = None

    async def outcome(self) -> Outcome:
        """Waits for the end."""
        self._attempt.begun()
        self._loop.call_soon_threadsafe(self._begin)
        return await asyncio.wrap_future(self._outcome)

    def stop(self) -> None:
        """Cancels it."""
        self._stop.set()
        self._loop.call_soon_threadsafe(self._cancel)

    def _begin(self) -> None:
        self._running = self._loop.create_task(self._run())
        if self._stop.is_set():
            self._running.cancel()
            self._settle(Outcome("cancelled"))  # one that never began does not end by itself

    def _cancel(self) -> None:
        if self._running is not None:
            self._running.cancel()

    async def _run(self) -> None:
        self._enter()
        function = self._function
        self._settle(await call_async(function.function, self._payload(), self._context, function.permanent))
