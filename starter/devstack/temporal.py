"""Temporal's dev server from its wheel: return the command that runs it, and configure its namespace."""

import shutil
import sys
from datetime import timedelta
from pathlib import Path

from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import UpdateNamespaceRequest
from temporalio.client import Client

from starter.devstack.errors import StackError
from starter.devstack.ports import LOOPBACK
from workflows.engine.search_attributes import SEARCH_ATTRIBUTES

NAMESPACE = "default"
RETENTION = timedelta(days=30)  # how long closed runs stay visible
# The dev server has one history shard, which polls its queues 20 times a second by default: every step would wait.
POLLS_PER_SECOND = 2000
# With SQLite's defaults a step takes three times as long. A killed server loses nothing with a write-ahead log either.
PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL")
QUEUES = ("transferProcessorMaxPollRPS", "timerProcessorMaxPollRPS", "visibilityProcessorMaxPollRPS")


def command(data_dir: Path, port: int, ui_port: int, codec: str | None = None) -> list[str]:
    """Return the command that runs the server on loopback with its state in one file. SIGTERM stops it.

    `codec` is the URL of the codec endpoint where its UI decrypts payloads.
    """
    limits = [part for queue in QUEUES for part in ("--dynamic-config-value", f"history.{queue}={POLLS_PER_SECOND}")]
    where = ["--ip", LOOPBACK, "--port", str(port), "--ui-port", str(ui_port)]
    quiet = ["--log-level", "warn", "--ui-disable-news-fetch", "--disable-config-file", "--disable-config-env"]
    pragmas = [part for pragma in PRAGMAS for part in ("--sqlite-pragma", pragma)]
    store = ["--db-filename", str(data_dir / "temporal.db"), *pragmas]
    reading = ["--ui-codec-endpoint", codec] if codec else []
    return [_binary(), "server", "start-dev", *where, *store, *quiet, *limits, *reading]


async def prepare(client: Client) -> None:
    """Set the retention of the namespace and add missing search attributes, also in an older state file."""
    config = NamespaceConfig(workflow_execution_retention_ttl=Duration(seconds=int(RETENTION.total_seconds())))
    await client.workflow_service.update_namespace(UpdateNamespaceRequest(namespace=NAMESPACE, config=config))
    known = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace=NAMESPACE))
    missing = {
        name: IndexedValueType.Value(f"INDEXED_VALUE_TYPE_{kind.upper()}")
        for name, kind in SEARCH_ATTRIBUTES.items()
        if name not in known.custom_attributes
    }
    if missing:
        request = AddSearchAttributesRequest(namespace=NAMESPACE, search_attributes=missing)
        await client.operator_service.add_search_attributes(request)


def _binary() -> str:
    in_venv = Path(sys.executable).parent / "temporal"
    found = str(in_venv) if in_venv.exists() else shutil.which("temporal")
    if found is None:
        raise StackError("The embedded servers are not installed: run `make install`")
    return found
