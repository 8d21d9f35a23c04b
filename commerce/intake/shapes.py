"""What the shapes of all platforms have in common, and what they become."""

from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Annotated, NamedTuple, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict

from commerce.imports.order_head import OrderHead
from commerce.imports.order_parser import OrderLine

T = TypeVar("T")
ZERO = Decimal(0)
MAX_DIGITS = 30  # of an amount, before and after the point
# Platforms send null for an empty list, text or flag.
Entries = Annotated[tuple[T, ...], BeforeValidator(lambda value: () if value is None else value)]
Text = Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]
Flag = Annotated[bool, BeforeValidator(lambda value: False if value is None else value)]


class Shape(BaseModel):
    """A part of a platform's order. Fields that nothing here needs are left out; numbers may come as text or not."""

    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)


class MappedOrder(NamedTuple):
    """An order as `parse_order` takes it."""

    head: OrderHead
    lines: Sequence[OrderLine]


class Ignored(NamedTuple):
    """An order that must not be stored, and why."""

    reason: str


def decimal_of(amount: str | None) -> Decimal:
    """Return an amount of a platform; 0 if it is missing. Raises ValueError if it is no number."""
    try:
        value = Decimal(amount or 0)
    except InvalidOperation:
        raise ValueError("an amount is no number") from None
    if not value.is_finite() or abs(value.adjusted()) > MAX_DIGITS:
        raise ValueError("an amount is no number")
    return value


def total_of(amounts: Iterable[str | None]) -> Decimal:
    """Return the sum of a platform's amounts. Raises ValueError if one is no number."""
    return sum((decimal_of(amount) for amount in amounts), ZERO)


def written(amount: Decimal) -> str:
    """Return an amount as the parsers of orders read it."""
    return f"{amount:f}"


def joined(*parts: str, by: str = " ") -> str:
    """Return the parts that are not empty as one text."""
    return by.join(part.strip() for part in parts if part.strip())
