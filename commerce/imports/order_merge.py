"""Decide what becomes of a known order when its source sends it again with other content.

What is later decides. A source that states `updated_at` says so itself. A file does not, and it may be older than what
is known: so states only go forward, and it changes nothing else of an order whose source has stated a time before.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from commerce.imports.new_order import ORDER_FIELDS, NewOrderLine

# Without times, a state is replaced only by one of the same or a higher rank.
RANKS: Mapping[str, Mapping[str, int]] = {
    "payment_status": {
        "awaiting": 0,
        "authorized": 1,
        "expired": 2,
        "partially_captured": 3,
        "captured": 4,
        "partially_refunded": 5,
        "refunded": 6,
        "cancelled": 7,
    },
    "fulfillment_status": {
        "not_fulfilled": 0,
        "scheduled": 0,
        "on_hold": 0,
        "partially_fulfilled": 1,
        "fulfilled_elsewhere": 2,
        "restocked": 3,
    },
}
MOMENTS = ("paid_at", "cancelled_at")  # once set, they stay
SUMS = ("refunded_total",)  # they only grow
# Of an order that is fulfilled or cancelled here, only these change: the goods are on their way to the old address, or
# back on the shelf.
NOTED_AFTER_FULFILLMENT = (
    *("payment_status", "paid_at", "cancelled_at", "refunded_total", "outstanding_total"),
    *("payment_method", "payment_reference", "risk_level", "note", "note_attributes", "tags"),
)
# A run that has read other values of these must begin anew.
DECISIVE = frozenset(
    (
        *("email", "payment_status", "fulfillment_status", "cancelled_at", "currency", "risk_level", "phone"),
        *("payment_method", "refunded_total"),
        *("shipping_method", "shipping_name", "shipping_company", "shipping_address1", "shipping_address2"),
        *("shipping_city", "shipping_zip", "shipping_province", "shipping_province_name", "shipping_country"),
        *("shipping_phone", "lines"),
    )
)
DECISIVE_OF_LINES = ("sku", "title", "quantity", "requires_shipping", "fulfillment_status")


class StoredLine(NamedTuple):
    """A line of a known order; a quantity of 0 means that its source has removed it."""

    id: int
    line: NewOrderLine


class Merged(NamedTuple):
    """The new values of an order's columns that change, and the fields in which the stored values are kept."""

    changes: dict[str, Any]
    kept: list[str]


class MergedLines(NamedTuple):
    """The lines of a known order that change, and new ones; `decisive`: whether processing depends on the changes."""

    changed: list[StoredLine]
    added: list[NewOrderLine]
    decisive: bool


def merge(stored: Mapping[str, Any], received: Mapping[str, Any]) -> Merged:
    """Return what changes of a known order. Both have the columns of `ORDER_FIELDS`.

    `stored` also has `cancellation`, and `corrections`: the source's values of the fields that an operator has
    corrected. A correction stays until the source states another value.
    """
    corrected = stored["corrections"] or {}
    differing = [
        field
        for field in ORDER_FIELDS
        if received[field] != stored[field] and not (field in corrected and received[field] == corrected[field])
    ]
    if is_outdated(stored, received):
        return Merged({}, [field for field in differing if field != "updated_at"])
    changes: dict[str, Any] = {}
    kept = []
    for field in differing:
        if _takes_over(field, stored, received):
            changes[field] = received[field]
        elif field != "updated_at" and not (field == "fulfillment_status" and _is_fulfilled(stored)):
            kept.append(field)  # that the source knows of our fulfillment, or not yet, is no difference
    if remaining := set(corrected) & set(changes):
        changes["corrections"] = {field: value for field, value in corrected.items() if field not in remaining} or None
    return Merged(changes, kept)


def is_outdated(stored: Mapping[str, Any], received: Mapping[str, Any]) -> bool:
    """Return whether the source itself says that it has changed the order since."""
    return bool(stored["updated_at"] and received["updated_at"] and received["updated_at"] < stored["updated_at"])


