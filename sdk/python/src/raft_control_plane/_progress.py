"""A progress bar by whatever is installed."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._gen.controlplane.v1.task_pb import TaskProgress


class Bar:
    """A bar that moves on by one with each task that ends, and shows how far the others are."""

    def __init__(self) -> None:
        self._running: dict[str, float] = {}  # the part that is done of each that says so

    def advance(self, task_id: str) -> None:
        """Takes in the end of a task."""
        self._running.pop(task_id, None)
        self._step()
        self._show(self._text())

    def note(self, progress: TaskProgress) -> None:
        """Takes in how far a task is."""
        said = progress.progress
        if said is not None and said.total > 0:
            self._running[progress.task_id] = min(said.done / said.total, 1)
            self._show(self._text())

    def _text(self) -> str:
        if not self._running:
            return ""
        mean = sum(self._running.values()) / len(self._running)
        return f"{len(self._running)} under way: {mean:.0%}"

    def _step(self) -> None:
        """Moves it on by one."""

    def _show(self, text: str) -> None:
        """Shows a text beside it."""


@contextlib.contextmanager
def bar(total: int, title: str) -> Iterator[Bar]:
    """Shows a bar, unless the title is empty."""
    if not title:
        yield Bar()
    elif importlib.util.find_spec("tqdm"):
        from tqdm.auto import tqdm  # noqa: PLC0415 - optional

        with tqdm(total=total, desc=title) as shown:
            yield _Tqdm(shown)
    elif importlib.util.find_spec("rich"):
        from rich.progress import Progress  # noqa: PLC0415 - optional

        with Progress() as progress:
            yield _Rich(progress, title, total)
    else:
        yield _Plain(total, title)


class _Tqdm(Bar):
    def __init__(self, shown: Any) -> None:
        super().__init__()
        self._shown = shown

    def _step(self) -> None:
        self._shown.update()

    def _show(self, text: str) -> None:
        self._shown.set_postfix_str(text)


class _Rich(Bar):
    def __init__(self, progress: Any, title: str, total: int) -> None:
        super().__init__()
        self._progress, self._title = progress, title
        self._line = progress.add_task(title, total=total)

    def _step(self) -> None:
        self._progress.advance(self._line)

    def _show(self, text: str) -> None:
        self._progress.update(self._line, description=f"{self._title} {text}".strip())


class _Plain(Bar):
    """A line of text that is written anew at each hundredth, on a terminal only."""

    def __init__(self, total: int, title: str) -> None:
        super().__init__()
        self._total, self._title, self._done = total, title, 0

    def _step(self) -> None:
        self._done += 1

    def _show(self, text: str) -> None:
        end = self._done == self._total
        if sys.stderr.isatty() and (text or end or self._done % max(1, self._total // 100) == 0):
            line = f"{self._title}: {self._done}/{self._total} {text}"
            print(f"\r{line.strip()}\x1b[K", end="\n" if end else "", file=sys.stderr, flush=True)
