"""A simple model of orders that their shop changes, by file and over HTTP, while we process them (V11, V12, I14)."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

# What the shop states, from early to late.
PAYMENTS = ("pending", "authorized", "expired", "partially_paid", "paid", "partially_refunded", "refunded", "voided")
FULFILLMENTS = ("unfulfilled", "partial", "fulfilled", "restocked")
WAITING = ("scheduled", "on_hold")  # as early as unfulfilled


class Content(NamedTuple):
    """What the shop states of an order."""

    payment: str
    fulfillment: str
    is_cancelled: bool
    city: str
    mugs: int
    boxes: int


@dataclass
class ModelOrder:
    """An order as we must know it. `time`: when the shop has last changed it, if it has said so."""

    known: Content
    time: int | None
    process: Literal["none", "begun", "shipped"] = "none"
    has_changed: bool = False  # since its process has begun
    taken: Counter[str] = field(default_factory=Counter)  # units that have left stock for it

    @property
    def is_pending(self) -> bool:
        """Whether it is processed; if it is partly refunded, only to ask a person."""
        is_paid = self.known.payment in ("paid", "partially_refunded")
        return self.process != "shipped" and is_paid and self.known[1:3] == ("unfulfilled", False)

    def receive(self, stated: Content, time: int | None) -> None:
        """Take over what is later. Without a later time, states only go forward."""
        if time is not None and self.time is not None and time < self.time:
            return
        is_later = time is not None and time != self.time
        is_unsure = time is None and self.time is not None
        old = self.known
        new = old._replace(
            payment=stated.payment if is_later or _is_forward(old.payment, stated.payment) else old.payment,
            is_cancelled=stated.is_cancelled or (old.is_cancelled and not is_later),
        )
        if self.process != "shipped":
            if is_later or _is_forward(old.fulfillment, stated.fulfillment):
                new = new._replace(fulfillment=stated.fulfillment)
            if not is_unsure:
                new = new._replace(city=stated.city, mugs=stated.mugs, boxes=stated.boxes)
        self.known, self.time = new, self.time if time is None else time
        self.has_changed |= new != old


@dataclass
class ModelCount:
    """A count of the shelves: units of mugs and boxes, and the units shipped until then."""

    number: int
    units: Counter[str]
    shipped: Counter[str]


@dataclass
class ModelShop:
    """Orders by id, and stock."""

    stock: Counter[str]
    orders: dict[str, ModelOrder] = field(default_factory=dict)
    shipped: Counter[str] = field(default_factory=Counter)
    last_count: int = 0

    def receive(self, order_id: str, stated: Content, time: int | None = None) -> None:
        if order_id in self.orders:
            self.orders[order_id].receive(stated, time)
        else:
            self.orders[order_id] = ModelOrder(stated, time)

    def begin(self, order_id: str) -> bool:
        """Take the order's units out of stock; return False if the order or its stock does not allow it."""
        order = self.orders[order_id]
        units = Counter(MUG=order.known.mugs, BOX=order.known.boxes)
        if not order.is_pending or order.known.payment != "paid" or any(units[sku] > self.stock[sku] for sku in units):
            return False
        self.stock.subtract(units)
        order.process, order.has_changed, order.taken = "begun", False, units
        return True

    def finish(self, order_id: str) -> bool:
        """Ship the order, or undo what has begun and return False if it has changed since."""
        order = self.orders[order_id]
        if order.has_changed:
            self.undo(order_id)
            return False
        order.process = "shipped"
        self.shipped.update(order.taken)
        return True

    def undo(self, order_id: str) -> None:
        order = self.orders[order_id]
        self.stock.update(order.taken)
        order.process, order.taken = "none", Counter()

    def count(self, count: ModelCount) -> None:
        """Set stock to what was counted, less what has left since, or is about to. An earlier count changes nothing."""
        if count.number <= self.last_count:
            return
        self.last_count = count.number
        begun = [order.taken for order in self.orders.values() if order.process == "begun"]
        for sku in self.stock:
            left = self.shipped[sku] - count.shipped[sku] + sum(units[sku] for units in begun)
            self.stock[sku] = max(count.units[sku] - left, 0)


def _is_forward(old: str, new: str) -> bool:
    return _rank(new) >= _rank(old)


def _rank(state: str) -> int:
    if state in WAITING:
        return 0
    return PAYMENTS.index(state) if state in PAYMENTS else FULFILLMENTS.index(state)
