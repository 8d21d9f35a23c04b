"""Orders that the warehouse picks and whose payment is captured, with workers killed inside those steps (E11)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.client import Client

from commerce.messages.orders import order_process_id
from commerce.messages.picks import PickLine
from starter.operate.picks import answer_pick
from tests.payment_provider import EmbeddedPayments
from tests.polling import until
from tests.running_shop import RunningShop, running_shop, wait_for_end
from tests.system.test_kill import CANCEL_ORDER_FUNCTION, CANCEL_ORDER_TRIGGER
from tests.system.workers import WorkerProcesses, points_by_outcome

pytestmark = pytest.mark.waits(70)

# The first part of an order's id is its expected outcome; the rest is the point where the worker hangs when killed.
ASKING = """
    fulfilled  open-wait          before after
    fulfilled  await-pick         before before-request after-request after
"""
ANSWERED = """
    fulfilled  capture-payment    before before-capture after-capture after
    fulfilled  complete-order     before after
    short      record-short-pick  before after
    cancelled  capture-payment    after-capture
    cancelled  refund-capture     before before-refund after-refund after
    cancelled  withdraw-pick      before before-cancel after-cancel after
"""
PAID = 250  # minor units
DEADLINE = 180  # seconds
ANSWERS = "SELECT CAST(id AS text), business_key FROM picks WHERE missing IS NULL AND withdrawn_at IS NULL"
# The shop cancels an order while its label is bought, so that it is undone after the capture.
ENDS = {
    "fulfilled": ("fulfilled", "captured", (PAID, 0), 1),
    "short": ("fulfilled", "captured", (PAID, 0), 1),
    "cancelled": ("not_fulfilled", "refunded", (PAID, PAID), 0),
}


@pytest.fixture
async def shop(
    tmp_path: Path, database_url: str, client: Client, payments: EmbeddedPayments
) -> AsyncIterator[RunningShop]:
    async with running_shop(tmp_path, database_url, client) as running:
        await running.data.owner_sql(CANCEL_ORDER_FUNCTION)
        await running.data.owner_sql(CANCEL_ORDER_TRIGGER)
        yield running


@pytest.fixture
def worker_settings(payments: EmbeddedPayments) -> dict[str, str]:
    return payments.settings | {
        "COMMERCE_CAPTURE": "on_fulfillment",
        "COMMERCE_FULFILLMENT": "confirmed",
        "COMMERCE_PART_SHIPMENTS": "on",
        "COMMERCE_WAREHOUSE_SECRETS": "the-secret-of-the-warehouse",
    }


async def answer_all(shop: RunningShop, number: int) -> None:
    """Answer all picks once the warehouse has that many. Those named short lack one of two units."""

    async def all_wait() -> list[tuple[str, str]] | None:
        found = await shop.data.sql(ANSWERS)
        return found if len(found) == number == len(await warehouse_picks(shop)) else None

    for pick_id, process in await until(all_wait, DEADLINE):
        units = 1 if process.startswith(order_process_id("short")) else 2
        await answer_pick(shop.client, shop.database, pick_id, [PickLine(sku="MUG", quantity=units)])


async def warehouse_picks(shop: RunningShop) -> list[dict[str, Any]]:
    """Return the picks that the warehouse was asked for."""
    async with httpx.AsyncClient(base_url=shop.settings.warehouse_url, verify=False) as http:
        picks: list[dict[str, Any]] = (await http.get("/trial/picks")).json()
    return picks


async def test_picked_and_captured_orders_end_correctly_after_a_kill_inside_each_step(
    shop: RunningShop, payments: EmbeddedPayments, workers: WorkerProcesses
) -> None:  # (E11, K1, K3, K4, P4)
    asking, answered = points_by_outcome(ASKING), points_by_outcome(ANSWERED)
    orders = asking | answered
    await shop.data.stock("MUG", main=2 * len(orders))
    for number, order_id in enumerate(orders):
        await payments.pay(f"pi_{number}", PAID, status="requires_capture")
        columns = {"payment_reference": f"pi_{number}", "payment_status": "authorized", "total": PAID}
        await shop.data.order(order_id, MUG=2, columns=columns)
    async with httpx.AsyncClient(base_url=shop.settings.warehouse_url, verify=False) as http:
        (await http.put("/trial/picks", json={"silent": True})).raise_for_status()

    first = await workers.start_pausing(asking)
    await asyncio.gather(*(shop.start(order_id) for order_id in orders))
    await workers.wait_until_hanging(*asking)
    await first.kill()

    second = await workers.start_pausing(answered)
    await answer_all(shop, len(orders))
    await workers.wait_until_hanging(*answered)
    await second.kill()

    await workers.start()
    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(*(wait_for_end(shop.handle(order_id)) for order_id in orders))
    ends = {}
    for number, order_id in enumerate(orders):
        money = await payments.payment(f"pi_{number}")
        ends[order_id] = (
            *await shop.data.order_columns(order_id, "fulfillment_status", "payment_status"),
            (money["payment"]["amount_received"], money["refunded"]),
            (await shop.labels(order_id))["live"],
        )
    assert {order_id: end for order_id, end in ends.items() if end != ENDS[order_id.split(".")[0]]} == {}
    kept = sum(2 for order_id in orders if not order_id.startswith("cancelled"))
    assert await shop.data.levels("MUG") == {"main": (2 * len(orders) - kept, 0)}
    picks = await warehouse_picks(shop)
    assert sorted(pick["body"]["order"] for pick in picks) == sorted(orders)
    cancelled = {pick["body"]["order"] for pick in picks if pick["state"] == "cancelled"}
    assert cancelled == {order_id for order_id in orders if order_id.startswith("cancelled")}
    assert await shop.data.breaches() == []
    assert await shop.findings() == []
