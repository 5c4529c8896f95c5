"""Child processes that are watched, logged to files and stopped with care."""

import os
import signal
import subprocess
import time

LOG_TAIL_BYTES = 3000
TICK_S = 0.05


class ChildDied(Exception):
    """A child ended although nobody had asked it to."""


class Child:
    """One process, with its standard output and error appended to a log file."""

    def __init__(self, name, command, log_path):
        self.name = name
        self.command = command
        self.log_path = log_path
        self.expected_to_run = False
        self._process = None

    def start(self):
        # A session of its own: Ctrl-C in the terminal reaches the parent only, which then
        # stops its children in the right order.
        with open(self.log_path, "ab") as log:
            self._process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=clean_environment(), start_new_session=True)
        self.expected_to_run = True

    def running(self):
        return self._process is not None and self._process.poll() is None

    def check(self):
        """Raise ChildDied with the end of the log if it ended by itself."""
        if self.expected_to_run and not self.running():
            raise ChildDied("%s ended by itself (%s). The end of its log %s:\n%s" % (
                self.name, describe_exit(self._process.returncode), self.log_path, log_tail(self.log_path)))

    def terminate(self):
        """Ask it to stop."""
        self.expected_to_run = False
        if self.running():
            self._process.send_signal(signal.SIGTERM)

    def kill(self):
        """End it, and what is left of its process group, at once."""
        self.expected_to_run = False
        if self._process is None or self._process.poll() is not None:
            return
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def stop(children, grace_s, impatient=lambda: False):
    """Stop all: SIGTERM, and SIGKILL for those that still run after grace_s seconds.

    Kills at once when impatient() becomes true. Returns the names of those killed.
    """
    for child in children:
        child.terminate()
    deadline = time.monotonic() + grace_s
    while any(child.running() for child in children) and time.monotonic() < deadline and not impatient():
        time.sleep(TICK_S)
    late = [child for child in children if child.running()]
    for child in late:
        child.kill()
    return [child.name for child in late]


def clean_environment():
    """The environment without what would override the flags: $PORT and RAFT_NODE_*."""
    return {key: value for key, value in os.environ.items() if key != "PORT" and not key.startswith("RAFT_NODE_")}


def describe_exit(returncode):
    if returncode < 0:
        return "signal %s" % signal.Signals(-returncode).name
    return "status %d" % returncode


def log_tail(path):
    """The end of a log, indented, whole lines only."""
    with open(path, "rb") as log:
        size = log.seek(0, os.SEEK_END)
        log.seek(max(0, size - LOG_TAIL_BYTES))
        lines = log.read().decode("utf-8", "replace").splitlines()
    if size > LOG_TAIL_BYTES:
        lines = lines[1:]
    return "\n".join("    " + line for line in lines) or "    (empty)"
