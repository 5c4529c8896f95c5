"""Proves that the committed Python stubs import and speak the contract's JSON."""

import json
import os
import sys
import unittest

sys.dont_write_bytecode = True  # gen/ holds generated files only
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "gen", "python"))

from controlplane_gen.controlplane.v1 import cluster_connect, node_connect, query_connect, task_connect
from controlplane_gen.controlplane.v1.task_pb import ExecTask, Resources, SubmitTaskRequest, Task
from protobuf import Oneof
from protobuf.wkt.google.protobuf.duration_pb import Duration


class StubsTest(unittest.TestCase):
    def test_submit_task_request_survives_json_and_binary(self):
        request = SubmitTaskRequest(
            request_id="r1",
            task=Task(
                name="hi",
                labels={"team": "a"},
                work=Oneof("exec", ExecTask(command=["echo", "hi"])),
                resources=Resources(memory_bytes=1 << 53, gpus=1),
                timeout=Duration(seconds=90),
            ),
        )
        text = request.to_json()
        self.assertEqual(json.loads(text), {
            "requestId": "r1",
            "task": {
                "name": "hi",
                "labels": {"team": "a"},
                "exec": {"command": ["echo", "hi"]},
                "resources": {"memoryBytes": "9007199254740992", "gpus": 1},
                "timeout": "90s",
            },
        })
        self.assertEqual(SubmitTaskRequest.from_json(text), request)
        self.assertEqual(SubmitTaskRequest.from_binary(request.to_binary()), request)

    def test_every_service_has_a_client(self):
        clients = {
            "TaskService": (task_connect.TaskServiceClientSync, "watch_tasks"),
            "NodeService": (node_connect.NodeServiceClientSync, "report_task_results"),
            "ClusterService": (cluster_connect.ClusterServiceClientSync, "get_cluster"),
            "QueryService": (query_connect.QueryServiceClientSync, "query"),
        }
        for service, (client, method) in clients.items():
            with self.subTest(service):
                self.assertTrue(callable(getattr(client, method)))


if __name__ == "__main__":
    unittest.main()
