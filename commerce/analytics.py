"""Count the figures of a day, one row per currency, and queue one report of them to the admins."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import notifications
from commerce.errors import BadInput
from commerce.messages.analytics import IN_THE_FUTURE, CountedDay, DayFigures
from commerce.messages.base import FieldError

TOP_PRODUCTS = 10  # best-selling products kept per day and currency
LOCK = text("SELECT pg_advisory_xact_lock(hashtext('commerce.analytics'), CAST(:day AS date) - DATE '2000-01-01')")
# Without custom plans, a connection that counts many days gets one generic plan, which takes several times as long.
# Just-in-time compilation would take longer than the rest of the statement. A low random_page_cost makes the planner
# look up the lines of the day by index, however many other days have.
PLAN = text("""
    SELECT set_config('plan_cache_mode', 'force_custom_plan', true), set_config('jit', 'off', true),
           set_config('random_page_cost', '1.1', true), set_config('statement_timeout', '150s', true)
""")
# One statement counts a day, so that its figures agree. Another one stores them, as a statement that writes gets no
# parallel workers. A currency has a row if it had orders. The shop's own also has one if no currency had orders, or if
# customers registered without ordering. A customer who ordered in several currencies counts in the first one.
COUNT = text("""
    WITH today AS NOT MATERIALIZED (
        SELECT id, customer_id, currency, total, created_at FROM orders
        WHERE created_at >= :start AND created_at < :end AND cancelled_at IS NULL AND payment_status <> 'cancelled'
    ), buyer AS (
        SELECT DISTINCT ON (customer_id) customer_id, currency
        FROM today WHERE customer_id IS NOT NULL ORDER BY customer_id, created_at, id COLLATE "C"
    ), visitor AS (
        SELECT buyer.currency, (registered_at >= :start AND registered_at < :end) IS TRUE OR NOT EXISTS (
            SELECT FROM orders AS earlier WHERE earlier.customer_id = buyer.customer_id AND created_at < :start
            AND cancelled_at IS NULL AND payment_status <> 'cancelled') AS new
        FROM buyer JOIN customers ON customers.id = customer_id
        UNION ALL
        SELECT :currency, true FROM customers
        WHERE registered_at >= :start AND registered_at < :end
          AND NOT EXISTS (SELECT FROM buyer WHERE customer_id = customers.id)
    ), people AS (
        SELECT currency, count(*) FILTER (WHERE new) AS new, count(*) FILTER (WHERE NOT new) AS known
        FROM visitor GROUP BY currency
    ), sale AS (
        SELECT currency, count(*) AS orders, sum(total) AS revenue FROM today GROUP BY currency
    ), sold AS (
        SELECT currency, variant_id, sum(quantity) AS units, sum(CAST(quantity AS numeric) * unit_price) AS revenue
        FROM today JOIN order_lines ON order_id = today.id
        WHERE variant_id IS NOT NULL AND quantity > 0 GROUP BY currency, variant_id
    ), ranked AS (
        SELECT currency, product_id, sum(units) AS units, sum(revenue) AS revenue, row_number() OVER (
            PARTITION BY currency ORDER BY sum(units) DESC, sum(revenue) DESC, product_id COLLATE "C") AS rank
        FROM sold JOIN variants ON variants.id = variant_id GROUP BY currency, product_id
    ), top AS (
        SELECT currency, jsonb_agg(jsonb_build_object(
            'id', product_id, 'title', title, 'units_sold', units, 'revenue', revenue) ORDER BY rank) AS products
        FROM ranked JOIN products ON products.id = product_id WHERE rank <= :top GROUP BY currency
    ), shown AS (
        SELECT currency FROM sale UNION SELECT currency FROM people
        UNION SELECT :currency WHERE NOT EXISTS (SELECT FROM sale)
    )
    SELECT currency, coalesce(orders, 0) AS orders,
           CAST(least(coalesce(revenue, 0), 9223372036854775807) AS bigint) AS revenue,
           CAST(coalesce(div(2 * revenue + orders, 2 * orders), 0) AS bigint) AS average_order_value,
           coalesce(new, 0) AS new_customers, coalesce(known, 0) AS returning_customers,
           coalesce(products, '[]') AS top_products
    FROM shown LEFT JOIN sale USING (currency) LEFT JOIN people USING (currency) LEFT JOIN top USING (currency)
    ORDER BY orders DESC, currency
