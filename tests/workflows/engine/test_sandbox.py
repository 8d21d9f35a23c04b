"""Test what the sandbox of a run imports: only the module of its workflow. All runs share the other modules."""

import asyncio
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import ClassVar
from uuid import uuid4

import pytest
from temporalio.client import Client
from temporalio.plugin import SimplePlugin
from temporalio.worker import Worker, WorkflowInstance, WorkflowInstanceDetails
from temporalio.workflow import SandboxImportNotificationPolicy

from commerce.messages.cancellations import CancelOrder
from commerce.messages.forgetting import ForgetCustomer
from commerce.messages.returns import ReturnOrder
from commerce.messages.tutorial import HelloWorld
from commerce.messages.webhooks import WebhookDelivery
from starter.client import register_customer, start
from starter.connection.plugin import create_plugin
from starter.processes import PROCESS_TYPES
from tests.keys import codec
from tests.running_shop import RunningShop, running_shop, wait_for_end
from tests.sandbox import RESTRICTIONS, Sandbox
from tests.workflows.engine.heavy_import import HeavyImport
from worker import WORKFLOWS

STRICT = SandboxImportNotificationPolicy.RAISE_ON_UNINTENTIONAL_PASSTHROUGH
EMPTY_MODULES = {"workflows", "__main__"}  # the SDK creates the second one
INPUTS = {  # the other process types need no input
    "cancel-order": CancelOrder(order_id="free"),
    "return-order": ReturnOrder(order_id="free", return_id="free"),
    "forget-customer": ForgetCustomer(email="ann@shop.example"),
    "hello-world": HelloWorld(name="John"),
    "deliver-webhook": WebhookDelivery(endpoint_id=uuid4(), event_id=uuid4()),
}
ADVICE = "Every run imports this module: use `imports_passed_through()` or PASSED_THROUGH in tests/sandbox.py"


@dataclass(frozen=True)
class RecordingRunner(Sandbox):
    """Keep every sandbox, so that tests can check what it imported."""

    sandboxes: list[WorkflowInstance] = field(default_factory=list)
    prepared: ClassVar[set[type]] = set()  # its own: each worker of these tests checks its workflows

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        self.sandboxes.append(super().create_instance(det))
        return self.sandboxes[-1]


@pytest.fixture
def runner() -> RecordingRunner:
    return RecordingRunner(replace(RESTRICTIONS, import_notification_policy=STRICT))


@pytest.fixture
async def client(temporal_server: str, runner: RecordingRunner) -> Client:
    """A client whose workers refuse unintended imports into a sandbox."""
    plugin: SimplePlugin = create_plugin(codec())
    plugin.workflow_runner = runner
    return await Client.connect(temporal_server, plugins=[plugin])


def unshared_modules(sandbox: WorkflowInstance) -> set[str]:
    """Return the names of the modules that this sandbox imported for itself."""
    modules: dict[str, ModuleType] = sandbox.importer.new_modules  # type: ignore[attr-defined]
    return {name for name, module in modules.items() if vars(module) is not vars(sys.modules[name])}


async def test_a_run_imports_only_the_module_of_its_workflow(
    tmp_path: Path, database_url: str, client: Client, runner: RecordingRunner
) -> None:
    async with running_shop(tmp_path, database_url, client) as shop, shop.worker(), asyncio.timeout(60):
        await shop.data.stock("MUG", main=3)
        await run_orders_with_different_outcomes(shop)
        await run_every_other_process_type(shop)
    runs = runner.sandboxes[len(WORKFLOWS) :]  # the worker creates the first ones itself, to validate the workflows
    assert len(runs) == 3 + len(WORKFLOWS) - 1
    for sandbox in runs:
        assert unshared_modules(sandbox) - EMPTY_MODULES in [{workflow.__module__} for workflow in WORKFLOWS], ADVICE


async def run_every_other_process_type(shop: RunningShop) -> None:
    ann = {"email": "ann@shop.example", "password": "correct horse", "first_name": "Ann", "last_name": "Miller"}
    await register_customer(shop.client, **ann)
    for name, process_type in PROCESS_TYPES.items():
        if process_type.is_job or process_type.accepts_any_id or name in INPUTS:
            handle = await start(shop.client, name, INPUTS.get(name) or process_type.entry())
            # Nobody is forgotten without keys for addresses, and a cancelled order has nothing to return; here it is
            # enough that the processes have run.
            await (wait_for_end(handle) if name in ("forget-customer", "return-order") else handle.result())


async def run_orders_with_different_outcomes(shop: RunningShop) -> None:
    """Run an order that is undone, one that ends early and one that is fulfilled."""
    await shop.inject_carrier_fault(operation="buy", fault="422", order_id="refused")
    await shop.data.order("refused", MUG=1)
    await shop.expect_failure("refused")
    await shop.data.order("short", MUG=4)
    assert (await shop.process("short")).status == "insufficient_inventory"
    await shop.data.order("free", MUG=1, columns={"total": 0})  # without a refund that would be waited for
    await shop.data.order("fulfilled", MUG=1)
    assert (await shop.process("fulfilled")).status == "fulfilled"


async def test_a_workflow_that_imports_a_library_into_its_sandbox_is_refused(client: Client) -> None:
    with pytest.raises(RuntimeError) as refused:
        Worker(client, task_queue="unused", workflows=[HeavyImport])
    assert "sqlalchemy" in str(refused.value.__cause__)
