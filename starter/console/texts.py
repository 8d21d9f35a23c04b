"""How pages write times, amounts and states. Templates escape their variables; Markup, which this returns, is HTML."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from babel.dates import format_datetime
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from commerce.formats import Formats
from commerce.order_corrections import MAX_LENGTHS
from commerce.plain_text import CONTROLS_IN_LINES
from commerce.settings import Settings
from starter.console.assets import asset_url
from starter.console.charts import bar_chart
from starter.console.fields import line_field, missing_field

NONE = Markup('<span class="none" aria-label="none">–</span>')
# Tones: good, busy, warn, bad, calm. Words that are not here are calm.
TONES: Mapping[str, str] = {
    **dict.fromkeys(("fulfilled", "completed", "done", "sent", "active", "paid", "captured", "success", "ok"), "good"),
    **dict.fromkeys(("picked", "made", "returned"), "good"),
    **dict.fromkeys(("running", "open", "compensating", "sending", "cancelling", "delivering"), "busy"),
    **dict.fromkeys(("due", "short", "withdrawn"), "warn"),
    **dict.fromkeys(("received", "pending", "asked"), "busy"),
    **dict.fromkeys(
        ("waiting", "waiting_for_stock", "on_hold", "unpaid", "queued", "paused", "awaiting", "retry", "oversold"),
        "warn",
    ),
    **dict.fromkeys(
        (
            *("failed", "stuck", "timed_out", "terminated", "undo_failed", "compensation_failed", "failure", "expired"),
            *("disabled",),
        ),
        "bad",
    ),
}
MINUTE, HOUR, DAY = 60, 3_600, 86_400  # seconds
SPANS = ((DAY, "d"), (HOUR, "h"), (MINUTE, "min"), (1, "s"))


def words(name: str) -> str:
    """Return a name of the program as words: `waiting for stock` for `waiting_for_stock`."""
    return name.replace("_", " ")


def badge(name: str | None, tone: str = "") -> Markup:
    """Return a state as a badge; its tone follows from the state, unless one is named."""
    if not name:
        return NONE
    return Markup('<span class="badge {}">{}</span>').format(tone or TONES.get(name, "calm"), words(name))


def duration(seconds: float | timedelta) -> str:
    """Return a duration in its largest unit, such as `12 ms`, `1.2 s`, `3 min`, `2 h 5 min` or `4 d`."""
    value = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
    if value < 1:
        return f"{max(round(value * 1000), 0)} ms"
    if value < 10:  # such short ones are worth a decimal
        return f"{value:.1f} s"
    size, unit = next(span for span in SPANS if value >= span[0])
    text = f"{int(value // size)} {unit}"
    if unit == "h" and (minutes := int(value % HOUR // MINUTE)):
        text += f" {minutes} min"
    return text


def is_web_address(url: str | None) -> bool:
    """Return whether a browser may open this address: it is that of a web page, and no script."""
    return bool(url) and str(url).lower().startswith(("https://", "http://"))


class Times:
    """Writes times in the shop's time zone."""

    def __init__(self, settings: Settings) -> None:
        self.zone, self.locale = settings.zone, settings.locale.replace("-", "_")

    def when(self, time: datetime | None, *, seconds: bool = False) -> Markup:
        """Return a time for a list: short, and in full with its zone where the pointer rests."""
        if time is None:
            return NONE
        local = time.astimezone(self.zone)
        now = datetime.now(self.zone)
        pattern = "HH:mm:ss" if seconds else "HH:mm"
        if local.date() != now.date():
            pattern = f"d MMM {pattern}" if local.year == now.year else f"d MMM y {pattern}"
        return self._element(local, format_datetime(local, pattern, locale=self.locale))

    def exact(self, time: datetime | None) -> Markup:
        """Return a time to the second, with its date."""
        if time is None:
            return NONE
        local = time.astimezone(self.zone)
        return self._element(local, format_datetime(local, "d MMM y HH:mm:ss", locale=self.locale))

    def ago(self, time: datetime | None) -> Markup:
        """Return how long ago a time was, or in how long it will be."""
        if time is None:
            return NONE
        seconds = (datetime.now(UTC) - time).total_seconds()
        text = f"{_coarse(seconds)} ago" if seconds >= 0 else f"in {_coarse(-seconds)}"
        return self._element(time.astimezone(self.zone), text)

    def _element(self, local: datetime, text: str) -> Markup:
        full = format_datetime(local, "EEE d MMM y HH:mm:ss zzz", locale=self.locale)
        return Markup('<time datetime="{}" title="{}">{}</time>').format(local.isoformat(), full, text)


def _coarse(seconds: float) -> str:
    size, unit = next((span for span in SPANS if seconds >= span[0]), SPANS[-1])
    return f"{int(seconds // size)} {unit}"


@cache
def templates(settings: Settings) -> Environment:
    """Return the templates, whose filters follow the settings: zone, locale."""
    formats, times = Formats(settings.locale), Times(settings)
    environment = Environment(
        loader=PackageLoader("starter.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_without_controls,
    )
    environment.filters |= {
        "when": times.when,
        "exact": times.exact,
        "ago": times.ago,
        "money": formats.money,
        "number": formats.number,
        "count": formats.count,
        "weekday": formats.weekday,
        "month_day": formats.month_day,
        "full_date": formats.full_date,
        "change": formats.change,
        "duration": duration,
        "words": words,
        "badge": badge,
        "or_none": lambda value: NONE if value in (None, "") else value,
    }
    environment.globals |= {
        "asset_url": asset_url,
        "bar_chart": bar_chart,
        "is_web_address": is_web_address,
        "line_field": line_field,
        "missing_field": missing_field,
        "max_lengths": MAX_LENGTHS,
    }
    return environment


def _without_controls(value: Any) -> Any:
    """Return a variable without controls and marks that change the direction of the text around it."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return CONTROLS_IN_LINES.sub(" ", value)
    return value
