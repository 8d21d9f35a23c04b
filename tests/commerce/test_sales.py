"""The report tells the truth (J5, J7): what money counts, on which day, and which days are counted again."""

import asyncio
import json
import random
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from commerce import imports, listings, order_intake
from commerce.analytics import count_day, day_bounds, day_of, queue_report, recount_next
from commerce.database import Database
from commerce.imports.new_order import NewOrder
from commerce.imports.order_parser import OrderHead, OrderLine, parse_order
from commerce.messages.analytics import CountedDay, DayFigures, report_key
from tests.commerce.shop import NOON, Shop

UTC_ZONE = ZoneInfo("UTC")
DAY = NOON.date()
EUR_DAY = DAY + timedelta(days=1)
LINE = OrderLine("MUG", "Mug", 1, "10.00", True)
ORDER_ROW = {
    "Name": "#1", "Email": "", "Financial Status": "paid", "Paid at": "", "Fulfillment Status": "unfulfilled",
    "Currency": "GBP", "Shipping": "0.00", "Total": "10.00", "Shipping Method": "", "Created at": "",
    "Lineitem quantity": "1", "Lineitem name": "Mug", "Lineitem price": "10.00", "Lineitem sku": "MUG",
    "Lineitem requires shipping": "true", "Shipping Country": "GB",
}  # fmt: skip
TOP_PRODUCTS = """
    SELECT day, product ->> 'id', CAST(product ->> 'units_sold' AS int), CAST(product ->> 'revenue' AS int)
    FROM daily_metrics, jsonb_array_elements(top_products) AS product ORDER BY day, 2
"""
MARKS = "SELECT count(*) FROM days_to_count"


@pytest.fixture
async def shop(database: Database) -> Shop:
    shop = Shop(database)
    await shop.variant("MUG")
    await shop.variant("BOX")
    return shop


async def put(shop: Shop, order_id: str, *lines: OrderLine, at: datetime = NOON, **head: Any) -> None:
    """Send an order, or its change, as its source does: by default one paid mug of 10.00."""
    facts = {"id": order_id, "name": f"#{order_id}", "financial_status": "paid", "created_at": at.isoformat()}
    order = parse_order(OrderHead(**facts | head), lines or (LINE,), currency="GBP")
    assert isinstance(order, NewOrder), order
    await shop.call(order_intake.store_order, order)


async def count(shop: Shop, day: date = DAY) -> CountedDay:
    return await shop.call(count_day, day, UTC_ZONE, "GBP")


async def figures(shop: Shop, day: date = DAY, currency: str = "GBP") -> DayFigures:
    [found] = [row for row in (await count(shop, day)).currencies if row.currency == currency]
    return found


async def recount(shop: Shop) -> list[date]:
    """Count all marked days again, as the next run of the job does; return them."""
    days = []
    while counted := await shop.call(recount_next, UTC_ZONE, "GBP", 10):
        days.append(counted.day)
    return days


async def known_on(shop: Shop, *days: date) -> None:
    """Let the refunds have become known at noon of these days, one after the other, with their marks."""
    ids = await shop.sql("SELECT id FROM refunds ORDER BY id")
    assert len(ids) == len(days)
    for refund_id, day in zip(ids, days, strict=True):
        await shop.sql(
            "UPDATE refunds SET known_at = :at WHERE id = :id",
            id=refund_id, at=datetime(day.year, day.month, day.day, 12, tzinfo=UTC),
        )  # fmt: skip


async def best_sellers(shop: Shop) -> dict[str, int]:
    """Count the day and return the revenue per product."""
    await count(shop)
    rows = await shop.sql("SELECT top_products FROM daily_metrics WHERE day = :day", day=DAY)
    return {each["id"]: each["revenue"] for products in rows for each in products}


