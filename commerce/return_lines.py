"""Divide the units that a return or a receipt names among the lines that they can belong to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from commerce.errors import BadInput
from commerce.messages.base import FieldError
from commerce.messages.returns import Item, ReceivedItem, ReturnReceipt


@dataclass(frozen=True)
class Line:
    """A line of an order or of a return; `units`: how many of it can still be named."""

    id: int
    position: int
    sku: str
    units: int


@dataclass(frozen=True)
class Part:
    """Units of one line; `sellable`: how many of them are, at most all."""

    line_id: int
    quantity: int
    sellable: int


def divide(items: Sequence[Item], lines: Sequence[Line], *, within: str) -> list[Part]:
    """Return the units of each line that has any, in the order of the lines; no items: all units of all lines.

    Sellable units go to the first lines of their SKU. Raises BadInput, which names what `within` has not, such as
    `the order`.
    """
    if not items:
        return [Part(line.id, line.units, line.units) for line in lines if line.units]
    taken = {line.id: [0, 0] for line in lines}
    problems = []
    for number, item in enumerate(items):
        mine = [line for line in lines if (line.sku == item.sku if item.line is None else line.position == item.line)]
        if not mine:
            name = "sku" if item.line is None else "line"
            problems.append(FieldError(field=f"items.{number}.{name}", message=f"{within} has no such line"))
            continue
        quantity, sellable = item.quantity, item.quantity
        if isinstance(item, ReceivedItem) and item.sellable is not None:
            sellable = item.sellable
        for line in mine:
            units = min(quantity, line.units - taken[line.id][0])
            good = min(units, sellable)
            taken[line.id][0] += units
            taken[line.id][1] += good
            quantity, sellable = quantity - units, sellable - good
        if quantity:
            field = f"items.{number}.quantity"
            problems.append(FieldError(field=field, message=f"{within} has {quantity} fewer units of it"))
    if problems:
        raise BadInput(problems)
    return [Part(line.id, *taken[line.id]) for line in lines if taken[line.id][0]]


def divide_receipt(receipt: ReturnReceipt, lines: Sequence[Line]) -> list[Part]:
    """Return the units that came back. Raises BadInput."""
    return divide([] if receipt.everything else receipt.items, lines, within="the return")


def count(parts: Iterable[Part]) -> int:
    """Return the number of units."""
    return sum(part.quantity for part in parts)
