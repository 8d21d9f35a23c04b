"""Whether a worker polls our task queue, as Temporal itself tells."""

from datetime import UTC, datetime, timedelta

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client

# A poll waits a minute for work and is noted when it begins; the server lists pollers for five minutes.
FRESH = timedelta(seconds=75)
KINDS = (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY)


async def is_worker_polling(client: Client, task_queue: str) -> bool:
    """Tell whether somebody polls for workflow tasks and for activities; raises RPCError."""
    return all([await _polled(client, task_queue, kind) for kind in KINDS])


async def _polled(client: Client, task_queue: str, kind: TaskQueueType.ValueType) -> bool:
    request = DescribeTaskQueueRequest(
        namespace=client.namespace, task_queue=TaskQueue(name=task_queue), task_queue_type=kind
    )
    answer = await client.workflow_service.describe_task_queue(request)
    since = datetime.now(UTC) - FRESH
    return any(poller.last_access_time.ToDatetime(UTC) > since for poller in answer.pollers)
