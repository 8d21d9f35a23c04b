"""Lists of returns, and one return."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.errors import BadInput, ReturnNotFound
from commerce.messages.base import FieldError
from commerce.messages.return_views import ReturnLineView, ReturnPage, ReturnView
from commerce.messages.returns import PROCESS_ID_PREFIX, ReturnState, return_process_id

MAX_PAGE = 200
IDS = text("SELECT id FROM order_returns WHERE id = :reference OR tracking_number = :reference LIMIT 2")
OF_ORDERS = text("""
    SELECT id FROM order_returns WHERE order_id = ANY(CAST(:order_ids AS text[])) ORDER BY created_at, id
""")
ORDERS = text("SELECT id, order_id FROM order_returns WHERE id = ANY(CAST(:ids AS text[]))")
PLACE = text("SELECT created_at, id FROM order_returns WHERE id = :cursor")
PAGE = "SELECT id FROM order_returns WHERE {conditions} ORDER BY created_at DESC, id DESC LIMIT :limit"
CONDITIONS = {
    "state": "state = :state",
    "order_id": "order_id = :order_id",
    "cursor": "(created_at, id) < (CAST(:created_at AS timestamptz), CAST(:cursor AS text))",
}
VIEWS = text("""
    SELECT returned.id AS return_id, returned.order_id, number, returned.state, location.name AS location, carrier,
           tracking_number, label_url, currency, worth AS amount, refunded_elsewhere, returned.created_at, received_at,
           ended_at,
           coalesce(sum(refund.amount) FILTER (WHERE refund.state <> 'due'), 0) AS refunded,
           coalesce(sum(refund.amount) FILTER (WHERE refund.state = 'due'), 0) AS refund_due
    FROM (SELECT id, order_id, state, location_id, carrier, tracking_number, label_url, amount AS worth,
                 refunded_elsewhere, created_at, received_at, ended_at
          FROM order_returns WHERE id = ANY(CAST(:ids AS text[]))) AS returned
    JOIN orders ON orders.id = returned.order_id
    LEFT JOIN locations AS location ON location.id = location_id
    LEFT JOIN order_refunds AS refund ON refund.order_id = orders.id AND purpose = :prefix || returned.id
    GROUP BY returned.id, returned.order_id, number, returned.state, location.name, carrier, tracking_number, label_url,
             currency, worth, refunded_elsewhere, returned.created_at, received_at, ended_at
""")
LINES = text("""
    SELECT return_id, position AS line, sku, title, part.quantity, received, sellable
    FROM order_return_lines AS part JOIN order_lines ON order_lines.id = order_line_id
    WHERE return_id = ANY(CAST(:ids AS text[])) ORDER BY return_id, position
""")


async def list_returns(
    tx: AsyncSession,
    *,
    state: ReturnState | None = None,
    order_id: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> ReturnPage:
    """Return a page of returns, latest first; `limit` is 1 to 200. Raises BadInput naming the wrong fields."""
    if not 1 <= limit <= MAX_PAGE:
        raise BadInput([FieldError(field="limit", message=f"must be 1 to {MAX_PAGE}")])
    values: dict[str, Any] = {"state": state, "order_id": order_id, "cursor": cursor}
    given = [condition for name, condition in CONDITIONS.items() if values[name] is not None]
    if cursor is not None:
        place = (await tx.execute(PLACE, {"cursor": cursor})).one_or_none()
        if place is None:
            raise BadInput([FieldError(field="cursor", message="must be the next_cursor of an earlier page")])
        values["created_at"] = place.created_at
    page = text(PAGE.format(conditions=" AND ".join(given) or "true"))
    used = {name: value for name, value in values.items() if value is not None}
    ids = list(await tx.scalars(page, used | {"limit": limit + 1}))
    found = await load_returns(tx, ids[:limit])
    return ReturnPage(returns=found, next_cursor=ids[limit - 1] if len(ids) > limit else None)


async def of_orders(tx: AsyncSession, order_ids: Collection[str]) -> list[str]:
    """Return the ids of all returns of these orders, oldest first."""
    return list(await tx.scalars(OF_ORDERS, {"order_ids": list(order_ids)}))


async def find_return(tx: AsyncSession, reference: str) -> ReturnView:
    """Return the return with this id or tracking number. Raises ReturnNotFound."""
    ids = list(await tx.scalars(IDS, {"reference": reference.strip()}))
    if len(ids) != 1:
        raise ReturnNotFound(reference)
    return (await load_returns(tx, ids))[0]


async def load_returns(tx: AsyncSession, ids: Sequence[str]) -> list[ReturnView]:
    """Return the returns with these ids, in this order; ids of no return are left out."""
    values = {"ids": list(ids)}
    lines: dict[str, list[ReturnLineView]] = {}
    for row in (await tx.execute(LINES, values)).mappings():
        lines.setdefault(row["return_id"], []).append(ReturnLineView.model_validate(dict(row)))
    views = {}
    for row in (await tx.execute(VIEWS, values | {"prefix": PROCESS_ID_PREFIX})).mappings():
        return_id = row["return_id"]
        more = {"lines": lines.get(return_id, []), "transaction_id": return_process_id(return_id)}
        views[return_id] = ReturnView.model_validate(dict(row) | more)
    return [views[return_id] for return_id in ids if return_id in views]


async def orders_of(tx: AsyncSession, return_ids: Collection[str]) -> dict[str, str]:
    """Return the ids of the orders of returns, by the id of the return."""
    rows = await tx.execute(ORDERS, {"ids": list(return_ids)})
    return {row.id: row.order_id for row in rows}
