"""What the clients can do beside submitting and waiting: the blocking one and that of asyncio alike."""

from __future__ import annotations

import asyncio
import datetime
import inspect
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import functions
import pytest
from conftest import await_status
from connectrpc.code import Code

from raft_control_plane import (
    AsyncClient,
    CallError,
    CancelCount,
    Client,
    Constraints,
    Gpu,
    ResultTimeoutError,
    RetryPolicy,
    Selector,
    TaskOptions,
    TaskStatus,
    Worker,
)
from raft_control_plane._requests import resources
from raft_control_plane.testing import LocalControlPlane
from raft_control_plane.v1 import LabelOperator, Placement, SpotUse


class Blocking:
    """An AsyncClient whose calls are waited for, and whose streams are read to their end."""

    def __init__(self, url: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.client = self.loop.run_until_complete(self._make(url))

    async def _make(self, url: str) -> AsyncClient:
        return AsyncClient(url)

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            made = getattr(self.client, name)(*args, **kwargs)
            return self.loop.run_until_complete(self._all(made) if inspect.isasyncgen(made) else made)

        return call

    async def _all(self, stream: Any) -> list[Any]:
        return [item async for item in stream]


@pytest.fixture(params=["blocking", "asyncio"])
def caller(request: pytest.FixtureRequest, control_plane: LocalControlPlane) -> Iterator[Any]:
    if request.param == "blocking":
        with control_plane.client() as client:
            yield client
        return
    blocking = Blocking(control_plane.url)
    yield blocking
    blocking.client.close()
    blocking.loop.close()


def test_many_tasks_are_read_together(caller: Any) -> None:
    large = [caller.submit("nobody", bytes([n]) * (1 << 20)).id for n in range(3)]
    small = [caller.submit("nobody", b"s").id for _ in range(2)]
    asked = [large[2], "no-such-task", small[1], *large, *(small * 600), large[0]]
    tasks = caller.get_tasks(asked)
    assert [task and task.id for task in tasks] == [None if one == "no-such-task" else one for one in asked]
    assert tasks[0].work.value.payload == bytes([2]) * (1 << 20)
    assert caller.get_tasks([]) == []
    with pytest.raises(CallError, match=r"ids\[1\]"):
        caller.get_tasks([small[0], ""])
    for task_id in large + small:
        caller.cancel(task_id)


def test_both_clients_have_the_same_calls() -> None:
    def calls(kind: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(member).parameters)
            for name, member in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        }

    blocking, awaited = calls(Client), calls(AsyncClient)
    awaited["call"] = awaited["call"][:-2]  # wait and repeatable are for workers
    blocking["as_completed"].remove("on_progress")  # for the bar of map()
    assert blocking == awaited


