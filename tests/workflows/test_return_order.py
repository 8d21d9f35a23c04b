"""Test that `return-order` takes goods back once, refunds what is due, and closes what does not come back (R1 to R6)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
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
from tests.payment_provider import EmbeddedPayments, embedded_payments
from tests.polling import until
from tests.running_shop import RunningShop, carrier_client, running_shop, wait_for_end

PRICE = 250
UNITS = 3  # of an order


@pytest.fixture
async def payments(tmp_path: Path) -> AsyncIterator[EmbeddedPayments]:
    async with embedded_payments(tmp_path / "payments") as embedded:
        yield embedded


@pytest.fixture
async def shop(
    tmp_path: Path, database_url: str, client: Client, payments: EmbeddedPayments
) -> AsyncIterator[RunningShop]:
    """A shop with ten mugs that refunds payments at the embedded provider."""
    settings = {"COMMERCE_PAYMENTS": "stripe", "COMMERCE_PAYMENTS_URL": payments.api, "COMMERCE_PAYMENTS_API_KEY": "k"}
    async with running_shop(tmp_path, database_url, client, **settings) as shop:
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
    assert [data["units"] for kind, _, data in await shop.data.events() if kind == "order.returned"] == [2]
    [mail] = shop.mails("order-returned", return_id(handle))
    assert "£5.00" in mail.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    await assert_sound(shop)
