"""Orders: which may be processed, and how they become fulfilled, refused or held."""

from datetime import date

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import notifications, outbox
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
from commerce.messages.pending_orders import OrderCursor, PendingIds, PendingPageRequest
from commerce.outbox import NewEvent

READ = text("""
    SELECT revision, payment_status, fulfillment_status,
           cancelled_at IS NOT NULL OR payment_status = 'cancelled' AS cancelled,
           coalesce(email, '') <> '' AS has_email,
           ships AND coalesce(btrim(shipping_method), '') <> '' AS needs_label,
           lines, units, unknown, unknown_sku, empty_variant_id
    FROM orders, LATERAL (
        SELECT count(*) AS lines, coalesce(sum(line.quantity), 0) AS units,
               coalesce(bool_or(line.requires_shipping), false) AS ships,
               count(*) FILTER (WHERE line.variant_id IS NULL) AS unknown,
               (array_agg(line.sku ORDER BY position) FILTER (WHERE line.variant_id IS NULL))[1] AS unknown_sku,
               (array_agg(variant.id ORDER BY position) FILTER (
                   WHERE variant.manage_inventory AND NOT EXISTS (
                       SELECT FROM variant_inventory_items AS part WHERE part.variant_id = variant.id)
               ))[1] AS empty_variant_id
        FROM order_lines AS line LEFT JOIN variants AS variant ON variant.id = line.variant_id
        WHERE line.order_id = orders.id AND line.quantity > 0
    ) AS line
    WHERE orders.id = :order_id
""")
# NO KEY: inserts that only refer to the order, such as a notification or a reservation, need not wait.
LOCK = text("SELECT id FROM orders WHERE id = :order_id FOR NO KEY UPDATE")
LOCK_REVISION = text("SELECT decisive_revision FROM orders WHERE id = :order_id FOR NO KEY UPDATE")
# A fulfilled order's mail was queued with its fulfillment, and upkeep deletes it only after it was sent.
FULFILLED = text("""
    SELECT CAST(fulfillment.id AS text) AS fulfillment_id, tracking_number,
           coalesce((SELECT status = 'sent' FROM notifications WHERE key = :notification_key),
                    email <> '' AND fulfillment_status = 'fulfilled', false) AS notification_sent
    FROM fulfillments AS fulfillment JOIN orders ON orders.id = order_id
    WHERE order_id = :order_id AND fulfillment.cancelled_at IS NULL
""")
LOCK_TO_COMPLETE = text("""
    SELECT decisive_revision, fulfillment_status, cancelled_at IS NOT NULL OR payment_status = 'cancelled' AS cancelled,
           email, total, currency,
           (SELECT CAST(sum(quantity) AS bigint) FROM order_lines WHERE order_id = orders.id) AS units
    FROM orders WHERE id = :order_id FOR NO KEY UPDATE
""")
MARK_FULFILLED = text("""
    WITH completed AS (
        UPDATE fulfillments SET completed_at = clock_timestamp() WHERE order_id = :order_id AND cancelled_at IS NULL
    )
    UPDATE orders
    SET fulfillment_status = 'fulfilled', hold_reason = NULL, refused_at = NULL, waits_for_backorders = NULL
    WHERE id = :order_id
""")
IS_OPEN = """orders.payment_status = 'captured' AND orders.fulfillment_status = 'not_fulfilled'
             AND orders.cancelled_at IS NULL"""
# Only orders that `process-pending-orders` would start need a hold. An order whose lines were linked to variants after
# its run had looked for these needs none.
HOLD = text(f"""
    UPDATE orders SET hold_reason = :reason WHERE id = :order_id AND {IS_OPEN}
    AND (:reason <> 'failed: UnknownVariant'
         OR EXISTS (SELECT FROM order_lines WHERE order_id = orders.id AND variant_id IS NULL AND quantity > 0))
""")  # noqa: S608 - our constant
IS_HELD = text("SELECT hold_reason IS NOT NULL FROM orders WHERE id = :order_id")
CLEAR_HOLD = text("""
    UPDATE orders SET hold_reason = NULL, waits_for_backorders = NULL
    WHERE id = :order_id AND (hold_reason IS NOT NULL OR waits_for_backorders IS NOT NULL)
""")


def _is_short(*, lines: str = "true", items: str = "true") -> str:
    """Return the SQL condition that an order needs more of an item than is available now.

    `lines` and `items` are conditions on the lines that count and on the items, grouped over these lines. An item
    without any level is not short: the order's next run reports it. OFFSET 0 makes PostgreSQL look up each table by
    index, one line after the other. Without statistics it would rather read the items of the whole shop, per order.
    """
    return f"""EXISTS (
        SELECT FROM (SELECT variant_id, quantity FROM order_lines
              WHERE order_id = orders.id AND quantity > 0 OFFSET 0) AS line,
        LATERAL (SELECT inventory_item_id, required_quantity, allow_backorder
                 FROM variants JOIN variant_inventory_items AS part ON part.variant_id = variants.id
                 WHERE variants.id = line.variant_id AND manage_inventory OFFSET 0) AS part
        WHERE {lines}
        GROUP BY inventory_item_id
        HAVING {items} AND sum(CAST(quantity AS bigint) * required_quantity) > (
            SELECT sum(greatest(stocked_quantity - reserved_quantity, 0)) FROM inventory_levels AS level
            WHERE level.inventory_item_id = part.inventory_item_id))"""  # noqa: S608 - our own constants


