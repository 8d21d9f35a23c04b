"""Test that older, terminated and cancelled runs never harm a newer run, and that a reset run starts anew."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.api.common.v1 import Payloads, WorkflowType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ApplicationError

from commerce import open_orders, order_intake
from commerce.errors import CommerceError
from commerce.imports.new_order import NewOrder
from commerce.imports.order_parser import OrderHead, OrderLine, parse_order
from commerce.messages.customers import registration_process_id
from commerce.messages.orders import order_process_id
from commerce.messages.pending_orders import PendingOrders, PendingPageRequest
from starter.client import register_customer, start, wait_for_result
from tests.faults import AnswerGate, Faults, Gate
from tests.polling import until
from tests.running_shop import RunningShop, relaying, running_shop, wait_for_end
from workflows.engine.search_attributes import FAILED_STEP, ORDER_ID, OUTCOME, SAGA_STATE

COMPLETED, FAILED, CANCELLED = (
    WorkflowExecutionStatus.COMPLETED,
    WorkflowExecutionStatus.FAILED,
    WorkflowExecutionStatus.CANCELED,
)
TEMPORAL = Path(sys.executable).parent / "temporal"
DEADLINE = 60  # seconds
ANN = {"email": "ann@shop.example", "password": "correct horse", "first_name": "Ann", "last_name": "Miller"}
ACCOUNTS = "SELECT count(*) FROM customers WHERE has_account"


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    """A shop with three mugs. The test starts the worker."""
    async with running_shop(tmp_path, database_url, client) as shop:
        await shop.data.stock("MUG", main=3)
        yield shop


@pytest.fixture
async def order_id(shop: RunningShop) -> str:
    """A paid order for one mug."""
    order_id = uuid4().hex
    await shop.data.order(order_id, MUG=1)
    return order_id


async def reached(gate: Gate | AnswerGate) -> None:
    await asyncio.wait_for(gate.reached.wait(), DEADLINE)


async def left(gate: Gate | AnswerGate) -> None:
    """Open the gate and wait until its attempt has ended."""
    gate.opened.set()
    await asyncio.wait_for(gate.left.wait(), DEADLINE)


async def terminate_after_fulfilling(shop: RunningShop, order_id: str) -> None:
    """Leave a reservation and a fulfillment of a terminated run."""
    async with shop.worker([gate := Gate("create-fulfillment")]):
        handle = await shop.start(order_id)
        await reached(gate)
        await handle.terminate()
        await left(gate)
    assert await shop.data.levels("MUG") == {"main": (2, 0)}


async def hold_reason(shop: RunningShop, order_id: str) -> str | None:
    reason: str | None = (await shop.data.order_columns(order_id, "hold_reason"))[0]
    return reason


async def pending(shop: RunningShop) -> list[str]:
    return (await shop.data.call(open_orders.list_pending, PendingPageRequest(limit=100))).order_ids


async def event_types(shop: RunningShop) -> list[str]:
    return await shop.data.sql("SELECT type FROM outbox_events ORDER BY sequence")


# A cancel during the first step


async def test_a_cancel_while_the_first_step_is_retried_undoes_what_an_older_run_left(
    shop: RunningShop, order_id: str
) -> None:  # (E10, E12)
    await terminate_after_fulfilling(shop, order_id)
    faults = Faults({"validate-order": "before"}, permanent=False)
    async with shop.worker([faults]):
        handle = await shop.start(order_id)
        await until(lambda: is_true(faults.refused))
        await handle.cancel()
        await asyncio.sleep(0.5)  # as long as the cancel had a chance to end the run
        faults.steps.clear()
        await wait_for_end(handle)
    await assert_cancelled_and_undone(shop, order_id)


async def test_a_cancel_before_the_first_task_undoes_what_an_older_run_left(
    shop: RunningShop, order_id: str
) -> None:  # (E10, E12)
    await terminate_after_fulfilling(shop, order_id)
    handle = await shop.start(order_id)
    await handle.cancel()
    async with shop.worker():
        await wait_for_end(handle)
    await assert_cancelled_and_undone(shop, order_id)


async def is_true(value: object) -> bool | None:
    return bool(value) or None


async def assert_cancelled_and_undone(shop: RunningShop, order_id: str) -> None:
    assert await shop.status(order_id) == CANCELLED
    assert await shop.data.levels("MUG") == {"main": (3, 0)}
    assert await hold_reason(shop, order_id) == "cancelled"
    assert await shop.findings() == []


async def test_a_registration_cancelled_before_its_first_task_undoes_what_an_older_run_left(
    shop: RunningShop,
) -> None:  # (E10, E12)
    handle = shop.client.get_workflow_handle(registration_process_id(ANN["email"]))
    async with shop.worker([gate := Gate("create-auth-user")]):
        first = asyncio.ensure_future(register_customer(shop.client, **ANN))
        await reached(gate)
        await handle.terminate()
        await left(gate)
        with pytest.raises(CommerceError):
            await first
    assert await shop.data.sql(ACCOUNTS) == [1]
    again = asyncio.ensure_future(register_customer(shop.client, **ANN))
    while (await handle.describe()).status != WorkflowExecutionStatus.RUNNING:  # noqa: ASYNC110 - polls a server
        await asyncio.sleep(0.05)
    await handle.cancel()
    async with shop.worker():
        with pytest.raises(CommerceError):
            await again
    assert (await handle.describe()).status == CANCELLED
    assert await shop.data.sql(ACCOUNTS) == [0]
    assert await shop.findings() == []


# A run that started before its order was stored


def new_order(order_id: str) -> NewOrder:
    head = OrderHead(
        id=order_id,
        financial_status="paid",
        created_at="2026-03-02T12:00:00Z",
        email="ann@customer.example",
        shipping_method="Standard",
        shipping_country="GB",
        currency="GBP",
    )
    order = parse_order(head, [OrderLine("MUG", "Mug", 1, "2.50", requires_shipping=True)], currency="GBP")
    assert isinstance(order, NewOrder)
    return order


async def test_an_order_that_is_stored_while_a_run_does_not_find_it_is_fulfilled(
    shop: RunningShop, caplog: pytest.LogCaptureFixture
) -> None:  # (E12)
    order_id = uuid4().hex
    async with shop.worker([gate := AnswerGate("validate-order")]), relaying(shop):
        early = await shop.start(order_id)
        await reached(gate)  # the step has not found the order, but the run does not know that yet
        assert (await shop.data.call(order_intake.store_order, new_order(order_id))).is_new
        assert await until(lambda: postponed(caplog), DEADLINE)  # the relay does not drop the event
        gate.opened.set()
        await wait_for_end(early)
        assert await until(lambda: fulfilled(shop, order_id), DEADLINE)
        assert await until(lambda: all_published(shop), DEADLINE)
    assert await hold_reason(shop, order_id) is None
    assert shop.mails("order-failed") == []


async def test_an_event_is_published_when_a_run_has_read_its_order_although_it_started_before(
    shop: RunningShop,
) -> None:
    order_id = uuid4().hex
    async with shop.worker([first := Gate("validate-order"), second := Gate("create-shipping-label")]), relaying(shop):
        early = await shop.start(order_id)
        await reached(first)
        assert (await shop.data.call(order_intake.store_order, new_order(order_id))).is_new
        first.opened.set()
        await reached(second)
        await until(lambda: all_published(shop), DEADLINE)
        second.opened.set()
        assert (await early.result()).status == "fulfilled"
    assert len(await event_types(shop)) == 2


async def fulfilled(shop: RunningShop, order_id: str) -> bool | None:
    return (await shop.data.order_columns(order_id, "fulfillment_status"))[0] == "fulfilled" or None


async def postponed(caplog: pytest.LogCaptureFixture) -> bool | None:
    return any("event postponed" in record.getMessage() for record in caplog.records) or None


async def all_published(shop: RunningShop) -> bool | None:
    return await shop.data.sql("SELECT count(*) FROM outbox_events WHERE published_at IS NULL") == [0] or None


async def test_an_order_that_was_not_found_is_not_put_on_hold(shop: RunningShop) -> None:  # (V10)
    order_id = uuid4().hex
    async with shop.worker([gate := AnswerGate("validate-order")]):
        early = await shop.start(order_id)
        await reached(gate)
        await shop.data.order(order_id, MUG=1)
        gate.opened.set()
        await wait_for_end(early)
    assert await hold_reason(shop, order_id) is None
    assert await pending(shop) == [order_id]


# Late steps of terminated runs


async def test_a_late_hold_of_a_terminated_run_does_not_hold_a_newer_runs_order(
    shop: RunningShop, order_id: str
) -> None:  # (E12, V10)
    await shop.inject_carrier_fault(order_id=order_id, operation="create", fault="422", times=100)
    async with shop.worker([gate := Gate("hold-order")]):
        handle = await shop.start(order_id)
        await reached(gate)
        await handle.terminate()
        await shop.data.add_stock("MUG", main=-3)
        assert (await shop.process(order_id)).status == "insufficient_inventory"
        await left(gate)
        assert await hold_reason(shop, order_id) is None
    await shop.data.add_stock("MUG", main=5)
    assert await pending(shop) == [order_id]


async def test_a_late_refusal_of_a_terminated_run_does_not_refuse_a_newer_runs_order(
    shop: RunningShop,
) -> None:  # (E12, E15)
    order_id = uuid4().hex
    await shop.data.order(order_id, MUG=5)
    async with shop.worker([gate := Gate("record-refusal"), buying := Gate("create-shipping-label")]):
        handle = await shop.start(order_id)
        await reached(gate)
        await handle.terminate()
        await shop.data.add_stock("MUG", main=5)
        again = await shop.start(order_id)
        await reached(buying)
        await left(gate)
        buying.opened.set()
        assert (await again.result()).status == "fulfilled"
    assert await event_types(shop) == ["order.fulfilled"]


async def test_a_late_first_step_of_a_terminated_run_is_refused_and_leaves_the_hold_of_a_newer_run(
    shop: RunningShop, order_id: str
) -> None:  # (E12, V10)
    await shop.inject_carrier_fault(order_id=order_id, operation="create", fault="422", times=100)
    async with shop.worker([gate := Gate("validate-order")]):
        handle = await shop.start(order_id)
        await reached(gate)
        await handle.terminate()
        await shop.expect_failure(order_id)
        assert await hold_reason(shop, order_id) == "failed: CarrierRefused"
        await left(gate)
        assert "StaleGeneration" in str(gate.error)
    assert await hold_reason(shop, order_id) == "failed: CarrierRefused"


async def test_a_run_that_never_began_may_still_put_its_order_on_hold(shop: RunningShop, order_id: str) -> None:
    """The first step fails before it claims the order: what the run decides counts, because no run is newer."""
    async with shop.worker([Faults({"validate-order": "before"})]):
        await shop.expect_failure(order_id)
    assert await hold_reason(shop, order_id) == "failed: Refused"


# Clocks


async def test_a_run_begins_although_the_run_before_has_begun_in_the_future(
    shop: RunningShop, order_id: str
) -> None:  # (E12)
    """The clock of Temporal's host was ten minutes ahead and has been set back."""
    await shop.data.sql(
        "INSERT INTO process_generations VALUES (:key, 'earlier', now() + interval '10 minutes')",
        key=order_process_id(order_id),
    )
    async with shop.worker():
        assert (await shop.process(order_id)).status == "fulfilled"
    assert await shop.findings() == []


