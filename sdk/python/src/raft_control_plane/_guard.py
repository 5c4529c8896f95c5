"""The worker's side of its warden (see _warden.py)."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import subprocess
import sys
from pathlib import Path

logger = logging.getLogger("raft_control_plane")

_END_S = 2.0


class Guard:
    """Tells a warden which processes there are and until when they may run.

    It is used by one thread. A warden that was killed is replaced.
    """

    def __init__(self) -> None:
        self._warden: subprocess.Popen[bytes] | None = None
        self._groups: set[int] = set()
        self._deadline = math.inf

    def add(self, pid: int) -> None:
        """Takes a process, which leads a group of its own, under guard."""
        self._groups.add(pid)
        self._tell(f"+{pid}")

    def remove(self, pid: int) -> None:
        """Lets go of a process: before its number can go to another."""
        self._groups.discard(pid)
        self._tell(f"-{pid}")

    def until(self, deadline: float) -> None:
        """Says until when the processes may run, by the boot clock."""
        self._deadline = deadline
        if self._groups:
            self._tell(f"={deadline}")

    def close(self) -> None:
        """Ends the warden, which kills what is left."""
        warden, self._warden = self._warden, None
        if warden is None or warden.stdin is None:
            return
        with contextlib.suppress(OSError):
            warden.stdin.close()
        try:
            warden.wait(_END_S)
        except subprocess.TimeoutExpired:
            warden.kill()
            warden.wait()

    def _tell(self, line: str) -> None:
        if self._warden is None:
            self._start()
            return  # it was told all
        try:
            self._write(line)
        except OSError:
            logger.warning("the warden of this worker's processes has died: starting another")
            self._start()

    def _start(self) -> None:
        warden = self._warden
        if warden is not None:
            warden.kill()
            warden.wait()
        program = Path(__file__).with_name("_warden.py")
        self._warden = subprocess.Popen(  # noqa: S603
            [sys.executable, "-I", "-S", os.fspath(program)],
            stdin=subprocess.PIPE,
            start_new_session=True,  # what is sent to the worker's group is not for it
        )
        self._write("\n".join([f"={self._deadline}", *(f"+{pid}" for pid in self._groups)]))

    def _write(self, text: str) -> None:
        assert self._warden is not None  # noqa: S101
        assert self._warden.stdin is not None  # noqa: S101
        self._warden.stdin.write(text.encode() + b"\n")
        self._warden.stdin.flush()
