"""A week of a busy shop as CSV exports, and its totals: real orders next to the project if they are there, or made-up.

The made-up week is small, and has what makes real weeks difficult: guests without an email address, orders without a
shipping method, one SKU on several lines of an order, a very long order, and less stock than demand.
"""

import csv
import gzip
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

from tests.paths import SHARED_DATA

SEED = 20260302
ORDERS, CARTS, SKUS = 64, 12, 60
LINES = (1, 2, 3, 5, 8, 13)  # of an ordinary order
LONG_ORDER, LONG_ORDER_LINES = 17, 120
MONDAY = datetime(2026, 3, 2, 8, tzinfo=UTC)
LOCATIONS = ("Main warehouse", "Overflow")
ORDER_COLUMNS = [
    "Name",
    "Email",
    "Financial Status",
    "Paid at",
    "Fulfillment Status",
    "Currency",
    "Shipping",
    "Shipping Method",
    "Created at",
    "Lineitem quantity",
    "Lineitem name",
    "Lineitem price",
    "Lineitem sku",
    "Lineitem requires shipping",
    "Shipping Country",
    "Id",
]
STOCK_COLUMNS = ["Handle", "Title", "SKU", "Location", "Available", "On hand"]
CART_COLUMNS = [
    "Id",
    "Email",
    "Created at",
    "Updated at",
    "Completed at",
    "Currency",
    "Lineitem quantity",
    "Lineitem sku",
    "Lineitem price",
]


@dataclass(frozen=True)
class Outcome:
    """How a week ends if its orders are processed one by one in order of arrival."""

    fulfilled: int
    refused: int
    units_shipped: int
    units_left: int


@dataclass(frozen=True)
class Week:
    """The files of a week, and its totals: of orders, lines, units, money in minor units, guests, SKUs, carts."""

    orders: Path
    inventory: Path
    carts: Path
    totals: Mapping[str, int]

    def outcome(self) -> Outcome:
        """Calculate the outcome from the files alone. An order gets all its units, or none."""
        stock: Counter[str] = Counter()
        for row in _read(self.inventory):
            stock[row["SKU"]] += int(row["On hand"])
        shipped, refused = [], 0
        for units in self._orders_by_arrival():
            if all(stock[sku] >= wanted for sku, wanted in units.items()):
                stock -= units
                shipped.append(units.total())
            else:
                refused += 1
        return Outcome(len(shipped), refused, sum(shipped), stock.total())

    def _orders_by_arrival(self) -> list[Counter[str]]:
        arrivals: dict[str, tuple[str, str]] = {}
        units: dict[str, Counter[str]] = {}
        for row in _read(self.orders):
            if row["Id"]:
                arrivals[row["Name"]] = (row["Created at"], row["Id"])
            units.setdefault(row["Name"], Counter())[row["Lineitem sku"]] += int(row["Lineitem quantity"])
        return [units[name] for name in sorted(units, key=arrivals.__getitem__)]


def sample_week(folder: Path) -> Week:
    """Return the real week if it lies next to the project; otherwise write the made-up one to this folder."""
    real = SHARED_DATA / "week-orders.csv.gz"
    if real.exists():
        totals = json.loads((SHARED_DATA / "week-totals.json").read_text())
        return Week(
            real,
            SHARED_DATA / "week-inventory.csv.gz",
            SHARED_DATA / "week-abandoned-checkouts.csv.gz",
            {name: _minor_units(value) for name, value in totals.items()},
        )
    return make_week(folder)


def make_week(folder: Path) -> Week:
    """Write the made-up week to a folder. It is always the same."""
    random = Random(SEED)
    prices = {f"SKU-{number:02}": Decimal(random.randint(50, 2_000)) / 100 for number in range(SKUS)}
    orders = [_make_order(random, number, list(prices)) for number in range(ORDERS)]
    demand: Counter[str] = Counter()
    for order in orders:
        for sku, units in order.lines:
            demand[sku] += units
    carts = [(f"C{number}", [(sku, 1) for sku in random.sample(list(prices), 3)]) for number in range(CARTS)]
    week = Week(
        folder / "week-orders.csv.gz",
        folder / "week-inventory.csv.gz",
        folder / "week-abandoned-checkouts.csv.gz",
        _totals(orders, prices),
    )
    _write(week.orders, ORDER_COLUMNS, (row for order in orders for row in order.rows(prices)))
    _write(week.inventory, STOCK_COLUMNS, _stock_rows(random, prices, demand))
    _write(week.carts, CART_COLUMNS, _cart_rows(carts, prices))
    return week


