"""Check what an order's amounts add up to: lines, discounts, shipping, taxes, duties and tips against its total.

Systems differ in two points that their exports do not state. The discount of an order may or may not contain the
discounts of its lines, and the prices may or may not contain the taxes. The stated total decides both.
"""

from collections.abc import Iterator
from typing import NamedTuple

from commerce.currencies import decimals_of


class StatedAmounts(NamedTuple):
    """The amounts of an order as the other system states them, in minor units; None: not stated."""

    goods: int  # the prices of all lines, without discounts
    line_discounts: int
    discount: int | None
    shipping: int
    tax: int
    taxes_included: bool | None
    duties: int
    tip: int
    subtotal: int | None  # the goods without the discounts
    total: int | None


class Reckoning(NamedTuple):
    """What the amounts add up to; `problem` says what does not, in words for people."""

    total: int
    discount_total: int
    taxes_included: bool | None
    problem: str | None = None


def reckon(amounts: StatedAmounts, currency: str) -> Reckoning:
    """Return the order's total, its whole discount and whether its prices contain the taxes. Never raises.

    A stated total stays as it is, even if the other amounts do not add up to it. A total that is not stated is what
    they add up to.
    """
    total = amounts.total
    if total is None:
        return _without_total(amounts)
    readings = [
        (total - _sum(amounts, discount, taxes_included=included), discount, included if amounts.tax else None)
        for discount, included in _readings(amounts)
    ]
    missing, discount, included = min(readings, key=lambda reading: abs(reading[0]))  # of several, the first
    if missing == 0:
        return Reckoning(total, discount, included)
    problem = (
        f"is {_shown(abs(missing), currency)} {'more' if missing > 0 else 'less'} "
        "than the lines, discounts, shipping, taxes, duties and tips add up to; the total counts"
    )
    return Reckoning(total, discount, included, problem)


def _without_total(amounts: StatedAmounts) -> Reckoning:
    included = amounts.taxes_included is not False
    discount = next(_discounts(amounts))
    total = _sum(amounts, discount, taxes_included=included)
    if total < 0:
        return Reckoning(
            0, discount, included if amounts.tax else None, "is missing, and the discounts are more than the rest"
        )
    if amounts.tax and amounts.taxes_included is None:
        return Reckoning(total, discount, True, "is missing; the prices are taken to contain the taxes")
    return Reckoning(total, discount, included if amounts.tax else None)


def _readings(amounts: StatedAmounts) -> Iterator[tuple[int, bool]]:
    """Yield the possible discounts, each with and without taxes in the prices; first what fits the subtotal."""
    discounts = list(_discounts(amounts))
    if amounts.subtotal is not None:
        discounts.sort(key=lambda discount: amounts.goods - discount != amounts.subtotal)
    options = [True, False] if amounts.taxes_included is None else [amounts.taxes_included]
    for discount in discounts:
        for included in options:
            yield discount, included


def _discounts(amounts: StatedAmounts) -> Iterator[int]:
    """Yield the possible discounts of the whole order, the most likely one first."""
    stated, lines = amounts.discount, amounts.line_discounts
    if stated is None:
        yield lines
    else:
        yield from dict.fromkeys((stated, stated + lines) if stated >= lines else (stated + lines, lines, stated))


def _sum(amounts: StatedAmounts, discount: int, *, taxes_included: bool) -> int:
    on_top = 0 if taxes_included else amounts.tax
    return amounts.goods - discount + amounts.shipping + amounts.duties + amounts.tip + on_top


def _shown(minor_units: int, currency: str) -> str:
    decimals = decimals_of(currency)
    whole, fraction = divmod(minor_units, 10**decimals)
    return f"{whole}.{fraction:0{decimals}}" if decimals else str(whole)