def test_all_options_reach_the_task(caller: Any) -> None:
    late = datetime.datetime(2098, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
    options = TaskOptions(
        queue="options",
        priority=7,
        labels={"team": "vision"},
        resources={"cpu": 1.5, "memory": 1 << 30, "disk": 1 << 31, "gpus": 2},
        custom={"license": 3},
        timeout=60,
        retries=4,
        max_lost_attempts=9,
        retry_policy=RetryPolicy(initial_backoff=2, max_backoff=90, multiplier=1.5, jitter=0, exit_codes=[1, 75]),
        constraints=Constraints(
            providers=["aws"],
            regions=["r"],
            zones=["z"],
            instance_types=["t"],
            labels=[Selector("cuda", ">", ["11"]), Selector("old", "does not exist")],
            spot="never",
            max_price=1.25,
            node="n1",
            gpu_models=["h100"],
            min_gpu_memory=1 << 34,
            preferred_regions=["p"],
        ),
        earliest_start=late,
        queue_timeout=30,
        concurrency_key="k",
        max_concurrency=2,
    )
    task = caller.get(caller.submit("nobody", options=options).id)
    caller.cancel(task.id)
    assert (task.queue, task.priority, dict(task.labels)) == ("options", 7, {"team": "vision"})
    assert (task.resources.cpu_millis, task.resources.memory_bytes, task.resources.disk_bytes) == (
        1500,
        1 << 30,
        1 << 31,
    )
    assert (task.resources.gpus, dict(task.resources.custom)) == (2, {"license": 3})
    assert (task.timeout.seconds, task.max_attempts, task.max_lost_attempts) == (60, 5, 9)
    policy = task.retry_policy
    assert (policy.initial_backoff.seconds, policy.max_backoff.seconds, policy.multiplier, policy.jitter) == (
        2,
        90,
        1.5,
        0,
    )
    assert list(policy.exit_codes) == [1, 75]
    found = task.constraints
    assert [list(found.providers), list(found.regions), list(found.zones), list(found.instance_types)] == [
        ["aws"], ["r"], ["z"], ["t"],
    ]  # fmt: skip
    assert [(one.key, one.operator, list(one.values)) for one in found.labels] == [
        ("cuda", LabelOperator.GREATER_THAN, ["11"]),
        ("old", LabelOperator.DOES_NOT_EXIST, []),
    ]
    assert (found.spot, found.max_price_micros_per_hour, found.node_id) == (SpotUse.NEVER, 1_250_000, "n1")
    assert (list(found.gpu_models), found.min_gpu_memory_bytes) == (["h100"], 1 << 34)
    assert list(found.preferred_regions) == ["p"]
    assert task.earliest_start_time.seconds == late.timestamp()
    assert (task.queue_timeout.seconds, task.concurrency_key, task.max_concurrency) == (30, "k", 2)


def test_a_start_delay_holds_a_task_back(caller: Any) -> None:
    task = caller.submit("nobody", options=TaskOptions(start_delay=3600))
    assert task.retry_time.seconds - task.create_time.seconds in (3599, 3600)
    caller.cancel(task.id)


def test_a_worker_says_what_it_is_and_constraints_find_it(control_plane: LocalControlPlane, caller: Any) -> None:
    here = Worker(
        control_plane.url,
        name="here",
        slots=1,
        disk=1 << 40,
        gpus=[Gpu(0, "NVIDIA H100 80GB HBM3", 80 << 30)],
        custom={"license": 1},
        labels={"cuda": "12"},
        provider="aws",
        region="us-east-1",
        zone="us-east-1a",
        instance_type="p5.48xlarge",
        spot=True,
        price=2.5,
    )
    here.task(name="placed")(functions.no_op)
    elsewhere = Worker(control_plane.url, name="elsewhere", slots=1, labels={"cuda": "11"}, region="eu-west-1")
    elsewhere.task(name="placed")(functions.no_op)

    def placed(options: TaskOptions) -> str:
        task = caller.wait(caller.submit("placed", b'{"n":1}', options=options).id, timeout=60)
        return f"{task.node_id} {task.status.name}"

    with here, elsewhere:
        spec = caller.node("here").spec
        assert (spec.provider, spec.region, spec.zone, spec.instance_type) == (
            "aws", "us-east-1", "us-east-1a", "p5.48xlarge",
        )  # fmt: skip
        assert (spec.spot, spec.price_micros_per_hour, spec.capacity.disk_bytes) == (True, 2_500_000, 1 << 40)
        assert {"here", "elsewhere"} <= {node.id for node in caller.nodes()}
        for constraints, where in (
            (Constraints(regions=["us-east-1"]), "here"),
            (Constraints(regions=["eu-west-1", "eu-north-1"]), "elsewhere"),
            (Constraints(labels={"cuda": "11"}), "elsewhere"),
            (Constraints(labels=[Selector("cuda", ">", ["11"])]), "here"),
            (Constraints(spot="only", max_price=3), "here"),
            (Constraints(node="elsewhere"), "elsewhere"),
        ):
            assert placed(TaskOptions(constraints=constraints)) == f"{where} COMPLETED", constraints
        gpu = Constraints(gpu_models=["h100"], min_gpu_memory=64 << 30)
        assert placed(TaskOptions(resources={"gpus": 1}, constraints=gpu)) == "here COMPLETED"
        assert placed(TaskOptions(custom={"license": 1}, resources={"disk": 1 << 39})) == "here COMPLETED"
        task = caller.submit("placed", options=TaskOptions(constraints=Constraints(regions=["mars"])))
        explanation = caller.explain(task.id)
        assert not explanation.placeable
        assert explanation.nodes >= 2
        assert "region" in explanation.summary
        caller.cancel(task.id)


def test_queues(caller: Any) -> None:
    made = caller.create_queue(
        "shared",
        weight=3,
        max_tasks=10,
        max_cpu=1.5,
        max_gpus=0,
        placement="binpack",
        ageing_interval=60,
        max_disk=7,
        max_custom={"license": 4},
    )
    assert (made.weight, made.limits.tasks, made.limits.cpu_millis, made.limits.gpus) == (3, 10, 1500, 0)
    assert (made.placement, made.ageing_interval.seconds) == (Placement.BINPACK, 60)
    assert (made.limits.disk_bytes, dict(made.limits.custom)) == (7, {"license": 4})
    changed = caller.update_queue("shared", weight=5, max_tasks=None)
    assert (changed.weight, changed.limits.has_field("tasks"), changed.limits.cpu_millis) == (5, False, 1500)
    assert changed.limits.has_field("gpus")
    assert caller.pause_queue("shared").paused
    task = caller.submit("nobody", options=TaskOptions(queue="shared"))
    assert "paused" in caller.explain(task.id).summary
    assert caller.queue("shared").pending_tasks == 1
    assert not caller.resume_queue("shared").paused
    with pytest.raises(CallError, match="failed_precondition"):
        caller.delete_queue("shared")
    caller.cancel(task.id)
    assert "shared" in [queue.name for queue in caller.queues()]
    caller.delete_queue("shared")
    with pytest.raises(CallError, match="not_found"):
        caller.update_queue("shared", weight=1)


def test_many_tasks_are_cancelled_and_one_is_tried_again(caller: Any) -> None:
    for number in range(5):
        caller.submit("nobody", options=TaskOptions(queue="many", labels={"odd": str(number % 2)}))
    assert caller.cancel_many(queue="many", labels={"odd": "1"}) == CancelCount(2, 0)
    waiting = list(caller.tasks(queue="many", statuses=[TaskStatus.PENDING]))
    assert len(waiting) == 3
    assert caller.cancel_many(queue="many") == CancelCount(3, 0)
    with pytest.raises(CallError, match="all"):
        caller.cancel_many()
    assert caller.retry(waiting[0].id).status is TaskStatus.PENDING
    assert caller.cancel_many(queue="many", statuses=[TaskStatus.PENDING]) == CancelCount(1, 0)


def test_nodes_are_cordoned_and_drained(control_plane: LocalControlPlane, caller: Any, tmp_path: Path) -> None:
    with functions.make_worker(
        control_plane.url, name=f"drained-{type(caller).__name__.lower()}", slots=2, stop_grace=0.5
    ) as worker:
        only = TaskOptions(constraints=Constraints(node=worker.name))
        assert not caller.cordon(worker.name).schedulable
        task = caller.submit("add", b'{"x":1}', options=only)
        assert "cordon" in caller.explain(task.id).summary
        assert caller.uncordon(worker.name).schedulable
        assert caller.wait(task.id, timeout=60).status is TaskStatus.COMPLETED

        running = caller.submit("slow", f'{{"seconds":3600,"folder":"{tmp_path}"}}'.encode(), options=only)
        with control_plane.client() as watcher:
            await_status(watcher, running.id, TaskStatus.RUNNING)
        node = caller.drain(worker.name, deadline=0)
        assert (node.schedulable, node.drain.initial_tasks) == (False, 1)
        assert [one.running_tasks for one in caller.drained(worker.name, timeout=60)][-1] == 0
        assert caller.get(running.id).status is TaskStatus.PENDING
        caller.cancel(running.id)


def test_nodes_that_are_heard_are_not_removed(control_plane: LocalControlPlane, caller: Any) -> None:
    with functions.make_worker(control_plane.url, name=f"heard-{type(caller).__name__.lower()}", slots=1) as worker:
        with pytest.raises(CallError, match=f"{worker.name} is heard: stop its worker") as refused:
            caller.remove_node(worker.name)
        assert refused.value.code is Code.FAILED_PRECONDITION
        assert worker.name in {node.id for node in caller.nodes()}
    with pytest.raises(CallError, match="no node nobody") as missing:
        caller.remove_node("nobody")
    assert missing.value.code is Code.NOT_FOUND


def test_a_watch_of_one_node(control_plane: LocalControlPlane, caller: Any) -> None:
    with functions.make_worker(control_plane.url, name="watched", slots=1) as worker:
        only = TaskOptions(constraints=Constraints(node=worker.name))
        with control_plane.client() as submitter:
            before = submitter.cursor()
            mine = submitter.wait(submitter.submit("add", b'{"x":1}', options=only).id, timeout=60)
            submitter.submit("nobody", options=TaskOptions(start_delay=3600))
        for limit_s in (1, 10, 60):  # the stream ends with its time alone
            messages = caller.watch(node_id="watched", cursor=before, timeout=limit_s)
            events = [message.event for message in messages if message.event]
            if events and events[-1].status is TaskStatus.COMPLETED:
                break
    assert {(event.task_id, event.node_id) for event in events} == {(mine.id, "watched")}
    assert events[-1].status is TaskStatus.COMPLETED


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: TaskOptions(resources={"gpu": 1}), "resources: gpu is not known"),
        (lambda: TaskOptions(start_delay=0), "start_delay: 0 is out of range: give 0.001 to 31,536,000"),
        (lambda: TaskOptions(queue_timeout=-1), "queue_timeout: -1"),
        (lambda: TaskOptions(max_concurrency=2), "without a concurrency_key"),
        (lambda: TaskOptions(start_delay=1, earliest_start=datetime.datetime.now(datetime.timezone.utc)), "give one"),
        (lambda: RetryPolicy(initial_backoff=9, max_backoff=1), "shorter than initial_backoff"),
        (lambda: RetryPolicy(jitter=2), "jitter: 2 is out of range"),
        (lambda: Constraints(regions="us-east-1"), "give a list"),
        (lambda: Constraints(spot="always"), "give allowed, only or never"),  # type: ignore[arg-type]
        (lambda: Selector("k", "="), "operator: '='"),  # type: ignore[arg-type]
        (lambda: Selector("k", "in", "v"), "give a list"),
        (lambda: Worker(price=-1), "price: -1"),
        (
            lambda: TaskOptions(resources={"memory": "2 GiX"}),
            "resources: memory: '2 GiX': give a number of bytes, or text",
        ),
        (lambda: TaskOptions(resources={"disk": "0.3B"}), "resources: disk: '0.3B': give a whole number of bytes"),
        (lambda: TaskOptions(resources={"memory": "8192PiB"}), "less than 8 EiB"),
        (lambda: TaskOptions(resources={"memory": math.nan}), "resources: memory: nan is out of range"),
        (lambda: TaskOptions(resources={"cpu": "2"}), "resources: cpu: '2': give a number of cores"),
        (lambda: TaskOptions(resources={"gpus": 0.5}), "resources: gpus: 0.5: give a whole number"),
    ],
)
def test_mistakes_are_told_where_they_are_made(make: Any, says: str) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        make()
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("given", "amount"),
    [
        ("2GiB", 2 << 30),
        ("512 mib", 512 << 20),
        ("1.5Ki", 1536),
        ("3TB", 3 * 10**12),
        ("7b", 7),
        ("9", 9),
        (2 << 30, 2 << 30),
    ],
)
def test_amounts_have_the_units_of_the_command_line(given: Any, amount: int) -> None:
    made = resources({"memory": given, "disk": given}, {})
    assert made is not None
    assert (made.memory_bytes, made.disk_bytes) == (amount, amount)


