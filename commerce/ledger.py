"""The step ledger: every step and every undo has its effect once, however often it is tried and in whatever order.

The first statement of a step claims its key, in the transaction of its effect; the first statement of an undo turns
the key into a tombstone that a late step runs into. Only the generation that began last may take steps forward.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from pydantic import TypeAdapter
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.errors import StaleGeneration, StepInProgress, StepWithdrawn
from commerce.messages.base import Message, Nothing
from commerce.messages.steps import Begin, Call, Leftover, StepKey

AnswerT = TypeVar("AnswerT", bound=Message)

JSON = TypeAdapter(dict[str, Any] | None)

BEGIN = text("""
    INSERT INTO process_generations AS current (business_key, generation, started_at)
    VALUES (:business_key, :generation, :started_at)
    ON CONFLICT (business_key) DO UPDATE SET generation = excluded.generation, started_at = excluded.started_at
    WHERE current.generation = excluded.generation OR current.started_at < excluded.started_at
    RETURNING generation
""")
LEFTOVERS = text("""
    SELECT undo, call FROM step_ledger AS step
    WHERE business_key = :business_key AND generation <> :generation AND undo IS NOT NULL AND state <> 'undone'
      AND NOT EXISTS (SELECT FROM step_ledger AS last WHERE last.business_key = step.business_key
                      AND last.generation = step.generation AND last.final AND last.state = 'done')
    ORDER BY created_at DESC, step
""")
# FOR SHARE waits for a newer generation that is just beginning, and then finds no row: READ COMMITTED rechecks it.
CLAIM = text("""
    WITH mine AS (SELECT FROM process_generations
                  WHERE business_key = :business_key AND generation = :generation FOR SHARE)
    INSERT INTO step_ledger (business_key, generation, step, state, undo, call, final, created_at, updated_at)
    SELECT :business_key, :generation, :step, 'started', :undo, CAST(:call AS jsonb), :final,
           clock_timestamp(), clock_timestamp() FROM mine
    ON CONFLICT DO NOTHING
    RETURNING state
""")
READ = text("""
    SELECT state, note, result, coalesce(lease_until > clock_timestamp(), false) AS leased,
           EXISTS (SELECT FROM process_generations
                   WHERE business_key = :business_key AND generation = :generation) AS current
    FROM step_ledger WHERE business_key = :business_key AND generation = :generation AND step = :step
    FOR UPDATE
""")
LEASE = text("""
    UPDATE step_ledger SET lease_until = clock_timestamp() + CAST(:lease AS interval), updated_at = clock_timestamp()
    WHERE business_key = :business_key AND generation = :generation AND step = :step
    RETURNING lease_until
""")
RELEASE = text("""
    UPDATE step_ledger
    SET lease_until = NULL, updated_at = clock_timestamp(),
        note = CASE WHEN CAST(:settle AS interval) IS NULL THEN note
                    ELSE note || jsonb_build_object('settled_at', clock_timestamp() + CAST(:settle AS interval)) END
    WHERE business_key = :business_key AND generation = :generation AND step = :step AND lease_until = :lease
""")
NOTE = text("""
    UPDATE step_ledger SET note = coalesce(note, CAST(:note AS jsonb)), updated_at = clock_timestamp()
    WHERE business_key = :business_key AND generation = :generation AND step = :step AND state = 'started'
    RETURNING note
""")
FINISH = text("""
    UPDATE step_ledger SET state = 'done', result = CAST(:result AS jsonb), lease_until = NULL,
                           updated_at = clock_timestamp()
    WHERE business_key = :business_key AND generation = :generation AND step = :step AND state = 'started'
    RETURNING state
""")
WITHDRAW = text("""
    INSERT INTO step_ledger AS step (business_key, generation, step, state, undo, call)
    VALUES (:business_key, :generation, :step, 'undoing', :undo, CAST(:call AS jsonb))
    ON CONFLICT (business_key, generation, step) DO UPDATE
    SET state = CASE step.state WHEN 'undone' THEN 'undone' ELSE 'undoing' END, updated_at = clock_timestamp()
    RETURNING old.state, old.note, old.result, coalesce(old.lease_until > clock_timestamp(), false) AS leased,
              coalesce(greatest(CAST(old.note ->> 'settled_at' AS timestamptz),
                                old.lease_until + CAST(:settle AS interval)) > clock_timestamp(), false) AS unsettled
""")
UNDONE = text("""
    UPDATE step_ledger SET state = 'undone', lease_until = NULL, updated_at = clock_timestamp()
    WHERE business_key = :business_key AND generation = :generation AND step = :step
