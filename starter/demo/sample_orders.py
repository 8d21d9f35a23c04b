"""The orders of the demo's shop: a few busy days with everything in them that happens in a shop."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Literal, get_args

from starter.demo.sample_goods import BACKORDER, SCARCE, SPREAD, UNTRACKED, Customer, Goods, customers, goods

ORDERS, CUSTOMERS = 300, 180
FIRST_NUMBER = 1001
OPENING = datetime(2026, 3, 2, 8, tzinfo=UTC)
PAUSE = timedelta(minutes=24)  # between two orders, on average
METHODS = {"Standard": 420, "Tracked": 590, "Next day": 850}  # of shipping, in minor units
WITH_EMAIL, SHIPPED, WITH_SCARCE, WITH_REPEATED = 0.94, 0.88, 0.3, 0.06  # shares of the ordinary orders
LINES = {1: 4, 2: 6, 3: 5, 4: 3, 6: 2, 9: 1}  # of an ordinary order, and how often
UNITS = {1: 12, 2: 5, 3: 2, 6: 1}  # on a line, and how often
BIG_LINES = 120

Outcome = Literal["fulfilled", "refused", "undone"]
Reason = Literal["unpaid", "cancelled", "fulfilled elsewhere"]  # why an order is not processed
Case = Reason | Literal["ordinary", "spread", "refused by carrier", "big", "backordered", "not shipped", "beyond stock"]
Line = tuple[Goods, int]

# The orders that are there for a purpose of their own, by their place in the order of arrival.
CASES: Mapping[int, Case] = {
    24: "unpaid",
    40: "spread",
    57: "refused by carrier",
    75: "cancelled",
    93: "big",
    118: "fulfilled elsewhere",
    142: "backordered",
    160: "not shipped",
    187: "beyond stock",
}
ONE_THING: Mapping[Case, tuple[str, int]] = {
    "spread": (SPREAD, 5),
    "backordered": (BACKORDER, 1),
    "beyond stock": (BACKORDER, 5),
    "not shipped": (UNTRACKED, 2),
}
OUTCOMES: Mapping[Case, Outcome] = {"refused by carrier": "undone", "beyond stock": "refused"}


@dataclass(frozen=True)
class Order:
    """An order before it becomes rows of a file."""

    id: str
    at: datetime
    customer: Customer
    lines: list[Line]
    case: Case
    has_email: bool
    method: str | None  # of shipping; None: it is picked up

    @property
    def started(self) -> bool:
        """Whether its process is started: it is paid and still to be fulfilled."""
        return self.case not in get_args(Reason)

    @property
    def expected(self) -> Outcome | None:
        """How its process ends; None: who comes first gets what is scarce."""
        scarce = any(item.sku in SCARCE for item, _ in self.lines)
        return OUTCOMES.get(self.case, None if scarce else "fulfilled")


def make_orders(luck: Random) -> Iterator[Order]:
    """Yield the shop's orders as they arrive."""
    people, shelf = customers(luck, CUSTOMERS), _Shelf(luck)
    at = OPENING
    for place in range(ORDERS):
        at += timedelta(seconds=luck.randint(60, round(2 * PAUSE.total_seconds())))
        case = CASES.get(place, "ordinary")
        shipped = case != "not shipped" and (case != "ordinary" or luck.random() < SHIPPED)
        yield Order(
            id=f"S{FIRST_NUMBER + place}",
            at=at,
            customer=luck.choice(people),
            lines=shelf.basket(case),
            case=case,
            has_email=case != "ordinary" or luck.random() < WITH_EMAIL,
            method=luck.choice(list(METHODS)) if shipped else None,
        )


class _Shelf:
    """What a customer may pick from; some things are picked more often than others."""

    def __init__(self, luck: Random) -> None:
        self._luck = luck
        self._all = {item.sku: item for item in goods()}
        self._plenty = [item for sku, item in self._all.items() if sku not in (*SCARCE, SPREAD, BACKORDER)]
        self._appeal = [luck.paretovariate(1.5) for _ in self._plenty]

    def basket(self, case: Case) -> list[Line]:
        """Fill a basket; only ordinary orders want what is scarce."""
        if case in ONE_THING:
            sku, units = ONE_THING[case]
            return [(self._all[sku], units)]
        if case == "ordinary":
            return self._ordinary()
        return self._pick(BIG_LINES if case == "big" else 3)

    def _ordinary(self) -> list[Line]:
        luck = self._luck
        lines = self._pick(*luck.choices(list(LINES), list(LINES.values())))
        if luck.random() < WITH_SCARCE:
            lines.append((self._all[luck.choice(SCARCE)], luck.choice((1, 1, 2))))
        if luck.random() < WITH_REPEATED:
            lines.append((lines[0][0], 1))  # the same once more, on a line of its own
        return lines

    def _pick(self, count: int) -> list[Line]:
        units = self._luck.choices(list(UNITS), list(UNITS.values()), k=count)
        return list(zip(self._luck.choices(self._plenty, self._appeal, k=count), units, strict=True))
