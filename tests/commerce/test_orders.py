"""Orders: validation (V1, V6), completion (V8), refusals and holds."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from commerce import approvals, backlog, fulfillment, inventory, open_orders, orders, outbox, shipments, upkeep
from commerce.database import Database
from commerce.errors import (
    FulfilledElsewhere,
    FulfillmentMissing,
    HighRisk,
    NoShippingMethod,
    OrderCancelled,
    OrderHasNoLines,
    OrderNotFound,
    OrderNotReleased,
    OrderRefused,
    OrderRestocked,
    PartlyFulfilled,
    PartlyRefunded,
    PaymentNotCaptured,
    UnknownVariant,
    VariantWithoutItems,
)
from commerce.messages.orders import CompletedOrder, Hold, InsufficientItem, Label, LabelRequest, Refusal, ValidOrder
from commerce.messages.pending_orders import PendingPageRequest
from commerce.shipping_rules import ShippingRules
from tests.commerce.shop import NOON, Shop

TODAY = NOON.date()


@pytest.fixture
async def shop(database: Database) -> AsyncIterator[Shop]:
    shop = Shop(database)
    await shop.stock("MUG", main=10)
    yield shop
    assert await shop.breaches() == []


async def fulfill(shop: Shop, order_id: str) -> CompletedOrder:
    await shop.call(inventory.reserve, order_id)
    await shop.call(fulfillment.create, order_id)
    return await shop.call(orders.complete, order_id)


async def test_a_paid_order_is_valid(shop: Shop) -> None:
    await shop.order("1", ("MUG", 2), ("MUG", 3))
    assert await shop.call(orders.validate, "1") == ValidOrder(
        order_id="1", revision=1, lines=2, units=5, needs_label=True, has_email=True
    )


async def test_v1_an_unknown_order_is_not_found(shop: Shop) -> None:
    with pytest.raises(OrderNotFound):
        await shop.call(orders.validate, "1")


@pytest.mark.parametrize(
    ("facts", "error"),
    [
        ({"cancelled_at": NOON}, OrderCancelled),
        ({"payment_status": "cancelled"}, OrderCancelled),
        ({"payment_status": "awaiting"}, PaymentNotCaptured),
        ({"payment_status": "authorized"}, PaymentNotCaptured),
        ({"payment_status": "partially_captured"}, PaymentNotCaptured),
        ({"payment_status": "refunded"}, PaymentNotCaptured),
        ({"payment_status": "partially_refunded"}, PartlyRefunded),
        ({"risk_level": "high"}, HighRisk),
        ({"fulfillment_status": "fulfilled_elsewhere"}, FulfilledElsewhere),
        ({"fulfillment_status": "partially_fulfilled"}, PartlyFulfilled),
        ({"fulfillment_status": "restocked"}, OrderRestocked),
        ({"fulfillment_status": "scheduled"}, OrderNotReleased),
        ({"fulfillment_status": "on_hold"}, OrderNotReleased),
        ({"payment_status": "expired"}, PaymentNotCaptured),
    ],
)
async def test_v1_an_order_that_may_not_be_processed_is_refused_with_its_own_error(
    shop: Shop, facts: dict[str, Any], error: type[OrderRefused]
) -> None:
    await shop.order("1", MUG=1, columns=facts)
    with pytest.raises(error) as refusal:
        await shop.call(orders.validate, "1")
    assert refusal.value.order_id == "1"


async def test_v1_an_order_without_lines_is_refused(shop: Shop) -> None:
    await shop.order("1")
    with pytest.raises(OrderHasNoLines):
        await shop.call(orders.validate, "1")


async def test_v1_unknown_skus_are_counted_and_the_first_is_named(shop: Shop) -> None:
    await shop.order("1", ("MUG", 1), ("???", 1), ("", 1))
    with pytest.raises(UnknownVariant) as error:
        await shop.call(orders.validate, "1")
    assert (error.value.sku, error.value.count) == ("???", 2)


async def test_v1_a_managed_variant_needs_items(shop: Shop) -> None:
    await shop.variant("VOID", items={})
    await shop.variant("SERVICE", items={}, managed=False)
    await shop.order("1", MUG=1, SERVICE=1)
    await shop.call(orders.validate, "1")
    await shop.order("2", SERVICE=1, VOID=1)
    with pytest.raises(VariantWithoutItems, match="VOID"):
        await shop.call(orders.validate, "2")


@pytest.mark.parametrize(
    ("method", "requires_shipping", "needs_label"),
    [("Standard", True, True), (None, True, False), (" ", True, False), ("Standard", False, False)],
)
async def test_v6_a_label_needs_a_shipping_method_and_a_line_to_ship(
    shop: Shop, method: str | None, requires_shipping: bool, needs_label: bool
) -> None:
    await shop.order("1", MUG=1, columns={"shipping_method": method})
    await shop.sql("UPDATE order_lines SET requires_shipping = :value", value=requires_shipping)
    assert (await shop.call(orders.validate, "1")).needs_label is needs_label


@pytest.mark.parametrize(
    ("method", "pickup"),
    [
        ("Pickup", True), ("Local PICK-UP (main street)", True), ("Abholung im Laden", True),
        ("UPS Access Point pickup", False), ("Standard", False),
    ],
)  # fmt: skip
async def test_v6_no_label_is_bought_for_goods_that_are_picked_up(shop: Shop, method: str, pickup: bool) -> None:
    await shop.order("1", MUG=1, columns={"shipping_method": method})
    valid = await shop.call(orders.validate, "1")
    assert valid.needs_label is not pickup
    assert (await shop.call(orders.validate, "1", ShippingRules(pickup_methods=["other"]))).needs_label
    await fulfill(shop, "1")
    assert await shop.sql("SELECT kind, data FROM notifications") == [
        ("order-shipped", {"pickup": True} if pickup else {})
    ]


async def test_v6_goods_without_a_shipping_method_wait_for_a_person_if_the_shop_wants_that(shop: Shop) -> None:
    await shop.order("1", MUG=1, columns={"shipping_method": " "})
    await shop.order("2", MUG=1, columns={"shipping_method": None})
    await shop.sql("UPDATE order_lines SET requires_shipping = false WHERE order_id = '2'")
    rules = ShippingRules(no_method="hold")
    assert not (await shop.call(orders.validate, "1")).needs_label
    with pytest.raises(NoShippingMethod):
        await shop.call(orders.validate, "1", rules)
    await shop.call(orders.validate, "2", rules)  # needs no shipping


async def test_v1_a_line_without_sku_that_needs_no_shipping_needs_no_variant(shop: Shop) -> None:
    await shop.order("1", ("MUG", 1), ("", 1))
    await shop.order("2", ("", 1))
    await shop.order("3", ("???", 1))
    with pytest.raises(UnknownVariant):
        await shop.call(orders.validate, "1")
    await shop.sql("UPDATE order_lines SET requires_shipping = false WHERE variant_id IS NULL")
    for order_id in ("1", "2"):
        await shop.call(orders.validate, order_id)
        await shop.call(inventory.check, order_id)
        await fulfill(shop, order_id)
        await shop.sql("UPDATE notifications SET status = 'sent'")
    with pytest.raises(UnknownVariant):
        await shop.call(orders.validate, "3")
    assert await shop.levels("MUG") == {"main": (9, 0)}


async def test_v10_orders_of_some_payment_methods_are_open_before_they_are_paid(shop: Shop) -> None:
    await shop.order("cod", MUG=1, columns={"payment_status": "awaiting", "payment_method": " Cash on Delivery (COD)"})
    await shop.order("bank", MUG=1, columns={"payment_status": "awaiting", "payment_method": "Bank Deposit"})
    await shop.order("none", MUG=1, columns={"payment_status": "awaiting"})
    await shop.order("part", MUG=1, columns={"payment_status": "partially_captured", "payment_method": "Bank Deposit"})
    assert await pending(shop) == []
    await shop.call(open_orders.set_unpaid_methods, ["cash on delivery (COD)", "Cheque"])
    assert await pending(shop) == ["cod"]
    assert await shop.call(open_orders.is_open, "cod") and not await shop.call(open_orders.is_open, "bank")
    await shop.call(orders.validate, "cod")
    with pytest.raises(PaymentNotCaptured):
        await shop.call(orders.validate, "none")
    await shop.call(orders.hold, Hold(order_id="cod", reason="failed: CarrierRefused"))
    assert await pending(shop) == []
    await shop.call(open_orders.set_unpaid_methods, ["Bank Deposit", "bank deposit "])  # the setting has changed
    assert await pending(shop) == ["bank"]
    await shop.call(open_orders.set_unpaid_methods, [])
    assert await pending(shop) == []


async def test_v10_only_an_open_order_is_on_hold(shop: Shop) -> None:
    held = {"hold_reason": "failed: CarrierRefused"}
    await shop.order("open", MUG=1, columns=held)
    await shop.order("refunded", MUG=1, columns=held | {"payment_status": "refunded"})
    await shop.order("cancelled", MUG=1, columns=held | {"cancelled_at": NOON})
    await shop.order("cod", MUG=1, columns=held | {"payment_status": "awaiting", "payment_method": "COD"})
    assert (await shop.call(backlog.measure)).held_orders == 1
    assert await shop.call(orders.is_held, "open", "run")
    for order_id in ("refunded", "cancelled", "cod"):
        assert not await shop.call(orders.is_held, order_id, "run")
    await shop.call(open_orders.set_unpaid_methods, ["COD"])
    assert (await shop.call(backlog.measure)).held_orders == 2
    assert await shop.call(orders.is_held, "cod", "run")


async def test_a_line_that_its_shop_has_fulfilled_by_itself_needs_no_variant(shop: Shop) -> None:
    await shop.order("1", ("MUG", 1), ("GIFT-50", 1))
    await shop.sql("UPDATE order_lines SET requires_shipping = false WHERE sku = 'GIFT-50'")
    with pytest.raises(UnknownVariant):
        await shop.call(orders.validate, "1")
    await shop.sql("UPDATE order_lines SET fulfillment_status = 'fulfilled_elsewhere' WHERE sku = 'GIFT-50'")
    await shop.call(orders.validate, "1")
    await fulfill(shop, "1")


async def pending(shop: Shop) -> list[str]:
    return (await shop.call(open_orders.list_pending, PendingPageRequest(limit=100))).order_ids


@pytest.mark.parametrize(
    ("facts", "error"),
    [({"payment_status": "partially_refunded"}, "PartlyRefunded"), ({"risk_level": "high"}, "HighRisk")],
)
async def test_v10_what_a_person_must_decide_is_held_until_they_start_it(
    shop: Shop, facts: dict[str, Any], error: str
) -> None:
    await shop.order("1", MUG=1, columns=facts)
    assert await pending(shop) == ["1"]  # its run holds it and alerts the admins
    await shop.call(orders.hold, Hold(order_id="1", reason=f"failed: {error}"), "run 1")
    assert await pending(shop) == []
    await shop.call(approvals.approve, "1", "run 1")  # the same run's second attempt at its first step
    await shop.call(orders.clear_hold, "1")
    with pytest.raises(OrderRefused):
        await shop.call(orders.validate, "1")
    await shop.call(orders.hold, Hold(order_id="1", reason=f"failed: {error}"), "run 1")
    await shop.call(approvals.approve, "1", "run 2")
    await shop.call(orders.clear_hold, "1")
    await shop.call(orders.validate, "1")
    await shop.sql("UPDATE orders SET revision = revision + 1, decisive_revision = revision + 1")
    with pytest.raises(OrderRefused):
        await shop.call(orders.validate, "1")


async def test_v6_one_line_to_ship_is_enough(shop: Shop) -> None:
    await shop.order("1", ("MUG", 1), ("MUG", 1))
    await shop.sql("UPDATE order_lines SET requires_shipping = false WHERE position = 1")
    assert (await shop.call(orders.validate, "1")).needs_label


@pytest.mark.parametrize("email", [None, ""])
async def test_v9_a_guest_without_an_address_is_fulfilled_without_a_mail(shop: Shop, email: str | None) -> None:
    await shop.order("1", MUG=1, columns={"email": email})
    assert not (await shop.call(orders.validate, "1")).has_email
    await fulfill(shop, "1")
    assert await shop.sql("SELECT key FROM notifications") == []


async def test_v8_completing_marks_the_order_writes_the_event_and_queues_the_mail(shop: Shop) -> None:
    await shop.order("1", MUG=2, columns={"hold_reason": "failed", "refused_at": NOON, "waits_for_backorders": True})
    await shop.call(inventory.reserve, "1")
    made = await shop.call(fulfillment.create, "1")
    label = Label(shipment_id="s", tracking_number="T1", label_url="u")
    await shop.call(shipments.record_label, LabelRequest(order_id="1"), label)
    done = await shop.call(orders.complete, "1")
    assert done == CompletedOrder(
        fulfillment_id=made.fulfillment_id,
        tracking_number="T1",
        fulfillment_ids=[made.fulfillment_id],
        tracking_numbers=["T1"],
    )
    assert await shop.order_columns("1", "fulfillment_status") == ("fulfilled",)
    assert await shop.order_columns("1", "hold_reason", "refused_at", "waits_for_backorders") == (None, None, None)
    ids = {"fulfillment_id": made.fulfillment_id, "fulfillment_ids": [made.fulfillment_id]}
    data = {"order_id": "1", "units": 2, "total": 500, "currency": "GBP"} | ids
    assert await shop.events() == [("order.fulfilled", "order/1", data)]
    assert await shop.sql("SELECT key, kind, recipient, order_id, status FROM notifications") == [
        ("order-shipped/1", "order-shipped", "ann@customer.example", "1", "queued")
    ]


async def test_v8_completing_again_or_concurrently_changes_nothing(shop: Shop) -> None:
    await shop.order("1", MUG=2)
    await shop.call(inventory.reserve, "1")
    await shop.call(fulfillment.create, "1")
    answers = await asyncio.gather(*(shop.call(orders.complete, "1") for _ in range(5)))
    assert answers == [await shop.call(orders.complete, "1")] * 5
    assert len(await shop.events()) == 1
    assert await shop.sql("SELECT count(*) FROM notifications") == [1]


async def test_v8_an_order_without_a_fulfillment_or_a_cancelled_one_is_not_completed(shop: Shop) -> None:
    with pytest.raises(OrderNotFound):
        await shop.call(orders.complete, "1")
    await shop.order("1", MUG=2)
    with pytest.raises(FulfillmentMissing):
        await shop.call(orders.complete, "1")
    await shop.call(inventory.reserve, "1")
    await shop.call(fulfillment.create, "1")
    await shop.sql("UPDATE orders SET cancelled_at = now()")
    with pytest.raises(OrderCancelled):
        await shop.call(orders.complete, "1")
    assert await shop.events() == []


async def test_v8_completing_waits_for_an_uncommitted_cancel_and_is_refused(shop: Shop) -> None:
    await shop.order("1", MUG=2)
    await shop.call(inventory.reserve, "1")
    await shop.call(fulfillment.create, "1")
    async with shop.database.transaction() as tx:
        await tx.execute(text("UPDATE orders SET cancelled_at = now()"))
        completing = asyncio.create_task(shop.call(orders.complete, "1"))
        await asyncio.sleep(0.2)
        assert not completing.done()
    with pytest.raises(OrderCancelled):
        await completing


async def test_v5_validating_a_fulfilled_order_returns_its_result(shop: Shop) -> None:
    await shop.order("1", MUG=2)
    done = await fulfill(shop, "1")
    await shop.sql("UPDATE orders SET payment_status = 'refunded', cancelled_at = now()")  # too late to have an effect
    assert (await shop.call(orders.validate, "1")).fulfilled == done
    await shop.sql("UPDATE notifications SET status = 'sent'")
    fulfilled = (await shop.call(orders.validate, "1")).fulfilled
    assert fulfilled == done.model_copy(update={"notification_sent": True})


async def test_a_mail_that_upkeep_has_deleted_counts_as_sent(shop: Shop) -> None:  # (E17)
    await shop.order("1", MUG=1)
    await shop.order("2", MUG=1, columns={"email": None})
    later = NOON + timedelta(days=36_500)
    for order_id in ("1", "2"):
        await fulfill(shop, order_id)
        assert not (await shop.call(orders.complete, order_id)).notification_sent
    assert await shop.call(upkeep.prune_notifications, later, 100) == 0
    await shop.sql("UPDATE notifications SET status = 'failed'")
    assert await shop.call(upkeep.prune_notifications, later, 100) == 0
    assert not (await shop.call(orders.complete, "1")).notification_sent
    await shop.sql("UPDATE notifications SET status = 'sent'")
    assert await shop.call(upkeep.prune_notifications, later, 100) == 1
    assert (await shop.call(orders.complete, "1")).notification_sent
    assert not (await shop.call(orders.complete, "2")).notification_sent


async def test_n3_a_refusal_writes_one_event_per_order_and_day(shop: Shop) -> None:
    item = InsufficientItem(variant_id="MUG", sku="MUG", requested=12, available=10)
    await shop.order("1", MUG=12)
    for hours in (0, 1, 24):
        at = NOON + timedelta(hours=hours)
        await shop.call(orders.refuse, Refusal(order_id="1", items=[item], count=1, at=at), at.date())
    event = ("order.insufficient_inventory", "order/1", {"order_id": "1", "count": 1, "items": [item.model_dump()]})
    assert await shop.events() == [event, event]
    assert await shop.order_columns("1", "refused_at") == (NOON + timedelta(hours=24),)


async def test_n3_an_event_is_written_once_per_key(shop: Shop) -> None:
    for number in range(2):
        event = outbox.NewEvent("order.fulfilled/1", "order.fulfilled", "order/1", {"number": number})
        await shop.call(outbox.add, event)
    assert await shop.events() == [("order.fulfilled", "order/1", {"number": 0})]
    [event_id] = await shop.sql("SELECT CAST(id AS text) FROM outbox_events")
    assert event_id == "997a7479-0d5b-5d25-8ad8-464aa845a6b1"  # must never change


async def test_a_fulfilled_or_unknown_order_is_neither_refused_nor_held(shop: Shop) -> None:
    await shop.order("1", MUG=1)
    await fulfill(shop, "1")
    for order_id in "12":
        await shop.call(orders.hold, Hold(order_id=order_id, reason="CarrierRefused"))
        await shop.call(orders.refuse, Refusal(order_id=order_id, items=[], count=0, at=NOON), date(2026, 3, 2))
        await shop.call(orders.clear_hold, order_id)
    assert await shop.order_columns("1", "hold_reason", "refused_at") == (None, None)
    assert [kind for kind, _, _ in await shop.events()] == ["order.fulfilled"]


async def test_an_order_is_on_hold_until_the_hold_is_cleared(shop: Shop) -> None:
    await shop.order("1", MUG=1)
    await shop.call(orders.hold, Hold(order_id="1", reason="CarrierRefused"))
    assert await shop.order_columns("1", "hold_reason") == ("CarrierRefused",)
    await shop.call(orders.clear_hold, "1")
    assert await shop.order_columns("1", "hold_reason") == (None,)
