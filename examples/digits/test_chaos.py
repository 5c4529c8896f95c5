"""Tests of what --chaos kills, starts again and verifies, with real processes."""

import os
import sys
import tempfile
import unittest

from api import Client
from chaos import Chaos, Lost, moved
from process import Child
from sweep import COMPLETED, RUNNING
from test_run import server

SLEEPS = [sys.executable, "-c", "import signal; signal.pause()"]


class FakeCluster:
    """Two members and two agents that only sleep; the member addresses are all one server."""

    def __init__(self, directory, address):
        self.members = {name: Child(name, SLEEPS, os.path.join(directory, "log")) for name in ("m1", "m2")}
        self.agents = {name: Child(name, SLEEPS, os.path.join(directory, "log")) for name in ("aws-1", "gcp-1")}
        self.addresses = {name: address for name in self.members}

    def children(self):
        return {**self.members, **self.agents}

    def running(self):
        return sorted(name for name, child in self.children().items() if child.running())


class ChaosTest(unittest.TestCase):
    def start(self, *answers):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        context = server(*answers)
        address, self.requests = context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)
        made = FakeCluster(directory.name, address)
        for child in made.children().values():
            child.start()
            self.addCleanup(child.kill)
        self.said = []
        return made, Chaos(made, Client([address]), self.said.append)

    def test_kills_leader_and_busy_agent_and_restarts_the_member_once_led(self):
        made, chaos = self.start(*[(200, {"leader": name}) for name in ("m2", "m2", "", "m1")])
        tasks = [{"status": COMPLETED}, {"status": RUNNING, "nodeId": "gcp-1"}, {"status": RUNNING, "nodeId": "gcp-1"}]
        chaos.step([dict(task, status=RUNNING, nodeId="gcp-1") for task in tasks])  # none has ended yet
        self.assertEqual(made.running(), ["aws-1", "gcp-1", "m1", "m2"])
        chaos.step(tasks)
        self.assertEqual(made.running(), ["aws-1", "m1"])
        for settled in (False, False, True):  # m2 still named as leader, nobody leads, m1 leads
            chaos.step(tasks)
            self.assertEqual(chaos.settled(), settled)
        self.assertEqual(made.running(), ["aws-1", "m1", "m2"])

    def verify(self, *rows):
        _, chaos = self.start((200, {"leader": "m1"}), (200, {"leader": "m2"}), (200, {"rows": list(rows)}))
        for _ in range(2):
            chaos.step([{"status": COMPLETED}, {"status": RUNNING, "nodeId": "gcp-1"}])
        chaos.verify(["a", "b"])

    def test_verifies_on_every_member(self):
        self.verify(["a", 1], ["b", 1])
        self.assertEqual([path for path, _ in self.requests[2:]], ["/controlplane.v1.QueryService/Query"] * 2)
        self.assertEqual(self.requests[2][1]["params"], ["a", "b"])

    def test_a_lost_or_doubled_completion_is_an_error(self):
        for rows in ([["a", 1]], [["a", 1], ["b", 2]]):
            with self.assertRaisesRegex(Lost, "exactly one completion of: b"):
                self.verify(*rows)

    def test_no_chaos_is_no_proof(self):
        _, chaos = self.start((200, {}))
        with self.assertRaisesRegex(Lost, "before anything could be killed"):
            chaos.verify(["a"])

    def test_moved_tasks(self):
        tasks = [{"id": "a", "status": COMPLETED, "lostAttempts": 1}, {"id": "b", "status": COMPLETED}]
        self.assertEqual([task["id"] for task in moved(tasks)], ["a"])


if __name__ == "__main__":
    unittest.main()
