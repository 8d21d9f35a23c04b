"""How much waits for somebody or something. Each count reads an index and stops at a limit, so that it stays cheap."""

from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.messages.order_views import OrderStatus
from commerce.order_status import has_status

MOST = 10_000  # counted; a count of MOST means this many or more
COUNTED: tuple[OrderStatus, ...] = ("open", "waiting_for_stock", "on_hold", "unpaid", "cancelling")
COUNT = text(f"""
    SELECT {
    ", ".join(
        f"(SELECT count(*) FROM (SELECT FROM orders WHERE {has_status(status)} LIMIT {MOST}) AS found) AS {status}"
        for status in COUNTED
    )
},
    (SELECT count(*) FROM (SELECT DISTINCT inventory_item_id FROM inventory_levels WHERE oversold LIMIT {
    MOST
}) AS found)
        AS oversold,
    (SELECT count(*) FROM (SELECT FROM notifications WHERE status <> 'sent' AND status <> 'failed' LIMIT {MOST})
        AS found) AS queued_mails,
    (SELECT count(*) FROM (SELECT FROM notifications WHERE status <> 'sent' AND status = 'failed' LIMIT {MOST})
        AS found) AS failed_mails,
    (SELECT count(*) FROM (SELECT FROM order_returns WHERE state = 'open' LIMIT {MOST}) AS found) AS open_returns,
    (SELECT count(*) FROM (SELECT FROM order_returns WHERE state = 'received' LIMIT {
    MOST
}) AS found) AS received_returns
""")  # noqa: S608 - our own constants


class Counts(NamedTuple):
    """Orders by state, items of which more is reserved than there is, mails that were not sent, and returns.

    `open_returns` wait for their goods; `received_returns` have them, and are not refunded yet.
    """

    orders: dict[OrderStatus, int]
    oversold: int
    queued_mails: int
    failed_mails: int
    open_returns: int
    received_returns: int


async def count_today(tx: AsyncSession) -> Counts:
    """Return the counts, each at most MOST."""
    row = (await tx.execute(COUNT)).mappings().one()
    orders = {status: int(row[status]) for status in COUNTED}
    return Counts(orders, *(row[name] for name in Counts._fields[1:]))
