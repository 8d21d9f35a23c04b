"""What a day's figures are, as far as processes tell them: amounts and counts, no products."""

from datetime import date, datetime

from pydantic import Field

from commerce.messages.base import Message
from commerce.messages.jobs import Counts, JobInput

CalendarDay = date  # a field of the same name would hide the type


def report_key(day: date) -> str:
    """Return the key of the one mail that reports a day to the admins."""
    return f"daily-report/{day.isoformat()}"


class Metrics(Message):
    """A day's figures in one currency; money in minor units."""

    currency: str
    orders: int
    revenue: int
    average_order_value: int
    new_customers: int
    returning_customers: int


class Day(Message):
    """A day of the shop's calendar as it was counted; `changed` is false when the table had these figures already.

    `missed`: the day before it, when that was never counted although an earlier one was; `over`: it had ended by then;
    `reported`: it had been counted after its end before, so its report was queued then.
    """

    day: date
    currencies: list[Metrics]
    changed: bool
    missed: date | None = None
    over: bool = True
    reported: bool = False

    @property
    def report(self) -> str:
        """The key of its report: of a day that is not over there is one so far, and another one later."""
        return report_key(self.day) if self.over else f"{report_key(self.day)}/so-far"

    def summary(self) -> str:
        """Return how many orders the day had."""
        return f"{sum(metrics.orders for metrics in self.currencies)} orders on {self.day}"


class CountDay(Message):
    """Which day to count: this one, or the shop's calendar day before the nominal time."""

    nominal: datetime
    day: date | None = None
    top: int


class Analytics(JobInput):
    """The input of `collect-analytics-data`."""

    # Default: the day before the time it was to run.
    date: CalendarDay | None = Field(None, ge=CalendarDay(1970, 1, 1), le=CalendarDay(9998, 12, 31))
    top: int = Field(10, ge=1, le=100)  # products told


class AnalyticsResult(Counts):
    """The result of `collect-analytics-data`: seen and changed are rows, one per currency.

    `made_up`: the day before, counted too because it had been missed.
    """

    day: date
    currencies: list[Metrics]
    report_sent: bool
    made_up: CalendarDay | None = None

    @classmethod
    def of(cls, day: Day, *, reported: bool, made_up: CalendarDay | None) -> "AnalyticsResult":
        """Return the result of a day."""
        rows = len(day.currencies)
        changed = rows if day.changed else 0
        return cls(
            seen=rows,
            changed=changed,
            skipped=rows - changed,
            day=day.day,
            currencies=day.currencies,
            report_sent=reported,
            made_up=made_up,
        )
