"""Kills the processes of a worker that cannot do so itself: a program of its own.

A worker that is stopped (SIGSTOP), that hangs or that was killed goes on holding nothing
once its lease is over, but the processes that run its functions would go on. This one
hears from the worker which they are and until when they may run, and kills them at that
time, or at once when the worker is gone. It imports nothing of the package: it is to be
small, quick to start and free of anything that could keep it from its task.
"""

import contextlib
import os
import select
import signal
import sys
import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
# Timers stand still while the machine is suspended: it looks at the clock this often.
_TICK_S = 0.5


def _kill(groups: "set[int]") -> None:
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    groups.clear()


def main() -> None:
    """Obeys lines on standard input: `+PID`, `-PID` and `=DEADLINE` in seconds of the boot clock."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends with the worker, not before
    groups: set[int] = set()
    deadline = float("inf")
    rest = b""
    while True:
        left = max(0.0, min(_TICK_S, deadline - time.clock_gettime(_CLOCK)))
        if select.select([0], [], [], left if groups else None)[0]:
            data = os.read(0, 65536)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if line[:1] == b"+":
                    groups.add(int(line[1:]))
                elif line[:1] == b"-":
                    groups.discard(int(line[1:]))
                else:
                    deadline = float(line[1:])
        if time.clock_gettime(_CLOCK) >= deadline:
            _kill(groups)
    _kill(groups)


if __name__ == "__main__":
    main()
    sys.exit(0)
