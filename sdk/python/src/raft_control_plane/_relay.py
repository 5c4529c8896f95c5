"""Sends what attempts print to the leader while they run."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from connectrpc.code import Code

from ._gen.controlplane.v1.log_connect import LogServiceClient
from ._gen.controlplane.v1.log_pb import LogChunk, LogOutcome, PushLogsRequest
from ._log import MAX_LOG_BYTES
from ._settings import Backoff
from ._time import seconds
from .errors import CallError

if TYPE_CHECKING:
    from ._attempt import Attempt
    from .aio import AsyncClient

logger = logging.getLogger("raft_control_plane")

# How long text is gathered before it is sent, unless the control plane asks for longer.
_INTERVAL_S = 0.2
_MAX_INTERVAL_S = 30.0
# One call, by the contract.
_MAX_CHUNKS = 1000
_MAX_BYTES = 1 << 20
_TIMEOUT_S = 10.0
_REFUSED = {Code.FAILED_PRECONDITION.value, Code.NOT_FOUND.value}


class Relay:
    """One call at a time, and none while nothing is printed; what is printed waits for nothing."""

    def __init__(self, client: AsyncClient, node_id: str, session_id: str) -> None:
        self._client = client
        self._node_id = node_id
        self._session_id = session_id
        self._loop = asyncio.get_running_loop()
        self._due: dict[tuple[str, int], Attempt] = {}
        self._wake = asyncio.Event()
        self._generation = ""

    def watch(self, attempt: Attempt) -> None:
        """Sends what an attempt prints from now on; it may do so in any thread."""

        def changed() -> None:
            if not attempt.relay_due:
                attempt.relay_due = True
                with contextlib.suppress(RuntimeError):  # the session is over
                    self._loop.call_soon_threadsafe(self._add, attempt)

        attempt.log.changed = changed

    def held_by(self, generation: str, attempts: Iterable[Attempt]) -> None:
        """Takes in which memory holds the logs: if it is another one, it gets the end of each again."""
        former, self._generation = self._generation, generation
        if former and generation and former != generation:
            for attempt in attempts:
                attempt.relayed = 0
                self._add(attempt)

    async def run(self) -> None:
        """Sends until it is cancelled."""
        backoff = Backoff()
        interval_s = _INTERVAL_S
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(interval_s)
            batch = self._take()
            if not batch:
                continue
            request = PushLogsRequest(
                node_id=self._node_id, session_id=self._session_id, chunks=[chunk for _, chunk in batch]
            )
            try:
                response = await self._client.call(LogServiceClient.push_logs, request, timeout=_TIMEOUT_S)
            except CallError as error:
                logger.debug("what tasks print could not be sent: %s", error)
                unknown = error.code is Code.UNIMPLEMENTED  # servers of a release before
                interval_s = _MAX_INTERVAL_S if unknown else max(_INTERVAL_S, backoff.next())
                for attempt, _ in batch:
                    self._add(attempt)
                continue
            backoff.reset()
            interval_s = min(max(seconds(response.interval), _INTERVAL_S / 2), _MAX_INTERVAL_S)
            for (attempt, _), outcome in zip(batch, response.outcomes, strict=False):
                self._answered(attempt, outcome)

    def _add(self, attempt: Attempt) -> None:
        if not attempt.muted:
            attempt.relay_due = True
            self._due[attempt.key] = attempt
            self._wake.set()

    def _take(self) -> list[tuple[Attempt, LogChunk]]:
        """Takes what the next call is to carry, each attempt in its turn."""
        batch: list[tuple[Attempt, LogChunk]] = []
        size = 0
        while self._due and len(batch) < _MAX_CHUNKS and size + MAX_LOG_BYTES <= _MAX_BYTES:
            attempt = self._due.pop(next(iter(self._due)))
            attempt.relay_due = False
            text, at = attempt.log.read(attempt.relayed)
            _, oldest = attempt.log.read(0)
            if text:
                size += len(text.encode())
                chunk = LogChunk(
                    task_id=attempt.task_id,
                    attempt=attempt.number,
                    offset=at,
                    text=text,
                    oldest_offset=min(oldest, at),
                )
                batch.append((attempt, chunk))
        if self._due:
            self._wake.set()
        return batch

    def _answered(self, attempt: Attempt, outcome: LogOutcome) -> None:
        found = outcome.outcome
        if found is not None and found.field == "error":
            attempt.muted = found.value.code in _REFUSED
        elif found is not None:
            attempt.relayed = found.value
        if attempt.relayed < attempt.log.end:
            self._add(attempt)
