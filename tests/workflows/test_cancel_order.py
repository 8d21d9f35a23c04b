"""Test that `cancel-order` takes back what `order-processing` did, once, or keeps the order as it was (B1 to B6)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError

from commerce import sales
from commerce.errors import (
    CarrierRefused,
    FulfilledElsewhere,
    LabelNotRefunded,
    OrderCancelled,
    OrderNotFound,
    ParcelHandedOver,
    ParcelUnknown,
    PermanentError,
)
from commerce.messages.cancellations import CancelOrder, CancelResult, cancel_process_id
from commerce.messages.waits import Answer
from starter.client import start, wait_for_result
from starter.operate.actions import retry
from starter.operate.answers import answer
from tests.faults import AnswerHold, Faults, Gate
from tests.payment_provider import EmbeddedPayments
from tests.polling import until
from tests.running_shop import RunningShop, carrier_client, relaying, running_shop, wait_for_end

PAYMENT_ID = "pi_1"
LEDGER = "SELECT count(*) FROM step_ledger WHERE undo IS NOT NULL AND state <> 'undone'"


@pytest.fixture
async def shop(
    tmp_path: Path, database_url: str, client: Client, payments: EmbeddedPayments
) -> AsyncIterator[RunningShop]:
    """A shop with three mugs that refunds payments at the embedded provider."""
    async with running_shop(tmp_path, database_url, client, **payments.settings) as shop:
        await shop.data.stock("MUG", main=3)
        yield shop


@pytest.fixture
async def order_id(shop: RunningShop, payments: EmbeddedPayments) -> str:
    """A paid order for one mug."""
    order_id = uuid4().hex
    payment_id = f"pi_{order_id}"
    await payments.pay(payment_id, 250)
    await shop.data.order(order_id, MUG=1, columns={"payment_reference": payment_id})
    return order_id


async def begin(shop: RunningShop, order_id: str, **options: bool) -> WorkflowHandle[Any, Any]:
    return await start(shop.client, "cancel-order", CancelOrder(order_id=order_id, **options))


async def cancel(shop: RunningShop, order_id: str, **options: bool) -> CancelResult:
    return CancelResult.model_validate(await wait_for_result(await begin(shop, order_id, **options)))


async def refused(shop: RunningShop, order_id: str, error: type[PermanentError]) -> None:
    with pytest.raises(error):
        await cancel(shop, order_id)


async def set_carrier(shop: RunningShop, order_id: str, **state: str) -> None:
    async with carrier_client(shop.carrier_url) as http:
        await http.post("/trial/states", json={"order_id": order_id} | state)


async def decide_refunds(shop: RunningShop, decision: str | None) -> None:
    async with carrier_client(shop.carrier_url) as http:
        await http.post("/trial/refunds", json={"decision": decision})


async def states(handle: WorkflowHandle[Any, Any]) -> dict[str, str]:
    return {step["name"]: step["state"] for step in (await handle.query("progress"))["steps"]}


async def assert_kept(shop: RunningShop, order_id: str) -> None:
    columns = await shop.data.order_columns(order_id, "cancellation", "fulfillment_status", "cancelled_at")
    assert columns == (None, "fulfilled", None)
    assert await shop.data.levels("MUG") == {"main": (2, 0)}
    assert (await shop.labels(order_id))["live"] == 1
    assert await shop.findings() == []


async def assert_taken_back(shop: RunningShop, payments: EmbeddedPayments, order_id: str, refunds: int = 1) -> None:
    assert (await shop.data.order_columns(order_id, "cancellation"))[0] == "cancelled"
    assert await shop.data.levels("MUG") == {"main": (3, 0)}
    assert (await shop.labels(order_id))["live"] == 0
    assert await payments.refunds(f"pi_{order_id}") == [250] * refunds
    assert [data["taken_back"] for kind, _, data in await shop.data.events() if kind == "order.cancelled"] == [True]
    assert len({mail["Message-ID"] for mail in shop.mails("order-cancelled", order_id)}) == 1
    assert await shop.data.sql(LEDGER) == [0]
    assert await shop.data.breaches() == []
    assert await shop.findings() == []


async def test_a_fulfilled_order_is_taken_back_once(
    shop: RunningShop, payments: EmbeddedPayments, order_id: str
) -> None:  # (B2, B4, B6)
    async with shop.worker():
        await shop.process(order_id)
        result = await cancel(shop, order_id)
        assert result == CancelResult(
            order_id=order_id,
            status="cancelled",
            labels_voided=1,
            refunded=250,
            currency="GBP",
            notification_sent=True,
        )
        handle = shop.client.get_workflow_handle(cancel_process_id(order_id))
        assert {name for name, state in (await states(handle)).items() if state == "done"} == {
            *("begin-cancellation", "mark-cancelling", "check-parcels", "void-label", "restock-order"),
            *("void-shipping-label", "cancel-fulfillment", "release-inventory"),
            *("refund-payment", "complete-cancellation", "send-notification"),
        }
        await assert_taken_back(shop, payments, order_id)
        again = await cancel(shop, order_id)
        assert (again.status, again.refunded, again.labels_voided) == ("cancelled", 250, 0)
        assert isinstance(await shop.expect_failure(order_id), OrderCancelled)
    await assert_taken_back(shop, payments, order_id)
    assert (await shop.labels(order_id))["refunded"] == 1
    [mail] = shop.mails("order-cancelled", order_id)
    assert "£2.50" in mail.get_body(("plain",)).get_content()  # type: ignore[union-attr]


async def test_a_cancelled_order_is_not_in_the_figures_and_its_source_cannot_bring_it_back(
    shop: RunningShop, order_id: str
) -> None:  # (B2)
    async with shop.worker():
        await shop.process(order_id)
        await cancel(shop, order_id)
    assert await shop.data.sql("SELECT count(*) FROM days_to_count") != [0]
    captured = f"SELECT {sales.IS_CAPTURED} FROM orders"
    assert await shop.data.sql(captured) == [False]


async def test_an_order_whose_steps_the_ledger_has_forgotten_is_taken_back(
    shop: RunningShop, payments: EmbeddedPayments, order_id: str
) -> None:  # (B4)
    async with shop.worker():
        await shop.process(order_id)
        await shop.data.sql("DELETE FROM step_ledger")
        await shop.data.sql("DELETE FROM process_generations")
        await cancel(shop, order_id)
    await assert_taken_back(shop, payments, order_id)


async def test_an_open_order_is_closed_and_never_processed(
    shop: RunningShop, payments: EmbeddedPayments, order_id: str
) -> None:  # (B1)
    async with shop.worker():
        assert (await cancel(shop, order_id)).labels_voided == 0
        assert isinstance(await shop.expect_failure(order_id), OrderCancelled)
    await assert_taken_back(shop, payments, order_id)


async def test_orders_that_are_not_here_are_refused(shop: RunningShop) -> None:  # (B1)
    order_id = uuid4().hex
    await shop.data.order(order_id, MUG=1, columns={"fulfillment_status": "fulfilled_elsewhere"})
    async with shop.worker():
        await refused(shop, order_id, FulfilledElsewhere)
        await refused(shop, uuid4().hex, OrderNotFound)
    assert (await shop.data.order_columns(order_id, "cancellation"))[0] is None
    assert await shop.findings() == []


# The parcel


@pytest.mark.parametrize(("tracker", "error"), [("in_transit", ParcelHandedOver), ("unknown", ParcelUnknown)])
async def test_a_parcel_that_the_carrier_has_or_may_have_keeps_the_order(
    shop: RunningShop, payments: EmbeddedPayments, order_id: str, tracker: str, error: type[PermanentError]
) -> None:  # (B3)
    async with shop.worker():
        await shop.process(order_id)
        await set_carrier(shop, order_id, tracker=tracker)
        await refused(shop, order_id, error)
        await assert_kept(shop, order_id)
        assert (await shop.process(order_id)).status == "fulfilled"
        await cancel(shop, order_id, force=True)
    await assert_taken_back(shop, payments, order_id)


async def test_a_label_that_the_carrier_does_not_know_keeps_the_order(shop: RunningShop, order_id: str) -> None:
    async with shop.worker():
        await shop.process(order_id)
        await shop.data.sql("DELETE FROM step_ledger")  # with the name of the carrier
        await shop.data.sql("UPDATE fulfillments SET shipment_id = 'shp_of_another_carrier'")
        await refused(shop, order_id, ParcelUnknown)
    assert (await shop.data.order_columns(order_id, "cancellation", "fulfillment_status")) == (None, "fulfilled")


async def test_a_label_that_the_carrier_does_not_take_back_keeps_the_order(shop: RunningShop, order_id: str) -> None:
    async with shop.worker():
        await shop.process(order_id)
        await shop.inject_carrier_fault(operation="refund", fault="422", order_id=order_id)
        await refused(shop, order_id, CarrierRefused)
        await assert_kept(shop, order_id)


async def test_a_refund_that_the_carrier_has_decided_against_keeps_the_order(shop: RunningShop, order_id: str) -> None:
    async with shop.worker():
        await shop.process(order_id)
        await decide_refunds(shop, "rejected")
        await refused(shop, order_id, LabelNotRefunded)
        await assert_kept(shop, order_id)
        forced = await cancel(shop, order_id, force=True)
    assert (forced.status, forced.labels_voided) == ("cancelled", 0)
    assert await shop.data.levels("MUG") == {"main": (3, 0)}
    assert await shop.findings() == []


async def test_a_refund_that_is_only_requested_voids_nothing_until_somebody_forces_it(
    shop: RunningShop, payments: EmbeddedPayments, order_id: str
) -> None:  # (B3)
    await decide_refunds(shop, None)
    async with shop.worker():
        await shop.process(order_id)
        handle = await begin(shop, order_id)

        async def is_requested() -> bool | None:
            return (await states(handle)).get("void-label") == "done" or None

        await until(is_requested)
        assert await shop.data.levels("MUG") == {"main": (2, 0)}
        await handle.cancel()  # ignored: the label is returned
        await cancel(shop, order_id, force=True)
        assert (await handle.describe()).status == WorkflowExecutionStatus.COMPLETED
    await assert_taken_back(shop, payments, order_id)


async def test_a_parcel_that_is_handed_over_after_all_keeps_the_order(shop: RunningShop, order_id: str) -> None:
    await decide_refunds(shop, None)
    async with shop.worker():
        await shop.process(order_id)
        handle = await begin(shop, order_id)

        async def is_requested() -> bool | None:
            return (await states(handle)).get("void-label") == "done" or None

        await until(is_requested)
        await handle.terminate()
        await set_carrier(shop, order_id, tracker="in_transit", refund="rejected")
        await refused(shop, order_id, ParcelHandedOver)
    columns = await shop.data.order_columns(order_id, "cancellation", "fulfillment_status")
    assert columns == (None, "fulfilled")
    assert await shop.findings() == []


# The refund


async def test_a_refund_that_is_refused_is_due_and_alerted_and_a_retry_makes_it(
    shop: RunningShop, payments: EmbeddedPayments, order_id: str
) -> None:  # (B5)
    await payments.inject_fault("refund", "402")
    async with shop.worker():
        await shop.process(order_id)
        result = await cancel(shop, order_id)
        assert (result.status, result.refunded, result.refund_due) == ("refund_due", 0, 250)
        assert len(shop.mails("refund-due", order_id)) == 1
        assert await shop.findings() == []
        process_id = cancel_process_id(order_id)
        await retry(shop.client, shop.database, process_id, reason="the card works again")
        result = CancelResult.model_validate(await shop.client.get_workflow_handle(process_id).result())
    assert (result.status, result.refunded) == ("cancelled", 250)
    await assert_taken_back(shop, payments, order_id)


@pytest.mark.parametrize(("given", "status"), [("success", "cancelled"), ("failure", "refund_due")])
async def test_a_refund_at_the_shop_is_waited_for(shop: RunningShop, given: Any, status: str) -> None:  # (P3, B5)
    order_id = uuid4().hex
    await shop.data.order(order_id, MUG=1, columns={"payment_reference": "c123.1"})
    async with shop.worker():
        await shop.process(order_id)
        handle = await begin(shop, order_id)

        async def is_waiting() -> bool | None:
            return (await states(handle)).get("refund-at-shop") == "waiting" or None

        await until(is_waiting)
        [mail] = shop.mails("refund-at-shop", order_id)
        assert "£2.50" in mail["Subject"]
        await handle.cancel()  # ignored: the goods are back on the shelf
        await answer(shop.client, shop.database, handle.id, "refund-at-shop", Answer(answer=given), by="test")
        result = CancelResult.model_validate(await handle.result())
    assert (result.status, result.refunded or result.refund_due) == (status, 250)
    assert len(shop.mails("refund-due", order_id)) == (status == "refund_due")
    assert await shop.findings() == []


# An order that its shop has cancelled


@pytest.mark.parametrize("given", ["success", "failure", "started"])
async def test_an_order_that_its_shop_cancels_after_it_was_fulfilled_is_offered_to_the_admins(
    shop: RunningShop, payments: EmbeddedPayments, order_id: str, given: Any
) -> None:  # (B5)
    async with shop.worker(), relaying(shop):
        await shop.process(order_id)
        await shop.data.sql("UPDATE orders SET cancelled_at = now()")
        await shop.data.sql(
            """INSERT INTO outbox_events (id, type, aggregate, data) VALUES (uuidv7(), 'order.cancelled', :aggregate,
               jsonb_build_object('order_id', CAST(:id AS text), 'revision', 2, 'fulfilled', true))""",
            aggregate=f"order/{order_id}", id=order_id,
        )  # fmt: skip
        await shop.data.sql("SELECT pg_notify('commerce_outbox', '')")
        handle = shop.client.get_workflow_handle(cancel_process_id(order_id))
        await until(lambda: is_waiting_for(shop, order_id, "offer-cancellation"))
        assert len(shop.mails("cancellation-offer", order_id)) == 1
        if given == "started":  # by hand
            await begin(shop, order_id)
        else:
            await answer(shop.client, shop.database, handle.id, "offer-cancellation", Answer(answer=given), by="test")
        result = CancelResult.model_validate(await handle.result())
    assert result.status == ("kept" if given == "failure" else "cancelled")
    assert (await shop.labels(order_id))["live"] == (given == "failure")
    assert await payments.refunds(f"pi_{order_id}") == ([] if given == "failure" else [250])
    assert await shop.findings() == []


async def is_waiting_for(shop: RunningShop, order_id: str, step: str) -> bool | None:
    query = "SELECT 1 FROM step_waits WHERE business_key = :key AND step = :step AND kind IS NULL"
    asked = await shop.data.sql(query, key=cancel_process_id(order_id), step=step)
    return bool(asked and shop.mails("cancellation-offer", order_id)) or None


# Interrupted


STEPS = (
    *("begin-cancellation", "mark-cancelling", "check-parcels", "void-label", "void-shipping-label"),
    *("cancel-fulfillment", "release-inventory", "restock-order", "refund-payment", "complete-cancellation"),
    "send-notification",
)


async def test_an_order_is_taken_back_once_although_the_answer_of_each_step_is_lost(
    shop: RunningShop, payments: EmbeddedPayments
) -> None:  # (E11, B6)
    orders = {step: uuid4().hex for step in STEPS}
    await shop.data.add_stock("MUG", main=len(orders) - 3)
    for order_id in orders.values():
        await payments.pay(f"pi_{order_id}", 250)
        await shop.data.order(order_id, MUG=1, columns={"payment_reference": f"pi_{order_id}"})
    async with shop.worker():
        await asyncio.gather(*(shop.process(order_id) for order_id in orders.values()))
    for step, order_id in orders.items():
        async with shop.worker([faults := Faults({step: "after"}, permanent=False, times=1)]):
            assert (await cancel(shop, order_id)).status == "cancelled", step
        assert faults.refused == 1, step
    for order_id in orders.values():
        assert await payments.refunds(f"pi_{order_id}") == [250]
        assert (await shop.labels(order_id))["refunded"] == 1
    assert await shop.data.levels("MUG") == {"main": (len(orders), 0)}
    assert [kind for kind, *_ in await shop.data.events()].count("order.cancelled") == len(orders)
    assert await shop.data.breaches() == []
    assert await shop.findings() == []


async def test_a_run_that_is_terminated_before_each_step_is_completed_by_the_next_one(
    shop: RunningShop, payments: EmbeddedPayments
) -> None:  # (E11, E12)
    steps = [step for step in STEPS[1:] if step != "mark-cancelling"]
    orders = {step: uuid4().hex for step in steps}
    await shop.data.add_stock("MUG", main=len(orders) - 3)
    for order_id in orders.values():
        await payments.pay(f"pi_{order_id}", 250)
        await shop.data.order(order_id, MUG=1, columns={"payment_reference": f"pi_{order_id}"})
    async with shop.worker():
        await asyncio.gather(*(shop.process(order_id) for order_id in orders.values()))
    for step, order_id in orders.items():
        async with shop.worker([gate := Gate(step)]):
            handle = await begin(shop, order_id)
            await asyncio.wait_for(gate.reached.wait(), 60)
            await handle.terminate()
            gate.opened.set()
            await asyncio.wait_for(gate.left.wait(), 60)
    async with shop.worker():
        results = await asyncio.gather(*(cancel(shop, order_id) for order_id in orders.values()))
    assert {result.status for result in results} == {"cancelled"}
    for order_id in orders.values():
        assert await payments.refunds(f"pi_{order_id}") == [250]
        assert (await shop.labels(order_id))["refunded"] == 1
        assert len({mail["Message-ID"] for mail in shop.mails("order-cancelled", order_id)}) == 1
    assert await shop.data.levels("MUG") == {"main": (len(orders), 0)}
    assert await shop.data.breaches() == []
    assert await shop.findings() == []


@pytest.mark.parametrize("step", ["check-parcels", "restock-order"])
async def test_a_cancel_counts_until_the_label_is_returned(
    shop: RunningShop, payments: EmbeddedPayments, order_id: str, step: str
) -> None:  # (E10, B2)
    async with shop.worker():
        await shop.process(order_id)
    async with shop.worker([gate := Gate(step)]):
        handle = await begin(shop, order_id)
        await asyncio.wait_for(gate.reached.wait(), 60)
        await handle.cancel()
        gate.opened.set()
        await wait_for_end(handle)
        status = (await handle.describe()).status
    if step == "check-parcels":
        assert status == WorkflowExecutionStatus.CANCELED
        await assert_kept(shop, order_id)
    else:
        assert status == WorkflowExecutionStatus.COMPLETED
        await assert_taken_back(shop, payments, order_id)


async def test_a_cancel_after_any_event_keeps_the_order_or_takes_it_back(
    shop: RunningShop, payments: EmbeddedPayments, client: Client
) -> None:  # (E10, B2)
    async def history_length(handle: WorkflowHandle[Any, Any]) -> int:
        return len((await handle.fetch_history()).events)

    async def reaches(handle: WorkflowHandle[Any, Any], length: int) -> bool | None:
        ended = (await handle.describe()).status != WorkflowExecutionStatus.RUNNING
        return ended or await history_length(handle) >= length or None

    orders = [uuid4().hex for _ in range(12)]
    await shop.data.add_stock("MUG", main=len(orders) - 3)
    for order_id in orders:
        await payments.pay(f"pi_{order_id}", 250)
        await shop.data.order(order_id, MUG=1, columns={"payment_reference": f"pi_{order_id}"})
    async with shop.worker():
        await asyncio.gather(*(shop.process(order_id) for order_id in orders))
        for number, order_id in enumerate(orders):
            handle = await begin(shop, order_id)
            await until(lambda handle=handle, number=number: reaches(handle, 2 + 4 * number))  # type: ignore[misc]
            with suppress(RPCError):  # it has just ended
                await handle.cancel()
            await wait_for_end(handle)
            cancelled = (await handle.describe()).status == WorkflowExecutionStatus.CANCELED
            expected = (None, "fulfilled", 1) if cancelled else ("cancelled", "restocked", 0)
            columns = await shop.data.order_columns(order_id, "cancellation", "fulfillment_status")
            assert (*columns, (await shop.labels(order_id))["live"]) == expected, number
            assert await payments.refunds(f"pi_{order_id}") == ([] if cancelled else [250])
    assert await shop.data.breaches() == []
    assert await shop.findings() == []


# At the same time as order-processing


@pytest.mark.parametrize(
    ("kind", "step"),
    [
        (Gate, "create-fulfillment"),
        (Gate, "create-shipping-label"),
        (Gate, "complete-order"),
        # Committed, but not in history, when the generation and the goods are taken over.
        (AnswerHold, "complete-order"),
    ],
)
async def test_an_order_that_is_being_processed_is_cancelled_and_its_run_ends_as_cancelled(
    shop: RunningShop, payments: EmbeddedPayments, order_id: str, kind: type[Gate], step: str
) -> None:  # (B2, E10)
    async with shop.worker([gate := kind(step)]):
        handle = await shop.start(order_id)
        await asyncio.wait_for(gate.reached.wait(), 60)
        cancelling = asyncio.create_task(cancel(shop, order_id))
        await until(lambda: is_marked(shop, order_id))
        gate.opened.set()
        assert (await cancelling).status == "cancelled"
        assert (await handle.result()).status == "cancelled"
    await assert_taken_back(shop, payments, order_id)
    assert shop.mails("order-failed", order_id) == []


async def is_marked(shop: RunningShop, order_id: str) -> bool | None:
    return (await shop.data.order_columns(order_id, "cancellation"))[0] is not None or None
