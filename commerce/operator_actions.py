"""The log of operators' actions and their reasons. The reasons stay in this table; Temporal only gets an entry's id."""

from collections.abc import Collection
from typing import Any

from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.errors import BadInput
from commerce.messages.base import field_errors
from commerce.messages.operator_actions import Action
from commerce.messages.order_views import ActionView

RECORD = text("""
    INSERT INTO operator_actions (process_id, run_id, action, reason, actor)
    VALUES (:process_id, :run_id, :action, :reason, :actor)
    RETURNING CAST(id AS text)
""")
REASONS = text("""
    SELECT CAST(id AS text), reason FROM operator_actions WHERE CAST(id AS text) = ANY(CAST(:ids AS text[]))
""")
DISMISSED = text("""
    SELECT run_id FROM operator_actions WHERE process_id = ANY(CAST(:processes AS text[])) AND action = 'dismiss'
""")
LIST = text("""
    SELECT action, reason, actor, created_at FROM operator_actions
    WHERE process_id = :process_id ORDER BY created_at DESC LIMIT 100
""")
IS_UNSENT = text("SELECT EXISTS (SELECT FROM notifications WHERE key = :key AND status <> 'sent')")
PREFIX = "operator action "


def validate_action(**fields: Any) -> Action:
    """Return an action with these fields; raises BadInput, for example when the reason is too long."""
    try:
        return Action(**fields)
    except ValidationError as error:
        raise BadInput(field_errors(error)) from None


async def record(tx: AsyncSession, action: Action) -> str:
    """Store an action and return the note about it for Temporal, which holds only its id."""
    action_id: str = (await tx.execute(RECORD, action.model_dump())).scalar_one()
    return PREFIX + action_id


async def load_reasons(tx: AsyncSession, notes: Collection[str]) -> dict[str, str]:
    """Return the reason of each note that `record` made, by note."""
    ids = [note.removeprefix(PREFIX) for note in notes if note.startswith(PREFIX)]
    rows = await tx.execute(REASONS, {"ids": ids})
    return {PREFIX + action_id: reason for action_id, reason in rows}


async def list_actions(tx: AsyncSession, process_id: str) -> list[ActionView]:
    """Return the last actions on a process, newest first."""
    rows = (await tx.execute(LIST, {"process_id": process_id})).mappings()
    return [ActionView.model_validate(dict(row)) for row in rows]


async def dismissed_runs(tx: AsyncSession, process_ids: Collection[str]) -> set[str]:
    """Return the ids of the runs of these processes that an operator has dismissed."""
    return set(await tx.scalars(DISMISSED, {"processes": list(process_ids)}))


async def is_unsent(tx: AsyncSession, key: str) -> bool:
    """Return whether a notification is queued but was never sent, which is why a completed process may be retried."""
    found: bool = (await tx.execute(IS_UNSENT, {"key": key})).scalar_one()
    return found
