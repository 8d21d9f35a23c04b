"""Temporal: whether we can connect, the namespace and its search attributes, workers, retention and the clock."""

import asyncio
import re
from contextlib import suppress
from datetime import UTC, timedelta

from temporalio.api.enums.v1 import IndexedValueType, TaskQueueType
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeTaskQueueRequest,
    GetSystemInfoRequest,
    PollActivityTaskQueueRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from commerce.errors import SettingsError, Unreachable
from starter.client import connection_config, open_connection
from starter.connection.rpc import KEY
from starter.doctor.clocks import compare_clocks
from starter.doctor.findings import CheckResult, failed, ok
from starter.doctor.runner import CheckContext
from starter.operate.ledger_retention import min_ledger_days
from starter.operate.worker_presence import is_worker_polling
from starter.processes import TASK_QUEUE
from workflows.engine.search_attributes import SEARCH_ATTRIBUTES

EMPTY_QUEUE = "commerce-doctor"  # a task queue without tasks
HOST_AND_PORT = re.compile(r"[^\s/@]+:\d{1,5}")
POLL_INTERVAL = 0.05  # seconds
ACTIVITY = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY


async def check_variables(context: CheckContext) -> CheckResult:
    """Check that Temporal's own variables are valid."""
    try:
        config = connection_config(context.environment)
    except SettingsError as error:
        return failed(str(error), "Correct the variable, or the file in TEMPORAL_CONFIG_FILE")
    if not HOST_AND_PORT.fullmatch(config["target_host"]):
        return failed("TEMPORAL_ADDRESS: must be HOST:PORT", "Set it, for example, to temporal.shop.example:7233")
    return ok(f"{config['target_host']}, namespace {config['namespace']}")


async def check_connection(context: CheckContext) -> CheckResult:
    """Check that the server answers."""
    try:
        client = await open_connection(context.environment)
    except (Unreachable, SettingsError) as error:
        found = str(error).removesuffix(".")
        if KEY in found:
            return failed(found, f"Set {KEY} to a key that is valid and may write to the namespace")
        return failed(found, "Start it, or correct TEMPORAL_ADDRESS and the TEMPORAL_TLS… variables")
    answer = await client.workflow_service.get_system_info(GetSystemInfoRequest())
    context.client = client
    return ok(f"{_host(client)}, version {answer.server_version}")


async def check_namespace(context: CheckContext) -> CheckResult:
    """Check that the namespace exists."""
    client = context.client
    try:
        await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        create = f"temporal operator namespace create --retention 30d {cli_options(client)}"
        return failed(f"there is no namespace {client.namespace}", f"Run: {create}; or correct TEMPORAL_NAMESPACE")
    return ok(client.namespace)


async def check_search_attributes(context: CheckContext) -> CheckResult:
    """Check that our search attributes are registered; no process can start without them."""
    client = context.client
    request = ListSearchAttributesRequest(namespace=client.namespace)
    known = (await client.operator_service.list_search_attributes(request)).custom_attributes
    command = f"Run: temporal operator search-attribute {{}} {cli_options(client)}"
    wrong = [name for name in SEARCH_ATTRIBUTES if name in known and known[name] != _type(name)]
    if wrong:
        remove = f"{command.format('remove')} {_name_options(wrong)}"
        return failed(f"registered with a wrong type: {', '.join(wrong)}", f"{remove}; then run the doctor again")
    missing = [name for name in SEARCH_ATTRIBUTES if name not in known]
    if missing:
        create = f"{command.format('create')} --type {SEARCH_ATTRIBUTES[missing[0]]} {_name_options(missing)}"
        return failed(f"missing: {', '.join(missing)}", create)
    return ok(f"{len(SEARCH_ATTRIBUTES)} registered")


async def check_worker(context: CheckContext) -> CheckResult:
    """Check that a worker polls our task queue."""
    if await is_worker_polling(context.client, TASK_QUEUE):
        return ok(f"polls the task queue {TASK_QUEUE}")
    return failed(f"no worker polls the task queue {TASK_QUEUE}", "Run: commerce worker")


async def check_retention(context: CheckContext) -> CheckResult:
    """Check that the ledger keeps steps for longer than Temporal keeps runs."""
    kept, needed = context.settings.keep_ledger_days, await min_ledger_days(context.client)
    found = f"the ledger keeps steps for {kept} days, {needed} are needed"
    return failed(found, f"Set COMMERCE_KEEP_LEDGER_DAYS={needed}") if kept < needed else ok(found)


async def check_clock(context: CheckContext) -> CheckResult:
    """Check that the server's clock agrees with this machine's.

    The server records the time at which a poll of a task queue starts, so we poll a queue without tasks.
    """
    client, before = context.client, context.now()
    identity = f"doctor {before.isoformat()}"
    poll = asyncio.create_task(_poll(client, identity))
    request = DescribeTaskQueueRequest(
        namespace=client.namespace, task_queue=TaskQueue(name=EMPTY_QUEUE), task_queue_type=ACTIVITY
    )
    try:
        while True:
            answer = await client.workflow_service.describe_task_queue(request)
            for poller in answer.pollers:
                if poller.identity == identity:
                    server_time = poller.last_access_time.ToDatetime(UTC)
                    return compare_clocks(server_time, before, context.now(), "Temporal")
            await asyncio.sleep(POLL_INTERVAL)
    finally:
        poll.cancel()


async def _poll(client: Client, identity: str) -> None:
    request = PollActivityTaskQueueRequest(
        namespace=client.namespace, task_queue=TaskQueue(name=EMPTY_QUEUE), identity=identity
    )
    with suppress(RPCError):  # the poll times out, as no task arrives
        await client.workflow_service.poll_activity_task_queue(request, timeout=timedelta(seconds=5))


def cli_options(client: Client) -> str:
    """Return the options with which Temporal's CLI connects to the same server and namespace."""
    return f"--address {_host(client)} --namespace {client.namespace}"


def _host(client: Client) -> str:
    return client.service_client.config.target_host


def _type(name: str) -> int:
    return IndexedValueType.Value(f"INDEXED_VALUE_TYPE_{SEARCH_ATTRIBUTES[name].upper()}")


def _name_options(names: list[str]) -> str:
    return " ".join(f"--name {name}" for name in names)
