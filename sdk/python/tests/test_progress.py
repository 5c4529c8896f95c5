"""How far functions come: what they say, and what becomes of those that say nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from raft_control_plane import AsyncClient, Task, TaskFailedError, Worker, current
from raft_control_plane._progress import Bar
from raft_control_plane._said import Said, understand
from raft_control_plane.task import gather
from raft_control_plane.testing import LocalControlPlane
from raft_control_plane.v1 import Progress, TaskProgress


def yields(gate: str) -> Generator[Any, None, str]:
    yield 3, 50, "epoch 3"
    _pass(gate)
    yield {"fraction": 1.0, "message": "saved"}
    return "trained"


def says(gate: str) -> str:
    current().progress(done=3, total=50, message="epoch 3")
    _pass(gate)
    current().progress(1.0, message="saved")
    return "trained"


async def awaits(gate: str) -> str:
    current().progress(done=3, total=50, message="epoch 3")
    await asyncio.to_thread(_pass, gate)
    current().progress(1.0, message="saved")
    return "trained"


def hangs() -> Generator[float, None, None]:
    yield 0.5
    while True:
        time.sleep(0.01)
        yield 0.5


def _pass(gate: str) -> None:
    while not Path(gate).exists():
        time.sleep(0.01)


Tasks = dict[str, Task[..., Any]]


@pytest.fixture(scope="module")
def tasks(control_plane: LocalControlPlane) -> Iterator[Tasks]:
    worker = Worker(control_plane.url, name="progress", slots=8, stop_grace=0.5)
    kinds: list[Task[..., Any]] = [
        worker.task(yields),
        worker.task(says),
        worker.task(awaits),
        worker.task(isolation="thread", name="says_thread")(says),
        worker.task(isolation="thread", name="yields_thread")(yields),
        worker.task(no_progress_timeout=1)(hangs),
    ]
    with worker:
        yield {task.name: task for task in kinds}


def test_every_kind_of_function_says_how_far_it_is(tasks: Tasks, tmp_path: Path) -> None:
    """Each goes on once its caller has seen it, so all can be followed at a time."""
    names = ("yields", "says", "awaits", "says_thread", "yields_thread")

    def follow(name: str) -> list[tuple[int, int, str]]:
        gate = tmp_path / name
        told = []
        for progress in tasks[name].submit(str(gate)).progress(timeout=60):
            assert progress.progress is not None
            assert progress.time is not None
            told.append((progress.progress.done, progress.progress.total, progress.progress.message))
            gate.touch()
        return told

    with ThreadPoolExecutor(len(names)) as threads:
        for name, told in zip(names, threads.map(follow, names), strict=True):
            assert told == [(3, 50, "epoch 3"), (1_000_000, 1_000_000, "saved")], name


def test_what_makes_no_progress_is_stopped(tasks: Tasks) -> None:
    handle = tasks["hangs"].submit()
    with pytest.raises(TaskFailedError, match=r"NO_PROGRESS: .* no_progress_timeout of 1s"):
        handle.result(60)
    record = handle.record()
    assert record.progress == Progress(done=500_000, total=1_000_000)
    assert record.log_tail.startswith("progress: 0.5\n"), "what it left is kept: it was stopped, not dropped"


def test_the_async_client_follows_too(tasks: Tasks, control_plane: LocalControlPlane, tmp_path: Path) -> None:
    gate = tmp_path / "async"
    handle = tasks["awaits"].submit(str(gate))

    async def follow() -> list[str]:
        told = []
        async with AsyncClient(control_plane.url) as client:
            async for progress in client.progress(handle.id, timeout=60):
                assert progress.progress is not None
                told.append(progress.progress.message)
                gate.touch()
        return told

    assert asyncio.run(follow()) == ["epoch 3", "saved"]


def test_a_bar_shows_how_far_the_others_are(tasks: Tasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = tmp_path / "bar"
    shown: list[str] = []

    class Noted(Bar):
        def _show(self, text: str) -> None:
            shown.append(text)
            gate.touch()

    class Entered:
        def __enter__(self) -> Bar:
            return Noted()

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr("raft_control_plane.task.bar", lambda *_: Entered())
    handles = [tasks["says"].submit(str(gate)) for _ in range(2)]
    assert gather(handles, progress="training", timeout=60) == ["trained"] * 2
    assert shown[0] == "1 under way: 6%"
    assert shown[-1] == ""


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.42, Said(420_000, 1_000_000, "", "0.42")),
        (1, Said(1_000_000, 1_000_000, "", "1")),
        (7, Said(7, 0, "", "7")),
        (float("nan"), Said(0, 0, "NaN", "NaN")),
        (float("inf"), Said(10**15, 0, "", "Infinity")),
        (-1, Said(0, 0, "", "-1")),
        (True, Said(0, 0, "true", "true")),
        ("epoch 3", Said(0, 0, "epoch 3", '"epoch 3"')),
        ((3, 50), Said(3, 50, "", "[3, 50]")),
        ((3, 50, "m"), Said(3, 50, "m", '[3, 50, "m"]')),
        ({"done": 3, "total": 50, "message": "m"}, Said(3, 50, "m", '{"done": 3, "total": 50, "message": "m"}')),
        ({"fraction": 0.5, "loss": 1}, Said(500_000, 1_000_000, '{"loss": 1}', '{"fraction": 0.5, "loss": 1}')),
        ({"left": 3}, Said(0, 0, '{"left": 3}', '{"left": 3}')),
        ("ä" * 200, Said(0, 0, "ä" * 128, '"' + "\\u00e4" * 200 + '"')),
        (None, Said(0, 0, "", "null")),
    ],
)
def test_what_is_said_is_understood(value: Any, said: Said) -> None:
    assert understand(value) == said


def test_the_parts_may_be_named() -> None:
    assert understand(None, 3, 50, "m") == Said(3, 50, "m", '{"done": 3, "total": 50, "message": "m"}')
    assert understand(0.5, message="m") == Said(500_000, 1_000_000, "m", "0.5")


def test_a_bar_knows_the_mean_of_those_under_way() -> None:
    one = Bar()
    for task_id, done in (("a", 10), ("b", 30), ("b", 40)):
        one.note(TaskProgress(task_id=task_id, progress=Progress(done=done, total=50)))
    assert one._text() == "2 under way: 50%"
    one.advance("b")
    assert one._text() == "1 under way: 20%"


def test_options_within_limits() -> None:
    with pytest.raises(ValueError, match=r"no_progress_timeout: 0\.5 s is out of range: give 1 s to 365 days"):
        Worker().task(no_progress_timeout=0.5)
