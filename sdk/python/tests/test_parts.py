"""Parts that need no control plane: encoding, errors of use, choice of server, retries."""

from __future__ import annotations

import builtins
import dataclasses
import enum
import importlib.util
import itertools
import math
import pickle
import sys
import threading
import typing
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from raft_control_plane import CallError, Client, PermanentError, RetryAfter, TaskOptions, UnreachableError, Worker
from raft_control_plane._attempt import Attempt, Fate, Lease
from raft_control_plane._clock import boot_clock
from raft_control_plane._convert import convert, from_json, to_json
from raft_control_plane._held import Held
from raft_control_plane._log import MAX_LOG_BYTES, Tail, cut_middle
from raft_control_plane._requests import keyed, new_task_id
from raft_control_plane._signature import Signature
from raft_control_plane._verdict import Verdict, judge, name_of
from raft_control_plane.v1 import SubmitTaskRequest, Task, TaskStatus

ROOT = Path(__file__).resolve().parent.parent


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass(frozen=True)
class Point:
    x: float
    colour: Colour = Colour.RED


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (None, typing.Optional[Point]),  # noqa: UP045 - the old way of writing it
        (Point(1.5), Point | None),
        ([Point(1.0), Point(2.0)], list[Point]),
        ({"a": Point(1.0)}, dict[str, Point]),
        ({1: "one"}, dict[int, str]),
        ((1, Point(2.0)), tuple[int, Point]),
        ((1.0, 2.0), tuple[float, ...]),
        ({Colour.RED}, set[Colour]),
        ("text", int | str),
        (3.0, float),
        ({"any": [1, None, True]}, Any),
    ],
)
def test_values_survive_json(value: Any, annotation: Any) -> None:
    found = from_json(to_json(value), annotation)
    assert found == value
    assert type(found) is type(value)


def test_what_has_no_json_form_is_told() -> None:
    with pytest.raises(ValueError, match="NaN"):
        to_json({"loss": math.nan})
    with pytest.raises(TypeError, match="object has no JSON form"):
        to_json(object())
    with pytest.raises(TypeError, match="Point has no field z"):
        convert({"x": 1, "z": 2}, Point)


def test_signatures() -> None:
    def several(a: int, *, b: Point | None = None, **more: int) -> list[Point]:
        return [b] * a if b else []

    signature = Signature(several)
    payload = signature.encode((2,), {"b": Point(1.0), "c": 3})
    assert payload == b'{"a":2,"b":{"x":1.0,"colour":"red"},"c":3}'
    assert signature.decode(payload) == {"a": 2, "b": Point(1.0), "c": 3}
    assert signature.decode_result(signature.encode_result([Point(1.0)])) == [Point(1.0)]
    with pytest.raises(TypeError, match="missing a required argument: 'a'"):
        signature.encode((), {})
    with pytest.raises(TypeError, match="missing a required argument: 'a'"):
        signature.decode(b"")
    with pytest.raises(TypeError, match=r"several\(a: .*, \*\*more: .*\) -> .*: too many positional arguments"):
        signature.encode((1, 2), {})
    with pytest.raises(ValueError, match="at most 1048576 are allowed"):
        Signature(lambda data: data).encode(("x" * (1 << 20),), {})


def chain(*errors: BaseException) -> BaseException:
    """Returns the first of errors that were each raised from the next one."""
    for error, cause in itertools.pairwise(errors):
        error.__cause__ = cause
    return errors[0]


LISTED = frozenset({name_of(LookupError)})
CIRCLE = ValueError()


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (ValueError(), Verdict()),
        (PermanentError("m"), Verdict(permanent=True)),
        (RetryAfter("m", 7), Verdict(retry_after_s=7)),
        (chain(ValueError(), OSError(), PermanentError("m")), Verdict(permanent=True)),
        (PermanentError(RetryAfter("m", 7)), Verdict(permanent=True)),
        (RetryAfter(PermanentError("m"), 7), Verdict(retry_after_s=7)),
        (KeyError(), Verdict(permanent=True)),
        (RetryAfter(KeyError(), 7), Verdict(retry_after_s=7)),
        (chain(ValueError(), KeyError()), Verdict()),
        (chain(CIRCLE, OSError(), CIRCLE), Verdict()),
    ],
)
def test_what_an_error_says_about_trying_again(error: BaseException, verdict: Verdict) -> None:
    assert judge(error, LISTED) == verdict


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 has no groups of exceptions")
def test_a_group_says_what_its_members_say() -> None:
    group = typing.cast("Any", getattr(builtins, "ExceptionGroup", None))
    assert judge(group("m", [ValueError(), RetryAfter("m", 7)]), LISTED) == Verdict(retry_after_s=7)
    assert judge(group("m", [ValueError(), group("m", [KeyError()])]), LISTED) == Verdict(permanent=True)
    assert judge(group("m", [chain(ValueError(), KeyError())]), LISTED) == Verdict()


