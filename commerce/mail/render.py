"""Wording and looks of the mails: renders a kind's templates to a subject, a text and an HTML page.

A kind `k` has `commerce/mail/templates/k.txt.j2`, whose first line is the subject, and `k.html.j2`; without them it is
written with those of `alert`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

# ISO 4217: how many decimals an amount has, where it is not two.
WHOLE = ("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF")
THOUSANDTHS = ("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND")
DECIMALS = dict.fromkeys(WHOLE, 0) | dict.fromkeys(THOUSANDTHS, 3)
SYMBOLS = {"GBP": "£", "EUR": "€", "USD": "$"}
MAX_SUBJECT = 150  # characters
FINE_BELOW = 10  # percent: smaller changes are told with one decimal
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# What an alert may leave out.
BLANK = dict.fromkeys(("message", "severity", "order_id", "job_name", "error"), "") | {"items": [], "more_items": 0}


@dataclass(frozen=True)
class Image:
    """A picture that travels within a mail, whose HTML shows it as `cid:` and the id; an id looks like `name@thing`."""

    cid: str
    png: bytes


@dataclass(frozen=True)
class Letter:
    """A rendered mail."""

    subject: str
    text: str
    html: str
    images: tuple[Image, ...] = ()


def money(amount: int, currency: str) -> str:
    """Return an amount of minor units as people read it, such as `£1,234.50` or `1,235 JPY`."""
    decimals = DECIMALS.get(currency, 2)
    number = f"{Decimal(amount).scaleb(-decimals):,.{decimals}f}"
    symbol = SYMBOLS.get(currency)
    return f"{symbol}{number}".replace(f"{symbol}-", f"-{symbol}") if symbol else f"{number} {currency}"


def change(now: int, before: int) -> str:
    """Return how a figure differs from an earlier one, such as `+12%` or `-3.5%`; from nothing to something: `new`."""
    if now and not before:
        return "new"
    percent = Decimal(100 * (now - before)) / (before or 1)
    rounded = round(percent, 0 if abs(percent) >= FINE_BELOW else 1)
    return f"{rounded:+,}%" if rounded else "0%"


def weekday(day: date) -> str:
    """Return a day as people say it, such as `Fri 20 Nov`."""
    return f"{WEEKDAYS[day.weekday()]} {day.day} {MONTHS[day.month - 1]}"


def one_line(value: str) -> str:
    """Return a value that can be a header: no line breaks, no control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in value).split())


def render(kind: str, facts: dict[str, Any], images: Sequence[Image] = ()) -> Letter:
    """Return the mail of this kind; `facts` are its templates' variables, `shop`, `kind` and `key` among them.

    `images`: all that its HTML refers to.
    """
    values = BLANK | facts | {"kind": kind}
    text = _ENVIRONMENT.select_template([f"{kind}.txt.j2", "alert.txt.j2"]).render(values)
    html = _ENVIRONMENT.select_template([f"{kind}.html.j2", "alert.html.j2"]).render(values)
    subject, _, body = text.partition("\n")
    return Letter(one_line(subject)[:MAX_SUBJECT], body.strip("\n") + "\n", html, tuple(images))


_ENVIRONMENT = Environment(
    loader=PackageLoader("commerce.mail"),
    autoescape=select_autoescape(enabled_extensions=("html.j2",)),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {"money": money, "change": change, "weekday": weekday}