# An order waits for units on backorder if some are missing now: without them it would only be refused again (I5).
MARK_REFUSED = text(f"""
    UPDATE orders SET refused_at = :at, waits_for_backorders = {_is_short(items="bool_or(allow_backorder)")}
    WHERE id = :order_id AND fulfillment_status <> 'fulfilled' RETURNING id
""")  # noqa: S608 - our own constants
# An order that was refused for stock is pending again once it is no longer short (V10). This asks for the stock as it
# is, not for what has changed, so it misses no cause, and it does not depend on the order of commits.
IS_PENDING = f"""{IS_OPEN} AND hold_reason IS NULL
      AND (waits_for_backorders IS NULL OR NOT {_is_short(lines="waits_for_backorders OR NOT allow_backorder")})"""
PENDING = text(f"""
    SELECT id, created_at FROM orders
    WHERE {IS_PENDING}
      AND (created_at, id) > (coalesce(CAST(:after AS timestamptz), '-infinity'), coalesce(CAST(:after_id AS text), ''))
    ORDER BY created_at, id LIMIT :limit
""")  # noqa: S608 - our own constant


async def lock(tx: AsyncSession, order_id: str) -> bool:
    """Lock the order, so that changes to it take turns (V4). Return False if there is no such order."""
    return (await tx.execute(LOCK, {"order_id": order_id})).one_or_none() is not None


async def validate(tx: AsyncSession, order_id: str) -> ValidOrder:
    """Return what processing the order needs, or the result of an earlier run if it is fulfilled (V5). Writes nothing.

    Raises OrderNotFound, OrderCancelled, FulfilledElsewhere, PartlyFulfilled, OrderRestocked, OrderNotReleased,
    PaymentNotCaptured, OrderHasNoLines, UnknownVariant, VariantWithoutItems (V1), and FulfillmentMissing for a
    fulfilled order without a fulfillment.
    """
    order = (await tx.execute(READ, {"order_id": order_id})).one_or_none()
    if order is None:
        raise OrderNotFound(order_id)
    fulfilled = await _fulfilled(tx, order_id) if order.fulfillment_status == "fulfilled" else None
    if fulfilled is None:
        _check_status(order_id, order)
        _check_lines(order_id, order)
    return ValidOrder(
        order_id=order_id,
        revision=order.revision,
        lines=order.lines,
        units=order.units,
        needs_label=order.needs_label,
        has_email=order.has_email,
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


async def complete(tx: AsyncSession, order_id: str, revision: int | None = None) -> CompletedOrder:
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
    await _write_event_and_mail(tx, order_id, order, fulfilled)
    return fulfilled


async def list_pending(tx: AsyncSession, page: PendingPageRequest) -> PendingIds:
    """Return the next page of orders that `process-pending-orders` may start, oldest first (V10)."""
    values = {"after": page.after and page.after.created_at, "after_id": page.after and page.after.id}
    rows = (await tx.execute(PENDING, values | {"limit": page.limit})).all()
    more = OrderCursor(created_at=rows[-1].created_at, id=rows[-1].id) if len(rows) == page.limit else None
    return PendingIds(order_ids=[row.id for row in rows], next=more)


async def hold(tx: AsyncSession, hold: Hold) -> None:
    """Put an order on hold, unless it is unknown or not open. Raises OrderChanged."""
    await raise_if_changed(tx, hold)
    await tx.execute(HOLD, hold.model_dump())


async def clear_hold(tx: AsyncSession, order_id: str) -> None:
    """End the hold of an order, or its wait for stock, because it is processed now."""
    await tx.execute(CLEAR_HOLD, {"order_id": order_id})


async def is_held(tx: AsyncSession, order_id: str) -> bool:
    """Return whether the order is on hold."""
    return bool((await tx.execute(IS_HELD, {"order_id": order_id})).scalar_one_or_none())


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
    if order.payment_status != "captured":
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
    return CompletedOrder.model_validate(dict(row))


async def _write_event_and_mail(
    tx: AsyncSession, order_id: str, order: Row[tuple[object, ...]], fulfilled: CompletedOrder
) -> None:
    data = OrderFulfilled(
        order_id=order_id,
        fulfillment_id=fulfilled.fulfillment_id,
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
            recipient=order.email,
            order_id=order_id,
        )