def test_errors_that_say_how_to_go_on() -> None:
    assert str(PermanentError("no use")) == str(PermanentError(ValueError("no use"))) == "no use"
    assert str(RetryAfter(ValueError("busy"), 5)) == "busy"
    assert [RetryAfter("m", seconds).seconds for seconds in (0, -5, 0.25, 86_401, math.inf)] == [
        0.001,
        0.001,
        0.25,
        86_400,
        86_400,
    ]
    with pytest.raises(ValueError, match="NaN is no time"):
        RetryAfter("m", math.nan)
    error = pickle.loads(pickle.dumps(RetryAfter("m", 5)))
    assert (error.seconds, str(error)) == (5, "m")


def test_what_is_permanent_must_be_exceptions() -> None:
    worker = Worker()
    wrongs: list[Any] = ["ValueError", (BaseException,), (ValueError, 5), int]
    for wrong in wrongs:
        with pytest.raises(TypeError, match="give such as ValueError"):
            worker.task(permanent=wrong)(to_json)
    worker.task(permanent=ValueError)(to_json)


def test_a_worker_refuses_functions_that_it_cannot_run() -> None:
    worker = Worker()

    async def rows() -> typing.AsyncIterator[int]:
        yield 1

    def positional(x: int, /) -> int:
        return x

    def local() -> None: ...

    with pytest.raises(TypeError, match="async generator"):
        worker.task(rows)
    with pytest.raises(TypeError, match="top of a module"):
        worker.task(local)
    with pytest.raises(TypeError, match="by keyword"):
        worker.task(isolation="thread")(positional)
    with pytest.raises(RuntimeError, match="no function is registered"):
        worker.start()
    worker.task(isolation="thread", name="one")(local)
    with pytest.raises(ValueError, match="one is registered already"):
        worker.task(isolation="thread", name="one")(local)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Client("ftp://x"), "scheme must be http or https"),
        (lambda: Client("http://user:secret@x"), "give a secret as token="),
        (lambda: Client([]), "none given"),
        (lambda: Client(token="a b"), "token: it holds a space"),
        (lambda: Client(tls_cert=b"x"), "one is missing"),
        (lambda: Client(timeout=0), "timeout: 0 s is out of range"),
        (lambda: Worker(name="a b"), "name: 'a b'"),
        (lambda: Worker(slots=0), "slots: 0 is out of range"),
        (lambda: TaskOptions(retries=100), "retries: 100 is out of range"),
        (lambda: TaskOptions(resources={"gpu": 1}), "resources: gpu is not known"),
    ],
)
def test_mistakes_are_named(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


def test_servers_are_completed() -> None:
    assert Client("a:1, http://b:2/").servers == ("http://a:1", "http://b:2")
    assert Client(["a:1", "a:1"], tls_ca=b"-----BEGIN").servers == ("https://a:1",)


class _Member(BaseHTTPRequestHandler):
    """Answers the way a member does, one answer after the other."""

    answers: ClassVar[list[tuple[int, bytes]]] = []
    bodies: ClassVar[list[bytes]] = []

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        status, body = self.answers.pop(0)
        self.send_response(status)
        self.send_header("content-type", "application/proto" if status == 200 else "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def member() -> typing.Iterator[HTTPServer]:
    _Member.answers, _Member.bodies = [], []
    server = HTTPServer(("127.0.0.1", 0), _Member)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_submission_is_repeated_with_its_key_at_the_next_server(member: HTTPServer) -> None:
    _Member.answers = [
        (409, b'{"code":"aborted","message":"outcome unknown"}'),
        (503, b'{"code":"unavailable","message":"no leader"}'),
        (200, b"\x0a\x04\x0a\x02t1"),
    ]
    with Client(["http://127.0.0.1:1", f"http://127.0.0.1:{member.server_port}"], timeout=20) as client:
        assert client.submit("f", b"1").id == "t1"
    assert len(_Member.bodies) == 3
    assert len(set(_Member.bodies)) == 1, "a repeat must be the same submission"


def test_tasks_without_a_key_are_given_an_id() -> None:
    ids = [new_task_id() for _ in range(1000)]
    assert len(set(ids)) == len(ids)
    assert {(uuid.UUID(i).version, uuid.UUID(i).variant, str(uuid.UUID(i))) for i in ids} == {
        (7, uuid.RFC_4122, i) for i in ids
    }
    assert [i[:13] for i in ids] == sorted(i[:13] for i in ids), "their first 48 bits are the time"
    bare = SubmitTaskRequest(task=Task(name="n"))
    made = keyed(bare).task
    assert made is not None
    assert (made.name, len(made.id)) == ("n", 36)
    assert bare.task is not None
    assert bare.task.id == "", "the caller's message was changed"
    by_key = SubmitTaskRequest(task=Task(name="n"), request_id="mine")
    assert keyed(by_key) is by_key
    by_id = SubmitTaskRequest(task=Task(id="t1"))
    assert keyed(by_id) is by_id


def test_a_throttled_call_waits_as_long_as_the_server_says(member: HTTPServer) -> None:
    # google.rpc.RetryInfo with a delay of 0.3 s.
    detail = (
        b'{"code":"resource_exhausted","message":"m","details":[{"type":"google.rpc.RetryInfo","value":"CgYQgIyGjwE"}]}'
    )
    _Member.answers = [(429, detail), (200, b"\x0a\x04\x0a\x02t1")]
    with Client(f"http://127.0.0.1:{member.server_port}", timeout=20) as client:
        begun = boot_clock()
        assert client.get("t1").id == "t1"
        assert boot_clock() - begun >= 0.3


def test_a_refusal_is_final(member: HTTPServer) -> None:
    _Member.answers = [(400, b'{"code":"invalid_argument","message":"queue: too long"}')]
    with Client(f"http://127.0.0.1:{member.server_port}") as client, pytest.raises(CallError, match="queue: too long"):
        client.submit("f")
    assert len(_Member.bodies) == 1


def test_nobody_answers() -> None:
    with Client("http://127.0.0.1:1", timeout=0.3) as client, pytest.raises(UnreachableError, match="no answer from"):
        client.get("t1")


def test_what_a_member_said_goes_before_what_went_wrong_on_the_way_to_others(member: HTTPServer) -> None:
    _Member.answers = [(503, b'{"code":"unavailable","message":"no leader was reached"}')] * 99
    servers = [f"http://127.0.0.1:{member.server_port}", "http://127.0.0.1:1", "http://127.0.0.1:2"]
    with Client(servers, timeout=1) as client, pytest.raises(CallError) as caught:
        client.get("t1")
    assert str(caught.value) == "unavailable: no leader was reached"
    assert type(caught.value) is CallError
    _Member.answers = [
        (409, b'{"code":"aborted","message":"outcome unknown"}'),
        *([(503, b'{"code":"unavailable","message":"no leader"}')] * 99),
    ]
    with Client(servers, timeout=1) as client, pytest.raises(CallError, match="aborted: outcome unknown"):
        client.get("t1")


def test_a_lease_counts_from_the_sending() -> None:
    lease = Lease()
    assert lease.renewed(100.0, 15.0)
    assert (lease.stop_at, lease.kill_at) == (112.0, 113.5)
    assert not lease.renewed(99.0, 15.0), "an older answer must not move it"
    assert not lease.renewed(101.0, 0.0)
    assert lease.renewed(boot_clock() + 1000, 15.0)
    assert lease.lapses == 1


def test_held_takes_a_delivery_once() -> None:
    held = Held(2)
    (first,) = held.add([Task(id="t", attempt=1)])
    assert held.add([Task(id="t", attempt=1)]) == []
    (second,) = held.add([Task(id="t", attempt=2)])
    assert second.older is first
    assert first.fate is Fate.DROPPED
    held.remove(second, answered=True)
    assert held.add([Task(id="t", attempt=2)]) == [], "a delivery repeated after the end"
    assert held.all() == []


def test_reports_keep_to_the_limits() -> None:
    attempt = Attempt(Task(id="t", attempt=1), None)
    attempt.log.write("é".encode() * MAX_LOG_BYTES + b"end\xff")
    report = attempt.result(TaskStatus.FAILED, error="first\n" + "é" * 5000 + "\nlast")
    assert len(report.log_tail.encode()) <= MAX_LOG_BYTES
    assert report.log_tail.endswith("éend\ufffd")
    assert len(report.error.encode()) <= 4096
    assert report.error.startswith("first\n")
    assert report.error.endswith("\nlast")
    assert report.log_offset == 2 * MAX_LOG_BYTES + 6 - len(report.log_tail.encode())
    assert cut_middle("short") == "short"
    assert Tail().text() == ""


def test_a_log_is_read_from_where_a_reader_stands() -> None:
    log = Tail()
    calls: list[int] = []
    log.changed = lambda: calls.append(log.end)
    for piece in (b"a\xc3", b"\xa9b", b"\xff"):
        log.write(piece)
    assert calls == [1, 4, 7]
    assert log.read(0) == ("aéb\ufffd", 0)
    assert log.read(2) == ("b\ufffd", 3), "from within a character: from the next one"
    assert log.read(99) == ("", 7)
    log.write(b"x" * MAX_LOG_BYTES * 3)
    assert log.read(5) == ("x" * MAX_LOG_BYTES, log.end - MAX_LOG_BYTES)


def test_the_stubs_are_those_of_the_contract() -> None:
    spec = importlib.util.spec_from_file_location("vendor_stubs", ROOT / "tools" / "vendor_stubs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    expected = module.vendored()
    assert expected
    found = {path.relative_to(module.TARGET): path.read_text() for path in module.TARGET.rglob("*.py")}
    assert found == expected, "run make proto"
