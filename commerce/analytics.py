"""Count the figures of a day, one row per currency, and queue one report of them to the admins."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import notifications, sales
from commerce.errors import BadInput
from commerce.messages.analytics import IN_THE_FUTURE, CountedDay, DayFigures
from commerce.messages.base import FieldError

TOP_PRODUCTS = 10  # best-selling products kept per day and currency
MAX_CHANGED = 30  # changed days listed in a report
LOCK = text("SELECT pg_advisory_xact_lock(hashtext('commerce.analytics'))")
# Without custom plans, a connection that counts many days gets one generic plan, which takes several times as long.
# Just-in-time compilation would take longer than the rest of the statement. A low random_page_cost makes the planner
# look up the lines of the day by index, however many other days have.
PLAN = text("""
    SELECT set_config('plan_cache_mode', 'force_custom_plan', true), set_config('jit', 'off', true),
           set_config('random_page_cost', '1.1', true), set_config('statement_timeout', '150s', true)
""")


def _bigint(amount: str) -> str:
    return f"CAST(least(greatest({amount}, -9223372036854775807), 9223372036854775807) AS bigint)"


# One statement counts a day, so that its figures agree. Another one stores them, as a statement that writes gets no
# parallel workers. A currency has a row if it had orders, refunds, or revenue when the day was reported. The shop's own
# also has one if no currency had paid orders, or if customers registered without ordering. A customer who ordered in
# several currencies counts in the first one. The discount of an order beyond those of its lines is spread over them in
# proportion; each line gets the difference of two rounded sums, so that nothing is lost. Lines of orders without a
# discount are added up apart from these, by parallel workers.
COUNT = text(f"""
    WITH placed AS NOT MATERIALIZED (
        SELECT id, customer_id, currency, created_at, discount_total, {sales.CAPTURED} AS captured,
               {sales.AWAITING} AS awaiting
        FROM orders WHERE created_at >= :start AND created_at < :end AND cancelled_at IS NULL
    ), today AS NOT MATERIALIZED (
        SELECT * FROM placed WHERE captured IS NOT NULL
    ), buyer AS (
        SELECT DISTINCT ON (customer_id) customer_id, currency
        FROM today WHERE customer_id IS NOT NULL ORDER BY customer_id, created_at, id COLLATE "C"
    ), visitor AS (
        SELECT buyer.currency, (registered_at >= :start AND registered_at < :end) IS TRUE OR NOT EXISTS (
            SELECT FROM orders WHERE orders.customer_id = buyer.customer_id AND created_at < :start
            AND {sales.IS_CAPTURED}) AS new
        FROM buyer JOIN customers ON customers.id = customer_id
        UNION ALL
        SELECT :currency, true FROM customers
        WHERE registered_at >= :start AND registered_at < :end
          AND NOT EXISTS (SELECT FROM buyer WHERE customer_id = customers.id)
    ), people AS (
        SELECT currency, count(*) FILTER (WHERE new) AS new, count(*) FILTER (WHERE NOT new) AS known
        FROM visitor GROUP BY currency
    ), sale AS (
        SELECT currency, count(captured) AS orders, sum(captured) AS captured, sum(awaiting) AS awaiting
        FROM placed GROUP BY currency HAVING count(captured) > 0 OR sum(awaiting) > 0
    ), refund AS (
        SELECT currency, sum(amount) AS refunded FROM refunds JOIN orders ON orders.id = order_id
        WHERE known_at >= :start AND known_at < :end AND {sales.IS_CAPTURED} GROUP BY currency
    ), line AS (
        SELECT today.id, currency, variant_id, position, quantity,
               greatest(CAST(quantity AS numeric) * unit_price - discount, 0) AS net,
               discount_total - sum(discount) OVER (PARTITION BY today.id) AS discount
        FROM today JOIN order_lines ON order_id = today.id WHERE quantity > 0 AND discount_total > 0
    ), spread AS (
        SELECT currency, variant_id, quantity, net, sum(net) OVER (PARTITION BY id) AS total,
               sum(net) OVER (PARTITION BY id ORDER BY position ROWS UNBOUNDED PRECEDING) AS upto,
               least(greatest(discount, 0), sum(net) OVER (PARTITION BY id)) AS discount
        FROM line
    ), sold AS (
        SELECT currency, variant_id, sum(quantity) AS units,
               sum(CAST(quantity AS numeric) * unit_price) AS revenue
        FROM today JOIN order_lines ON order_id = today.id
        WHERE variant_id IS NOT NULL AND quantity > 0 AND discount_total <= 0 GROUP BY currency, variant_id
        UNION ALL
        SELECT currency, variant_id, sum(quantity), sum(net - coalesce(
                   div(2 * discount * upto + total, nullif(2 * total, 0))
                   - div(2 * discount * (upto - net) + total, nullif(2 * total, 0)), 0))
        FROM spread WHERE variant_id IS NOT NULL GROUP BY currency, variant_id
    ), ranked AS (
        SELECT currency, product_id, sum(units) AS units, sum(revenue) AS revenue, row_number() OVER (
            PARTITION BY currency ORDER BY sum(units) DESC, sum(revenue) DESC, product_id COLLATE "C") AS rank
        FROM sold JOIN variants ON variants.id = variant_id GROUP BY currency, product_id
    ), top AS (
        SELECT currency, jsonb_agg(jsonb_build_object(
            'id', product_id, 'title', title, 'units_sold', units, 'revenue', revenue) ORDER BY rank) AS products
        FROM ranked JOIN products ON products.id = product_id WHERE rank <= :top GROUP BY currency
    ), shown AS (
        SELECT currency FROM sale UNION SELECT currency FROM people UNION SELECT currency FROM refund
        UNION SELECT currency FROM daily_metrics
        WHERE day = :day AND coalesce(reported_revenue, CASE WHEN computed_at >= :end THEN revenue END) <> 0
        UNION SELECT :currency WHERE NOT EXISTS (SELECT FROM sale WHERE orders > 0)
    )
    SELECT currency, coalesce(orders, 0) AS orders,
           {_bigint("coalesce(captured, 0) - coalesce(refunded, 0)")} AS revenue,
           {_bigint("coalesce(refunded, 0)")} AS refunded, {_bigint("coalesce(awaiting, 0)")} AS awaiting,
           CAST(coalesce(div(2 * captured + orders, nullif(2 * orders, 0)), 0) AS bigint) AS average_order_value,
           coalesce(new, 0) AS new_customers, coalesce(known, 0) AS returning_customers,
           coalesce(products, '[]') AS top_products
    FROM shown LEFT JOIN sale USING (currency) LEFT JOIN people USING (currency) LEFT JOIN refund USING (currency)
    LEFT JOIN top USING (currency)
    ORDER BY orders DESC, currency
