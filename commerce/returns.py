"""Returns of fulfilled orders: what is to come back, and what came back (R1 to R5).

All changes of an order's returns take turns by the lock of the order. Its lines count the units that came back and
those that are to, and a CHECK keeps both within what was sent.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import generations, notifications, orders, outbox, payments, return_lines, return_stock, sales
from commerce.errors import (
    BadInput,
    FulfilledElsewhere,
    OrderCancelled,
    OrderNotFound,
    OrderNotFulfilled,
    PartlyFulfilled,
    ReturnNotFound,
)
from commerce.messages.base import FieldError
from commerce.messages.events import OrderReturned
from commerce.messages.returns import (
    CompletedReturn,
    NewReturn,
    ReceivedReturn,
    ReceivedUnits,
    RegisteredReturn,
    ReturnReceipt,
    ReturnRef,
    return_process_id,
    returned_key,
)
from commerce.outbox import NewEvent
from commerce.return_lines import Line, Part

ORDER = text("SELECT fulfillment_status, cancellation FROM orders WHERE id = :order_id")
READ = text("""
    SELECT order_id, state, amount, location_id, refund, asked_at,
           (SELECT email FROM orders WHERE orders.id = order_id) AS email,
           (SELECT currency FROM orders WHERE orders.id = order_id) AS currency,
           (SELECT CAST(coalesce(sum(received), 0) AS bigint) FROM order_return_lines
            WHERE return_id = order_returns.id) AS units,
           (SELECT CAST(coalesce(sum(quantity), 0) AS bigint) FROM order_return_items
            WHERE return_id = order_returns.id) AS restocked
    FROM order_returns WHERE id = :return_id
""")
ORDER_LINES = text("""
    SELECT id, position, sku, quantity - returned_quantity - returning_quantity AS units FROM order_lines
    WHERE order_id = :order_id ORDER BY position
""")
RETURN_LINES = text("""
    SELECT line.id, position, sku, part.quantity AS units
    FROM order_return_lines AS part JOIN order_lines AS line ON line.id = order_line_id
    WHERE return_id = :return_id ORDER BY position
""")
# The parcel goes to one place: the one that most of its units came from.
REGISTER = text("""
    INSERT INTO order_returns AS known
        (id, order_id, location_id, refund, refund_shipping, unclaimed_before, created_at)
    SELECT :return_id, :order_id, (
               SELECT location_id FROM fulfillment_items AS item
               JOIN fulfillments AS fulfillment ON fulfillment.id = fulfillment_id AND cancelled_at IS NULL
               JOIN locations ON locations.id = location_id
               WHERE order_line_id = ANY(CAST(:ids AS bigint[]))
               GROUP BY location_id, priority ORDER BY sum(quantity) DESC, priority, location_id LIMIT 1),
           :refund, :refund_shipping, :unclaimed, clock_timestamp()
    ON CONFLICT (id) DO UPDATE
    SET state = 'open', location_id = excluded.location_id, refund = excluded.refund,
        refund_shipping = excluded.refund_shipping, unclaimed_before = excluded.unclaimed_before, shipment_id = NULL,
        tracking_number = NULL, label_url = NULL, carrier = NULL, created_at = excluded.created_at, asked_at = NULL,
        ended_at = NULL
    WHERE known.order_id = excluded.order_id AND known.state = 'closed'
    RETURNING id
""")
DELETE_LINES = text("DELETE FROM order_return_lines WHERE return_id = :return_id")
ADD_LINES = text("""
    WITH part AS (
        SELECT * FROM unnest(CAST(:ids AS bigint[]), CAST(:units AS int[])) AS part (id, units)
    ), claimed AS (
        UPDATE order_lines SET returning_quantity = returning_quantity + units FROM part
        WHERE order_lines.id = part.id
    )
    INSERT INTO order_return_lines (return_id, order_line_id, quantity) SELECT :return_id, id, units FROM part
""")
# Only goods that left with a label get one to come back with.
NEEDS_LABEL = text("""
    SELECT EXISTS (SELECT FROM fulfillments
                   WHERE order_id = :order_id AND cancelled_at IS NULL AND shipment_id IS NOT NULL)
       AND EXISTS (SELECT FROM order_return_lines JOIN order_lines AS line ON line.id = order_line_id
                   WHERE return_id = :return_id AND requires_shipping)
""")
CLOSE = text("""
    WITH closed AS (
        UPDATE order_returns SET state = 'closed', ended_at = clock_timestamp()
        WHERE id = :return_id AND state = 'open' RETURNING id
    )
    UPDATE order_lines SET returning_quantity = returning_quantity - part.quantity
    FROM closed JOIN order_return_lines AS part ON return_id = closed.id
    WHERE order_lines.id = order_line_id
