"""The step ledger: every step and every undo takes effect once, however often and in whatever order it is tried (E5).

The first statement of a step claims its key, in the transaction of its effect. The first statement of an undo turns the
key into a tombstone, which refuses every later attempt of the step. Only the current generation may run steps (E12).
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from pydantic import TypeAdapter
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.errors import StaleGeneration, StepDiffers, StepInProgress, StepWithdrawn
from commerce.messages.base import Message, Nothing
from commerce.messages.steps import Call, StepKey

ResultT = TypeVar("ResultT", bound=Message)

JSON_OBJECT = TypeAdapter(dict[str, Any] | None)

# FOR SHARE waits for the transaction in which a newer generation begins. READ COMMITTED then checks the row again and
# does not find it.
CLAIM = text("""
    WITH current AS (SELECT FROM process_generations
                     WHERE business_key = :business_key AND generation = :generation
                       AND closed_generation IS DISTINCT FROM :generation FOR SHARE)
    INSERT INTO step_ledger (business_key, generation, step, state, undo, call, final, lease_until, created_at,
                             updated_at)
    SELECT :business_key, :generation, :step, 'started', :undo, CAST(:call AS jsonb), :final,
           clock_timestamp() + CAST(:lease AS interval), clock_timestamp(), clock_timestamp() FROM current
    ON CONFLICT DO NOTHING
    RETURNING lease_until
""")
READ = text("""
    SELECT state, note, result, undo, call, coalesce(lease_until > clock_timestamp(), false) AS leased,
           EXISTS (SELECT FROM process_generations
                   WHERE business_key = :business_key AND generation = :generation) AS is_current
    FROM step_ledger WHERE business_key = :business_key AND generation = :generation AND step = :step
    FOR UPDATE
""")
GRANT_LEASE = text("""
    UPDATE step_ledger SET lease_until = clock_timestamp() + CAST(:lease AS interval), updated_at = clock_timestamp()
    WHERE business_key = :business_key AND generation = :generation AND step = :step
    RETURNING lease_until
""")
LOCK_LEASE = text("""
    SELECT 1 FROM step_ledger
    WHERE business_key = :business_key AND generation = :generation AND step = :step AND lease_until = :lease_until
    FOR UPDATE
""")
RELEASE = text("""
    UPDATE step_ledger
    SET lease_until = NULL, updated_at = clock_timestamp(),
        note = CASE WHEN CAST(:max_delay AS interval) IS NULL THEN note
                    ELSE note || jsonb_build_object('settled_at', clock_timestamp() + CAST(:max_delay AS interval)) END
    WHERE business_key = :business_key AND generation = :generation AND step = :step AND lease_until = :lease_until
""")
SAVE_NOTE = text("""
    UPDATE step_ledger SET note = coalesce(note, CAST(:note AS jsonb)), updated_at = clock_timestamp()
    WHERE business_key = :business_key AND generation = :generation AND step = :step AND state = 'started'
    RETURNING note
""")
RECORD_RESULT = text("""
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
                                old.lease_until + CAST(:max_delay AS interval)) > clock_timestamp(), false)
                  AS outcome_unknown
""")
RECORD_UNDONE = text("""
    UPDATE step_ledger SET state = 'undone', lease_until = NULL, updated_at = clock_timestamp()
    WHERE business_key = :business_key AND generation = :generation AND step = :step
