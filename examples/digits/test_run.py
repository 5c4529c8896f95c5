"""Tests of what run.py is made of: calls, processes, ports, the sweep, the bars."""

import base64
import contextlib
import http.server
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

import api
import cluster
import process
import progress
import run
import sweep

HERE = os.path.dirname(os.path.abspath(__file__))
IGNORES_SIGTERM = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"


@contextlib.contextmanager
def server(*answers):
    """A member that gives these (status, body) answers in turn, the last one for ever; yields (address, requests)."""
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status, answer = answers[min(len(requests), len(answers) - 1)]
            requests.append((self.path, body))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(answer if isinstance(answer, bytes) else json.dumps(answer).encode())

        def log_message(self, *_):
            pass

    httpd = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield "127.0.0.1:%d" % httpd.server_port, requests
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class ClientTest(unittest.TestCase):
    def test_goes_on_with_the_next_member(self):
        with server((503, {"code": "unavailable", "message": "no leader"}), (200, {"tasks": []})) as (address, requests):
            client = api.Client(["127.0.0.1:%d" % closed_port(), address])
            self.assertEqual(client.call("TaskService/ListTasks", {"queue": "q"}), {"tasks": []})
        self.assertEqual(requests, [("/controlplane.v1.TaskService/ListTasks", {"queue": "q"})] * 2)

    def test_a_refusal_is_not_tried_again(self):
        with server((400, {"code": "invalid_argument", "message": "task.name: too long"})) as (address, requests):
            with self.assertRaisesRegex(api.ApiError, "invalid_argument.*task.name: too long"):
                api.Client([address]).call("TaskService/SubmitTask", {})
        self.assertEqual(len(requests), 1)

    def test_gives_up_with_the_reason(self):
        with self.assertRaisesRegex(api.ApiError, "TaskService/GetTask: unavailable"):
            api.Client(["127.0.0.1:%d" % closed_port()]).call("TaskService/GetTask", {}, patience_s=0)

    def test_an_answer_from_something_else_is_shown(self):
        with server((200, b"<html>hello")) as (address, _):
            with self.assertRaisesRegex(api.ApiError, "HTTP 200.*<html>hello"):
                api.Client([address]).call("TaskService/GetTask", {})


class ChildTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.log = os.path.join(directory.name, "log")

    def child(self, code):
        child = process.Child("m1", [sys.executable, "-c", code], self.log)
        child.start()
        self.addCleanup(child.kill)
        return child

    def test_early_death_shows_the_end_of_the_log(self):
        child = self.child("import sys; print('disk is full', file=sys.stderr); sys.exit(3)")
        child._process.wait()
        with self.assertRaisesRegex(process.ChildDied, r"m1 ended by itself \(status 3\)(.|\n)*disk is full"):
            child.check()

    def test_a_child_that_was_stopped_is_no_early_death(self):
        child = self.child("import signal; signal.pause()")
        self.assertEqual(process.stop([child], grace_s=30), [])
        child.check()
        self.assertEqual(child._process.returncode, -signal.SIGTERM)

    def test_a_stubborn_child_is_killed(self):
        for grace_s, impatient in ((0.1, lambda: False), (600, lambda: True)):
            child = self.child(IGNORES_SIGTERM)
            while b"up" not in open_and_read(self.log):
                child.check()
            self.assertEqual(process.stop([child], grace_s, impatient), ["m1"])
            self.assertFalse(child.running())
            os.remove(self.log)

    def test_environment_does_not_override_flags(self):
        os.environ.update({"PORT": "1", "RAFT_NODE_LISTEN": "x", "KEPT_FOR_TEST": "yes"})
        self.addCleanup(lambda: [os.environ.pop(key) for key in ("PORT", "RAFT_NODE_LISTEN", "KEPT_FOR_TEST")])
        environment = process.clean_environment()
        self.assertEqual((environment.get("PORT"), environment.get("RAFT_NODE_LISTEN")), (None, None))
        self.assertEqual(environment["KEPT_FOR_TEST"], "yes")

    def test_log_tail_has_whole_lines(self):
        with open(self.log, "w", encoding="utf-8") as log:
            log.write("".join("line %d\n" % number for number in range(1000)))
        lines = process.log_tail(self.log).splitlines()
        self.assertEqual(lines[-1], "    line 999")
        self.assertTrue(all(line.startswith("    line ") for line in lines))
        self.assertLess(len(lines), 1000)


