"""Read times as shops and spreadsheets write them: without an offset, day or month first, as a spreadsheet's number."""

import re
from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from commerce.imports.input_file import DateOrder
from commerce.imports.parsers import TIMESTAMP, BadValue

FLAGS = re.ASCII | re.IGNORECASE
MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november"),
    "december",
)
CLOCK = (
    r"(?:,?[ T]+(?:at +)?(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:\.\d+)?)?"
    r"[ \u202f]?(?P<half>[ap]\.?m\.?)?)?"
)
OFFSET = r"(?: ?(?P<offset>Z|UTC|GMT|[+-]\d{2}:?\d{2}))?"
WEEKDAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,? +)?"
MONTH = r"(?P<name>[a-z]{3,9})\.?"
ISO = re.compile(rf"(?P<year>\d{{4}})[-/.](?P<month>\d{{1,2}})[-/.](?P<day>\d{{1,2}}){CLOCK}{OFFSET}", FLAGS)
NUMERIC = re.compile(
    rf"(?P<a>\d{{1,2}})(?P<mark>[-/.])(?P<b>\d{{1,2}})(?P=mark)(?P<year>\d{{4}}|\d{{2}}){CLOCK}{OFFSET}",
    FLAGS,
)
MONTH_DAY = re.compile(
    rf"{WEEKDAY}{MONTH} +(?P<day>\d{{1,2}})(?:st|nd|rd|th)?,? +(?P<year>\d{{4}}){CLOCK}{OFFSET}", FLAGS
)
DAY_MONTH = re.compile(
    rf"{WEEKDAY}(?P<day>\d{{1,2}})(?:st|nd|rd|th)?[ -]+{MONTH},?[ -]+(?P<year>\d{{4}}){CLOCK}{OFFSET}", FLAGS
)
SERIAL = re.compile(r"\d{5}(?:[.,]\d{1,15})?", re.ASCII)
SERIAL_START, FIRST_SERIAL, LAST_SERIAL = datetime(1899, 12, 30), 32_874, 73_050  # noqa: DTZ001 - local; years 1990 to 2099


@lru_cache(1_000)  # an order has the same time several times, and its neighbours as well
def plain_time(text: str, zone: ZoneInfo | None, order: DateOrder | None) -> str:
    """Return a time like `2010-11-15 08:34:00 +0000`; text that is no time, or that is ISO 8601 already, stays.

    `zone` is that of times without an offset; without it, they are invalid. `order` is that of dates like 11/12/2026.
    Raises BadValue for a time that does not exist, lacks its zone or has two meanings.
    """
    if (match := TIMESTAMP.fullmatch(text)) and (match[3] or zone is None):
        return text
    if SERIAL.fullmatch(text):
        return _from_serial(text, zone)
    for pattern in (ISO, NUMERIC, MONTH_DAY, DAY_MONTH):
        if match := pattern.fullmatch(text):
            if pattern is ISO and zone is None and not match["offset"]:
                return text
            return _with_zone(_build(match, order), match["offset"], zone)
    return text


def order_of(text: str) -> DateOrder | None:
    """Return which order a date like 20/11/2026 shows beyond doubt."""
    match = NUMERIC.fullmatch(text.strip())
    if match is None or match["mark"] == "." or int(match["a"]) == int(match["b"]):
        return None
    if int(match["a"]) > 12:
        return "day-first"
    return "month-first" if int(match["b"]) > 12 else None


def lacks_offset(text: str) -> bool:
    """Return whether this is a time that says nothing of its offset from UTC."""
    text = text.strip()
    matches = (pattern.fullmatch(text) for pattern in (ISO, NUMERIC, MONTH_DAY, DAY_MONTH))
    return SERIAL.fullmatch(text) is not None or any(match and not match["offset"] for match in matches)


def _build(match: re.Match[str], order: DateOrder | None) -> datetime:
    parts = match.groupdict()
    if "a" in parts:
        day, month = _day_and_month(int(parts["a"]), int(parts["b"]), parts["mark"], order)
    else:
        day, month = int(parts["day"]), _month(parts)
    year = int(parts["year"]) + (2000 if len(parts["year"]) == 2 else 0)
    hour = int(parts["hour"] or 0)
    if half := parts["half"]:
        if not 1 <= hour <= 12:
            raise BadValue("must be a time that exists")
        hour = hour % 12 + (12 if half.lower().startswith("p") else 0)
    try:
        return datetime(year, month, day, hour, int(parts["minute"] or 0), int(parts["second"] or 0))  # noqa: DTZ001 - local
    except ValueError:
        raise BadValue("must be a time that exists") from None


def _month(parts: dict[str, str]) -> int:
    if "name" not in parts:
        return int(parts["month"])
    for number, month in enumerate(MONTHS, 1):
        if month.startswith(parts["name"].lower()):
            return number
    raise BadValue("must have an English month, or be a time like 2010-11-15 08:34:00 +0000")


def _day_and_month(first: int, second: int, mark: str, order: DateOrder | None) -> tuple[int, int]:
    if mark == "." or (order is None and first > 12):
        order = "day-first"
    elif order is None and second > 12:
        order = "month-first"
    elif order is None and first != second:
        raise BadValue("may have the day or the month first: say --dates day-first or --dates month-first")
    return (second, first) if order == "month-first" else (first, second)


def _from_serial(text: str, zone: ZoneInfo | None) -> str:
    days = float(text.replace(",", "."))
    if not FIRST_SERIAL <= days <= LAST_SERIAL:
        return text
    seconds = round(days % 1 * 86_400)
    return _with_zone(SERIAL_START + timedelta(days=int(days), seconds=seconds), None, zone)


def _with_zone(time: datetime, offset: str | None, zone: ZoneInfo | None) -> str:
    if offset:
        return f"{time:%Y-%m-%d %H:%M:%S} {'+0000' if offset.upper() in ('Z', 'UTC', 'GMT') else offset}"
    if zone is None:
        raise BadValue("must include the offset from UTC, or the time zone be said with --timezone")
    return f"{time.replace(tzinfo=zone):%Y-%m-%d %H:%M:%S %z}"