""")  # noqa: S608 - our own columns
FIGURES = "orders, revenue, average_order_value, new_customers, returning_customers, awaiting, refunded"
STORE = text(f"""
    WITH counted AS (
        SELECT * FROM jsonb_populate_recordset(CAST(NULL AS daily_metrics), CAST(:rows AS jsonb))
    ), gone AS (
        DELETE FROM daily_metrics WHERE day = :day AND currency NOT IN (SELECT currency FROM counted) RETURNING true
    ), stored AS (
        INSERT INTO daily_metrics (day, currency, {FIGURES}, top_products, reported_revenue)
        SELECT :day, currency, {FIGURES}, top_products, CASE WHEN :reported THEN 0 WHEN :over THEN revenue END
        FROM counted
        ON CONFLICT (day, currency) DO UPDATE
        SET ({FIGURES}, top_products, computed_at, reported_revenue) =
            ({", ".join(f"excluded.{name}" for name in FIGURES.split(", "))}, excluded.top_products, now(),
             CASE WHEN :reported THEN coalesce(daily_metrics.reported_revenue, daily_metrics.revenue)
                  WHEN :over THEN excluded.revenue END)
        RETURNING ({", ".join(f"old.{name}" for name in FIGURES.split(", "))}) IS DISTINCT FROM
                  ({", ".join(f"new.{name}" for name in FIGURES.split(", "))}) AS differs,
                  old.top_products IS DISTINCT FROM new.top_products AS products_differ
    )
    SELECT EXISTS (SELECT FROM gone) OR EXISTS (SELECT FROM stored WHERE differs) AS figures,
           EXISTS (SELECT FROM stored WHERE products_differ) AS products
""")  # noqa: S608 - our own columns
MARK_CHANGED = text("UPDATE daily_metrics SET change = 'unlisted' WHERE day = :day")
DAY_STATUS = text("""
    SELECT :start > now() AS future, :end <= now() AS over, now() AS now,
           EXISTS (SELECT FROM daily_metrics WHERE day = :day AND computed_at >= :end) AS reported,
           NOT EXISTS (SELECT FROM daily_metrics WHERE day = CAST(:day AS date) - 1)
           AND EXISTS (SELECT FROM daily_metrics WHERE day < CAST(:day AS date) - 1) AS missed,
           (SELECT min(day) FROM daily_metrics WHERE day > :day) AS next_counted
