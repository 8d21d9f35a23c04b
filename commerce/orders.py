"""Orders: which may be processed, and how they become fulfilled, refused or held."""

from datetime import date

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import approvals, notifications, outbox
from commerce.errors import (
    FulfilledElsewhere,
    FulfillmentMissing,
    OrderCancelled,
    OrderChanged,
    OrderHasNoLines,
    OrderNotFound,
    OrderNotReleased,
    OrderRestocked,
    PartlyFulfilled,
    PaymentNotCaptured,
    UnknownVariant,
    VariantWithoutItems,
)
from commerce.messages.events import OrderFulfilled, OrderShort
from commerce.messages.orders import CompletedOrder, Hold, OrderRef, Refusal, ValidOrder, shipped_key
from commerce.open_orders import IS_CAPTURED_HERE, IS_HELD, IS_OPEN, IS_PAID, NEEDS_VARIANT, is_short
from commerce.outbox import NewEvent
from commerce.review_rules import NO_REVIEW, ReviewRules
from commerce.shipping_rules import DEFAULT_RULES, ShippingRules

READ = text(f"""
    SELECT revision, payment_status, fulfillment_status, risk_level, coalesce(btrim(shipping_method), '') AS method,
           {IS_PAID} AS paid, {IS_CAPTURED_HERE} AS captured_here,
           CASE WHEN approved_revision >= decisive_revision THEN approved_reasons END AS approved,
           cancelled_at IS NOT NULL OR payment_status = 'cancelled' AS cancelled,
           cancellation IS NOT NULL AS taken_back,
           coalesce(email, '') <> '' AS has_email, total, currency, billing_country, shipping_country,
           ships, lines, units, refunded_units, knows_refunds, unknown, unknown_sku, empty_variant_id
    FROM orders, LATERAL (
        SELECT count(*) FILTER (WHERE line.quantity > 0) AS lines, coalesce(sum(line.quantity), 0) AS units,
               coalesce(sum(line.refunded_quantity), 0) AS refunded_units,
               coalesce(bool_and(line.refunded_quantity IS NOT NULL), false) AS knows_refunds,
               coalesce(bool_or(line.requires_shipping) FILTER (WHERE line.quantity > 0), false) AS ships,
               count(*) FILTER (WHERE {NEEDS_VARIANT}) AS unknown,
               (array_agg(line.sku ORDER BY position) FILTER (WHERE {NEEDS_VARIANT}))[1] AS unknown_sku,
               (array_agg(variant.id ORDER BY position) FILTER (
                   WHERE line.quantity > 0 AND variant.manage_inventory AND NOT EXISTS (
                       SELECT FROM variant_inventory_items AS part WHERE part.variant_id = variant.id)
               ))[1] AS empty_variant_id
        FROM order_lines AS line LEFT JOIN variants AS variant ON variant.id = line.variant_id
        WHERE line.order_id = orders.id AND (line.quantity > 0 OR line.refunded_quantity > 0)
    ) AS line
    WHERE orders.id = :order_id
""")  # noqa: S608 - our own constants
# NO KEY: inserts that only refer to the order, such as a notification or a reservation, need not wait.
LOCK = text("SELECT id FROM orders WHERE id = :order_id FOR NO KEY UPDATE")
LOCK_REVISION = text("SELECT decisive_revision FROM orders WHERE id = :order_id FOR NO KEY UPDATE")
# A fulfilled order's mail was queued with its fulfillment, and upkeep deletes it only after it was sent.
FULFILLED = text("""
    SELECT array_agg(CAST(fulfillment.id AS text) ORDER BY position) AS fulfillment_ids,
           array_remove(array_agg(tracking_number ORDER BY position), NULL) AS tracking_numbers,
           coalesce((SELECT status = 'sent' FROM notifications WHERE key = :notification_key),
                    email <> '' AND fulfillment_status = 'fulfilled', false) AS notification_sent
    FROM fulfillments AS fulfillment JOIN orders ON orders.id = order_id
    WHERE order_id = :order_id AND fulfillment.cancelled_at IS NULL GROUP BY orders.id
""")
LOCK_TO_COMPLETE = text("""
    SELECT decisive_revision, fulfillment_status,
           cancelled_at IS NOT NULL OR payment_status = 'cancelled' OR cancellation IS NOT NULL AS cancelled,
           email, total, currency, coalesce(btrim(shipping_method), '') AS method,
           (SELECT coalesce(bool_or(requires_shipping), false) FROM order_lines
            WHERE order_id = orders.id AND quantity > 0) AS ships,
           (SELECT CAST(sum(quantity) AS bigint) FROM order_lines WHERE order_id = orders.id) AS units
    FROM orders WHERE id = :order_id FOR NO KEY UPDATE
""")
MARK_FULFILLED = text("""
    WITH completed AS (
        UPDATE fulfillments SET completed_at = statement_timestamp() WHERE order_id = :order_id AND cancelled_at IS NULL
    )
    UPDATE orders
    SET fulfillment_status = 'fulfilled', hold_reason = NULL, held_by = NULL, refused_at = NULL,
        waits_for_backorders = NULL
    WHERE id = :order_id
""")
# Only orders that `process-pending-orders` would start need a hold. An order whose lines were linked to variants after
# its run had looked for these needs none.
HOLD = text(f"""
    UPDATE orders SET hold_reason = :reason, held_by = :held_by WHERE id = :order_id AND {IS_OPEN}
    AND (:reason <> 'failed: UnknownVariant'
         OR EXISTS (SELECT FROM order_lines AS line WHERE order_id = orders.id AND {NEEDS_VARIANT}))
""")  # noqa: S608 - our own constants
# The hold of a run is none for that run, which may try again if its answer was lost.
READ_HOLD = text(f"SELECT {IS_HELD} AND held_by IS DISTINCT FROM :run FROM orders WHERE id = :order_id")  # noqa: S608
CLEAR_HOLD = text("""
    UPDATE orders SET hold_reason = NULL, held_by = NULL, waits_for_backorders = NULL
    WHERE id = :order_id AND (hold_reason IS NOT NULL OR waits_for_backorders IS NOT NULL)
""")
END_WAIT = text("""
    UPDATE orders SET waits_for_backorders = NULL WHERE id = :order_id AND waits_for_backorders IS NOT NULL
""")


