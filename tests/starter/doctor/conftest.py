"""Installations to check, each with its own namespace, so that runs and schedules of other tests are not found."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client

from starter.client import connect
from starter.devstack.temporal import RETENTION
from starter.doctor.checks import CHECKS
from starter.doctor.findings import Finding
from starter.doctor.runner import Check, CheckContext, run_checks
from tests.conftest import free_port
from tests.keys import ENCRYPTION_ENV
from workflows.engine.search_attributes import SEARCH_ATTRIBUTES

RunCheck = Callable[..., Awaitable[Finding]]


@pytest.fixture
async def bare_namespace(temporal_server: str) -> str:
    """The name of a namespace without search attributes."""
    return await make_namespace(await Client.connect(temporal_server))


@pytest.fixture
async def namespace(temporal_server: str) -> str:
    """The name of a namespace with all search attributes."""
    client = await Client.connect(temporal_server)
    name = await make_namespace(client)
    await register(client, name, *SEARCH_ATTRIBUTES)
    return name


@pytest.fixture
async def environment(
    tmp_path: Path, temporal_server: str, namespace: str, database_url: str
) -> AsyncIterator[dict[str, str]]:
    """The variables of a shop whose servers all work."""
    yield {
        "COMMERCE_DATA_DIR": str(tmp_path),
        "COMMERCE_DATABASE_URL": database_url,
        "COMMERCE_ADMIN_EMAILS": "admin@shop.example",
        "COMMERCE_API_PORT": str(free_port()),
        "TEMPORAL_ADDRESS": temporal_server,
        "TEMPORAL_NAMESPACE": namespace,
        **ENCRYPTION_ENV,
    }


@pytest.fixture
async def shop_client(environment: dict[str, str]) -> Client:
    """A client in this shop's namespace."""
    return await connect(environment)


@pytest.fixture
def run_check(environment: dict[str, str]) -> RunCheck:
    """Run one check and those it needs, like `run_check("Keys", "runs", COMMERCE_ENCRYPTION="off")`."""

    async def run(group: str, name: str, *, ahead: float = 0, **more: str) -> Finding:
        """`ahead` is by how many seconds this machine's clock is fast."""
        (check,) = [check for check in CHECKS if (check.group, check.name) == (group, name)]
        context = CheckContext(environment | more, now=lambda: datetime.now(UTC) + timedelta(seconds=ahead))
        return (await run_checks(context, [*needed_checks(check), check]))[-1]

    return run


def needed_checks(check: Check) -> list[Check]:
    return list(dict.fromkeys(each for need in check.needs for each in (*needed_checks(need), need)))


async def make_namespace(client: Client) -> str:
    name, kept = f"doctor-{uuid4().hex[:8]}", Duration(seconds=int(RETENTION.total_seconds()))
    await client.workflow_service.register_namespace(
        RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=kept)
    )
    return name


async def register(client: Client, namespace: str, *names: str, kind: str = "KEYWORD") -> None:
    """Register search attributes."""
    attributes = dict.fromkeys(names, IndexedValueType.Value(f"INDEXED_VALUE_TYPE_{kind}"))
    request = AddSearchAttributesRequest(namespace=namespace, search_attributes=attributes)
    await client.operator_service.add_search_attributes(request)
