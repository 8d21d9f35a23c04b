"""Whether a worker polls a task queue, according to Temporal."""

from datetime import UTC, datetime, timedelta

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client

# A poll lasts up to a minute and is recorded when it starts; the server lists pollers for five minutes.
MAX_POLL_AGE = timedelta(seconds=75)
TASK_TYPES = (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY)


async def is_worker_polling(client: Client, task_queue: str) -> bool:
    """Return whether both workflow tasks and activities of a task queue are polled. Raises RPCError."""
    return all([await _is_polled(client, task_queue, task_type) for task_type in TASK_TYPES])


async def _is_polled(client: Client, task_queue: str, task_type: TaskQueueType.ValueType) -> bool:
    request = DescribeTaskQueueRequest(
        namespace=client.namespace, task_queue=TaskQueue(name=task_queue), task_queue_type=task_type
    )
    answer = await client.workflow_service.describe_task_queue(request)
    oldest = datetime.now(UTC) - MAX_POLL_AGE
    return any(poller.last_access_time.ToDatetime(UTC) > oldest for poller in answer.pollers)