# An order waits for units on backorder if some are missing now: without them it would only be refused again (I5).
MARK_REFUSED = text(f"""
    UPDATE orders SET refused_at = :at, waits_for_backorders = {is_short(items="bool_or(allow_backorder)")}
    WHERE id = :order_id AND fulfillment_status <> 'fulfilled' RETURNING id
""")  # noqa: S608 - our own constants


async def lock(tx: AsyncSession, order_id: str) -> bool:
    """Lock the order, so that changes to it take turns (V4). Return False if there is no such order."""
    return (await tx.execute(LOCK, {"order_id": order_id})).one_or_none() is not None


async def validate(
    tx: AsyncSession, order_id: str, rules: ShippingRules = DEFAULT_RULES, reviews: ReviewRules = NO_REVIEW
) -> ValidOrder:
    """Return what processing the order needs, or the result of an earlier run if it is fulfilled (V5). Writes nothing.

    Raises OrderNotFound, OrderCancelled, FulfilledElsewhere, PartlyFulfilled, OrderRestocked, OrderNotReleased,
    PaymentNotCaptured, OrderHasNoLines, UnknownVariant, VariantWithoutItems (V1), and FulfillmentMissing for a
    fulfilled order without a fulfillment. Unless a person has approved the order as it is: HighRisk, PartlyRefunded,
    and, if `rules` hold such orders, NoShippingMethod. An order of high risk that is reviewed raises no HighRisk.
    """
    order = (await tx.execute(READ, {"order_id": order_id})).one_or_none()
    if order is None:
        raise OrderNotFound(order_id)
    if order.taken_back:
        raise OrderCancelled(order_id)
    fulfilled = await _fulfilled(tx, order_id) if order.fulfillment_status == "fulfilled" else None
    if fulfilled is None:
        _check_status(order_id, order)
        _check_lines(order_id, order)
        approvals.raise_unless_approved(order_id, order, rules, is_risk_reviewed=reviews.risk)
    return ValidOrder(
        order_id=order_id,
        revision=order.revision,
        lines=order.lines,
        units=order.units,
        needs_label=order.ships and rules.buys_label(order.method),
        has_email=order.has_email,
        review=[] if fulfilled else reviews.reasons(order),
        captures=order.captured_here and not fulfilled,
        fulfilled=fulfilled,
    )


async def raise_if_changed(tx: AsyncSession, order: OrderRef) -> None:
    """Lock the order, and raise OrderChanged if a change since the process has read it matters to processing."""
    decisive = (await tx.execute(LOCK_REVISION, {"order_id": order.order_id})).scalar_one_or_none()
    check_revision(order.order_id, order.revision, decisive)


def check_revision(order_id: str, revision: int | None, decisive: int | None) -> None:
    """Raise OrderChanged if the order's `decisive` revision is later than the one that the process has read."""
    if revision is not None and decisive is not None and revision < decisive:
        raise OrderChanged(order_id)


