"""One worker in this process: every kind of function, argument and end."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import functions
import pytest
from conftest import await_file, await_status

from raft_control_plane import (
    AsyncClient,
    Client,
    Handle,
    ResultTimeoutError,
    SweepResult,
    Task,
    TaskCancelledError,
    TaskError,
    TaskFailedError,
    TaskOptions,
    TaskStatus,
    Worker,
)
from raft_control_plane._signature import Signature
from raft_control_plane.testing import LocalControlPlane


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("scratch")
    os.environ["SCRATCH"] = str(folder)
    yield folder
    del os.environ["SCRATCH"]


@pytest.fixture(scope="module")
def worker(control_plane: LocalControlPlane, scratch: Path) -> Iterator[Worker]:
    with functions.make_worker(control_plane.url, name="inner", slots=4, stop_grace=0.5) as one:
        yield one


@pytest.fixture
def call(worker: Worker, client: Client) -> Any:
    """Submits a function of functions.py by its registered name."""

    def submit(name: str, *args: Any, options: TaskOptions | None = None, **kwargs: Any) -> Handle[Any]:
        function = getattr(functions, name, functions.nap)
        task: Task[..., Any] = Task(function, name, options or TaskOptions(), lambda: client)
        return task.submit(*args, **kwargs)

    return submit


def test_plain_function(call: Any) -> None:
    handle = call("add", 2, y=5)
    assert handle.result(60) == 7
    record = handle.record()
    assert record.status is TaskStatus.COMPLETED
    assert record.log_tail == "adding 2 and 5\n"
    assert record.node_id == "inner"
    assert handle.result(5) == 7, "the end was before the watch"
    assert call("add", 40).result(60) == 41


def test_the_log_is_the_end_of_the_output_and_of_this_attempt_only(call: Any) -> None:
    for count in (100_000, 90_000, 10):
        handle = call("flood", count)
        assert handle.result(60) == count
        assert handle.record().log_tail == ("x" * count + "end\n")[-65536:]


@pytest.mark.parametrize("name", ["chat", "chat_thread", "chat_async"])
def test_the_log_is_read_while_the_function_runs(call: Any, scratch: Path, name: str) -> None:
    gate = scratch / f"gate-{name}"
    handle = call(name, str(gate))
    seen = ""
    for text in handle.logs(follow=True):
        seen += text
        if seen == "grüße\n":  # it goes on only now
            gate.touch()
    assert seen == "grüße\nWARNING chat: two\n"
    assert "".join(handle.logs()) == seen


def test_the_log_goes_on_with_the_next_attempt(call: Any, control_plane: LocalControlPlane, tmp_path: Path) -> None:
    handle = call("flaky", str(tmp_path), 2, options=TaskOptions(retries=2))

    async def followed() -> str:
        async with AsyncClient(control_plane.url) as client:
            return "".join([text async for text in client.logs(handle.id, follow=True)])

    text = asyncio.run(followed())
    assert handle.result(60) == 3
    assert [line for line in text.splitlines() if line.startswith("RuntimeError")] == [
        "RuntimeError: failure 1",
        "RuntimeError: failure 2",
    ]


@pytest.mark.parametrize("name", ["nap", "own_loop"])
def test_coroutine(call: Any, name: str) -> None:
    handle = call(name, 0.01)
    assert handle.result(60) == "rested"
    assert "napping 0.01\n" in handle.record().log_tail
    assert "WARNING nap: zzz\n" in handle.record().log_tail


def test_generator_yields_progress_and_returns_the_result(call: Any) -> None:
    handle = call("countdown", 3)
    assert handle.result(60) == "liftoff"
    assert handle.record().log_tail.splitlines() == [f'progress: {{"left": {n}}}' for n in (3, 2, 1)]


def test_models_and_bytes(call: Any) -> None:
    assert call("shout", b"\x00abc\xff").result(60) == b"\x00ABC\xff"
    assert call("scale", functions.Settings(0.5, [1])).result(60) == functions.Settings(1.0, [2])
    others = [functions.Settings(1.0), functions.Settings(2)]
    assert call("blend", functions.Model(name="m"), others, tag="t").result(60) == functions.Model(
        name="m-t", score=3.5
    )


def test_payloads_are_plain_json_for_other_languages(call: Any, client: Client) -> None:
    def payload(handle: Handle[Any]) -> Any:
        work = client.get(handle.id).work
        assert work is not None
        assert work.field == "function"
        return json.loads(work.value.payload)

    assert payload(call("add", 1)) == {"x": 1}
    assert payload(call("scale", functions.Settings(0.5))) == {"rate": 0.5, "layers": []}
    record = client.wait(client.submit("scale", b'{"rate":2,"layers":[7]}').id, timeout=60)
    assert json.loads(record.result) == {"rate": 4.0, "layers": [8]}


def test_an_exception_is_told_with_its_traceback(call: Any) -> None:
    handle = call("broken", "pump")
    with pytest.raises(TaskFailedError, match="ValueError: broken: pump") as caught:
        handle.result(60)
    task = caught.value.task
    assert task.error.startswith("ValueError: broken: pump\n")
    assert 'raise ValueError(f"broken: {what}")' in task.error
    assert "about to break\n" in task.log_tail
    assert "INFO broken: a line at level info\n" in task.log_tail
    assert "functions.py" in task.log_tail
    assert "_call.py" not in task.log_tail  # frames of this package help nobody
    assert task.attempt == 1


def test_arguments_that_do_not_fit_fail_the_task(client: Client, worker: Worker) -> None:
    record = client.wait(client.submit("add", b'{"z":1}').id, timeout=60)
    assert record.status is TaskStatus.FAILED
    assert record.error.startswith("TypeError: ")
    record = client.wait(client.submit("add", b"no json").id, timeout=60)
    assert record.error.startswith("ValueError: not JSON")


def test_retries(call: Any, tmp_path: Path) -> None:
    handle = call("flaky", str(tmp_path), 1, options=TaskOptions(retries=2))
    assert handle.result(60) == 2
    assert handle.record().failed_attempts == 1


def test_no_more_retries_than_asked_for(call: Any, tmp_path: Path) -> None:
    handle = call("flaky", str(tmp_path), 9, options=TaskOptions(retries=1))
    with pytest.raises(TaskFailedError, match="failure 2"):
        handle.result(60)


def test_a_retry_goes_on_at_the_checkpoint(call: Any, tmp_path: Path) -> None:
    assert call("train", 6, str(tmp_path), options=TaskOptions(retries=1)).result(60) == [3, 6]


EVERYWHERE = pytest.mark.parametrize(
    "where", ["refuse", "refuse_thread", "refuse_async", "refuse_yielding", "refuse_yielding_thread"]
)


@EVERYWHERE
@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("permanent", "raft_control_plane.errors.PermanentError: no use\n"),
        ("permanent about", "KeyError: 'no use'\n"),
        ("because of permanent", "RuntimeError: no use\n"),
        ("listed", "functions.Fatal: no use\n"),
        ("below listed", "ZeroDivisionError: no use\n"),
        ("no result", "TypeError: builtin_function_or_method has no JSON form"),
    ],
)
def test_a_permanent_failure_ends_the_task_at_once(
    worker: Worker, client: Client, where: str, how: str, error: str
) -> None:
    task: Task[[str], Any] = Task(functions.refuse, where, TaskOptions(retries=50), lambda: client)
    record = task.submit(how).wait(60)
    assert (record.status, record.failed_attempts) == (TaskStatus.FAILED, 1)
    assert record.error.startswith(error)


@EVERYWHERE
def test_a_failure_says_when_to_try_again(worker: Worker, client: Client, where: str) -> None:
    task: Task[[str], Any] = Task(functions.refuse, where, TaskOptions(retries=1), lambda: client)
    assert task.submit("soon").result(60) == 2
    handle = task.submit("much later")
    for _ in client.watch(task_ids=[handle.id], timeout=60):
        if (record := handle.record()).failed_attempts:
            break
    handle.cancel()
    assert (record.status, record.failed_attempts) == (TaskStatus.PENDING, 1)
    assert record.retry_time is not None
    assert 3500 < record.retry_time.seconds - time.time() <= 3601
    assert record.error.startswith("OSError: disk full\n")


def test_arguments_that_do_not_fit_are_not_tried_again(worker: Worker, client: Client) -> None:
    for name in ("add", "patient", "nap"):
        record = client.wait(client.submit(name, b"{", options=TaskOptions(retries=50)).id, timeout=60)
        assert (record.status, record.failed_attempts) == (TaskStatus.FAILED, 1)
        assert record.error.startswith("ValueError: not JSON")


def test_timeout(call: Any, tmp_path: Path) -> None:
    handle = call("slow", 3600, str(tmp_path), options=TaskOptions(timeout=1))
    with pytest.raises(TaskFailedError, match="timed out after 1 s"):
        handle.result(60)
    assert (tmp_path / "slow-cancelled").exists()


def test_a_function_that_holds_on_is_killed_after_the_grace_period(call: Any, tmp_path: Path) -> None:
    handle = call("hold", str(tmp_path), options=TaskOptions(timeout=1.5))
    pid = int(await_file(tmp_path / "hold-begun"))
    with pytest.raises(TaskFailedError, match="timed out"):
        handle.result(60)
    assert not _alive(pid)
    assert "ignoring Cancelled" in handle.record().log_tail


def test_cancel_reaches_a_function_within_two_seconds(call: Any, client: Client, tmp_path: Path) -> None:
    handle = call("slow", 3600, str(tmp_path))
    await_file_exists(tmp_path / "slow-begun")
    begun = time.monotonic()
    handle.cancel()
    assert handle.wait(60).status is TaskStatus.CANCELLED
    assert float((tmp_path / "slow-cancelled").read_text()) - begun < 2
    with pytest.raises(TaskCancelledError):
        handle.result(60)


def test_a_drain_hands_back_what_runs(
    call: Any, client: Client, control_plane: LocalControlPlane, tmp_path: Path
) -> None:
    handle = call("slow", 3600, str(tmp_path))
    await_file_exists(tmp_path / "slow-begun")
    _node_call(control_plane, "DrainNode", id="inner", deadline="0s")
    try:
        await_file_exists(tmp_path / "slow-cancelled")
        await_status(client, handle.id, TaskStatus.PENDING)
    finally:
        handle.cancel()
        _node_call(control_plane, "UncordonNode", id="inner")
    record = handle.wait(60)
    assert record.status is TaskStatus.CANCELLED
    assert (record.failed_attempts, record.lost_attempts) == (0, 0)


def _node_call(plane: LocalControlPlane, method: str, **message: str) -> None:
    """Calls a method that the client does not have."""
    connection = http.client.HTTPConnection(urlsplit(plane.url).netloc, timeout=30)
    with contextlib.closing(connection):
        path = f"/controlplane.v1.NodeService/{method}"
        connection.request("POST", path, json.dumps(message), {"content-type": "application/json"})
        assert connection.getresponse().status == 200


def test_cancel_reaches_a_coroutine(call: Any, client: Client, scratch: Path) -> None:
    handle = call("nap", 3600)
    await_file_exists(scratch / "nap-begun")
    handle.cancel()
    assert handle.wait(60).status is TaskStatus.CANCELLED
    await_file_exists(scratch / "nap-cancelled")


def test_cancel_reaches_a_thread(call: Any, scratch: Path) -> None:
    handle = call("patient")
    await_file_exists(scratch / "patient-begun")
    handle.cancel()
    assert handle.wait(60).status is TaskStatus.CANCELLED


def test_cancel_ends_what_the_function_started(call: Any, tmp_path: Path) -> None:
    handle = call("spawn", str(tmp_path))
    pid = int(await_file(tmp_path / "spawn-pid"))
    handle.cancel()
    assert handle.wait(60).status is TaskStatus.CANCELLED
    deadline = time.monotonic() + 10
    while _alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)  # the kernel takes its time
    assert not _alive(pid)


def test_a_process_that_dies_fails_its_task_only(call: Any) -> None:
    handle = call("crash")
    with pytest.raises(TaskFailedError, match="killed by SIGKILL"):
        handle.result(60)
    assert handle.record().log_tail == "last words\n"
    with pytest.raises(TaskFailedError, match="SystemExit: 7"):
        call("leave", 7).result(60)
    assert call("add", 1).result(60) == 2


def test_heartbeats_go_on_while_a_function_holds_the_interpreter(call: Any, client: Client) -> None:
    handles = [call("gone", 7) for _ in range(2)]
    await_status(client, handles[0].id, TaskStatus.RUNNING)
    before = client.node("inner").heartbeat_time
    assert [handle.result(120) for handle in handles] == [True, True]
    after = client.node("inner").heartbeat_time
    assert before is not None
    assert after is not None
    assert after.seconds > before.seconds
    assert all(handle.record().attempt == 1 for handle in handles)


def test_map_and_sweep(worker: Worker, client: Client) -> None:
    add: Task[[int, int], int] = Task(functions.add, "add", TaskOptions(), lambda: client)
    assert add.map(range(20), range(20), progress=True, timeout=60) == [2 * n for n in range(20)]
    assert [(point.params, point.result) for point in add.sweep(x=[1, 2], y=[10, 20], timeout=60)] == [
        ({"x": 1, "y": 10}, 11),
        ({"x": 1, "y": 20}, 21),
        ({"x": 2, "y": 10}, 12),
        ({"x": 2, "y": 20}, 22),
    ]
    assert add.map([]) == []


def test_map_can_return_errors(worker: Worker, client: Client) -> None:
    broken: Task[[str], None] = Task(functions.broken, "broken", TaskOptions(), lambda: client)
    results = broken.map(["a", "b"], return_errors=True, timeout=60)
    assert [str(result).partition("\n")[0].split(": ", 3)[3] for result in results] == ["broken: a", "broken: b"]
    with pytest.raises(TaskFailedError):
        broken.map(["a"], timeout=60)


def test_one_bad_point_does_not_cost_the_others(worker: Worker, client: Client) -> None:
    task: Task[[str, int], int] = Task(functions.picky, "picky", TaskOptions(), lambda: client)

    async def awaited() -> tuple[list[SweepResult[int | TaskError]], list[int | TaskError]]:
        points = await task.sweep_async(what=["bad", "good"], n=[1, 2], return_errors=True, timeout=60)
        return points, await task.map_async(["good", "bad"], [1, 2], return_errors=True, timeout=60)

    points = task.sweep(what=["bad", "good"], n=[1, 2], return_errors=True, timeout=60)
    points_too, mapped = asyncio.run(awaited())
    for some in (points, points_too):
        assert [point.params["n"] for point in some] == [1, 2, 1, 2]
        assert [point.result for point in some[2:]] == [1, 2]
        failed = some[1].result
        assert isinstance(failed, TaskFailedError)
        assert (failed.position, failed.task_ids[1], len(failed.task_ids)) == (1, failed.task.id, 4)
        assert str(failed).startswith(f"at index 1 of 4 calls: task {failed.task.id} failed at attempt 1: ")
    assert mapped[0] == 1
    assert isinstance(mapped[1], TaskFailedError)
    with pytest.raises(TaskFailedError, match="at index 2 of 3 calls: task ") as caught:
        task.map(["good", "good", "bad"], [1, 2, 3], timeout=60)
    ended = [client.wait(task_id, timeout=60) for task_id in caught.value.task_ids]
    assert [task.handle(record.id).decode(record) for record in ended[:2]] == [1, 2]
    with pytest.raises(ResultTimeoutError) as late:
        Task(functions.picky, "nobody", TaskOptions(), lambda: client).map(["good"], [1], timeout=0.1)
    client.cancel(late.value.task_ids[0])


def test_a_result_that_takes_too_long(call: Any, tmp_path: Path) -> None:
    handle = call("slow", 3600, str(tmp_path))
    with pytest.raises(ResultTimeoutError, match="1 of 1"):
        handle.result(0.2)
    handle.cancel()


def test_asyncio_client(worker: Worker, control_plane: LocalControlPlane) -> None:
    async def main() -> None:
        signature = Signature(functions.add)
        async with AsyncClient(control_plane.url) as client:
            tasks = await asyncio.gather(*(client.submit("add", signature.encode((n,), {})) for n in range(5)))
            results = [signature.decode_result(await client.result(task.id, timeout=60)) for task in tasks]
            assert results == [1, 2, 3, 4, 5]
            assert len([task async for task in client.as_completed([task.id for task in tasks])]) == 5

    asyncio.run(main())


def test_running_shows_progress(call: Any, worker: Worker, client: Client, tmp_path: Path) -> None:
    handle = call("mark", str(tmp_path), "go")
    await_file(tmp_path / "marks")
    assert [(task.task_id, task.attempt, task.function) for task in worker.running() if task.task_id == handle.id] == [
        (handle.id, 1, "mark")
    ]
    (tmp_path / "go").touch()
    assert handle.result(60) == "attempt 1"


def await_file_exists(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} does not appear"
        time.sleep(0.01)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
