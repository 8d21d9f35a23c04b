"""Test that `return-order` takes goods back and refunds them once, and closes what does not come back (R1 to R6)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError

from commerce.errors import (
    CarrierRefused,
    FulfilledElsewhere,
    OrderCancelled,
    OrderHasReturn,
    OrderNotFound,
    OrderNotFulfilled,
    PermanentError,
)
from commerce.messages.cancellations import CancelOrder
from commerce.messages.returns import AWAIT, Item, ReturnOrder, ReturnResult
from commerce.messages.waits import Answer
from starter.client import start, wait_for_result
from starter.operate.actions import retry
from starter.operate.answers import answer
from tests.payment_provider import EmbeddedPayments
from tests.polling import until
from tests.running_shop import RunningShop, carrier_client, running_shop, wait_for_end

PRICE = 250
UNITS = 3  # of an order


@pytest.fixture
async def shop(
    tmp_path: Path, database_url: str, client: Client, payments: EmbeddedPayments
) -> AsyncIterator[RunningShop]:
    """A shop with ten mugs that refunds payments at the embedded provider."""
    async with running_shop(tmp_path, database_url, client, **payments.settings) as shop:
        await shop.data.stock("MUG", main=10)
        yield shop


@pytest.fixture
async def order_id(shop: RunningShop, payments: EmbeddedPayments) -> str:
    """A paid order for three mugs."""
    return await paid_order(shop, payments)


async def paid_order(shop: RunningShop, payments: EmbeddedPayments, **columns: Any) -> str:
    order_id = uuid4().hex
    await payments.pay(f"pi_{order_id}", UNITS * PRICE)
    await shop.data.order(order_id, MUG=UNITS, columns={"payment_reference": f"pi_{order_id}"} | columns)
    return order_id


async def begin(shop: RunningShop, order_id: str, units: int = UNITS, **options: Any) -> WorkflowHandle[Any, Any]:
    request = ReturnOrder(order_id=order_id, items=[Item(sku="MUG", quantity=units)], **options)
    return await start(shop.client, "return-order", request.model_copy(update={"return_id": uuid4().hex}))


async def begin_and_wait(
    shop: RunningShop, order_id: str, units: int = UNITS, **options: Any
) -> WorkflowHandle[Any, Any]:
    handle = await begin(shop, order_id, units, **options)
    await until(lambda: is_waiting(handle, AWAIT))
    return handle


async def is_waiting(handle: WorkflowHandle[Any, Any], step: str) -> bool | None:
    return (await states(handle)).get(step) == "waiting" or None


async def states(handle: WorkflowHandle[Any, Any]) -> dict[str, str]:
    return {step["name"]: step["state"] for step in (await handle.query("progress"))["steps"]}


async def receive(shop: RunningShop, handle: WorkflowHandle[Any, Any], **item: int) -> None:
    data: dict[str, Any] = {"items": [{"sku": "MUG"} | item]} if item else {"everything": True}
    await answer(shop.client, shop.database, handle.id, AWAIT, Answer(answer="success", data=data), by="test")


async def result_of(handle: WorkflowHandle[Any, Any]) -> ReturnResult:
    return ReturnResult.model_validate(await wait_for_result(handle))


def return_id(handle: WorkflowHandle[Any, Any]) -> str:
    return handle.id.removeprefix("return-order-")


async def return_labels(shop: RunningShop, handle: WorkflowHandle[Any, Any]) -> dict[str, int]:
    """Return the carrier's counts of the labels of one return."""
    [generation] = await shop.data.sql(
        "SELECT generation FROM process_generations WHERE business_key = :key", key=handle.id
    )
    async with carrier_client(shop.carrier_url) as http:
        reference = f"{handle.id}/create-return-label/{generation}"
        counts: dict[str, Any] = (await http.get("/trial/labels", params={"reference": reference})).json()
    return {name: counts[name] for name in ("bought", "live")}


async def lines(shop: RunningShop) -> list[tuple[int, int]]:
    return await shop.data.sql("SELECT returned_quantity, returning_quantity FROM order_lines ORDER BY id")


async def assert_sound(shop: RunningShop) -> None:
    assert await shop.data.breaches() == []
    assert await shop.findings() == []