async def complete(
    tx: AsyncSession, order_id: str, revision: int | None = None, rules: ShippingRules = DEFAULT_RULES
) -> CompletedOrder:
    """Mark the order as fulfilled, write `order.fulfilled` and queue the customer's mail, all once (V8).

    `revision`: the one that the process has read. Raises OrderNotFound, FulfillmentMissing, OrderCancelled, and
    OrderChanged if a later change matters to processing.
    """
    order = (await tx.execute(LOCK_TO_COMPLETE, {"order_id": order_id})).one_or_none()
    if order is None:
        raise OrderNotFound(order_id)
    fulfilled = await _fulfilled(tx, order_id)
    if order.fulfillment_status == "fulfilled":
        return fulfilled
    check_revision(order_id, revision, order.decisive_revision)
    if order.cancelled:
        raise OrderCancelled(order_id)
    await tx.execute(MARK_FULFILLED, {"order_id": order_id})
    pickup = order.ships and rules.is_pickup(order.method)
    await _write_event_and_mail(tx, order_id, order, fulfilled, pickup=pickup)
    return fulfilled


async def hold(tx: AsyncSession, hold: Hold, run: str | None = None) -> None:
    """Put an order on hold, unless it is unknown or not open. Raises OrderChanged.

    `run`: the generation of the run that was refused.
    """
    await raise_if_changed(tx, hold)
    await tx.execute(HOLD, hold.model_dump() | {"held_by": run})


async def clear_hold(tx: AsyncSession, order_id: str) -> None:
    """End the hold of an order, or its wait for stock, because it is processed now."""
    await tx.execute(CLEAR_HOLD, {"order_id": order_id})


async def end_wait(tx: AsyncSession, order_id: str) -> None:
    """End the wait of an order for stock, because it is processed now; it stays on hold if it is."""
    await tx.execute(END_WAIT, {"order_id": order_id})


async def is_held(tx: AsyncSession, order_id: str, run: str) -> bool:
    """Return whether the order is on hold, unless the run of this generation has put it there."""
    return bool((await tx.execute(READ_HOLD, {"order_id": order_id, "run": run})).scalar_one_or_none())


async def refuse(tx: AsyncSession, refusal: Refusal, day: date) -> None:
    """Record that stock was too short, and write `order.insufficient_inventory` once per order and day (V2, N3).

    `day` is the shop's calendar day. Does nothing for a fulfilled or unknown order. Raises OrderChanged.
    """
    await raise_if_changed(tx, refusal)
    values = {"order_id": refusal.order_id, "at": refusal.at}
    if (await tx.execute(MARK_REFUSED, values)).one_or_none() is None:
        return
    data = OrderShort(order_id=refusal.order_id, count=refusal.count, items=refusal.items)
    key = f"{refusal.order_id}/{day.isoformat()}"
    await outbox.add(tx, NewEvent.from_data(data, aggregate=f"order/{refusal.order_id}", key=key))


def _check_status(order_id: str, order: Row[tuple[object, ...]]) -> None:
    if order.cancelled:
        raise OrderCancelled(order_id)
    if order.fulfillment_status == "fulfilled_elsewhere":
        raise FulfilledElsewhere(order_id)
    if order.fulfillment_status == "partially_fulfilled":
        raise PartlyFulfilled(order_id)
    if order.fulfillment_status == "restocked":
        raise OrderRestocked(order_id)
    if order.fulfillment_status in ("scheduled", "on_hold"):
        raise OrderNotReleased(order_id)
    if not order.paid:
        raise PaymentNotCaptured(order_id, order.payment_status)


def _check_lines(order_id: str, order: Row[tuple[object, ...]]) -> None:
    if order.lines == 0:
        raise OrderHasNoLines(order_id)
    if order.unknown:
        raise UnknownVariant(order_id, order.unknown_sku, order.unknown)
    if order.empty_variant_id is not None:
        raise VariantWithoutItems(order.empty_variant_id)


async def _fulfilled(tx: AsyncSession, order_id: str) -> CompletedOrder:
    values = {"order_id": order_id, "notification_key": shipped_key(order_id)}
    row = (await tx.execute(FULFILLED, values)).mappings().one_or_none()
    if row is None:
        raise FulfillmentMissing(order_id)
    first = next(iter(row["tracking_numbers"]), None)
    return CompletedOrder(fulfillment_id=row["fulfillment_ids"][0], tracking_number=first, **row)


async def _write_event_and_mail(
    tx: AsyncSession, order_id: str, order: Row[tuple[object, ...]], fulfilled: CompletedOrder, *, pickup: bool
) -> None:
    data = OrderFulfilled(
        order_id=order_id,
        fulfillment_id=fulfilled.fulfillment_id,
        fulfillment_ids=fulfilled.fulfillment_ids,
        units=order.units,
        total=order.total,
        currency=order.currency,
    )
    await outbox.add(tx, NewEvent.from_data(data, aggregate=f"order/{order_id}", key=order_id))
    if order.email:
        await notifications.queue(
            tx,
            key=shipped_key(order_id),
            kind="order-shipped",
            data={"pickup": True} if pickup else {},
            recipient=order.email,
            order_id=order_id,
        )