@pytest.mark.parametrize(
    ("make", "kind", "says"),
    [
        (lambda c: c.submit("f", '{"x":1}'), TypeError, "payload: str is not allowed: give a dict of the arguments by"),
        (lambda c: c.submit("f", [1]), TypeError, "payload: list is not allowed"),
        (lambda c: c.submit_command("echo hi"), TypeError, "command: str is not allowed: give a list .* shlex.split"),
        (lambda c: c.submit_command(["echo", None]), TypeError, "command: None is not allowed: give str"),
        (lambda c: c.submit_command(["env"], env={"N": 1}), TypeError, "submit_task: the request cannot be encoded"),
        (lambda c: c.get(5), TypeError, "get_task: the request cannot be encoded: expected str"),
        (
            lambda c: c.submit("f", options=TaskOptions(priority=1 << 40)),
            ValueError,
            "encoded: .* out of range for int32",
        ),
        (lambda c: c.submit("\ud800"), ValueError, "cannot be encoded: .*surrogates"),
        (
            lambda c: c.drain("vm", deadline="10m"),
            TypeError,
            "deadline: '10m' is not allowed: give seconds as a number",
        ),
        (lambda c: c.drain("vm", deadline=-1), ValueError, "deadline: -1 is out of range: give 0 to 2,592,000 seconds"),
        (lambda c: c.drain("vm", deadline=datetime.timedelta(31)), ValueError, "deadline: 31 days, .* is out of range"),
    ],
)
def test_what_cannot_be_sent_is_told_at_once(caller: Any, make: Any, kind: type[Exception], says: str) -> None:
    begun = time.monotonic()
    with pytest.raises(kind, match=says):
        make(caller)
    assert time.monotonic() - begun < 15, "it was tried again"


