"""The sweep: one task per hyperparameter setting, and the table of what they returned."""

import base64
import itertools
import json
import os
import sys
import time

LEARNING_RATES = (0.01, 0.1, 0.3, 1.0)
L2 = (0.0, 0.001, 0.01)
BATCH_SIZES = (16, 64)

TRAIN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "train.py")
LIMIT_S = 300
MAX_ATTEMPTS = 3
RUNNING = "TASK_STATUS_RUNNING"
COMPLETED = "TASK_STATUS_COMPLETED"
FINAL = (COMPLETED, "TASK_STATUS_FAILED", "TASK_STATUS_CANCELLED")


class SubmitFailed(Exception):
    """The control plane refused a setting."""


class Setting:
    """One point of the grid."""

    def __init__(self, learning_rate, l2, batch_size):
        self.learning_rate = learning_rate
        self.l2 = l2
        self.batch_size = batch_size

    def __str__(self):
        return "lr=%g l2=%g batch=%d" % (self.learning_rate, self.l2, self.batch_size)

    def arguments(self):
        return ["--learning-rate", str(self.learning_rate), "--l2", str(self.l2), "--batch-size", str(self.batch_size)]


def grid():
    return [Setting(*point) for point in itertools.product(LEARNING_RATES, L2, BATCH_SIZES)]


def sweep_name():
    return time.strftime("digits-%Y%m%d-%H%M%S", time.gmtime())


def submission(sweep, setting):
    """A SubmitTaskRequest. Its request_id makes sending it again safe."""
    return {
        "request_id": "%s %s" % (sweep, setting),
        "task": {
            "name": "digits %s" % setting,
            "labels": {"sweep": sweep},
            "exec": {"command": [sys.executable, TRAIN] + setting.arguments()},
            "resources": {"cpu_millis": 500, "memory_bytes": 64 << 20},
            "timeout": "%ds" % LIMIT_S,
            "max_attempts": MAX_ATTEMPTS,
        },
    }


def submit(client, sweep, settings):
    """Submit all in one call; return {task id: setting}."""
    body = {"requests": [submission(sweep, setting) for setting in settings]}
    outcomes = client.call("TaskService/SubmitTasks", body).get("outcomes", [])
    if len(outcomes) != len(settings):
        raise SubmitFailed("%d outcomes for %d submissions" % (len(outcomes), len(settings)))
    tasks = {}
    for setting, outcome in zip(settings, outcomes):
        if "task" not in outcome:
            raise SubmitFailed("%s: %s" % (setting, json.dumps(outcome.get("error"))))
        tasks[outcome["task"]["id"]] = setting
    return tasks


def list_tasks(client, sweep):
    """All tasks of the sweep, without results."""
    tasks, token = [], ""
    while True:
        page = client.call("TaskService/ListTasks", {"labels": {"sweep": sweep}, "page_size": 1000, "page_token": token})
        tasks += page.get("tasks", [])
        token = page.get("nextPageToken", "")
        if not token:
            return tasks


def get_task(client, task_id):
    return client.call("TaskService/GetTask", {"id": task_id})["task"]


def outcome(task):
    """The JSON object that a completed training returned; ValueError if it is something else."""
    value = json.loads(base64.b64decode(task.get("result", "")).decode("utf-8"))
    if not isinstance(value, dict) or not 0 <= value.get("accuracy", -1) <= 1:
        raise ValueError("no accuracy in %r" % (value,))
    return value


def table(rows):
    """Lines of text: every setting with its outcome, best first. Rows are (setting, task, outcome)."""
    lines = ["%8s  %7s  %13s  %6s  %5s  %-8s  %7s  %7s" % (
        "ACCURACY", "LOSS", "LEARNING RATE", "L2", "BATCH", "NODE", "ATTEMPT", "SECONDS")]
    for setting, task, value in ranked(rows):
        lines.append("%8.4f  %7.4f  %13g  %6g  %5d  %-8s  %7d  %7.2f" % (
            value["accuracy"], value["loss"], setting.learning_rate, setting.l2, setting.batch_size,
            task["nodeId"], task["attempt"], value["seconds"]))
    return lines


def ranked(rows):
    """Best accuracy first, then the smaller loss."""
    return sorted(rows, key=lambda row: (-row[2]["accuracy"], row[2]["loss"]))
