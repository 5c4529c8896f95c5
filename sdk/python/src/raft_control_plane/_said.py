"""What a function says of its progress, as the contract has it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from ._gen.controlplane.v1.task_pb import Progress

# The total of whoever knows only a part of the whole.
WHOLE = 1_000_000
_MAX = 10**15
_MAX_MESSAGE_BYTES = 256


@dataclass(frozen=True)
class Said:
    """A progress: done of total, and what the function is at."""

    done: int = 0
    total: int = 0
    message: str = ""
    text: str = ""
    """What was said, as it goes to the log."""

    def message_of_contract(self) -> Progress:
        """Makes the message that reports it."""
        return Progress(done=self.done, total=self.total, message=self.message)


def understand(value: Any, done: float | None = None, total: float | None = None, message: str = "") -> Said:
    """Makes a progress of what a function yields, or of the parts given by name.

    A number from 0 to 1 is a part of the whole, a larger one a count; two numbers are done of
    total, and a third item is a text; of a mapping "done", "total", "fraction" and "message"
    are what they say, and the rest is text. Anything else is a text.
    """
    text = _text(value)
    if value is None and (done is not None or message):
        said = {"done": done, "total": total, "message": message or None}
        text = _text({key: part for key, part in said.items() if part is not None})
    elif _is_number(value):
        done, total = (value * WHOLE, WHOLE) if 0 <= value <= 1 else (value, None)
    elif isinstance(value, str):
        message = message or value
    elif isinstance(value, (tuple, list)) and len(value) in (2, 3) and all(map(_is_number, value[:2])):
        done, total = value[0], value[1]
        message = message or (str(value[2]) if len(value) == 3 else "")
    elif isinstance(value, dict):
        rest = dict(value)
        if _is_number(rest.get("fraction")):
            done, total = rest.pop("fraction") * WHOLE, WHOLE
        elif _is_number(rest.get("done")):
            done = rest.pop("done")
            total = rest.pop("total") if _is_number(rest.get("total")) else None
        if isinstance(rest.get("message"), str):
            message = message or rest.pop("message")
        message = " ".join(filter(None, (message, _text(rest) if rest else "")))
    elif value is not None:
        message = message or text
    return Said(_bounded(done), _bounded(total), _cut(message), text)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)


def _bounded(value: float | None) -> int:
    return round(min(max(value or 0, 0), _MAX))


def _cut(message: str) -> str:
    return message.strip().encode(errors="replace")[:_MAX_MESSAGE_BYTES].decode(errors="ignore")


def _text(value: Any) -> str:
    try:
        return json.dumps(value, default=str)
    except (TypeError, ValueError):
        return repr(value)
