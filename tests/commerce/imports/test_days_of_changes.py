"""Any sequence of changed orders, steps of processing and counts of stock leaves what a simple model says."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commerce import fulfillment, inventory, open_orders, order_intake, orders
from commerce.errors import InsufficientInventory, OrderChanged, OrderRefused
from commerce.imports import import_inventory, import_orders
from commerce.imports.new_order import NewOrder
from commerce.imports.order_parser import OrderHead, OrderLine, parse_order
from commerce.imports.order_rows import HEAD_COLUMNS, LINE_COLUMNS
from commerce.messages.orders import CreatedFulfillment, ValidOrder
from commerce.messages.pending_orders import PendingPageRequest
from tests.commerce.imports.admin_order import FULFILLMENT, PAYMENT
from tests.commerce.imports.days_model import (
    FULFILLMENTS,
    PAYMENTS,
    WAITING,
    Content,
    ModelCount,
    ModelOrder,
    ModelShop,
)
from tests.commerce.imports.order_files import write_file
from tests.commerce.shop import Shop

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
IDS, SKUS = ("A", "B", "C"), ("MUG", "BOX")
FIRST_STOCK = 4
OPEN = Content("paid", "unfulfilled", is_cancelled=False, city="London", mugs=1, boxes=1)
# Changes of one field that a process must not miss.
CHANGES: dict[str, Callable[[Any], Any]] = {
    "payment": lambda _: "refunded",
    "fulfillment": lambda _: "fulfilled",
    "is_cancelled": lambda _: True,
    "city": lambda city: f"New {city}",
    "mugs": lambda units: units % 2 + 1,
    "boxes": lambda units: 1 - units,
}
ORDERS = """
    SELECT id, payment_status, fulfillment_status, cancelled_at IS NOT NULL, shipping_city,
           (SELECT coalesce(sum(quantity), 0)::int FROM order_lines WHERE order_id = orders.id AND sku = 'MUG'),
           (SELECT coalesce(sum(quantity), 0)::int FROM order_lines WHERE order_id = orders.id AND sku = 'BOX'),
           (SELECT count(*) FROM fulfillments WHERE order_id = orders.id AND cancelled_at IS NULL)
    FROM orders ORDER BY id
