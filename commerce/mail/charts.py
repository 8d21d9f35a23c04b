"""Bar charts for mails, as numbers that templates turn into table cells: mail clients block images."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

DAYS = 30  # in a chart
HEIGHT = 120  # pixels of the highest bar in HTML
LEAST_HEIGHT = 2  # pixels: a day of little, no or negative revenue stays visible
LENGTH = 24  # characters of the longest bar in text


@dataclass(frozen=True)
class Bar:
    """The bar of a day: `amount` in minor units, `height` in pixels, `length` in characters.

    A day that was never counted has the amount None and no bar.
    """

    day: date
    amount: int | None
    height: int = 0
    length: int = 0


def bars(points: Sequence[tuple[date, int | None]]) -> list[Bar]:
    """Return the bars of a chart, scaled to the highest amount; `points` are consecutive days with their amounts."""
    highest = max((amount for _, amount in points if amount is not None), default=0)
    return [_bar(day, amount, max(highest, 1)) for day, amount in points]


def _bar(day: date, amount: int | None, highest: int) -> Bar:
    if amount is None:
        return Bar(day, None)
    height = max(round(HEIGHT * amount / highest), LEAST_HEIGHT)
    return Bar(day, amount, height, max(round(LENGTH * amount / highest), 0))
