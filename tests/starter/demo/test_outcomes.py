"""Each order is counted once, and only the given ones are counted."""

from typing import Any

import pytest

from commerce import fulfillment, inventory, open_orders, orders, shipments
from commerce.database import Database
from commerce.messages.orders import Hold, Label, LabelRequest, Refusal
from starter.demo import outcomes
from starter.demo.outcomes import OrderOutcomes
from tests.commerce.shop import NOON, Shop

IDS = ["1", "2", "3", "4", "5", "6", "7"]
MAIL = """INSERT INTO notifications (key, kind, recipient, order_id, status, message_id)
          VALUES (:key, :kind, :recipient, :order_id, :status, '')"""


@pytest.fixture
async def shop(database: Database) -> Shop:
    """1 fulfilled, 2 refused, 3 undone, 4 unpaid, 5 cancelled, 6 fulfilled elsewhere, 7 new; 8 is not given."""
    shop = Shop(database)
    await shop.stock("MUG", main=20)
    facts: dict[str, dict[str, Any]] = {
        "4": {"payment_status": "authorized"},
        "5": {"cancelled_at": NOON},
        "6": {"fulfillment_status": "fulfilled_elsewhere"},
    }
    for order_id in [*IDS, "8"]:
        await shop.order(order_id, MUG=2, columns=facts.get(order_id))
    for order_id in ("1", "8"):
        await shop.call(inventory.reserve, order_id)
        await shop.call(fulfillment.create, order_id)
        await shop.call(orders.complete, order_id)
    await shop.call(
        shipments.record_label, LabelRequest(order_id="1"), Label(shipment_id="s", tracking_number="t", label_url="u")
    )
    await shop.call(orders.refuse, Refusal(order_id="2", items=[], count=1, at=NOON), NOON.date())
    await shop.call(orders.hold, Hold(order_id="3", reason="failed"))
    await shop.sql("UPDATE notifications SET status = 'sent' WHERE order_id = '1'")
    for key, kind, recipient, status in [
        ("a", "insufficient-inventory", "admin@shop.example", "sent"),
        ("b", "insufficient-inventory", "webhook", "sent"),
        ("c", "order-failed", "admin@shop.example", "failed"),
    ]:
        await shop.sql(MAIL, key=key, kind=kind, recipient=recipient, order_id="2", status=status)
    return shop


async def test_outcomes(shop: Shop) -> None:
    assert await shop.call(outcomes.count_outcomes, IDS) == OrderOutcomes(
        fulfilled=1,
        taken_back=0,
        returned=0,
        refused=1,
        undone=1,
        waiting=0,
        unpaid=1,
        cancelled=1,
        fulfilled_elsewhere=1,
        units=2,
        labels=1,
        mails={"insufficient-inventory": 1, "order-shipped": 1},
        unsent=1,
    )


async def test_without_orders_all_counts_are_zero(shop: Shop) -> None:
    nothing = await shop.call(outcomes.count_outcomes, [])
    assert (nothing.fulfilled, nothing.units, nothing.mails) == (0, 0, {})


async def test_pending_orders_are_paid_and_open_in_order_of_arrival(shop: Shop) -> None:
    await shop.sql("UPDATE orders SET created_at = created_at - interval '1 day' WHERE id = '7'")
    assert await shop.call(outcomes.pending, IDS) == ["7", "2", "3"]


async def test_orders_are_open_as_everywhere_else(shop: Shop) -> None:
    await shop.order("9", MUG=2, columns={"payment_status": "awaiting", "payment_method": "COD"})
    await shop.order("10", MUG=2, columns={"payment_status": "partially_refunded", "hold_reason": "failed: X"})
    ids = ["9", "10"]
    counted = await shop.call(outcomes.count_outcomes, ids)
    assert (counted.unpaid, counted.undone) == (1, 1)
    assert await shop.call(outcomes.pending, ids) == ["10"]
    await shop.call(open_orders.set_unpaid_methods, ["cod"])
    assert await shop.call(outcomes.pending, ids) == ["10", "9"]
    assert (await shop.call(outcomes.count_outcomes, ids)).unpaid == 0


async def test_an_order_that_waits_for_its_review_counts_as_waiting(shop: Shop) -> None:
    await shop.sql("INSERT INTO process_generations VALUES ('order-processing-7', 'g', now())")
    await shop.sql(
        """INSERT INTO step_waits (business_key, generation, step, round, asked_at, until)
           VALUES ('order-processing-7', 'g', 'review-order', 1, now(), now())"""
    )
    assert (await shop.call(outcomes.count_outcomes, IDS)).waiting == 1
