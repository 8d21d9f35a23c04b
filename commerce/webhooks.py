"""Webhook endpoints: the URLs that subscribe to our events, and the message of one delivery."""

import re
import secrets
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Literal
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import idna
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import operator_actions
from commerce.errors import BadInput, EventNotFound, WebhookExists, WebhookNotFound
from commerce.messages.base import FieldError
from commerce.messages.operator_actions import ActionName
from commerce.messages.webhooks import Endpoint, NewEndpoint, WebhookDelivery
from commerce.outbox import EVENT_NAMES

ALL_EVENTS = "*"
MAX_URL = 2_000  # characters
MAX_HOST = 253  # characters
LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.ASCII)  # of a host name in lower case
NUMERIC_END = re.compile(r"(?:\A|\.)(?:[0-9]+|0x[0-9a-f]*)\.?\Z", re.ASCII)
SECRET_BYTES = 32
LOOPBACK = re.compile(r"localhost\.?|127(\.\d{1,3}){3}|::1", re.ASCII | re.IGNORECASE)
URL_RULE = "must be a URL like https://receiver.example/events; http:// is allowed for this machine only"
NOT_HERE = "must not lead to the machine of the worker; to add it all the same: commerce webhooks add"
TEST_EVENT = "webhook.test"  # posted only when an operator asks for it; no webhook subscribes to it

# A disabled endpoint is enabled again, with a new secret.
ADD = text("""
    INSERT INTO webhook_endpoints AS known (url, secret, event_types)
    VALUES (:url, :secret, to_jsonb(CAST(:event_types AS text[])))
    ON CONFLICT (url) DO UPDATE
    SET secret = excluded.secret, event_types = excluded.event_types, created_at = now(), disabled_at = NULL
    WHERE known.disabled_at IS NOT NULL
    RETURNING id, url, event_types, created_at, secret
""")
LIST = text("SELECT id, url, event_types, created_at, disabled_at FROM webhook_endpoints ORDER BY created_at, id")
REMOVE = text("DELETE FROM webhook_endpoints WHERE CAST(id AS text) = :id RETURNING id")
DISABLE = text("UPDATE webhook_endpoints SET disabled_at = now() WHERE id = :id AND disabled_at IS NULL")
FIND = text("""
    SELECT id, url, event_types, created_at, disabled_at FROM webhook_endpoints WHERE CAST(id AS text) = :id
""")
ENDPOINT = text("SELECT url, secret, disabled_at FROM webhook_endpoints WHERE id = :id")
EVENT = text("SELECT type, aggregate, data, created_at, traceparent FROM outbox_events WHERE id = :id")


@dataclass(frozen=True)
class WebhookMessage:
    """An event to post to an endpoint; `type` is the event's name without prefix."""

    url: str
    secret: str = field(repr=False)
    event_id: UUID
    type: str
    aggregate: str
    data: dict[str, Any]
    created_at: datetime
    traceparent: str | None = None


def is_loopback(host: str) -> bool:
    """Return whether a URL's host is literally this machine: `localhost` or a loopback address."""
    return bool(LOOPBACK.fullmatch(host))


async def add(
    tx: AsyncSession, url: str, event_types: Sequence[str] = (ALL_EVENTS,), *, actor: str = "", here: bool = True
) -> NewEndpoint:
    """Subscribe a URL to events of these types from now on and return it with its secret.

    `here`: whether the URL may lead to this machine. Raises BadInput, WebhookExists.
    """
    url, wanted = validate_url(url), validate_event_types(event_types)
    if not here and is_loopback(urlsplit(url).hostname or ""):
        raise _bad_input("url", NOT_HERE)
    secret = f"whsec_{b64encode(secrets.token_bytes(SECRET_BYTES)).decode()}"
    added = (await tx.execute(ADD, {"url": url, "secret": secret, "event_types": wanted})).mappings().one_or_none()
    if added is None:
        raise WebhookExists
    await _record(tx, "add-webhook", str(added["id"]), actor)
    return NewEndpoint.model_validate(dict(added))


async def list_endpoints(tx: AsyncSession) -> list[Endpoint]:
    """Return all endpoints without their secrets, oldest first."""
    return [Endpoint.model_validate(dict(row)) for row in (await tx.execute(LIST)).mappings()]


