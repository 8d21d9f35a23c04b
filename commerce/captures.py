"""Captures of authorized payments, and their refunds when the order is undone (P4).

A payment is captured for one order, once. What was captured counts in `order_payments`, so that never more is refunded
(P1). The order is then paid, although its source may not know of it yet.
"""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import orders, payments, sales
from commerce.errors import CaptureRefused, OrderNotFound
from commerce.messages.orders import OrderRef

UNDO = "refund-capture"  # the undo of `capture-payment`

READ = text("""
    SELECT total, currency, payment_status, coalesce(btrim(payment_reference), '') AS payment_id
    FROM orders WHERE id = :order_id
""")
OF_ANOTHER = text("""
    SELECT EXISTS (SELECT FROM order_captures WHERE payment_id = :payment_id AND order_id <> :order_id)
""")
# A capture is not ours if somebody else has made it, or if the source says already that the order is paid: as with any
# paid order, undoing the order leaves the payment alone then.
RECORD = text("""
    WITH captured AS (
        INSERT INTO order_captures (order_id, payment_id, provider, amount, ours)
        SELECT id, :payment_id, :provider, :amount, :ours AND payment_status = 'authorized'
        FROM orders WHERE id = :order_id
        ON CONFLICT (order_id, payment_id) DO NOTHING RETURNING amount
    ), before AS (
        SELECT coalesce(sum(amount), 0) AS amount FROM order_captures WHERE order_id = :order_id
    )
    INSERT INTO order_payments AS payment (order_id, captured)
    SELECT :order_id, before.amount + captured.amount FROM captured, before WHERE captured.amount > 0
    ON CONFLICT (order_id) DO UPDATE SET captured = greatest(payment.captured, excluded.captured)
    RETURNING captured
""")
IS_OURS = text("SELECT ours FROM order_captures WHERE order_id = :order_id AND payment_id = :payment_id")
MARK_PAID = text("""
    UPDATE orders SET payment_status = 'captured', paid_at = coalesce(paid_at, clock_timestamp())
    WHERE id = :order_id AND payment_status = 'authorized'
""")
MARK_REFUNDED = text("""
    UPDATE orders SET payment_status = 'refunded'
    WHERE id = :order_id AND payment_status IN ('authorized', 'captured')
""")


@dataclass(frozen=True)
class CapturePlan:
    """What is to be captured of which payment: an amount in minor units, 0 if the order costs nothing."""

    order_id: str
    payment_id: str
    amount: int
    currency: str


@dataclass(frozen=True)
class CaptureRefund:
    """What goes back of a captured payment. `reference`: the same in all attempts."""

    purpose: str
    amount: int
    reference: str


async def plan(tx: AsyncSession, order: OrderRef) -> CapturePlan:
    """Return what is to be captured for an order.

    Raises OrderNotFound, OrderChanged, and CaptureRefused if the payment was captured for another order, or if the
    order has another payment status than when it was validated.
    """
    await orders.raise_if_changed(tx, order)
    row = (await tx.execute(READ, {"order_id": order.order_id})).one_or_none()
    if row is None:
        raise OrderNotFound(order.order_id)
    if row.payment_status not in ("authorized", "captured"):
        raise CaptureRefused(order.order_id, f"payment_{row.payment_status}")
    if await tx.scalar(OF_ANOTHER, {"order_id": order.order_id, "payment_id": row.payment_id}):
        raise CaptureRefused(order.order_id, "captured_for_another_order")
    return CapturePlan(order.order_id, row.payment_id, row.total, row.currency)


async def record(tx: AsyncSession, order_id: str, payment_id: str, provider: str, amount: int, *, ours: bool) -> None:
    """Record that a payment is captured for an order, which is paid now. Doing so again changes nothing.

    `ours`: this shop has captured it, and nobody else.
    """
    if not await orders.lock(tx, order_id):
        raise OrderNotFound(order_id)
    values = {"order_id": order_id, "payment_id": payment_id, "provider": provider, "amount": amount, "ours": ours}
    if (await tx.execute(RECORD, values)).one_or_none() is None:
        return
    await sales.mark_days(tx, [order_id])  # as they were before
    await tx.execute(MARK_PAID, {"order_id": order_id})
    await sales.record(tx, [order_id])


async def plan_refund(
    tx: AsyncSession, order_id: str, payment_id: str, provider: str, amount: int
) -> CaptureRefund | None:
    """Record that a payment is captured, and plan its refund: the same one each time.

    None: nothing is left of it, or the capture is not ours to take back.
    """
    await record(tx, order_id, payment_id, provider, amount, ours=True)
    if not await tx.scalar(IS_OURS, {"order_id": order_id, "payment_id": payment_id}):
        return None
    purpose = f"{UNDO}/{payment_id}"
    planned = await payments.plan(tx, order_id, purpose, provider, payment_id, at_most=amount)
    if planned is None or planned.state != "due":
        return None
    return CaptureRefund(purpose, planned.amount, planned.reference)


async def mark_refunded(tx: AsyncSession, order_id: str) -> None:
    """Let an order whose captured payment went back be no open order any more: there is nothing to capture for it."""
    await orders.lock(tx, order_id)
    await sales.mark_days(tx, [order_id])
    await tx.execute(MARK_REFUNDED, {"order_id": order_id})
    await sales.record(tx, [order_id])