""")
STORE = text("""
    WITH counted AS (
        SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS counted(
            currency text, orders int, revenue bigint, average_order_value bigint,
            new_customers int, returning_customers int, top_products jsonb)
    ), gone AS (
        DELETE FROM daily_metrics WHERE day = :day AND currency NOT IN (SELECT currency FROM counted) RETURNING true
    ), stored AS (
        INSERT INTO daily_metrics (day, currency, orders, revenue, average_order_value, new_customers,
                                   returning_customers, top_products)
        SELECT :day, counted.* FROM counted
        ON CONFLICT (day, currency) DO UPDATE
        SET (orders, revenue, average_order_value, new_customers, returning_customers, top_products, computed_at) =
            (excluded.orders, excluded.revenue, excluded.average_order_value, excluded.new_customers,
             excluded.returning_customers, excluded.top_products, now())
        RETURNING (old.orders, old.revenue, old.average_order_value, old.new_customers, old.returning_customers,
                   old.top_products) IS DISTINCT FROM
                  (new.orders, new.revenue, new.average_order_value, new.new_customers, new.returning_customers,
                   new.top_products) AS differs
    )
    SELECT EXISTS (SELECT FROM gone) OR EXISTS (SELECT FROM stored WHERE differs)
""")
DAY_STATUS = text("""
    SELECT :start > now() AS future, :end <= now() AS over,
           EXISTS (SELECT FROM daily_metrics WHERE day = :day AND computed_at >= :end) AS reported,
           NOT EXISTS (SELECT FROM daily_metrics WHERE day = CAST(:day AS date) - 1)
           AND EXISTS (SELECT FROM daily_metrics WHERE day < CAST(:day AS date) - 1) AS missed
""")


async def count_day(tx: AsyncSession, day: date, zone: ZoneInfo, currency: str, top: int = TOP_PRODUCTS) -> CountedDay:
    """Count a day of the shop's calendar, and replace the figures of an earlier count.

    `currency`: the shop's own, for a day without orders and for customers who registered without ordering; `top`: how
    many best-selling products to keep per currency. Average order values are rounded half up to a minor unit. Raises
    BadInput for a day in the future.
    """
    start, end = day_bounds(day, zone)
    await tx.execute(LOCK, {"day": day})
    await tx.execute(PLAN)
    status = (await tx.execute(DAY_STATUS, {"day": day, "start": start, "end": end})).one()
    if status.future:
        raise BadInput([FieldError(field="date", message=IN_THE_FUTURE)])
    values = {"start": start, "end": end, "currency": currency, "top": top}
    rows: list[dict[str, Any]] = [dict(row) for row in (await tx.execute(COUNT, values)).mappings()]
    changed = (await tx.execute(STORE, {"day": day, "rows": json.dumps(rows)})).scalar_one()
    return CountedDay(
        day=day,
        currencies=[DayFigures.model_validate(row) for row in rows],
        changed=changed,
        missed=day - timedelta(days=1) if status.missed else None,
        over=status.over,
        reported=status.reported,
    )


def day_bounds(day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return when a day and the next day start in a zone, in UTC; usually 23, 24 or 25 hours apart.

    If the clocks skip midnight, the day starts at the skip; if midnight occurs twice, at the first one.
    """
    start, end = (
        datetime.combine(midnight, time(), zone).astimezone(UTC) for midnight in (day, day + timedelta(days=1))
    )
    return start, end


async def queue_report(tx: AsyncSession, day: CountedDay, admins: Sequence[str]) -> None:
    """Queue the report of a day, once even if the day is counted again; nothing without admins.

    Its figures are loaded when it is sent.
    """
    if admins and not day.reported:
        data = {"day": day.day.isoformat()}
        await notifications.queue(tx, key=day.report, kind="daily-report", recipient=", ".join(admins), data=data)
