"""Messages of `forget-customer`, which erases what the shop has stored about a person (A7)."""

from datetime import datetime

from pydantic import Field

from commerce.messages.base import Message, ProcessInput, count_of
from commerce.messages.customers import MAX_LENGTH
from commerce.messages.steps import BeginResult

FORGET_ID_PREFIX = "forget-customer-"


class ForgetCustomer(ProcessInput):
    """The input of `forget-customer`: the e-mail address of the person."""

    email: str = Field(min_length=1, max_length=MAX_LENGTH)


class PersonRef(Message):
    """The input of the steps: the normalised address of the person."""

    email: str


class PersonFound(BeginResult):
    """The result of `find-customer`; there is no `customer_id` if the person is neither a guest nor has an account."""

    customer_id: str | None = None


class Forgotten(Message):
    """The result of `forget-customer`: when, and how many orders, carts and mails have lost the person.

    `invoices_kept`: of how many of these orders the billing name and address are kept until their retention ends.
    """

    customer_id: str | None
    forgotten_at: datetime
    orders: int
    invoices_kept: int
    carts: int
    mails: int

    def summary(self) -> str:
        """Return how many orders have lost their person."""
        return count_of(self.orders, "order")
