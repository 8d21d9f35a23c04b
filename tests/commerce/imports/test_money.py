"""Amounts are read as shops and spreadsheets write them; one that may mean two things is refused."""

import pytest

from commerce.imports.money import AMBIGUOUS, EXAMPLE, amount, signed_amount
from commerce.imports.parsers import BadValue


@pytest.mark.parametrize(
    ("value", "minor_units"),
    [
        ("12.50", 1250),
        ("12.5", 1250),
        ("12.5000", 1250),
        ("1,234.50", 123_450),
        ("1,234", 123_400),
        ("1,234,567.8", 123_456_780),
        ("1.234,50", 123_450),
        ("1.234.567", 123_456_700),
        ("1 234,50", 123_450),
        ("1\N{NO-BREAK SPACE}234,50", 123_450),
        ("1'234.50", 123_450),
        ("1,50", 150),
        ("0,500", 50),
        ("£10.00", 1000),
        ("10,00 €", 1000),
        ("$1,000", 100_000),
        ("GBP 10.00", 1000),
        ("10.00 gbp", 1000),
    ],
)
def test_amounts_are_read_as_shops_write_them(value: str, minor_units: int) -> None:
    assert amount("GBP")(value) == minor_units
    for negative in (f"-{value}", f"({value})", f"\N{MINUS SIGN}{value}"):
        assert signed_amount("GBP")(negative) == -minor_units
        with pytest.raises(BadValue, match="at least 0"):
            amount("GBP")(negative)


@pytest.mark.parametrize(
    ("currency", "value", "reason"),
    [
        ("GBP", "1.000", AMBIGUOUS),
        ("KWD", "1,234", AMBIGUOUS),
        ("GBP", "1.666", "must have at most 2 decimals in this currency"),
        ("GBP", "USD 10", EXAMPLE),
        ("GBP", "1e3", EXAMPLE),
        ("GBP", "NaN", EXAMPLE),
        ("GBP", "", EXAMPLE),
        ("GBP", "£", EXAMPLE),
        ("GBP", "1,23,45", EXAMPLE),
        ("GBP", "1,234,50", EXAMPLE),
        ("GBP", "1 23", EXAMPLE),
        ("GBP", "--5", EXAMPLE),
        ("GBP", "٣", EXAMPLE),
    ],
)
def test_what_is_no_amount_or_may_mean_two_is_refused(currency: str, value: str, reason: str) -> None:
    with pytest.raises(BadValue) as raised:
        signed_amount(currency)(value)
    assert str(raised.value) == reason


def test_decimals_are_those_of_the_currency() -> None:
    assert amount("JPY")("1,500") == 1500
    assert amount("JPY")("750.00") == 750
    assert amount("KWD")("1,234.500") == 1_234_500
