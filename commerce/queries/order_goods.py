"""What the warehouse has picked for an order, and what was captured and refunded of its payment."""

from collections import Counter
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.captures import UNDO
from commerce.messages.order_views import CaptureView, PickLineView, PickView, RefundView
from commerce.messages.picks import STEP
from commerce.messages.returns import PROCESS_ID_PREFIX

# A person can answer for the warehouse. Then only the step's answer has what is missing, and it is what counts.
PICKS = text("""
    SELECT CAST(pick.id AS text) AS pick_id, CAST(fulfillment_id AS text) AS fulfillment_id, pick.round,
           location.name AS location, lines, pick.created_at, withdrawn_at,
           coalesce(pick.answered_at, wait.answered_at) AS answered_at,
           CASE WHEN wait.kind IS NULL THEN missing ELSE coalesce(wait.data -> 'missing', '[]') END AS missing
    FROM fulfillments JOIN picks AS pick ON pick.fulfillment_id = fulfillments.id
    LEFT JOIN locations AS location ON location.id = from_location_id
    LEFT JOIN step_waits AS wait ON wait.business_key = pick.business_key AND wait.generation = pick.generation
                                AND wait.round = pick.round AND wait.step = :step AND wait.kind = 'success'
    WHERE order_id = :order_id AND lines IS NOT NULL
    ORDER BY pick.created_at, pick.id
""")
CAPTURES = text("""
    SELECT amount, provider, ours, captured_at FROM order_captures WHERE order_id = :order_id ORDER BY captured_at
""")
REFUNDS = text("""
    SELECT purpose, amount, currency, state, provider, refund.created_at, made_at
    FROM order_refunds AS refund JOIN orders ON orders.id = order_id WHERE order_id = :order_id
    ORDER BY refund.created_at, refund.id
""")


async def load_picks(tx: AsyncSession, order_id: str) -> list[PickView]:
    """Return what the warehouse was asked to pick for an order, oldest first."""
    return [_pick(dict(row)) for row in (await tx.execute(PICKS, {"order_id": order_id, "step": STEP})).mappings()]


async def load_captures(tx: AsyncSession, order_id: str) -> list[CaptureView]:
    """Return the captured payments of an order."""
    rows = (await tx.execute(CAPTURES, {"order_id": order_id})).mappings()
    return [CaptureView.model_validate(dict(row)) for row in rows]


async def load_refunds(tx: AsyncSession, order_id: str) -> list[RefundView]:
    """Return the refunds that this shop makes or has made for an order, oldest first."""
    return [_refund(dict(row)) for row in (await tx.execute(REFUNDS, {"order_id": order_id})).mappings()]


def _pick(row: dict[str, Any]) -> PickView:
    missing: Counter[str] | None = None
    if row["missing"] is not None:
        missing = Counter()
        for each in row["missing"]:
            if each["fulfillment_id"] == row["fulfillment_id"]:
                missing[each["sku"]] += each["quantity"]
    lines = [
        PickLineView(
            sku=line["sku"], quantity=line["quantity"], missing=None if missing is None else missing[line["sku"]]
        )
        for line in row["lines"]
    ]
    state = "asked" if missing is None else "short" if missing.total() else "picked"
    if row["withdrawn_at"]:
        state = "withdrawn"
    return PickView.model_validate(row | {"lines": lines, "state": state})


def _refund(row: dict[str, Any]) -> RefundView:
    purpose, return_id = row["purpose"], None
    if purpose.startswith(PROCESS_ID_PREFIX):
        purpose, return_id = PROCESS_ID_PREFIX.removesuffix("-"), purpose.removeprefix(PROCESS_ID_PREFIX)
    elif purpose.startswith(f"{UNDO}/"):  # the rest names the payment
        purpose = UNDO
    return RefundView.model_validate(row | {"purpose": purpose, "return_id": return_id})
