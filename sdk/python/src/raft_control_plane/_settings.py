"""What a session of a worker needs to know."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ._config import Config
from ._gen.controlplane.v1.node_pb import NodeSpec

_BACKOFF_MIN_S, _BACKOFF_MAX_S = 0.1, 2.0


@dataclass(frozen=True)
class Function:
    """A registered function and how it runs."""

    name: str
    function: Callable[..., Any]
    isolation: str  # "process", "thread" or "coroutine"
    module: str
    qualname: str
    permanent: frozenset[str]  # names of exceptions after which it is not tried again


@dataclass(frozen=True)
class Settings:
    """What a session needs to know."""

    config: Config
    node_id: str
    spec: NodeSpec
    functions: Mapping[str, Function]
    stop_grace_s: float
    shutdown_grace_s: float
    drain_s: float
    echo: bool


class Backoff:
    """Pauses that grow from 0.1 to 2 s, with jitter."""

    def __init__(self) -> None:
        self._wait_s = 0.0

    def next(self) -> float:
        """Returns the next pause in seconds."""
        self._wait_s = min(max(_BACKOFF_MIN_S, 2 * self._wait_s), _BACKOFF_MAX_S)
        return self._wait_s * (0.75 + random.random() / 2)

    def reset(self) -> None:
        """Begins anew."""
        self._wait_s = 0.0
