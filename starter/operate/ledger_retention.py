"""How long the ledger must keep steps: as long as Temporal keeps runs, plus a week."""

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client

from commerce.errors import SettingsError
from commerce.settings import Settings
from starter.connection.rpc import RPC_TIMEOUT, unreachable_if_refused

EXTRA_DAYS = 7  # a run retried just before Temporal deletes it must still find its steps


async def min_ledger_days(client: Client) -> int:
    """Return the smallest value that COMMERCE_KEEP_LEDGER_DAYS may have. Raises Unreachable."""
    request = DescribeNamespaceRequest(namespace=client.namespace)
    with unreachable_if_refused("report how long it keeps runs"):
        answer = await client.workflow_service.describe_namespace(request, retry=True, timeout=RPC_TIMEOUT)
    return answer.config.workflow_execution_retention_ttl.ToTimedelta().days + EXTRA_DAYS


async def check_retention(client: Client, settings: Settings) -> None:
    """Raise SettingsError unless the ledger is kept a week longer than Temporal keeps runs: a retry needs it."""
    least = await min_ledger_days(client)
    if settings.keep_ledger_days < least:
        raise SettingsError(
            f"COMMERCE_KEEP_LEDGER_DAYS: must be at least {least}, a week more than Temporal keeps runs"
        )