def open_and_read(path):
    with open(path, "rb") as file:
        return file.read()


class ClusterTest(unittest.TestCase):
    def test_busy_ports_are_passed_over(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            base = taken.getsockname()[1]
            ports, busy = cluster.choose_ports(base, 3)
        self.assertIn(base, busy)
        self.assertEqual(len(set(ports)), 3)
        self.assertTrue(all(port > base for port in ports))

    def test_too_few_ports_is_an_error(self):
        with self.assertRaisesRegex(cluster.NotReady, "--base-port"):
            cluster.choose_ports(65535, 2)

    def test_members_know_one_another_and_agents_know_all(self):
        made = cluster.Cluster("raft-node", "data", [7001, 7002, 7003])
        addresses = "127.0.0.1:7001,127.0.0.1:7002,127.0.0.1:7003"
        self.assertEqual(made.members["m2"].command, [
            "raft-node", "serve", "--name", "m2", "--listen", "127.0.0.1:7002", "--data-dir", os.path.join("data", "m2"),
            "--bootstrap-expect", "3", "--join", addresses])
        self.assertEqual(len(made.agents), 3)
        self.assertEqual(made.agents["aws-1"].command[1:4], ["agent", "--server", "http://" + addresses.replace(",", ",http://")])

    def test_one_member_needs_no_bootstrap(self):
        made = cluster.Cluster("raft-node", "data", [7001])
        self.assertNotIn("--join", made.members["m1"].command)

    def test_a_kept_directory_keeps_its_ports(self):
        with tempfile.TemporaryDirectory() as directory:
            self.assertIsNone(cluster.remembered_ports(directory))
            cluster.remember_ports(directory, [7001])
            self.assertEqual(cluster.remembered_ports(directory), [7001])
            args = run.parse_args(["--keep", directory, "--members", "3"])
            with self.assertRaisesRegex(run.Failed, "--members 1"):
                run.ports_for(args, directory)


class SweepTest(unittest.TestCase):
    def test_grid_has_at_least_24_different_settings(self):
        settings = sweep.grid()
        self.assertGreaterEqual(len(settings), 24)
        self.assertEqual(len({str(setting) for setting in settings}), len(settings))

    def test_submission_is_what_train_takes(self):
        request = sweep.submission("digits-1", sweep.Setting(0.1, 0.0, 16))
        self.assertEqual(request["request_id"], "digits-1 lr=0.1 l2=0 batch=16")
        self.assertEqual(request["task"]["labels"], {"sweep": "digits-1"})
        command = request["task"]["exec"]["command"]
        self.assertTrue(os.path.isabs(command[0]) and os.path.isabs(command[1]))
        checked = subprocess.run(command + ["--epochs", "1"], stdout=subprocess.PIPE, check=True)
        self.assertEqual(json.loads(checked.stdout.splitlines()[-1].decode())["batch_size"], 16)

    def test_submit_pairs_tasks_with_settings(self):
        settings = sweep.grid()[:2]
        with server((200, {"outcomes": [{"task": {"id": "a"}}, {"task": {"id": "b"}}]})) as (address, _):
            self.assertEqual(sweep.submit(api.Client([address]), "s", settings), {"a": settings[0], "b": settings[1]})

    def test_submit_shows_a_refused_item(self):
        with server((200, {"outcomes": [{"error": {"code": "already_exists", "message": "request_id"}}]})) as (address, _):
            with self.assertRaisesRegex(sweep.SubmitFailed, "already_exists"):
                sweep.submit(api.Client([address]), "s", sweep.grid()[:1])

    def test_list_follows_pages(self):
        with server((200, {"tasks": [{"id": "a"}], "nextPageToken": "p"}), (200, {"tasks": [{"id": "b"}]})) as (address, requests):
            self.assertEqual([task["id"] for task in sweep.list_tasks(api.Client([address]), "s")], ["a", "b"])
        self.assertEqual(requests[1][1]["page_token"], "p")

    def test_outcome_needs_an_accuracy(self):
        self.assertEqual(sweep.outcome(task(accuracy=0.5))["accuracy"], 0.5)
        for bad in ({}, {"result": ""}, {"result": base64.b64encode(b"hello").decode()}, task(accuracy=7), task(loss=1)):
            with self.assertRaises(ValueError):
                sweep.outcome(bad)

    def test_table_is_sorted(self):
        rows = [(sweep.Setting(rate, 0.0, 16), task(), dict(accuracy=accuracy, loss=loss, seconds=1.0))
                for rate, accuracy, loss in ((1, 0.90, 0.1), (2, 0.95, 0.3), (3, 0.95, 0.2))]
        rates = [line.split()[2] for line in sweep.table(rows)[1:]]
        self.assertEqual(rates, ["3", "2", "1"])


def task(node="aws-1", status=sweep.COMPLETED, **result):
    return {"id": "t", "name": "digits", "nodeId": node, "attempt": 1, "status": status,
            "result": base64.b64encode(json.dumps(result).encode()).decode()}


class ReportTest(unittest.TestCase):
    def report(self, *done):
        tasks = {one["id"]: sweep.Setting(0.1, 0.0, 16) for one in done}
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            failures = run.report(tasks, done)
        return failures, out.getvalue(), err.getvalue()

    def test_best_is_named(self):
        failures, out, _ = self.report(task(accuracy=0.96, loss=0.2, seconds=2.0))
        self.assertEqual(failures, 0)
        self.assertIn("best: lr=0.1 l2=0 batch=16, accuracy 0.9600 (1 of 1 settings completed)", out)

    def test_failures_are_counted_and_shown(self):
        failed = dict(task(status="TASK_STATUS_FAILED"), error="exit code 1", logTail="Traceback")
        failures, out, err = self.report(failed)
        self.assertEqual(failures, 1)
        self.assertNotIn("best", out)
        self.assertIn("exit code 1\nTraceback", err)


class Terminal(io.StringIO):
    def isatty(self):
        return True


class ProgressTest(unittest.TestCase):
    TASKS = [task("aws-1"), task("aws-1", "TASK_STATUS_FAILED"), task("gcp-1", sweep.RUNNING), task("", "TASK_STATUS_PENDING")]

    def test_summary_counts_by_node(self):
        self.assertEqual(progress.summary(self.TASKS, ["aws-1", "gcp-1"], 3.2), [
            ("sweep", 2, "2/4 done, 1 running, 1 failed, 3 s"),
            ("aws-1", 2, "2 done, 0 running"),
            ("gcp-1", 0, "0 done, 1 running")])

    def test_bar(self):
        self.assertEqual([progress.bar(*pair).count("#") for pair in ((0, 0), (0, 4), (1, 2), (4, 4))], [0, 0, 15, 30])

    def test_plain_lines_only_for_changes(self):
        out = io.StringIO()
        shown = progress.Progress(["aws-1"], out)
        shown.update(self.TASKS)
        shown.update(self.TASKS)
        self.assertEqual(out.getvalue().count("\n"), 1)
        self.assertNotIn("\033", out.getvalue())

    def test_terminal_redraws_in_place(self):
        out = Terminal()
        shown = progress.Progress(["aws-1"], out)
        shown.update(self.TASKS)
        shown.say("hello")
        shown.update(self.TASKS)
        self.assertEqual(out.getvalue().count("\033[2A\033[J"), 2)
        self.assertIn("\033[Jhello\nsweep", out.getvalue())


class CommandTest(unittest.TestCase):
    def run_example(self, *arguments):
        command = [sys.executable, os.path.join(HERE, "run.py")] + list(arguments)
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, check=False)

    def test_missing_binary_says_what_to_do(self):
        done = self.run_example("--binary", os.path.join(HERE, "no-such-file"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("make build", done.stderr)

    def test_directory_of_something_else_is_left_alone(self):
        done = self.run_example("--binary", sys.executable, "--keep", HERE)
        self.assertEqual(done.returncode, 1)
        self.assertIn("new directory", done.stderr)

    def test_a_binary_that_ends_at_once_fails_the_run(self):
        # Python as raft-node: "serve" is no file it can run, so it ends with status 2.
        done = self.run_example("--binary", sys.executable, "--exit")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"ended by itself \(status 2\)(.|\n)*can't open file")


if __name__ == "__main__":
    unittest.main()
