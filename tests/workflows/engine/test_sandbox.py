"""What a run costs: its sandbox loads the process's own file anew, and shares everything else with the other runs."""

import asyncio
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from uuid import uuid4

import pytest
from temporalio.client import Client
from temporalio.plugin import SimplePlugin
from temporalio.worker import Worker, WorkflowInstance, WorkflowInstanceDetails
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner
from temporalio.workflow import SandboxImportNotificationPolicy

from commerce.messages.tutorial import HelloWorld
from commerce.messages.webhooks import WebhookDelivery
from starter.client import register_customer, start
from starter.connection.plugin import create_plugin
from starter.processes import PROCESS_TYPES
from tests.keys import codec
from tests.running_shop import RunningShop, running_shop
from tests.workflows.engine.careless import Careless
from worker import WORKFLOWS

STRICT = SandboxImportNotificationPolicy.RAISE_ON_UNINTENTIONAL_PASSTHROUGH
SHARED = {"workflows", "__main__"}  # empty ones; the last one is the SDK's
INPUTS = {  # of the others none is needed
    "hello-world": HelloWorld(name="John"),
    "deliver-webhook": WebhookDelivery(endpoint_id=uuid4(), event_id=uuid4()),
}
LESSON = "Loaded anew for every run. Import it inside `imports_passed_through()`, or see PASSED_THROUGH in the plugin"


@dataclass(frozen=True)
class WatchedRunner(SandboxedWorkflowRunner):
    """Keeps every sandbox, to look at what it has loaded."""

    sandboxes: list[WorkflowInstance] = field(default_factory=list)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        self.sandboxes.append(super().create_instance(det))
        return self.sandboxes[-1]


@pytest.fixture
def runner() -> WatchedRunner:
    ours = create_plugin(codec()).workflow_runner
    assert isinstance(ours, SandboxedWorkflowRunner)
    return WatchedRunner(replace(ours.restrictions, import_notification_policy=STRICT))


@pytest.fixture
async def client(temporal_server: str, runner: WatchedRunner) -> Client:
    """A client whose workers refuse what is loaded into a sandbox without being meant to."""
    strict: SimplePlugin = create_plugin(codec())
    strict.workflow_runner = runner
    return await Client.connect(temporal_server, plugins=[strict])


def loaded_anew(sandbox: WorkflowInstance) -> set[str]:
    """Return the modules of which this sandbox has a copy of its own."""
    modules: dict[str, ModuleType] = sandbox.importer.new_modules  # type: ignore[attr-defined]
    return {name for name, module in modules.items() if vars(module) is not vars(sys.modules[name])}


async def test_a_run_loads_its_own_process_and_nothing_else(
    tmp_path: Path, database_url: str, client: Client, runner: WatchedRunner
) -> None:
    async with running_shop(tmp_path, database_url, client) as shop, shop.worker(), asyncio.timeout(60):
        await shop.data.stock("MUG", main=3)
        await all_kinds_of_ends(shop)
        await one_run_of_each_other_kind(shop)
    runs = runner.sandboxes[len(WORKFLOWS) :]  # the first ones are the worker's own trials
    assert len(runs) == 3 + len(WORKFLOWS) - 1
    for sandbox in runs:
        assert loaded_anew(sandbox) - SHARED in [{kind.__module__} for kind in WORKFLOWS], LESSON


async def one_run_of_each_other_kind(shop: RunningShop) -> None:
    ann = {"email": "ann@shop.example", "password": "correct horse", "first_name": "Ann", "last_name": "Miller"}
    await register_customer(shop.client, **ann)
    for kind, process in PROCESS_TYPES.items():
        if process.is_job or process.accepts_any_id or kind in INPUTS:
            await (await start(shop.client, kind, INPUTS.get(kind) or process.entry())).result()


async def all_kinds_of_ends(shop: RunningShop) -> None:
    """Run a process that undoes, one that ends early, and one that goes to its end."""
    await shop.inject_carrier_fault(operation="buy", fault="422", order_id="refused")
    await shop.data.order("refused", MUG=1)
    await shop.expect_failure("refused")
    await shop.data.order("short", MUG=4)
    assert (await shop.process("short")).status == "insufficient_inventory"
    await shop.data.order("fulfilled", MUG=1)
    assert (await shop.process("fulfilled")).status == "fulfilled"


async def test_a_process_that_loads_a_library_into_its_sandbox_is_refused(client: Client) -> None:
    with pytest.raises(RuntimeError) as refused:
        Worker(client, task_queue="nobody", workflows=[Careless])
    assert "sqlalchemy" in str(refused.value.__cause__)
