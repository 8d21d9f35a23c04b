"""Fields of forms with numbers of units: their names, and what was typed."""

from typing import Protocol

from commerce.errors import BadInput
from commerce.messages.base import FieldError
from commerce.messages.order_views import PickView


class Fields(Protocol):
    """The fields of a form that was sent."""

    def get(self, name: str) -> str:
        """Return what was typed."""


def missing_field(pick: PickView, number: int) -> str:
    """Return the name of the field with the units that are missing of a line of a pick."""
    return f"missing/{pick.pick_id}/{number}"


def line_field(part: str, number: int | str) -> str:
    """Return the name of a field of a line of an order or a return: `back`, `unsellable` or `units`."""
    return f"{part}/{number}"


def read_units(form: Fields, name: str, most: int, label: str) -> int:
    """Return a number of units, at most `most`. Raises BadInput, which names it as `label`."""
    text = form.get(name)
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) <= most):
        raise BadInput([FieldError(field=label, message=f"must be a whole number from 0 to {most}")])
    return int(text)
