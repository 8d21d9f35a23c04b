"""What a person decides about an order: starting one that is on hold for that approves it (V1)."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.errors import HighRisk, NoShippingMethod, OrderRefused, PartlyRefunded
from commerce.shipping_rules import ShippingRules

APPROVABLE = (HighRisk, PartlyRefunded, NoShippingMethod)
# The run that was refused may try again if its answer was lost: that is no approval.
APPROVE = text("""
    UPDATE orders SET approved_revision = decisive_revision,
           approved_reasons = CASE WHEN approved_revision >= decisive_revision
                                   THEN coalesce(approved_reasons, '[]') ELSE '[]' END || to_jsonb(hold_reason)
    WHERE id = :order_id AND hold_reason = ANY(:approvable) AND held_by IS DISTINCT FROM :run
""")


async def approve(tx: AsyncSession, order_id: str, run: str) -> None:
    """Record that a person has started an order that was on hold for them.

    This approves what the order was on hold for, until the source's next change that matters to processing.

    `run`: the generation of the run that this started.
    """
    await tx.execute(APPROVE, {"order_id": order_id, "approvable": [_reason(kind) for kind in APPROVABLE], "run": run})


def raise_unless_approved(
    order_id: str, order: Row[Any], rules: ShippingRules, *, is_risk_reviewed: bool = False
) -> None:
    """Raise HighRisk, PartlyRefunded or NoShippingMethod if a person must still decide about an order.

    `order` is a row of `orders.READ`. `is_risk_reviewed`: orders of high risk wait for a review instead.
    """
    for refusal in _to_decide(order_id, order, rules):
        if isinstance(refusal, HighRisk) and is_risk_reviewed:
            continue
        if _reason(type(refusal)) not in (order.approved or ()):
            raise refusal


def _to_decide(order_id: str, order: Row[Any], rules: ShippingRules) -> Iterator[OrderRefused]:
    if order.risk_level == "high":
        yield HighRisk(order_id)
    if order.payment_status == "partially_refunded":
        yield PartlyRefunded(order_id, advice=_refund_advice(order))
    if order.ships and not order.method and rules.holds_without_method:
        yield NoShippingMethod(order_id)


def _refund_advice(order: Row[Any]) -> str:
    """Return what a person must know and check before they start a partly refunded order."""
    units = f"{order.units:,} unit{'s' * (order.units != 1)}"
    if order.knows_refunds:
        return f"units refunded: {order.refunded_units:,}; started, it ships the {units} left"
    known = f" (at least {order.refunded_units:,})" if order.refunded_units else ""
    return (
        f"which units is not known{known}, so compare it with its shop; started, it ships "
        f"{units}; to ship fewer, send it again with refunded_quantity of its lines, or ship it in its shop"
    )


def _reason(kind: type[OrderRefused]) -> str:
    """Return the reason for which an order is on hold."""
    return f"failed: {kind.__name__}"
