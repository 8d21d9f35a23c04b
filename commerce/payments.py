"""Refunds of orders: what is left to refund, and what was refunded, never more than was captured (P1).

The row of `order_payments` adds up what was refunded, here and elsewhere, and a CHECK limits it. A refund is planned,
under the order's lock, before the provider is asked: its row fixes amount and reference for all attempts and runs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import orders
from commerce.errors import OrderNotFound
from commerce.messages.payments import AT_SHOP, RefundRequest

# Unlike in `sales.py`, a cancelled order has its captured money, too: it is what is to be refunded.
CAPTURED = """CASE WHEN orders.payment_status IN ('captured', 'partially_refunded', 'refunded') THEN orders.total
    WHEN orders.payment_status = 'partially_captured'
        THEN greatest(orders.total - greatest(coalesce(orders.outstanding_total, orders.total), 0), 0)
    ELSE 0 END"""
# What the source says that was refunded; `refunded` without an amount means all of it.
STATED = f"""least(CASE WHEN orders.payment_status = 'refunded' AND orders.refunded_total = 0 THEN {CAPTURED}
    ELSE orders.refunded_total END, {CAPTURED})"""
# The source may have learned of our refunds or not. What it states beyond them was refunded elsewhere.
READ = text(f"""
    INSERT INTO order_payments AS payment (order_id, captured, refunded_elsewhere)
    SELECT id, {CAPTURED}, {STATED} FROM orders WHERE id = :order_id
    ON CONFLICT (order_id) DO UPDATE
    SET captured = greatest(payment.captured, excluded.captured),
        refunded_elsewhere = least(
            greatest(payment.refunded_elsewhere, excluded.refunded_elsewhere - payment.refunded),
            greatest(payment.captured, excluded.captured) - payment.refunded)
    RETURNING captured - refunded_elsewhere - refunded AS due, captured, refunded_elsewhere,
              (SELECT currency FROM orders WHERE id = :order_id) AS currency,
              (SELECT payment_status FROM orders WHERE id = :order_id) AS payment_status,
              (SELECT coalesce(btrim(payment_reference), '') FROM orders WHERE id = :order_id) AS payment_reference
""")  # noqa: S608 - our own constants
PLANNED = text("""
    SELECT CAST(id AS text) AS id, amount, state, provider, payment_id, refund_id FROM order_refunds
    WHERE order_id = :order_id AND purpose = :purpose
""")
PLAN = text("""
    WITH raised AS (
        UPDATE order_payments SET refunded = refunded + :amount WHERE order_id = :order_id
    )
    INSERT INTO order_refunds (order_id, purpose, amount, provider, payment_id)
    VALUES (:order_id, :purpose, :amount, :provider, :payment_id) RETURNING CAST(id AS text)
""")
# If the source states all that is due as refunded, the refund was made, whoever has made it.
STATED_AS_MADE = text(f"""
    UPDATE order_refunds AS refund SET state = 'made', made_at = clock_timestamp()
    FROM orders JOIN order_payments AS payment ON payment.order_id = orders.id
    WHERE orders.id = :order_id AND refund.order_id = orders.id AND purpose = :purpose AND state = 'due'
      AND {STATED} >= refunded_elsewhere + refunded
""")  # noqa: S608 - our own constants
MARK_MADE = text("""
    UPDATE order_refunds SET state = 'made', refund_id = :refund_id, made_at = clock_timestamp()
    WHERE order_id = :order_id AND purpose = :purpose AND state = 'due'
""")
MOVE_ELSEWHERE = text("""
    WITH dropped AS (
        DELETE FROM order_refunds WHERE order_id = :order_id AND purpose = :purpose AND state = 'due' RETURNING amount
    )
    UPDATE order_payments
    SET refunded = refunded - amount, refunded_elsewhere = refunded_elsewhere + amount
    FROM dropped WHERE order_id = :order_id
