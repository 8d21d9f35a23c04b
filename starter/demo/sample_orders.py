"""The orders of the sample shop: a few busy days with every kind of order."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Literal, get_args

from starter.demo.sample_goods import BACKORDER, SCARCE, SPREAD, UNTRACKED, Customer, Item, all_items, customers

ORDERS, CUSTOMERS = 300, 180
FIRST_NUMBER = 1001
OPENING = datetime(2026, 3, 2, 8, tzinfo=UTC)
PAUSE = timedelta(minutes=24)  # between two orders, on average
METHODS = {"Standard": 420, "Tracked": 590, "Next day": 850}  # of shipping, in minor units
WITH_EMAIL, SHIPPED, WITH_SCARCE, WITH_REPEATED = 0.94, 0.88, 0.3, 0.06  # shares of the ordinary orders
LINES = {1: 4, 2: 6, 3: 5, 4: 3, 6: 2, 9: 1}  # of an ordinary order, and how often
UNITS = {1: 12, 2: 5, 3: 2, 6: 1}  # on a line, and how often
BIG_LINES = 120

Outcome = Literal["fulfilled", "refused", "undone", "waiting"]
NotStartedReason = Literal["unpaid", "cancelled", "fulfilled elsewhere"]  # why an order is not processed
Case = (
    NotStartedReason
    | Literal["ordinary", "spread", "refused by carrier", "big", "backordered", "not shipped", "beyond stock"]
)
Line = tuple[Item, int]

# Orders that show a special case, by their position in the order of arrival.
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
# Ordinary orders of high risk, which wait for a review: one is approved, the other one stays.
REVIEWS: Mapping[int, Outcome] = {206: "fulfilled", 230: "waiting"}
SINGLE_ITEM: Mapping[Case, tuple[str, int]] = {
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
    method: str | None  # of shipping; None: picked up by the customer
    review: Outcome | None = None  # how it ends after its review; None: it needs none

    @property
    def started(self) -> bool:
        """Whether its process is started: it is paid and not yet fulfilled."""
        return self.case not in get_args(NotStartedReason)

    @property
    def can_be_taken_back(self) -> bool:
        """Whether it is sure to be fulfilled, with a label and a mail, and shows nothing else."""
        plain = self.case == "ordinary" and self.review is None and self.expected == "fulfilled"
        return plain and self.has_email and self.method is not None

    @property
    def expected(self) -> Outcome | None:
        """How its process ends; None if that depends on which order comes first."""
        if self.review:
            return self.review
        scarce = any(item.sku in SCARCE for item, _ in self.lines)
        return OUTCOMES.get(self.case, None if scarce else "fulfilled")


def make_orders(random: Random) -> Iterator[Order]:
    """Yield the orders in order of arrival."""
    people, shelf = customers(random, CUSTOMERS), _Shelf(random)
    at = OPENING
    for place in range(ORDERS):
        at += timedelta(seconds=random.randint(60, round(2 * PAUSE.total_seconds())))
        case = CASES.get(place, "ordinary")
        shipped = case != "not shipped" and (case != "ordinary" or random.random() < SHIPPED)
        yield Order(
            id=f"S{FIRST_NUMBER + place}",
            at=at,
            customer=random.choice(people),
            lines=shelf.basket(case),
            case=case,
            has_email=case != "ordinary" or random.random() < WITH_EMAIL,
            method=random.choice(list(METHODS)) if shipped else None,
            review=REVIEWS.get(place),
        )


class _Shelf:
    """The items customers choose from; some are more popular than others."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._all = {item.sku: item for item in all_items()}
        self._plenty = [item for sku, item in self._all.items() if sku not in (*SCARCE, SPREAD, BACKORDER)]
        self._popularity = [random.paretovariate(1.5) for _ in self._plenty]

    def basket(self, case: Case) -> list[Line]:
        """Return the lines of an order. Only ordinary orders contain scarce items."""
        if case in SINGLE_ITEM:
            sku, units = SINGLE_ITEM[case]
            return [(self._all[sku], units)]
        if case == "ordinary":
            return self._ordinary()
        return self._pick(BIG_LINES if case == "big" else 3)

    def _ordinary(self) -> list[Line]:
        random = self._random
        lines = self._pick(*random.choices(list(LINES), list(LINES.values())))
        if random.random() < WITH_SCARCE:
            lines.append((self._all[random.choice(SCARCE)], random.choice((1, 1, 2))))
        if random.random() < WITH_REPEATED:
            lines.append((lines[0][0], 1))  # the same item on a second line
        return lines

    def _pick(self, count: int) -> list[Line]:
        units = self._random.choices(list(UNITS), list(UNITS.values()), k=count)
        return list(zip(self._random.choices(self._plenty, self._popularity, k=count), units, strict=True))
