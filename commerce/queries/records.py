"""Lists of mails, alerts and events."""

from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.errors import BadInput, NotificationNotFound
from commerce.messages.base import FieldError
from commerce.messages.order_views import EventView
from commerce.messages.record_views import EventPage, NotificationPage, NotificationStatus, NotificationView
from commerce.queries.masking import mask_addresses

MAX_PAGE = 200
NOTIFICATION = "key, kind, recipient, order_id, status, attempts, error, created_at, sent_at"
PLACE = text("SELECT created_at, key FROM notifications WHERE key = :key")
FIND = text(f"SELECT {NOTIFICATION} FROM notifications WHERE key = :key")  # noqa: S608 - our own columns
EVENT = "CAST(id AS text) AS id, type, aggregate, data, created_at, published_at"
EVENT_PLACE = text("SELECT sequence FROM outbox_events WHERE id = CAST(:id AS uuid)")


async def list_notifications(
    tx: AsyncSession,
    *,
    status: NotificationStatus | None = None,
    order_id: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> NotificationPage:
    """Return a page of mails and alerts, last one first; `limit` is 1 to 200. `unsent` is all but `sent`.

    Raises BadInput.
    """
    _check(limit)
    values: dict[str, Any] = {"limit": limit + 1, "status": status, "order_id": order_id}
    source, conditions = "notifications", []
    if status in ("sent", "unsent"):
        conditions.append(f"status {'=' if status == 'sent' else '<>'} 'sent'")
    elif status is not None:
        conditions.append("status <> 'sent' AND status = :status")  # the first part is that of an index
    if order_id is not None:  # OFFSET 0: they are found by their index, and then sorted
        source = "(SELECT * FROM notifications WHERE order_id = :order_id OFFSET 0) AS notifications"
    if cursor is not None:
        place = (await tx.execute(PLACE, {"key": cursor})).one_or_none()
        if place is None:
            raise _wrong_cursor()
        values |= {"before": place.created_at, "before_key": place.key}
        conditions.append("(created_at, key) < (CAST(:before AS timestamptz), CAST(:before_key AS text))")
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    statement = text(f"""
        SELECT {NOTIFICATION} FROM {source} {where} ORDER BY created_at DESC, key DESC LIMIT :limit
    """)  # noqa: S608 - our own columns and conditions
    rows = (await tx.execute(statement, values)).mappings().all()
    found = [_masked(row) for row in rows[:limit]]
    return NotificationPage(notifications=found, next_cursor=found[-1].key if len(rows) > limit else None)


async def load_notification(tx: AsyncSession, key: str) -> NotificationView:
    """Return a mail or alert, with its recipients in clear. Raises NotificationNotFound."""
    row = (await tx.execute(FIND, {"key": key})).mappings().one_or_none()
    if row is None:
        raise NotificationNotFound(key)
    return NotificationView.model_validate(dict(row))


async def list_events(
    tx: AsyncSession,
    *,
    about: str | None = None,
    unpublished: bool = False,
    limit: int = 50,
    cursor: str | None = None,
) -> EventPage:
    """Return a page of events, last one first; `limit` is 1 to 200. `about`: such as `order/1001`.

    Raises BadInput.
    """
    _check(limit)
    values: dict[str, Any] = {"limit": limit + 1, "about": about}
    conditions = ["published_at IS NULL"] if unpublished else []
    if about is not None:
        conditions.append("aggregate = :about")
    if cursor is not None:
        values["before"] = await _sequence_of(tx, cursor)
        conditions.append("sequence < :before")
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    statement = text(f"""
        SELECT {EVENT} FROM outbox_events {where} ORDER BY sequence DESC LIMIT :limit
    """)  # noqa: S608 - our own columns and conditions
    rows = (await tx.execute(statement, values)).mappings().all()
    found = [EventView.model_validate(dict(row)) for row in rows[:limit]]
    return EventPage(events=found, next_cursor=found[-1].id if len(rows) > limit else None)


async def _sequence_of(tx: AsyncSession, event_id: str) -> int:
    try:
        sequence: int | None = await tx.scalar(EVENT_PLACE, {"id": UUID(event_id)})
    except ValueError:
        sequence = None
    if sequence is None:
        raise _wrong_cursor()
    return sequence


def _masked(row: Any) -> NotificationView:
    return NotificationView.model_validate({**row, "recipient": mask_addresses(row["recipient"])})


def _wrong_cursor() -> BadInput:
    return BadInput([FieldError(field="cursor", message="must be the next_cursor of an earlier page")])


def _check(limit: int) -> None:
    if not 1 <= limit <= MAX_PAGE:
        raise BadInput([FieldError(field="limit", message=f"must be 1 to {MAX_PAGE}")])
