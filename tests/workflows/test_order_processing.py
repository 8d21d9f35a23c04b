"""Test `order-processing` from start to end, with a real worker, database, carrier and mail server."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ApplicationError

from commerce.errors import CarrierRefused, HighRisk, OrderNotFound, PaymentNotCaptured
from commerce.messages.orders import InsufficientItem, OrderProcessing
from starter.api.metrics import free_port
from starter.devstack import mail
from starter.processes import TASK_QUEUE
from tests.faults import ShortBackoff
from tests.polling import until
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
MAIL_FAILURE_ALERTED = "SELECT 1 FROM notifications WHERE kind = 'notification-failed'"
LEVEL = "SELECT stocked_quantity, reserved_quantity FROM inventory_levels WHERE inventory_item_id = :item"


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    async with running_shop(tmp_path, database_url, client) as shop, shop.worker():
        yield shop


@pytest.fixture
async def impatient_shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    """A shop that retries at once."""
    async with running_shop(tmp_path, database_url, client) as shop, shop.worker([ShortBackoff()]):
        yield shop


async def test_an_order_is_fulfilled_with_a_label_and_a_mail(shop: RunningShop) -> None:
    await shop.data.stock("MUG", main=3, overflow=5)  # only the second location has enough
    await shop.data.order("1", MUG=5)
    result = await shop.process("1")
    assert result.status == "fulfilled" and result.inventory_reserved and result.notification_sent
    assert result.tracking_number and result.tracking_numbers == [result.tracking_number]
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


async def test_processing_a_fulfilled_order_again_returns_the_same_result_and_does_nothing(
    shop: RunningShop,
) -> None:  # (V5)
    await shop.data.stock("MUG", main=9)
    await shop.data.order("1", MUG=5)
    first, again = await shop.process("1"), await shop.process("1")
    assert first == again
    assert (await shop.labels("1"))["shipments"] == 1
    assert len(shop.mails("order-shipped")) == 1
    assert await shop.data.sql(EVENTS, id="1") == ["order.fulfilled"]
    assert await shop.data.sql(LEVEL, item="MUG") == [(4, 0)]


async def test_an_order_short_of_stock_is_refused_and_admins_are_alerted_once_a_day(
    shop: RunningShop,
) -> None:  # (V2, I4)
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


async def test_a_backordered_variant_can_be_reserved_but_not_fulfilled_beyond_the_stock(
    shop: RunningShop,
) -> None:  # (I5)
    await shop.data.stock("MUG", backorder=True, main=3)
    await shop.data.order("1", MUG=5)
    assert (await shop.process("1")).status == "insufficient_inventory"
    assert (await shop.states("1"))["reserve-inventory"] == "undone"
    assert await shop.data.sql(LEVEL, item="MUG") == [(3, 0)]
    assert await shop.findings() == []


async def test_label_and_mail_are_skipped_without_a_shipping_method_and_an_email_address(
    shop: RunningShop,
) -> None:  # (V6, V9)
    await shop.data.stock("MUG", main=3)
    await shop.data.order("1", MUG=1, columns={"email": None, "shipping_method": None})
    result = await shop.process("1")
    assert result.status == "fulfilled" and not result.notification_sent and result.tracking_number is None
    assert await shop.states("1") == DONE | {"create-shipping-label": "skipped", "send-notification": "skipped"}
    assert (await shop.labels("1"))["shipments"] == 0


async def test_of_80_concurrent_orders_for_20_units_exactly_20_are_fulfilled(shop: RunningShop) -> None:  # (I4)
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    await shop.data.stock("MUG", main=12, overflow=8)
    for number in range(80):
        await shop.data.order(str(number), MUG=1, columns={"shipping_method": None, "email": None})
    before = await shop.data.sql(deadlocks)
    results = await asyncio.gather(*(shop.process(str(number)) for number in range(80)))
    statuses = [result.status for result in results]
    assert (statuses.count("fulfilled"), statuses.count("insufficient_inventory")) == (20, 60)
    assert await shop.data.sql(deadlocks) == before
    assert await shop.findings() == []


@pytest.mark.parametrize("operation", ["create", "buy"])
@pytest.mark.parametrize("fault", ["500", "cut"])
async def test_a_carrier_that_fails_several_times_sells_exactly_one_label(
    tmp_path: Path, database_url: str, client: Client, operation: str, fault: str
) -> None:  # (V6)
    async with running_shop(tmp_path, database_url, client) as shop, shop.worker([ShortBackoff()]):
        await shop.data.stock("MUG", main=3)
        await shop.data.order("1", MUG=1)
        await shop.inject_carrier_fault(operation=operation, fault=fault, times=3)
        assert (await shop.process("1")).status == "fulfilled"
        assert (await shop.labels("1"))["bought"] == (await shop.labels("1"))["live"] == 1
        assert await shop.findings() == []


async def test_an_order_to_an_unknown_country_is_undone_and_held(shop: RunningShop) -> None:  # (V6)
    await shop.data.stock("MUG", main=3)
    await shop.data.order("1", MUG=1, columns={"shipping_country": "Atlantis"})
    assert str(await shop.expect_failure("1")) == "Order 1 cannot be shipped: its address has no known country."
    assert await shop.data.sql("SELECT hold_reason FROM orders") == ["failed: AddressIncomplete"]
    assert await shop.data.levels("MUG") == {"main": (3, 0)}
    await shop.data.sql("UPDATE orders SET shipping_country = 'Norway'")
    assert (await shop.process("1")).status == "fulfilled"


async def test_an_order_of_high_risk_waits_for_a_person_who_starts_it(shop: RunningShop) -> None:  # (V1)
    await shop.data.stock("MUG", main=3)
    await shop.data.order("1", MUG=1, columns={"risk_level": "high", "shipping_method": "Local pickup"})
    assert isinstance(await shop.expect_failure("1"), HighRisk)
    assert await shop.data.sql("SELECT hold_reason FROM orders") == ["failed: HighRisk"]
    assert len(shop.mails("order-failed", "1")) == 1
    result = await shop.process("1")
    assert (result.status, result.tracking_number) == ("fulfilled", None)
    [mail] = shop.mails("order-shipped", "1")
    assert mail["Subject"] == "Your order 1 is ready for pick-up"
    assert await shop.findings() == []


async def test_a_permanent_refusal_by_the_carrier_undoes_all_steps(shop: RunningShop) -> None:  # (V7)
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


@pytest.mark.waits(30)
async def test_a_mail_waits_for_a_mail_server_that_is_down(
    tmp_path: Path, database_url: str, client: Client
) -> None:  # (N2, V8)
    port = free_port()
    smtp = {"COMMERCE_SMTP_URL": f"smtp://127.0.0.1:{port}"}
    async with running_shop(tmp_path, database_url, client, **smtp) as shop, shop.worker([ShortBackoff()]):
        await shop.data.stock("MUG", main=3)
        await shop.data.order("1", MUG=1)
        handle = await shop.start("1")

        async def tried_more_often_than_the_policy_allows() -> bool | None:
            return await shop.data.sql("SELECT 1 FROM notifications WHERE attempts > 6") != [] or None

        await until(tried_more_often_than_the_policy_allows, 180)
        await handle.cancel()  # ignored after the final step
        kinds = await shop.data.sql("SELECT kind FROM notifications WHERE status <> 'sent' ORDER BY kind")
        assert kinds == ["order-shipped", "service-unavailable"]  # nothing has failed, and the admins will be told once
        async with mail.running(tmp_path / "late mail", port):
            result = await handle.result()
            await until(lambda: sent(shop, "service-recovered"), 60)
        assert result.status == "fulfilled" and result.notification_sent
        assert await shop.status("1") == COMPLETED
        assert len(list((tmp_path / "late mail").glob("*.eml"))) == 3
        assert await shop.findings() == []


async def sent(shop: RunningShop, kind: str) -> bool | None:
    return await shop.data.sql("SELECT 1 FROM notifications WHERE kind = :kind AND status = 'sent'", kind=kind) or None


@pytest.mark.waits(15)
async def test_an_order_waits_while_the_carrier_rejects_our_key(shop: RunningShop) -> None:
    await shop.data.stock("MUG", main=3)
    await shop.data.order("1", MUG=1)
    await shop.inject_carrier_fault(operation="buy", fault="401", times=None)
    handle = await shop.start("1")
    await until(lambda: sent(shop, "service-unavailable"), 120)
    await shop.clear_carrier_faults()
    assert (await handle.result()).status == "fulfilled"
    assert await shop.data.sql("SELECT hold_reason FROM orders") == [None]
    assert len(shop.mails("service-unavailable")) == len(shop.mails("service-recovered")) == 1
    assert await shop.findings() == []


async def test_the_undo_of_a_label_waits_while_the_carrier_rejects_our_key(shop: RunningShop) -> None:  # (E6, V7)
    await shop.data.stock("MUG", main=3)
    await shop.data.order("1", MUG=1)
    await shop.inject_carrier_fault(operation="buy", fault="slow", seconds=2, times=1)
    await shop.inject_carrier_fault(operation="refund", fault="403", times=2)
    handle = await shop.start("1")
    while (await shop.states("1"))["create-shipping-label"] != "running":  # noqa: ASYNC110 - polls a server
        await asyncio.sleep(0.05)
    await handle.cancel()
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    assert (await shop.progress("1")).state == "compensated"
    assert await shop.data.sql(LEVEL, item="MUG") == [(3, 0)]
    assert await shop.findings() == []


async def test_an_order_stays_fulfilled_when_its_mail_is_never_accepted_and_a_new_start_sends_the_mail(
    impatient_shop: RunningShop,
) -> None:  # (V5, V8)
    shop = impatient_shop
    await shop.data.stock("MUG", main=3)
    await shop.data.order("1", MUG=1)
    (shop.mail_dir / mail.REFUSE_FILE).write_text("451 Try again later")
    handle = await shop.start("1")
    await until(lambda: mail_failure_is_alerted(shop))
    await handle.cancel()  # ignored after the final step
    result = await handle.result()
    assert result.status == "fulfilled" and not result.notification_sent
    statuses = await shop.data.sql("SELECT key, status, attempts FROM notifications ORDER BY kind DESC")
    assert statuses[0] == ("order-shipped/1", "failed", 6)
    assert [(key.split("/")[0], status) for key, status, _ in statuses[1:]] == [
        ("notification-failed", "queued")
    ]  # workers send it later (N1)
    assert await shop.status("1") == COMPLETED

    (shop.mail_dir / mail.REFUSE_FILE).unlink()
    again = await shop.process("1")  # only the mail remains to be sent
    assert again == result.model_copy(update={"notification_sent": True})
    assert len(shop.mails("order-shipped", "1")) == 1
    assert await shop.findings() == []


async def mail_failure_is_alerted(shop: RunningShop) -> bool | None:
    return await shop.data.sql(MAIL_FAILURE_ALERTED) != [] or None


async def test_an_order_terminated_after_its_reservation_can_be_started_again(shop: RunningShop) -> None:
    await shop.data.stock("MUG", main=3)
    await shop.data.order("1", MUG=1)
    await shop.inject_carrier_fault(operation="create", fault="500")
    handle = await shop.start("1")
    while await shop.data.sql(LEVEL, item="MUG") != [(2, 0)]:  # noqa: ASYNC110 - polls a server
        await asyncio.sleep(0.02)
    await handle.terminate()
    await shop.clear_carrier_faults()
    assert (await shop.process("1")).status == "fulfilled"
    assert await shop.data.sql(LEVEL, item="MUG") == [(2, 0)]
    assert await shop.data.sql("SELECT count(*) FROM fulfillments WHERE cancelled_at IS NULL") == [1]
    assert await shop.findings() == []


async def test_a_cancel_after_any_history_event_leaves_the_order_undone_or_fulfilled(
    shop: RunningShop,
) -> None:  # (V8, E10, E15)
    await shop.data.stock("MUG", main=100)
    await shop.data.order("0", MUG=1)
    await shop.process("0")
    event_ids = [event.event_id async for event in shop.handle("0").fetch_history_events()]
    assert len(event_ids) > 20
    for event_id in event_ids:
        await shop.data.order(str(event_id), MUG=1)
    await asyncio.gather(*(cancel_after(shop, event_id) for event_id in event_ids))
    ends = {event_id: await shop.status(str(event_id)) for event_id in event_ids}
    assert set(ends.values()) == {COMPLETED, CANCELLED}
    for event_id, end in ends.items():
        live = (await shop.labels(str(event_id)))["live"]
        events = await shop.data.sql(EVENTS, id=str(event_id))
        hold = await shop.data.sql("SELECT hold_reason FROM orders WHERE id = :id", id=str(event_id))
        done = (1, ["order.fulfilled"], [None])
        assert (live, events, hold) == (done if end == COMPLETED else (0, [], ["cancelled"])), event_id
    assert await shop.findings() == []


async def cancel_after(shop: RunningShop, event_id: int) -> None:
    handle = await shop.start(str(event_id))
    async for event in handle.fetch_history_events(wait_new_event=True):
        if event.event_id >= event_id:
            break
    await handle.cancel()
    await wait_for_end(handle)


async def test_an_order_that_cannot_be_processed_fails_with_its_own_error_and_writes_nothing(
    shop: RunningShop,
) -> None:  # (V1)
    await shop.data.stock("MUG", main=3)
    await shop.data.order("unpaid", MUG=1, columns={"payment_status": "authorized"})
    unpaid = await shop.expect_failure("unpaid")
    assert isinstance(unpaid, PaymentNotCaptured) and unpaid.payment_status == "authorized"
    assert isinstance(await shop.expect_failure("none"), OrderNotFound)
    assert await shop.data.sql("SELECT count(*) FROM step_ledger") == [0]
    # Without a hold: process-pending-orders ignores an order that is not captured.
    assert await shop.data.sql("SELECT hold_reason FROM orders") == [None]
    assert shop.mails("order-failed", "none") == []


async def test_invalid_starts_by_a_plain_temporal_client_fail_immediately(
    temporal_server: str, shop: RunningShop
) -> None:
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
        with pytest.raises(WorkflowFailureError) as caught:  # the plain client has no key to decrypt the error
            await shop.client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id).result()
        assert isinstance(caught.value.cause, ApplicationError)
        assert caught.value.cause.type == error_type


async def test_concurrent_starts_of_an_order_lead_to_one_run(shop: RunningShop) -> None:  # (E12)
    await shop.data.stock("MUG", main=3)
    await shop.data.order("1", MUG=1)
    handles = await asyncio.gather(*(shop.start("1") for _ in range(5)))
    results = await asyncio.gather(*(handle.result() for handle in handles))
    assert len({result.fulfillment_id for result in results}) == 1
    assert OrderProcessing(order_id="1").order_id == results[0].order_id
    assert len(shop.mails("order-shipped")) == 1
