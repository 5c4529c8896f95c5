"""The attempts that a worker holds: those that run and those not answered for yet.

Each takes a slot until its report is answered, by which the report that frees the slot
can fill it again in the same call. It is used by one event loop.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable

from ._attempt import Attempt, Fate
from ._gen.controlplane.v1.node_pb import HeldAttempt
from ._gen.controlplane.v1.task_pb import Task
from ._said import Said

# The most tasks of one poll, by the contract.
MAX_POLL_TASKS = 1000
_MAX_RECENT = 4096


class Held:
    """The set, with its slots."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._reserved = 0  # slots that a poll under way may fill
        self._by_task: dict[str, Attempt] = {}
        # Attempts answered last: a delivery that was repeated may arrive after the end.
        self._answered: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._changed = asyncio.Event()
        self.draining = False
        # An answer may have been lost, and tasks with it: the next poll gives the whole
        # list, by which they are delivered again.
        self.uncertain = True

    async def reserve(self) -> int:
        """Waits for free slots and takes them for a poll."""
        while (free := min(self._slots - len(self._by_task) - self._reserved, MAX_POLL_TASKS)) <= 0 or self.draining:
            await self._change()
        self._reserved += free
        return free

    def release(self, count: int) -> None:
        """Gives up the slots that a poll reserved."""
        self._reserved -= count
        self._changed.set()

    def add(self, tasks: Iterable[Task]) -> list[Attempt]:
        """Takes in tasks that were delivered, and returns the attempts to start.

        An older attempt of the same task is stopped, and the new one waits for its end.
        """
        fresh = []
        for task in tasks:
            older = self._by_task.get(task.id)
            if (older is not None and older.number >= task.attempt) or (task.id, task.attempt) in self._answered:
                continue
            attempt = Attempt(task, older)
            if older is not None:
                older.stop(Fate.DROPPED, 0)
            if self.draining:
                attempt.stop(Fate.HANDED_BACK, 0)
            self._by_task[task.id] = attempt
            fresh.append(attempt)
        return fresh

    def remove(self, attempt: Attempt, *, answered: bool) -> None:
        """Ends the holding; answered says that the control plane knows how it ended."""
        if answered:
            self._answered[attempt.key] = None
            if len(self._answered) > _MAX_RECENT:
                self._answered.popitem(last=False)
        if self._by_task.get(attempt.task_id) is attempt:
            del self._by_task[attempt.task_id]
            self._changed.set()

    def get(self, task_id: str, number: int) -> Attempt | None:
        """Returns the attempt if it is held."""
        attempt = self._by_task.get(task_id)
        return attempt if attempt is not None and attempt.number == number else None

    def all(self) -> list[Attempt]:
        """Returns the attempts held."""
        return list(self._by_task.values())

    def listed(self) -> list[HeldAttempt]:
        """Is what heartbeats and polls say that the worker holds."""
        held = []
        for attempt in self._by_task.values():
            if attempt.fate is Fate.DROPPED:
                continue
            one = HeldAttempt(task_id=attempt.task_id, attempt=attempt.number)
            if (said := attempt.said) is not None and said != attempt.known:
                one.progress = said.message_of_contract()
            held.append(one)
        return held

    def said(self) -> list[tuple[Attempt, Said]]:
        """Is what each attempt has said of its progress."""
        return [(attempt, attempt.said) for attempt in self._by_task.values() if attempt.said is not None]

    def stop_all(self, fate: Fate, grace_s: float) -> int:
        """Stops all attempts and returns how many there are."""
        for attempt in self._by_task.values():
            attempt.stop(fate, grace_s)
        return len(self._by_task)

    async def empty(self) -> None:
        """Waits until nothing is held."""
        while self._by_task:
            await self._change()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