async def test_goods_come_back_once(shop: RunningShop, payments: EmbeddedPayments, order_id: str) -> None:  # (R2 to R5)
    async with shop.worker():
        await shop.process(order_id)
        handle = await begin_and_wait(shop, order_id, units=2)
        assert await lines(shop) == [(0, 2)]
        assert await return_labels(shop, handle) == {"bought": 1, "live": 1}
        [mail] = shop.mails("return-label", return_id(handle))
        assert "/labels/shp_" in mail.get_body(("plain",)).get_content()  # type: ignore[union-attr]
        await assert_sound(shop)
        await receive(shop, handle, quantity=2, sellable=1)
        result = await result_of(handle)
    assert result == ReturnResult(
        order_id=order_id,
        return_id=return_id(handle),
        status="returned",
        units=2,
        restocked=1,
        refunded=2 * PRICE,
        currency="GBP",
        notification_sent=True,
    )
    assert await lines(shop) == [(2, 0)]
    assert await shop.data.levels("MUG") == {"main": (8, 0)}
    assert ("main", 1, "returned", return_id(handle)) in await shop.data.movements("MUG")
    assert await payments.refunds(f"pi_{order_id}") == [2 * PRICE]
    assert await shop.data.sql("SELECT amount FROM refunds") == [2 * PRICE]  # in the figures
    assert [data["units"] for kind, _, data in await shop.data.events() if kind == "order.returned"] == [2]
    [mail] = shop.mails("order-returned", return_id(handle))
    assert "£5.00" in mail.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    await assert_sound(shop)


async def test_all_that_is_left_comes_back_and_is_worth_what_was_paid(
    shop: RunningShop, payments: EmbeddedPayments
) -> None:  # (R1, R4)
    order_id = await paid_order(shop, payments, total=700, shipping_total=50, discount_total=100)
    async with shop.worker():
        await shop.process(order_id)
        first = await begin_and_wait(shop, order_id, units=1)
        await receive(shop, first)
        assert (await result_of(first)).refunded == 216  # a third of 650, rounded down
        rest = await start(
            shop.client, "return-order", ReturnOrder(order_id=order_id, refund_shipping=True, label=False)
        )
        await until(lambda: is_waiting(rest, AWAIT))
        assert (await states(rest))["create-return-label"] == "skipped"
        await receive(shop, rest)
        assert (await result_of(rest)).refunded == 484
        with pytest.raises(PermanentError, match="nothing of the order is left"):
            await result_of(await start(shop.client, "return-order", ReturnOrder(order_id=order_id)))
    assert await payments.refunds(f"pi_{order_id}") == [484, 216]
    assert await shop.data.levels("MUG") == {"main": (10, 0)}
    await assert_sound(shop)


async def test_what_cannot_be_returned_is_refused(
    shop: RunningShop, payments: EmbeddedPayments, order_id: str
) -> None:  # (R1)
    elsewhere = await paid_order(shop, payments, fulfillment_status="fulfilled_elsewhere")
    cancelled = await paid_order(shop, payments)
    refused = {
        elsewhere: FulfilledElsewhere,
        cancelled: OrderCancelled,
        order_id: OrderNotFulfilled,
        "x": OrderNotFound,
    }
    async with shop.worker():
        await shop.process(cancelled)
        await (await start(shop.client, "cancel-order", CancelOrder(order_id=cancelled))).result()
        for order, error in refused.items():
            with pytest.raises(error):
                await result_of(await begin(shop, order))
        await shop.process(order_id)
        with pytest.raises(PermanentError, match="has 1 fewer units"):
            await result_of(await begin(shop, order_id, units=UNITS + 1))
    assert shop.mails("return-failed") == []  # whoever starts it gets the error
    assert await shop.data.sql("SELECT count(*) FROM order_returns") == [0]
    await assert_sound(shop)


async def test_an_order_with_a_return_is_not_cancelled(shop: RunningShop, order_id: str) -> None:  # (B1)
    async with shop.worker():
        await shop.process(order_id)
        handle = await begin_and_wait(shop, order_id, units=1)
        for _ in range(2):  # while it is open, and when the goods are back
            with pytest.raises(OrderHasReturn):
                await wait_for_result(await start(shop.client, "cancel-order", CancelOrder(order_id=order_id)))
            if (await handle.describe()).status == WorkflowExecutionStatus.RUNNING:
                await receive(shop, handle)
                await result_of(handle)
    await assert_sound(shop)


