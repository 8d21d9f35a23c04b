"""Orders through the whole chain, with everything real: what is fulfilled, refused, undone, and told to whom."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ApplicationError

from commerce.errors import CarrierRefused, OrderNotFound, PaymentNotCaptured
from commerce.messages.orders import InsufficientItem, OrderProcessing
from starter.processes import TASK_QUEUE
from tests.running_shop import RunningShop, running_shop, wait_for_end

COMPLETED, FAILED, CANCELLED = (
    WorkflowExecutionStatus.COMPLETED,
    WorkflowExecutionStatus.FAILED,
    WorkflowExecutionStatus.CANCELED,
)
DONE = {
    "validate-order": "done",
    "check-inventory": "done",
    "reserve-inventory": "done",
    "create-fulfillment": "done",
    "create-shipping-label": "done",
    "complete-order": "done",
    "send-notification": "done",
}
EVENTS = "SELECT type FROM outbox_events WHERE data->>'order_id' = :id ORDER BY sequence"
ALERTED = "SELECT 1 FROM notifications WHERE kind = 'notification-failed'"
LEVEL = "SELECT stocked_quantity, reserved_quantity FROM inventory_levels WHERE inventory_item_id = :item"


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    async with running_shop(tmp_path, database_url, client) as made, made.worker():
        yield made


async def test_an_order_is_fulfilled_labelled_and_mailed(shop: RunningShop) -> None:
    await shop.data.stock("MUG", main=3, overflow=4)
    await shop.data.order("1", MUG=5)
    result = await shop.process("1")
    assert result.status == "fulfilled" and result.inventory_reserved and result.notification_sent
    assert result.tracking_number
    assert await shop.labels("1") | {"labels": []} == {
        "shipments": 1,
        "bought": 1,
        "refunded": 0,
        "live": 1,
        "labels": [],
    }
    assert len(shop.mails("order-shipped", "1")) == 1
    assert await shop.data.sql(EVENTS, id="1") == ["order.fulfilled"]
    assert await shop.states("1") == DONE
    found = await shop.handle("1").describe()
    assert found.typed_search_attributes.search_attributes
    attributes = {pair.key.name: pair.value for pair in found.typed_search_attributes.search_attributes}
    assert (
        attributes["OrderId"] == "1" and attributes["SagaState"] == "completed" and attributes["Outcome"] == "fulfilled"
    )
    assert await shop.findings() == []


async def test_processing_again_returns_the_same_and_does_nothing(shop: RunningShop) -> None:  # (V5)
    await shop.data.stock("MUG", main=9)
    await shop.data.order("1", MUG=5)
    first, again = await shop.process("1"), await shop.process("1")
    assert first == again
    assert (await shop.labels("1"))["shipments"] == 1
    assert len(shop.mails("order-shipped")) == 1
    assert await shop.data.sql(EVENTS, id="1") == ["order.fulfilled"]
    assert await shop.data.sql(LEVEL, item="MUG") == [(4, 0)]


async def test_an_order_short_of_stock_is_refused_and_admins_are_told_once_a_day(shop: RunningShop) -> None:  # (V2, I4)
    await shop.data.stock("MUG", main=3)
    await shop.data.order("1", ("MUG", 2), ("MUG", 2))
    result = await shop.process("1")
    assert result.status == "insufficient_inventory" and result.insufficient_count == 1
    assert result.insufficient_items == [InsufficientItem(variant_id="MUG", sku="MUG", requested=4, available=3)]
    assert await shop.process("1") == result
    assert len(shop.mails("insufficient-inventory", "1")) == 1
    assert await shop.data.sql(EVENTS, id="1") == ["order.insufficient_inventory"]
    assert (await shop.progress("1")).state == "compensated"
    assert await shop.status("1") == COMPLETED
    assert await shop.data.sql("SELECT hold_reason FROM orders") == [None]
    assert await shop.findings() == []


async def test_backorder_lets_reserve_but_not_fulfill_what_is_not_there(shop: RunningShop) -> None:  # (I5)
    await shop.data.stock("MUG", backorder=True, main=3)
    await shop.data.order("1", MUG=5)
    assert (await shop.process("1")).status == "insufficient_inventory"
    assert (await shop.states("1"))["reserve-inventory"] == "undone"
    assert await shop.data.sql(LEVEL, item="MUG") == [(3, 0)]
    assert await shop.findings() == []


async def test_a_guest_without_address_and_an_order_without_shipping_skip_their_steps(
    shop: RunningShop,
) -> None:  # (V6, V9)
    await shop.data.stock("MUG", main=3)
    await shop.data.order("1", MUG=1, columns={"email": None, "shipping_method": None})
    result = await shop.process("1")
    assert result.status == "fulfilled" and not result.notification_sent and result.tracking_number is None
    assert await shop.states("1") == DONE | {"create-shipping-label": "skipped", "send-notification": "skipped"}
    assert (await shop.labels("1"))["shipments"] == 0


async def test_200_orders_for_the_last_50_units(shop: RunningShop) -> None:  # (I4)
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    await shop.data.stock("MUG", main=30, overflow=20)
    for number in range(200):
        await shop.data.order(str(number), MUG=1, columns={"shipping_method": None, "email": None})
    before = await shop.data.sql(deadlocks)
    results = await asyncio.gather(*(shop.process(str(number)) for number in range(200)))
    statuses = [result.status for result in results]
    assert (statuses.count("fulfilled"), statuses.count("insufficient_inventory")) == (50, 150)
    assert await shop.data.sql(deadlocks) == before
    assert await shop.findings() == []


@pytest.mark.parametrize("operation", ["create", "buy"])
@pytest.mark.parametrize("fault", ["500", "cut"])
async def test_a_carrier_in_trouble_sells_one_label_in_the_end(
    shop: RunningShop, operation: str, fault: str
) -> None:  # (V6)
    await shop.data.stock("MUG", main=3)
    await shop.data.order("1", MUG=1)
    await shop.inject_carrier_fault(operation=operation, fault=fault, times=3)
    assert (await shop.process("1")).status == "fulfilled"
    assert (await shop.labels("1"))["bought"] == (await shop.labels("1"))["live"] == 1
    assert await shop.findings() == []


async def test_a_carrier_that_refuses_for_good_undoes_everything(shop: RunningShop) -> None:  # (V7)
    await shop.data.stock("MUG", main=3)
    await shop.data.order("1", MUG=1)
    await shop.inject_carrier_fault(operation="buy", fault="422")
    assert isinstance(await shop.expect_failure("1"), CarrierRefused)
    assert await shop.states("1") == DONE | {
        "reserve-inventory": "undone",
        "create-fulfillment": "undone",
        "create-shipping-label": "undone",
        "complete-order": "pending",
        "send-notification": "pending",
    }
    assert (await shop.progress("1")).state == "compensated"
    undone = [
        event.activity_task_scheduled_event_attributes.activity_type.name
        async for event in shop.handle("1").fetch_history_events()
        if event.HasField("activity_task_scheduled_event_attributes")
    ][-5:]
    assert undone == ["void-shipping-label", "cancel-fulfillment", "release-inventory", "hold-order", "alert-admins"]
    assert await shop.data.sql(EVENTS, id="1") == []
    assert await shop.data.sql("SELECT hold_reason FROM orders") == ["failed: CarrierRefused"]
    assert len(shop.mails("order-failed", "1")) == 1
    assert await shop.findings() == []

    await shop.clear_carrier_faults()
    assert (await shop.process("1")).status == "fulfilled"
    assert (await shop.labels("1"))["live"] == 1
    assert await shop.data.sql("SELECT hold_reason FROM orders") == [None]
    assert await shop.findings() == []


async def test_a_mail_server_that_is_down_leaves_the_order_fulfilled_and_says_so(
    tmp_path: Path, database_url: str, client: Client
) -> None:  # (V5, V8)
    async with running_shop(tmp_path, database_url, client, COMMERCE_SMTP_URL="smtp://127.0.0.1:1") as shop:
        await shop.data.stock("MUG", main=3)
        await shop.data.order("1", MUG=1)
        async with shop.worker():
            handle = await shop.start("1")
            while not await shop.data.sql(ALERTED):  # noqa: ASYNC110 - it looks at what a server did
                await asyncio.sleep(0.2)
            await handle.cancel()  # too late by far: it counts for nothing
            result = await handle.result()
        assert result.status == "fulfilled" and not result.notification_sent
        statuses = await shop.data.sql("SELECT key, status, attempts FROM notifications ORDER BY kind DESC")
        assert statuses[0] == ("order-shipped/1", "failed", 6)
        assert [(key.split("/")[0], status) for key, status, _ in statuses[1:]] == [("notification-failed", "failed")]
        assert await shop.status("1") == COMPLETED

    async with running_shop(tmp_path, database_url, client) as shop, shop.worker():
        again = await shop.process("1")  # only the mail is left to do
        assert again == result.model_copy(update={"notification_sent": True})
        assert len(shop.mails("order-shipped", "1")) == 1
        assert await shop.findings() == []


async def test_terminate_after_reserve_then_start_again(shop: RunningShop) -> None:
    await shop.data.stock("MUG", main=3)
    await shop.data.order("1", MUG=1)
    await shop.inject_carrier_fault(operation="create", fault="500")
    handle = await shop.start("1")
    while await shop.data.sql(LEVEL, item="MUG") != [(2, 0)]:  # noqa: ASYNC110 - it looks at what a server did
        await asyncio.sleep(0.02)
    await handle.terminate()
    await shop.clear_carrier_faults()
    assert (await shop.process("1")).status == "fulfilled"
    assert await shop.data.sql(LEVEL, item="MUG") == [(2, 0)]
    assert await shop.data.sql("SELECT count(*) FROM fulfillments WHERE cancelled_at IS NULL") == [1]
    assert await shop.findings() == []


async def test_cancel_after_each_event_ends_undone_or_done(shop: RunningShop) -> None:  # (V8, E10, E15)
    await shop.data.stock("MUG", main=100)
    await shop.data.order("0", MUG=1)
    await shop.process("0")
    points = [event.event_id async for event in shop.handle("0").fetch_history_events()]
    assert len(points) > 30
    for point in points:
        await shop.data.order(str(point), MUG=1)
    await asyncio.gather(*(cancel_after(shop, point) for point in points))
    ends = {point: await shop.status(str(point)) for point in points}
    assert set(ends.values()) == {COMPLETED, CANCELLED}
    for point, end in ends.items():
        live = (await shop.labels(str(point)))["live"]
        events = await shop.data.sql(EVENTS, id=str(point))
        hold = await shop.data.sql("SELECT hold_reason FROM orders WHERE id = :id", id=str(point))
        done = (1, ["order.fulfilled"], [None])
        assert (live, events, hold) == (done if end == COMPLETED else (0, [], ["cancelled"])), point
    assert await shop.findings() == []


async def cancel_after(shop: RunningShop, point: int) -> None:
    handle = await shop.start(str(point))
    async for event in handle.fetch_history_events(wait_new_event=True):
        if event.event_id >= point:
            break
    await handle.cancel()
    await wait_for_end(handle)


async def test_what_cannot_be_processed_fails_with_its_own_error_and_writes_nothing(shop: RunningShop) -> None:  # (V1)
    await shop.data.stock("MUG", main=3)
    await shop.data.order("unpaid", MUG=1, columns={"payment_status": "authorized"})
    unpaid = await shop.expect_failure("unpaid")
    assert isinstance(unpaid, PaymentNotCaptured) and unpaid.payment_status == "authorized"
    assert isinstance(await shop.expect_failure("none"), OrderNotFound)
    assert await shop.data.sql("SELECT count(*) FROM step_ledger") == [0]
    assert await shop.data.sql("SELECT hold_reason FROM orders") == [None]  # the pending-orders job leaves it anyway
    assert shop.mails("order-failed", "none") == []


async def test_starts_of_a_plain_client_that_do_not_fit_fail_at_once(temporal_server: str, shop: RunningShop) -> None:
    plain = await Client.connect(temporal_server)
    starts: list[tuple[str, list[object], str]] = [
        ("order-processing-1", [], "BadInput"),
        ("order-processing-1", [{"order_id": "a b"}], "BadInput"),
        ("order-processing-1", ["1"], "BadInput"),
        ("order-processing-1", [{"order_id": "1"}, {"order_id": "2"}], "BadInput"),
        ("another-id", [{"order_id": "1"}], "WrongProcessId"),
    ]
    for workflow_id, arguments, error_type in starts:
        handle = await plain.start_workflow("order-processing", args=arguments, id=workflow_id, task_queue=TASK_QUEUE)
        with pytest.raises(WorkflowFailureError) as caught:  # read with our key: the plain client has none
            await shop.client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id).result()
        assert isinstance(caught.value.cause, ApplicationError)
        assert caught.value.cause.type == error_type


async def test_two_starts_at_once_are_one_run(shop: RunningShop) -> None:  # (E12)
    await shop.data.stock("MUG", main=3)
    await shop.data.order("1", MUG=1)
    handles = await asyncio.gather(*(shop.start("1") for _ in range(5)))
    results = await asyncio.gather(*(handle.result() for handle in handles))
    assert len({result.fulfillment_id for result in results}) == 1
    assert OrderProcessing(order_id="1").order_id == results[0].order_id
    assert len(shop.mails("order-shipped")) == 1
