"""Cancellations: take back an order that was fulfilled here, or close one that is open (B1 to B6).

While an order has a `cancellation`, no run of `order-processing` validates it, and its source changes neither its lines
nor its states. `cancelling` lasts from the mark until everything is taken back, or the order is kept after all.
"""

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import captures, fulfillment, generations, inventory, notifications, orders, outbox, sales
from commerce.errors import FulfilledElsewhere, OrderHasReturn, OrderNotFound, PartlyFulfilled
from commerce.messages.cancellations import (
    PURPOSE,
    BoughtLabel,
    CancelledOrder,
    MarkedOrder,
    Restocked,
    cancelled_key,
)
from commerce.messages.events import OrderCancelled
from commerce.messages.orders import order_process_id
from commerce.outbox import NewEvent

WAS_FULFILLED = "EXISTS (SELECT FROM fulfillments WHERE order_id = orders.id AND completed_at IS NOT NULL)"

READ = text("""
    SELECT cancellation, fulfillment_status,
           EXISTS (SELECT FROM order_returns WHERE order_id = orders.id AND state <> 'closed') AS has_return
    FROM orders WHERE id = :order_id
""")
# The higher revision makes a run that has read the order begin anew; it finds the mark.
MARK = text("""
    UPDATE orders
    SET cancellation = coalesce(cancellation, 'cancelling'),
        revision = revision + CASE WHEN cancellation IS NULL THEN 1 ELSE 0 END,
        decisive_revision = CASE WHEN cancellation IS NULL THEN revision + 1 ELSE decisive_revision END
    WHERE id = :order_id
    RETURNING revision
""")
# The ledger knows the carrier's name while it has the step that bought the label.
LABELS = text("""
    SELECT shipment_id, (
        SELECT coalesce(note ->> 'carrier', 'easypost') FROM step_ledger
        WHERE business_key = :business_key AND note ->> 'shipment_id' = fulfillment.shipment_id LIMIT 1) AS carrier
    FROM fulfillments AS fulfillment
    WHERE order_id = :order_id AND cancelled_at IS NULL AND shipment_id IS NOT NULL ORDER BY position
""")
KEEP = text(f"""
    UPDATE orders SET cancellation = NULL
    WHERE id = :order_id AND cancellation = 'cancelling'
      AND (NOT {WAS_FULFILLED}
           OR EXISTS (SELECT FROM fulfillments WHERE order_id = orders.id AND cancelled_at IS NULL))
""")  # noqa: S608 - our own constant
IS_MARKED = text("SELECT cancellation FROM orders WHERE id = :order_id AND cancellation IS NOT NULL")
RESTOCKED = text("""
    UPDATE orders SET fulfillment_status = 'restocked' WHERE id = :order_id AND fulfillment_status = 'fulfilled'
""")
COMPLETE = text(f"""
    UPDATE orders
    SET cancellation = 'cancelled', cancelled_at = coalesce(cancelled_at, clock_timestamp()), hold_reason = NULL,
        held_by = NULL, refused_at = NULL, waits_for_backorders = NULL
    WHERE id = :order_id
    RETURNING revision, {WAS_FULFILLED} AS fulfilled, email, currency,
              (SELECT coalesce(sum(amount), 0) FROM order_refunds AS refund
               WHERE refund.order_id = orders.id AND purpose = :purpose AND state IN ('made', 'pending')) AS refunded,
              (SELECT coalesce(sum(amount), 0) FROM order_refunds AS refund
               WHERE refund.order_id = orders.id AND purpose = :purpose AND state = 'due') AS refund_due
""")  # noqa: S608 - our own constant


async def check(tx: AsyncSession, order_id: str) -> None:
    """Check that the order can be cancelled here (B1).

    Raises OrderNotFound, FulfilledElsewhere, PartlyFulfilled, OrderHasReturn.
    """
    _check(order_id, (await tx.execute(READ, {"order_id": order_id})).one_or_none())


async def mark(tx: AsyncSession, order_id: str, generation: str) -> MarkedOrder:
    """Mark the order as `cancelling`, and return what is to be taken back. Raises what `check` raises.

    `generation` becomes the one that may act for the order, so that no step of `order-processing` begins any more.
    """
    business_key = order_process_id(order_id)
    await generations.take_over(tx, business_key, generation)  # as in every step, before the order is locked
    if not await orders.lock(tx, order_id):
        raise OrderNotFound(order_id)
    await check(tx, order_id)
    marked = (await tx.execute(MARK, {"order_id": order_id})).one()
    return MarkedOrder(
        revision=marked.revision,
        labels=await bought_labels(tx, order_id),
        # What was captured goes back with `refund-payment`, as all of the payment.
        steps=[step for step in await generations.find_all_undoable(tx, business_key) if step.undo != captures.UNDO],
    )


async def bought_labels(tx: AsyncSession, order_id: str) -> list[BoughtLabel]:
    """Return the labels of the order's live fulfillments."""
    values = {"order_id": order_id, "business_key": order_process_id(order_id)}
    return [BoughtLabel(**label) for label in (await tx.execute(LABELS, values)).mappings()]


async def keep(tx: AsyncSession, order_id: str) -> bool:
    """Remove the mark of an order whose cancellation is given up. Return False if its goods were taken back already."""
    await orders.lock(tx, order_id)
    await tx.execute(KEEP, {"order_id": order_id})
    return await tx.scalar(IS_MARKED, {"order_id": order_id}) is None


async def restock(tx: AsyncSession, order_id: str) -> Restocked:
    """Put back what the order still holds, also if the ledger has no record of it any more (B4)."""
    if not await orders.lock(tx, order_id):
        raise OrderNotFound(order_id)
    units = await fulfillment.cancel_live(tx, order_id)
    await inventory.release(tx, order_id)
    await tx.execute(RESTOCKED, {"order_id": order_id})
    return Restocked(units=units)


async def complete(tx: AsyncSession, order_id: str) -> CancelledOrder:
    """Cancel the order, write `order.cancelled` and queue the customer's mail, all once (B6)."""
    if not await orders.lock(tx, order_id):
        raise OrderNotFound(order_id)
    await sales.mark_days(tx, [order_id])  # as they were before
    order = (await tx.execute(COMPLETE, {"order_id": order_id, "purpose": PURPOSE})).one()
    await sales.record(tx, [order_id])
    await generations.write_off(tx, order_process_id(order_id))
    data = OrderCancelled(
        order_id=order_id,
        revision=order.revision,
        fulfilled=order.fulfilled,
        taken_back=True,
        refunded=order.refunded,
        refund_due=order.refund_due,
    )
    await outbox.add(tx, NewEvent.from_data(data, aggregate=f"order/{order_id}", key=f"{order_id}/taken-back"))
    if order.email:
        key = cancelled_key(order_id)
        await notifications.queue(tx, key=key, kind="order-cancelled", recipient=order.email, order_id=order_id)
    return CancelledOrder(
        refunded=order.refunded, refund_due=order.refund_due, currency=order.currency, has_email=bool(order.email)
    )


def _check(order_id: str, order: Row[tuple[object, ...]] | None) -> None:
    if order is None:
        raise OrderNotFound(order_id)
    if order.fulfillment_status == "fulfilled_elsewhere":
        raise FulfilledElsewhere(order_id)
    if order.fulfillment_status == "partially_fulfilled":
        raise PartlyFulfilled(order_id)
    if order.has_return:
        raise OrderHasReturn(order_id)
