"""The figures of a day (J5): what counts, when a day starts, and the same figures computed in plain Python."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import insert

from commerce import tables
from commerce.analytics import count_day, day_bounds, queue_report
from commerce.database import Database
from commerce.messages.analytics import CountedDay, DayFigures, report_key
from tests.commerce.shop import NOON, Shop
from tests.polling import until_lock_wait

TODAY, UTC_ZONE = NOON.date(), ZoneInfo("UTC")
ANN, BOB, CAT = (UUID(int=number) for number in (1, 2, 3))
FIGURES = ("orders", "revenue", "average_order_value", "new_customers", "returning_customers")


@pytest.fixture
async def shop(database: Database) -> Shop:
    """A shop with hearts and owls in its catalogue, and three guests."""
    shop = Shop(database)
    for sku in ("heart", "owl"):
        await shop.variant(sku)
    for customer in (ANN, BOB, CAT):
        await shop.sql("INSERT INTO customers (id, email) VALUES (:id, :email)", id=customer, email=str(customer))
    return shop


async def buy(shop: Shop, order_id: str, customer: UUID | None = None, **facts: Any) -> None:
    await shop.order(order_id, ("heart", 1), columns={"customer_id": customer, "total": 1000} | facts)


async def figures(shop: Shop, **options: Any) -> dict[str, tuple[int, ...]]:
    """Count today and return the figures per currency; the table and the returned day must agree."""
    counted = await shop.call(count_day, TODAY, UTC_ZONE, "GBP", **options)
    returned = {row.currency: tuple(getattr(row, name) for name in FIGURES) for row in counted.currencies}
    stored = await shop.sql(f"SELECT currency, {', '.join(FIGURES)} FROM daily_metrics WHERE day = :day", day=TODAY)
    assert returned == {currency: tuple(values) for currency, *values in stored}
    return returned


async def top(shop: Shop, **options: Any) -> list[tuple[str, str, int, int]]:
    """Count today and return its best sellers: id, title, units, revenue."""
    await figures(shop, **options)
    [products] = await shop.sql("SELECT top_products FROM daily_metrics WHERE currency = 'GBP'")
    return [(each["id"], each["title"], each["units_sold"], each["revenue"]) for each in products]


class TestFigures:
    async def test_a_day_without_orders_has_a_row_of_zeros(self, shop: Shop) -> None:  # (J5)
        assert await figures(shop) == {"GBP": (0, 0, 0, 0, 0)}
        assert await top(shop) == []

    async def test_revenue_is_the_sum_of_the_order_totals(self, shop: Shop) -> None:
        await buy(shop, "1", total=700, shipping_total=450)
        await buy(shop, "2", total=800)
        assert await figures(shop) == {"GBP": (2, 1500, 750, 0, 0)}

    @pytest.mark.parametrize(("totals", "average"), [((1, 2), 2), ((1, 1, 2), 1), ((1, 2, 2), 2), ((0, 0), 0)])
    async def test_the_average_is_rounded_half_up(self, shop: Shop, totals: tuple[int, ...], average: int) -> None:
        for number, total in enumerate(totals):
            await buy(shop, str(number), total=total)
        assert (await figures(shop))["GBP"][2] == average

    async def test_cancelled_orders_do_not_count(self, shop: Shop) -> None:  # (J5)
        await buy(shop, "1", ANN, cancelled_at=NOON)
        await buy(shop, "2", ANN, payment_status="cancelled")
        assert await figures(shop) == {"GBP": (0, 0, 0, 0, 0)}
        assert await top(shop) == []

    async def test_currencies_are_counted_separately(self, shop: Shop) -> None:  # (I10)
        await buy(shop, "1", total=100)
        await buy(shop, "2", total=30, currency="EUR")
        assert await figures(shop) == {"GBP": (1, 100, 100, 0, 0), "EUR": (1, 30, 30, 0, 0)}

    async def test_a_day_lasts_from_midnight_to_midnight_in_the_shops_time_zone(self, shop: Shop) -> None:
        midnight = datetime(2026, 3, 2, tzinfo=UTC)
        for name, hours in {"before": -0.001, "first": 0, "last": 23.999, "after": 24}.items():
            await buy(shop, name, created_at=midnight + timedelta(hours=hours))
        assert (await figures(shop))["GBP"][0] == 2


class TestCustomers:
    async def test_a_customer_with_a_first_order_today_is_new_and_counts_once(self, shop: Shop) -> None:
        await buy(shop, "1", ANN)
        await buy(shop, "2", ANN, created_at=NOON + timedelta(hours=1))
        assert (await figures(shop))["GBP"][3:] == (1, 0)

    async def test_a_customer_with_an_earlier_order_is_returning(self, shop: Shop) -> None:
        await buy(shop, "1", ANN, created_at=NOON - timedelta(days=200))
        await buy(shop, "2", ANN)
        assert (await figures(shop))["GBP"][3:] == (0, 1)

    async def test_a_cancelled_order_does_not_count_as_the_first(self, shop: Shop) -> None:
        await buy(shop, "1", ANN, created_at=NOON - timedelta(days=2), cancelled_at=NOON)
        await buy(shop, "2", ANN, created_at=NOON - timedelta(days=1), payment_status="cancelled")
        await buy(shop, "3", ANN)
        assert (await figures(shop))["GBP"][3:] == (1, 0)

    async def test_a_later_order_changes_nothing(self, shop: Shop) -> None:
        await buy(shop, "1", ANN)
        await buy(shop, "2", ANN, created_at=NOON + timedelta(days=1))
        assert (await figures(shop))["GBP"] == (1, 1000, 1000, 1, 0)

    async def test_a_customer_who_registers_is_new_with_or_without_an_order(self, shop: Shop) -> None:
        await buy(shop, "1", ANN, created_at=NOON - timedelta(days=9))
        await buy(shop, "2", ANN)
        await shop.sql("UPDATE customers SET registered_at = :now WHERE id IN (:ann, :bob)", now=NOON, ann=ANN, bob=BOB)
        await shop.sql("UPDATE customers SET registered_at = :then WHERE id = :cat", then=NOON - timedelta(1), cat=CAT)
        assert (await figures(shop))["GBP"][3:] == (2, 0)

    async def test_a_customer_with_two_currencies_counts_in_the_first_one(self, shop: Shop) -> None:
        await buy(shop, "2", ANN, currency="EUR")
        await buy(shop, "1", ANN, created_at=NOON + timedelta(hours=1))
        assert {name: row[3:] for name, row in (await figures(shop)).items()} == {"GBP": (0, 0), "EUR": (1, 0)}

    async def test_a_registration_without_an_order_counts_in_the_shops_currency(self, shop: Shop) -> None:
        await buy(shop, "1", ANN, currency="EUR")
        assert set(await figures(shop)) == {"EUR"}
        await shop.sql("UPDATE customers SET registered_at = :now WHERE id = :bob", now=NOON, bob=BOB)
        assert await figures(shop) == {"EUR": (1, 1000, 1000, 1, 0), "GBP": (0, 0, 0, 1, 0)}


class TestTopProducts:
    async def test_best_sellers_are_ranked_by_units_then_revenue_then_id(self, shop: Shop) -> None:  # (J5)
        for sku in ("bee", "ant"):
            await shop.variant(sku)
        await shop.order("1", heart=2, owl=3, bee=2, ant=2)
        await shop.sql("UPDATE order_lines SET unit_price = 900 WHERE sku = 'heart'")
        assert await top(shop) == [
            ("owl", "Owl", 3, 750),
            ("heart", "Heart", 2, 1800),
            ("ant", "Ant", 2, 500),
            ("bee", "Bee", 2, 500),
        ]

    async def test_there_are_at_most_as_many_best_sellers_as_requested(self, shop: Shop) -> None:
        await shop.order("1", heart=1, owl=2)
        assert len(await top(shop, top=1)) == 1

    async def test_variants_of_a_product_are_added(self, shop: Shop) -> None:
        await shop.sql("INSERT INTO variants (id, product_id, sku) VALUES ('owl-xl', 'owl', 'owl-xl')")
        await shop.order("1", ("owl", 1), ("owl-xl", 2), ("owl", 4))
        assert await top(shop) == [("owl", "Owl", 7, 1750)]

    async def test_unknown_skus_are_left_out(self, shop: Shop) -> None:
        await shop.order("1", ("mystery", 50))
        assert await top(shop) == []
        assert (await figures(shop))["GBP"][0] == 1


class TestHugeNumbers:
    async def test_a_huge_product_does_not_break_the_day(self, shop: Shop) -> None:
        await buy(shop, "1")
        await shop.sql("UPDATE order_lines SET quantity = 2147483647, unit_price = 9223372036854775807")
        [(_, _, units, revenue)] = await top(shop)
        assert (units, revenue) == (2**31 - 1, (2**31 - 1) * (2**63 - 1))

    async def test_huge_totals_do_not_break_the_day(self, shop: Shop) -> None:
        for order_id in "12":
            await buy(shop, order_id, total=2**63 - 1)
        assert (await figures(shop))["GBP"][:2] == (2, 2**63 - 1)


class TestAgain:
    async def test_counting_again_changes_nothing(self, shop: Shop) -> None:
        await buy(shop, "1", ANN)
        first, second = [await shop.call(count_day, TODAY, UTC_ZONE, "GBP") for _ in range(2)]
        assert (first.changed, second.changed) == (True, False)
        assert first.currencies == second.currencies

    async def test_a_changed_product_title_counts_as_a_change(self, shop: Shop) -> None:
        await buy(shop, "1")
        await figures(shop)
        await shop.sql("UPDATE products SET title = 'New'")
        assert (await shop.call(count_day, TODAY, UTC_ZONE, "GBP")).changed

    async def test_the_row_of_a_currency_without_orders_is_deleted(self, shop: Shop) -> None:
        assert set(await figures(shop)) == {"GBP"}
        await buy(shop, "1", currency="EUR")
        assert set(await figures(shop)) == {"EUR"}
        await shop.sql("UPDATE orders SET cancelled_at = now()")
        assert await figures(shop) == {"GBP": (0, 0, 0, 0, 0)}

    async def test_other_days_are_kept(self, shop: Shop) -> None:
        await shop.call(count_day, TODAY - timedelta(days=1), UTC_ZONE, "EUR")
        await figures(shop)
        assert await shop.sql("SELECT currency FROM daily_metrics ORDER BY day") == ["EUR", "GBP"]

    async def test_concurrent_counts_take_turns(self, shop: Shop) -> None:
        async with shop.database.transaction() as tx:
            first = await count_day(tx, TODAY, UTC_ZONE, "GBP")
            second = asyncio.create_task(shop.call(count_day, TODAY, UTC_ZONE, "GBP"))
            await until_lock_wait(shop.sql)
            await buy(shop, "1")
        assert first.currencies[0].orders == 0
        assert (await second).currencies[0].orders == 1

    def test_the_summary_adds_the_orders_of_all_currencies(self) -> None:
        figures = [DayFigures(currency=each, **dict.fromkeys(FIGURES, 3)) for each in ("GBP", "EUR")]
        assert CountedDay(day=TODAY, currencies=figures, changed=True).summary() == "6 orders on 2026-03-02"


class TestReport:
    async def test_a_report_is_queued_once(self, shop: Shop) -> None:
        for _ in range(2):
            await shop.call(
                queue_report,
                CountedDay(day=TODAY, currencies=[], changed=True),
                ("ann@shop.example", "bob@shop.example"),
            )
        assert await shop.sql("SELECT key, kind, recipient, data FROM notifications") == [
            (report_key(TODAY), "daily-report", "ann@shop.example, bob@shop.example", {"day": "2026-03-02"})
        ]
        assert report_key(TODAY) == "daily-report/2026-03-02"

    async def test_without_admins_no_report_is_queued(self, shop: Shop) -> None:
        await shop.call(queue_report, CountedDay(day=TODAY, currencies=[], changed=True), ())
        assert await shop.sql("SELECT key FROM notifications") == []


class TestBounds:
    @pytest.mark.parametrize(
        ("zone", "day", "start", "hours"),
        [
            ("UTC", date(2026, 3, 2), "2026-03-02T00:00", 24),
            ("Europe/London", date(2026, 3, 29), "2026-03-29T00:00", 23),
            ("Europe/London", date(2026, 10, 25), "2026-10-24T23:00", 25),
            ("America/Havana", date(2026, 3, 8), "2026-03-08T05:00", 23),  # 00:00 becomes 01:00
            ("Asia/Beirut", date(2026, 3, 29), "2026-03-28T22:00", 23),  # 00:00 becomes 01:00
            ("America/Havana", date(2026, 11, 1), "2026-11-01T04:00", 25),  # 01:00 becomes 00:00
            ("Asia/Beirut", date(2026, 10, 24), "2026-10-23T21:00", 25),  # the next 00:00 becomes 23:00
            ("Australia/Lord_Howe", date(2026, 4, 5), "2026-04-04T13:00", 24.5),
            ("Pacific/Apia", date(2011, 12, 30), "2011-12-30T10:00", 0),  # a day that never was
        ],
    )
    def test_a_day_follows_the_changes_of_the_clocks(self, zone: str, day: date, start: str, hours: float) -> None:
        start_at, end = day_bounds(day, ZoneInfo(zone))
        assert start_at == datetime.fromisoformat(f"{start}+00:00")
        assert end - start_at == timedelta(hours=hours)
        assert end == day_bounds(day + timedelta(days=1), ZoneInfo(zone))[0]


# Time zones and the day on which their clocks change.
CLOCKS = {
    "Europe/London": date(2026, 3, 29),
    "America/Havana": date(2026, 3, 8),
    "Asia/Beirut": date(2026, 10, 25),
    "Pacific/Auckland": date(2026, 4, 5),
}


class TestAgainstPlainPython:
    """Random orders, counted by the database and in plain Python."""

    @pytest.mark.parametrize(("zone", "change"), CLOCKS.items())
    async def test_every_day_has_the_same_figures(self, database: Database, zone: str, change: date) -> None:  # (J5)
        shop, made = Shop(database), RandomOrders(random.Random(zone), change)
        await made.store(shop)
        days = [change + timedelta(days=shift) for shift in range(-9, 10)]
        for name in (zone, "UTC", zone):
            await shop.sql("DELETE FROM daily_metrics")  # a currency that a day has lost would be shown with zeros
            counted = [await shop.call(count_day, day, ZoneInfo(name), "GBP", top=3) for day in days]
            assert [day.currencies for day in counted] == [made.figures(day, ZoneInfo(name)) for day in days]
            products = await shop.sql("SELECT day, currency, top_products FROM daily_metrics ORDER BY day, currency")
            assert products == [row for day in days for row in made.products(day, ZoneInfo(name))]
            assert sum(row.revenue for day in counted for row in day.currencies) == made.revenue


class RandomOrders:
    """Random orders of two weeks, half of them near midnight."""

    def __init__(self, chance: random.Random, middle: date) -> None:
        self._chance = chance
        self._noon = datetime(middle.year, middle.month, middle.day, 12, tzinfo=UTC)
        self.product_ids = [f"p{number}" for number in range(6)]
        self.customers = {
            UUID(int=number + 1): self._moment() if chance.random() < 0.3 else None for number in range(40)
        }
        self.orders = [self._order(str(number)) for number in range(150)]
        self.lines = [line for order in self.orders for line in self._lines(order["id"])]

    def _moment(self) -> datetime:
        day = self._noon + timedelta(days=self._chance.randint(-7, 7))
        if self._chance.random() < 0.5:
            return day + timedelta(hours=self._chance.uniform(-12, 12))
        return day + timedelta(hours=self._chance.choice([-12, 12]), minutes=30 * self._chance.randint(-28, 28))

    def _order(self, order_id: str) -> dict[str, Any]:
        return {
            "id": order_id,
            "customer_id": self._chance.choice([None, *self.customers]),
            "currency": self._chance.choice(["GBP", "GBP", "EUR"]),
            "total": self._chance.randint(0, 9999),
            "created_at": self._moment(),
            "payment_status": "cancelled" if self._chance.random() < 0.05 else "captured",
            "cancelled_at": self._noon if self._chance.random() < 0.05 else None,
            "content_hash": "",
        }

    def _lines(self, order_id: str) -> Iterable[dict[str, Any]]:
        for position in range(self._chance.randint(1, 4)):
            product = self._chance.choice([*self.product_ids, None])
            yield {
                "order_id": order_id,
                "position": position,
                "variant_id": product and f"{product}-{self._chance.randint(1, 2)}",
                "sku": "any",
                "title": "",
                "quantity": self._chance.randint(1, 3),
                "unit_price": self._chance.choice([100, 200]),
            }

    async def store(self, shop: Shop) -> None:
        async with shop.database.transaction() as tx:
            for product in self.product_ids:
                await tx.execute(insert(tables.Product).values(id=product, title=product.upper()))
                for variant in (f"{product}-1", f"{product}-2"):
                    await tx.execute(insert(tables.Variant).values(id=variant, product_id=product, sku=variant))
            customers = [
                {"id": key, "email": str(key), "has_account": at is not None, "registered_at": at}
                for key, at in self.customers.items()
            ]
            await tx.execute(insert(tables.Customer), customers)
            await tx.execute(insert(tables.Order), self.orders)
            await tx.execute(insert(tables.OrderLine), self.lines)

    @property
    def counted_orders(self) -> list[dict[str, Any]]:
        kept = [each for each in self.orders if not each["cancelled_at"] and each["payment_status"] != "cancelled"]
        return sorted(kept, key=lambda order: (order["created_at"], order["id"]))

    @property
    def revenue(self) -> int:
        return sum(order["total"] for order in self.counted_orders)

    def figures(self, day: date, zone: ZoneInfo) -> list[DayFigures]:
        first: dict[UUID, date] = {}
        for order in self.counted_orders:
            first.setdefault(order["customer_id"], order["created_at"].astimezone(zone).date())
        totals, new, returning = defaultdict(list), defaultdict(set), defaultdict(set)
        seen: set[UUID | None] = {None}
        for order in self.today(day, zone):
            customer, currency = order["customer_id"], order["currency"]
            totals[currency].append(order["total"])
            if customer not in seen:
                fresh = first[customer] == day or self._registered(customer, zone) == day
                (new if fresh else returning)[currency].add(customer)
                seen.add(customer)
        new["GBP"] |= {key for key in self.customers if self._registered(key, zone) == day} - seen
        shown = set(totals) | ({"GBP"} if new["GBP"] or not totals else set())
        rows = [
            DayFigures(
                currency=currency,
                orders=len(totals[currency]),
                revenue=sum(totals[currency]),
                average_order_value=int(sum(totals[currency]) / len(totals[currency]) + 0.5) if totals[currency] else 0,
                new_customers=len(new[currency]),
                returning_customers=len(returning[currency]),
            )
            for currency in shown
        ]
        return sorted(rows, key=lambda row: (-row.orders, row.currency))

    def products(self, day: date, zone: ZoneInfo) -> list[tuple[date, str, list[dict[str, Any]]]]:
        currencies = {order["id"]: order["currency"] for order in self.today(day, zone)}
        sold: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
        for line in self.lines:
            if line["order_id"] in currencies and line["variant_id"]:
                product = sold[currencies[line["order_id"]]][line["variant_id"].partition("-")[0]]
                product[0] += line["quantity"]
                product[1] += line["quantity"] * line["unit_price"]
        return [(day, row.currency, self._top(sold[row.currency])) for row in self._by_name(day, zone)]

    def today(self, day: date, zone: ZoneInfo) -> list[dict[str, Any]]:
        return [order for order in self.counted_orders if order["created_at"].astimezone(zone).date() == day]

    def _by_name(self, day: date, zone: ZoneInfo) -> list[DayFigures]:
        return sorted(self.figures(day, zone), key=lambda row: row.currency)

    def _registered(self, customer: UUID, zone: ZoneInfo) -> date | None:
        at = self.customers[customer]
        return at.astimezone(zone).date() if at else None

    @staticmethod
    def _top(sold: dict[str, list[int]]) -> list[dict[str, Any]]:
        ranked = sorted(sold, key=lambda product: (-sold[product][0], -sold[product][1], product))
        return [
            {"id": product, "title": product.upper(), "units_sold": sold[product][0], "revenue": sold[product][1]}
            for product in ranked[:3]
        ]
