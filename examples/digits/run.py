#!/usr/bin/env python3
"""Run a real training sweep on a real cluster, all on this machine.

Starts three members and three agents on loopback, submits one task per hyperparameter
setting, shows how they go, prints what they returned, and stays up until Ctrl-C. Needs
Python 3.8 or newer and bin/raft-node; nothing else.

Exit status: 0 every task completed, 1 something failed, 2 a bad argument,
130 or 143 stopped by Ctrl-C or SIGTERM before the report.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time

from api import ApiError, Client
from chaos import Chaos, Lost, moved
from cluster import AGENTS, Cluster, NotReady, choose_ports, remember_ports, remembered_ports
from process import ChildDied
from progress import Progress
from signals import Interrupted, Signals
import sweep

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LOOK_EVERY_S = 0.5
STUCK_S = 180


class Failed(Exception):
    """The example cannot go on; the message says why and what to do."""


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description="Train on a three-member cluster with three agents, on this machine.")
    parser.add_argument("--exit", action="store_true", help="end after the report instead of staying up")
    parser.add_argument("--members", type=int, choices=(1, 3, 5), default=3, help="members (default %(default)s)")
    parser.add_argument("--keep", metavar="DIR", help="keep data and logs in DIR; given again, the cluster goes on from there")
    parser.add_argument("--base-port", type=int, default=8080, help="first port of the members (default %(default)s)")
    parser.add_argument("--chaos", action="store_true", help="kill -9 the leader and an agent in the middle")
    parser.add_argument("--binary", default=os.path.join(ROOT, "bin", "raft-node"), help="raft-node to run (default bin/raft-node)")
    args = parser.parse_args(argv)
    if not 1 <= args.base_port <= 65535:
        parser.error("argument --base-port: %d is not between 1 and 65535" % args.base_port)
    if args.chaos and args.members == 1:
        parser.error("argument --chaos: one member alone cannot lose its leader; use --members 3")
    return args


def main(argv=None):
    args = parse_args(argv)
    signals = Signals()
    try:
        if not os.access(args.binary, os.X_OK):
            raise Failed("%s is not there: build it with 'make build'" % args.binary)
        return with_data_dir(args, signals)
    except Interrupted as reason:
        print("stopped by %s" % reason, file=sys.stderr)
        return reason.exit_status
    except (ApiError, ChildDied, Failed, Lost, NotReady, OSError, sweep.SubmitFailed) as reason:
        print("run.py: %s" % reason, file=sys.stderr)
        return 1


def with_data_dir(args, signals):
    if args.keep:
        os.makedirs(args.keep, exist_ok=True)
        return with_cluster(args, os.path.abspath(args.keep), signals)
    data_dir = tempfile.mkdtemp(prefix="raft-node-digits-")
    try:
        return with_cluster(args, data_dir, signals)
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)


def with_cluster(args, data_dir, signals):
    cluster = Cluster(args.binary, data_dir, ports_for(args, data_dir))
    say("starting %d members and %d agents; data and logs in %s%s" % (
        len(cluster.members), len(cluster.agents), data_dir, "" if args.keep else " (until the end)"))
    try:
        cluster.start()
        with signals.interruptible():
            return run(args, cluster)
    finally:
        late = cluster.stop(signals.impatient)
        if late:
            print("killed, as they did not stop in time: %s" % ", ".join(late), file=sys.stderr)


def ports_for(args, data_dir):
    """Choose the members' ports, or take those that this data directory had before."""
    ports = remembered_ports(data_dir)
    if ports is None and os.listdir(data_dir):
        raise Failed("%s has files of something else in it: give --keep a new directory" % data_dir)
    if ports is None:
        ports, busy = choose_ports(args.base_port, args.members)
        if busy:
            say("busy: port %s; using %s" % (", ".join(map(str, busy)), ", ".join(map(str, ports))))
        remember_ports(data_dir, ports)
    elif len(ports) != args.members:
        raise Failed("%s was made with --members %d" % (data_dir, len(ports)))
    return ports


def run(args, cluster):
    client = Client(cluster.addresses.values())
    cluster.wait_ready(client)
    name = sweep.sweep_name()
    tasks = sweep.submit(client, name, sweep.grid())
    say("ready: %s; %d tasks submitted as %s" % (", ".join(cluster.urls), len(tasks), name))
    chaos = follow(args, cluster, client, name, tasks)
    done = [sweep.get_task(client, task_id) for task_id in tasks]
    failures = report(tasks, done)
    if chaos:
        for task in moved(done):
            say("chaos: %s lost an attempt with its node and ran again on %s" % (task["name"], task["nodeId"]))
        chaos.verify(list(tasks))
    if not args.exit:
        how_to_look(cluster, name)
        stay(cluster)
    return 1 if failures else 0


def follow(args, cluster, client, name, submitted):
    """Show the sweep until all its tasks have ended. Returns the chaos that was made, if any."""
    progress = Progress(AGENTS)
    chaos = Chaos(cluster, client, progress.say) if args.chaos else None
    last_done, last_change = -1, time.monotonic()
    while True:
        tasks = sweep.list_tasks(client, name)
        missing = set(submitted) - {task["id"] for task in tasks}
        if missing:
            raise Lost("submitted and acknowledged, but not in the list: %s" % ", ".join(sorted(missing)))
        progress.update(tasks)
        done = sum(task["status"] in sweep.FINAL for task in tasks)
        if done == len(tasks) and (chaos is None or chaos.settled()):
            return chaos
        if done != last_done:
            last_done, last_change = done, time.monotonic()
        if time.monotonic() - last_change > STUCK_S:
            raise Failed("no task has ended for %d s: run again with --keep DIR and read the logs there" % STUCK_S)
        if chaos:
            chaos.step(tasks)
        cluster.check()
        time.sleep(LOOK_EVERY_S)


def report(tasks, done):
    """Print the table, the best setting and the failures; return how many failed."""
    rows, failures = [], []
    for task in done:
        try:
            if task["status"] != sweep.COMPLETED:
                raise ValueError(task.get("error") or "no error given")
            rows.append((tasks[task["id"]], task, sweep.outcome(task)))
        except ValueError as reason:
            failures.append("%s %s %s: %s\n%s" % (
                task["status"], task["name"], task["id"], reason, task.get("logTail", "")[-2000:]))
    say("\n" + "\n".join(sweep.table(rows)))
    if rows:
        setting, _, value = sweep.ranked(rows)[0]
        say("\nbest: %s, accuracy %.4f (%d of %d settings completed)" % (setting, value["accuracy"], len(rows), len(done)))
    for failure in failures:
        print(failure, file=sys.stderr)
    return len(failures)


def how_to_look(cluster, name):
    server = cluster.urls[0]
    say("""
Up until Ctrl-C at %s. Look around:
  bin/raft-node cluster status --server %s
  bin/raft-node node list --server %s
  bin/raft-node task list --server %s
  bin/raft-node sql --server %s "SELECT node_id, status, count(*) AS attempts FROM attempts GROUP BY node_id, status"
  curl -H 'content-type: application/json' -d '{"labels": {"sweep": "%s"}, "page_size": 1}' %s/controlplane.v1.TaskService/ListTasks
  curl %s/metrics""" % (", ".join(cluster.urls), server, server, server, server, name, server, server))


def stay(cluster):
    """Wait for Ctrl-C, which ends it well. Raises ChildDied if a child ends by itself."""
    try:
        while True:
            cluster.check()
            time.sleep(LOOK_EVERY_S)
    except Interrupted:
        say("")


def say(text):
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
