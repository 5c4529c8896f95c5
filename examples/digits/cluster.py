"""Members and agents on this machine's loopback, as child processes."""

import json
import os
import socket
import time

from api import ApiError, get
from process import Child, log_tail, stop

HOST = "127.0.0.1"
GRACE_S = 10.0
READY_S = 60.0
PORTS_TRIED = 1000

# Three machines as three clouds would label them; prices are examples, in US dollars an hour.
AGENTS = {
    "aws-1": ["--provider", "aws", "--region", "us-east-1", "--zone", "us-east-1a",
              "--instance-type", "c6i.xlarge", "--price-per-hour", "0.17"],
    "gcp-1": ["--provider", "gcp", "--region", "us-central1", "--zone", "us-central1-b",
              "--instance-type", "e2-standard-4", "--price-per-hour", "0.05", "--spot"],
    "azure-1": ["--provider", "azure", "--region", "westeurope", "--zone", "westeurope-2",
                "--instance-type", "Standard_D4s_v5", "--price-per-hour", "0.23"],
}
SLOTS = 2


class NotReady(Exception):
    """The cluster did not come up in time."""


class Cluster:
    """Starts, watches and stops the members and agents that one data directory belongs to."""

    def __init__(self, binary, data_dir, ports):
        self.data_dir = data_dir
        self.addresses = {"m%d" % number: "%s:%d" % (HOST, port) for number, port in enumerate(ports, 1)}
        self.members = {name: self._member(binary, name) for name in self.addresses}
        self.agents = {name: self._agent(binary, name, flags) for name, flags in AGENTS.items()}

    @property
    def urls(self):
        return ["http://" + address for address in self.addresses.values()]

    def start(self):
        for child in self._children():
            child.start()

    def check(self):
        """Raise ChildDied if a member or agent ended by itself."""
        for child in self._children():
            child.check()

    def wait_ready(self, client):
        """Wait until every member serves and every agent's node is HEALTHY."""
        self._wait(lambda: [self._not_serving(name) for name in self.addresses])
        self._wait(lambda: [self._not_healthy(client)])

    def stop(self, impatient):
        """Stop the agents, then the members; return the names of those that had to be killed."""
        late = stop(list(self.agents.values()), GRACE_S, impatient)
        return late + stop(list(self.members.values()), GRACE_S, impatient)

    def _children(self):
        return list(self.members.values()) + list(self.agents.values())

    def _member(self, binary, name):
        command = [binary, "serve", "--name", name, "--listen", self.addresses[name],
                   "--data-dir", os.path.join(self.data_dir, name)]
        if len(self.addresses) > 1:
            command += ["--bootstrap-expect", str(len(self.addresses)), "--join", ",".join(self.addresses.values())]
        return Child(name, command, os.path.join(self.data_dir, name + ".log"))

    def _agent(self, binary, name, flags):
        command = [binary, "agent", "--server", ",".join(self.urls), "--name", name, "--slots", str(SLOTS)] + flags
        return Child(name, command, os.path.join(self.data_dir, name + ".log"))

    def _wait(self, reasons):
        deadline = time.monotonic() + READY_S
        while True:
            self.check()
            left = [reason for reason in reasons() if reason]
            if not left:
                return
            if time.monotonic() > deadline:
                raise NotReady("not ready after %d s:\n%s" % (READY_S, "\n".join(left)))
            time.sleep(0.1)

    def _not_serving(self, name):
        status, text = get(self.addresses[name], "/readyz")
        if status != 200:
            return "%s: /readyz says %d %s; the end of its log:\n%s" % (
                name, status, text, log_tail(self.members[name].log_path))

    def _not_healthy(self, client):
        try:
            nodes = client.call("NodeService/ListNodes", {"page_size": 1000}, patience_s=5).get("nodes", [])
        except ApiError as error:
            return str(error)
        healthy = {node["id"] for node in nodes if node.get("status") == "NODE_STATUS_HEALTHY"}
        missing = sorted(set(self.agents) - healthy)
        if missing:
            return "no healthy node yet from: %s; the end of the first one's log:\n%s" % (
                ", ".join(missing), log_tail(self.agents[missing[0]].log_path))


def choose_ports(base, count):
    """Return (ports, busy): `count` free ports from `base` upwards, and those passed over."""
    ports, busy = [], []
    for port in range(base, min(base + PORTS_TRIED, 65536)):
        if len(ports) == count:
            break
        (ports if port_is_free(port) else busy).append(port)
    if len(ports) < count:
        raise NotReady("fewer than %d free ports from %d on: give another --base-port" % (count, base))
    return ports, busy


def port_is_free(port):
    with socket.socket() as probe:
        # As the server does it: a port whose last connections linger in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    with socket.socket() as probe:
        # Some systems let us bind beside a listener on all addresses; a caller would reach it.
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) != 0


def remembered_ports(data_dir):
    """The ports that the members of this data directory have, or None if it is new.

    They must stay: the members know one another by address.
    """
    try:
        with open(_ports_file(data_dir), encoding="utf-8") as file:
            return json.load(file)["ports"]
    except FileNotFoundError:
        return None


def remember_ports(data_dir, ports):
    with open(_ports_file(data_dir), "w", encoding="utf-8") as file:
        json.dump({"ports": ports}, file)


def _ports_file(data_dir):
    return os.path.join(data_dir, "example.json")
