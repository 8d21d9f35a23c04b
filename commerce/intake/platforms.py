"""The platforms whose webhooks are taken, and how an order is read from one."""

from collections.abc import Callable
from typing import NamedTuple

from pydantic import ValidationError

from commerce.imports.new_order import NewOrder
from commerce.imports.order_parser import parse_order
from commerce.intake import shopify, woocommerce
from commerce.intake.shapes import Ignored, MappedOrder
from commerce.messages.base import FieldError, field_errors

MAX_REASON = 500  # characters
MAX_FIELDS = 5  # named in a reason


class Platform(NamedTuple):
    """A platform's name for people, its topics whose bodies are orders, and the mapping of such a body."""

    title: str
    topics: frozenset[str]
    map_order: Callable[[bytes], MappedOrder | Ignored]


PLATFORMS = {
    "shopify": Platform("Shopify", shopify.TOPICS, shopify.map_order),
    "woocommerce": Platform("WooCommerce", woocommerce.TOPICS, woocommerce.map_order),
}


class Unusable(NamedTuple):
    """A webhook that cannot be used: the kind of problem, and the reason for people, without personal data.

    The body is worth keeping only if it may be an order.
    """

    problem: str
    reason: str
    keeps_body: bool = True


def read_order(platform: str, topic: str, body: bytes, source: str) -> NewOrder | Ignored | Unusable:
    """Return the order of a webhook."""
    title, topics, map_order = PLATFORMS[platform]
    if topic not in topics:
        return Unusable("UnknownTopic", f"{title}'s topic {topic or '(none)'} is not used here", keeps_body=False)
    try:
        mapped = map_order(body)
    except ValidationError as error:
        return Unusable("OddContent", _reason(field_errors(error)))
    except ValueError as error:
        return Unusable("OddContent", str(error)[:MAX_REASON])
    if isinstance(mapped, Ignored):
        return mapped
    order = parse_order(mapped.head, mapped.lines, currency=mapped.head.currency or "", source=source)
    return Unusable("BadOrder", _reason(order)) if isinstance(order, list) else order


def _reason(errors: list[FieldError]) -> str:
    """Return what is wrong with the first fields; never their values."""
    named = "; ".join(f"{error.field}: {error.message}" for error in errors[:MAX_FIELDS])
    more = f"; and {len(errors) - MAX_FIELDS} more" if len(errors) > MAX_FIELDS else ""
    return (named + more)[:MAX_REASON]
