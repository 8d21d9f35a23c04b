"""A day's figures: counted by the database, one row per currency, and reported to the admins once."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import notifications
from commerce.errors import BadInput
from commerce.messages.analytics import Day, Metrics
from commerce.messages.base import FieldError

TOP = 10  # products told of a day
LOCK = text("SELECT pg_advisory_xact_lock(hashtext('commerce.analytics'), CAST(:day AS date) - DATE '2000-01-01')")
# A connection that counts many days would be given one plan for any day, which takes several times as long. Compiling
# the statement takes longer than all the rest. A day's lines are best looked up, however many other days have.
PLAN = text("""
    SELECT set_config('plan_cache_mode', 'force_custom_plan', true), set_config('jit', 'off', true),
           set_config('random_page_cost', '1.1', true), set_config('statement_timeout', '150s', true)
""")
# A day is counted by one statement, so that its figures agree, and stored by another: one that writes would be planned
# without parallel workers. A currency has a row when it had orders; the shop's own also when there were no others, and
# when customers registered without ordering. Who ordered in several currencies counts where they ordered first.
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
        SELECT currency, variant_id, sum(quantity) AS units, sum(quantity * unit_price) AS revenue
        FROM today JOIN order_lines ON order_id = today.id
        WHERE variant_id IS NOT NULL GROUP BY currency, variant_id
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
    SELECT currency, coalesce(orders, 0) AS orders, CAST(coalesce(revenue, 0) AS bigint) AS revenue,
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
STANDING = text("""
    SELECT :start > now() AS future, :end <= now() AS over,
           EXISTS (SELECT FROM daily_metrics WHERE day = :day AND computed_at >= :end) AS reported,
           NOT EXISTS (SELECT FROM daily_metrics WHERE day = CAST(:day AS date) - 1)
           AND EXISTS (SELECT FROM daily_metrics WHERE day < CAST(:day AS date) - 1) AS missed
""")


async def collect(tx: AsyncSession, day: date, zone: ZoneInfo, currency: str, top: int = TOP) -> Day:
    """Count a day of the shop's calendar and put the figures in the place of those of before.

    `currency`: whose row tells of a day without orders, and of registrations without one; `top`: products told per
    currency. The average order value is rounded to a minor unit, half up. Raises BadInput for a day that has not begun.
    """
    start, end = bounds(day, zone)
    await tx.execute(LOCK, {"day": day})
    await tx.execute(PLAN)
    standing = (await tx.execute(STANDING, {"day": day, "start": start, "end": end})).one()
    if standing.future:
        raise BadInput([FieldError(field="date", message="must not lie in the future")])
    given = {"start": start, "end": end, "currency": currency, "top": top}
    rows: list[dict[str, Any]] = [dict(row) for row in (await tx.execute(COUNT, given)).mappings()]
    changed = (await tx.execute(STORE, {"day": day, "rows": json.dumps(rows)})).scalar_one()
    return Day(
        day=day,
        currencies=[Metrics.model_validate(row) for row in rows],
        changed=changed,
        missed=day - timedelta(days=1) if standing.missed else None,
        over=standing.over,
        reported=standing.reported,
    )


def bounds(day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return the first instant of a day in a zone and that of the next day, in UTC: 23, 24 or 25 hours as a rule.

    Where clocks skip midnight the day begins with the skip; where they strike it twice, with the first.
    """
    start, end = (datetime.combine(first, time(), zone).astimezone(UTC) for first in (day, day + timedelta(days=1)))
    return start, end


async def queue_report(tx: AsyncSession, day: Day, admins: Sequence[str]) -> None:
    """Queue the mail that reports a day, once however often the day is counted; nothing when there is nobody to tell.

    Its figures are read when it is sent.
    """
    if admins and not day.reported:
        told = {"day": day.day.isoformat()}
        await notifications.queue(tx, key=day.report, kind="daily-report", recipient=", ".join(admins), data=told)
