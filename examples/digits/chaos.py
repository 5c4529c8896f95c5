"""Kill the leader and an agent in the middle of a sweep, and show that nothing is lost."""

import time

from api import ApiError, post
from sweep import COMPLETED, FINAL, RUNNING

SQL = "SELECT task_id, count(*) FROM attempts WHERE status = 'COMPLETED' AND task_id IN (%s) GROUP BY task_id"


class Lost(Exception):
    """The record after the sweep is not what it must be."""


class Chaos:
    """Once a third of the tasks has ended, SIGKILLs the leader and an agent that is at work.

    The member is started again as soon as another one leads. The agent stays away: its
    tasks go to the other nodes when its lease has lapsed.
    """

    def __init__(self, cluster, client, say):
        self._cluster = cluster
        self._client = client
        self._say = say
        self._killed = None
        self._killed_at = 0.0
        self._restarted = False

    def step(self, tasks):
        """Do what is due; call it again and again while the sweep runs."""
        done = sum(task["status"] in FINAL for task in tasks)
        busy = sorted(task["nodeId"] for task in tasks if task["status"] == RUNNING)
        if self._killed is None and busy and done * 3 >= len(tasks):
            self._kill(busy[0])
        elif self._killed is not None and not self._restarted:
            self._restart_once_led()

    def settled(self):
        """Whether no member is down."""
        return self._killed is None or self._restarted

    def verify(self, task_ids):
        """Raise Lost unless every task ended COMPLETED, exactly once, on every member's record."""
        if self._killed is None:
            raise Lost("the sweep ended before anything could be killed")
        for name, address in self._cluster.addresses.items():
            self._verify_on(name, address, task_ids)
        self._say("chaos: %d tasks, each completed exactly once in the record of %s" % (
            len(task_ids), ", ".join(self._cluster.addresses)))

    def _kill(self, agent):
        self._killed = self._client.call("ClusterService/GetCluster", {})["leader"]
        self._cluster.members[self._killed].kill()
        self._killed_at = time.monotonic()
        self._cluster.agents[agent].kill()
        self._say("chaos: kill -9 of the leader %s and of the agent %s" % (self._killed, agent))

    def _restart_once_led(self):
        leader = self._client.call("ClusterService/GetCluster", {}).get("leader", "")
        if leader in ("", self._killed):
            return
        self._say("chaos: %s leads, %.1f s after the kill; starting %s again" % (
            leader, time.monotonic() - self._killed_at, self._killed))
        self._cluster.members[self._killed].start()
        self._restarted = True

    def _verify_on(self, name, address, task_ids):
        marks = ", ".join("?%d" % number for number in range(1, len(task_ids) + 1))
        answer = self._query(address, {"sql": SQL % marks, "params": list(task_ids)})
        completions = {row[0]: int(row[1]) for row in answer.get("rows", [])}
        wrong = sorted(task_id for task_id in task_ids if completions.get(task_id) != 1)
        if wrong:
            raise Lost("%s does not have exactly one completion of: %s" % (name, ", ".join(wrong)))

    def _query(self, address, body):
        deadline = time.monotonic() + 30
        while True:  # the restarted member may still be catching up
            try:
                return post(address, "QueryService/Query", body)
            except ApiError as error:
                if error.code != "unavailable" or time.monotonic() > deadline:
                    raise
            time.sleep(0.2)


def moved(tasks):
    """The tasks that lost an attempt with their node and were run again."""
    return [task for task in tasks if task.get("lostAttempts", 0) > 0 and task["status"] == COMPLETED]