class TestRevenue:
    @pytest.mark.parametrize("status", ["pending", "authorized"])
    async def test_unpaid_orders_await_payment(self, shop: Shop, status: str) -> None:
        await put(shop, "1")
        await put(shop, "2", financial_status=status)
        row = await figures(shop)
        assert (row.orders, row.revenue, row.average_order_value, row.awaiting) == (1, 1000, 1000, 1000)

    @pytest.mark.parametrize(
        "facts",
        [
            {"financial_status": "voided"},
            {"financial_status": "expired"},
            {"cancelled_at": "2026-03-02T13:00:00Z"},
            {"financial_status": "pending", "cancelled_at": "2026-03-02T13:00:00Z"},
        ],
    )
    async def test_cancelled_voided_and_expired_orders_are_out(self, shop: Shop, facts: dict[str, str]) -> None:
        await put(shop, "1", **facts)
        row = await figures(shop)
        assert (row.orders, row.revenue, row.refunded, row.awaiting) == (0, 0, 0, 0)
        assert await best_sellers(shop) == {}

    async def test_a_partly_paid_order_counts_with_what_is_paid(self, shop: Shop) -> None:
        await put(shop, "1", financial_status="partially_paid", outstanding_balance="4.00")
        row = await figures(shop)
        assert (row.orders, row.revenue, row.awaiting) == (1, 600, 400)

    @pytest.mark.parametrize("outstanding", [None, "10.00", "12.00"])
    async def test_a_partly_paid_order_of_which_nothing_is_known_to_be_paid_awaits_payment(
        self, shop: Shop, outstanding: str | None
    ) -> None:
        await put(shop, "1", financial_status="partially_paid", outstanding_balance=outstanding)
        row = await figures(shop)
        assert (row.orders, row.revenue, row.awaiting) == (0, 0, 1000)

    async def test_an_unpaid_order_makes_no_customer_return(self, shop: Shop) -> None:
        await put(shop, "1", at=NOON - timedelta(days=3), financial_status="pending", email="ann@customer.example")
        await put(shop, "2", email="ann@customer.example")
        row = await figures(shop)
        assert (row.new_customers, row.returning_customers) == (1, 0)


class TestRefunds:
    async def test_a_refund_belongs_to_the_day_on_which_it_became_known(self, shop: Shop) -> None:
        await put(shop, "1")
        await put(shop, "1", financial_status="partially_refunded", refunded_amount="3.00")
        await put(shop, "1", financial_status="refunded", refunded_amount="10.00")
        await known_on(shop, DAY + timedelta(days=1), DAY + timedelta(days=4))
        rows = [await figures(shop, DAY + timedelta(days=days)) for days in range(5)]
        assert [(row.orders, row.revenue, row.refunded) for row in rows] == [
            (1, 1000, 0), (0, -300, 300), (0, 0, 0), (0, 0, 0), (0, -700, 700)]  # fmt: skip

    async def test_a_refund_becomes_known_when_it_is_taken_in(self, shop: Shop) -> None:
        await put(shop, "1")
        await put(shop, "1", financial_status="refunded", refunded_amount="10.00")
        assert await shop.sql("SELECT now() - known_at BETWEEN '0' AND '1 minute' FROM refunds") == [True]

    async def test_a_refund_taken_in_again_counts_once(self, shop: Shop) -> None:
        for note in ("", "a", "b"):
            await put(shop, "1", financial_status="refunded", refunded_amount="10.00", notes=note)
        assert await shop.sql("SELECT amount FROM refunds") == [1000]

    async def test_a_refunded_order_without_an_amount_is_refunded_whole(self, shop: Shop) -> None:
        await put(shop, "1", financial_status="refunded")
        assert await shop.sql("SELECT amount FROM refunds") == [1000]

    @pytest.mark.parametrize(("status", "most"), [("partially_refunded", 1000), ("refunded", 1000), ("pending", None)])
    async def test_no_more_is_refunded_than_was_captured(self, shop: Shop, status: str, most: int | None) -> None:
        await put(shop, "1", financial_status=status, refunded_amount="25.00")
        assert await shop.sql("SELECT amount FROM refunds") == ([most] if most else [])

    async def test_a_refund_that_the_source_corrects_is_corrected_by_the_difference(self, shop: Shop) -> None:
        await put(shop, "1", financial_status="partially_refunded", refunded_amount="5.00", updated_at=NOON.isoformat())
        later = (NOON + timedelta(hours=1)).isoformat()
        await put(shop, "1", financial_status="partially_refunded", refunded_amount="2.00", updated_at=later)
        assert await shop.sql("SELECT amount FROM refunds ORDER BY id") == [500, -300]

    async def test_a_cancelled_order_is_out_with_its_refunds(self, shop: Shop) -> None:
        await put(shop, "1")
        await put(shop, "2")
        await put(shop, "1", financial_status="partially_refunded", refunded_amount="4.00")
        await known_on(shop, EUR_DAY)
        assert (await figures(shop)).revenue == 2000 and (await figures(shop, EUR_DAY)).revenue == -400
        await put(shop, "1", financial_status="refunded", refunded_amount="10.00", cancelled_at="2026-03-05T12:00:00Z")
        assert await recount(shop) == [DAY, EUR_DAY]
        assert (await figures(shop)).revenue == 1000 and (await figures(shop, EUR_DAY)).revenue == 0

    async def test_refunds_are_counted_per_currency(self, shop: Shop) -> None:
        await put(shop, "1", currency="EUR")
        await put(shop, "2")
        await put(shop, "1", currency="EUR", financial_status="refunded", refunded_amount="10.00")
        await known_on(shop, EUR_DAY)
        counted = {row.currency: (row.revenue, row.refunded) for row in (await count(shop, EUR_DAY)).currencies}
        assert counted == {"EUR": (-1000, 1000), "GBP": (0, 0)}

    async def test_huge_refunds_do_not_break_the_day(self, shop: Shop) -> None:
        for order_id in "12":
            await shop.order(order_id, columns={"total": 2**63 - 1})
            await shop.sql("INSERT INTO refunds (order_id, amount) VALUES (:id, :most)", id=order_id, most=2**63 - 1)
        await known_on(shop, EUR_DAY, EUR_DAY)
        row = await figures(shop, EUR_DAY)
        assert (row.revenue, row.refunded) == (-(2**63 - 1), 2**63 - 1)


