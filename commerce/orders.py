"""Which orders may be processed, and what becomes of them: fulfilled, refused or on hold."""

from datetime import date

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import notifications, outbox
from commerce.errors import (
    FulfilledElsewhere,
    FulfillmentMissing,
    OrderCancelled,
    OrderHasNoLines,
    OrderNotFound,
    OrderOnHold,
    PartlyFulfilled,
    PaymentNotCaptured,
    UnknownVariant,
    VariantWithoutItems,
)
from commerce.messages.events import OrderFulfilled, OrderShort
from commerce.messages.orders import CompletedOrder, Hold, Refusal, ValidOrder, shipped_key
from commerce.messages.pending_orders import OrderPlace, PendingIds, PendingPage
from commerce.outbox import NewEvent

READ = text("""
    SELECT payment_status, fulfillment_status, cancelled_at IS NOT NULL OR payment_status = 'cancelled' AS cancelled,
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
        WHERE line.order_id = orders.id
    ) AS line
    WHERE orders.id = :order_id
""")
# NO KEY: whoever only refers to the order (a notification, a reservation) need not wait.
LOCK = text("SELECT id FROM orders WHERE id = :order_id FOR NO KEY UPDATE")
FULFILLED = text("""
    SELECT CAST(fulfillment.id AS text) AS fulfillment_id, tracking_number,
           EXISTS (SELECT FROM notifications WHERE key = :notification_key AND status = 'sent') AS notification_sent
    FROM fulfillments AS fulfillment WHERE order_id = :order_id AND cancelled_at IS NULL
""")
CONCLUDE = text("""
    SELECT fulfillment_status, cancelled_at IS NOT NULL OR payment_status = 'cancelled' AS cancelled,
           email, total, currency,
           (SELECT CAST(sum(quantity) AS bigint) FROM order_lines WHERE order_id = orders.id) AS units
    FROM orders WHERE id = :order_id FOR NO KEY UPDATE
""")
FULFILL = text("""
    UPDATE orders SET fulfillment_status = 'fulfilled', hold_reason = NULL, refused_at = NULL WHERE id = :order_id
""")
# Only orders that the pending-orders job would take up otherwise need holding.
HOLD = text("""
    UPDATE orders SET hold_reason = :reason
    WHERE id = :order_id AND payment_status = 'captured' AND fulfillment_status = 'not_fulfilled'
      AND cancelled_at IS NULL
""")
HELD = text("SELECT hold_reason IS NOT NULL FROM orders WHERE id = :order_id")
CLEAR_HOLD = text("UPDATE orders SET hold_reason = NULL WHERE id = :order_id AND hold_reason IS NOT NULL")
REFUSE = text("""
    UPDATE orders SET refused_at = :at WHERE id = :order_id AND fulfillment_status <> 'fulfilled' RETURNING id
""")
IS_OPEN = "payment_status = 'captured' AND fulfillment_status = 'not_fulfilled' AND cancelled_at IS NULL"
# What was refused for stock waits until units of one of its items come in: only those can change the answer (V10).
IS_PENDING = f"""{IS_OPEN} AND hold_reason IS NULL
      AND (refused_at IS NULL OR EXISTS (
          SELECT FROM order_lines AS line
          JOIN variant_inventory_items AS part ON part.variant_id = line.variant_id
          JOIN stock_movements AS moved ON moved.inventory_item_id = part.inventory_item_id
          WHERE line.order_id = orders.id AND moved.quantity > 0 AND moved.created_at > refused_at))"""
PENDING = text(f"""
    SELECT id, created_at FROM orders
    WHERE {IS_PENDING}
      AND (created_at, id) > (coalesce(CAST(:after AS timestamptz), '-infinity'), coalesce(CAST(:after_id AS text), ''))
    ORDER BY created_at, id LIMIT :limit
""")  # noqa: S608 - a text of our own


async def lock(tx: AsyncSession, order_id: str) -> bool:
    """Lock the order before anything of it changes, so that its steps take turns (V4); False: there is none."""
    return (await tx.execute(LOCK, {"order_id": order_id})).one_or_none() is not None


