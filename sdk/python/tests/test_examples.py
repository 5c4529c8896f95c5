"""The examples and the program in the README, run as a user runs them."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import await_file

from raft_control_plane import TaskOptions, TaskStatus, Worker
from raft_control_plane.testing import LocalControlPlane

ROOT = Path(__file__).resolve().parent.parent


def run(program: Path, plane: LocalControlPlane) -> str:
    env = {**os.environ, "RAFT_NODE_SERVER": plane.url}
    done = subprocess.run(
        [sys.executable, str(program)], env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(
    importlib.util.find_spec("sklearn") is None, reason="scikit-learn is optional: pip install '.[examples]'"
)
def test_digits(own_plane: LocalControlPlane) -> None:
    found = re.search(r"best: (0\.\d+)", run(ROOT / "examples" / "digits_sklearn.py", own_plane))
    assert found is not None
    assert float(found.group(1)) > 0.98


def test_checkpoints(own_plane: LocalControlPlane) -> None:
    found = re.search(r"loss: (\d+\.\d+)", run(ROOT / "examples" / "checkpoints.py", own_plane))
    assert found is not None
    assert float(found.group(1)) < 0.01


def test_a_training_goes_on_at_its_checkpoint_on_another_worker(own_plane: LocalControlPlane, tmp_path: Path) -> None:
    program = tmp_path / "trainer.py"
    program.write_text(
        f"import sys; sys.path.insert(0, {str(ROOT / 'examples')!r})\n"
        "import checkpoints\n"
        "if __name__ == '__main__': checkpoints.worker.run()\n"
    )
    env = {**os.environ, "RAFT_NODE_SERVER": own_plane.url}
    client = own_plane.client()
    payload = json.dumps({"epochs": 1500, "folder": str(tmp_path)}).encode()
    task = client.submit("train", payload)
    first = subprocess.Popen([sys.executable, str(program)], env=env)
    try:
        await_file(tmp_path / f"{task.id}.json", "epoch")
        first.send_signal(signal.SIGTERM)
        assert first.wait(60) == 0
    finally:
        first.kill()
        first.wait()
    assert client.get(task.id).status is TaskStatus.PENDING
    saved = json.loads((tmp_path / f"{task.id}.json").read_text())["epoch"]
    second = subprocess.Popen([sys.executable, str(program)], env=env)
    try:
        record = client.wait(task.id, timeout=120)
    finally:
        second.terminate()
        second.wait(60)
    assert record.status is TaskStatus.COMPLETED, record.error
    assert record.attempt == 2
    begun = client.query("SELECT log_tail FROM attempts WHERE task_id = ?1 AND attempt = 2", [task.id])[0]["log_tail"]
    assert 0 < saved < 1500
    assert f"goes on at epoch {saved}" in begun or len(begun.encode()) >= 60_000  # the tail may have lost it


def test_the_readme(own_plane: LocalControlPlane, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    program = tmp_path / "readme.py"
    assert "http://127.0.0.1:8080" in blocks[0]
    program.write_text(blocks[0].replace("http://127.0.0.1:8080", own_plane.url))
    assert re.search(r"best: SweepResult\(params=\{'rate': 0.1, 'steps': 200\}", run(program, own_plane))
    assert len([line for line in blocks[0].splitlines() if line.strip()]) <= 20


def test_the_calls_of_the_readme(control_plane: LocalControlPlane) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (program,) = (block for block in blocks if "create_queue" in block)
    program = program.replace("http://127.0.0.1:8080", control_plane.url).replace("timeout=60", "timeout=0.1")
    worker = Worker(control_plane.url, name="gpu-1")
    worker.task(name="idle", isolation="thread")(lambda: None)
    with worker, control_plane.client() as client:
        task_id = client.submit("nobody", options=TaskOptions(queue="big", labels={"sweep": "7"})).id
        exec(program, {"task_id": task_id})  # noqa: S102
        assert client.get(task_id).status is TaskStatus.CANCELLED
        client.uncordon("gpu-1")
        client.delete_queue("big")