""")
MARK_ASKED = text("""
    UPDATE order_returns SET asked_at = coalesce(asked_at, clock_timestamp()) WHERE id = :return_id AND state = 'open'
    RETURNING (SELECT nullif(email, '') FROM orders WHERE orders.id = order_id) AS email
""")
RECEIVE = text("""
    WITH part AS (
        SELECT * FROM unnest(CAST(:ids AS bigint[]), CAST(:units AS int[]), CAST(:sellable AS int[]))
            AS part (id, units, sellable)
    ), came AS (
        UPDATE order_return_lines AS expected
        SET received = coalesce(part.units, 0), sellable = coalesce(part.sellable, 0)
        FROM order_return_lines AS known LEFT JOIN part ON part.id = known.order_line_id
        WHERE known.return_id = :return_id AND expected.return_id = known.return_id
          AND expected.order_line_id = known.order_line_id
        RETURNING expected.order_line_id, expected.quantity, expected.received
    )
    UPDATE order_lines AS line
    SET returning_quantity = returning_quantity - came.quantity, returned_quantity = returned_quantity + received
    FROM came WHERE line.id = came.order_line_id
""")
MARK_RECEIVED = text("""
    UPDATE order_returns SET state = 'received', received_at = clock_timestamp(), amount = :amount
    WHERE id = :return_id
""")
COMPLETE = text("""
    UPDATE order_returns SET state = 'completed', ended_at = coalesce(ended_at, clock_timestamp())
    WHERE id = :return_id
""")
REFUNDS = text("""
    SELECT coalesce(sum(amount) FILTER (WHERE state <> 'due'), 0) AS made,
           coalesce(sum(amount) FILTER (WHERE state = 'due'), 0) AS due
    FROM order_refunds WHERE order_id = :order_id AND purpose = :purpose