"""

ids, open_states = st.sampled_from(IDS), st.tuples(st.just("paid"), st.just("unfulfilled"), st.just(False))
cancelled = st.just(("paid", "unfulfilled", True))
any_states = st.tuples(st.sampled_from(PAYMENTS), st.sampled_from((*FULFILLMENTS, *WAITING)), st.booleans())
contents = st.builds(
    lambda states, *rest: Content(*states, *rest),
    st.one_of(open_states, open_states, cancelled, any_states),
    st.sampled_from(("London", "Leeds")),
    st.integers(1, 2),
    st.integers(0, 1),
)
steps = st.one_of(
    st.tuples(st.just("file"), st.dictionaries(ids, contents, min_size=1)),
    st.tuples(st.just("put"), ids, contents, st.none() | st.integers(1, 4)),
    st.tuples(st.just("begin"), ids),
    st.tuples(st.just("begin"), ids),
    st.tuples(st.just("finish"), ids),
    st.tuples(st.just("finish"), ids),
    st.tuples(st.just("undo"), ids),
    st.tuples(st.just("overtake"), ids, st.sampled_from(sorted(CHANGES)), st.none() | st.integers(1, 4)),
    st.tuples(st.just("look"), st.integers(0, 9), st.integers(0, 9)),
    st.tuples(st.just("ship_before_count"), ids, st.integers(2, 9), st.integers(2, 9)),
    st.tuples(st.just("count"), st.integers(1, 2)),
)


@settings(max_examples=45, database=None)
@given(st.fixed_dictionaries(dict.fromkeys(IDS, contents)), st.lists(steps, min_size=5, max_size=14))
async def test_any_sequence_of_days_leaves_what_a_simple_model_says(  # (V11, V12, I14)
    shop: Shop, tmp_path: Path, first_file: dict[str, Content], story: list[tuple[Any, ...]]
) -> None:
    await shop.clear()
    days = await open_days(shop, tmp_path, first_file)
    for step, *more in story:
        await getattr(days, step)(*more)
        await days.compare()
    assert await shop.breaches() == []


@pytest.mark.parametrize("hour", [None, 1])
@pytest.mark.parametrize("change", sorted(CHANGES))
async def test_no_change_of_an_order_is_missed_by_its_process(  # (V12)
    shop: Shop, tmp_path: Path, change: str, hour: int | None
) -> None:
    days = await open_days(shop, tmp_path, {"A": OPEN})
    await days.overtake("A", change, hour)
    await days.compare()
    assert days.model.orders["A"].process == "none"


async def open_days(shop: Shop, folder: Path, first_file: dict[str, Content]) -> "Days":
    for sku in SKUS:
        await shop.stock(sku, main=FIRST_STOCK)
    days = Days(shop, folder)
    await days.file(first_file)
    return days


@dataclass
class Days:
    """A shop and its model, and steps that both take."""

    shop: Shop
    folder: Path
    model: ModelShop = field(default_factory=lambda: ModelShop(Counter(dict.fromkeys(SKUS, FIRST_STOCK))))
    begun: dict[str, tuple[ValidOrder, CreatedFulfillment]] = field(default_factory=dict)
    counts: list[tuple[ModelCount, datetime]] = field(default_factory=list)

    async def file(self, stated: dict[str, Content]) -> None:
        """Import a file of these orders."""
        rows = [row for order_id, content in stated.items() for row in rows_of(order_id, content)]
        report = await import_orders(
            self.shop.database, [write_file(self.folder / "orders.csv", *rows)], currency="GBP"
        )
        assert report.bad == []
        for order_id, content in stated.items():
            self.model.receive(order_id, content)

    async def put(self, order_id: str, stated: Content, hour: int | None) -> None:
        """Send an order over HTTP, last changed at this hour."""
        order = parse_order(head_of(order_id, stated, hour), lines_of(stated), currency="GBP")
        assert isinstance(order, NewOrder)
        await self.shop.call(order_intake.store_order, order)
        self.model.receive(order_id, stated, hour)

    async def begin(self, order_id: str) -> None:
        """Take an order's units out of stock, if it may be processed."""
        if order_id in self.begun or order_id not in self.model.orders:
            return
        has_begun = True
        try:
            valid = await self.shop.call(orders.validate, order_id)
            if valid.fulfilled:
                return
            await self.shop.call(inventory.check, order_id)
            await self.shop.call(inventory.reserve, order_id)
            self.begun[order_id] = valid, await self.shop.call(fulfillment.create, order_id)
        except (OrderRefused, InsufficientInventory):
            has_begun = False
        assert has_begun == self.model.begin(order_id)

    async def finish(self, order_id: str) -> None:
        """Complete an order, or undo what was done if it has changed since."""
        if order_id not in self.begun:
            return
        try:
            await self.shop.call(orders.complete, order_id, self.begun[order_id][0].revision)
        except OrderChanged:
            await self._take_back(order_id)
            assert not self.model.finish(order_id)
        else:
            del self.begun[order_id]
            assert self.model.finish(order_id)

    async def overtake(self, order_id: str, field: str, hour: int | None) -> None:
        """Change one field of an order while it is processed."""
        await self.begin(order_id)
        known = self.model.orders[order_id].known
        stated = known._replace(**{field: CHANGES[field](getattr(known, field))})
        await (self.file({order_id: stated}) if hour is None else self.put(order_id, stated, hour))
        await self.finish(order_id)

    async def undo(self, order_id: str) -> None:
        if order_id in self.begun:
            await self._take_back(order_id)
            self.model.undo(order_id)

    async def _take_back(self, order_id: str) -> None:
        _, created = self.begun.pop(order_id)
        await self.shop.call(fulfillment.cancel, created, order_id)
        await self.shop.call(inventory.release, order_id)

    async def look(self, mugs: int, boxes: int) -> None:
        """Count the shelves, for an import at once or later."""
        units = Counter(MUG=mugs, BOX=boxes)
        count = ModelCount(len(self.counts) + 1, units, Counter(self.model.shipped))
        self.counts.append((count, datetime.now(UTC)))

    async def count(self, which: int) -> None:
        """Import one of the last counts."""
        for count, counted_at in self.counts[-which:][:1]:
            file = self.folder / "stock.csv"
            file.write_text("\n".join(["SKU,Location,On hand", *(f"{sku},main,{count.units[sku]}" for sku in SKUS)]))
            report = await import_inventory(self.shop.database, [file], counted_at=counted_at)
            assert report.bad == []
            self.model.count(count)

    async def ship_before_count(self, order_id: str, mugs: int, boxes: int) -> None:
        """Ship an order between a count of the shelves and its import."""
        await self.look(mugs, boxes)
        await self.begin(order_id)
        await self.finish(order_id)
        await self.count(1)

    async def compare(self) -> None:
        known = sorted(self.model.orders.items())
        assert await self.shop.sql(ORDERS) == [(order_id, *stored(order)) for order_id, order in known]
        levels = {sku: await self.shop.levels(sku) for sku in SKUS}
        assert levels == {sku: {"main": (self.model.stock[sku], 0)} for sku in SKUS}
        pending = await self.shop.call(open_orders.list_pending, PendingPageRequest(limit=9))
        assert sorted(pending.order_ids) == [order_id for order_id, order in known if order.is_pending]


def stored(order: ModelOrder) -> tuple[Any, ...]:
    """Return what must be stored of an order, as in `ORDERS`."""
    payment, fulfilled, is_cancelled, *content = order.known
    status = "fulfilled" if order.process == "shipped" else FULFILLMENT[fulfilled]
    return PAYMENT[payment], status, is_cancelled, *content, int(order.process != "none")


def head_of(order_id: str, stated: Content, hour: int | None = None) -> OrderHead:
    return OrderHead(
        id=order_id,
        name=f"#{order_id}",
        email="ann@customer.example",
        financial_status=stated.payment,
        fulfillment_status=stated.fulfillment,
        cancelled_at=NOON.isoformat() if stated.is_cancelled else None,
        created_at=NOON.isoformat(),
        updated_at=None if hour is None else (NOON + timedelta(hours=hour)).isoformat(),
        shipping_method="Standard",
        shipping_city=stated.city,
        shipping_country="GB",
    )


def lines_of(stated: Content) -> list[OrderLine]:
    mug, box = (
        OrderLine("MUG", "Mug", stated.mugs, "2.50", "true"),
        OrderLine("BOX", "Box", stated.boxes, "1.00", "true"),
    )
    return [mug, box] if stated.boxes else [mug]


def rows_of(order_id: str, stated: Content) -> list[dict[str, str]]:
    """Return the order's rows in an export."""
    head = head_of(order_id, stated)
    columns = {column: getattr(head, name) or "" for name, column in HEAD_COLUMNS.items()}
    lines = [
        {LINE_COLUMNS[name]: "" if value is None else str(value) for name, value in line._asdict().items()}
        for line in lines_of(stated)
    ]
    return [columns | lines[0], *({"Name": f"#{order_id}"} | line for line in lines[1:])]
