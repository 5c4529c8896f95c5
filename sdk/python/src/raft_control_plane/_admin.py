"""Calls that look after tasks, queues and nodes: what both clients have beside submitting."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from typing_extensions import Unpack

from ._gen.controlplane.v1.node_connect import NodeServiceClient, NodeServiceClientSync
from ._gen.controlplane.v1.node_pb import (
    CordonNodeRequest,
    DrainNodeRequest,
    GetNodeRequest,
    ListNodesRequest,
    Node,
    RemoveNodeRequest,
    UncordonNodeRequest,
)
from ._gen.controlplane.v1.queue_connect import QueueServiceClient, QueueServiceClientSync
from ._gen.controlplane.v1.queue_pb import (
    CreateQueueRequest,
    DeleteQueueRequest,
    GetQueueRequest,
    ListQueuesRequest,
    PauseQueueRequest,
    Queue,
    ResumeQueueRequest,
    UpdateQueueRequest,
)
from ._gen.controlplane.v1.task_connect import TaskServiceClient, TaskServiceClientSync
from ._gen.controlplane.v1.task_pb import (
    CancelTasksRequest,
    ExplainTaskRequest,
    ExplainTaskResponse,
    ListTasksRequest,
    RetryTaskRequest,
    Task,
    TaskStatus,
)
from ._queues import QueueSettings, queue_message
from ._time import wait

PAGE = 1000
DRAIN_MAX_S = 2_592_000.0


@dataclass(frozen=True)
class CancelCount:
    """What cancel_many did."""

    cancelled: int
    """Tasks that have ended, cancelled."""
    stopping: int
    """Tasks that run, and are to be stopped by their workers."""


class AdminCalls:
    """The blocking calls; Client makes them."""

    def call(self, method: Any, request: Any, *, timeout: float | None = None) -> Any:
        """Makes a call; Client says how."""
        raise NotImplementedError

    def tasks(
        self,
        *,
        statuses: Sequence[TaskStatus] = (),
        queue: str = "",
        node_id: str = "",
        name: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> Iterator[Task]:
        """Yields tasks, newest first, without payload, result and log tail; every filter given must match."""
        request = ListTasksRequest(
            statuses=list(statuses),
            queue=queue,
            node_id=node_id,
            name=name,
            labels=dict(labels or {}),
            page_size=PAGE,
        )
        while True:
            page = self.call(TaskServiceClientSync.list_tasks, request)
            yield from page.tasks
            request.page_token = page.next_page_token
            if not request.page_token:
                return

    def cancel_many(
        self,
        *,
        statuses: Sequence[TaskStatus] = (),
        queue: str = "",
        node_id: str = "",
        name: str = "",
        labels: Mapping[str, str] | None = None,
        everything: bool = False,
    ) -> CancelCount:
        """Cancels all tasks that have not ended and match every filter given, and counts them.

        Those submitted after it began are left alone. After an error some may be cancelled: repeat it.

        Args:
            statuses: any of PENDING, ASSIGNED and RUNNING; all three when empty.
            queue: the queue that they are in.
            node_id: the node that they are on.
            name: their name.
            labels: labels that they must have.
            everything: needed when no filter is given: every task that has not ended is meant.

        """
        request = CancelTasksRequest(
            statuses=list(statuses),
            queue=queue,
            node_id=node_id,
            name=name,
            labels=dict(labels or {}),
            all=everything,
            page_size=PAGE,
        )
        cancelled = stopping = 0
        while True:
            step = self.call(TaskServiceClientSync.cancel_tasks, request)
            cancelled, stopping = cancelled + step.cancelled, stopping + step.stopping
            request.page_token = step.next_page_token
            if not request.page_token:
                return CancelCount(cancelled, stopping)

    def retry(self, task_id: str) -> Task:
        """Puts a task that failed or was cancelled back to its queue, to be tried once more at least."""
        task: Task = (self.call(TaskServiceClientSync.retry_task, RetryTaskRequest(id=task_id))).task
        return task

    def explain(self, task_id: str) -> ExplainTaskResponse:
        """Tells why a task waits, or where it would go: ``summary`` is all of it in one sentence."""
        found: ExplainTaskResponse = self.call(TaskServiceClientSync.explain_task, ExplainTaskRequest(id=task_id))
        return found

    def create_queue(self, name: str, **settings: Unpack[QueueSettings]) -> Queue:
        """Gives settings to a queue and returns it; CallError ALREADY_EXISTS if it has others.

        Args:
            name: 1 to 64 letters, digits, '.', '_' or '-'.
            settings: see QueueSettings.

        """
        queue, _ = queue_message(name, settings)
        made: Queue = (self.call(QueueServiceClientSync.create_queue, CreateQueueRequest(queue=queue))).queue
        return made

    def update_queue(self, name: str, **settings: Unpack[QueueSettings]) -> Queue:
        """Changes the settings given, and no others, for placements from then on; NOT_FOUND if there are none."""
        queue, fields = queue_message(name, settings)
        if not fields:
            raise TypeError("no setting is given: give at least one, such as weight=2")
        request = UpdateQueueRequest(queue=queue, fields=fields)
        changed: Queue = (self.call(QueueServiceClientSync.update_queue, request)).queue
        return changed

    def pause_queue(self, name: str) -> Queue:
        """Stops placements from a queue; what runs goes on, and tasks can be submitted."""
        queue: Queue = (self.call(QueueServiceClientSync.pause_queue, PauseQueueRequest(name=name))).queue
        return queue

    def resume_queue(self, name: str) -> Queue:
        """Lets a queue have placements again."""
        queue: Queue = (self.call(QueueServiceClientSync.resume_queue, ResumeQueueRequest(name=name))).queue
        return queue

    def delete_queue(self, name: str) -> None:
        """Takes the settings away from a queue in which nothing waits or runs."""
        self.call(QueueServiceClientSync.delete_queue, DeleteQueueRequest(name=name))

    def queue(self, name: str) -> Queue:
        """Returns a queue that has settings, or tasks that wait or run."""
        queue: Queue = (self.call(QueueServiceClientSync.get_queue, GetQueueRequest(name=name))).queue
        return queue

    def queues(self) -> Iterator[Queue]:
        """Yields the queues that have settings, or tasks that wait or run, by name."""
        request = ListQueuesRequest(page_size=PAGE)
        while True:
            page = self.call(QueueServiceClientSync.list_queues, request)
            yield from page.queues
            request.page_token = page.next_page_token
            if not request.page_token:
                return

    def node(self, node_id: str) -> Node:
        """Returns one node."""
        node: Node = (self.call(NodeServiceClientSync.get_node, GetNodeRequest(id=node_id))).node
        return node

    def nodes(self) -> Iterator[Node]:
        """Yields all nodes, by id."""
        request = ListNodesRequest(page_size=PAGE)
        while True:
            page = self.call(NodeServiceClientSync.list_nodes, request)
            yield from page.nodes
            request.page_token = page.next_page_token
            if not request.page_token:
                return

    def cordon(self, node_id: str) -> Node:
        """Keeps new tasks from a node until uncordon; what it runs goes on."""
        node: Node = (self.call(NodeServiceClientSync.cordon_node, CordonNodeRequest(id=node_id))).node
        return node

    def uncordon(self, node_id: str) -> Node:
        """Lets a node have new tasks again: ends a cordon, a drain, and a time for which it was held back."""
        node: Node = (self.call(NodeServiceClientSync.uncordon_node, UncordonNodeRequest(id=node_id))).node
        return node

    def remove_node(self, node_id: str) -> None:
        """Forgets a node that is gone: whose lease has lapsed, and that holds no task.

        Its cordon is forgotten with it; tasks keep its id. If it is heard again, it registers like a
        new one. CallError FAILED_PRECONDITION while its lease is live, NOT_FOUND if there is none.
        """
        self.call(NodeServiceClientSync.remove_node, RemoveNodeRequest(id=node_id))

    def drain(self, node_id: str, *, deadline: float | datetime.timedelta | None = None) -> Node:
        """Cordons a node and takes its work off it; see drained for how far that is.

        What it has not fetched goes to others at once. What it runs is waited for, and at the
        deadline stopped and handed to others, which counts neither as a failure nor as a loss.

        Args:
            node_id: the node.
            deadline: how long what it runs may take, in seconds or as a timedelta, 0 to 2,592,000 s
                (30 days); as long as it takes when None. Repeated, it moves the deadline.

        """
        request = DrainNodeRequest(id=node_id, deadline=wait("deadline", deadline, DRAIN_MAX_S))
        node: Node = (self.call(NodeServiceClientSync.drain_node, request)).node
        return node

    def drained(self, node_id: str, *, timeout: float | None = None) -> Iterator[Node]:
        """Yields a node as it is now and after each change of its tasks, until it holds none.

        ``node.running_tasks`` of ``node.drain.initial_tasks`` are left.

        Args:
            node_id: the node.
            timeout: ends after so many seconds, whatever is left.

        """
        left = -1
        for _ in self.watch(node_id=node_id, timeout=timeout):
            node = self.node(node_id)
            if node.running_tasks != left:
                left = node.running_tasks
                yield node
            if not left:
                return

    def watch(self, *, node_id: str = "", timeout: float | None = None) -> Iterator[Any]:
        """Yields changes of tasks; Client says how."""
        raise NotImplementedError


class AsyncAdminCalls:
    """The calls of asyncio; AsyncClient makes them."""

    async def call(self, method: Any, request: Any, *, timeout: float | None = None) -> Any:
        """Makes a call; AsyncClient says how."""
        raise NotImplementedError

    async def tasks(
        self,
        *,
        statuses: Sequence[TaskStatus] = (),
        queue: str = "",
        node_id: str = "",
        name: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Task]:
        """Yields tasks, newest first, without payload, result and log tail; every filter given must match."""
        request = ListTasksRequest(
            statuses=list(statuses),
            queue=queue,
            node_id=node_id,
            name=name,
            labels=dict(labels or {}),
            page_size=PAGE,
        )
        while True:
            page = await self.call(TaskServiceClient.list_tasks, request)
            for task in page.tasks:
                yield task
            request.page_token = page.next_page_token
            if not request.page_token:
                return

    async def cancel_many(
        self,
        *,
        statuses: Sequence[TaskStatus] = (),
        queue: str = "",
        node_id: str = "",
        name: str = "",
        labels: Mapping[str, str] | None = None,
        everything: bool = False,
    ) -> CancelCount:
        """Cancels all tasks that have not ended and match every filter given, and counts them.

        Those submitted after it began are left alone. After an error some may be cancelled: repeat it.

        Args:
            statuses: any of PENDING, ASSIGNED and RUNNING; all three when empty.
            queue: the queue that they are in.
            node_id: the node that they are on.
            name: their name.
            labels: labels that they must have.
            everything: needed when no filter is given: every task that has not ended is meant.

        """
        request = CancelTasksRequest(
            statuses=list(statuses),
            queue=queue,
            node_id=node_id,
            name=name,
            labels=dict(labels or {}),
            all=everything,
            page_size=PAGE,
        )
        cancelled = stopping = 0
        while True:
            step = await self.call(TaskServiceClient.cancel_tasks, request)
            cancelled, stopping = cancelled + step.cancelled, stopping + step.stopping
            request.page_token = step.next_page_token
            if not request.page_token:
                return CancelCount(cancelled, stopping)

    async def retry(self, task_id: str) -> Task:
        """Puts a task that failed or was cancelled back to its queue, to be tried once more at least."""
        task: Task = (await self.call(TaskServiceClient.retry_task, RetryTaskRequest(id=task_id))).task
        return task

    async def explain(self, task_id: str) -> ExplainTaskResponse:
        """Tells why a task waits, or where it would go: ``summary`` is all of it in one sentence."""
        found: ExplainTaskResponse = await self.call(TaskServiceClient.explain_task, ExplainTaskRequest(id=task_id))
        return found

    async def create_queue(self, name: str, **settings: Unpack[QueueSettings]) -> Queue:
        """Gives settings to a queue and returns it; CallError ALREADY_EXISTS if it has others.

        Args:
            name: 1 to 64 letters, digits, '.', '_' or '-'.
            settings: see QueueSettings.

        """
        queue, _ = queue_message(name, settings)
        made: Queue = (await self.call(QueueServiceClient.create_queue, CreateQueueRequest(queue=queue))).queue
        return made

    async def update_queue(self, name: str, **settings: Unpack[QueueSettings]) -> Queue:
        """Changes the settings given, and no others, for placements from then on; NOT_FOUND if there are none."""
        queue, fields = queue_message(name, settings)
        if not fields:
            raise TypeError("no setting is given: give at least one, such as weight=2")
        request = UpdateQueueRequest(queue=queue, fields=fields)
        changed: Queue = (await self.call(QueueServiceClient.update_queue, request)).queue
        return changed

    async def pause_queue(self, name: str) -> Queue:
        """Stops placements from a queue; what runs goes on, and tasks can be submitted."""
        queue: Queue = (await self.call(QueueServiceClient.pause_queue, PauseQueueRequest(name=name))).queue
        return queue

    async def resume_queue(self, name: str) -> Queue:
        """Lets a queue have placements again."""
        queue: Queue = (await self.call(QueueServiceClient.resume_queue, ResumeQueueRequest(name=name))).queue
        return queue

    async def delete_queue(self, name: str) -> None:
        """Takes the settings away from a queue in which nothing waits or runs."""
        await self.call(QueueServiceClient.delete_queue, DeleteQueueRequest(name=name))

    async def queue(self, name: str) -> Queue:
        """Returns a queue that has settings, or tasks that wait or run."""
        queue: Queue = (await self.call(QueueServiceClient.get_queue, GetQueueRequest(name=name))).queue
        return queue

    async def queues(self) -> AsyncIterator[Queue]:
        """Yields the queues that have settings, or tasks that wait or run, by name."""
        request = ListQueuesRequest(page_size=PAGE)
        while True:
            page = await self.call(QueueServiceClient.list_queues, request)
            for queue in page.queues:
                yield queue
            request.page_token = page.next_page_token
            if not request.page_token:
                return

    async def node(self, node_id: str) -> Node:
        """Returns one node."""
        node: Node = (await self.call(NodeServiceClient.get_node, GetNodeRequest(id=node_id))).node
        return node

    async def nodes(self) -> AsyncIterator[Node]:
        """Yields all nodes, by id."""
        request = ListNodesRequest(page_size=PAGE)
        while True:
            page = await self.call(NodeServiceClient.list_nodes, request)
            for node in page.nodes:
                yield node
            request.page_token = page.next_page_token
            if not request.page_token:
                return

    async def cordon(self, node_id: str) -> Node:
        """Keeps new tasks from a node until uncordon; what it runs goes on."""
        node: Node = (await self.call(NodeServiceClient.cordon_node, CordonNodeRequest(id=node_id))).node
        return node

    async def uncordon(self, node_id: str) -> Node:
        """Lets a node have new tasks again: ends a cordon, a drain, and a time for which it was held back."""
        node: Node = (await self.call(NodeServiceClient.uncordon_node, UncordonNodeRequest(id=node_id))).node
        return node

    async def remove_node(self, node_id: str) -> None:
        """Forgets a node that is gone: whose lease has lapsed, and that holds no task.

        Its cordon is forgotten with it; tasks keep its id. If it is heard again, it registers like a
        new one. CallError FAILED_PRECONDITION while its lease is live, NOT_FOUND if there is none.
        """
        await self.call(NodeServiceClient.remove_node, RemoveNodeRequest(id=node_id))

    async def drain(self, node_id: str, *, deadline: float | datetime.timedelta | None = None) -> Node:
        """Cordons a node and takes its work off it; see drained for how far that is.

        What it has not fetched goes to others at once. What it runs is waited for, and at the
        deadline stopped and handed to others, which counts neither as a failure nor as a loss.

        Args:
            node_id: the node.
            deadline: how long what it runs may take, in seconds or as a timedelta, 0 to 2,592,000 s
                (30 days); as long as it takes when None. Repeated, it moves the deadline.

        """
        request = DrainNodeRequest(id=node_id, deadline=wait("deadline", deadline, DRAIN_MAX_S))
        node: Node = (await self.call(NodeServiceClient.drain_node, request)).node
        return node

    async def drained(self, node_id: str, *, timeout: float | None = None) -> AsyncIterator[Node]:
        """Yields a node as it is now and after each change of its tasks, until it holds none.

        ``node.running_tasks`` of ``node.drain.initial_tasks`` are left.

        Args:
            node_id: the node.
            timeout: ends after so many seconds, whatever is left.

        """
        left = -1
        async for _ in self.watch(node_id=node_id, timeout=timeout):
            node = await self.node(node_id)
            if node.running_tasks != left:
                left = node.running_tasks
                yield node
            if not left:
                return

    def watch(self, *, node_id: str = "", timeout: float | None = None) -> AsyncIterator[Any]:
        """Yields changes of tasks; AsyncClient says how."""
        raise NotImplementedError