# Temporal's reset


async def reset(shop: RunningShop, *arguments: str) -> None:
    """Reset runs as an operator does with Temporal's command line."""
    address = shop.client.service_client.config.target_host
    command = ["workflow", "reset", "--address", address, "--reason", "the carrier works again", *arguments]
    process = await asyncio.create_subprocess_exec(
        TEMPORAL, *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output


async def fail_at_the_carrier(shop: RunningShop, *order_ids: str) -> None:
    for order_id in order_ids:
        await shop.inject_carrier_fault(order_id=order_id, operation="create", fault="422", times=100)
    await asyncio.gather(*(shop.expect_failure(order_id) for order_id in order_ids))
    await shop.clear_carrier_faults()


async def test_a_failed_order_that_is_reset_to_its_first_task_is_fulfilled(
    shop: RunningShop, order_id: str
) -> None:  # (E12)
    async with shop.worker():
        await fail_at_the_carrier(shop, order_id)
        await reset(shop, "-w", order_process_id(order_id), "--type", "FirstWorkflowTask")
        assert (await shop.handle(order_id).result()).status == "fulfilled"
    assert await hold_reason(shop, order_id) is None
    assert (await shop.labels(order_id))["live"] == 1
    assert await shop.data.levels("MUG") == {"main": (2, 0)}
    assert await shop.findings() == []


async def test_a_reset_order_that_fails_again_is_undone_alerted_and_can_be_reset_again(
    shop: RunningShop, order_id: str
) -> None:
    async with shop.worker():
        await fail_at_the_carrier(shop, order_id)
        await shop.inject_carrier_fault(order_id=order_id, operation="create", fault="422", times=100)
        await reset(shop, "-w", order_process_id(order_id), "--type", "FirstWorkflowTask")
        await wait_for_end(shop.handle(order_id))
        assert await hold_reason(shop, order_id) == "failed: CarrierRefused"
        assert len(shop.mails("order-failed", order_id)) == 2
        assert await shop.data.levels("MUG") == {"main": (3, 0)}
        await shop.clear_carrier_faults()
        await reset(shop, "-w", order_process_id(order_id), "--type", "FirstWorkflowTask")
        assert (await shop.handle(order_id).result()).status == "fulfilled"
    assert await shop.findings() == []


async def test_a_cancelled_order_that_is_reset_to_its_first_task_is_fulfilled(shop: RunningShop, order_id: str) -> None:
    async with shop.worker([gate := Gate("create-shipping-label")]):
        handle = await shop.start(order_id)
        await reached(gate)
        await handle.cancel()
        gate.opened.set()
        await wait_for_end(handle)
        assert await shop.status(order_id) == CANCELLED
        await reset(shop, "-w", order_process_id(order_id), "--type", "FirstWorkflowTask", "--reapply-exclude", "All")
        assert (await shop.handle(order_id).result()).status == "fulfilled"
    assert await shop.findings() == []


async def test_a_running_order_that_is_reset_undoes_its_steps_and_starts_anew(shop: RunningShop, order_id: str) -> None:
    async with shop.worker([gate := Gate("complete-order")]):
        await shop.start(order_id)
        await reached(gate)
        await reset(shop, "-w", order_process_id(order_id), "--type", "FirstWorkflowTask")
        assert (await shop.handle(order_id).result()).status == "fulfilled"
        await left(gate)  # the final step of the run before
        assert "StaleGeneration" in str(gate.error) or "StepWithdrawn" in str(gate.error)
    assert await event_types(shop) == ["order.fulfilled"]
    assert (await shop.labels(order_id))["live"] == 1
    assert await shop.findings() == []


async def test_a_fulfilled_order_that_is_reset_completes_without_doing_anything_again(
    shop: RunningShop, order_id: str
) -> None:  # (V5)
    async with shop.worker():
        result = await shop.process(order_id)
        await reset(shop, "-w", order_process_id(order_id), "--type", "FirstWorkflowTask")
        assert await shop.handle(order_id).result() == result
    assert (await shop.labels(order_id))["bought"] == 1
    assert len(shop.mails("order-shipped", order_id)) == 1
    assert await shop.findings() == []


@pytest.mark.parametrize("way", ["a later event", "the last task"])
async def test_a_reset_to_a_later_event_fails_with_an_error_that_names_the_way(
    shop: RunningShop, order_id: str, way: str
) -> None:
    async with shop.worker():
        await fail_at_the_carrier(shop, order_id)
        if way == "the last task":
            await reset(shop, "-w", order_process_id(order_id), "--type", "LastWorkflowTask")
        else:
            await reset(shop, "-w", order_process_id(order_id), "--event-id", await task_after(shop, order_id))
        with pytest.raises(WorkflowFailureError) as caught:
            await shop.handle(order_id).result()
        assert isinstance(caught.value.cause, ApplicationError)
        assert caught.value.cause.type == "ResetTooLate"
        assert "Start Workflow Like This One" in caught.value.cause.message
        assert "commerce runs retry" in caught.value.cause.message
        assert await shop.findings() == []
        assert await shop.data.levels("MUG") == {"main": (3, 0)}
        await reset(shop, "-w", order_process_id(order_id), "--type", "FirstWorkflowTask")
        assert (await shop.handle(order_id).result()).status == "fulfilled"
    assert await shop.findings() == []


async def task_after(shop: RunningShop, order_id: str) -> str:
    """Return the id of the event at which the workflow task after `check-inventory` completed."""
    completed = [
        event.event_id
        async for event in shop.handle(order_id).fetch_history_events()
        if event.HasField("workflow_task_completed_event_attributes")
    ]
    return str(completed[2])


async def test_orders_that_failed_in_an_outage_are_fulfilled_by_a_batch_reset(shop: RunningShop) -> None:
    failed = [uuid4().hex for _ in range(3)]
    for order_id in failed:
        await shop.data.order(order_id, MUG=1)
    async with shop.worker():
        await fail_at_the_carrier(shop, *failed)
        query = f"OrderId IN ({', '.join(map(repr, failed))}) AND ExecutionStatus = 'Failed'"

        async def listed() -> bool | None:
            return len([run async for run in shop.client.list_workflows(query)]) == len(failed) or None

        await until(listed, DEADLINE)
        await reset(shop, "--query", query, "--type", "FirstWorkflowTask", "--yes")
        for order_id in failed:
            assert await until(lambda order_id=order_id: fulfilled(shop, order_id), DEADLINE)  # type: ignore[misc]
            await wait_for_end(shop.handle(order_id))
    assert await shop.data.levels("MUG") == {"main": (0, 0)}
    assert await shop.findings() == []


async def test_a_failed_registration_that_is_reset_to_its_first_task_succeeds(shop: RunningShop) -> None:
    faults = Faults({"assign-customer-group": "before"})
    process_id = registration_process_id(ANN["email"])
    async with shop.worker([faults]):
        with pytest.raises(CommerceError):
            await register_customer(shop.client, **ANN)
        assert await shop.data.sql(ACCOUNTS) == [0]
        faults.steps.clear()
        await reset(shop, "-w", process_id, "--type", "FirstWorkflowTask")
        assert (await wait_for_result(shop.client.get_workflow_handle(process_id)))["email_sent"]
    assert await shop.data.sql(ACCOUNTS) == [1]
    assert await shop.findings() == []


# "Start Workflow Like This One" in Temporal's UI


async def start_like_this_one(client: Client, process_id: str) -> Any:
    """Start a run with all that the UI copies of the latest one: id, type, task queue, input, search attributes."""
    handle = client.get_workflow_handle(process_id)
    described = (await handle.describe()).raw_description.workflow_execution_info
    started = (await anext(handle.fetch_history_events())).workflow_execution_started_event_attributes
    request = StartWorkflowExecutionRequest(
        namespace=client.namespace,
        workflow_id=process_id,
        workflow_type=WorkflowType(name=started.workflow_type.name),
        task_queue=TaskQueue(name=started.task_queue.name),
        input=Payloads(payloads=started.input.payloads),
        request_id=str(uuid4()),
    )
    for name, value in described.search_attributes.indexed_fields.items():
        if name in {key.name for key in (ORDER_ID, SAGA_STATE, FAILED_STEP, OUTCOME)}:
            request.search_attributes.indexed_fields[name].CopyFrom(value)
    answer = await client.workflow_service.start_workflow_execution(request)
    return client.get_workflow_handle(process_id, run_id=answer.run_id)


async def test_a_held_order_that_the_job_started_is_fulfilled_by_a_copy_of_its_run(
    shop: RunningShop, order_id: str
) -> None:  # (V10)
    await shop.inject_carrier_fault(order_id=order_id, operation="create", fault="422", times=100)
    async with shop.worker():
        await (await start(shop.client, "process-pending-orders", PendingOrders())).result()
        assert await hold_reason(shop, order_id) == "failed: CarrierRefused"
        await shop.clear_carrier_faults()
        copy = await start_like_this_one(shop.client, order_process_id(order_id))
        assert (await copy.result())["status"] == "fulfilled"
        attributes = (await copy.describe()).typed_search_attributes
    assert (attributes.get(SAGA_STATE), attributes.get(FAILED_STEP), attributes.get(OUTCOME)) == (
        "completed",
        None,
        "fulfilled",
    )
    assert await hold_reason(shop, order_id) is None
    assert await shop.findings() == []


async def test_a_held_order_that_the_job_started_is_fulfilled_by_a_reset_of_its_run(
    shop: RunningShop, order_id: str
) -> None:  # (V10)
    await shop.inject_carrier_fault(order_id=order_id, operation="create", fault="422", times=100)
    async with shop.worker():
        await (await start(shop.client, "process-pending-orders", PendingOrders())).result()
        assert await hold_reason(shop, order_id) == "failed: CarrierRefused"
        await shop.clear_carrier_faults()
        await reset(shop, "-w", order_process_id(order_id), "--type", "FirstWorkflowTask")
        assert (await shop.handle(order_id).result()).status == "fulfilled"
    assert await hold_reason(shop, order_id) is None
    assert await shop.findings() == []


async def test_a_copied_run_shows_its_own_state_from_its_start(shop: RunningShop, order_id: str) -> None:
    async with shop.worker():
        await fail_at_the_carrier(shop, order_id)
    async with shop.worker([gate := Gate("create-shipping-label")]):
        copy = await start_like_this_one(shop.client, order_process_id(order_id))
        await reached(gate)
        attributes = (await copy.describe()).typed_search_attributes
        assert (attributes.get(SAGA_STATE), attributes.get(FAILED_STEP), attributes.get(OUTCOME)) == (
            "running",
            None,
            None,
        )
        gate.opened.set()
        await copy.result()


async def test_an_order_that_is_held_after_the_job_listed_it_stays_on_hold(shop: RunningShop, order_id: str) -> None:
    async with shop.worker([gate := AnswerGate("list-pending-orders")]):
        job = await start(shop.client, "process-pending-orders", PendingOrders())
        await reached(gate)
        await shop.data.sql("UPDATE orders SET hold_reason = 'by hand'")
        gate.opened.set()
        assert (await job.result())["skipped"] == 1
    assert await hold_reason(shop, order_id) == "by hand"
