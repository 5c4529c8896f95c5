"""Times as the contract's messages have them."""

from __future__ import annotations

import datetime

from protobuf.wkt.google.protobuf.duration_pb import Duration
from protobuf.wkt.google.protobuf.timestamp_pb import Timestamp


def duration(seconds: float) -> Duration:
    """Makes a Duration."""
    nanos = round(seconds * 1e9)
    return Duration(seconds=nanos // 1_000_000_000, nanos=nanos % 1_000_000_000)


def wait(name: str, given: float | datetime.timedelta | None, limit_s: float) -> Duration | None:
    """Makes a Duration of what a caller gave for a time, 0 to a limit; None of None."""
    if given is None:
        return None
    s = given.total_seconds() if isinstance(given, datetime.timedelta) else given
    if isinstance(s, bool) or not isinstance(s, (int, float)):
        raise TypeError(f"{name}: {given!r} is not allowed: give seconds as a number, or a timedelta")
    if not 0 <= s <= limit_s:  # nor NaN
        raise ValueError(f"{name}: {given} is out of range: give 0 to {limit_s:,.0f} seconds, or a timedelta")
    return duration(s)


def seconds(value: Duration | None) -> float:
    """Reads a Duration; 0 when it is not set."""
    return value.seconds + value.nanos / 1e9 if value is not None else 0.0


def timestamp(time: datetime.datetime) -> Timestamp:
    """Makes a Timestamp of a time that says its zone."""
    if time.tzinfo is None:
        raise ValueError(f"{time} has no time zone: give one, such as datetime.now(timezone.utc)")
    micros = (time - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)) // datetime.timedelta(microseconds=1)
    return Timestamp(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1000)
