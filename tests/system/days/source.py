"""The shop that orders come from, day by day: its orders, its own books of stock, and what is on its shelves.

It changes its orders without knowing what we do with them, and learns of our fulfillments from our export alone.
"""

import copy
import csv
import io
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.commerce.imports.admin_export import PICKUP, write_export
from tests.commerce.imports.admin_order import AdminLine, AdminOrder

# Units of inventory items by SKU.
ITEMS = {"MUG": {"MUG": 1}, "BOX": {"BOX": 1}, "LAMP": {"LAMP": 1}, "TEA": {"TEA": 1}, "NEW": {"NEW": 1}}
KIT = "GIFT-SET"
ITEMS[KIT] = {"MUG": 1, "BOX": 2}
BACKORDER, LATE = "TEA", "NEW"  # can be ordered beyond the stock; comes into our shop with a later count
WEIGHTS = {"MUG": 6, "BOX": 4, "LAMP": 3, BACKORDER: 2, LATE: 1, KIT: 3}
FIRST_STOCK = {"MUG": 14, "BOX": 20, "LAMP": 3, BACKORDER: 0, LATE: 40}
DELIVERY = {"MUG": 25, "BOX": 40, "LAMP": 12, BACKORDER: 10, LATE: 0}
REFUSED_ZIP = "REFUSED"  # the embedded carrier ships nothing there
LOCATION = "Main"
COUNT_COLUMNS = "SKU,Location,Unavailable,Committed,Available,On hand (current)"


