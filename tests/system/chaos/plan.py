"""The plan of a chaos run, drawn from a seed: the goods, the orders, and every action with its time."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

CALM = 25  # seconds at the end of a run without actions: steps of killed workers time out and are tried again
WORKERS = 2
LOCATIONS = ("main", "overflow")
REFUSED_ZIP = "REFUSED"  # the embedded carrier ships nothing there
OTHER_ZIP = "N1 9GU"
REFUSED_MAIL = "refused.example"  # the embedded mail server refuses recipients there
WITHOUT_SHIPPING = ("CARD",)  # SKUs
NEW_SKU = "NEW"  # unknown until an import creates it
LOOSE_SKU = "LOOSE"  # an import ends the management of its stock


@dataclass(frozen=True)
class Variant:
    """What can be bought. `items`: units of inventory items per unit; empty: stock is not managed."""

    sku: str
    items: Mapping[str, int]
    backorder: bool = False


VARIANTS = {
    variant.sku: variant
    for variant in (
        Variant("MUG", {"MUG": 1}),
        Variant("BOX", {"BOX": 1}),
        Variant("LAMP", {"LAMP": 1}),
        Variant("TEA", {"TEA": 1}, backorder=True),
        Variant("FLIP", {"FLIP": 1}),  # imports change its policy
        Variant(LOOSE_SKU, {LOOSE_SKU: 1}),
        Variant("GIFT", {"MUG": 1, "BOX": 2}),
        Variant("SET", {"TEA": 1, "LAMP": 1}),
        Variant("CARD", {}),
        Variant(NEW_SKU, {NEW_SKU: 1}),
    )
}
WEIGHTS = {"MUG": 6, "BOX": 3, "LAMP": 2, "TEA": 4, "FLIP": 2, LOOSE_SKU: 2, "GIFT": 5, "SET": 2, "CARD": 3, NEW_SKU: 1}
# Units per location at the start, per ten orders.
STOCK = {"MUG": (4, 5), "BOX": (7, 4), "LAMP": (1, 1), "TEA": (2, 2), "FLIP": (1, 0), LOOSE_SKU: (1, 0)}
ORDERS_PER_SECOND = 1.5
# What happens to an order, and how often. Most of it happens in one of these steps.
OPERATIONS = {
    "cancel": 0.14,
    "terminate": 0.16,
    "start": 0.12,
    "retry": 0.12,
    "reset": 0.12,
    "reset_late": 0.04,
    "withdraw": 0.05,
    "interrupt_twice": 0.08,
}
STEPS = ("reserve-inventory", "create-fulfillment", "create-shipping-label", "create-shipping-label", "complete-order")


@dataclass(frozen=True)
class PlannedOrder:
    """An order; its lines are units by SKU."""

    id: str
    lines: Mapping[str, int]
    email: str | None
    ships: bool
    zip: str
    paid: bool

    @property
    def needs_label(self) -> bool:
        return self.ships and any(sku not in WITHOUT_SHIPPING for sku in self.lines)

    @property
    def is_refused_by_carrier(self) -> bool:
        return self.needs_label and self.zip == REFUSED_ZIP

    @property
    def can_be_mailed(self) -> bool:
        return self.email is not None and not self.email.endswith(REFUSED_MAIL)


@dataclass(frozen=True)
class Action:
    """What happens `at` seconds after the start: `name` is a method of the actors, `more` its arguments.

    With `after`, it happens then or later: when that step of the order has begun, if it begins soon.
    """

    at: float
    name: str
    more: Mapping[str, Any] = field(default_factory=dict)
    after: str | None = None

    def __str__(self) -> str:
        more = ", ".join(f"{key}={value!r}" for key, value in self.more.items())
        return f"{self.at:7.2f}  {self.name}  {more}" + (f", after {self.after}" if self.after else "")


@dataclass(frozen=True)
class Plan:
    """All that a run does. Two plans with the same seed and length are equal."""

    seed: int
    seconds: int
    orders: Mapping[str, PlannedOrder]
    stock: Mapping[str, Mapping[str, int]]  # units by item and location
    actions: tuple[Action, ...]  # by time

    def __str__(self) -> str:
        orders = (
            f"{order.id}  {dict(order.lines)} email={order.email} ships={order.ships} zip={order.zip} paid={order.paid}"
            for order in self.orders.values()
        )
        return "\n".join([f"seed {self.seed}, {self.seconds} s", *orders, *map(str, self.actions)])


def draw(seed: int, seconds: int) -> Plan:
    """Return the plan of a run that takes about `seconds`, of which the last ones are calm."""
    random = Random(seed)
    busy = max(seconds - CALM, 5)
    orders = [_order(random, number) for number in range(1, round(busy * ORDERS_PER_SECOND) + 1)]
    actions = [action for order in orders for action in _order_actions(random, order, busy)]
    actions += _imported(random, orders, busy)
    actions += _infrastructure(random, busy)
    actions += _goods(random, busy)
    actions += _jobs(random, busy)
    units = {
        sku: {location: round(count * len(orders) / 10) for location, count in zip(LOCATIONS, counts, strict=True)}
        for sku, counts in STOCK.items()
    }
    by_id = {order.id: order for order in orders}
    return Plan(seed, seconds, by_id, units, tuple(sorted(actions, key=lambda action: action.at)))


def _order(random: Random, number: int) -> PlannedOrder:
    order_id = f"chaos-{number}"
    skus = random.choices(list(WEIGHTS), list(WEIGHTS.values()), k=random.choice((1, 1, 2, 3)))
    email = random.choices((f"{order_id}@customer.example", f"{order_id}@{REFUSED_MAIL}", None), (10, 1, 1))[0]
    return PlannedOrder(
        id=order_id,
        lines={sku: random.choice((1, 1, 2, 3)) for sku in skus},
        email=email,
        ships=random.random() < 0.85,
        zip=REFUSED_ZIP if random.random() < 0.08 else OTHER_ZIP,
        paid=random.random() < 0.96,
    )


def _order_actions(random: Random, order: PlannedOrder, busy: float) -> Iterator[Action]:
    """Yield what happens to one order after it comes in. A quarter of the orders come in by files, see `_imported`."""
    more = {"order_id": order.id}
    arrives = random.uniform(0, busy * 0.9)
    if random.random() < 0.75:
        yield Action(arrives, "place", more)
        if random.random() < 0.08:  # its run looks before the order is stored
            yield Action(max(arrives - random.uniform(0, 0.4), 0), "start", more)
    for name, chance in OPERATIONS.items():
        if random.random() < chance:
            if random.random() < 0.75:
                yield Action(arrives, name, more, after=random.choice(STEPS))
            else:
                yield Action(random.uniform(arrives, busy), name, more)
    if order.needs_label and random.random() < 0.15:
        fault = random.choice(("500", "cut", "slow", "423"))
        operation = random.choice(("create", "buy", "buy", "refund"))
        yield Action(max(arrives - 1, 0), "carrier_fault", {"operation": operation, "fault": fault, "times": 2, **more})


def _imported(random: Random, orders: list[PlannedOrder], busy: float) -> Iterator[Action]:
    """Yield imports of files that hold orders of all kinds, also of those that come in by other ways."""
    for at in _times(random, busy, every=8):
        ids = [order.id for order in random.sample(orders, min(5, len(orders)))]
        yield Action(at, "import_orders", {"order_ids": ids})


def _infrastructure(random: Random, busy: float) -> Iterator[Action]:
    """Yield kills and restarts of workers, and what happens to the servers around them."""
    for at in _times(random, busy, every=8):
        yield Action(at, "kill_worker", {"number": random.randrange(WORKERS), "pause": round(random.uniform(0, 2), 2)})
    for at in _times(random, busy, every=30):
        yield Action(at, "restart_worker", {"number": random.randrange(WORKERS)})
    for at in _times(random, busy, every=25):
        # A step is tried elsewhere after 15 s, a label after 25 s, and an idle transaction ends after 30 s.
        seconds = round(random.uniform(1, min(busy / 3, 40)), 2)
        yield Action(at, "freeze_worker", {"number": random.randrange(WORKERS), "seconds": seconds})
    for server, every in (("database", 12), ("carrier", 20), ("mail", 18)):
        for at in _times(random, busy, every=every):
            yield Action(at, "cut", {"server": server, "seconds": round(random.uniform(0.1, 5), 2)})
    for at in _times(random, busy, every=6):
        operation = random.choice(("create", "buy", "buy", "refund", "get"))
        fault = random.choice(("500", "503", "429", "401", "402", "409", "cut", "cut", "slow"))
        yield Action(at, "carrier_fault", {"operation": operation, "fault": fault, "times": random.randint(1, 4)})
    # A mail has six tries within 31 s, so it survives a few seconds.
    yield Action(random.uniform(0, busy), "refuse_mails", {"seconds": round(random.uniform(1, 4), 2)})


def _goods(random: Random, busy: float) -> Iterator[Action]:
    """Yield imports of inventory, and counts of the warehouse."""
    for at in _times(random, busy, every=6):
        sku, location = random.choice(("MUG", "BOX", "LAMP", "TEA", "FLIP")), random.choice(LOCATIONS)
        yield Action(at, "import_stock", {"sku": sku, "location": location, "on_hand": random.randint(0, 25)})
    for at in _times(random, busy, every=9):
        policy = random.choice(("deny", "continue"))
        yield Action(at, "import_stock", {"sku": "FLIP", "location": "main", "policy": policy})
    yield Action(random.uniform(busy / 3, busy), "import_stock", {"sku": NEW_SKU, "location": "main", "on_hand": 50})
    yield Action(
        random.uniform(busy / 3, busy), "import_stock", {"sku": LOOSE_SKU, "location": "main", "tracked": "false"}
    )
    for at in _times(random, busy, every=10):
        sku, location = random.choice(("MUG", "BOX", "LAMP", "TEA")), random.choice(LOCATIONS)
        yield Action(at, "count_stock", {"sku": sku, "location": location, "on_hand": random.randint(0, 15)})


def _jobs(random: Random, busy: float) -> Iterator[Action]:
    for kind, every in (
        *(("process-pending-orders", 6), ("sync-inventory", 8), ("cleanup-expired-carts", 15)),
        *(("collect-analytics-data", 20), ("upkeep", 20)),
    ):
        for at in _times(random, busy, every=every):
            yield Action(at, "start_job", {"kind": kind})


def _times(random: Random, busy: float, every: float) -> list[float]:
    """Return random times, at least one, on average one in `every` seconds."""
    return [random.uniform(0, busy) for _ in range(max(1, round(busy / every)))]
