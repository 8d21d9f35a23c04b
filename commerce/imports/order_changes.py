"""Change known orders to what their sources say now, and publish `order.updated` and `order.cancelled`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic_core import to_json
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import forgotten, outbox, sales
from commerce.imports import order_merge
from commerce.imports.new_order import ORDER_FIELDS, NewOrderLine
from commerce.imports.order_merge import DECISIVE, MergedLines, StoredLine
from commerce.messages.events import OrderCancelled, OrderUpdated
from commerce.open_orders import IS_OPEN
from commerce.outbox import NewEvent

# The source's names of our fields, where they differ.
SOURCE_NAMES = {
    "payment_status": "financial_status",
    "shipping_total": "shipping",
    "discount_total": "discount_amount",
    "tax_total": "taxes",
    "duties_total": "duties",
    "tip_total": "tip",
    "refunded_total": "refunded_amount",
    "outstanding_total": "outstanding_balance",
    "note": "notes",
}
LINE_FIELDS = NewOrderLine._fields

# The order's lock makes changes, and the decisions of its run, take turns.
LOCK_ORDERS = text(f"""
    SELECT id, revision, corrections, cancellation, content_hash, forgotten_at, {", ".join(ORDER_FIELDS)}
    FROM orders WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE
""")  # noqa: S608 - our own columns
READ_LINES = text(f"""
    SELECT order_id, id, {", ".join(LINE_FIELDS)} FROM order_lines
    WHERE order_id = ANY(:ids) ORDER BY order_id, position
""")  # noqa: S608 - our own columns
WRITE_GUESTS = text("""
    INSERT INTO customers (email, has_account, created_at)
    SELECT email, false, min(created_at) FROM jsonb_to_recordset(CAST(:guests AS jsonb))
        AS guest (email text, created_at timestamptz)
    GROUP BY email ORDER BY email
    ON CONFLICT (email) DO NOTHING
""")
# A change ends the hold of an order that failed, and its wait for stock: it may succeed now. It does not end the hold
# of an operator.
WRITE_ORDERS = text(f"""
    WITH written AS (
        UPDATE orders
        SET {", ".join(f"{name} = changed.{name}" for name in ORDER_FIELDS)},
            corrections = changed.corrections, content_hash = changed.content_hash,
            customer_id = CASE WHEN orders.forgotten_at IS NULL
                THEN (SELECT customers.id FROM customers WHERE customers.email = changed.email)
                ELSE orders.customer_id END,
            forgotten_at = changed.forgotten_at,
            revision = orders.revision + 1,
            decisive_revision = CASE WHEN decisive THEN orders.revision + 1 ELSE orders.decisive_revision END,
            hold_reason = CASE WHEN NOT decisive OR orders.hold_reason NOT LIKE 'failed:%' THEN orders.hold_reason END,
            waits_for_backorders = CASE WHEN NOT decisive THEN orders.waits_for_backorders END
        FROM jsonb_populate_recordset(CAST(NULL AS orders), CAST(:orders AS jsonb)) AS changed
        JOIN jsonb_to_recordset(CAST(:orders AS jsonb)) AS mark (id text, decisive boolean) USING (id)
        WHERE orders.id = changed.id
        RETURNING orders.*
    )
    SELECT id, revision, fulfillment_status = 'fulfilled' AS fulfilled, {IS_OPEN} AND hold_reason IS NULL AS open
    FROM written AS orders
""")  # noqa: S608 - our own columns
REMEMBER = text("""
    UPDATE orders SET content_hash = received.content_hash,
                      updated_at = coalesce(received.updated_at, orders.updated_at)
    FROM jsonb_to_recordset(CAST(:orders AS jsonb)) AS received (id text, content_hash text, updated_at timestamptz)
    WHERE orders.id = received.id
""")
WRITE_LINES = text(f"""
    UPDATE order_lines AS line SET {", ".join(f"{name} = changed.{name}" for name in LINE_FIELDS)}
    FROM jsonb_populate_recordset(CAST(NULL AS order_lines), CAST(:lines AS jsonb)) AS changed
    WHERE line.id = changed.id