""")


async def check(tx: AsyncSession, ref: ReturnRef) -> bool:
    """Check that the order can have a return, and return whether the goods of this one are back already (R1).

    Raises OrderNotFound, OrderCancelled, FulfilledElsewhere, PartlyFulfilled, OrderNotFulfilled, and BadInput if the
    return is that of another order.
    """
    known = (await tx.execute(READ, {"return_id": ref.return_id})).one_or_none()
    if known is not None and known.order_id != ref.order_id:
        raise BadInput([FieldError(field="return_id", message="is that of another order's return")])
    if known is not None and known.state in ("received", "completed"):
        return True
    order = (await tx.execute(ORDER, {"order_id": ref.order_id})).one_or_none()
    if order is None:
        raise OrderNotFound(ref.order_id)
    if order.cancellation is not None:
        raise OrderCancelled(ref.order_id)
    if order.fulfillment_status != "fulfilled":
        kinds = {"fulfilled_elsewhere": FulfilledElsewhere, "partially_fulfilled": PartlyFulfilled}
        raise kinds.get(order.fulfillment_status, OrderNotFulfilled)(ref.order_id)
    return False


async def state_of(tx: AsyncSession, return_id: str) -> str | None:
    """Return the state of the return with this id, or None if there is none."""
    found = (await tx.execute(READ, {"return_id": return_id})).one_or_none()
    return found.state if found else None


async def check_items(tx: AsyncSession, wanted: NewReturn) -> list[Part]:
    """Return the units that the return is to bring back. Raises BadInput if the order has not as many."""
    rows = await tx.execute(ORDER_LINES, {"order_id": wanted.order_id})
    parts = return_lines.divide(wanted.items, [Line(*row) for row in rows], within="the order")
    if not parts:
        raise BadInput([FieldError(field="items", message="nothing of the order is left to be returned")])
    return parts


async def register(tx: AsyncSession, wanted: NewReturn, days: float) -> RegisteredReturn:
    """Register a return and claim its units; one that was closed is opened again. Raises what `check` raises."""
    if not await orders.lock(tx, wanted.order_id):
        raise OrderNotFound(wanted.order_id)
    if await check(tx, wanted) or await state_of(tx, wanted.return_id) == "open":
        raise BadInput([FieldError(field="return_id", message="is that of another return")])
    parts = await check_items(tx, wanted)
    values = {
        "order_id": wanted.order_id,
        "return_id": wanted.return_id,
        "refund": wanted.refund,
        "refund_shipping": wanted.refund_shipping,
        "unclaimed": await payments.unclaimed(tx, wanted.order_id),
        "ids": [part.line_id for part in parts],
        "units": [part.quantity for part in parts],
    }
    if (await tx.execute(REGISTER, values)).one_or_none() is None:  # one of another order has just taken the id
        raise BadInput([FieldError(field="return_id", message="is that of another order's return")])
    await tx.execute(DELETE_LINES, values)
    await tx.execute(ADD_LINES, values)
    needs_label = wanted.label and bool(await tx.scalar(NEEDS_LABEL, values))
    return RegisteredReturn(units=return_lines.count(parts), needs_label=needs_label, days=days)


async def close(tx: AsyncSession, ref: ReturnRef, key: str) -> None:
    """Close a return whose goods are not back, and queue the mail with this key if the customer was asked for them."""
    await orders.lock(tx, ref.order_id)
    found = await _find(tx, ref.return_id)
    if found.state != "open":
        return
    await tx.execute(CLOSE, {"return_id": ref.return_id})
    if found.asked_at is not None and found.email:
        await _mail(tx, ref, "return-closed", key, found.email)


async def ask(tx: AsyncSession, ref: ReturnRef, key: str, until: datetime) -> bool:
    """Queue the mail that asks the customer for the goods, with this key; return False without an address.

    `until`: when the return is closed.
    """
    asked = (await tx.execute(MARK_ASKED, {"return_id": ref.return_id})).one_or_none()
    if asked is None or asked.email is None:
        return False
    await _mail(tx, ref, "return-label", key, asked.email, until=until.isoformat())
    return True


async def check_receipt(tx: AsyncSession, return_id: str, receipt: ReturnReceipt) -> list[Part]:
    """Return the units that came back, by line. Raises BadInput if the return has no such units."""
    lines = [Line(*row) for row in await tx.execute(RETURN_LINES, {"return_id": return_id})]
    return return_lines.divide_receipt(receipt, lines)


async def receive(tx: AsyncSession, came: ReceivedUnits) -> ReceivedReturn:
    """Take back what came: put the sellable units on the shelf, and note what they are worth (R3, R4).

    Nothing of the return is undone any more. Does nothing if its goods are back already.
    """
    await orders.lock(tx, came.order_id)
    found = await _find(tx, came.return_id)
    if found.state == "open" and came.receipt is not None:
        parts = await check_receipt(tx, came.return_id, came.receipt)
        await _receive(tx, came, found, parts)
        found = await _find(tx, came.return_id)
    if found.state not in ("received", "completed"):
        raise ReturnNotFound(came.return_id)
    await generations.write_off(tx, return_process_id(came.return_id))
    return ReceivedReturn(units=found.units, restocked=found.restocked, refund=bool(found.amount))


async def complete(tx: AsyncSession, ref: ReturnRef) -> CompletedReturn:
    """Complete the return, write `order.returned` and queue the customer's mail, all once (R5)."""
    await orders.lock(tx, ref.order_id)
    await sales.mark_days(tx, [ref.order_id])  # as they were before
    await tx.execute(COMPLETE, {"return_id": ref.return_id})
    await sales.record(tx, [ref.order_id])
    found = await _find(tx, ref.return_id)
    purpose = return_process_id(ref.return_id)
    refund = (await tx.execute(REFUNDS, {"order_id": ref.order_id, "purpose": purpose})).one()
    data = OrderReturned(
        order_id=ref.order_id,
        return_id=ref.return_id,
        units=found.units,
        restocked=found.restocked,
        refunded=refund.made,
        refund_due=refund.due,
        currency=found.currency,
    )
    await outbox.add(tx, NewEvent.from_data(data, aggregate=f"order/{ref.order_id}", key=ref.return_id))
    if found.email:
        await _mail(tx, ref, "order-returned", returned_key(ref.return_id), found.email)
    return CompletedReturn(
        refunded=refund.made, refund_due=refund.due, currency=found.currency, has_email=bool(found.email)
    )


async def _receive(tx: AsyncSession, came: ReceivedUnits, found: Row[Any], parts: list[Part]) -> None:
    values = {
        "return_id": came.return_id,
        "ids": [part.line_id for part in parts],
        "units": [part.quantity for part in parts],
        "sellable": [part.sellable for part in parts],
    }
    before = await return_stock.worth(tx, came, received=False)
    await tx.execute(RECEIVE, values)
    worth = await return_stock.worth(tx, came, received=True)
    await return_stock.restock(tx, came, found.location_id)
    amount = worth - before if found.refund else 0
    await tx.execute(MARK_RECEIVED, {"return_id": came.return_id, "amount": amount})


async def _find(tx: AsyncSession, return_id: str) -> Row[Any]:
    found = (await tx.execute(READ, {"return_id": return_id})).one_or_none()
    if found is None:
        raise ReturnNotFound(return_id)
    return found


async def _mail(tx: AsyncSession, ref: ReturnRef, kind: str, key: str, recipient: str, **data: str) -> None:
    await notifications.queue(
        tx, key=key, kind=kind, recipient=recipient, order_id=ref.order_id, data={"return_id": ref.return_id} | data
    )
