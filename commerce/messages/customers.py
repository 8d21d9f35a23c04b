"""Inputs and results of `customer-registration` and its steps; the only messages with personal data."""

from hashlib import sha256
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from commerce.address_digests import NO_DIGESTS
from commerce.messages.base import Message, ProcessInput
from commerce.messages.steps import BeginResult
from commerce.passwords import validate_hash

REGISTRATION_ID_PREFIX = "customer-registration-"
TAG_DIGITS = 12  # hexadecimal digits
MAX_LENGTH = 1_000  # characters; the first step has lower limits


def registration_process_id(email: str) -> str:
    """Return the process id for a normalised address in a shop without COMMERCE_ADDRESS_KEYS."""
    return NO_DIGESTS.process_ids(REGISTRATION_ID_PREFIX, email)[0]


def request_tag(password_hash: str) -> str:
    """Return what tells registrations of one address apart, whose ids it follows: hashes are salted."""
    return sha256(password_hash.encode()).hexdigest()[:TAG_DIGITS]


def welcome_key(customer_id: str) -> str:
    """Return the key of a customer's welcome mail."""
    return f"welcome/{customer_id}"


class CustomerRegistration(ProcessInput):
    """The input of `customer-registration`, with the argon2id hash of the password."""

    email: str = Field(max_length=MAX_LENGTH)
    password_hash: Annotated[str, AfterValidator(validate_hash)]
    first_name: str = Field(max_length=MAX_LENGTH)
    last_name: str = Field(max_length=MAX_LENGTH)


class CustomerData(Message):
    """Address and name of a customer."""

    email: str
    first_name: str
    last_name: str


class RegistrationRequest(CustomerData):
    """The input of the first step. The hash shows whether an existing account comes from the same request."""

    password_hash: str = Field("", repr=False)


class EarlierRegistration(Message):
    """What an earlier run of the same request has registered."""

    customer_id: str
    auth_user_id: str
    welcomed: bool


class ValidCustomer(BeginResult):
    """The result of `validate-customer-data`: address and names as they are stored."""

    email: str = ""
    first_name: str = ""
    last_name: str = ""
    registered: EarlierRegistration | None = None
    confirms: bool = False  # whether the address must be proven first (A9)

    def summary(self) -> str:
        """Return whether an earlier run has registered the customer."""
        return "registered by an earlier run" if self.registered else ""


class ConfirmationRequest(Message):
    """The input of `confirm-address`."""

    email: str
    password_hash: str = Field(repr=False)


class ConfirmationAsked(Message):
    """The result of `confirm-address`: the key of the mail, or None if no more may be sent to the address today."""

    mail: str | None

    def summary(self) -> str:
        """Return whether a mail was sent."""
        return "mailed" if self.mail else "no mail: the address got enough of them today"


class CustomerRef(Message):
    """A customer's id."""

    customer_id: str


class CreatedCustomer(CustomerRef):
    """The account that `create-customer` created. `was_guest`: from a guest, who keeps the orders (A2)."""

    was_guest: bool

    def summary(self) -> str:
        """Return whether the customer was a guest."""
        return "was a guest" if self.was_guest else ""


class NewAuthUser(CustomerRef):
    """The input of `create-auth-user`."""

    password_hash: str


class AuthUser(Message):
    """A customer's login."""

    id: str
    provider_id: Literal["emailpass"] = "emailpass"


class Customer(CustomerData):
    """A customer in the result of `customer-registration`."""

    id: str


class RegistrationResult(Message):
    """The result of `customer-registration`."""

    customer: Customer
    auth_user: AuthUser
    email_sent: bool
    group_assigned: bool