class TestProducts:
    async def test_discounts_lower_the_revenue_of_products(self, shop: Shop) -> None:
        mug = OrderLine("MUG", "Mug", 2, "10.00", True, discount="2.00")
        box = OrderLine("BOX", "Box", 1, "5.00", True)
        await put(shop, "1", mug, box, discount_amount="6.60", total="18.40")  # 2.00 of the mugs, 4.60 of the order
        assert await best_sellers(shop) == {"MUG": 1440, "BOX": 400}

    async def test_what_is_left_of_a_discount_by_rounding_is_not_lost(self, shop: Shop) -> None:
        await shop.variant("PIN")
        lines = [OrderLine(sku, sku, 1, "0.33", True) for sku in ("MUG", "BOX", "PIN")]
        await put(shop, "1", *lines, discount_amount="0.50", total="0.49")
        assert sum((await best_sellers(shop)).values()) == 49

    async def test_a_discount_larger_than_the_lines_leaves_no_revenue(self, shop: Shop) -> None:
        await put(shop, "1", discount_amount="12.00", shipping="5.00", total="3.00")
        assert await best_sellers(shop) == {"MUG": 0}
        assert (await figures(shop)).revenue == 300

    async def test_unpaid_orders_sell_nothing(self, shop: Shop) -> None:
        await put(shop, "1", financial_status="pending")
        assert await best_sellers(shop) == {}