def test_arguments_by_name_are_sent_as_json(caller: Any) -> None:
    task = caller.submit("nobody", {"x": 1, "y": [0.5, None, "ä"]})
    assert task.work.value.payload == '{"x":1,"y":[0.5,null,"ä"]}'.encode()
    caller.cancel(task.id)


def test_a_decorated_function_has_its_options(control_plane: LocalControlPlane) -> None:
    worker = Worker(control_plane.url)

    @worker.task(
        isolation="thread",
        retry_policy=RetryPolicy(initial_backoff=5),
        constraints=Constraints(spot="never"),
        custom={"license": 1},
        concurrency_key="k",
        queue_timeout=9,
    )
    def train(rate: float) -> float:
        return rate

    task = train.with_options(max_concurrency=3).request(1.0).task
    assert task is not None
    assert task.constraints is not None
    assert (task.constraints.spot, task.concurrency_key, task.max_concurrency) == (SpotUse.NEVER, "k", 3)
    assert train.options.retries == 0


def test_a_time_without_a_zone_is_refused(client: Client) -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        client.submit("f", options=TaskOptions(earliest_start=datetime.datetime(2030, 1, 1)))


def test_a_handle_cancels_tries_again_and_explains(client: Client) -> None:
    from raft_control_plane import Task

    task: Task[[int], int] = Task(functions.no_op, "nobody", TaskOptions(), lambda: client)
    handle = task.submit(1)
    assert handle.explain()
    asyncio.run(handle.cancel_async())
    assert handle.record().status is TaskStatus.CANCELLED
    handle.retry()
    assert handle.record().status is TaskStatus.PENDING
    handle.cancel()


def test_ends_are_told_from_a_cursor_on(control_plane: LocalControlPlane, caller: Any) -> None:
    with functions.make_worker(control_plane.url, name="cursors", slots=2):
        cursor = caller.cursor()
        ids = [caller.submit("add", b'{"x":1}', options=TaskOptions(queue="cursors")).id for _ in range(3)]
        for begin in (cursor, "", "1-1", "no-cursor"):
            ended = list(caller.as_completed(ids, cursor=begin, queue="cursors", timeout=60))
            assert sorted(task.id for task in ended) == sorted(ids), begin
        with pytest.raises(ResultTimeoutError):
            list(caller.as_completed([caller.submit("nobody").id], timeout=0.1))


def test_a_map_that_is_awaited(control_plane: LocalControlPlane) -> None:
    worker = functions.make_worker(control_plane.url, name="awaited", slots=2)
    task = worker.task(name="awaited_add")(functions.add)

    async def both() -> tuple[list[int], list[int]]:
        return await task.map_async([1, 2]), [point.result for point in await task.sweep_async(x=[3], y=[4, 5])]

    with worker:
        assert asyncio.run(both()) == ([2, 3], [7, 8])
