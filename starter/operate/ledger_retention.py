"""How long the steps of a process must be kept: for as long as Temporal knows of it, and a week more."""

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client

from starter.connection.rpc import RPC_TIMEOUT, unreachable_if_refused

EXTRA_DAYS = 7  # days: whoever retries a run at the very end still finds its steps


async def min_ledger_days(client: Client) -> int:
    """Return the days that COMMERCE_KEEP_LEDGER_DAYS must be at least; raises Unreachable."""
    request = DescribeNamespaceRequest(namespace=client.namespace)
    with unreachable_if_refused("tell how long it keeps runs"):
        answer = await client.workflow_service.describe_namespace(request, retry=True, timeout=RPC_TIMEOUT)
    return answer.config.workflow_execution_retention_ttl.ToTimedelta().days + EXTRA_DAYS
