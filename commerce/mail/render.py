"""Render the mails of a kind from its templates: a subject, a text and an HTML page.

The kind `k` has `templates/k.txt.j2`, whose first line is the subject, and `templates/k.html.j2`. A kind without
templates uses those of `alert`.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from commerce.formats import Formats
from commerce.plain_text import CONTROLS_IN_LINES, neutralize

MAX_SUBJECT = 150  # characters
# Variables of the alert templates that an alert may leave out.
OPTIONAL = dict.fromkeys(("message", "severity", "order_id", "job_name", "error", "links", "console"), "") | {
    "items": [],
    "more_items": 0,
}


@dataclass(frozen=True)
class RenderedMail:
    """The content of a mail."""

    subject: str
    text: str
    html: str


class MailTemplates:
    """The templates of all mails; amounts and dates follow the locale, and texts are English.

    Raises ValueError unless the locale is an English one such as `en_GB`.
    """

    def __init__(self, locale: str) -> None:
        self._environment = _environment(locale)

    def render(self, kind: str, data: dict[str, Any]) -> RenderedMail:
        """Return a mail of this kind; `data` has the variables of its templates, always `shop` and `key`."""
        variables: dict[str, Any] = OPTIONAL | {"number": data.get("order_id") or ""} | data | {"kind": kind}
        variables["message"] = variables["message"].removesuffix(".")  # the templates write it as a title, too
        text = self._environment.select_template([f"{kind}.txt.j2", "alert.txt.j2"]).render(variables)
        html = self._environment.select_template([f"{kind}.html.j2", "alert.html.j2"]).render(variables)
        subject, _, body = text.partition("\n")
        return RenderedMail(one_line(subject)[:MAX_SUBJECT], body.strip("\n") + "\n", html)


@cache
def _environment(locale: str) -> Environment:
    """Return the compiled templates, which a program needs once; raises ValueError."""
    formats = Formats(locale)
    environment = Environment(
        loader=PackageLoader("commerce.mail"),
        autoescape=select_autoescape(enabled_extensions=("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_without_controls,
    )
    environment.filters |= {
        "plain": neutralize,
        "money": formats.money,
        "number": formats.number,
        "count": formats.count,
        "change": formats.change,
        "weekday": formats.weekday,
        "month_day": formats.month_day,
        "full_date": formats.full_date,
    }
    return environment


def _without_controls(value: Any) -> Any:
    """Return a variable as a template shows it, without controls that outsiders may have written into it."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return CONTROLS_IN_LINES.sub(" ", value)
    return value


def one_line(value: str) -> str:
    """Return a value that is safe as a header: no line breaks, no control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in value).split())
