"""Generate exports of a shop admin in today's full format: all columns and statuses, and every kind of amount.

The orders are made up. Each knows what the shop must make of it, so tests can compare every order with its file.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from commerce.currencies import decimals_of
from tests.commerce.imports.order_files import EXPORT, write_file

CURRENCIES = ("GBP", "GBP", "USD", "EUR", "JPY", "KWD")
# What the export says, and what we make of it.
PAYMENT = {
    "paid": "captured", "pending": "awaiting", "authorized": "authorized", "partially_paid": "partially_captured",
    "partially_refunded": "partially_refunded", "refunded": "refunded", "voided": "cancelled", "expired": "expired",
}  # fmt: skip
FULFILLMENT = {
    "unfulfilled": "not_fulfilled", "partial": "partially_fulfilled", "fulfilled": "fulfilled_elsewhere",
    "restocked": "restocked", "scheduled": "scheduled", "on_hold": "on_hold",
}  # fmt: skip
LINE_STATUS = {"fulfilled": "fulfilled", "restocked": "restocked"}
METHODS = ("Standard", "Express (1-2 days)", "Pick up in store", "")
PRODUCTS = (
    ("Mug - Red / Large", "MUG-RED-L"),
    ("Poster, 50×70 cm", "POSTER-50X70"),
    ('Frame 12" oak', "FRAME-12"),
    ("Gift wrapping", ""),
    ("Socken „Bär“", "0042"),
)


@dataclass(frozen=True)
class ExportedOrder:
    """One order of an export: its rows, and what the shop must store, in minor units."""

    name: str
    rows: list[dict[str, str]]
    payment_status: str
    fulfillment_status: str
    currency: str
    total: int
    discount_total: int
    tax_total: int
    taxes_included: bool | None
    refunded_total: int
    units: int
    goods: int


def exported_orders(count: int, seed: int) -> list[ExportedOrder]:
    """Return this many orders, the same ones for the same seed."""
    return list(_orders(random.Random(seed), count))


def write_export(file: Path, orders: list[ExportedOrder]) -> Path:
    """Write the orders as the admin does, newest first."""
    return write_file(file, *[row for order in reversed(orders) for row in order.rows], header=EXPORT)


def shown(minor_units: int, currency: str) -> str:
    """Return an amount as the admin writes it."""
    decimals = decimals_of(currency)
    whole, fraction = divmod(minor_units, 10**decimals)
    return f"{whole}.{fraction:0{decimals}}" if decimals else str(whole)


def _orders(choose: random.Random, count: int) -> Iterator[ExportedOrder]:
    statuses = [(payment, fulfillment) for payment in PAYMENT for fulfillment in FULFILLMENT]
    for i in range(count):
        payment, fulfillment = statuses[i % len(statuses)]
        yield _order(choose, 1001 + i, payment, fulfillment)


def _order(choose: random.Random, number: int, payment: str, fulfillment: str) -> ExportedOrder:
    currency = choose.choice(CURRENCIES)
    lines = _lines(choose, fulfillment)
    goods = sum(int(line["units"]) * int(line["price"]) for line in lines)
    line_discounts = sum(int(line["discount"]) for line in lines)
    order_discount = choose.choice([0, 0, (goods - line_discounts) // 10])
    shipping = choose.choice([0, 395, 1_000])
    free_delivery = shipping if choose.random() < 0.1 else 0
    # The order's discount contains those of the lines in some exports, and not in others.
    stated_discount = order_discount + free_delivery + choose.choice([0, line_discounts])
    discount = line_discounts + order_discount + free_delivery
    duties = choose.choice([0, 0, 0, 250])
    tax = choose.choice([0, (goods - discount) // 6 if goods > discount else 0])
    taxes_included = choose.random() < 0.5 if tax else None
    total = goods - discount + shipping + duties + (tax if taxes_included is False else 0)
    refunded = {"refunded": total, "partially_refunded": total // 2}.get(payment, 0)
    created = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(minutes=number * 37)
    name = f"#{number}"
    head = {
        "Email": choose.choice(["ann@shop.example", "Bob@Shop.example", ""]),
        "Financial Status": payment,
        "Paid at": _time(created) if PAYMENT[payment] in ("captured", "refunded", "partially_refunded") else "",
        "Fulfillment Status": fulfillment,
        "Fulfilled at": _time(created) if fulfillment == "fulfilled" else "",
        "Accepts Marketing": "no",
        "Currency": currency,
        "Subtotal": shown(max(goods - line_discounts - order_discount, 0), currency),
        "Shipping": shown(shipping, currency),
        "Taxes": shown(tax, currency),
        "Total": shown(total, currency),
        "Discount Code": "SPRING" if order_discount else "",
        "Discount Amount": shown(stated_discount, currency),
        "Shipping Method": choose.choice(METHODS),
        "Cancelled at": _time(created) if fulfillment == "restocked" else "",
        "Payment Method": choose.choice(["Card Payments", "Cash on Delivery (COD)", "manual"]),
        "Payment Reference": f"c{number}.1",
        "Refunded Amount": shown(refunded, currency),
        "Outstanding Balance": shown(total if PAYMENT[payment] == "awaiting" else 0, currency),
        "Id": str(4_541_750_000_000 + number) if number % 5 else "",
        "Risk Level": choose.choice(["Low", "Medium", "High"]),
        "Source": choose.choice(["web", "pos", "shopify_draft_order"]),
        "Tags": choose.choice(["", "vip, wholesale"]),
        "Notes": choose.choice(["", 'Ring "twice",\nplease', "=1+1"]),
        "Note Attributes": choose.choice(["", "gift: yes\ncard: “hello”"]),
        "Duties": shown(duties, currency) if duties else "",
        "Tax 1 Name": "VAT 20%" if tax else "",
        "Tax 1 Value": shown(tax, currency) if tax else "",
        "Phone": "'+442079460000",
        "Payment ID": f"c{number}.1",
        "Payment References": f"c{number}.1",
    }
    rows = [_row(name, created, currency, line) for line in lines]
    rows[0] |= head | _address("Billing") | _address("Shipping")
    return ExportedOrder(
        name=name,
        rows=rows,
        payment_status=PAYMENT[payment],
        fulfillment_status=_fulfillment_status(fulfillment, lines),
        currency=currency,
        total=total,
        discount_total=discount,
        tax_total=tax,
        taxes_included=taxes_included,
        refunded_total=refunded,
        units=sum(int(line["units"]) for line in lines),
        goods=goods,
    )


def _fulfillment_status(exported: str, lines: list[dict[str, int | str]]) -> str:
    """Return our status; if all that was fulfilled needs no shipping, the goods are still to be shipped."""
    to_ship = {line["status"] for line in lines if line["ships"] == "true"}
    return "not_fulfilled" if exported == "partial" and to_ship == {"pending"} else FULFILLMENT[exported]


def _lines(choose: random.Random, fulfillment: str) -> list[dict[str, int | str]]:
    """Return one to five lines; in a partly fulfilled order the first is fulfilled."""
    lines: list[dict[str, int | str]] = []
    for position in range(choose.randint(1, 5)):
        title, sku = choose.choice(PRODUCTS)
        units, price = choose.randint(1, 3), choose.randint(100, 90_000)
        status = LINE_STATUS.get(fulfillment, "pending")
        if fulfillment == "partial" and position == 0:
            status = "fulfilled"
        lines.append(
            {
                "title": title,
                "sku": sku,
                "units": units,
                "price": price,
                "discount": choose.choice([0, 0, price // 5]),
                "ships": "true" if sku else "false",
                "status": status,
            }
        )
    return lines


def _row(name: str, created: datetime, currency: str, line: dict[str, int | str]) -> dict[str, str]:
    return {
        "Name": name,
        "Created at": _time(created),
        "Lineitem quantity": str(line["units"]),
        "Lineitem name": str(line["title"]),
        "Lineitem price": shown(int(line["price"]), currency),
        "Lineitem compare at price": "",
        "Lineitem sku": str(line["sku"]),
        "Lineitem requires shipping": str(line["ships"]),
        "Lineitem taxable": "true",
        "Lineitem fulfillment status": str(line["status"]),
        "Lineitem discount": shown(int(line["discount"]), currency),
        "Vendor": "The Shop",
    }


def _address(kind: str) -> dict[str, str]:
    parts = {
        "Name": "Ann Ö. Lee", "Street": "1 High Street, Flat 7", "Address1": "1 High Street", "Address2": "Flat 7",
        "Company": "Acme Ltd", "City": "London", "Zip": "'01234", "Province": "ENG", "Country": "GB",
        "Phone": "020 7946 0000", "Province Name": "England",
    }  # fmt: skip
    return {f"{kind} {part}": value for part, value in parts.items()}


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} +0000"