""")


@dataclass(frozen=True)
class Entry:
    """What the ledger knew of a step before this statement; `state` None: nothing."""

    state: str | None
    note: dict[str, Any] | None
    result: dict[str, Any] | None
    leased: bool  # another attempt may be at work on the outside
    lease: datetime | None = None  # until when this attempt may be
    unsettled: bool = False  # an attempt ended without an answer: the outside may still do what it was asked


async def begin(tx: AsyncSession, call: Begin[Any]) -> list[Leftover]:
    """Make the run's generation the current one and return the steps that older ones left to undo, newest first.

    Raises StaleGeneration when a newer run has begun already.
    """
    row = (await tx.execute(BEGIN, call.key.model_dump() | {"started_at": call.started_at})).one_or_none()
    if row is None:
        raise StaleGeneration(call.key.business_key)
    rows = await tx.execute(LEFTOVERS, call.key.model_dump())
    return [Leftover(undo=undo, call=recorded) for undo, recorded in rows]


async def once(
    tx: AsyncSession,
    call: Call[Any],
    answer: type[AnswerT],
    effect: Callable[[], Awaitable[AnswerT]],
    *,
    final: bool = False,
) -> AnswerT:
    """Have the effect and record its answer, or return the recorded answer when it has been had.

    Raises StepWithdrawn behind a tombstone, StaleGeneration when a newer run has begun.
    """
    entry = await _claim(tx, call, final=final)
    if entry.result is not None:
        return answer.model_validate(entry.result)
    result = await effect()
    await finish(tx, call.key, result)
    return result


async def undo(
    tx: AsyncSession, call: Call[Any], answer: type[AnswerT], effect: Callable[[AnswerT], Awaitable[object]]
) -> Nothing:
    """Undo a step given its answer; a step that never happened or is undone already needs nothing but its tombstone."""
    entry = await withdraw(tx, call)
    if entry.state == "done":
        await effect(answer.model_validate(entry.result))
    await finish_undo(tx, call.key)
    return Nothing()


async def start(tx: AsyncSession, call: Call[Any], lease: timedelta) -> Entry:
    """Claim a step that calls the outside for the time of the lease; an entry with a result is done already.

    Raises StepInProgress while another attempt holds the lease, and what `once` raises.
    """
    entry = await _claim(tx, call)
    if entry.result is None:
        if entry.leased:
            raise StepInProgress(call.key.step)
        granted = await tx.execute(LEASE, call.key.model_dump() | {"lease": lease})
        return replace(entry, lease=granted.scalar_one())
    return entry


async def note(tx: AsyncSession, key: StepKey, value: dict[str, Any]) -> dict[str, Any]:
    """Keep what must not be lost before the outside is called; the first note stays and is returned.

    Raises StepWithdrawn behind a tombstone.
    """
    row = (await tx.execute(NOTE, key.model_dump() | {"note": _dump(value)})).one_or_none()
    if row is None:
        raise StepWithdrawn(key.step)
    kept: dict[str, Any] = row.note
    return kept


async def finish(tx: AsyncSession, key: StepKey, result: Message) -> bool:
    """Record a step's answer; False when another attempt has recorded it already.

    Raises StepWithdrawn behind a tombstone: what the step did outside must be undone by the caller.
    """
    if (await tx.execute(FINISH, key.model_dump() | {"result": result.model_dump_json()})).one_or_none() is not None:
        return True
    if (await tx.execute(READ, key.model_dump())).one().state != "done":
        raise StepWithdrawn(key.step)
    return False


async def release(tx: AsyncSession, key: StepKey, lease: datetime | None, settle: timedelta | None = None) -> None:
    """End the lease of an attempt that is over, so that the next one (or the undo) need not wait.

    `settle`: how long the outside may still do what it was asked and has not answered; the step must have a note.
    """
    await tx.execute(RELEASE, key.model_dump() | {"lease": lease, "settle": settle})


async def withdraw(tx: AsyncSession, call: Call[Any], settle: timedelta = timedelta(0)) -> Entry:
    """Leave the tombstone and return what it replaced; `leased`: a late attempt may still be calling the outside.

    `settle`: how long the outside may still act after an attempt that was killed, and so never released its lease.
    """
    values = call.key.model_dump() | {"undo": call.undo, "call": _dump(call.for_undo()), "settle": settle}
    row = (await tx.execute(WITHDRAW, values)).one()
    return Entry(row.state, row.note, row.result, row.leased, unsettled=row.unsettled)


async def finish_undo(tx: AsyncSession, key: StepKey) -> None:
    """Record that nothing of the step is left."""
    await tx.execute(UNDONE, key.model_dump())


async def _claim(tx: AsyncSession, call: Call[Any], *, final: bool = False) -> Entry:
    values = call.key.model_dump() | {"undo": call.undo, "call": _dump(call.for_undo()), "final": final}
    if (await tx.execute(CLAIM, values)).one_or_none() is not None:
        return Entry("started", None, None, leased=False)
    row = (await tx.execute(READ, call.key.model_dump())).one_or_none()
    if row is not None and row.state in ("undoing", "undone"):
        raise StepWithdrawn(call.key.step)
    if row is None or not row.current:
        raise StaleGeneration(call.key.business_key)
    return Entry(row.state, row.note, row.result, row.leased)


def _dump(value: dict[str, Any]) -> str:
    return JSON.dump_json(value).decode()
