"""Workers that are killed, stopped, replaced and asked to end; a member that restarts."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import functions
import pytest
from conftest import StartWorker, await_file, await_status

from raft_control_plane import Client, SessionReplacedError, Task, TaskOptions, TaskStatus, Worker
from raft_control_plane.testing import LocalControlPlane


@pytest.fixture
def client(own_plane: LocalControlPlane) -> Client:
    """Of a control plane that has no workers of other tests, whose leases outlive them."""
    return own_plane.client()


def submit(client: Client, name: str, *args: object, **options: object) -> str:
    function = getattr(functions, name)
    task: Task[..., object] = Task(function, name, TaskOptions(**options), lambda: client)  # type: ignore[arg-type]
    return task.submit(*args).id


def attempts(client: Client, task_id: str) -> list[tuple[int, str, str]]:
    rows = client.query("SELECT attempt, node_id, status FROM attempts WHERE task_id = ?1 ORDER BY attempt", [task_id])
    return [(row["attempt"], row["node_id"], row["status"]) for row in rows]


def test_a_worker_killed_in_the_middle(client: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    first = start_worker("killed")
    task_id = submit(client, "mark", str(tmp_path), "go")
    process = int(await_file(tmp_path / "marks", "begun").split()[-1])
    start_worker("heir")
    first.send(signal.SIGKILL)
    await_status(client, task_id, TaskStatus.RUNNING, node="heir")
    assert not Path(f"/proc/{process}").exists(), "the function of a dead worker goes on"
    (tmp_path / "go").touch()
    record = client.wait(task_id, timeout=60)
    assert (record.status, record.node_id, record.result) == (TaskStatus.COMPLETED, "heir", b'"attempt 2"')
    assert attempts(client, task_id) == [(1, "killed", "LOST"), (2, "heir", "COMPLETED")]


def test_a_worker_stopped_beyond_its_lease_cannot_overwrite(
    client: Client, start_worker: StartWorker, tmp_path: Path
) -> None:
    first = start_worker("frozen")
    task_id = submit(client, "mark", str(tmp_path), "go")
    process = int(await_file(tmp_path / "marks", "begun").split()[-1])
    start_worker("heir-of-frozen")
    first.send(signal.SIGSTOP)
    await_status(client, task_id, TaskStatus.RUNNING, node="heir-of-frozen")
    # Its function was ended in time, though the worker itself could do nothing.
    assert not Path(f"/proc/{process}").exists() or "Z" in Path(f"/proc/{process}/stat").read_text().split()[2]
    first.send(signal.SIGCONT)
    again = submit(client, "mark", str(tmp_path), "go")  # the worker is back at work
    await_status(client, again, TaskStatus.RUNNING)
    (tmp_path / "go").touch()
    record = client.wait(task_id, timeout=60)
    assert (record.status, record.node_id, record.attempt) == (TaskStatus.COMPLETED, "heir-of-frozen", 2)
    assert record.result == b'"attempt 2"'
    assert client.wait(again, timeout=60).status is TaskStatus.COMPLETED
    assert attempts(client, task_id) == [(1, "frozen", "LOST"), (2, "heir-of-frozen", "COMPLETED")]


def test_sigterm_hands_back_what_runs(client: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    first = start_worker("leaving")
    task_id = submit(client, "mark", str(tmp_path), "go")
    await_file(tmp_path / "marks", "begun")
    first.send(signal.SIGTERM)
    assert first.wait() == 0, first.log()
    task = client.get(task_id)
    assert (task.status, task.failed_attempts, task.lost_attempts) == (TaskStatus.PENDING, 0, 0)
    start_worker("staying")
    (tmp_path / "go").touch()
    assert client.wait(task_id, timeout=60).status is TaskStatus.COMPLETED
    assert attempts(client, task_id) == [(1, "leaving", "RELEASED"), (2, "staying", "COMPLETED")]


def test_drain_lets_tasks_end(client: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    worker = start_worker("draining", "drain=60")
    task_id = submit(client, "mark", str(tmp_path), "go")
    await_file(tmp_path / "marks", "begun")
    worker.send(signal.SIGINT)
    await_file(tmp_path / "draining.log", "1 tasks have 60 s to end")
    (tmp_path / "go").touch()
    assert worker.wait() == 0, worker.log()
    assert attempts(client, task_id) == [(1, "draining", "COMPLETED")]


def test_a_second_signal_ends_functions_at_once(client: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    worker = start_worker("hurried", "shutdown_grace=3600")
    task_id = submit(client, "hold", str(tmp_path))
    process = int(await_file(tmp_path / "hold-begun"))
    worker.send(signal.SIGTERM)
    await_file(tmp_path / "hurried.log", "1 tasks are stopped and handed back")
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0, worker.log()
    assert not Path(f"/proc/{process}").exists()
    client.cancel(task_id)


def test_a_replaced_worker_ends_with_a_clear_error(client: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    first = start_worker("twin")
    task_id = submit(client, "mark", str(tmp_path), "go")
    await_file(tmp_path / "marks", "begun")
    second = start_worker("twin")
    assert first.wait() == 3, first.log()
    assert "another worker registered under the name twin" in first.log()
    (tmp_path / "go").touch()
    assert client.wait(task_id, timeout=60).status is TaskStatus.COMPLETED
    assert second.process.poll() is None


def test_a_replaced_worker_in_the_background_tells_when_it_is_joined(control_plane: LocalControlPlane) -> None:
    first = functions.make_worker(control_plane.url, name="twins", slots=1)
    first.start()
    with functions.make_worker(control_plane.url, name="twins", slots=1), pytest.raises(SessionReplacedError):
        first.join()


def test_an_exception_of_the_workers_own_script_is_permanent(client: Client, start_worker: StartWorker) -> None:
    start_worker("script")
    record = client.wait(submit(client, "refuse", "listed", retries=50), timeout=60)
    assert (record.status, record.failed_attempts) == (TaskStatus.FAILED, 1)
    assert record.error.startswith("__mp_main__.Fatal: no use\n")


@pytest.mark.parametrize("function", ["no_op", "nap"])
def test_two_thousand_tasks_through_a_restart(
    own_plane: LocalControlPlane, start_worker: StartWorker, function: str
) -> None:
    count = 2000
    client = own_plane.client()
    for name in ("one", "two"):
        start_worker(name, "slots=8")
    target = getattr(functions, function)
    task: Task[..., object] = Task(target, function, TaskOptions(), lambda: client)
    values = list(range(count)) if function == "no_op" else [0] * count
    cursor = client.cursor()
    handles = task.submit_many(task.request(value) for value in values)
    by_id = {handle.id: handle for handle in handles}
    results: dict[str, object] = {}
    for seen, record in enumerate(client.as_completed(list(by_id), cursor=cursor, timeout=300), 1):
        results[record.id] = by_id[record.id].decode(record)
        if seen == count // 4:
            own_plane.kill()
            own_plane.start()
    assert seen == count
    assert [results[handle.id] for handle in handles] == (values if function == "no_op" else ["rested"] * count)
    rows = client.query("SELECT count(*) AS n FROM attempts WHERE status = 'COMPLETED'")
    assert rows[0]["n"] == count


def test_a_worker_waits_for_a_control_plane_that_is_not_up_yet(own_plane: LocalControlPlane) -> None:
    own_plane.stop()
    worker = functions.make_worker(own_plane.url, name="early", slots=1)
    worker._launch()
    own_plane.start()
    assert worker._registered.wait(60)
    worker.stop()


def test_a_wrong_token_is_told_at_once() -> None:
    token = "0123456789abcdef"
    with LocalControlPlane(token=token) as plane:
        worker = Worker(plane.url, token="wrong")
        worker.task(functions.add)
        with pytest.raises(Exception, match="check the token"):
            worker.start()
        with Client(plane.url, token=token) as client:
            assert list(client.nodes()) == []
        os.environ["RAFT_NODE_TOKEN"] = token
        try:
            with Client(plane.url) as client:
                assert client.cluster().leader == "test"
        finally:
            del os.environ["RAFT_NODE_TOKEN"]