async def test_a_receipt_that_cannot_be_right_is_asked_for_again(shop: RunningShop, order_id: str) -> None:  # (R3)
    async with shop.worker():
        await shop.process(order_id)
        handle = await begin_and_wait(shop, order_id, units=1)
        wrong = {"step": AWAIT, "answer": "success", "data": {"items": [{"sku": "MUG", "quantity": 2}]}}
        await handle.execute_update("answer-step", wrong)  # as in Temporal's UI
        await until(lambda: is_waiting(handle, f"{AWAIT}/2"))
        assert len(shop.mails("return-receipt", return_id(handle))) == 1
        assert len(shop.mails("return-label", return_id(handle))) == 1  # the customer has nothing to do with it
        again = Answer(answer="retry", reason="The customer has lost the label")
        await answer(shop.client, shop.database, handle.id, AWAIT, again, by="test")
        await until(lambda: is_waiting(handle, f"{AWAIT}/3"))
        assert len(shop.mails("return-label", return_id(handle))) == 2
        await receive(shop, handle)
        assert (await result_of(handle)).units == 1
    await assert_sound(shop)


@pytest.mark.parametrize("ending", ["failure", "cancel", "deadline"])
async def test_goods_that_do_not_come_back_close_the_return(
    shop: RunningShop, order_id: str, ending: str
) -> None:  # (R6)
    if ending == "deadline":
        shop.settings = shop.settings.model_copy(update={"return_days": timedelta(seconds=2) / timedelta(days=1)})
    async with shop.worker():
        await shop.process(order_id)
        handle = await (begin if ending == "deadline" else begin_and_wait)(shop, order_id)
        if ending == "failure":
            no = Answer(answer="failure", reason="The customer keeps them")
            await answer(shop.client, shop.database, handle.id, AWAIT, no, by="test")
        elif ending == "cancel":
            await handle.cancel()
        await asyncio.wait_for(wait_for_end(handle), 60)
        assert await return_labels(shop, handle) == {"bought": 1, "live": 0}
    status = (await handle.describe()).status
    if ending == "cancel":
        assert status == WorkflowExecutionStatus.CANCELED
    else:
        assert (await result_of(handle)).status == ("refused" if ending == "failure" else "not_returned")
    assert len(shop.mails("return-closed", return_id(handle))) == 1
    assert len(shop.mails("return-missing", return_id(handle))) == (ending == "deadline")
    assert await lines(shop) == [(0, 0)]
    assert await shop.data.sql("SELECT state FROM order_returns") == ["closed"]
    await assert_sound(shop)


async def test_a_label_that_the_carrier_refuses_closes_the_return_and_a_retry_opens_it_again(
    shop: RunningShop, order_id: str
) -> None:  # (R2)
    async with shop.worker():
        await shop.process(order_id)
        await shop.inject_carrier_fault(operation="buy", fault="422", order_id=order_id)
        handle = await begin(shop, order_id)
        with pytest.raises(CarrierRefused):
            await result_of(handle)
        assert await lines(shop) == [(0, 0)]
        assert len(shop.mails("return-failed", return_id(handle))) == 1
        assert shop.mails("return-closed") == []  # the customer knows nothing of it
        await shop.clear_carrier_faults()
        await retry(shop.client, shop.database, handle.id, reason="the address is right now")
        again = shop.client.get_workflow_handle(handle.id)
        await until(lambda: is_waiting(again, AWAIT))
        assert await lines(shop) == [(0, UNITS)]
        await receive(shop, again)
        assert (await result_of(again)).status == "returned"
    await assert_sound(shop)


async def test_a_return_label_that_was_used_is_not_refunded_when_the_return_is_closed(
    shop: RunningShop, order_id: str
) -> None:  # (R6)
    async with shop.worker():
        await shop.process(order_id)
        handle = await begin_and_wait(shop, order_id)
        async with carrier_client(shop.carrier_url) as http:
            await http.post("/trial/states", json={"order_id": order_id, "tracker": "in_transit"})
        await shop.inject_carrier_fault(operation="refund", fault="422", order_id=order_id)
        no = Answer(answer="failure")
        await answer(shop.client, shop.database, handle.id, AWAIT, no, by="test")
        assert (await result_of(handle)).status == "refused"
    assert await lines(shop) == [(0, 0)]
    await assert_sound(shop)


