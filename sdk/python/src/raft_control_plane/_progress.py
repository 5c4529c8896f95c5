"""A progress bar by whatever is installed."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def bar(total: int, title: str) -> Iterator[Callable[[], None]]:
    """Shows a bar, unless the title is empty, and yields what moves it on by one."""
    if not title:
        yield lambda: None
    elif importlib.util.find_spec("tqdm"):
        from tqdm.auto import tqdm  # noqa: PLC0415 - optional

        with tqdm(total=total, desc=title) as shown:

            def advance() -> None:
                shown.update()

            yield advance
    elif importlib.util.find_spec("rich"):
        from rich.progress import Progress  # noqa: PLC0415 - optional

        with Progress() as progress:
            line = progress.add_task(title, total=total)
            yield lambda: progress.advance(line)
    else:
        yield _Plain(total, title)


class _Plain:
    """A line of text that is written anew at each hundredth, on a terminal only."""

    def __init__(self, total: int, title: str) -> None:
        self._total, self._title, self._done = total, title, 0

    def __call__(self) -> None:
        self._done += 1
        end = self._done == self._total
        if sys.stderr.isatty() and (end or self._done % max(1, self._total // 100) == 0):
            print(f"\r{self._title}: {self._done}/{self._total}", end="\n" if end else "", file=sys.stderr, flush=True)