class TestDaysCountedAgain:
    async def test_a_late_order_changes_its_day(self, shop: Shop) -> None:
        await put(shop, "1")
        assert (await figures(shop)).orders == 1
        assert await recount(shop) == []
        await put(shop, "2")
        assert await recount(shop) == [DAY]
        assert await shop.sql("SELECT orders, revenue, reported_revenue FROM daily_metrics") == [(2, 2000, 1000)]
        assert await shop.sql("SELECT change FROM daily_metrics") == ["unlisted"]
        assert await recount(shop) == []
        assert await shop.sql(MARKS) == [0]

    async def test_an_import_marks_the_days_of_its_orders(self, shop: Shop, tmp_path: Path) -> None:
        await count(shop)
        await count(shop, EUR_DAY)
        file = tmp_path / "orders.csv"
        for status in ("pending", "paid"):
            rows = [
                ORDER_ROW | {"Name": f"#{n}", "Financial Status": status, "Created at": f"2026-03-0{n} 12:00:00 +0000"}
                for n in (1, 2, 3)
            ]
            file.write_text("\n".join(",".join(row) for row in (rows[0], *(each.values() for each in rows))) + "\n")
            await import_orders(shop.database, file)
            assert await recount(shop) == [DAY, EUR_DAY]
            expected = (0, 1000) if status == "pending" else (1000, 0)
            assert await shop.sql("SELECT revenue, awaiting FROM daily_metrics") == [expected] * 2
        await import_orders(shop.database, file)
        assert await shop.sql(MARKS) == [0]

    async def test_a_product_that_lines_are_linked_to_later_was_sold_on_their_days(self, shop: Shop) -> None:
        await put(shop, "1", OrderLine("5.0E+12", "Mug", 2, "10.00", True))
        await put(shop, "2", OrderLine("OTHER", "Other", 1, "10.00", True), at=NOON + timedelta(days=1))
        await count(shop)
        await count(shop, EUR_DAY)
        assert await shop.sql(TOP_PRODUCTS) == []
        await shop.call(listings.link, "5.0E+12", "MUG")
        assert await recount(shop) == [DAY]
        assert await shop.sql(TOP_PRODUCTS) == [(DAY, "MUG", 2, 2000)]
        assert await shop.sql("SELECT change FROM daily_metrics") == [None, None]  # no figure of its report differs
        await shop.call(listings.link, "5.0E+12", "MUG")
        assert await shop.sql(MARKS) == [0]

    async def test_a_product_that_is_imported_after_its_orders_was_sold_on_their_days(
        self, shop: Shop, tmp_path: Path
    ) -> None:
        await put(shop, "1", OrderLine("PIN", "Pin", 3, "10.00", True))
        await count(shop)
        (tmp_path / "stock.csv").write_text("Handle,Title,SKU,On hand\npin,Pin,PIN,5\n")
        for days in ([DAY], []):
            assert (await imports.import_inventory(shop.database, [tmp_path / "stock.csv"])).bad == []
            assert await recount(shop) == days
        assert [row[2:] for row in await shop.sql(TOP_PRODUCTS)] == [(3, 3000)]

    async def test_an_order_that_is_paid_or_cancelled_later_changes_its_day(self, shop: Shop) -> None:
        await put(shop, "1", financial_status="pending")
        await count(shop)
        await put(shop, "1")
        assert await recount(shop) == [DAY]
        assert await shop.sql("SELECT revenue, awaiting FROM daily_metrics") == [(1000, 0)]
        await put(shop, "1", cancelled_at="2026-03-09T12:00:00Z")
        assert await recount(shop) == [DAY]
        assert await shop.sql("SELECT revenue, awaiting, change FROM daily_metrics") == [(0, 0, "unlisted")]

    async def test_an_order_that_moves_to_another_day_changes_both(self, shop: Shop) -> None:
        await put(shop, "1", updated_at=NOON.isoformat())
        await count(shop)
        await count(shop, EUR_DAY)
        later = NOON + timedelta(days=1)
        await put(shop, "1", at=later, updated_at=later.isoformat())
        assert await recount(shop) == [DAY, EUR_DAY]
        assert await shop.sql("SELECT revenue FROM daily_metrics ORDER BY day") == [0, 1000]

    async def test_a_change_without_money_marks_no_day(self, shop: Shop) -> None:
        await put(shop, "1")
        await count(shop)
        await put(shop, "1", notes="ring twice", shipping_city="Leeds")
        assert await shop.sql(MARKS) == [0]

    async def test_a_late_first_order_makes_the_customer_return_on_the_later_day(self, shop: Shop) -> None:
        await put(shop, "2", at=NOON + timedelta(days=1), email="ann@customer.example")
        await count(shop)
        assert (await figures(shop, EUR_DAY)).new_customers == 1
        await put(shop, "1", email="ann@customer.example")
        assert await recount(shop) == [DAY, EUR_DAY]
        assert await shop.sql("SELECT new_customers, returning_customers FROM daily_metrics ORDER BY day") == [
            (1, 0), (0, 1)]  # fmt: skip

    async def test_a_late_order_of_a_day_that_was_never_counted_makes_the_customer_return(self, shop: Shop) -> None:
        await put(shop, "2", at=NOON + timedelta(days=1), email="ann@customer.example")
        await count(shop, EUR_DAY)
        await put(shop, "1", at=NOON - timedelta(days=50), email="ann@customer.example")
        assert await recount(shop) == [EUR_DAY]
        assert await shop.sql("SELECT new_customers, returning_customers FROM daily_metrics") == [(0, 1)]

    async def test_days_never_counted_are_not_counted_again(self, shop: Shop) -> None:
        for days in range(5):
            await put(shop, str(days), at=NOON + timedelta(days=days))
        await count(shop, DAY + timedelta(days=2))
        assert await recount(shop) == []
        assert await shop.sql(MARKS) == [0]

    async def test_days_that_are_not_over_keep_their_marks(self, shop: Shop) -> None:
        now = datetime.now(UTC)
        await put(shop, "1", at=now)
        await put(shop, "2", at=now + timedelta(days=3))
        await count(shop, now.date())
        await put(shop, "3", at=now)
        assert await recount(shop) == []
        assert await shop.sql(MARKS) == [2]

    async def test_a_day_with_interim_figures_only_is_left_to_its_own_count(self, shop: Shop) -> None:
        await count(shop)
        await shop.sql("UPDATE daily_metrics SET computed_at = :at", at=NOON)
        await put(shop, "1")
        assert await recount(shop) == []
        assert not (await count(shop)).reported

    async def test_an_order_that_is_committed_while_its_day_is_counted_is_not_missed(self, shop: Shop) -> None:
        await put(shop, "1")
        async with shop.database.transaction() as tx:
            order = parse_order(
                OrderHead(id="2", name="#2", financial_status="paid", created_at=NOON.isoformat()),
                [LINE],
                currency="GBP",
            )
            assert isinstance(order, NewOrder)
            await order_intake.store_order(tx, order)
            assert (await figures(shop)).orders == 1
        assert await recount(shop) == [DAY]
        assert await shop.sql("SELECT orders FROM daily_metrics") == [2]

    async def test_a_count_that_is_rolled_back_keeps_the_marks(self, shop: Shop) -> None:
        await count(shop)
        await put(shop, "1")
        with pytest.raises(ZeroDivisionError):
            async with shop.database.transaction() as tx:
                assert await recount_next(tx, UTC_ZONE, "GBP", 10)
                raise ZeroDivisionError
        assert await recount(shop) == [DAY]

    async def test_concurrent_recounts_take_turns(self, shop: Shop) -> None:
        for days in range(4):
            await count(shop, DAY + timedelta(days=days))
        for days in range(4):
            await put(shop, str(days), at=NOON + timedelta(days=days))
        first, second = await asyncio.gather(recount(shop), recount(shop))
        assert sorted(first + second) == [DAY + timedelta(days=days) for days in range(4)]

    async def test_a_currency_whose_orders_are_gone_is_shown_with_zeros(self, shop: Shop) -> None:
        await put(shop, "1", currency="EUR")
        await put(shop, "2")
        await count(shop)
        await put(shop, "1", currency="EUR", cancelled_at="2026-03-09T12:00:00Z")
        for _ in range(2):
            await recount(shop)
            stored = await shop.sql("SELECT currency, revenue, reported_revenue FROM daily_metrics ORDER BY currency")
            assert stored == [("EUR", 0, 1000), ("GBP", 1000, 1000)]
            await put(shop, "2", notes="x", refunded_amount="1.00", financial_status="partially_refunded")

    async def test_figures_of_an_older_version_count_as_reported(self, shop: Shop) -> None:
        await put(shop, "1", currency="EUR")
        await count(shop)
        await shop.sql("UPDATE daily_metrics SET reported_revenue = NULL")
        await put(shop, "1", currency="EUR", cancelled_at="2026-03-09T12:00:00Z")
        assert await recount(shop) == [DAY]
        stored = await shop.sql("SELECT currency, revenue, reported_revenue FROM daily_metrics ORDER BY currency")
        assert stored == [("EUR", 0, 1000), ("GBP", 0, 0)]

    async def test_random_changes_leave_every_day_right(self, shop: Shop) -> None:
        """Whatever changes between the runs, counted days have the figures of a count from scratch."""
        chance = random.Random(13)
        statuses = ["pending", "paid", "partially_refunded", "refunded", "voided"]
        days = [DAY + timedelta(days=shift) for shift in range(5)]
        for round_number in range(6):
            for _ in range(12):
                order_id, rank = str(chance.randrange(25)), chance.randrange(len(statuses))
                facts = {"refunded_amount": f"{chance.randint(1, 12)}.00"} if rank in (2, 3) else {}
                cancelled = {"cancelled_at": "2026-03-20T12:00:00Z"} if chance.random() < 0.1 else {}
                await put(
                    shop, order_id,
                    at=NOON + timedelta(hours=37 * int(order_id) % 120 - 11),
                    currency=chance.choice(["GBP", "EUR"]) if round_number % 2 else "GBP",
                    financial_status=statuses[rank],
                    email=f"{int(order_id) % 4}@customer.example",
                    **facts, **cancelled,
                )  # fmt: skip
            await recount(shop)
            for day in days[: round_number + 1]:
                await count(shop, day)
            columns = "day, currency, orders, revenue, awaiting, refunded, new_customers, returning_customers"
            query = f"SELECT {columns} FROM daily_metrics WHERE orders + abs(revenue) + awaiting > 0 ORDER BY 1, 2"
            left = await shop.sql(query)
            await shop.sql("UPDATE daily_metrics SET computed_at = now()")
            for day in days[: round_number + 1]:
                assert not (await count(shop, day)).changed
            assert await shop.sql(query) == left
        for day in [*days, datetime.now(UTC).date(), DAY - timedelta(days=1), days[-1] + timedelta(days=1)]:
            await count(shop, day)
        totals = await shop.sql("SELECT sum(revenue) FROM daily_metrics")
        assert totals == await shop.sql("""
            SELECT sum(total - CASE WHEN payment_status = 'captured' THEN 0
                                    WHEN refunded_total = 0 AND payment_status = 'refunded' THEN total
                                    ELSE least(refunded_total, total) END)
            FROM orders WHERE payment_status IN ('captured', 'refunded', 'partially_refunded') AND cancelled_at IS NULL
        """)