""")
UNLISTED = text("""
    SELECT DISTINCT day FROM daily_metrics WHERE change = 'unlisted' AND day <> :day ORDER BY day DESC
""")
MARK_LISTED = text("UPDATE daily_metrics SET change = 'listed' WHERE change = 'unlisted' AND day <> :day")


async def count_day(tx: AsyncSession, day: date, zone: ZoneInfo, currency: str, top: int = TOP_PRODUCTS) -> CountedDay:
    """Count a day of the shop's calendar, and replace the figures of an earlier count.

    `currency`: the shop's own, for a day without orders and for customers who registered without ordering; `top`: how
    many best-selling products to keep per currency. Average order values are rounded half up to a minor unit. If a day
    has other figures than those of its first count after its end, it is marked as changed. Raises BadInput for a day in
    the future.
    """
    start, end = day_bounds(day, zone)
    await tx.execute(LOCK)
    await tx.execute(PLAN)
    status = (await tx.execute(DAY_STATUS, {"day": day, "start": start, "end": end})).one()
    if status.future:
        raise BadInput([FieldError(field="date", message=IN_THE_FUTURE)])
    await sales.take_marks(tx, start, end)
    values = {"day": day, "start": start, "end": end, "currency": currency, "top": top}
    rows: list[dict[str, Any]] = [dict(row) for row in (await tx.execute(COUNT, values)).mappings()]
    stored = {"day": day, "rows": json.dumps(rows), "reported": status.reported, "over": status.over}
    changed = (await tx.execute(STORE, stored)).one()
    if changed.figures and status.reported:
        await tx.execute(MARK_CHANGED, {"day": day})
    return CountedDay(
        day=day,
        currencies=[DayFigures.model_validate(row) for row in rows],
        changed=changed.figures or changed.products,
        missed=day - timedelta(days=1) if status.missed else None,
        over=status.over,
        reported=status.reported,
    )


async def recount_next(tx: AsyncSession, zone: ZoneInfo, currency: str, top: int = TOP_PRODUCTS) -> CountedDay | None:
    """Count the first day again that has changed since its count after its end; return None if there is none (J7).

    Marks of days that were never counted are deleted: whenever such a day is counted, it has all its orders.
    """
    await tx.execute(LOCK)
    while (moment := await sales.first_mark(tx)) is not None:
        day = day_of(moment, zone)
        start, end = day_bounds(day, zone)
        status = (await tx.execute(DAY_STATUS, {"day": day, "start": start, "end": end})).one()
        if not status.over:
            return None
        if status.reported:
            return await count_day(tx, day, zone, currency, top)
        today, _ = day_bounds(day_of(status.now, zone), zone)
        until = min(day_bounds(status.next_counted, zone)[0], today) if status.next_counted else today
        await sales.take_marks(tx, None, max(until, end))
    return None


def day_bounds(day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return when a day and the next day start in a zone, in UTC; usually 23, 24 or 25 hours apart.

    If the clocks skip midnight, the day starts at the skip; if midnight occurs twice, at the first one.
    """
    start, end = (
        datetime.combine(midnight, time(), zone).astimezone(UTC) for midnight in (day, day + timedelta(days=1))
    )
    return start, end


def day_of(moment: datetime, zone: ZoneInfo) -> date:
    """Return the day whose bounds contain a moment."""
    day = moment.astimezone(zone).date()
    start, end = day_bounds(day, zone)
    return day + timedelta(days=(moment >= end) - (moment < start))


async def queue_report(tx: AsyncSession, day: CountedDay, admins: Sequence[str]) -> None:
    """Queue the report of a day, once even if the day is counted again; nothing without admins.

    Its figures are loaded when it is sent. It also lists other days whose figures have changed since their own report,
    each in one report.
    """
    if not admins or day.reported:
        return
    changed = list(await tx.scalars(UNLISTED, {"day": day.day}))
    data: dict[str, Any] = {"day": day.day.isoformat()}
    if changed:
        data["changed"] = [each.isoformat() for each in changed[:MAX_CHANGED]]
    if changed[MAX_CHANGED:]:
        data["more_changed"] = len(changed) - MAX_CHANGED
    recipient = ", ".join(admins)
    if await notifications.queue(tx, key=day.report, kind="daily-report", recipient=recipient, data=data) and changed:
        await tx.execute(MARK_LISTED, {"day": day.day})