async def validate(tx: AsyncSession, order_id: str) -> ValidOrder:
    """Say what an order that may be processed asks for, or what an earlier run has achieved (V5); writes nothing.

    Raises OrderNotFound, OrderCancelled, FulfilledElsewhere, PartlyFulfilled, PaymentNotCaptured, OrderHasNoLines,
    UnknownVariant, VariantWithoutItems (V1); FulfillmentMissing for a fulfilled order that has lost its fulfillment.
    """
    order = (await tx.execute(READ, {"order_id": order_id})).one_or_none()
    if order is None:
        raise OrderNotFound(order_id)
    fulfilled = await _fulfilled(tx, order_id) if order.fulfillment_status == "fulfilled" else None
    if fulfilled is None:
        _refuse_status(order_id, order)
        _refuse_lines(order_id, order)
    return ValidOrder(
        order_id=order_id,
        lines=order.lines,
        units=order.units,
        needs_label=order.needs_label,
        has_email=order.has_email,
        fulfilled=fulfilled,
    )


async def complete(tx: AsyncSession, order_id: str) -> CompletedOrder:
    """Make the order fulfilled, write `order.fulfilled` and queue the customer's mail; again: the same answer (V8).

    Raises OrderNotFound, FulfillmentMissing, OrderCancelled.
    """
    order = (await tx.execute(CONCLUDE, {"order_id": order_id})).one_or_none()
    if order is None:
        raise OrderNotFound(order_id)
    fulfilled = await _fulfilled(tx, order_id)
    if order.fulfillment_status == "fulfilled":
        return fulfilled
    if order.cancelled:
        raise OrderCancelled(order_id)
    await tx.execute(FULFILL, {"order_id": order_id})
    await _tell(tx, order_id, order, fulfilled)
    return fulfilled


async def list_pending(tx: AsyncSession, page: PendingPage) -> PendingIds:
    """Return the next orders that may be worked off, in order of arrival (V10)."""
    values = {"after": page.after and page.after.created_at, "after_id": page.after and page.after.id}
    rows = (await tx.execute(PENDING, values | {"limit": page.limit})).all()
    more = OrderPlace(created_at=rows[-1].created_at, id=rows[-1].id) if len(rows) == page.limit else None
    return PendingIds(order_ids=[row.id for row in rows], next=more)


async def hold(tx: AsyncSession, hold: Hold) -> None:
    """Keep the pending-orders job away from an order; no effect on a fulfilled or unknown one."""
    await tx.execute(HOLD, hold.model_dump())


async def clear_hold(tx: AsyncSession, order_id: str) -> None:
    """Let the pending-orders job pick the order up again."""
    await tx.execute(CLEAR_HOLD, {"order_id": order_id})


async def must_be_free(tx: AsyncSession, order_id: str) -> None:
    """Raise OrderOnHold for an order that waits for a person."""
    if (await tx.execute(HELD, {"order_id": order_id})).scalar_one_or_none():
        raise OrderOnHold(order_id)


async def refuse(tx: AsyncSession, refusal: Refusal, day: date) -> None:
    """Record that stock was short, and write `order.insufficient_inventory` once per order and day (V2, N3).

    `day` is the shop's calendar day. No effect on a fulfilled or unknown order.
    """
    values = {"order_id": refusal.order_id, "at": refusal.at}
    if (await tx.execute(REFUSE, values)).one_or_none() is None:
        return
    fact = OrderShort(order_id=refusal.order_id, count=refusal.count, items=refusal.items)
    key = f"{refusal.order_id}/{day.isoformat()}"
    await outbox.add(tx, NewEvent.from_data(fact, aggregate=f"order/{refusal.order_id}", key=key))


def _refuse_status(order_id: str, order: Row[tuple[object, ...]]) -> None:
    if order.cancelled:
        raise OrderCancelled(order_id)
    if order.fulfillment_status == "fulfilled_elsewhere":
        raise FulfilledElsewhere(order_id)
    if order.fulfillment_status == "partially_fulfilled":
        raise PartlyFulfilled(order_id)
    if order.payment_status != "captured":
        raise PaymentNotCaptured(order_id, order.payment_status)


def _refuse_lines(order_id: str, order: Row[tuple[object, ...]]) -> None:
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


async def _tell(tx: AsyncSession, order_id: str, order: Row[tuple[object, ...]], fulfilled: CompletedOrder) -> None:
    fact = OrderFulfilled(
        order_id=order_id,
        fulfillment_id=fulfilled.fulfillment_id,
        units=order.units,
        total=order.total,
        currency=order.currency,
    )
    await outbox.add(tx, NewEvent.from_data(fact, aggregate=f"order/{order_id}", key=order_id))
    if order.email:
        await notifications.queue(
            tx,
            key=shipped_key(order_id),
            kind="order-shipped",
            recipient=order.email,
            order_id=order_id,
        )
