"""An order's amounts add up to its total, whichever way the other system counts; what does not is only reported."""

from typing import Any

import pytest

from commerce.imports.order_amounts import Reckoning, StatedAmounts, reckon

NOTHING = StatedAmounts(
    goods=0, line_discounts=0, discount=None, shipping=0, tax=0, taxes_included=None, duties=0, tip=0,
    subtotal=None, total=None,
)  # fmt: skip
BOTH = {"goods": 2000, "discount": 300, "line_discounts": 100, "tax": 100, "total": 1700}


def reckoned(**amounts: Any) -> Reckoning:
    return reckon(NOTHING._replace(**amounts), "GBP")


@pytest.mark.parametrize(
    ("amounts", "discount", "included"),
    [
        ({"goods": 2000, "shipping": 400, "total": 2400}, 0, None),
        ({"goods": 2000, "shipping": 400, "tax": 400, "total": 2400}, 0, True),
        ({"goods": 2000, "shipping": 400, "tax": 480, "total": 2880}, 0, False),
        ({"goods": 2000, "discount": 500, "total": 1500}, 500, None),
        ({"goods": 2000, "discount": 500, "line_discounts": 500, "total": 1500}, 500, None),
        ({"goods": 2000, "discount": 500, "line_discounts": 300, "total": 1500}, 500, None),
        ({"goods": 2000, "discount": 500, "line_discounts": 300, "total": 1200}, 800, None),
        ({"goods": 2000, "discount": 100, "line_discounts": 300, "total": 1600}, 400, None),
        ({"goods": 2000, "discount": 0, "line_discounts": 300, "total": 1700}, 300, None),
        ({"goods": 2000, "line_discounts": 300, "total": 1700}, 300, None),
        ({"goods": 2000, "shipping": 400, "duties": 250, "tip": 100, "tax": 30, "total": 2780}, 0, False),
        # A free delivery counts as a discount, although the subtotal is that of the goods alone.
        ({"goods": 2000, "shipping": 400, "discount": 400, "subtotal": 2000, "total": 2000}, 400, None),
        # Both readings fit the total; the subtotal decides.
        (BOTH | {"subtotal": 1700}, 300, True),
        (BOTH | {"subtotal": 1600}, 400, False),
    ],
)  # fmt: skip
def test_the_total_decides_what_discounts_and_taxes_mean(
    amounts: dict[str, Any], discount: int, included: bool | None
) -> None:
    assert reckoned(**amounts) == Reckoning(amounts["total"], discount, included)


def test_a_total_that_nothing_adds_up_to_counts_and_is_reported() -> None:
    less = reckoned(goods=2000, shipping=400, total=1500)
    assert (less.total, less.discount_total) == (1500, 0)
    assert less.problem is not None and less.problem.startswith("is 9.00 less than the lines, discounts, shipping")
    more = reckoned(goods=2000, tax=350, total=2351)
    assert more.taxes_included is False
    assert more.problem is not None and more.problem.startswith("is 0.01 more than")


@pytest.mark.parametrize(
    ("amounts", "total"),
    [
        ({"goods": 2000, "shipping": 400}, 2400),
        ({"goods": 2000, "shipping": 400, "discount": 500}, 1900),
        ({"goods": 2000, "line_discounts": 100}, 1900),
        ({"goods": 2000, "tax": 400, "taxes_included": False}, 2400),
        ({"goods": 2000, "tax": 400, "taxes_included": True}, 2000),
    ],
)
def test_a_missing_total_is_what_the_amounts_add_up_to(amounts: dict[str, Any], total: int) -> None:
    assert (reckoned(**amounts).total, reckoned(**amounts).problem) == (total, None)


def test_a_missing_total_that_is_not_certain_is_reported() -> None:
    assert reckoned(goods=2000, tax=400) == Reckoning(
        2000, 0, True, "is missing; the prices are taken to contain the taxes"
    )
    assert reckoned(goods=500, discount=900) == Reckoning(
        0, 900, None, "is missing, and the discounts are more than the rest"
    )
