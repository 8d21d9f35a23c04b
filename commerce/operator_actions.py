"""What people did to processes, and why: their words stay here, Temporal gets no more than the id of the entry."""

from collections.abc import Collection
from typing import Any

from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.errors import BadInput
from commerce.messages.base import field_errors
from commerce.messages.operator_actions import Action

RECORD = text("""
    INSERT INTO operator_actions (process_id, run_id, action, reason, actor)
    VALUES (:process_id, :run_id, :action, :reason, :actor)
    RETURNING CAST(id AS text)
""")
REASONS = text("""
    SELECT CAST(id AS text), reason FROM operator_actions WHERE CAST(id AS text) = ANY(CAST(:ids AS text[]))
""")
OWED = text("SELECT EXISTS (SELECT FROM notifications WHERE key = :key AND status <> 'sent')")
PREFIX = "operator action "


def action(**facts: Any) -> Action:
    """Return what somebody is about to do; raises BadInput, where the reason is too long, say."""
    try:
        return Action(**facts)
    except ValidationError as error:
        raise BadInput(field_errors(error)) from None


async def record(tx: AsyncSession, action: Action) -> str:
    """Write an action down and return the note of it that Temporal may have."""
    action_id: str = (await tx.execute(RECORD, action.model_dump())).scalar_one()
    return PREFIX + action_id


async def reasons(tx: AsyncSession, notes: Collection[str]) -> dict[str, str]:
    """Return the reasons behind those of these notes that are ours."""
    ids = [note.removeprefix(PREFIX) for note in notes if note.startswith(PREFIX)]
    rows = await tx.execute(REASONS, {"ids": ids})
    return {PREFIX + action_id: reason for action_id, reason in rows}


async def owed(tx: AsyncSession, key: str) -> bool:
    """Return whether a notification was queued that has never been sent: a reason to run a completed process again."""
    found: bool = (await tx.execute(OWED, {"key": key})).scalar_one()
    return found