class Source:
    """A shop with orders by id. `today` has the ids of the orders that came in last."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.orders: dict[str, AdminOrder] = {}
        self.today: list[str] = []
        self.on_hand = Counter(FIRST_STOCK)
        self.on_shelves = Counter(FIRST_STOCK)
        self._counted_at = datetime.min.replace(tzinfo=UTC)

    def place_orders(self, number: int) -> None:
        self.today = []
        for _ in range(number):
            order = self._order(len(self.orders) + 1)
            self.orders[order.id] = order
            self.today.append(order.id)

    def change(self, order_ids: Iterable[str], actions: Sequence[str]) -> None:
        """Do one of these actions with each order that it is possible for: names of methods, without their `_`."""
        for order_id in order_ids:
            order = self.orders[order_id]
            if order.cancelled or order.payment in ("refunded", "expired"):
                continue
            if order.fulfillment == "fulfilled":
                self._refund(order)
            else:
                getattr(self, f"_{self.random.choice(actions)}")(order)

    def deliver(self) -> None:
        """Put more goods on the shelves."""
        self.on_hand.update(DELIVERY)
        self.on_shelves.update(DELIVERY)

    def settle(self) -> None:
        """Correct all addresses, pay what is still to be paid and release what is on hold."""
        for order in self.orders.values():
            if order.address.get("Zip") == REFUSED_ZIP:
                order.address["Zip"] = "N1 9GU"
            if order.number % 2:
                self._pay(order)
                self._release(order)

    def take_in_fulfillments(self, export: str) -> None:
        """Take in what we have shipped: the units are gone, whatever the shop has done with the order meanwhile."""
        for row in csv.DictReader(io.StringIO(export)):
            order = self.orders[row["Order id"]]
            self.on_hand.subtract(_items(row["Line: SKU"], int(row["Line: Quantity"])))
            if order.fulfillment != "fulfilled" and not order.cancelled:
                _set_status(order, "fulfilled")

    def export_orders(self, file: Path) -> dict[str, AdminOrder]:
        """Write the export of all orders; return them as they are in it."""
        write_export(file, list(self.orders.values()))
        return copy.deepcopy(self.orders)

    def export_inventory(self, file: Path, without: str = "") -> datetime:
        """Write the export of all stock, except that of one item; return the time of the count."""
        committed = self._committed()
        rows = (
            f"{item},{LOCATION},0,{committed[item]},{units - committed[item]},{units}"
            for item, units in self.on_hand.items()
            if item != without
        )
        file.write_text("\n".join([COUNT_COLUMNS, *rows]) + "\n")
        self._counted_at = datetime.now(UTC)
        return self._counted_at

    async def second_has_passed(self) -> bool | None:
        """Return, for `until`, whether orders that are placed from now on are later than the last count."""
        return now() > self._counted_at or None

    def _committed(self) -> Counter[str]:
        committed = Counter[str]()
        for order in self.orders.values():
            if order.fulfillment != "fulfilled" and not order.cancelled and order.payment != "refunded":
                committed += items_of(order.lines)
        return committed

    def _order(self, number: int) -> AdminOrder:
        choose = self.random
        skus = choose.choices(list(WEIGHTS), list(WEIGHTS.values()), k=choose.choice((1, 1, 2, 3)))
        lines = [self._line(sku) for sku in dict.fromkeys(skus)]
        if choose.random() < 0.15:
            lines.append(AdminLine("Gift card", "", 1, 1_000, ships=False))
        order = AdminOrder(
            number=number,
            created=now(),
            lines=lines,
            id=f"days-{number}",
            email=choose.choice((f"customer-{number}@shop.example", f"customer-{number}@shop.example", "")),
            payment=choose.choices(("paid", "pending", "authorized"), (7, 2, 1))[0],
            fulfillment=choose.choices(("unfulfilled", "on_hold", "scheduled"), (10, 1, 1))[0],
            method=choose.choice(("Standard", "Standard", "Express", "")),
        )
        if choose.random() < 0.1:
            order.method, order.address = PICKUP, {}
        elif choose.random() < 0.1:
            order.address["Zip"] = REFUSED_ZIP
        return order

    def _line(self, sku: str) -> AdminLine:
        return AdminLine(sku.title(), sku, self.random.randint(1, 3), self.random.randint(100, 9_000))

    def _pay(self, order: AdminOrder) -> None:
        if order.payment in ("pending", "authorized"):
            order.payment = "paid"

    def _expire(self, order: AdminOrder) -> None:
        if order.payment == "authorized":
            order.payment = "expired"

    def _cancel(self, order: AdminOrder) -> None:
        order.cancelled = now()
        order.payment = self.random.choice((order.payment, "voided"))
        if self.random.random() < 0.5:
            _set_status(order, "restocked")

    def _move(self, order: AdminOrder) -> None:
        if order.address:
            order.address["City"] = self.random.choice(("Leeds", "York", "Bath"))

    def _edit(self, order: AdminOrder) -> None:
        """Change the units of a line, add one or remove one."""
        line = self.random.choice(order.lines)
        unknown = [sku for sku in ITEMS if sku not in {line.sku for line in order.lines}]
        match self.random.choice(("units", "add", "remove")):
            case "add" if unknown:
                order.lines.append(self._line(self.random.choice(unknown)))
            case "remove" if len(order.lines) > 1:
                order.lines.remove(line)
            case _:
                line.units = line.units % 3 + 1

    def _tag(self, order: AdminOrder) -> None:
        order.more["Tags"] = f"tag {self.random.random()}"

    def _refund(self, order: AdminOrder) -> None:
        if order.is_paid:
            is_partial = order.payment == "paid" and self.random.random() < 0.4
            order.payment = "partially_refunded" if is_partial else "refunded"
            order.refunded = order.total // 2 if is_partial else order.total

    def _ship(self, order: AdminOrder) -> None:
        """Ship an order by hand, unless the shop knows that its stock is short."""
        committed, items = self._committed(), items_of(order.lines)
        if all(committed[item] <= self.on_hand[item] for item in items):
            self.on_hand.subtract(items)
            self.on_shelves.subtract(items)
            _set_status(order, "fulfilled")

    def _release(self, order: AdminOrder) -> None:
        if order.fulfillment in ("on_hold", "scheduled"):
            order.fulfillment = "unfulfilled"


def now() -> datetime:
    """Return the time in whole seconds, as exports have it."""
    return datetime.now(UTC).replace(microsecond=0)


def items_of(lines: Iterable[AdminLine]) -> Counter[str]:
    """Return the units of inventory items in these lines."""
    items = Counter[str]()
    for line in lines:
        items.update(_items(line.sku, line.units))
    return items


def _items(sku: str, units: int) -> dict[str, int]:
    return {item: units * each for item, each in ITEMS.get(sku, {}).items()}


def _set_status(order: AdminOrder, status: str) -> None:
    order.fulfillment = status
    for line in order.lines:
        line.status = status
