"""Temporal: whether it lets us in, its namespace is as we need it, somebody works, and it goes by our clock."""

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
from starter.client import connection_config as configured
from starter.client import open_connection
from starter.doctor.clocks import skewed
from starter.doctor.examination import Installation
from starter.doctor.findings import CheckResult, failed, ok
from starter.operate.ledger_retention import min_ledger_days
from starter.operate.worker_presence import is_worker_polling
from starter.processes import TASK_QUEUE
from workflows.engine.search_attributes import SEARCH_ATTRIBUTES

OWN_QUEUE = "commerce-doctor"  # nobody ever gives it a task
HOST_AND_PORT = re.compile(r"[^\s/@]+:\d{1,5}")
LOOK = 0.05  # seconds between looks
ACTIVITY = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY


async def variables(installation: Installation) -> CheckResult:
    """What Temporal's own variables say makes sense."""
    try:
        where = configured(installation.environment)
    except SettingsError as error:
        return failed(str(error), "Correct the variable, or the file that TEMPORAL_CONFIG_FILE names")
    if not HOST_AND_PORT.fullmatch(where["target_host"]):
        return failed("TEMPORAL_ADDRESS: is not a host and a port", "Set it like temporal.shop.example:7233")
    return ok(f"{where['target_host']}, namespace {where['namespace']}")


async def connection(installation: Installation) -> CheckResult:
    """The server is there."""
    try:
        client = await open_connection(installation.environment)
    except (Unreachable, SettingsError) as error:
        return failed(str(error).removesuffix("."), "Start it, or correct TEMPORAL_ADDRESS and TEMPORAL_TLS…")
    answer = await client.workflow_service.get_system_info(GetSystemInfoRequest())
    installation.client = client
    return ok(f"{_host(client)}, version {answer.server_version}")


async def namespace(installation: Installation) -> CheckResult:
    """The namespace exists."""
    client = _client(installation)
    try:
        await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        make = f"temporal operator namespace create --retention 30d {where(client)}"
        return failed(f"there is no namespace {client.namespace}", f"{make}; or correct TEMPORAL_NAMESPACE")
    return ok(client.namespace)


async def search_attributes(installation: Installation) -> CheckResult:
    """What processes are listed by is registered; no process starts without."""
    client = _client(installation)
    request = ListSearchAttributesRequest(namespace=client.namespace)
    known = (await client.operator_service.list_search_attributes(request)).custom_attributes
    command = f"temporal operator search-attribute {{}} {where(client)}"
    wrong = [name for name in SEARCH_ATTRIBUTES if name in known and known[name] != _type(name)]
    if wrong:
        remove = f"{command.format('remove')} {_names(wrong)}"
        return failed(f"of another type: {', '.join(wrong)}", f"{remove}; then look again")
    missing = [name for name in SEARCH_ATTRIBUTES if name not in known]
    if missing:
        create = f"{command.format('create')} --type {SEARCH_ATTRIBUTES[missing[0]]} {_names(missing)}"
        return failed(f"missing: {', '.join(missing)}", create)
    return ok(f"{len(SEARCH_ATTRIBUTES)} registered")


async def worker(installation: Installation) -> CheckResult:
    """Somebody works off our task queue."""
    if await is_worker_polling(_client(installation), TASK_QUEUE):
        return ok(f"polls the task queue {TASK_QUEUE}")
    return failed(f"none polls the task queue {TASK_QUEUE}", "commerce worker")


async def retention(installation: Installation) -> CheckResult:
    """We keep the steps of a process for longer than Temporal knows of it."""
    assert installation.settings
    kept, least = installation.settings.keep_ledger_days, await min_ledger_days(_client(installation))
    if kept < least:
        return failed(f"steps are kept for {kept} days, runs nearly as long", f"Set COMMERCE_KEEP_LEDGER_DAYS={least}")
    return ok(f"steps are kept for {kept} days, {least} are needed")


async def clock(installation: Installation) -> CheckResult:
    """Its clock goes with this machine's: it notes by its own when a poll begins, so we poll a queue of our own."""
    client, before = _client(installation), installation.now()
    identity = f"doctor {before.isoformat()}"
    poll = asyncio.create_task(_poll(client, identity))
    request = DescribeTaskQueueRequest(
        namespace=client.namespace, task_queue=TaskQueue(name=OWN_QUEUE), task_queue_type=ACTIVITY
    )
    try:
        while True:
            answer = await client.workflow_service.describe_task_queue(request)
            for poller in answer.pollers:
                if poller.identity == identity:
                    theirs = poller.last_access_time.ToDatetime(UTC)
                    return skewed(theirs, before, installation.now(), "Temporal")
            await asyncio.sleep(LOOK)
    finally:
        poll.cancel()


async def _poll(client: Client, identity: str) -> None:
    request = PollActivityTaskQueueRequest(
        namespace=client.namespace, task_queue=TaskQueue(name=OWN_QUEUE), identity=identity
    )
    with suppress(RPCError):  # nothing came
        await client.workflow_service.poll_activity_task_queue(request, timeout=timedelta(seconds=5))


def _client(installation: Installation) -> Client:
    assert installation.client
    return installation.client


def _host(client: Client) -> str:
    return client.service_client.config.target_host


def where(client: Client) -> str:
    """Return the options by which Temporal's own command line reaches what we reach."""
    return f"--address {_host(client)} --namespace {client.namespace}"


def _type(name: str) -> int:
    return IndexedValueType.Value(f"INDEXED_VALUE_TYPE_{SEARCH_ATTRIBUTES[name].upper()}")


def _names(names: list[str]) -> str:
    return " ".join(f"--name {name}" for name in names)
