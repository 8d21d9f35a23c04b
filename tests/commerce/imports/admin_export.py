"""Generate exports of a shop admin in today's full format: all columns and statuses, and every kind of amount.

The orders are made up. Each knows what the shop must make of it, so tests can compare every order with its file.
"""

import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.commerce.imports.admin_order import FULFILLMENT, PAYMENT, AdminLine, AdminOrder
from tests.commerce.imports.order_files import EXPORT, write_file

CURRENCIES = ("GBP", "GBP", "USD", "EUR", "JPY", "KWD")  # with 2, 0 and 3 decimals
LINE_STATUS = {"fulfilled": "fulfilled", "restocked": "restocked"}
METHODS = ("Standard", "Express (1-2 days)", "UPS Access Point pickup", "")
PICKUP = "Pick up in store"
KIT, BACKORDER = "GIFT-SET", "TEA-BACK"
# Titles and SKUs. Those without a SKU need no shipping, except the lamp.
PRODUCTS = (
    ("Mug - Red / Large", "MUG-RED-L"),
    ("Poster, 50×70 cm", "POSTER-50X70"),
    ('Frame 12" oak', "FRAME-12"),
    ("Gift wrapping", ""),
    ("Gift card", ""),
    ("Lamp without a number", ""),
    ("Socken „Bär“", "0042"),
    ("Gift set: mug, 2 × poster", KIT),
    ("Tea (back soon)", BACKORDER),
    ("Never seen before", "UNKNOWN-1"),
)
SHIPS_WITHOUT_SKU = "Lamp without a number"
LONG_ORDER, LONG_ORDER_LINES = 17, 60  # one of so many orders is long
FIRST_NUMBER = 1001


def exported_orders(count: int, seed: int) -> list[AdminOrder]:
    """Return this many orders, the same ones for the same seed, of all pairs of statuses in turn."""
    choose = random.Random(seed)
    statuses = [(payment, fulfillment) for payment in PAYMENT for fulfillment in FULFILLMENT]
    orders = []
    for number in range(FIRST_NUMBER, FIRST_NUMBER + count):
        payment, fulfillment = statuses[number % len(statuses)]
        created = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(minutes=number * 37)
        orders.append(random_order(choose, number, created, payment=payment, fulfillment=fulfillment))
    return orders


def write_export(file: Path, orders: Sequence[AdminOrder]) -> Path:
    """Write the orders as the admin does, newest first."""
    return write_file(file, *[row for order in reversed(orders) for row in order.rows()], header=EXPORT)


def random_order(
    choose: random.Random, number: int, created: datetime, *, payment: str = "paid", fulfillment: str = "unfulfilled"
) -> AdminOrder:
    """Return an order of these statuses."""
    lines = _lines(choose, payment, fulfillment, LONG_ORDER_LINES if number % LONG_ORDER == 0 else choose.randint(1, 5))
    order = AdminOrder(
        number=number,
        created=created,
        lines=lines,
        id=str(4_541_750_000_000 + number) if number % 5 else "",
        currency=choose.choice(CURRENCIES),
        email=choose.choice(["ann@shop.example", "Bob@Shop.example", ""]),
        payment=payment,
        fulfillment=fulfillment,
        cancelled=created if fulfillment == "restocked" or payment == "voided" else None,
        method=choose.choice(METHODS),
        shipping=choose.choice([0, 395, 1_000]),
        # The order's discount contains those of the lines in some exports, and not in others.
        states_whole_discount=choose.random() < 0.5,
        duties=choose.choice([0, 0, 0, 250]),
        taxes_included=choose.random() < 0.5,
    )
    if choose.random() < 0.15:
        order.method, order.address, order.shipping = PICKUP, {}, 0
    order.order_discount = choose.choice([0, 0, (order.goods - order.line_discounts) // 10])
    order.order_discount += order.shipping if choose.random() < 0.1 else 0  # free delivery
    order.taxes = _taxes(choose, order.goods - order.discount)
    order.refunded = {"refunded": order.total, "partially_refunded": order.total // 2}.get(payment, 0)
    order.more = _more_columns(choose, order)
    return order


def _lines(choose: random.Random, payment: str, fulfillment: str, count: int) -> list[AdminLine]:
    """Return the lines of an order; in a partly fulfilled one the first is fulfilled."""
    lines = []
    for position in range(count):
        title, sku = choose.choice(PRODUCTS)
        price = choose.randint(100, 90_000)
        line = AdminLine(
            title=title,
            sku=sku,
            units=choose.randint(1, 3),
            price=price,
            ships=bool(sku) or title == SHIPS_WITHOUT_SKU,
            discount=choose.choice([0, 0, price // 5]),
            status=LINE_STATUS.get(fulfillment, "pending"),
            vendor=choose.choice(["The Shop", "Müller & Söhne", ""]),
            compared_price=choose.choice([None, price + 100]),
        )
        if fulfillment == "partial" and position == 0:
            line.status = "fulfilled"
        if payment == "partially_refunded" and fulfillment == "unfulfilled" and position == 1:
            line.status = "restocked"
        lines.append(line)
    if choose.random() < 0.2:
        lines.append(AdminLine("Tip", "", 1, choose.randint(50, 500), ships=False, status=lines[0].status))
    return lines


def _taxes(choose: random.Random, taxed: int) -> list[int]:
    """Return no tax, one, or the shares of up to five authorities."""
    whole, parts = max(taxed, 0) // 6, choose.choice([0, 0, 1, 1, 2, 5])
    if not whole or not parts:
        return []
    return [whole // parts] * (parts - 1) + [whole - whole // parts * (parts - 1)]


def _more_columns(choose: random.Random, order: AdminOrder) -> dict[str, str]:
    columns = {
        "Discount Code": "SPRING" if order.order_discount else "",
        "Payment Method": choose.choice(["Card Payments", "Cash on Delivery (COD)", "manual"]),
        "Risk Level": choose.choice(["Low", "Medium", "High"]),
        "Source": choose.choice(["web", "shopify_draft_order", "580111"]),
        "Tags": choose.choice(["", "vip, wholesale"]),
        "Notes": choose.choice(["", 'Ring "twice",\nplease', "=1+1"]),
        "Note Attributes": choose.choice(["", "gift: yes\ncard: “hello”"]),
        "Phone": "'+442079460000",
    }
    columns |= {f"Tax {n} Name": f"Tax of authority {n} 20%" for n, _ in enumerate(order.taxes, 1)}
    if order.payment in ("pending", "partially_paid"):
        due = order.created + timedelta(days=30)
        columns |= {"Payment Terms Name": "Net 30", "Next Payment Due At": f"{due:%Y-%m-%d %H:%M:%S} +0000"}
    if order.method == PICKUP and order.fulfillment == "fulfilled":  # bought in the store
        till = {"Employee": "Kim", "Location": "Main Street", "Device ID": "3", "Receipt Number": f"3-{order.number}"}
        columns |= till | {"Source": "pos"}
    return columns


def columns_in_use(orders: Iterable[AdminOrder]) -> set[str]:
    """Return the columns that are filled in any row."""
    return {column for order in orders for row in order.rows() for column, value in row.items() if value}
