"""What an error says about trying again."""

from __future__ import annotations

import builtins
from collections.abc import Iterable
from dataclasses import dataclass

from .errors import PermanentError, RetryAfter

# Python 3.10 has none.
_GROUP: type[BaseException] | tuple[()] = getattr(builtins, "BaseExceptionGroup", ())


@dataclass(frozen=True)
class Verdict:
    """Whether a failure is the last one, and otherwise how long to wait."""

    permanent: bool = False
    retry_after_s: float = 0.0
    """0 when the control plane is to choose."""


def name_of(kind: type[BaseException]) -> str:
    """Returns the name of a class, alike in the worker and in the processes of its functions.

    Names, for a process cannot import each class that the worker has; and it knows the
    worker's script by another name.
    """
    module = "__main__" if kind.__module__ == "__mp_main__" else kind.__module__
    return f"{module}:{kind.__qualname__}"


def judge(error: BaseException, permanent: frozenset[str]) -> Verdict:
    """Returns what an error says, or else the nearest one of those that it was raised from.

    Args:
        error: what a function raised; of a group each member counts as raised.
        permanent: names of classes that are permanent when they are raised themselves, as
            ``except`` would find them.

    """
    waiting = [(error, True)]
    seen: set[int] = set()
    while waiting:
        one, raised = waiting.pop(0)
        if id(one) in seen:  # causes may go round in a circle
            continue
        seen.add(id(one))
        if isinstance(one, PermanentError) or (raised and _among(one, permanent)):
            return Verdict(permanent=True)
        if isinstance(one, RetryAfter):
            return Verdict(retry_after_s=one.seconds)
        if isinstance(one, _GROUP):
            waiting += [(member, raised) for member in one.exceptions]  # type: ignore[attr-defined]
        if one.__cause__ is not None:
            waiting.append((one.__cause__, False))
    return Verdict()


def _among(error: BaseException, names: Iterable[str]) -> bool:
    return any(name_of(kind) in names for kind in type(error).__mro__ if issubclass(kind, BaseException))
