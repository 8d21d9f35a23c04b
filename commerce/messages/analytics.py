"""The figures of a day, as processes return them: amounts and counts, without products."""

from datetime import date, datetime

from pydantic import Field

from commerce.messages.base import Message, count_of
from commerce.messages.jobs import Counts, JobInput, JobState

IN_THE_FUTURE = "must not be in the future"
CalendarDay = date  # a field of the same name would hide the type


def report_key(day: date) -> str:
    """Return the notification key of the report of a day."""
    return f"daily-report/{day.isoformat()}"


class DayFigures(Message):
    """The figures of a day in one currency; amounts in minor units.

    `orders` have been paid. `revenue` is their captured money less the refunds that became known on that day, and can
    be negative; `awaiting` is what is still to be paid for the orders of that day.
    """

    currency: str
    orders: int
    revenue: int
    average_order_value: int
    new_customers: int
    returning_customers: int
    awaiting: int = 0
    refunded: int = 0


class CountedDay(Message):
    """The figures of a counted day; `changed` is false if they were already stored.

    `missed`: the day before, if it was never counted although an earlier day was; `over`: whether the day had ended by
    the time of the count; `reported`: whether an earlier count after the end of the day had queued its report.
    """

    day: date
    currencies: list[DayFigures]
    changed: bool
    missed: date | None = None
    over: bool = True
    reported: bool = False

    @property
    def report(self) -> str:
        """The key of its report. A day that is not over gets an interim report, and another one when it is over."""
        return report_key(self.day) if self.over else f"{report_key(self.day)}/so-far"

    def summary(self) -> str:
        """Return how many orders the day had."""
        return f"{count_of(sum(figures.orders for figures in self.currencies), 'order')} on {self.day}"


class CountDay(Message):
    """The day to count: `day`, or else the calendar day before the nominal time; `top`: products to keep."""

    nominal: datetime
    day: date | None = None
    top: int


class RecountDay(Message):
    """Count the next marked day again; `top`: products to keep."""

    top: int


class RecountedDay(Message):
    """The day that was counted again; None: no marked day is left."""

    day: CountedDay | None

    def summary(self) -> str:
        """Return how many orders the day has."""
        return self.day.summary() if self.day else "no more days"


class AnalyticsState(JobState):
    """Where `collect-analytics-data` continues in a new run: `seen` counts the days that were counted again."""

    counts: Counts = Counts()


class Analytics(JobInput):
    """The input of `collect-analytics-data`."""

    # Default: the day before the nominal time of the run.
    date: CalendarDay | None = Field(None, ge=CalendarDay(1970, 1, 1), le=CalendarDay(9998, 12, 31))
    top: int = Field(10, ge=1, le=100)  # best-selling products to keep per currency
    resume: AnalyticsState | None = None  # set by the job itself when it continues in a new run


class AnalyticsResult(Counts):
    """The result of `collect-analytics-data`: `seen` and `changed` count rows, one per currency.

    `made_up`: the day before, if it had been missed and was counted, too; `recounted`: how many earlier days were
    counted again, because orders or refunds that came late have changed them.
    """

    day: date
    currencies: list[DayFigures]
    report_sent: bool
    made_up: CalendarDay | None = None
    recounted: int = 0

    @classmethod
    def of(cls, day: CountedDay, *, reported: bool, made_up: CalendarDay | None, recounted: int) -> "AnalyticsResult":
        """Return the result for a counted day."""
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
            recounted=recounted,
        )