def keeps_lines(stored: Mapping[str, Any], received: Mapping[str, Any]) -> bool:
    """Return whether received lines change nothing, because the order is fulfilled or they may be outdated."""
    return _is_fulfilled(stored) or is_outdated(stored, received) or _is_unsure(stored, received)


def stays_as_fulfilled(stored: Mapping[str, Any], received: Mapping[str, Any], field: str) -> bool:
    """Return whether a field, or `lines`, is kept because the order was fulfilled as it was."""
    return _is_fulfilled(stored) and not is_outdated(stored, received) and field not in NOTED_AFTER_FULFILLMENT


def merge_lines(stored: Sequence[StoredLine], received: Sequence[NewOrderLine], *, later: bool = False) -> MergedLines:
    """Match lines by SKU and title, in order. Lines without a match are removed: their quantity becomes 0.

    Units that are known to be refunded are not shipped, whatever quantity a source states that does not speak of
    refunds. `later`: whether the source says that it speaks later; else refunds only grow and states only go forward.
    """
    free = list(stored)
    changed: list[StoredLine] = []
    added: list[NewOrderLine] = []
    decisive = False
    for line in received:
        match = next((each for each in free if (each.line.sku, each.line.title) == (line.sku, line.title)), None)
        if match is None:
            added.append(line)
            decisive = True
            continue
        free.remove(match)
        line = _with_known_refunds(match.line, line, later=later)
        if not later and _rank_of_line(match.line) > _rank_of_line(line):
            line = line._replace(fulfillment_status=match.line.fulfillment_status)
        if match.line != line:
            changed.append(StoredLine(match.id, line))
            decisive |= any(getattr(match.line, name) != getattr(line, name) for name in DECISIVE_OF_LINES)
    removed = [
        StoredLine(each.id, each.line._replace(quantity=0, refunded_quantity=None))
        for each in free
        if each.line.ordered
    ]
    return MergedLines(changed + removed, added, decisive or bool(removed))


def states_later_time(stored: Mapping[str, Any], received: Mapping[str, Any]) -> bool:
    """Return whether the source says that it has changed the order since the stored one."""
    return received["updated_at"] is not None and received["updated_at"] != stored["updated_at"]


def _rank_of_line(line: NewOrderLine) -> int:
    return RANKS["fulfillment_status"][line.fulfillment_status]


def _with_known_refunds(stored: NewOrderLine, line: NewOrderLine, *, later: bool) -> NewOrderLine:
    known, stated = stored.refunded_quantity or 0, line.refunded_quantity
    if not known or (stated is not None and (later or stated >= known)):
        return line
    refunded = min(known, line.ordered)
    return line._replace(quantity=line.ordered - refunded, refunded_quantity=refunded)


def _takes_over(field: str, stored: Mapping[str, Any], received: Mapping[str, Any]) -> bool:
    old, new = stored[field], received[field]
    if field == "updated_at":
        return new is not None
    if _is_fulfilled(stored) and field not in NOTED_AFTER_FULFILLMENT:
        return False
    if field == "cancelled_at" and stored.get("cancellation"):  # the source may not know of it
        return old is None
    if states_later_time(stored, received):
        return True
    if ranks := RANKS.get(field):
        return ranks[new] >= ranks[old]
    if field in MOMENTS:
        return old is None
    if field in SUMS:
        return bool(new > old)
    return not _is_unsure(stored, received)


def _is_fulfilled(stored: Mapping[str, Any]) -> bool:
    return bool(stored["fulfillment_status"] == "fulfilled" or stored.get("cancellation"))


def _is_unsure(stored: Mapping[str, Any], received: Mapping[str, Any]) -> bool:
    """Return whether nothing says that the received order is later than the stored one, of which a time is known."""
    return stored["updated_at"] is not None and received["updated_at"] is None