async def find(tx: AsyncSession, endpoint_id: str) -> Endpoint:
    """Return the endpoint with this id, without its secret. Raises WebhookNotFound."""
    found = (await tx.execute(FIND, {"id": endpoint_id.lower()})).mappings().one_or_none()
    if found is None:
        raise WebhookNotFound(endpoint_id)
    return Endpoint.model_validate(dict(found))


async def remove(tx: AsyncSession, endpoint_id: str, *, actor: str = "") -> None:
    """Delete an endpoint; pending deliveries to it end without a request. Raises WebhookNotFound."""
    if (await tx.execute(REMOVE, {"id": endpoint_id.lower()})).one_or_none() is None:
        raise WebhookNotFound(endpoint_id)
    await _record(tx, "remove-webhook", endpoint_id.lower(), actor)


async def make_test(tx: AsyncSession, endpoint_id: str, *, actor: str = "") -> WebhookMessage:
    """Return a test event for an endpoint, also for a disabled one, and record that it is sent.

    Raises WebhookNotFound.
    """
    endpoint = await find(tx, endpoint_id)
    row = (await tx.execute(ENDPOINT, {"id": endpoint.id})).one()
    await _record(tx, "test-webhook", str(endpoint.id), actor)
    about = f"webhook/{endpoint.id}"
    data = {"webhook_id": str(endpoint.id)}
    return WebhookMessage(row.url, row.secret, uuid4(), TEST_EVENT, about, data, datetime.now(UTC))


async def _record(tx: AsyncSession, action: ActionName, endpoint_id: str, actor: str) -> None:
    await operator_actions.record(
        tx,
        operator_actions.validate_action(process_id=f"webhook/{endpoint_id}", action=action, reason="", actor=actor),
    )


async def disable(tx: AsyncSession, delivery: WebhookDelivery) -> None:
    """Stop all deliveries to an endpoint whose receiver is gone, until it is added again."""
    await tx.execute(DISABLE, {"id": delivery.endpoint_id})


async def load_message(tx: AsyncSession, delivery: WebhookDelivery) -> WebhookMessage | Literal["disabled", "removed"]:
    """Return the message to post, or why there is none; raises EventNotFound."""
    endpoint = (await tx.execute(ENDPOINT, {"id": delivery.endpoint_id})).one_or_none()
    if endpoint is None or endpoint.disabled_at is not None:
        return "removed" if endpoint is None else "disabled"
    event = (await tx.execute(EVENT, {"id": delivery.event_id})).mappings().one_or_none()
    if event is None:
        raise EventNotFound(str(delivery.event_id))
    return WebhookMessage(endpoint.url, endpoint.secret, delivery.event_id, **event)


def validate_url(url: str) -> str:
    """Return the URL if events may be posted to it; its name is not resolved yet. Raises BadInput."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port  # an invalid port is a ValueError
        is_possible = "%" not in host and bool(IPv6Address(host)) if "[" in parts.netloc else _is_possible_name(host)
    except ValueError:
        raise _bad_input("url", URL_RULE) from None
    safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
    if not (safe and is_possible and url.isascii() and url.isprintable() and " " not in url and len(url) <= MAX_URL):
        raise _bad_input("url", URL_RULE)
    if "@" in parts.netloc or parts.fragment:
        raise _bad_input("url", "must have no user, password or #fragment: receivers check our signature instead")
    return url


def _is_possible_name(host: str) -> bool:
    """Return whether a host is an IPv4 address, or a name that could be resolved; may raise ValueError if it is not."""
    if NUMERIC_END.search(host):  # such a name would be an IPv4 address
        return bool(IPv4Address(host))
    labels = host.removesuffix(".").split(".")
    for label in labels:
        if label.startswith("xn--"):
            idna.decode(label)  # an IDNAError is a ValueError
    return len(host) <= MAX_HOST and all(map(LABEL.fullmatch, labels)) and labels[-1] != "invalid"


def validate_event_types(event_types: Sequence[str]) -> list[str]:
    """Return the event types without duplicates, or just `*` for all; raises BadInput for an unknown one."""
    unknown = [name for name in event_types if name not in (*EVENT_NAMES, ALL_EVENTS)]
    if unknown or not event_types:
        raise _bad_input("types", f"must be some of {', '.join(EVENT_NAMES)}, or {ALL_EVENTS} for all")
    return [ALL_EVENTS] if ALL_EVENTS in event_types else list(dict.fromkeys(event_types))


def _bad_input(field: str, message: str) -> BadInput:
    return BadInput([FieldError(field=field, message=message)])
