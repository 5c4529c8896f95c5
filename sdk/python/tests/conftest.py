"""What all tests share: a control plane, and workers that are processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raft_control_plane import Client, TaskRecord, TaskStatus
from raft_control_plane.testing import LocalControlPlane

HERE = Path(__file__).resolve().parent
PATIENCE_S = 60.0


@pytest.fixture(scope="session")
def control_plane() -> Iterator[LocalControlPlane]:
    with LocalControlPlane() as plane:
        yield plane


@pytest.fixture
def own_plane() -> Iterator[LocalControlPlane]:
    """A control plane that a test may kill."""
    with LocalControlPlane() as plane:
        yield plane


@pytest.fixture
def client(control_plane: LocalControlPlane) -> Iterator[Client]:
    with control_plane.client() as one:
        yield one


class WorkerProcess:
    """A worker that runs functions.py as a program."""

    def __init__(self, url: str, name: str, folder: Path, *options: str) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        env = {**os.environ, "RAFT_NODE_SERVER": url, "SCRATCH": str(folder)}
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "functions.py"), name, *options],
                env=env,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def log(self) -> str:
        return self._log.read_text()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        return self.process.wait(timeout_s)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()


StartWorker = Callable[..., WorkerProcess]


@pytest.fixture
def start_worker(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[StartWorker]:
    """Starts workers, and ends them after the test."""
    started: list[WorkerProcess] = []
    plane: LocalControlPlane = request.getfixturevalue(
        "own_plane" if "own_plane" in request.fixturenames else "control_plane"
    )

    def start(name: str, *options: str) -> WorkerProcess:
        started.append(WorkerProcess(plane.url, name, tmp_path, *options))
        return started[-1]

    yield start
    for worker in started:
        worker.end()


def await_status(client: Client, task_id: str, status: TaskStatus, *, node: str = "") -> TaskRecord:
    """Waits, by events, until a task has a status, on a certain node if one is given."""
    for _ in client.watch(task_ids=[task_id], timeout=PATIENCE_S):
        task = client.get(task_id)
        if task.status is status and (not node or task.node_id == node):
            return task
    raise AssertionError(f"task {task_id} did not become {status.name} {node}: it is {client.get(task_id)}")


def await_file(path: Path, text: str = "") -> str:
    """Waits until a file of another process holds a text."""
    deadline = time.monotonic() + PATIENCE_S
    tick = threading.Event()
    while time.monotonic() < deadline:
        if path.exists() and text in (found := path.read_text()) and found:
            return found
        tick.wait(0.02)
    raise AssertionError(f"{path} does not hold {text!r}")
