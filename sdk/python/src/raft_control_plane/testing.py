"""A control plane on this machine, for tests.

::

    @pytest.fixture(scope="session")
    def control_plane():
        with LocalControlPlane() as plane:
            yield plane

It runs the binary raft-node: the one that RAFT_NODE_BINARY names, the one in PATH, or
bin/raft-node of a checkout of the project around the present directory or this file.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import Self

from .client import Client
from .errors import ControlPlaneError

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["LocalControlPlane", "find_binary"]

_READY_S = 30.0
_LOOK_EVERY_S = 0.02
_STOP_S = 15.0


def find_binary() -> Path:
    """Returns the binary raft-node.

    Raises:
        ControlPlaneError: there is none.

    """
    named = os.environ.get("RAFT_NODE_BINARY")
    if named:
        if os.access(named, os.X_OK):
            return Path(named)
        raise ControlPlaneError(f"RAFT_NODE_BINARY: {named} is no program: give the path of raft-node")
    if found := shutil.which("raft-node"):
        return Path(found)
    for start in (Path.cwd(), Path(__file__).resolve().parent):
        for folder in (start, *start.parents):
            candidate = folder / "bin" / "raft-node"
            if candidate.is_file() and os.access(candidate, os.X_OK):
                return candidate
    raise ControlPlaneError(
        "raft-node not found: set RAFT_NODE_BINARY, put it into PATH, or run 'make build' in a checkout"
    )


class LocalControlPlane:
    """One member on a free port of the loopback, with a directory of its own.

    Args:
        binary: the program; found as the module says when None.
        data_dir: where it keeps its state; a fresh directory, removed at the end, when None.
        token: the secret that callers have to show; none when None.

    """

    def __init__(
        self,
        binary: str | os.PathLike[str] | None = None,
        *,
        data_dir: str | os.PathLike[str] | None = None,
        token: str | None = None,
    ) -> None:
        self.binary = Path(binary) if binary is not None else find_binary()
        self._scratch = tempfile.TemporaryDirectory(prefix="raft-node-test-")
        self._dir = Path(data_dir) if data_dir is not None else Path(self._scratch.name, "data")
        self._token = token
        self._log = Path(self._scratch.name, "log")
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: list[Client] = []

    @property
    def url(self) -> str:
        """The member's URL."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """The member's process."""
        if self._process is None:
            raise ControlPlaneError("the member does not run: call start first")
        return self._process.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def client(self, *, timeout: float = 30.0) -> Client:
        """Makes a client of it, closed together with it."""
        client = Client(self.url, token=self._token, timeout=timeout)
        self._clients.append(client)
        return client

    def start(self) -> None:
        """Starts the member and waits until it serves."""
        command = [
            str(self.binary),
            "serve",
            "--listen",
            f"127.0.0.1:{self._port}",
            "--data-dir",
            str(self._dir),
            "--name",
            "test",
        ]
        if self._token is not None:
            token_file = Path(self._scratch.name, "token")
            token_file.touch(mode=0o600)
            token_file.write_text(self._token)
            command += ["--token-file", str(token_file)]
        # The settings of whoever runs the tests are not the tests' own.
        env = {name: value for name, value in os.environ.items() if not name.startswith("RAFT_NODE_")}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=env, start_new_session=True)  # noqa: S603
        try:
            self._await_ready(self._process)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Ends the member in good order; start continues with its state."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kills the member; start continues with its state."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """Ends the member and removes what it kept."""
        for client in self._clients:
            client.close()
        self.stop()
        self._scratch.cleanup()

    def log(self) -> str:
        """Returns what the member logged."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _READY_S
        while True:
            # Not through a proxy, which the environment may ask for.
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with (
                contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError),
                opener.open(f"{self.url}/readyz", timeout=1) as answer,
            ):
                if answer.status == 200:
                    return
            if process.poll() is not None:
                raise ControlPlaneError(f"{self.binary} ended with {process.returncode}:\n{self.log()[-2000:]}")
            if time.monotonic() > deadline:
                raise ControlPlaneError(f"{self.binary} is not ready after {_READY_S} s:\n{self.log()[-2000:]}")
            time.sleep(_LOOK_EVERY_S)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
