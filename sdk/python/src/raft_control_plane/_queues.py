"""The settings of queues."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from typing_extensions import TypedDict

from ._gen.controlplane.v1.queue_pb import Placement, Queue, QueueField, QueueLimits
from ._time import duration

__all__ = ["QueueSettings"]

_PLACEMENTS: dict[str, Placement] = {
    "spread": Placement.SPREAD,
    "binpack": Placement.BINPACK,
    "cheapest": Placement.CHEAPEST,
}


class QueueSettings(TypedDict, total=False):
    """How a queue shares the nodes; what is left out has its default, or stays as it is in an update."""

    weight: int
    """Its part of the nodes against other queues, 1 to 1,000; 1 by default."""
    paused: bool
    """Nothing is placed from it; what runs goes on."""
    max_tasks: int | None
    """Most tasks on nodes at once, 0 to 1,000,000; no bound when None, like the next five."""
    max_cpu: float | None
    """Most cores that they may reserve together, 0 to 10^9."""
    max_memory: int | None
    """Most bytes of memory that they may reserve together, 0 to 2^60."""
    max_gpus: int | None
    """Most GPUs that they may hold together, 0 to 1,000,000."""
    max_disk: int | None
    """Most bytes of disk that they may reserve together, 0 to 2^60."""
    max_custom: Mapping[str, int] | None
    """Most of anything else that they may reserve together, such as {"license": 4}: at most 32 names, 0 to 10^9."""
    placement: Literal["spread", "binpack", "cheapest"]
    """Which of the nodes that have room takes a task: the least loaded, the most loaded, or the cheapest."""
    ageing_interval: float | None
    """Seconds in which a waiting task gains one priority, 1 to 31,536,000; never when None."""


# By setting: its name in an update, and how a value goes into the message.
_SETTERS: dict[str, tuple[QueueField, Callable[[Queue, QueueLimits, Any], None]]] = {
    "weight": (QueueField.WEIGHT, lambda queue, _, value: setattr(queue, "weight", value)),
    "paused": (QueueField.PAUSED, lambda queue, _, value: setattr(queue, "paused", value)),
    "max_tasks": (QueueField.LIMIT_TASKS, lambda _, limits, value: setattr(limits, "tasks", value)),
    "max_cpu": (QueueField.LIMIT_CPU, lambda _, limits, value: setattr(limits, "cpu_millis", round(value * 1000))),
    "max_memory": (QueueField.LIMIT_MEMORY, lambda _, limits, value: setattr(limits, "memory_bytes", value)),
    "max_gpus": (QueueField.LIMIT_GPUS, lambda _, limits, value: setattr(limits, "gpus", value)),
    "max_disk": (QueueField.LIMIT_DISK, lambda _, limits, value: setattr(limits, "disk_bytes", value)),
    "max_custom": (QueueField.LIMIT_CUSTOM, lambda _, limits, value: setattr(limits, "custom", dict(value))),
    "placement": (QueueField.PLACEMENT, lambda queue, _, value: setattr(queue, "placement", _placement(value))),
    "ageing_interval": (
        QueueField.AGEING_INTERVAL,
        lambda queue, _, value: setattr(queue, "ageing_interval", duration(value)),
    ),
}


def queue_message(name: str, settings: QueueSettings) -> tuple[Queue, list[QueueField]]:
    """Makes the message of a queue, and names the settings that it gives."""
    queue, limits = Queue(name=name), QueueLimits()
    fields = []
    for setting, value in settings.items():
        if setting not in _SETTERS:
            raise TypeError(f"{setting} is no setting of a queue: give one of {', '.join(_SETTERS)}")
        field, set_it = _SETTERS[setting]
        fields.append(field)
        if value is not None:
            set_it(queue, limits, value)
    queue.limits = limits
    return queue, fields


def _placement(name: str) -> Placement:
    if name not in _PLACEMENTS:
        raise ValueError(f"placement: {name!r} is not known: give one of {', '.join(_PLACEMENTS)}")
    return _PLACEMENTS[name]
