"""The end of what an attempt writes."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any, TextIO

MAX_LOG_BYTES = 64 << 10
MAX_ERROR_BYTES = 4 << 10


class Tail:
    """Keeps the last 64 KiB of a stream of bytes; for use by several threads."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._mutex = threading.Lock()

    def write(self, data: bytes) -> None:
        """Appends."""
        with self._mutex:
            self._data += data
            if len(self._data) > 2 * MAX_LOG_BYTES:
                del self._data[:-MAX_LOG_BYTES]

    def text(self) -> str:
        """Returns the end as text, at most 64 KiB of UTF-8."""
        with self._mutex:
            data = bytes(self._data[-MAX_LOG_BYTES:])
        return cut_front(data.decode(errors="replace"), MAX_LOG_BYTES)


def cut_front(text: str, limit: int) -> str:
    """Returns the end of a text that is at most so many bytes of UTF-8."""
    return text.encode(errors="replace")[-limit:].decode(errors="ignore")


def cut_middle(text: str, limit: int = MAX_ERROR_BYTES) -> str:
    """Shortens a text to so many bytes of UTF-8: its first line and its end are worth most."""
    data = text.encode(errors="replace")
    if len(data) <= limit:
        return data.decode(errors="ignore")
    head = data[: limit // 4].decode(errors="ignore")
    mark = "\n…\n"
    return head + mark + cut_front(text, limit - len(head.encode()) - len(mark.encode()))


# The log of the attempt that the present thread or coroutine runs, in the worker's own process.
sink: contextvars.ContextVar[Tail | None] = contextvars.ContextVar("raft_control_plane_log", default=None)


class _Router:
    """Stands for a stream of the process, and gives the log of an attempt its copy."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        if (tail := sink.get()) is not None:
            tail.write(text.encode(errors="replace"))
        return self.stream.write(text)


class _Handler(logging.Handler):
    """Gives the log of an attempt its copy of what is logged."""

    def emit(self, record: logging.LogRecord) -> None:
        if (tail := sink.get()) is not None:
            tail.write((self.format(record) + "\n").encode(errors="replace"))


LOG_FORMAT = "%(levelname)s %(name)s: %(message)s"


def route() -> None:
    """Routes what is printed from now on; again where something else replaced the streams."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, _Router):
            setattr(sys, name, _Router(stream))


@contextlib.contextmanager
def routed() -> Iterator[None]:
    """Routes what is printed and logged in this process to the attempts that do it."""
    handler = _Handler()
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    logging.getLogger().addHandler(handler)
    route()
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        for name in ("stdout", "stderr"):
            if isinstance(router := getattr(sys, name), _Router):
                setattr(sys, name, router.stream)
