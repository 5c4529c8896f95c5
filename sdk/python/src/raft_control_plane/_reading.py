"""Where a reader of logs stands, for both clients."""

from __future__ import annotations

from collections.abc import Iterator

from connectrpc.code import Code

from ._gen.controlplane.v1.log_pb import LogPart, ReadLogRequest
from ._requests import FINAL
from ._time import duration
from .errors import CallError

_WAIT_S = 20.0
READ_SLACK_S = 10.0
# How long one read may take, with its wait.
READ_S = _WAIT_S + READ_SLACK_S


class Reading:
    """Says what to ask for next, and whether to."""

    def __init__(self, task_id: str, attempt: int, *, follow: bool) -> None:
        self._task_id = task_id
        self._only = attempt > 0
        self._attempt = attempt
        self._offset = 0
        self._next = False  # an attempt is waited for that may never be
        self.wait_s = _WAIT_S if follow else 0.0
        self.over = False

    def request(self) -> ReadLogRequest:
        """Is the next read."""
        return ReadLogRequest(
            task_id=self._task_id, attempt=self._attempt, offset=self._offset, wait=duration(self.wait_s)
        )

    def take(self, part: LogPart | None) -> Iterator[str]:
        """Takes in an answer and yields its text."""
        if part is None:
            return
        if part.dropped_bytes:
            yield f"[{part.dropped_bytes} bytes are not held any more]\n"
        if part.text:
            yield part.text
        if part.attempt:
            self._attempt, self._offset = part.attempt, part.next_offset
        if part.ended and self.wait_s and not self._only and part.task_status not in FINAL:
            self._attempt, self._offset, self._next = part.attempt + 1, 0, True
        else:
            self.over = part.ended or not self.wait_s

    def refused(self, error: CallError) -> None:
        """Takes in an error: that the task has ended without another attempt is none."""
        if not self._next or error.code is not Code.NOT_FOUND:
            raise error
        self.over = True
