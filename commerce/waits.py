"""Waits for answers from outside: one row per round, which decides every race (W1, W2).

A round is open while its row has no `kind` and its generation is the current one. The row's lock decides between two
answers, between an answer and the deadline, and between an answer and the end of the process; clocks decide nothing.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.errors import AlreadyAnswered, RetryRefused, StaleGeneration, StepWithdrawn, WaitNotFound, WaitOver
from commerce.messages.waits import MAX_ROUNDS, Answer, CloseWait, EndedWait, OpenWait, WaitKey

KEY = "business_key = :business_key AND generation = :generation AND step = :step AND round = :round"
# The join makes an open wait one of the current generation: a newer run asks anew.
OPEN_WAITS = "step_waits AS wait JOIN process_generations AS current USING (business_key, generation)"
OPEN = text("""
    WITH current AS (SELECT FROM process_generations
                     WHERE business_key = :business_key AND generation = :generation FOR SHARE)
    INSERT INTO step_waits (business_key, generation, step, round, asked_at, until)
    SELECT :business_key, :generation, :step, :round, :asked_at, :until FROM current
    ON CONFLICT (business_key, generation, step, round) DO NOTHING
    RETURNING id
""")
READ = text(f"SELECT kind FROM step_waits WHERE {KEY}")  # noqa: S608 - our own constant
# The row may not exist yet if opening it is still under way; this one then refuses that.
CLOSE = text("""
    INSERT INTO step_waits AS wait
        (business_key, generation, step, round, asked_at, until, kind, answered_at, delivered_at)
    VALUES (:business_key, :generation, :step, :round, :asked_at, :until, :end, clock_timestamp(), clock_timestamp())
    ON CONFLICT (business_key, generation, step, round) DO UPDATE
    SET kind = coalesce(wait.kind, excluded.kind), answered_at = coalesce(wait.answered_at, excluded.answered_at),
        delivered_at = coalesce(wait.delivered_at, excluded.delivered_at)
    RETURNING round, kind, data
""")
LATEST = text(f"""
    SELECT business_key, generation, step, round FROM {OPEN_WAITS}
    WHERE business_key = :business_key AND step = :step ORDER BY round DESC LIMIT 1
""")  # noqa: S608 - our own constant
DEADLINE = text("SELECT until FROM step_waits WHERE id = CAST(:id AS uuid)")
BY_ID = text("SELECT business_key, generation, step, round FROM step_waits WHERE id = CAST(:id AS uuid)")
OPEN_ID = text(f"SELECT CAST(id AS text) FROM {OPEN_WAITS} WHERE {KEY} AND kind IS NULL")  # noqa: S608 - our own
LOCK = text(f"SELECT kind FROM {OPEN_WAITS} WHERE {KEY} FOR UPDATE OF wait FOR SHARE OF current")  # noqa: S608
REPEATED = text("""
    SELECT generation, round, kind, data, reason FROM step_waits
    WHERE business_key = :business_key AND step = :step AND digest = :digest
""")
RECORD = text(f"""
    UPDATE step_waits
    SET kind = :answer, data = CAST(:data AS jsonb), reason = :reason, answered_by = :by, digest = :digest,
        answered_at = clock_timestamp()
    WHERE {KEY}
""")  # noqa: S608 - our own constant
DELIVER = text("""
    UPDATE step_waits SET delivered_at = coalesce(delivered_at, clock_timestamp())
    WHERE business_key = :business_key AND step = :step AND digest = :digest AND generation = :generation
    RETURNING round, kind, data
""")
UNDELIVERED = text(f"""
    SELECT business_key, step, generation, round, digest FROM {OPEN_WAITS}
    WHERE kind IS NOT NULL AND delivered_at IS NULL AND answered_at < clock_timestamp() - CAST(:older AS interval)
    ORDER BY answered_at LIMIT :limit