class TestNextReport:
    async def test_the_next_report_lists_the_changed_days_once(self, shop: Shop) -> None:
        admins = ["admin@shop.example"]
        await shop.call(queue_report, await count(shop), admins)
        await put(shop, "1")
        await recount(shop)
        for days in (1, 1, 2):
            await shop.call(queue_report, await count(shop, DAY + timedelta(days=days)), admins)
        queued = await shop.sql("SELECT key, data FROM notifications ORDER BY key")
        assert queued == [
            (report_key(DAY), {"day": "2026-03-02"}),
            (report_key(EUR_DAY), {"day": "2026-03-03", "changed": ["2026-03-02"]}),
            (report_key(DAY + timedelta(days=2)), {"day": "2026-03-04"}),
        ]
        assert await shop.sql("SELECT change FROM daily_metrics ORDER BY day") == ["listed", None, None]

    async def test_at_most_thirty_days_are_listed_and_the_others_are_counted(self, shop: Shop) -> None:
        await shop.sql("""
            INSERT INTO daily_metrics (day, currency, orders, revenue, average_order_value, new_customers,
                                       returning_customers, top_products, change)
            SELECT DATE '2026-03-01' - n, 'GBP', 0, 0, 0, 0, 0, '[]', 'unlisted' FROM generate_series(0, 39) AS n
        """)
        await shop.call(queue_report, await count(shop), ["admin@shop.example"])
        [data] = await shop.sql("SELECT data FROM notifications")
        assert (data["changed"][0], len(data["changed"]), data["more_changed"]) == ("2026-03-01", 30, 10)
        assert json.dumps(data).count("2026-03-02") == 1


@pytest.mark.parametrize("zone", ["UTC", "Europe/London", "America/Havana", "Asia/Beirut", "Pacific/Apia"])
def test_each_moment_is_in_the_day_whose_bounds_contain_it(zone: str) -> None:
    for year in (2011, 2026):
        for hour in range(366 * 24):
            moment = datetime(year, 1, 1, tzinfo=UTC) + timedelta(hours=hour, minutes=15)
            start, end = day_bounds(day_of(moment, ZoneInfo(zone)), ZoneInfo(zone))
            assert start <= moment < end


async def import_orders(database: Database, file: Path) -> None:
    report = await imports.import_orders(database, [file], currency="GBP")
    assert not report.bad_count
