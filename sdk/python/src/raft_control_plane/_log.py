"""The end of what an attempt writes."""

from __future__ import annotations

import codecs
import contextlib
import contextvars
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, TextIO

MAX_LOG_BYTES = 64 << 10
MAX_ERROR_BYTES = 4 << 10


class Tail:
    """Keeps the last 64 KiB of a text that comes as bytes; for use by several threads.

    Offsets count the bytes of the text from its beginning; what is not UTF-8 stands in it
    as U+FFFD.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._end = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._mutex = threading.Lock()
        # Called after each addition, by whoever wrote.
        self.changed: Callable[[], None] | None = None

    def write(self, data: bytes) -> None:
        """Appends."""
        with self._mutex:
            text = self._decoder.decode(data).encode()
            self._data += text
            self._end += len(text)
            if len(self._data) > 2 * MAX_LOG_BYTES:
                del self._data[:-MAX_LOG_BYTES]
        if text and self.changed is not None:
            self.changed()

    @property
    def end(self) -> int:
        """Where the next text will stand."""
        return self._end

    def read(self, offset: int) -> tuple[str, int]:
        """Returns what is kept from an offset on, and where that begins."""
        with self._mutex:
            at = min(max(offset, self._end - min(len(self._data), MAX_LOG_BYTES)), self._end)
            data = bytes(self._data[len(self._data) - (self._end - at) :])
        rest = 0  # of a character whose beginning is not there
        while rest < len(data) and data[rest] & 0xC0 == 0x80:
            rest += 1
        return data[rest:].decode(), at + rest

    def text(self) -> str:
        """Returns the end, at most 64 KiB of UTF-8."""
        return self.read(0)[0]


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
