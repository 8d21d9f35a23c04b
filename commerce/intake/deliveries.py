"""Take each webhook of a shop's platform once: its order is stored, or it is kept with the reason why not.

These platforms give up on receivers that fail. So every signed webhook is accepted, except while the database is
unavailable. One whose order is locked for too long, by an import for example, waits and is taken later.
"""

import asyncio
import hashlib
import re
from dataclasses import dataclass
from datetime import date
from typing import Literal, NamedTuple

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import order_intake
from commerce.database import Database
from commerce.errors import ConstraintViolated, DatabaseUnavailable, InvalidData, OrderDiffers
from commerce.imports.new_order import NewOrder
from commerce.intake.platforms import Unusable, read_order
from commerce.intake.shapes import Ignored

Status = Literal["stored", "known", "ignored", "unusable", "waiting", "repeated"]

STORE_SECONDS = 3  # then the webhook waits: Shopify allows 5 seconds for all
SAVE_SECONDS = 1
MAX_ID = 200  # characters
TOPIC = re.compile(r"[a-z0-9_./-]{1,100}")
DELIVERY_ID = re.compile(rf"[!-~]{{1,{MAX_ID}}}")

RECORD = text("""
    INSERT INTO intake_deliveries
        (platform, delivery_id, content_hash, topic, source, status, order_id, problem, reason, body)
    VALUES (:platform, :delivery_id, :content_hash, :topic, :source, :status, :order_id, :problem, :reason, :body)
    ON CONFLICT DO NOTHING
    RETURNING true
""")
KEY = "platform = :platform AND delivery_id = :delivery_id AND content_hash = :content_hash"
SETTLE = text(f"""
    UPDATE intake_deliveries
    SET status = :status, order_id = :order_id, problem = :problem, reason = :reason, body = :body
    WHERE {KEY}
""")  # noqa: S608 - our own columns
WAITING = text("""
    SELECT platform, delivery_id, content_hash FROM intake_deliveries WHERE status = 'waiting'
    ORDER BY received_at LIMIT 100
""")
CLAIM = text(f"""
    SELECT platform, delivery_id, topic, source, body FROM intake_deliveries
    WHERE {KEY} AND status = 'waiting' FOR UPDATE SKIP LOCKED
""")  # noqa: S608 - our own columns
UNREPORTED = text("""
    SELECT platform, problem, CAST(received_at AT TIME ZONE 'UTC' AS date) AS day,
           (array_agg(reason ORDER BY received_at))[1] AS reason
    FROM intake_deliveries WHERE status = 'unusable' AND alerted_at IS NULL
    GROUP BY platform, problem, day ORDER BY day, platform, problem
""")
MARK_REPORTED = text("""
    UPDATE intake_deliveries SET alerted_at = now()
    WHERE status = 'unusable' AND alerted_at IS NULL AND platform = :platform AND problem = :problem
      AND CAST(received_at AT TIME ZONE 'UTC' AS date) = :day
""")

log = structlog.stdlib.get_logger("commerce.intake")


@dataclass(frozen=True)
class Delivery:
    """A signed webhook: its headers, its body, and the source of its order."""

    platform: str
    topic: str
    delivery_id: str
    body: bytes
    source: str

    def key(self) -> dict[str, str]:
        """Return what identifies it. Headers are not signed, so they are shortened to what is expected of them."""
        digest = hashlib.sha256(self.topic.encode() + b"\0" + self.body).hexdigest()
        is_id = DELIVERY_ID.fullmatch(self.delivery_id)
        return {
            "platform": self.platform,
            "delivery_id": self.delivery_id if is_id else "",
            "content_hash": digest,
        }

    def known_topic(self) -> str:
        """Return the topic, or nothing if it is not even the name of one."""
        return self.topic if TOPIC.fullmatch(self.topic) else ""


class Received(NamedTuple):
    """What became of a webhook; `order_id` is our id of its order."""

    status: Status
    order_id: str | None = None
    reason: str | None = None


class Problem(NamedTuple):
    """Webhooks of one day that could not be used for the same kind of problem, with the first one's reason."""

    platform: str
    problem: str
    day: date
    reason: str


async def receive(database: Database, delivery: Delivery) -> Received:
    """Take a webhook within 5 seconds. A repeated one does nothing. Raises DatabaseUnavailable."""
    try:
        async with asyncio.timeout(STORE_SECONDS):
            received = await _take(database, delivery)
    except (TimeoutError, DatabaseUnavailable):
        received = await _take_later(database, delivery)
    if received.status == "unusable":
        log.warning(
            "a webhook of the shop cannot be used", platform=delivery.platform, topic=delivery.known_topic(),
            reason=received.reason,
        )  # fmt: skip
    return received


