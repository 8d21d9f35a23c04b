"""Parse cron expressions of five fields, write them in one form, and names for common ones."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAY_NAMES = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
DAYS_IN_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
PART = re.compile(r"(?:\*|(?P<first>[a-z0-9]+)(?:-(?P<last>[a-z0-9]+))?)(?:/(?P<step>[0-9]{1,2}))?")
MAX_LISTED = 2  # numbers in a row; more are written as a range
NUMBER = re.compile(r"[0-9]{1,2}")


class Preset(StrEnum):
    """Cron expressions with a name that settings accept as well, like `hourly`."""

    EVERY_MINUTE = "* * * * *"
    EVERY_5_MINUTES = "*/5 * * * *"
    EVERY_15_MINUTES = "*/15 * * * *"
    HOURLY = "0 * * * *"
    EVERY_6_HOURS = "0 */6 * * *"
    DAILY_2AM = "0 2 * * *"
    DAILY_MIDNIGHT = "0 0 * * *"
    WEEKLY_SUNDAY = "0 3 * * 0"
    MONTHLY_FIRST = "0 4 1 * *"
    WEEKDAYS_9AM = "0 9 * * 1-5"
    BUSINESS_HOURS = "*/30 9-17 * * 1-5"


class Range(NamedTuple):
    """The numbers from `first` to `last`, in steps."""

    first: int
    last: int
    step: int = 1


@dataclass(frozen=True)
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    def numbers(self, text: str) -> set[int]:
        """Return the numbers that this field of an expression matches; raises ValueError."""
        return {number for part in text.lower().split(",") for number in self._part(part)}

    def ranges(self, numbers: Collection[int]) -> list["Range"]:
        """Return the fewest ranges that match these numbers only."""
        ordered = sorted(numbers)
        steps = {later - earlier for earlier, later in pairwise(ordered)}
        if len(steps) == 1 and steps != {1}:
            [step] = steps
            if ordered == list(range(self.low, self.last + 1, step)):
                return [Range(self.low, self.last, step)]
            if len(ordered) > MAX_LISTED:
                return [Range(ordered[0], ordered[-1], step)]
        rows: list[Range] = []
        for number in ordered:
            if rows and number == rows[-1].last + 1:
                rows[-1] = rows[-1]._replace(last=number)
            else:
                rows.append(Range(number, number))
        return rows

    def text(self, numbers: Collection[int]) -> str:
        """Return the text that matches these numbers only: the same for texts of equal meaning."""
        return ",".join(self._range_text(span) for span in self.ranges(numbers))

    def _range_text(self, span: "Range") -> str:
        first, last, step = span
        if (first, last) == (self.low, self.last):
            return "*" if step == 1 else f"*/{step}"
        if step > 1:
            return f"{first}-{last}/{step}"
        return f"{first}-{last}" if last - first >= MAX_LISTED else ",".join(map(str, range(first, last + 1)))

    @property
    def last(self) -> int:
        """The highest number, without the second one for Sunday."""
        return self.high - 1 if self.names == DAY_NAMES else self.high

    def _part(self, text: str) -> range:
        if not (found := PART.fullmatch(text)):
            raise self._error()
        first, last, step = found["first"], found["last"], int(found["step"] or 1)
        start = self._number(first) if first else self.low
        end = self._number(last) if last else start if first and not found["step"] else self.high
        if start > end or not 1 <= step <= self.high:
            raise self._error()
        return range(start, end + 1, step)

    def _number(self, text: str) -> int:
        if text in self.names:
            return self.low + self.names.index(text)
        if not NUMBER.fullmatch(text) or not self.low <= int(text) <= self.high:
            raise self._error()
        return int(text)

    def _error(self) -> ValueError:
        names = f" or {self.names[0]} to {self.names[-1]}" if self.names else ""
        return ValueError(
            f"the {self.name} must be *, {self.low} to {self.high}{names}, a range like 1-5, "
            "or a list of these with commas; each may have a step, like */2"
        )


FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, MONTH_NAMES),
    _Field("day of the week", 0, 7, DAY_NAMES),  # both 0 and 7 are Sunday
)


def parse_cron(text: str) -> str:
    """Return the cron expression of a preset's name, or the expression itself; raises ValueError.

    If an expression limits both the day of the month and the day of the week, Temporal runs on days that match both.
    """
    if preset := _BY_NAME.get(_normalise_name(text)):
        return preset.value
    parts = text.split()
    if len(parts) != len(FIELDS):
        raise ValueError(
            "must be a cron expression of five fields (minute, hour, day of the month, month, day of the week), "
            f"or one of {', '.join(preset.name.lower() for preset in Preset)}"
        )
    _, _, days, months, _ = (field.numbers(part) for field, part in zip(FIELDS, parts, strict=True))
    if min(days) > max(DAYS_IN_MONTH[month - 1] for month in months):
        raise ValueError("none of its months has such a day, so it would never run")
    return " ".join(parts)


def cron_numbers(expression: str) -> list[set[int]]:
    """Return the numbers that each field of a cron expression matches; Sunday is 0. Raises ValueError."""
    minutes, hours, days, months, weekdays = (
        field.numbers(part) for field, part in zip(FIELDS, expression.split(), strict=True)
    )
    return [minutes, hours, days, months, {day % len(DAY_NAMES) for day in weekdays}]


def cron_ranges(expression: str) -> list[list[Range]]:
    """Return the ranges of numbers that each field of a cron expression matches; Sunday is 0. Raises ValueError."""
    return [field.ranges(numbers) for field, numbers in zip(FIELDS, cron_numbers(expression), strict=True)]


def cron_text(numbers: Sequence[Collection[int]]) -> str:
    """Return the cron expression that matches these numbers of each field: expressions of equal meaning are equal."""
    return " ".join(field.text(wanted) for field, wanted in zip(FIELDS, numbers, strict=True))


def _normalise_name(name: str) -> str:
    """Return the common form of EVERY_6_HOURS, every_6_hours and every6Hours."""
    return name.strip().replace("_", "").lower()


_BY_NAME = {_normalise_name(preset.name): preset for preset in Preset}
