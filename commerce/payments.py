"""Refunds of orders: what is left to refund, and what was refunded, never more than was captured (P1).

The row of `order_payments` adds up what was refunded, here and elsewhere, and a CHECK limits it. A refund is planned,
under the order's lock, before the provider is asked: its row fixes amount and reference for all attempts and runs. It
is `due` until the provider has it, `pending` while that may still fail, and then `made`, or `due` again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import orders
from commerce.errors import OrderNotFound
from commerce.messages.payments import AT_SHOP, RefundRequest

RefundState = Literal["due", "pending", "made"]
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
    SELECT CAST(id AS text) AS reference, amount, state, provider, payment_id, refund_id FROM order_refunds
    WHERE order_id = :order_id AND purpose = :purpose
""")
PLAN = text("""
    WITH raised AS (
        UPDATE order_payments SET refunded = refunded + :amount WHERE order_id = :order_id
    )
    INSERT INTO order_refunds (order_id, purpose, amount, provider, payment_id)
    VALUES (:order_id, :purpose, :amount, :provider, :payment_id)
    RETURNING CAST(id AS text) AS reference, amount, state, provider, payment_id, refund_id
""")
# If the source states all that is due as refunded, the refund was made, whoever has made it.
STATED_AS_MADE = text(f"""
    UPDATE order_refunds AS refund SET state = 'made', made_at = clock_timestamp()
    FROM orders JOIN order_payments AS payment ON payment.order_id = orders.id
    WHERE orders.id = :order_id AND refund.order_id = orders.id AND purpose = :purpose AND state = 'due'
      AND {STATED} >= refunded_elsewhere + refunded
""")  # noqa: S608 - our own constants
MARK = text("""
    UPDATE order_refunds
    SET state = CAST(:state AS text), refund_id = :refund_id,
        made_at = CASE WHEN :state = 'made' THEN clock_timestamp() END,
        checked_at = CASE WHEN :state = 'pending' THEN clock_timestamp() END
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
# A refund is checked after a minute, and then each time that a tenth of its age has passed, at least once in 6 hours.
# Several workers may ask at once: each takes other rows, and marks them as checked.
TAKE_PENDING = text("""
    UPDATE order_refunds SET checked_at = clock_timestamp()
    WHERE id IN (
        SELECT id FROM order_refunds
        WHERE state = 'pending' AND provider = ANY(CAST(:providers AS text[]))
          AND checked_at < clock_timestamp()
              - least(greatest((checked_at - created_at) / 10, interval '1 minute'), interval '6 hours')
        ORDER BY checked_at LIMIT :limit FOR UPDATE SKIP LOCKED)
    RETURNING CAST(id AS text) AS id, order_id, provider, refund_id
""")
SETTLE = text("""
    UPDATE order_refunds
    SET state = CAST(:state AS text), made_at = CASE WHEN :state = 'made' THEN clock_timestamp() END, checked_at = NULL
    WHERE id = CAST(:id AS uuid) AND state = 'pending' AND refund_id = :refund_id
    RETURNING order_id
""")


@dataclass(frozen=True)
class RefundPlan:
    """What is to be refunded: an amount, or with `release` an authorization. `reference`: the same in all runs.

    `state`: what an earlier run has made of it. An `amount` of 0: nothing is left.
    """

    amount: int
    currency: str
    provider: str = AT_SHOP
    payment_id: str = ""
    reference: str = ""
    release: bool = False
    state: RefundState = "due"
    refund_id: str | None = None


class PlannedRefund(NamedTuple):
    """A row of `order_refunds`."""

    reference: str
    amount: int
    state: RefundState
    provider: str
    payment_id: str
    refund_id: str | None


class PendingRefund(NamedTuple):
    """A refund that the provider has accepted, and may still fail."""

    id: str
    order_id: str
    provider: str
    refund_id: str


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
    provider = provider_of(payment.payment_reference)
    payment_id = "" if provider == AT_SHOP else payment.payment_reference
    planned = await _find(tx, values)
    if planned is None:
        at_most = payment.due if request.return_id is None else await tx.scalar(OWED, values) or 0
        planned = await _plan(tx, values | {"provider": provider, "payment_id": payment_id}, min(payment.due, at_most))
    if planned is None:
        release = payment.payment_status == "authorized" and provider != AT_SHOP and request.return_id is None
        reference = f"{request.purpose}/{request.order_id}"
        return RefundPlan(0, payment.currency, provider, payment_id, reference, release=release)
    return RefundPlan(
        planned.amount,
        payment.currency,
        planned.provider,
        planned.payment_id,
        planned.reference,
        state=planned.state,
        refund_id=planned.refund_id,
    )


async def unclaimed(tx: AsyncSession, order_id: str) -> int:
    """Return what is known to be refunded elsewhere and counts for no return yet. The order must be locked."""
    values = {"order_id": order_id, "return_id": None}
    await tx.execute(READ, values)
    return int(await tx.scalar(READ_UNCLAIMED, values) or 0)


async def plan(
    tx: AsyncSession, order_id: str, purpose: str, provider: str, payment_id: str, *, at_most: int
) -> PlannedRefund | None:
    """Plan a refund of one payment, the same one each time; None if nothing is left. The order must be locked."""
    values = {"order_id": order_id, "purpose": purpose, "provider": provider, "payment_id": payment_id}
    payment = (await tx.execute(READ, values)).one()
    return await _find(tx, values) or await _plan(tx, values, min(payment.due, at_most))


async def _find(tx: AsyncSession, values: Mapping[str, Any]) -> PlannedRefund | None:
    row = (await tx.execute(PLANNED, values)).one_or_none()
    return PlannedRefund(*row) if row else None


async def _plan(tx: AsyncSession, values: Mapping[str, Any], amount: int) -> PlannedRefund | None:
    return PlannedRefund(*(await tx.execute(PLAN, {**values, "amount": amount})).one()) if amount > 0 else None


async def record_made(
    tx: AsyncSession, request: RefundRequest, refund_id: str | None, *, is_pending: bool = False
) -> None:
    """Record that a planned refund was made, or is pending; `refund_id` is the provider's.

    Does nothing if that is known.
    """
    values = request.model_dump(include={"order_id", "purpose"}) | {"refund_id": refund_id}
    await tx.execute(MARK, values | {"state": "pending" if is_pending else "made"})


async def record_elsewhere(tx: AsyncSession, request: RefundRequest) -> None:
    """Record that the amount of a planned refund was refunded before, not by this shop."""
    await tx.execute(MOVE_ELSEWHERE, request.model_dump(include={"order_id", "purpose"}))


async def due(tx: AsyncSession, request: RefundRequest) -> int:
    """Return the amount of a refund that is planned but was not made; 0 if there is none."""
    return (await tx.scalar(DUE, request.model_dump(include={"order_id", "purpose"}))) or 0


async def take_pending(tx: AsyncSession, providers: list[str], limit: int) -> list[PendingRefund]:
    """Return pending refunds of these providers that are to be looked up now. No other caller gets them for a while."""
    return [PendingRefund(*row) for row in await tx.execute(TAKE_PENDING, {"providers": providers, "limit": limit})]


async def settle(tx: AsyncSession, refund: PendingRefund, *, failed: bool) -> bool:
    """Record that a pending refund has succeeded, or has failed and is due again. Return False if that is known."""
    values = {"id": refund.id, "refund_id": refund.refund_id, "state": "due" if failed else "made"}
    return (await tx.execute(SETTLE, values)).one_or_none() is not None
