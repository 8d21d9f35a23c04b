"""Daily figures as operators see them. Amounts are in minor units."""

from datetime import date, datetime

from pydantic import Field

from commerce.messages.base import Message

CalendarDay = date  # a field of the same name would hide the type


class TopProduct(Message):
    """A product among the best-selling ones of a day."""

    id: str
    title: str
    units_sold: int
    revenue: int


class DailyReport(Message):
    """The figures of one day in one currency, as they were counted last."""

    day: CalendarDay
    currency: str
    orders: int
    revenue: int = Field(description="Captured, less refunds that became known on this day")
    average_order_value: int
    new_customers: int
    returning_customers: int
    awaiting: int = Field(description="Of orders placed on this day, not captured yet")
    refunded: int
    top_products: list[TopProduct]
    counted_at: datetime


class ReportPage(Message):
    """A page of daily figures, last day first; `next_cursor` requests the next page, None: there is none."""

    reports: list[DailyReport]
    next_cursor: str | None = None