""")  # noqa: S608 - our own columns
ADD_LINES = text(f"""
    INSERT INTO order_lines (order_id, position, variant_id, {", ".join(LINE_FIELDS)})
    SELECT order_id, (SELECT coalesce(max(position), 0) FROM order_lines AS known WHERE known.order_id = added.order_id)
                     + row_number() OVER (PARTITION BY order_id ORDER BY position),
           variants.id, {", ".join(f"added.{name}" for name in LINE_FIELDS)}
    FROM jsonb_populate_recordset(CAST(NULL AS order_lines), CAST(:lines AS jsonb)) AS added
    LEFT JOIN variants ON variants.sku = added.sku
    ORDER BY order_id, position
""")  # noqa: S608 - our own columns


class ReceivedOrder(NamedTuple):
    """A known order as its source has sent it again: our id, the columns of `ORDER_FIELDS`, and its lines."""

    id: str
    columns: Mapping[str, Any]
    lines: Sequence[NewOrderLine]
    content_hash: str


@dataclass(frozen=True)
class Difference:
    """How a received order differs from the stored one: fields that were changed, and those that were not.

    Fields have the source's names. `kept` are those in which the stored order is known to be later, `fulfilled` those
    of them that stay because the order was fulfilled as it was.
    """

    order_id: str
    changed: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    fulfilled: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Change:
    received: ReceivedOrder
    stored: Row[Any]
    columns: dict[str, Any]
    lines: MergedLines | None
    difference: Difference

    @property
    def outdated(self) -> bool:
        """Whether the source itself says that it has changed the order since."""
        return order_merge.is_outdated(self.stored._asdict(), self.received.columns)

    @property
    def decisive(self) -> bool:
        return bool(self.lines and self.lines.decisive) or not DECISIVE.isdisjoint(self.columns)

    @property
    def changes_figures(self) -> bool:
        """Whether the change is of something that the figures of a day depend on."""
        return self.lines is not None or not sales.RELEVANT.isdisjoint(self.columns)

    @property
    def cancels(self) -> bool:
        """Whether the change cancels the order."""
        before = {name: getattr(self.stored, name) for name in ("cancelled_at", "payment_status")}
        return _is_cancelled(before | self.columns) and not _is_cancelled(before)


async def apply(tx: AsyncSession, received: Sequence[ReceivedOrder]) -> list[Difference]:
    """Change orders to what their sources say now, as far as that is later; return one difference per order.

    Lines are changed or removed, but never deleted, because reservations and fulfillments refer to them.
    """
    ids = {"ids": [order.id for order in received]}
    stored = {row.id: row for row in await tx.execute(LOCK_ORDERS, ids)}
    lines: dict[str, list[StoredLine]] = {order_id: [] for order_id in stored}
    for order_id, line_id, *values in await tx.execute(READ_LINES, ids):
        lines[order_id].append(StoredLine(line_id, NewOrderLine._make(values)))
    changes = [_change(order, stored[order.id], lines[order.id]) for order in received]
    if changed := [change for change in changes if change.difference.changed]:
        await _write(tx, changed)
    if same := [change.received for change in changes if not change.difference.changed and not change.outdated]:
        seen = [
            {"id": each.id, "content_hash": each.content_hash, "updated_at": each.columns["updated_at"]}
            for each in same
        ]
        await tx.execute(REMEMBER, {"orders": _json(seen)})
    return [change.difference for change in changes]


async def correct(tx: AsyncSession, order_id: str, values: Mapping[str, Any]) -> list[str] | None:
    """Change columns of an order to what an operator says; return the names of those that differ, None: no such order.

    This is a change like any other, but its values stay until the source states others than it does now (V11).
    """
    stored = (await tx.execute(LOCK_ORDERS, {"ids": [order_id]})).one_or_none()
    if stored is None:
        return None
    old = stored._asdict()
    changes = {name: value for name, value in values.items() if value != old[name]}
    if changes:
        sources = {name: old[name] for name in changes} | (old["corrections"] or {})
        corrections = {name: value for name, value in sources.items() if (old | changes)[name] != value}
        same = ReceivedOrder(order_id, old, (), old["content_hash"])
        change = _Change(
            same, stored, changes | {"corrections": corrections or None}, None, Difference(order_id, [*changes])
        )
        await _write(tx, [change])
    return _source_names([*changes])


def _change(received: ReceivedOrder, stored: Row[Any], stored_lines: Sequence[StoredLine]) -> _Change:
    old = stored._asdict()
    new = forgotten.keep_forgotten(old, received.columns)
    received = received._replace(columns=new)
    merged = order_merge.merge(old, new)
    lines = order_merge.merge_lines(stored_lines, received.lines, later=order_merge.states_later_time(old, new))
    lines_differ = bool(lines.changed or lines.added)
    keeps_lines = order_merge.keeps_lines(old, new)
    if forgotten.is_forgotten_now(old, new):
        merged = order_merge.Merged(merged.changes | forgotten.erasure(old, new), [])
    changed = _source_names([name for name in merged.changes if name in ORDER_FIELDS and name != "updated_at"])
    kept = [*merged.kept, *(["lines"] if lines_differ and keeps_lines else [])]
    if lines_differ and not keeps_lines:
        changed.append("lines")
    fulfilled = [name for name in kept if order_merge.stays_as_fulfilled(old, new, name)]
    difference = Difference(received.id, changed, _source_names(kept), _source_names(fulfilled))
    return _Change(received, stored, merged.changes, lines if lines_differ and not keeps_lines else None, difference)


async def _write(tx: AsyncSession, changes: Sequence[_Change]) -> None:
    guests = [
        {"email": email, "created_at": change.received.columns["created_at"]}
        for change in changes
        if (email := change.columns.get("email"))
    ]
    if guests:
        await tx.execute(WRITE_GUESTS, {"guests": _json(guests)})
    sold = [change.received.id for change in changes if change.changes_figures]
    await sales.mark_days(tx, sold)  # as they were before
    written = await tx.execute(WRITE_ORDERS, {"orders": _json([_row(change) for change in changes])})
    if changed := [
        {"id": line_id, **line._asdict()}
        for change in changes
        for line_id, line in (change.lines.changed if change.lines else ())
    ]:
        await tx.execute(WRITE_LINES, {"lines": _json(changed)})
    if added := [
        {"order_id": change.received.id, "position": position, **line._asdict()}
        for change in changes
        for position, line in enumerate(change.lines.added if change.lines else ())
    ]:
        await tx.execute(ADD_LINES, {"lines": _json(added)})
    await sales.record(tx, sold)
    by_id = {change.received.id: change for change in changes}
    events = [event for row in written for event in _events(by_id[row.id], row)]
    await outbox.add(tx, *events)


def _row(change: _Change) -> dict[str, Any]:
    stored = {name: getattr(change.stored, name) for name in ("id", "corrections", "forgotten_at", *ORDER_FIELDS)}
    return stored | change.columns | {"content_hash": change.received.content_hash, "decisive": change.decisive}


def _events(change: _Change, written: Row[Any]) -> list[NewEvent]:
    order_id = change.received.id
    process = "unaffected" if not change.decisive or written.fulfilled else "needed" if written.open else "outdated"
    updated = OrderUpdated(
        order_id=order_id, revision=written.revision, fields=change.difference.changed, process=process
    )
    place = {"aggregate": f"order/{order_id}", "key": f"{order_id}/{written.revision}"}
    events = [NewEvent.from_data(updated, **place)]
    if change.cancels:
        cancelled = OrderCancelled(order_id=order_id, revision=written.revision, fulfilled=written.fulfilled)
        events.append(NewEvent.from_data(cancelled, **place))
    return events


def _source_names(fields: Sequence[str]) -> list[str]:
    return [SOURCE_NAMES.get(name, name) for name in fields]


def _is_cancelled(columns: Mapping[str, Any]) -> bool:
    return columns["cancelled_at"] is not None or columns["payment_status"] == "cancelled"


def _json(rows: Sequence[Mapping[str, Any]]) -> str:
    return to_json(rows).decode()
