"""An order as a shop admin has it: what may change from day to day, its rows in an export, and what we must store."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from commerce.currencies import decimals_of

# What the export says, and what we make of it.
PAYMENT = {
    "paid": "captured", "pending": "awaiting", "authorized": "authorized", "partially_paid": "partially_captured",
    "partially_refunded": "partially_refunded", "refunded": "refunded", "voided": "cancelled", "expired": "expired",
}  # fmt: skip
FULFILLMENT = {
    "unfulfilled": "not_fulfilled", "partial": "partially_fulfilled", "fulfilled": "fulfilled_elsewhere",
    "restocked": "restocked", "scheduled": "scheduled", "on_hold": "on_hold",
}  # fmt: skip
ADDRESS = {
    "Name": "Ann Ö. Lee", "Street": "1 High Street, Flat 7", "Address1": "1 High Street", "Address2": "Flat 7",
    "Company": "Acme Ltd", "City": "London", "Zip": "'01234", "Province": "ENG", "Country": "GB",
    "Phone": "020 7946 0000", "Province Name": "England",
}  # fmt: skip


@dataclass
class AdminLine:
    """A line of an order; amounts in minor units. `discount` is that of the whole line, `status` as in the export."""

    title: str
    sku: str
    units: int
    price: int
    ships: bool = True
    discount: int = 0
    status: str = "pending"
    vendor: str = "The Shop"
    compared_price: int | None = None


@dataclass(kw_only=True)
class AdminOrder:
    """An order; amounts in minor units, statuses as in the export.

    `more` has further columns of its first row. An `address` that is empty is that of an order that is picked up.
    """

    number: int
    created: datetime
    lines: list[AdminLine]
    id: str = ""  # empty: the export has none
    currency: str = "GBP"
    email: str = "ann@shop.example"
    payment: str = "paid"
    fulfillment: str = "unfulfilled"
    cancelled: datetime | None = None
    method: str = "Standard"
    shipping: int = 395
    order_discount: int = 0  # without the discounts of the lines, but with that on shipping
    states_whole_discount: bool = True  # whether its `Discount Amount` contains the discounts of the lines
    duties: int = 0
    taxes: list[int] = field(default_factory=list)  # at most five
    taxes_included: bool = True
    refunded: int = 0
    address: dict[str, str] = field(default_factory=lambda: dict(ADDRESS))
    more: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"#{self.number}"

    @property
    def goods(self) -> int:
        return sum(line.units * line.price for line in self.lines)

    @property
    def line_discounts(self) -> int:
        return sum(line.discount for line in self.lines)

    @property
    def discount(self) -> int:
        """The discounts of the order and of its lines."""
        return self.order_discount + self.line_discounts

    @property
    def total(self) -> int:
        """What the customer pays."""
        taxes = 0 if self.taxes_included else sum(self.taxes)
        return self.goods - self.discount + self.shipping + self.duties + taxes

    @property
    def is_paid(self) -> bool:
        return self.payment in ("paid", "partially_refunded", "refunded")

    def our_fulfillment_status(self) -> str:
        """Return our status; if all that was fulfilled needs no shipping, the goods are still to be shipped."""
        to_ship = {line.status for line in self.lines if line.ships}
        is_explained = self.fulfillment == "partial" and to_ship == {"pending"}
        return "not_fulfilled" if is_explained else FULFILLMENT[self.fulfillment]

    def units_to_ship(self) -> int:
        """Return the units of all lines, without those that were refunded and put back in stock."""
        kept = [line for line in self.lines if line.status != "restocked"]
        is_partly_refunded = self.payment == "partially_refunded" and kept
        return sum(line.units for line in (kept if is_partly_refunded else self.lines))

    def stored(self) -> dict[str, Any]:
        """Return what must be stored of the order as it is now: the columns of `orders`, and sums over its lines."""
        return {
            "name": self.name,
            "email": self.email.lower() or None,
            "payment_status": PAYMENT[self.payment],
            "fulfillment_status": self.our_fulfillment_status(),
            "cancelled_at": self.cancelled,
            "currency": self.currency,
            "total": self.total,
            "shipping_total": self.shipping,
            "discount_total": self.discount,
            "tax_total": sum(self.taxes),
            "taxes_included": self.taxes_included if self.taxes else None,
            "duties_total": self.duties,
            "refunded_total": self.refunded,
            "outstanding_total": 0 if self.is_paid else self.total,
            "shipping_city": self.address.get("City"),
            "lines": len(self.lines),
            "units": self.units_to_ship(),
            "goods": self.goods,
            "line_discounts": self.line_discounts,
        }

    def rows(self) -> list[dict[str, str]]:
        """Return the rows of an export: one per line, the order's own columns on the first one."""
        rows = [self._row(line) for line in self.lines]
        rows[0] |= self._head()
        return rows

    def _head(self) -> dict[str, str]:
        subtotal = self.goods - self.line_discounts - self.order_discount
        stated_discount = self.order_discount + (self.line_discounts if self.states_whole_discount else 0)
        taxes = {f"Tax {n} Value": self._shown(tax) for n, tax in enumerate(self.taxes, 1)}
        addresses = {f"Billing {part}": value for part, value in ADDRESS.items()}
        addresses |= {f"Shipping {part}": value for part, value in self.address.items()}
        return {
            "Email": self.email,
            "Financial Status": self.payment,
            "Paid at": _time(self.created) if self.is_paid else "",
            "Fulfillment Status": self.fulfillment,
            "Fulfilled at": _time(self.created) if self.fulfillment == "fulfilled" else "",
            "Accepts Marketing": "no",
            "Currency": self.currency,
            "Subtotal": self._shown(max(subtotal, 0)),
            "Shipping": self._shown(self.shipping),
            "Taxes": self._shown(sum(self.taxes)),
            "Total": self._shown(self.total),
            "Discount Amount": self._shown(stated_discount),
            "Shipping Method": self.method,
            "Cancelled at": _time(self.cancelled) if self.cancelled else "",
            "Payment Reference": f"c{self.number}.1",
            "Payment ID": f"c{self.number}.1",
            "Payment References": f"c{self.number}.1 + c{self.number}.2",
            "Refunded Amount": self._shown(self.refunded),
            "Outstanding Balance": self._shown(0 if self.is_paid else self.total),
            "Id": self.id,
            "Duties": self._shown(self.duties) if self.duties else "",
            **taxes,
            **addresses,
            **self.more,
        }

    def _row(self, line: AdminLine) -> dict[str, str]:
        return {
            "Name": self.name,
            "Created at": _time(self.created),
            "Lineitem quantity": str(line.units),
            "Lineitem name": line.title,
            "Lineitem price": self._shown(line.price),
            "Lineitem compare at price": "" if line.compared_price is None else self._shown(line.compared_price),
            "Lineitem sku": line.sku,
            "Lineitem requires shipping": str(line.ships).lower(),
            "Lineitem taxable": "true",
            "Lineitem fulfillment status": line.status,
            "Lineitem discount": self._shown(line.discount),
            "Vendor": line.vendor,
        }

    def _shown(self, minor_units: int) -> str:
        """Return an amount as the admin writes it, with the decimals of the currency."""
        decimals = decimals_of(self.currency)
        whole, fraction = divmod(minor_units, 10**decimals)
        return f"{whole}.{fraction:0{decimals}}" if decimals else str(whole)


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} +0000"
