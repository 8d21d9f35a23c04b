"""Amounts, numbers and dates as mails show them."""

from datetime import date

import pytest

from commerce.formats import Formats

BRITISH = Formats("en_GB")
DAY = date(2026, 11, 20)


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (123450, "GBP", "£1,234.50"),
        (-5, "GBP", "-£0.05"),
        (0, "EUR", "€0.00"),
        (1235, "JPY", "JP¥1,235"),
        (1235, "CHF", "CHF\xa012.35"),
        (-1, "KWD", "-KWD\xa00.001"),
        (12345, "HUF", "HUF\xa0123.45"),  # by ISO 4217; CLDR would round it to 123
        (5, "XYZ", "XYZ\xa00.05"),
        (9007199254740993, "USD", "US$90,071,992,547,409.93"),
        (2**62, "GBP", "£46,116,860,184,273,879.04"),
    ],
)
def test_an_amount_has_the_decimals_of_its_currency(amount: int, currency: str, text: str) -> None:
    assert BRITISH.money(amount, currency) == text


@pytest.mark.parametrize(
    ("now", "before", "text"),
    [
        (112, 100, "+12%"),
        (90, 100, "-10%"),
        (965, 1000, "-3.5%"),
        (0, 9, "-100%"),
        (5, 0, "new"),
        (0, 0, "0%"),
        (99_999, 100_000, "0%"),
        (1_000_000, 7, "+14,285,614%"),
    ],
)
def test_a_small_change_has_a_decimal(now: int, before: int, text: str) -> None:
    assert BRITISH.change(now, before) == text


def test_days_have_the_order_of_the_locale() -> None:
    assert BRITISH.weekday(DAY) == "Fri 20 Nov"
    assert BRITISH.month_day(DAY) == "20 Nov"
    assert BRITISH.full_date(DAY) == "Friday, 20 November 2026"
    american = Formats("en-US")
    assert american.weekday(DAY) == "Fri, Nov 20"
    assert american.full_date(DAY) == "Friday, November 20, 2026"


def test_numbers_and_amounts_have_the_separators_and_symbols_of_the_locale() -> None:
    assert (BRITISH.number(1234567), Formats("en_IN").number(1234567)) == ("1,234,567", "12,34,567")
    assert (Formats("en_US").money(1235, "USD"), Formats("en_DE").money(123450, "EUR")) == ("$12.35", "1.234,50\xa0€")


@pytest.mark.parametrize(("value", "text"), [(0, "0 orders"), (1, "1 order"), (1234, "1,234 orders")])
def test_a_count_is_singular_only_for_one(value: int, text: str) -> None:
    assert BRITISH.count(value, "order") == text


@pytest.mark.parametrize("locale", ["de_DE", "xx", "", "en_GB.UTF-8", "en_XX"])
def test_the_locale_must_be_a_known_english_one(locale: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        Formats(locale)
