"""What a customer's registration and its steps are asked and answer; the only messages with personal data."""

from hashlib import sha256
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from commerce.messages.base import Message, ProcessInput
from commerce.messages.steps import BeginResult
from commerce.passwords import checked_hash

REGISTRATION = "customer-registration-"
KEY_DIGITS = 32  # hex
LONGEST = 1_000  # characters; the first step is stricter


def registration_process_id(email: str) -> str:
    """Return the only workflow id under which this (normalised) address registers; it does not tell the address."""
    return REGISTRATION + sha256(email.encode()).hexdigest()[:KEY_DIGITS]


def welcome_key(customer_id: str) -> str:
    """Return the key of the one mail that welcomes a customer."""
    return f"welcome/{customer_id}"


class CustomerRegistration(ProcessInput):
    """The input of `customer-registration`: never a password, only its argon2id hash."""

    email: str = Field(max_length=LONGEST)
    password_hash: Annotated[str, AfterValidator(checked_hash)]
    first_name: str = Field(max_length=LONGEST)
    last_name: str = Field(max_length=LONGEST)


class CustomerData(Message):
    """Who registers."""

    email: str
    first_name: str
    last_name: str


class RegistrationStart(CustomerData):
    """The input of the first step: the hash tells whether it was this very request that registered an account."""

    password_hash: str = Field("", repr=False)


class Registered(Message):
    """What an earlier run of the same request has achieved."""

    customer_id: str
    auth_user_id: str
    welcomed: bool


class ValidCustomer(BeginResult):
    """What `validate-customer-data` accepted: address and names in the form they are kept in."""

    email: str = ""
    first_name: str = ""
    last_name: str = ""
    registered: Registered | None = None

    def summary(self) -> str:
        """Return what an earlier run has done."""
        return "registered by an earlier run" if self.registered else ""


class CustomerRef(Message):
    """Which customer."""

    customer_id: str


class Created(CustomerRef):
    """The account that `create-customer` made; `was_guest`: of a guest, who keeps the orders (A2)."""

    was_guest: bool

    def summary(self) -> str:
        """Return whom it was made of."""
        return "a guest until now" if self.was_guest else ""


class NewAuthUser(CustomerRef):
    """How a customer will log in."""

    password_hash: str


class AuthUser(Message):
    """How a customer logs in, as the result tells it."""

    id: str
    provider_id: Literal["emailpass"] = "emailpass"


class Customer(CustomerData):
    """A customer, as the result tells it."""

    id: str


class RegistrationResult(Message):
    """The result of `customer-registration`."""

    customer: Customer
    auth_user: AuthUser
    email_sent: bool
    group_assigned: bool
