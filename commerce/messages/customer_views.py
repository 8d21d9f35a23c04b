"""Customers as operators see them: a page of a list, or one in full."""

from datetime import datetime

from pydantic import Field

from commerce.messages.base import Message
from commerce.messages.order_views import OrderSummary


class CustomerSummary(Message):
    """A customer of a list. `email` and `name` are masked unless asked for in clear; None: the person was forgotten."""

    customer_id: str
    email: str | None = None
    name: str | None = Field(None, description="Of the account, or else of the last order")
    has_account: bool
    orders: int = Field(description="Number of orders, at most 1,000")
    last_order_at: datetime | None = None
    created_at: datetime
    registered_at: datetime | None = None


class CustomerPage(Message):
    """A page of a list of customers; `next_cursor` requests the next page, None: there is none."""

    customers: list[CustomerSummary]
    next_cursor: str | None = None


class CustomerView(CustomerSummary):
    """A customer in full: also their groups, and the last 20 orders."""

    groups: list[str]
    last_orders: list[OrderSummary]