""")  # noqa: S608 - our own constant


@dataclass(frozen=True)
class Recorded:
    """An answer that is recorded: its round, and the digest that identifies it. `is_new`: it was not known before."""

    key: WaitKey
    digest: str
    is_new: bool = False


async def open_wait(tx: AsyncSession, wait: OpenWait) -> None:
    """Open a round, so that it can be answered. Doing so again changes nothing.

    Raises StepWithdrawn if it is closed already, StaleGeneration when a newer run has begun.
    """
    values = wait.key.model_dump() | {"asked_at": wait.asked_at, "until": wait.until}
    if (await tx.execute(OPEN, values)).one_or_none() is not None:
        return
    row = (await tx.execute(READ, wait.key.model_dump())).one_or_none()
    if row is None:
        raise StaleGeneration(wait.key.business_key)
    if row.kind == "withdrawn":
        raise StepWithdrawn(wait.key.step)


async def close(tx: AsyncSession, wait: CloseWait) -> EndedWait:
    """Close a round unless it is answered; return the answer that was there first, or how it is closed."""
    values = wait.key.model_dump() | wait.model_dump(include={"asked_at", "until", "end"})
    return EndedWait.model_validate(dict((await tx.execute(CLOSE, values)).mappings().one()))


async def open_id(tx: AsyncSession, key: WaitKey) -> str | None:
    """Return the id of an open round, which links to it carry, or None if it is not open."""
    found: str | None = (await tx.execute(OPEN_ID, key.model_dump())).scalar_one_or_none()
    return found


async def deadline(tx: AsyncSession, wait_id: str) -> datetime:
    """Return until when the round with this id waits, to show it to people."""
    until: datetime = (await tx.execute(DEADLINE, {"id": wait_id})).scalar_one()
    return until


async def asks_anew(tx: AsyncSession, key: WaitKey) -> bool:
    """Return whether this round asks for the first time, or because the one before was answered with `retry`."""
    before = key.model_copy(update={"round": key.round - 1})
    return key.round == 1 or (await tx.execute(READ, before.model_dump())).scalar_one_or_none() == "retry"


async def latest(tx: AsyncSession, process: str, step: str) -> WaitKey:
    """Return the latest round of a step, open or not, in the process's current generation. Raises WaitNotFound."""
    row = (await tx.execute(LATEST, {"business_key": process, "step": step})).mappings().one_or_none()
    if row is None:
        raise WaitNotFound(process)
    return WaitKey.model_validate(dict(row))


async def find(tx: AsyncSession, wait_id: str) -> WaitKey | None:
    """Return the round with this id, or None."""
    row = (await tx.execute(BY_ID, {"id": wait_id})).mappings().one_or_none()
    return WaitKey.model_validate(dict(row)) if row else None


async def is_open(tx: AsyncSession, key: WaitKey) -> bool:
    """Return whether a round can be answered. Raises AlreadyAnswered or WaitOver if not."""
    _raise_unless_open(key, (await tx.execute(LOCK, key.model_dump())).one_or_none())
    return True


async def record(tx: AsyncSession, key: WaitKey, answer: Answer, *, by: str, idempotency_key: str | None) -> Recorded:
    """Record the answer to a round. The same answer under the same idempotency key is accepted again.

    `by`: through what it came, such as `http`. Raises AlreadyAnswered, WaitOver, and RetryRefused in the last round.
    """
    digest = answer.digest(key, idempotency_key)
    row = (await tx.execute(LOCK, key.model_dump())).one_or_none()
    values = key.model_dump() | {"digest": digest}
    if (repeated := (await tx.execute(REPEATED, values)).one_or_none()) is not None:
        if not _is_same(repeated, key, answer):
            raise AlreadyAnswered(key.business_key, f"step {key.step} got another answer under this idempotency key")
        return Recorded(key.model_copy(update={"round": repeated.round}), digest)
    if row is None and (await tx.execute(READ, key.model_dump())).one_or_none() is None:
        raise WaitNotFound(key.business_key)
    _raise_unless_open(key, row)
    if answer.answer == "retry" and key.round >= MAX_ROUNDS:
        raise RetryRefused(key.business_key, f"step {key.step} has asked {MAX_ROUNDS} times")
    given = answer.model_dump() | {"data": None if answer.data is None else json.dumps(answer.data)}
    await tx.execute(RECORD, values | given | {"by": by})
    return Recorded(key, digest, is_new=True)


async def deliver(tx: AsyncSession, key: WaitKey, digest: str) -> EndedWait:
    """Return a recorded answer for its process, which has now got it. Raises WaitNotFound."""
    row = (await tx.execute(DELIVER, key.model_dump() | {"digest": digest})).mappings().one_or_none()
    if row is None:
        raise WaitNotFound(key.business_key)
    return EndedWait.model_validate(dict(row))


async def undelivered(tx: AsyncSession, *, older: Any, limit: int) -> list[Recorded]:
    """Return answers of running generations that were recorded longer ago than `older`, but not delivered."""
    rows = (await tx.execute(UNDELIVERED, {"older": older, "limit": limit})).mappings()
    return [Recorded(WaitKey.model_validate(dict(row)), row["digest"]) for row in rows]


def _is_same(recorded: Row[Any], key: WaitKey, answer: Answer) -> bool:
    known = (recorded.generation, recorded.kind, recorded.data, recorded.reason)
    return bool(known == (key.generation, answer.answer, answer.data, answer.reason))


def _raise_unless_open(key: WaitKey, row: Row[Any] | None) -> None:
    if row is None:
        raise WaitOver(key.business_key, f"step {key.step} is asked anew by a newer run")
    if row.kind == "expired":
        raise WaitOver(key.business_key, f"step {key.step} got no answer in time")
    if row.kind == "withdrawn":
        raise WaitOver(key.business_key, f"step {key.step} no longer waits")
    if row.kind is not None:
        raise AlreadyAnswered(key.business_key, f"step {key.step} has an answer already")