async def take_waiting(database: Database) -> int:
    """Take the webhooks that wait, except those whose orders are still locked; return how many were taken.

    Raises DatabaseUnavailable.
    """
    async with database.transaction() as tx:
        keys = [row._asdict() for row in await tx.execute(WAITING)]
    taken = 0
    for key in keys:
        try:
            taken += await _take_waiting(database, key)
        except DatabaseUnavailable:
            log.warning("a webhook of the shop still waits", platform=key["platform"])
    return taken


async def unreported(tx: AsyncSession) -> list[Problem]:
    """Return the problems that the admins have not been alerted of."""
    return [Problem(*row) for row in await tx.execute(UNREPORTED)]


async def mark_reported(tx: AsyncSession, problem: Problem) -> None:
    """Record that the admins have been alerted of a problem."""
    await tx.execute(MARK_REPORTED, {"platform": problem.platform, "problem": problem.problem, "day": problem.day})


async def _take(database: Database, delivery: Delivery) -> Received:
    """Store the order of a webhook and record the webhook in one transaction, or record why it has none."""
    found = await asyncio.to_thread(_read, delivery)
    if isinstance(found, NewOrder):
        try:
            async with database.transaction() as tx:
                if not await _record(tx, delivery, Received("stored", found.id)):
                    return Received("repeated")
                return await _store(tx, delivery.key(), found)
        except (OrderDiffers, ConstraintViolated, InvalidData) as error:
            found = _unusable(error)
    async with database.transaction() as tx:
        return await _record(tx, delivery, *_outcome(found, delivery)) or Received("repeated")


async def _take_waiting(database: Database, key: dict[str, str]) -> bool:
    problem: Unusable | None = None
    while True:
        try:
            async with database.transaction() as tx:
                row = (await tx.execute(CLAIM, key)).one_or_none()
                if row is None:
                    return False
                delivery = Delivery(row.platform, row.topic, row.delivery_id, row.body, row.source)
                found = problem or _read(delivery)
                if isinstance(found, NewOrder):
                    await _store(tx, key, found)
                else:
                    await _settle(tx, key, *_outcome(found, delivery))
                return True
        except (OrderDiffers, ConstraintViolated, InvalidData) as error:
            if problem:
                raise
            problem = _unusable(error)


async def _take_later(database: Database, delivery: Delivery) -> Received:
    try:
        async with asyncio.timeout(SAVE_SECONDS), database.transaction() as tx:
            return await _record(tx, delivery, Received("waiting"), body=delivery.body) or Received("repeated")
    except TimeoutError:
        raise DatabaseUnavailable("it does not answer in time") from None


async def _store(tx: AsyncSession, key: dict[str, str], order: NewOrder) -> Received:
    stored = await order_intake.store_order(tx, order)
    await _settle(tx, key, Received("stored", stored.order_id))
    is_known = not (stored.is_new or stored.difference.changed)
    return Received("known" if is_known else "stored", stored.order_id)


def _read(delivery: Delivery) -> NewOrder | Ignored | Unusable:
    return read_order(delivery.platform, delivery.known_topic(), delivery.body, delivery.source)


def _unusable(error: OrderDiffers | ConstraintViolated | InvalidData) -> Unusable:
    return Unusable(type(error).__name__, str(error))


def _outcome(found: Ignored | Unusable, delivery: Delivery) -> tuple[Received, str | None, bytes | None]:
    """Return what becomes of a webhook without an order, the kind of problem, and the body if it is kept."""
    if isinstance(found, Ignored):
        return Received("ignored", reason=found.reason), None, None
    return (
        Received("unusable", reason=found.reason),
        found.problem,
        delivery.body if found.keeps_body else None,
    )


async def _record(
    tx: AsyncSession, delivery: Delivery, received: Received, problem: str | None = None, body: bytes | None = None
) -> Received | None:
    """Record a webhook with its outcome; return None if it was recorded before. Waits while another request does so."""
    values = _values(received, problem, body) | {"topic": delivery.known_topic(), "source": delivery.source}
    is_new = (await tx.execute(RECORD, delivery.key() | values)).one_or_none()
    return received if is_new else None


async def _settle(
    tx: AsyncSession, key: dict[str, str], received: Received, problem: str | None = None, body: bytes | None = None
) -> None:
    await tx.execute(SETTLE, key | _values(received, problem, body))


def _values(received: Received, problem: str | None, body: bytes | None) -> dict[str, object]:
    return received._asdict() | {"problem": problem, "body": body}
