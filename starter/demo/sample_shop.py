"""The sample shop as two files for `commerce import`: always the same content."""

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from random import Random

from starter.demo.sample_goods import BACKORDER, HARBOUR, SCARCE, SPREAD, UNTRACKED, WORKSHOP, Customer, all_items
from starter.demo.sample_orders import METHODS, Case, Order, Outcome, make_orders
from starter.devstack.carrier.server import REFUSED_COUNTRY

SEED = 7
CURRENCY = "GBP"
SCARCITY, PLENTY, SPARE = 0.65, 1.3, 4  # stock as shares of the demand, and extra units
AT_HARBOUR = (0, 0, 0.3, 0.5)  # shares of a variant's stock at this location
NOT_STOCKED = "not stocked"
TAKEN_BACK = 250  # from this position on, the first order that can be
ORDER_COLUMNS = (
    *("Name", "Email", "Financial Status", "Paid at", "Fulfillment Status", "Currency", "Shipping", "Total"),
    *("Shipping Method", "Created at", "Cancelled at", "Lineitem quantity", "Lineitem name", "Lineitem price"),
    *("Lineitem sku", "Lineitem requires shipping", "Shipping Name", "Shipping Address1", "Shipping City"),
    *("Shipping Zip", "Shipping Province", "Shipping Country", "Risk Level", "Id"),
)
INVENTORY_COLUMNS = ("Handle", "Title", "SKU", "Location", "Available", "On hand", "Tracked", "Policy")

Cells = dict[str, str]


@dataclass(frozen=True)
class SampleShop:
    """The two files of the sample shop, and the expected outcome of its orders."""

    inventory: Path
    orders: Path
    order_ids: Sequence[str]  # in order of arrival
    expected: Mapping[str, Outcome | None]  # of the orders that can be processed; None: not determined
    cases: Mapping[Case, str]  # order ids of the special cases
    reviews: Mapping[str, Outcome]  # by id of the orders that wait for a review: how they end
    taken_back: str  # id of an order that is cancelled after it was fulfilled
    returned: str  # id of an order whose goods come back


def write_sample_shop(folder: Path, seed: int = SEED) -> SampleShop:
    """Write the files into an existing folder. The same seed gives the same files. Raises OSError."""
    random = Random(seed)  # noqa: S311 - not for security
    orders = list(make_orders(random))
    taken_back, returned = islice((order.id for order in orders[TAKEN_BACK:] if order.can_be_taken_back), 2)
    shop = SampleShop(
        inventory=folder / "sample-inventory.csv",
        orders=folder / "sample-orders.csv",
        order_ids=[order.id for order in orders],
        expected={order.id: order.expected for order in orders if order.started},
        cases={order.case: order.id for order in orders if order.case != "ordinary"},
        reviews={order.id: order.review for order in orders if order.review},
        taken_back=taken_back,
        returned=returned,
    )
    _write(shop.inventory, INVENTORY_COLUMNS, _stock(random, orders))
    _write(shop.orders, ORDER_COLUMNS, chain.from_iterable(map(_rows, orders)))
    return shop


def _stock(random: Random, orders: Sequence[Order]) -> Iterator[Cells]:
    """Yield the rows of the inventory. Most items suffice for all orders."""
    demand = Counter[str]()
    for item, units in chain.from_iterable(order.lines for order in orders):
        demand[item.sku] += units
    for item in all_items():
        for location, on_hand in _levels(random, item.sku, demand[item.sku]).items():
            units_there = NOT_STOCKED if on_hand is None else str(on_hand)
            yield {
                "Handle": item.handle,
                "Title": item.title,
                "SKU": item.sku,
                "Location": location,
                "Available": units_there,
                "On hand": units_there,
                "Tracked": str(item.sku != UNTRACKED).lower(),
                "Policy": "continue" if item.sku == BACKORDER else "deny",
            }


def _levels(random: Random, sku: str, demand: int) -> dict[str, int | None]:
    own: dict[str, tuple[int | None, int | None]] = {SPREAD: (3, 3), BACKORDER: (2, None), UNTRACKED: (None, None)}
    total = int(demand * SCARCITY) if sku in SCARCE else int(demand * PLENTY) + SPARE
    at_harbour = round(total * random.choice(AT_HARBOUR))
    return dict(zip((WORKSHOP, HARBOUR), own.get(sku, (total - at_harbour, at_harbour or None)), strict=True))


def _rows(order: Order) -> Iterator[Cells]:
    """Yield the rows of an order; the first one holds the order's own fields."""
    head = _head(order)
    for item, units in order.lines:
        yield head | {
            "Name": f"#{order.id}",
            "Lineitem quantity": str(units),
            "Lineitem name": item.name,
            "Lineitem price": _money(item.price),
            "Lineitem sku": item.sku,
            "Lineitem requires shipping": str(item.sku != UNTRACKED).lower(),
        }
        head = {}


def _head(order: Order) -> Cells:
    at = f"{order.at:%Y-%m-%d %H:%M:%S} +0000"
    shipping = METHODS[order.method] if order.method else 0
    unpaid, cancelled = order.case == "unpaid", order.case == "cancelled"
    head = {
        "Id": order.id,
        "Email": order.customer.email if order.has_email else "",
        "Financial Status": "pending" if unpaid else "paid",
        "Paid at": "" if unpaid else at,
        "Fulfillment Status": "fulfilled" if order.case == "fulfilled elsewhere" else "",
        "Currency": CURRENCY,
        "Shipping": _money(shipping),
        "Shipping Method": order.method or "",
        "Total": _money(shipping + sum(units * item.price for item, units in order.lines)),
        "Created at": at,
        "Cancelled at": at if cancelled else "",
        "Risk Level": "High" if order.review else "Low",
    }
    return head | _address(order.customer, order.case) if order.method else head


def _address(customer: Customer, case: Case) -> Cells:
    town = customer.town
    return {
        "Shipping Name": customer.name,
        "Shipping Address1": customer.street,
        "Shipping City": town.city,
        "Shipping Zip": town.zip,
        "Shipping Province": town.province,
        "Shipping Country": REFUSED_COUNTRY if case == "refused by carrier" else town.country,
    }


def _money(minor_units: int) -> str:
    return f"{minor_units / 100:.2f}"


def _write(file: Path, columns: Sequence[str], rows: Iterator[Cells]) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
