"""Which call is tried again, where and when: the part that needs no I/O."""

from __future__ import annotations

import asyncio
import enum
import logging
import random
import threading
import time
from typing import TYPE_CHECKING

from connectrpc.code import Code
from connectrpc.errors import ConnectError

from ._gen.google.rpc.error_details_pb import RetryInfo
from ._time import seconds
from .errors import CallError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger("raft_control_plane")

_BACKOFF_MIN_S = 0.05
_BACKOFF_MAX_S = 2.0
# The least that an attempt is given when its share of the time is less.
_ATTEMPT_MIN_S = 1.0
# What must be left for another attempt once a server has said why the call fails: what is
# cut off says nothing, and may leave the outcome open.
_ATTEMPT_WORTH_S = 0.25


class Verdict(enum.Enum):
    """What the error of one attempt means for the call."""

    REFUSED = enum.auto()  # another attempt would not change it
    ELSEWHERE = enum.auto()  # another server may do
    THROTTLED = enum.auto()  # not processed, and the server said when to come again


def judge(error: ConnectError) -> tuple[Verdict, float]:
    """Tells what an error means, and for how long the server asks to wait."""
    if error.__cause__ is not None:  # it arose on this side
        if "certificate" in str(error).lower():
            return Verdict.REFUSED, 0.0
        return (Verdict.ELSEWHERE if error.code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED) else Verdict.REFUSED), 0.0
    if error.code in (Code.UNAVAILABLE, Code.ABORTED, Code.CANCELED):
        return Verdict.ELSEWHERE, 0.0
    if error.code is Code.RESOURCE_EXHAUSTED and (wait := retry_delay(error)) is not None:
        return Verdict.THROTTLED, wait
    return Verdict.REFUSED, 0.0


def retry_delay(error: ConnectError) -> float | None:
    """Reads how long the server asks to wait, from its detail google.rpc.RetryInfo."""
    for detail in error.details:
        if detail.type_name == "google.rpc.RetryInfo":
            return max(_BACKOFF_MIN_S, seconds(RetryInfo.from_binary(detail.message_bytes).retry_delay))
    return None


class Rota:
    """The servers, and the one that worked last."""

    def __init__(self, servers: Sequence[str]) -> None:
        self.servers = tuple(servers)
        self._current = 0
        self._mutex = threading.Lock()

    def pick(self) -> int:
        """Returns the index of the server to try."""
        return self._current

    def skip(self, index: int) -> None:
        """Goes on to the next server, unless another call has done so already."""
        with self._mutex:
            if self._current == index:
                self._current = (index + 1) % len(self.servers)


class Retry:
    """Follows one call over its attempts."""

    def __init__(
        self, rota: Rota, name: str, timeout_s: float, *, wait_s: float = 0.0, repeatable: bool = True
    ) -> None:
        self._rota = rota
        self._name = name
        self._deadline = time.monotonic() + timeout_s + wait_s
        self._wait_s = wait_s
        self._repeatable = repeatable
        self._said: ConnectError | None = None
        self._failed = 0
        self._round = 0

    def left_s(self) -> float:
        """Returns the time that is left."""
        return self._deadline - time.monotonic()

    def share_ms(self) -> int:
        """Returns the time for the next attempt.

        With other servers to go on with it is half of what is left, so that one that
        hangs does not use up all of it.
        """
        left = self.left_s()
        if self._repeatable and len(self._rota.servers) > 1:
            left = min(left, self._wait_s + max(_ATTEMPT_MIN_S, (left - self._wait_s) / 2))
        return max(1, int(left * 1000))

    def next(self, index: int, error: ConnectError) -> float:
        """Returns the pause before the next attempt, or raises the error to give up with.

        connectrpc has its own error for what cannot be encoded: that is no matter of servers.
        """
        if isinstance(error.__cause__, asyncio.CancelledError):
            raise error.__cause__  # connectrpc hides a cancelled task behind its own error
        if isinstance(error.__cause__, (TypeError, OverflowError, UnicodeEncodeError)):
            kind = TypeError if isinstance(error.__cause__, TypeError) else ValueError
            name = self._name.rpartition(".")[2]
            raise kind(f"{name}: the request cannot be encoded: {error.message}") from error.__cause__
        verdict, pause = judge(error)
        if verdict is Verdict.REFUSED:
            raise CallError(error.code, error.message) from error
        if _weight(error) >= max(1, _weight(self._said)):
            self._said = error
        if verdict is not Verdict.THROTTLED:
            self._rota.skip(index)
            if not self._repeatable:
                if _weight(error) == 0:
                    self._said = None  # it speaks of an attempt before this one, which may have been processed
                raise self._give_up(error)
            pause = self._pause()
        else:
            pause *= 1 + random.random() / 2
        # A server that has had no turn is asked however little is left.
        worth = _ATTEMPT_WORTH_S if self._said is not None and pause else 0.0
        if self.left_s() <= pause + worth:
            raise self._give_up(error)
        logger.debug("%s is tried again: %s", self._name, error)
        return pause

    def progressed(self) -> None:
        """Starts counting anew, after a stream has delivered something."""
        self._said, self._failed, self._round = None, 0, 0

    def _pause(self) -> float:
        self._failed += 1
        if self._failed < len(self._rota.servers):
            return 0.0  # the others have not had their turn
        self._failed = 0
        pause: float = min(_BACKOFF_MIN_S * 2 ** min(self._round, 10), _BACKOFF_MAX_S)
        self._round += 1
        return pause * (1 + random.random() / 2)

    def _give_up(self, error: ConnectError) -> CallError:
        """Makes the error of a call whose time is over: what a server has said of it goes before other failures."""
        failure: CallError
        if self._said is not None:
            error = self._said
            failure = CallError(error.code, error.message)
        else:
            failure = UnreachableError(error.code, self._rota.servers, error.message)
        failure.__cause__ = error
        return failure


def _weight(error: ConnectError | None) -> int:
    """Returns how much an error says about why a call fails, 0 if no server sent it.

    An open outcome says most, for what comes after it does not close it; a member that
    stops least.
    """
    if error is None or error.__cause__ is not None:
        return 0
    return {Code.CANCELED: 1, Code.ABORTED: 3}.get(error.code, 2)
