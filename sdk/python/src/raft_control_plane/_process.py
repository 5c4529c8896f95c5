"""Functions in processes of their own: the worker's side (see _child.py)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import pickle
import signal
import socket
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ._call import Outcome
from ._child import HEADER, Job, main, pack
from ._log import Tail

if TYPE_CHECKING:
    from ._attempt import Attempt
    from ._guard import Guard

logger = logging.getLogger("raft_control_plane")

PROCESS_NAME = "raft-control-plane-task"
_READ_BYTES = 1 << 16
_END_S = 5.0
# Between the end of its socket and that of the process itself.
_DYING_S = 1.0


class Child:
    """One process, idle or with a job."""

    def __init__(self, process: Any, link: socket.socket, output: Any, guard: Guard, *, echo: bool) -> None:
        self.process = process
        self.pid: int = process.pid
        self._link = link
        self._output = output
        self._guard = guard
        self._echo = echo
        self._tail: Tail | None = None
        self._ended = False
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        os.set_blocking(output.fileno(), False)
        guard.add(self.pid)

    @property
    def ended(self) -> bool:
        """Whether it is known to have ended."""
        return self._ended

    async def connect(self) -> str:
        """Waits until it is ready, and returns what went wrong otherwise."""
        asyncio.get_running_loop().add_reader(self._output.fileno(), self._read_some)
        self._reader, self._writer = await asyncio.open_connection(sock=self._link)
        self._tail = Tail()
        if await self._receive() is not None:
            self._tail = None
            return ""
        await self.end(died=True)
        return (
            f"its process ended before it was ready ({_exit_text(self.process.exitcode)}); the worker's own output may "
            'say more. A script must start its worker under `if __name__ == "__main__":`\n' + self._tail.text()
        )

    async def run(self, job: Job, attempt: Attempt) -> Outcome:
        """Gives it a job and waits for the outcome."""
        assert self._writer is not None  # noqa: S101
        self._read_all()  # what is left of the one before is nobody's
        self._tail = attempt.log
        try:
            with contextlib.suppress(ConnectionError):  # its end shows in the answer
                self._writer.write(pack(job))
                await self._writer.drain()
            while True:
                message = await self._receive()
                if message is None:
                    await self.end(died=True)
                    return self._died()
                kind, value = message
                if kind == "outcome":
                    assert isinstance(value, Outcome)  # noqa: S101
                    return value
                attempt.said = value
        finally:
            self._read_all()
            self._tail = None

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal: SIGKILL also to all that it started."""
        if self._ended:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if number is signal.SIGKILL:
                os.killpg(self.pid, number)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    async def end(self, *, died: bool = False) -> None:
        """Kills it and what it started, and frees what it took.

        Args:
            died: it is about to end by itself: how is worth waiting for.

        """
        if self._ended:
            return
        if died:
            await asyncio.to_thread(self.process.join, _DYING_S)
        self.signal(signal.SIGKILL)
        self._ended = True
        await asyncio.to_thread(self.process.join, _END_S)
        self._guard.remove(self.pid)
        self._read_all()
        if not self._output.closed:
            asyncio.get_running_loop().remove_reader(self._output.fileno())
            self._output.close()
        if self._writer is not None:
            self._writer.close()

    def _died(self) -> Outcome:
        code = self.process.exitcode
        text = f"its process ended without a result: {_exit_text(code)}"
        return Outcome("lost", error=text, exit_code=code if code is not None and code >= 0 else None)

    async def _receive(self) -> tuple[str, Any] | None:
        assert self._reader is not None  # noqa: S101
        try:
            (size,) = HEADER.unpack(await self._reader.readexactly(HEADER.size))
            message: tuple[str, Any] = pickle.loads(await self._reader.readexactly(size))  # noqa: S301 - from a process of ours
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return message

    def _read_all(self) -> None:
        while self._read_some():
            pass

    def _read_some(self) -> bool:
        """Reads what there is of the output, and reports whether there may be more."""
        if self._output.closed:
            return False
        try:
            data = os.read(self._output.fileno(), _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            asyncio.get_running_loop().remove_reader(self._output.fileno())
            return False
        if self._tail is not None:
            self._tail.write(data)
        if self._echo:
            sys.stderr.write(data.decode(errors="replace"))
        return True


def _exit_text(code: int | None) -> str:
    if code is None:
        return "it could not be killed"
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in {number.value for number in signal.Signals} else str(-code)
    return f"killed by {name}" + (", perhaps for want of memory" if -code == signal.SIGKILL else "")


class Pool:
    """Processes to run functions in, made when they are needed and kept for the next one."""

    def __init__(self, guard: Guard, modules: Sequence[str], *, echo: bool) -> None:
        self._guard = guard
        self._modules = tuple(modules)
        self._echo = echo
        self._idle: list[Child] = []
        self._all: set[Child] = set()
        self._spawning = asyncio.Lock()
        # Not fork: the worker has threads, and its HTTP client does not survive one.
        self._spawn = multiprocessing.get_context("spawn")

    async def take(self) -> Child:
        """Returns an idle process.

        Raises:
            RuntimeError: none could be started.

        """
        if self._idle:
            return self._idle.pop()
        async with self._spawning:
            process, link, output = await asyncio.to_thread(self._start)
            child = Child(process, link, output, self._guard, echo=self._echo)
            self._all.add(child)
        if problem := await child.connect():
            self._all.discard(child)
            raise RuntimeError(problem)
        return child

    async def give(self, child: Child, *, usable: bool) -> None:
        """Takes a process back, and ends one that is not to be used again."""
        if usable and not child.ended:
            self._idle.append(child)
            return
        await child.end()
        self._all.discard(child)

    async def close(self) -> None:
        """Ends all processes."""
        self._idle.clear()
        await asyncio.gather(*(child.end() for child in self._all))
        self._all.clear()

    def _start(self) -> tuple[Any, socket.socket, Any]:
        ours, theirs = socket.socketpair()
        output, written = self._spawn.Pipe(duplex=False)
        try:
            process = self._spawn.Process(target=main, args=(theirs, written, self._modules), name=PROCESS_NAME)
            process.start()
        except BaseException:
            ours.close()
            output.close()
            raise
        finally:
            theirs.close()
            written.close()
        ours.setblocking(False)
        return process, ours, output


class ProcessCall:
    """A call in a process."""

    def __init__(self, pool: Pool, job: Job, attempt: Attempt) -> None:
        self._pool = pool
        self._job = job
        self._attempt = attempt
        self._child: Child | None = None
        self._stopped = self._killed = False

    async def outcome(self) -> Outcome:
        """Waits for the end."""
        try:
            child = await self._pool.take()
        except RuntimeError as error:
            return Outcome("error", error=f"cannot start: {error}")
        if self._stopped:
            await self._pool.give(child, usable=True)
            return Outcome("cancelled")
        self._child = child
        self._attempt.begun()
        try:
            outcome = await child.run(self._job, self._attempt)
        finally:
            self._child = None
            # One that was told to stop may hear of it late; one with GPUs keeps hold of them.
            await self._pool.give(child, usable=not self._stopped and not self._job.gpu_devices)
        return outcome

    def stop(self) -> None:
        """Raises Cancelled in the function."""
        self._stopped = True
        if self._child is not None:
            self._child.signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kills the process."""
        self._stopped = True
        if self._child is not None and not self._killed:
            self._killed = True
            self._child.signal(signal.SIGKILL)
