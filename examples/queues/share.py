#!/usr/bin/env python3
"""Let two queues of weight 3 and 1 share a busy fleet, on a cluster that runs.

Gives settings to the queues "gold" and "silver", fills both with tasks that sleep,
shows how they share the nodes until one of them is empty, cancels what is left, and
prints how many tasks of each were started while both had some. Needs Python 3.8 or newer, a
member to talk to, and agents that run commands, with 4 slots together or more: on
fewer, each queue holds one as soon as it is free, and 3 to 1 cannot be kept.

Exit status: 0 done, 1 something failed, 2 a bad argument.
"""

import argparse
import datetime
import json
import sys
import time
import urllib.error
import urllib.request

WEIGHTS = {"gold": 3, "silver": 1}
BATCH = 500
LOOK_EVERY_S = 0.5
START_AFTER_S = 3
SLOTS = sum(WEIGHTS.values())
FLEET_WAIT_S = 7


class Failed(Exception):
    """The example cannot go on; the message says why."""


def call(args, method, request):
    body = json.dumps(request).encode()
    server = args.server if "://" in args.server else "http://" + args.server
    http = urllib.request.Request("%s/controlplane.v1.%s" % (server.rstrip("/"), method), body, {"content-type": "application/json"})
    if args.token_file:
        with open(args.token_file) as file:
            http.add_header("authorization", "Bearer " + file.read().strip())
    try:
        with urllib.request.urlopen(http, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise Failed("%s: %s" % (method, json.load(error).get("message", error)))
    except OSError as error:
        raise Failed("no member answers at %s (%s): give one by --server" % (args.server, error))


def query(args, sql, *params):
    return call(args, "QueryService/Query", {"sql": sql, "params": params})["rows"][0]


def check_fleet(args):
    """Refuse a fleet on which the shares could not be kept.

    An agent that is gone is HEALTHY until its lease is over, so those count that are
    heard from now on, as all that live are within some 5 s."""
    begun = query(args, "SELECT clock_ms FROM raft_state")[0]
    end = time.monotonic() + FLEET_WAIT_S
    while True:
        every, heard = query(
            args, "SELECT coalesce(sum(slots), 0), coalesce(sum(slots) FILTER (WHERE heartbeat_time_ms > ?1), 0) FROM nodes"
                  " WHERE status = 'HEALTHY' AND schedulable AND polling AND exec", begun)
        over = time.monotonic() > end
        if heard >= SLOTS and (heard == every or over):
            break
        if over:
            raise Failed("the agents have %d slot%s together, and to share them 3 to 1 takes %d: start another agent, by\n"
                         "  bin/raft-node agent --server %s --name share --slots %d &"
                         % (heard, "" if heard == 1 else "s", SLOTS, args.server, SLOTS - heard))
        time.sleep(LOOK_EVERY_S)
    if heard % SLOTS:
        print("The agents have %d slots together. Tasks are whole: 3 to 1 exactly is kept on %d, %d, %d and so on." % (heard, SLOTS, 2 * SLOTS, 3 * SLOTS))


def prepare(args):
    """Fill both queues with tasks that may start at one time, so that none is ahead."""
    start = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=START_AFTER_S)
    for queue, weight in WEIGHTS.items():
        settings = {"queue": {"name": queue, "weight": weight}}
        try:
            call(args, "QueueService/CreateQueue", settings)
        except Failed:  # it has other settings
            call(args, "QueueService/UpdateQueue", settings)
        task = {"name": "share", "queue": queue, "exec": {"command": ["sleep", str(args.sleep)]},
                "earliestStartTime": start.isoformat()}
        for begin in range(0, args.tasks, BATCH):
            requests = [{"task": task}] * min(BATCH, args.tasks - begin)
            for outcome in call(args, "TaskService/SubmitTasks", {"requests": requests})["outcomes"]:
                if "error" in outcome:
                    raise Failed("submit: %s" % outcome["error"]["message"])


def queues(args):
    return {name: call(args, "QueueService/GetQueue", {"name": name})["queue"] for name in WEIGHTS}


def watch(args):
    """Show how they share until one has nothing to be started; how many of each were when both still had."""
    started = {}
    while True:
        now = queues(args)
        print("   ".join("%s: %3d run, %5.1f %% of the fleet, %4d wait" % (
            name, int(q.get("runningTasks", 0)), int(q.get("dominantShareMillionths", 0)) / 1e4, int(q.get("pendingTasks", 0)))
            for name, q in now.items()), flush=True)
        if started and any("pendingTasks" not in q for q in now.values()):
            return started
        started = {name: args.tasks - int(q.get("pendingTasks", 0)) for name, q in now.items()}
        time.sleep(LOOK_EVERY_S)


def main(argv=None):
    parser = argparse.ArgumentParser(description="Let two queues of weight 3 and 1 share a busy fleet.")
    parser.add_argument("--server", default="http://127.0.0.1:8080", help="URL of a member (default %(default)s)")
    parser.add_argument("--token-file", help="file with the secret that the members share")
    parser.add_argument("--tasks", type=int, default=200, help="tasks for each queue (default %(default)s)")
    parser.add_argument("--sleep", type=float, default=0.5, help="seconds that each takes (default %(default)s)")
    args = parser.parse_args(argv)
    if args.tasks < 1 or args.sleep < 0:
        parser.error("--tasks must be 1 or more, --sleep 0 or more")
    try:
        check_fleet(args)
        prepare(args)
        started = watch(args)
        for queue in WEIGHTS:
            call(args, "TaskService/CancelTasks", {"queue": queue})
    except Failed as why:
        print("share: %s" % why, file=sys.stderr)
        return 1
    print("started while tasks of both waited: gold %d, silver %d, which is %.2f to 1" % (started["gold"], started["silver"], started["gold"] / max(started["silver"], 1)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
