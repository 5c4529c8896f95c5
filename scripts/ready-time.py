#!/usr/bin/env python3
"""ready-time.py [--tasks N] [--runs N]: how long bin/raft-node takes from exec to /readyz.

Fills a member with tasks and starts it again and again, after SIGTERM and after
SIGKILL, each time with some tasks since. Needs nothing but the binary (make build).
"""

import argparse
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BATCH = 1000


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Member:
    def __init__(self, directory):
        self.directory, self.port = directory, free_port()

    def start(self):
        """Starts the member and returns the seconds until it is ready."""
        log = open(os.path.join(self.directory, "log"), "ab")
        args = [os.path.join(ROOT, "bin", "raft-node"), "serve", "--name", "m1", "--listen", f"127.0.0.1:{self.port}"]
        begun = time.monotonic()
        self.process = subprocess.Popen(args + ["--data-dir", os.path.join(self.directory, "data")], stderr=log, stdout=log)
        while True:
            if self.process.poll() is not None:
                raise SystemExit(f"raft-node ended: see {self.directory}/log")
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/readyz")
                if connection.getresponse().status == 200:
                    return time.monotonic() - begun
            except OSError:
                pass
            time.sleep(0.001)

    def stop(self, how):
        self.process.send_signal(how)
        self.process.wait()

    def call(self, method, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("POST", "/controlplane.v1." + method, json.dumps(body), {"content-type": "application/json"})
        response = connection.getresponse()
        text = response.read()
        if response.status != 200:
            raise SystemExit(f"{method}: {response.status} {text.decode()}")
        return json.loads(text)


def fill(member, first, end):
    """Stores tasks, which all wait: no node is there."""
    for first in range(first, end, BATCH):
        requests = [{"task": {"id": f"t{i}", "exec": {"command": ["true"]}}} for i in range(first, min(first + BATCH, end))]
        member.call("TaskService/SubmitTasks", {"requests": requests})


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=10)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        member = Member(directory)
        print(f"empty, first start: {member.start() * 1000:.0f} ms")
        begun = time.monotonic()
        fill(member, 0, args.tasks)
        print(f"{args.tasks} tasks stored in {time.monotonic() - begun:.0f} s")
        stored = args.tasks
        for name, how in (("SIGTERM", signal.SIGTERM), ("SIGKILL", signal.SIGKILL)):
            times = []
            for _ in range(args.runs):
                fill(member, stored, stored + BATCH)
                stored += BATCH
                member.stop(how)
                times.append(member.start() * 1000)
            print(f"after {name}: median {statistics.median(times):.0f} ms, slowest {max(times):.0f} ms of {args.runs}")
        member.stop(signal.SIGTERM)


if __name__ == "__main__":
    main()