""")
# What was refunded elsewhere, and counts for no return.
UNCLAIMED = """(SELECT refunded_elsewhere FROM order_payments WHERE order_id = :order_id)
    - (SELECT coalesce(sum(refunded_elsewhere), 0) FROM order_returns AS other
       WHERE other.order_id = :order_id AND id IS DISTINCT FROM :return_id)"""
READ_UNCLAIMED = text(f"SELECT CAST({UNCLAIMED} AS bigint)")
# What was refunded elsewhere since a return was registered counts as refunded for it.
OWED = text(f"""
    UPDATE order_returns
    SET refunded_elsewhere = least(amount, greatest({UNCLAIMED} - unclaimed_before, 0))
    WHERE id = :return_id AND order_id = :order_id AND amount IS NOT NULL
    RETURNING amount - refunded_elsewhere AS owed
""")  # noqa: S608 - our own constant
DUE = text("SELECT amount FROM order_refunds WHERE order_id = :order_id AND purpose = :purpose AND state = 'due'")


@dataclass(frozen=True)
class RefundPlan:
    """What is to be refunded: an amount, or with `release` an authorization. `reference`: the same in all runs.

    `is_made`: an earlier run has refunded it. An `amount` of 0: nothing is left.
    """

    amount: int
    currency: str
    provider: str = AT_SHOP
    payment_id: str = ""
    reference: str = ""
    release: bool = False
    is_made: bool = False
    refund_id: str | None = None


async def plan_refund(tx: AsyncSession, request: RefundRequest, provider_of: Callable[[str], str]) -> RefundPlan:
    """Return the refund of all that is left of an order's payment, the same one each time for the same purpose.

    For a return, it is what its goods are worth, less what was refunded elsewhere since it was registered (R4).
    `provider_of` names the provider for a payment reference. Raises OrderNotFound.
    """
    values = request.model_dump()
    if not await orders.lock(tx, request.order_id):
        raise OrderNotFound(request.order_id)
    await tx.execute(STATED_AS_MADE, values)
    payment = (await tx.execute(READ, values)).one()
    planned = (await tx.execute(PLANNED, values)).one_or_none()
    if planned is not None:
        return _planned(planned, payment.currency)
    provider = provider_of(payment.payment_reference)
    payment_id = "" if provider == AT_SHOP else payment.payment_reference
    amount = payment.due
    if request.return_id is not None:
        amount = min(amount, await tx.scalar(OWED, values) or 0)
    if amount == 0:
        release = payment.payment_status == "authorized" and provider != AT_SHOP and request.return_id is None
        reference = f"{request.purpose}/{request.order_id}"
        return RefundPlan(0, payment.currency, provider, payment_id, reference, release=release)
    row = values | {"amount": amount, "provider": provider, "payment_id": payment_id}
    reference = (await tx.execute(PLAN, row)).scalar_one()
    return RefundPlan(amount, payment.currency, provider, payment_id, reference)


async def unclaimed(tx: AsyncSession, order_id: str) -> int:
    """Return what is known to be refunded elsewhere and counts for no return yet. The order must be locked."""
    values = {"order_id": order_id, "return_id": None}
    await tx.execute(READ, values)
    return int(await tx.scalar(READ_UNCLAIMED, values) or 0)


async def record_made(tx: AsyncSession, request: RefundRequest, refund_id: str | None) -> None:
    """Record that a planned refund was made; `refund_id` is the provider's. Does nothing if that is known."""
    await tx.execute(MARK_MADE, request.model_dump(include={"order_id", "purpose"}) | {"refund_id": refund_id})


async def record_elsewhere(tx: AsyncSession, request: RefundRequest) -> None:
    """Record that the amount of a planned refund was refunded before, not by this shop."""
    await tx.execute(MOVE_ELSEWHERE, request.model_dump(include={"order_id", "purpose"}))


async def due(tx: AsyncSession, request: RefundRequest) -> int:
    """Return the amount of a refund that is planned but was not made; 0 if there is none."""
    return (await tx.scalar(DUE, request.model_dump(include={"order_id", "purpose"}))) or 0


def _planned(row: Row[Any], currency: str) -> RefundPlan:
    return RefundPlan(
        row.amount,
        currency,
        row.provider,
        row.payment_id,
        row.id,
        is_made=row.state == "made",
        refund_id=row.refund_id,
    )