""")


@dataclass(frozen=True)
class StepRecord:
    """A step as the ledger had recorded it before the statement that returns this; `state` is None without a record."""

    state: str | None
    note: dict[str, Any] | None
    result: dict[str, Any] | None
    leased: bool  # another attempt may be calling the external service
    lease_until: datetime | None = None  # the end of this attempt's lease, which also identifies the attempt
    outcome_unknown: bool = False  # an attempt ended without an answer: the service may still carry out its request


async def once(
    tx: AsyncSession,
    call: Call[Any],
    result_type: type[ResultT],
    effect: Callable[[], Awaitable[ResultT]],
    *,
    final: bool = False,
) -> ResultT:
    """Run the effect and record its result, or return the recorded result if the step is already done.

    Raises StepWithdrawn behind a tombstone, StaleGeneration when a newer run has begun or this one is closed,
    StepDiffers if the step was done for another input.
    """
    step = await _claim(tx, call, final=final)
    if step.result is not None:
        return result_type.model_validate(step.result)
    result = await effect()
    await record_result(tx, call.key, result)
    return result


async def undo(
    tx: AsyncSession, call: Call[Any], result_type: type[ResultT], effect: Callable[[ResultT], Awaitable[object]]
) -> Nothing:
    """Undo a step: leave its tombstone and, if the step is done and not yet undone, run `effect` with its result."""
    step = await withdraw(tx, call)
    if step.state == "done":
        await effect(result_type.model_validate(step.result))
    await record_undone(tx, call.key)
    return Nothing()


async def acquire(tx: AsyncSession, call: Call[Any], lease: timedelta) -> StepRecord:
    """Claim a step that calls an external service, and lease it to this attempt; a record with a result is done.

    Raises StepInProgress while another attempt has the lease; StepWithdrawn, StaleGeneration and StepDiffers as `once`
    does.
    """
    step = await _claim(tx, call, lease=lease)
    if step.result is not None or step.lease_until is not None:
        return step
    if step.leased:
        raise StepInProgress(call.key.step)
    granted = await tx.execute(GRANT_LEASE, call.key.model_dump() | {"lease": lease})
    return replace(step, lease_until=granted.scalar_one())


async def lock_lease(tx: AsyncSession, key: StepKey, lease_until: datetime | None) -> None:
    """Keep other attempts from acquiring the step until this transaction ends, even if the lease has ended.

    Raises StepInProgress if another attempt has acquired it since.
    """
    if (await tx.execute(LOCK_LEASE, key.model_dump() | {"lease_until": lease_until})).one_or_none() is None:
        raise StepInProgress(key.step)


async def release(
    tx: AsyncSession, key: StepKey, lease_until: datetime | None, max_delay: timedelta | None = None
) -> None:
    """End the lease of an attempt that is over, so that neither the next attempt nor the undo has to wait.

    Set `max_delay` if a request got no answer: how long the service may still carry it out. The step must have a note.
    """
    await tx.execute(RELEASE, key.model_dump() | {"lease_until": lease_until, "max_delay": max_delay})


async def save_note(tx: AsyncSession, key: StepKey, note: dict[str, Any]) -> dict[str, Any]:
    """Save what the undo needs before the service is called. The first note of a step is kept, and returned.

    Raises StepWithdrawn behind a tombstone.
    """
    row = (await tx.execute(SAVE_NOTE, key.model_dump() | {"note": _dump(note)})).one_or_none()
    if row is None:
        raise StepWithdrawn(key.step)
    saved: dict[str, Any] = row.note
    return saved


async def record_result(tx: AsyncSession, key: StepKey, result: Message) -> bool:
    """Record the result of a step; return False if another attempt has already recorded one.

    Raises StepWithdrawn behind a tombstone. The caller must then undo what the step did outside the database.
    """
    values = key.model_dump() | {"result": result.model_dump_json()}
    if (await tx.execute(RECORD_RESULT, values)).one_or_none() is not None:
        return True
    if (await tx.execute(READ, key.model_dump())).one().state != "done":
        raise StepWithdrawn(key.step)
    return False


async def recorded_result(tx: AsyncSession, key: StepKey) -> dict[str, Any] | None:
    """Return the recorded result of a step that has been claimed."""
    result: dict[str, Any] | None = (await tx.execute(READ, key.model_dump())).one().result
    return result


async def withdraw(tx: AsyncSession, call: Call[Any], max_delay: timedelta = timedelta(0)) -> StepRecord:
    """Leave the tombstone of a step, and return the record that it replaces.

    `max_delay`: how long the service may still carry out a request of an attempt that was killed before it could
    release its lease.
    """
    values = call.key.model_dump() | {"undo": call.undo, "call": _dump(call.for_undo()), "max_delay": max_delay}
    row = (await tx.execute(WITHDRAW, values)).one()
    return StepRecord(row.state, row.note, row.result, row.leased, outcome_unknown=row.outcome_unknown)


async def record_undone(tx: AsyncSession, key: StepKey) -> None:
    """Record that the step is undone completely."""
    await tx.execute(RECORD_UNDONE, key.model_dump())


async def _claim(
    tx: AsyncSession, call: Call[Any], *, final: bool = False, lease: timedelta | None = None
) -> StepRecord:
    values = call.key.model_dump() | {"undo": call.undo, "call": _dump(call.for_undo()), "final": final, "lease": lease}
    if (claimed := (await tx.execute(CLAIM, values)).one_or_none()) is not None:
        return StepRecord("started", None, None, leased=False, lease_until=claimed.lease_until)
    row = (await tx.execute(READ, call.key.model_dump())).one_or_none()
    if row is not None and row.state in ("undoing", "undone"):
        raise StepWithdrawn(call.key.step)
    if row is None or not row.is_current:
        raise StaleGeneration(call.key.business_key)
    if call.undo and _differs(call, row.undo, row.call):
        raise StepDiffers(call.key.step)
    return StepRecord(row.state, row.note, row.result, row.leased)


def _differs(call: Call[Any], undo: str | None, recorded: dict[str, Any]) -> bool:
    """Return whether a step was recorded with another undo or other input than `call` has.

    Local steps run again if their worker is lost, and the process may decide otherwise then: the order has changed, or
    another version of the code runs. Fields that only one of two versions knows are not compared.
    """
    before, now = recorded["input"] or {}, call.for_undo()["input"] or {}
    return undo != call.undo or any(before[field] != now[field] for field in before.keys() & now.keys())


def _dump(value: dict[str, Any]) -> str:
    return JSON_OBJECT.dump_json(value).decode()