async def test_a_refund_that_is_refused_is_due_and_a_retry_makes_it(
    shop: RunningShop, payments: EmbeddedPayments, order_id: str
) -> None:  # (R4)
    await payments.inject_fault("refund", "402")
    async with shop.worker():
        await shop.process(order_id)
        handle = await begin_and_wait(shop, order_id, units=2)
        await receive(shop, handle)
        result = await result_of(handle)
        assert (result.status, result.refunded, result.refund_due) == ("refund_due", 0, 2 * PRICE)
        assert len(shop.mails("refund-due", order_id)) == 1
        await retry(shop.client, shop.database, handle.id, reason="the card works again")
        result = await result_of(shop.client.get_workflow_handle(handle.id))
    assert (result.status, result.units, result.restocked, result.refunded) == ("returned", 2, 2, 2 * PRICE)
    assert await payments.refunds(f"pi_{order_id}") == [2 * PRICE]
    assert [kind for kind, *_ in await shop.data.events()].count("order.returned") == 1
    await assert_sound(shop)


async def test_a_refund_at_the_shop_is_waited_for(shop: RunningShop) -> None:  # (P3, R4)
    order_id = uuid4().hex
    await shop.data.order(order_id, MUG=UNITS, columns={"payment_reference": "c123.1"})
    async with shop.worker():
        await shop.process(order_id)
        handle = await begin_and_wait(shop, order_id, units=1)
        await receive(shop, handle)
        await until(lambda: is_waiting(handle, "refund-at-shop"))
        [mail] = shop.mails("refund-at-shop", order_id)
        assert "£2.50" in mail["Subject"]
        assert handle.id in mail.get_body(("plain",)).get_content()  # type: ignore[union-attr]
        yes = Answer(answer="success")
        await answer(shop.client, shop.database, handle.id, "refund-at-shop", yes, by="test")
        assert (await result_of(handle)).refunded == PRICE
    await assert_sound(shop)


async def test_a_return_whose_run_was_terminated_is_asked_for_anew(shop: RunningShop, order_id: str) -> None:  # (W6)
    async with shop.worker():
        await shop.process(order_id)
        handle = await begin_and_wait(shop, order_id)
        await handle.terminate()
        assert [finding.rule for finding in await shop.findings()] != []
        await retry(shop.client, shop.database, handle.id, reason="it was terminated")
        again = shop.client.get_workflow_handle(handle.id)
        await until(lambda: is_waiting(again, AWAIT))
        counts = await shop.labels(order_id)
        assert (counts["bought"], counts["refunded"]) == (3, 1)  # one took the goods to the customer
        assert await lines(shop) == [(0, UNITS)]
        await receive(shop, again)
        assert (await result_of(again)).restocked == UNITS
    await assert_sound(shop)


async def test_a_cancel_after_any_event_closes_the_return_or_takes_the_goods_back(
    shop: RunningShop, payments: EmbeddedPayments
) -> None:  # (E10, R6)
    async def reaches(handle: WorkflowHandle[Any, Any], length: int) -> bool | None:
        ended = (await handle.describe()).status != WorkflowExecutionStatus.RUNNING
        return ended or len((await handle.fetch_history()).events) >= length or None

    orders = [await paid_order(shop, payments) for _ in range(10)]
    await shop.data.add_stock("MUG", main=UNITS * len(orders) - 10)
    async with shop.worker():
        await asyncio.gather(*(shop.process(order_id) for order_id in orders))
        for number, order_id in enumerate(orders):
            handle = await begin(shop, order_id)
            if number >= len(orders) // 2:
                await until(lambda handle=handle: is_waiting(handle, AWAIT))  # type: ignore[misc]
                await receive(shop, handle)
                length = 2 * number + 16
            else:
                length = 2 + 4 * number
            await until(lambda handle=handle, length=length: reaches(handle, length))  # type: ignore[misc]
            with suppress(RPCError):  # it has just ended
                await handle.cancel()
            await wait_for_end(handle)
            cancelled = (await handle.describe()).status == WorkflowExecutionStatus.CANCELED
            assert await payments.refunds(f"pi_{order_id}") == ([] if cancelled else [UNITS * PRICE]), number
            [state] = await shop.data.sql("SELECT state FROM order_returns WHERE order_id = :id", id=order_id) or [
                "none"
            ]
            assert state in (("none", "closed") if cancelled else ("completed",)), number
    assert await shop.data.sql("SELECT sum(returning_quantity) FROM order_lines") == [0]
    await assert_sound(shop)
