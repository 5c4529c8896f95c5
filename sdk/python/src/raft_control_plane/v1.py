"""The contract's messages and stubs, generated from proto/controlplane/v1."""

from ._gen.controlplane.v1.cluster_connect import ClusterServiceClient, ClusterServiceClientSync
from ._gen.controlplane.v1.cluster_pb import *  # noqa: F403
from ._gen.controlplane.v1.event_connect import EventServiceClient, EventServiceClientSync
from ._gen.controlplane.v1.event_pb import *  # noqa: F403
from ._gen.controlplane.v1.log_connect import LogServiceClient, LogServiceClientSync
from ._gen.controlplane.v1.log_pb import *  # noqa: F403
from ._gen.controlplane.v1.node_connect import NodeServiceClient, NodeServiceClientSync
from ._gen.controlplane.v1.node_pb import *  # noqa: F403
from ._gen.controlplane.v1.query_connect import QueryServiceClient, QueryServiceClientSync
from ._gen.controlplane.v1.query_pb import *  # noqa: F403
from ._gen.controlplane.v1.queue_connect import QueueServiceClient, QueueServiceClientSync
from ._gen.controlplane.v1.queue_pb import *  # noqa: F403
from ._gen.controlplane.v1.task_connect import TaskServiceClient, TaskServiceClientSync
from ._gen.controlplane.v1.task_pb import *  # noqa: F403

__all__ = [
    "ClusterServiceClient",
    "ClusterServiceClientSync",
    "EventServiceClient",
    "EventServiceClientSync",
    "LogServiceClient",
    "LogServiceClientSync",
    "NodeServiceClient",
    "NodeServiceClientSync",
    "QueryServiceClient",
    "QueryServiceClientSync",
    "QueueServiceClient",
    "QueueServiceClientSync",
    "TaskServiceClient",
    "TaskServiceClientSync",
]
