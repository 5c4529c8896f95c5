"""The clock of leases and time limits."""

from __future__ import annotations

import time

# CLOCK_BOOTTIME goes on while the machine is suspended; Linux's CLOCK_MONOTONIC stands
# still then, and a worker that wakes up an hour later would take its lease for live.
# Elsewhere CLOCK_MONOTONIC counts that time too. It is the same for all processes of a
# machine, so that a deadline can be handed to another process as it is.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_clock() -> float:
    """Returns seconds since the machine started."""
    return time.clock_gettime(_CLOCK)
