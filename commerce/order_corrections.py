"""What operators change about an order that is not fulfilled: its shipping address, and its hold.

Changes follow the rules of those that the source makes (V11, V12): they raise the revision, write `order.updated`, and
a run under way begins anew.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import approvals, operator_actions, outbox
from commerce.countries import INVALID_COUNTRY, country_code
from commerce.errors import BadInput, CorrectionRefused, OrderNotFound
from commerce.imports import order_changes
from commerce.imports.parsers import LONG_TEXT, SHORT_TEXT
from commerce.messages.base import FieldError
from commerce.messages.events import OrderUpdated
from commerce.messages.operator_actions import Action, ActionName
from commerce.messages.orders import order_process_id
from commerce.open_orders import IS_OPEN
from commerce.outbox import NewEvent

BY_OPERATOR = "operator"  # the reason of such a hold
MAX_LENGTHS: Mapping[str, int] = {
    **dict.fromkeys(("name", "company", "address1", "address2"), LONG_TEXT),
    **dict.fromkeys(("city", "zip", "province", "country", "phone", "method"), SHORT_TEXT),
}
LOCK = text(f"""
    SELECT fulfillment_status, cancellation, cancelled_at IS NOT NULL OR payment_status = 'cancelled' AS cancelled,
           {IS_OPEN} AS open, hold_reason, forgotten_at IS NOT NULL AS forgotten
    FROM orders WHERE id = :order_id FOR NO KEY UPDATE
""")  # noqa: S608 - our own constant
HOLD = text("""
    UPDATE orders SET hold_reason = :reason, held_by = NULL, revision = revision + 1, decisive_revision = revision + 1
    WHERE id = :order_id RETURNING revision
""")
# No decisive change: what the person approves is the order as it is.
RELEASE = text("""
    UPDATE orders SET hold_reason = NULL, held_by = NULL, waits_for_backorders = NULL, revision = revision + 1
    WHERE id = :order_id RETURNING revision
""")


async def correct_address(
    tx: AsyncSession, order_id: str, address: Mapping[str, str | None], *, reason: str, actor: str
) -> list[str]:
    """Change fields of the shipping address, or the shipping `method`; return the names of the fields that differ.

    `address` has the fields of MAX_LENGTHS; an empty value deletes one. A hold of an order that has failed ends, and
    the order is processed. Raises OrderNotFound, BadInput naming the wrong fields, CorrectionRefused for a fulfilled
    order.
    """
    values = _columns(address)
    action = _action(order_id, "edit", reason, actor)
    if (await _lock_unfulfilled(tx, order_id)).forgotten:
        raise CorrectionRefused(order_id, "its customer was forgotten")
    changed = await order_changes.correct(tx, order_id, values) or []
    if changed:
        await operator_actions.record(tx, action)
    return changed


async def hold(tx: AsyncSession, order_id: str, *, reason: str, actor: str) -> None:
    """Put an open order on hold, so that it is processed only when a person releases it; a run under way stops.

    Raises OrderNotFound, CorrectionRefused if the order is not open, BadInput.
    """
    action = _action(order_id, "hold", reason, actor)
    order = await _lock_unfulfilled(tx, order_id)
    if not order.open:
        raise CorrectionRefused(order_id, "only an order that would be processed can be on hold")
    if order.hold_reason == BY_OPERATOR:
        return
    revision = await tx.scalar(HOLD, {"order_id": order_id, "reason": BY_OPERATOR})
    await _publish(tx, order_id, revision, process="outdated")
    await operator_actions.record(tx, action)


async def release(tx: AsyncSession, order_id: str, *, reason: str, actor: str) -> None:
    """End the hold of an order, approve what it was on hold for (V1), and have it processed.

    Raises OrderNotFound, CorrectionRefused if it is not on hold, BadInput.
    """
    action = _action(order_id, "release", reason, actor)
    order = await _lock_unfulfilled(tx, order_id)
    if not order.open or order.hold_reason is None:
        raise CorrectionRefused(order_id, "it is not on hold")
    await approvals.approve(tx, order_id, run="")
    revision = await tx.scalar(RELEASE, {"order_id": order_id})
    await _publish(tx, order_id, revision, process="needed")
    await operator_actions.record(tx, action)


async def _lock_unfulfilled(tx: AsyncSession, order_id: str) -> Row[Any]:
    order = (await tx.execute(LOCK, {"order_id": order_id})).one_or_none()
    if order is None:
        raise OrderNotFound(order_id)
    if order.fulfillment_status == "fulfilled":
        raise CorrectionRefused(order_id, "it is fulfilled; commerce orders cancel takes it back")
    if order.cancellation == "cancelling":
        raise CorrectionRefused(order_id, "cancel-order is taking it back")
    if order.cancellation is not None:
        raise CorrectionRefused(order_id, f"it is {order.cancellation}")
    return order


async def _publish(tx: AsyncSession, order_id: str, revision: int, *, process: Any) -> None:
    data = OrderUpdated(order_id=order_id, revision=revision, fields=["hold"], process=process)
    event = NewEvent.from_data(data, aggregate=f"order/{order_id}", key=f"{order_id}/{revision}")
    await outbox.add(tx, event)


def _columns(address: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return the columns of an address. Raises BadInput."""
    values = {name: (value or "").strip() or None for name, value in address.items()}
    problems = [
        FieldError(field=name, message=f"must have at most {MAX_LENGTHS[name]:,} characters")
        for name, value in values.items()
        if value and len(value) > MAX_LENGTHS[name]
    ]
    if country := values.get("country"):
        values["country"] = country_code(country)
        if values["country"] is None:
            problems.append(FieldError(field="country", message=INVALID_COUNTRY))
    if not values:
        problems.append(FieldError(field="address", message="must name a field to change"))
    if problems:
        raise BadInput(problems)
    columns = {f"shipping_{name}": value for name, value in values.items()}
    return columns | ({"shipping_province_name": None} if "province" in values else {})


def _action(order_id: str, action: ActionName, reason: str, actor: str) -> Action:
    return operator_actions.validate_action(
        process_id=order_process_id(order_id), action=action, reason=reason, actor=actor
    )
