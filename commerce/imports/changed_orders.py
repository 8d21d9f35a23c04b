"""Change the known orders that an import has staged with other content."""

from collections.abc import AsyncIterator

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.imports import order_changes
from commerce.imports.new_order import ORDER_FIELDS, NewOrderLine
from commerce.imports.order_changes import ReceivedOrder
from commerce.imports.order_rows import HEAD_COLUMNS
from commerce.imports.report import Tally

BATCH = 500  # orders in memory
LATER = "what is known of the order is later"
FULFILLED = "the order was fulfilled here before it was changed, so these stay as they were"

INDEX_LINES = text("CREATE INDEX ON staged_lines (first_line)")
MARK_KNOWN = text("UPDATE staged_orders SET state = 'known' WHERE line = ANY(:lines)")
ANY_CHANGED = text("SELECT EXISTS (SELECT FROM staged_orders WHERE state = 'changed')")
NEXT_ORDERS = text(f"""
    SELECT line, known_id, content_hash, forgotten_at, {", ".join(ORDER_FIELDS)} FROM staged_orders
    WHERE state = 'changed' AND known_id > :after ORDER BY known_id LIMIT {BATCH}
""")  # noqa: S608 - our own columns
LINES = text(f"""
    SELECT first_line, {", ".join(NewOrderLine._fields)} FROM staged_lines
    WHERE first_line = ANY(:lines) ORDER BY first_line, position
""")  # noqa: S608 - our own columns


async def change_orders(session: AsyncSession, tally: Tally) -> None:
    """Change the orders that are staged as `changed`; warn of what is not taken over.

    Those of which nothing was to change become `known`.
    """
    if not await session.scalar(ANY_CHANGED):
        return
    await session.execute(INDEX_LINES)
    async for batch in _read_batches(session):
        lines = {order.id: line for line, order in batch}
        differences = await order_changes.apply(session, [order for _, order in batch])
        same = [lines[difference.order_id] for difference in differences if not difference.changed]
        await session.execute(MARK_KNOWN, {"lines": same})
        for difference in differences:
            later = [name for name in difference.kept if name not in difference.fulfilled]
            for reason, fields in ((LATER, later), (FULFILLED, difference.fulfilled)):
                if fields:
                    names = ", ".join(HEAD_COLUMNS.get(name, name) for name in fields)
                    tally.add_warning(lines[difference.order_id], f"{reason}: {names}")


async def _read_batches(session: AsyncSession) -> AsyncIterator[list[tuple[int, ReceivedOrder]]]:
    after = ""
    while rows := (await session.execute(NEXT_ORDERS, {"after": after})).all():
        lines: dict[int, list[NewOrderLine]] = {row.line: [] for row in rows}
        for first_line, *values in await session.execute(LINES, {"lines": list(lines)}):
            lines[first_line].append(NewOrderLine._make(values))
        yield [
            (row.line, ReceivedOrder(row.known_id, row._asdict(), lines[row.line], row.content_hash)) for row in rows
        ]
        after = rows[-1].known_id
