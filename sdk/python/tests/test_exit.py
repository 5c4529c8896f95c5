"""The end of a process."""

import atexit
import time
from typing import Any

import pytest

from raft_control_plane import _exit


def test_a_process_rests_once_before_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many sessions it had."""
    registered: list[tuple[Any, ...]] = []
    monkeypatch.setattr(atexit, "register", lambda *call: registered.append(call))
    _exit.rest_at_exit.cache_clear()
    _exit.rest_at_exit()
    _exit.rest_at_exit()
    _exit.rest_at_exit.cache_clear()
    assert registered == [(time.sleep, _exit.REST_S)]
