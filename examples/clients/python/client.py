"""A client of the control plane in Python, of the generated stubs.

It submits a task, watches it to its end, lists, cancels, and reads the details of a
refusal. It needs a cluster with an agent.

    pip install -r requirements.txt
    PYTHONPATH=../../../gen/python python3 client.py http://127.0.0.1:8080 [connect|grpc|grpc_web]

TOKEN_FILE=token adds the token, CA_FILE=cert.pem trusts a certificate. Programs that
run tasks, or want retries and failover, use the SDK in sdk/python instead.
"""

import os
import pathlib
import sys
import uuid

from connectrpc.errors import ConnectError
from connectrpc.protocol import ProtocolType
from controlplane_gen.controlplane.v1.task_connect import TaskServiceClientSync
from controlplane_gen.controlplane.v1.task_pb import (
    CancelTaskRequest,
    ExecTask,
    GetTaskRequest,
    ListTasksRequest,
    SubmitTaskRequest,
    Task,
    TaskStatus,
    WatchTasksRequest,
)
from controlplane_gen.google.rpc.error_details_pb import BadRequest
from protobuf import Oneof
from pyqwest import HTTPVersion, SyncClient, SyncHTTPTransport

FINAL = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED)


class Client:
    """Calls the member at a URL."""

    def __init__(self, url: str, protocol: ProtocolType, token: str | None, ca: bytes | None) -> None:
        # gRPC needs HTTP/2, which a server without TLS must be known to speak.
        version = HTTPVersion.HTTP2 if protocol is ProtocolType.GRPC else None
        http = SyncClient(SyncHTTPTransport(tls_ca_cert=ca, http_version=version))
        self.stub = TaskServiceClientSync(url, protocol=protocol, http_client=http)
        self.headers = {"authorization": f"Bearer {token}"} if token else {}

    def submit(self, name: str, command: list[str]) -> Task:
        """Stores a task that runs a command. The request id makes it safe to repeat."""
        work = Oneof("exec", ExecTask(command=command))
        request = SubmitTaskRequest(
            request_id=str(uuid.uuid4()), task=Task(name=name, labels={"example": "python"}, work=work)
        )
        return self.stub.submit_task(request, headers=self.headers).task

    def watch(self, task_id: str) -> TaskStatus:
        """Follows a task until it has ended, and prints each change."""
        request = WatchTasksRequest(cursor="0", task_ids=[task_id])
        for message in self.stub.watch_tasks(request, headers=self.headers):
            if message.event is None:  # a sign of life
                continue
            print(f"{task_id} is {message.event.status.name}")
            if message.event.status in FINAL:
                return message.event.status
        raise RuntimeError("the watch ended before the task did")

    def get(self, task_id: str) -> Task:
        return self.stub.get_task(GetTaskRequest(id=task_id), headers=self.headers).task

    def cancel(self, task_id: str) -> Task:
        return self.stub.cancel_task(CancelTaskRequest(id=task_id), headers=self.headers).task

    def newest(self, count: int) -> list[Task]:
        request = ListTasksRequest(labels={"example": "python"}, page_size=count)
        return self.stub.list_tasks(request, headers=self.headers).tasks


def explain(error: ConnectError) -> None:
    """Prints what is wrong with each field of a request that was refused."""
    print(f"refused: {error.code.name}")
    for detail in error.details:
        if detail.type_name == "google.rpc.BadRequest":
            for violation in detail.value(BadRequest).field_violations:
                print(f"field {violation.field}: {violation.description}")


def main(url: str, protocol: str = "connect") -> None:
    token_file, ca_file = os.environ.get("TOKEN_FILE"), os.environ.get("CA_FILE")
    client = Client(
        url,
        ProtocolType[protocol.upper()],
        token=pathlib.Path(token_file).read_text().strip() if token_file else None,
        ca=pathlib.Path(ca_file).read_bytes() if ca_file else None,
    )
    greeting = client.submit("greeting", ["echo", "hello from Python"])
    client.watch(greeting.id)
    print(f"output: {client.get(greeting.id).log_tail.strip()}")

    endless = client.submit("endless", ["sleep", "3600"])
    client.cancel(endless.id)
    client.watch(endless.id)

    print("newest: " + ", ".join(task.name for task in client.newest(2)))

    try:
        client.submit("nothing", [])
    except ConnectError as error:
        explain(error)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: client.py URL [connect|grpc|grpc_web]")
    main(*sys.argv[1:])
