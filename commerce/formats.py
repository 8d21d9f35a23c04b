"""Write amounts, numbers and dates for people; the texts around them are English."""

import re
from copy import copy
from datetime import date
from decimal import Context, Decimal, localcontext

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_skeleton
from babel.numbers import format_decimal, format_percent

from commerce.currencies import decimals_of

EXACT = Context(prec=100)  # digits: the price of a line times its quantity has up to 29, more than the default
EXACT_BELOW = 10  # percent: smaller changes get one decimal
CHANGE = ("+#,##0%;-#,##0%", "+#,##0.0%;-#,##0.0%")  # without and with a decimal
# CLDR: a currency written in letters is set apart from the digits next to it.
TOUCHING = re.compile(r"(?<=[^\W\d])(?=\d)")


class Formats:
    """The formats of an English locale such as `en_GB`; raises ValueError for any other."""

    def __init__(self, locale: str) -> None:
        try:
            self._locale = Locale.parse(locale, sep="-" if "-" in locale else "_")
        except (UnknownLocaleError, ValueError):
            raise ValueError(f"{locale!r} is not a known locale") from None
        if self._locale.language != "en":
            raise ValueError(f"{locale!r} is not an English locale")

    def money(self, amount: int, currency: str) -> str:
        """Return an amount of minor units, such as `£1,234.50` or `KWD 0.001`."""
        decimals = decimals_of(currency)
        pattern = copy(self._locale.currency_formats["standard"])
        pattern.frac_prec = (decimals, decimals)
        with localcontext(EXACT):
            value = Decimal(amount).scaleb(-decimals)
            text = pattern.apply(value, self._locale, currency=currency, currency_digits=False)
        return TOUCHING.sub("\xa0", text)

    def number(self, value: int) -> str:
        """Return a whole number, such as `1,234`."""
        with localcontext(EXACT):
            return format_decimal(value, locale=self._locale)

    def count(self, value: int, noun: str) -> str:
        """Return a number of things, such as `1 order` or `1,234 orders`."""
        return f"{self.number(value)} {noun if value == 1 else f'{noun}s'}"

    def change(self, now: int, before: int) -> str:
        """Return how a figure differs from an earlier one, such as `+12%` or `-3.5%`; `new` if that was zero."""
        if now and not before:
            return "new"
        change = Decimal(now - before) / (abs(before) or 1)
        decimals = 0 if abs(change) * 100 >= EXACT_BELOW else 1
        if not round(change * 100, decimals):
            return "0%"
        return format_percent(change, CHANGE[decimals], locale=self._locale)

    def weekday(self, day: date) -> str:
        """Return a day with its weekday, such as `Fri 20 Nov`."""
        return format_skeleton("MMMEd", day, locale=self._locale)

    def month_day(self, day: date) -> str:
        """Return a day without its weekday, such as `20 Nov`."""
        return format_skeleton("MMMd", day, locale=self._locale)

    def full_date(self, day: date) -> str:
        """Return a day in full, such as `Friday, 20 November 2026`."""
        return format_date(day, "full", locale=self._locale)
