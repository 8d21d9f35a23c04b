"""Revision 0014: refunds that were known before it belong to the days of their orders."""

from commerce import migrations
from tests.commerce.migrations.old_shop import REVISIONS, fetch_column
from tests.conftest import run_sql

REVISION = "0014"
BEFORE = REVISIONS[REVISIONS.index(REVISION) - 1]
ORDERS = """
    UPDATE orders SET payment_status = 'partially_refunded', refunded_total = 50 WHERE id LIKE 'customer-1@%';
    UPDATE orders SET payment_status = 'refunded' WHERE id LIKE 'customer-2@%';
    UPDATE orders SET payment_status = 'refunded', refunded_total = 999 WHERE id LIKE 'customer-3@%';
    UPDATE orders SET payment_status = 'refunded', cancelled_at = now() WHERE id LIKE 'customer-4@%';
    UPDATE orders SET payment_status = 'cancelled', refunded_total = 50 WHERE id LIKE 'customer-5@%';
"""
REFUNDS = (
    "SELECT concat_ws(' ', order_id, amount, known_at = created_at) FROM refunds JOIN orders ON orders.id = order_id"
)


async def test_earlier_refunds_are_recorded_once(filled: str) -> None:
    await migrations.upgrade(filled, BEFORE)
    await run_sql(filled, ORDERS)
    for _ in range(2):
        await migrations.upgrade(filled, REVISION)
        assert sorted(await fetch_column(filled, REFUNDS)) == [
            "customer-1@shop.example 50 t",
            "customer-2@shop.example 250 t",
            "customer-3@shop.example 250 t",
        ]
        await run_sql(filled, f"UPDATE alembic_version SET version_num = '{BEFORE}'")  # as if it had been interrupted
