"""Wording and looks of the mails: renders a kind's templates to a subject, a text and an HTML page.

A kind `k` has `commerce/templates/k.txt.j2`, whose first line is the subject, and `k.html.j2`; without them it is
written with those of `alert`.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

# ISO 4217: how many decimals an amount has, where it is not two.
WHOLE = ("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF")
THOUSANDTHS = ("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND")
DECIMALS = dict.fromkeys(WHOLE, 0) | dict.fromkeys(THOUSANDTHS, 3)
SYMBOLS = {"GBP": "£", "EUR": "€", "USD": "$"}
MAX_SUBJECT = 150  # characters
# What an alert may leave out.
BLANK = dict.fromkeys(("message", "severity", "order_id", "job_name", "error"), "") | {"items": [], "more_items": 0}


@dataclass(frozen=True)
class Letter:
    """A rendered mail."""

    subject: str
    text: str
    html: str


def money(amount: int, currency: str) -> str:
    """Return an amount of minor units as people read it, such as `£1,234.50` or `1,235 JPY`."""
    decimals = DECIMALS.get(currency, 2)
    number = f"{Decimal(amount).scaleb(-decimals):,.{decimals}f}"
    symbol = SYMBOLS.get(currency)
    return f"{symbol}{number}".replace(f"{symbol}-", f"-{symbol}") if symbol else f"{number} {currency}"


def one_line(value: str) -> str:
    """Return a value that can be a header: no line breaks, no control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in value).split())


def render(kind: str, facts: dict[str, Any]) -> Letter:
    """Return the mail of this kind; `facts` are its templates' variables, `shop`, `kind` and `key` among them."""
    values = BLANK | facts | {"kind": kind}
    text = _ENVIRONMENT.select_template([f"{kind}.txt.j2", "alert.txt.j2"]).render(values)
    html = _ENVIRONMENT.select_template([f"{kind}.html.j2", "alert.html.j2"]).render(values)
    subject, _, body = text.partition("\n")
    return Letter(one_line(subject)[:MAX_SUBJECT], body.strip("\n") + "\n", html)


_ENVIRONMENT = Environment(
    loader=PackageLoader("commerce"),
    autoescape=select_autoescape(enabled_extensions=("html.j2",)),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters["money"] = money