@dataclass(frozen=True)
class _Order:
    number: int
    at: datetime
    email: str
    shipping: Decimal
    method: str
    lines: list[tuple[str, int]]

    def rows(self, prices: Mapping[str, Decimal]) -> Iterator[list[object]]:
        at = _timestamp(self.at)
        head: list[object] = [self.email, "paid", at, "", "GBP", self.shipping, self.method, at]
        for position, (sku, units) in enumerate(self.lines):
            first = position == 0
            line = [units, f"Goods {sku}", prices[sku], sku, "true"]
            yield [
                f"#{self.number}",
                *(head if first else [""] * len(head)),
                *line,
                *(("United Kingdom", self.number) if first else ("", "")),
            ]


def _make_order(random: Random, number: int, skus: list[str]) -> _Order:
    count = LONG_ORDER_LINES if number == LONG_ORDER else random.choice(LINES)
    lines = [(random.choice(skus), random.choice((1, 2, 3, 6, 12))) for _ in range(count)]
    if number % 5 == 0:
        lines.append(lines[0])  # the same SKU once more
    shipped = number % 3 != 0
    return _Order(
        number=1001 + number,
        at=MONDAY + timedelta(hours=number * 2.5),
        email="" if number % 16 == 3 else f"customer-{number % 40}@shop.example",
        shipping=Decimal("4.20") if shipped else Decimal("0.00"),
        method="Standard" if shipped else "",
        lines=lines,
    )


def _stock_rows(random: Random, prices: Mapping[str, Decimal], demand: Counter[str]) -> Iterator[list[object]]:
    """Yield stock of 70 to 120 % of the demand, some of it in the second location."""
    for sku in prices:
        stock = round(demand[sku] * random.uniform(0.7, 1.2))
        second = random.randint(0, stock // 3)
        for location, units in zip(LOCATIONS, (stock - second, second), strict=True):
            yield [sku.lower(), f"Goods {sku}", sku, location, units, units]


def _cart_rows(
    carts: Iterable[tuple[str, list[tuple[str, int]]]], prices: Mapping[str, Decimal]
) -> Iterator[list[object]]:
    for cart_id, lines in carts:
        at = _timestamp(MONDAY)
        head = [f"{cart_id.lower()}@shop.example", at, at, "", "GBP"]  # on the cart's first row only
        for sku, units in lines:
            yield [cart_id, *head, units, sku, prices[sku]]
            head = [""] * len(head)


def _totals(orders: list[_Order], prices: Mapping[str, Decimal]) -> dict[str, int]:
    lines = [line for order in orders for line in order.lines]
    revenue = sum((units * prices[sku] for sku, units in lines), Decimal(0))
    shipping = sum((order.shipping for order in orders), Decimal(0))
    return {
        "orders": len(orders),
        "lines": len(lines),
        "units": sum(units for _, units in lines),
        "revenue": int(revenue * 100),
        "shipping": int(shipping * 100),
        "order_total": int((revenue + shipping) * 100),
        "guests": sum(not order.email for order in orders),
        "with_shipping": sum(order.shipping > 0 for order in orders),
        "longest_order": max(len(order.lines) for order in orders),
        "skus": len(prices),
        "abandoned_checkouts": CARTS,
    }


def _read(file: Path) -> list[dict[str, str]]:
    with gzip.open(file, "rt", newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _write(file: Path, columns: list[str], rows: Iterable[list[object]]) -> None:
    with gzip.open(file, "wt", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([columns, *rows])


def _minor_units(value: Any) -> int:
    return int(value.replace(".", "")) if isinstance(value, str) else int(value)


def _timestamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S %z")
