"""Generations: of the runs of a process, only the newest one may act, and it undoes what older ones have left (E12)."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.messages.steps import Leftover, StepKey

BEGIN = text("""
    INSERT INTO process_generations AS current (business_key, generation, started_at)
    VALUES (:business_key, :generation, clock_timestamp())
    ON CONFLICT (business_key) DO UPDATE
    SET generation = excluded.generation,
        started_at = CASE current.generation WHEN excluded.generation THEN current.started_at
                                             ELSE excluded.started_at END
    WHERE current.generation IN (excluded.generation, :replaced)
    RETURNING generation
""")
TAKE_OVER = text("""
    INSERT INTO process_generations AS current (business_key, generation, started_at)
    VALUES (:business_key, :generation, clock_timestamp())
    ON CONFLICT (business_key) DO UPDATE SET generation = excluded.generation, started_at = excluded.started_at
""")
# It waits for the steps that have claimed their keys, and is done even if no first step of the run has succeeded.
CLOSE = text("""
    INSERT INTO process_generations AS current (business_key, generation, started_at, closed_generation)
    VALUES (:business_key, :generation, clock_timestamp(), :generation)
    ON CONFLICT (business_key) DO UPDATE SET closed_generation = excluded.generation
    WHERE current.generation = excluded.generation OR current.generation IS DISTINCT FROM current.closed_generation
""")
FINAL = text("""
    SELECT step FROM step_ledger WHERE business_key = :business_key AND generation = :generation AND final
      AND state = 'done' ORDER BY created_at DESC LIMIT 1
""")
REOPEN = text("""
    UPDATE process_generations SET closed_generation = NULL
    WHERE business_key = :business_key AND closed_generation = :generation
""")
CLOSED = text("""
    SELECT 1 FROM process_generations WHERE business_key = :business_key AND closed_generation = :generation
""")
CURRENT = text("SELECT generation FROM process_generations WHERE business_key = :business_key")
LEFTOVERS = text("""
    SELECT undo, call FROM step_ledger AS step
    WHERE business_key = :business_key AND generation <> :generation AND undo IS NOT NULL AND state <> 'undone'
      AND NOT EXISTS (SELECT FROM step_ledger AS last WHERE last.business_key = step.business_key
                      AND last.generation = step.generation AND last.final AND last.state = 'done')
    ORDER BY created_at DESC, step
""")
UNDOABLE = text("""
    SELECT undo, call FROM step_ledger
    WHERE business_key = :business_key AND generation = :generation AND undo IS NOT NULL AND state <> 'undone'
    ORDER BY created_at DESC, step
""")
ALL_UNDOABLE = text("""
    SELECT undo, call FROM step_ledger WHERE business_key = :business_key AND undo IS NOT NULL AND state <> 'undone'
    ORDER BY created_at DESC, step
""")
WRITE_OFF = text("""
    UPDATE step_ledger SET state = 'undone', lease_until = NULL, updated_at = clock_timestamp()
    WHERE business_key = :business_key AND undo IS NOT NULL AND state <> 'undone'
""")


async def begin(tx: AsyncSession, key: StepKey, *, replaced: str | None = None) -> bool:
    """Make the key's generation the current one if the business key has none, or has the generation `replaced`.

    Return False if another generation is current.
    """
    row = await tx.execute(BEGIN, key.model_dump() | {"replaced": replaced})
    return row.one_or_none() is not None


async def current_generation(tx: AsyncSession, business_key: str) -> str | None:
    """Return the generation that may act for a business key, or None if no run has begun."""
    generation: str | None = (await tx.execute(CURRENT, {"business_key": business_key})).scalar_one_or_none()
    return generation


async def find_leftovers(tx: AsyncSession, key: StepKey) -> list[Leftover]:
    """Return the steps that other generations left to undo, newest first."""
    rows = await tx.execute(LEFTOVERS, key.model_dump())
    return [Leftover(undo=undo, call=recorded) for undo, recorded in rows]


async def take_over(tx: AsyncSession, business_key: str, generation: str) -> None:
    """Let another process act for a business key: no step of its own runs begins any more."""
    await tx.execute(TAKE_OVER, {"business_key": business_key, "generation": generation})


async def find_all_undoable(tx: AsyncSession, business_key: str) -> list[Leftover]:
    """Return the steps of all generations that are not undone, newest first, also of those that have completed."""
    rows = await tx.execute(ALL_UNDOABLE, {"business_key": business_key})
    return [Leftover(undo=undo, call=recorded) for undo, recorded in rows]


async def write_off(tx: AsyncSession, business_key: str) -> None:
    """Record that nothing of a business key is to be undone any more."""
    await tx.execute(WRITE_OFF, {"business_key": business_key})


async def close(tx: AsyncSession, key: StepKey) -> str | None:
    """Let the key's generation begin no more steps, unless its final step is done; return the name of that one then.

    The undos of a closed generation, and steps that use `begin`, are still done.
    """
    values = {"business_key": key.business_key, "generation": key.generation}
    await tx.execute(CLOSE, values)
    # Only now: a final step that had claimed its key has been waited for, and none can claim it any more.
    final: str | None = (await tx.execute(FINAL, values)).scalar_one_or_none()
    if final:
        await tx.execute(REOPEN, values)
    return final


async def is_closed(tx: AsyncSession, key: StepKey) -> bool:
    """Return whether the key's generation is closed: its run undoes its steps, or has ended."""
    values = {"business_key": key.business_key, "generation": key.generation}
    return (await tx.execute(CLOSED, values)).one_or_none() is not None


async def find_undoable(tx: AsyncSession, key: StepKey) -> list[Leftover]:
    """Return the steps of the key's generation that are not undone, newest first."""
    rows = await tx.execute(UNDOABLE, {"business_key": key.business_key, "generation": key.generation})
    return [Leftover(undo=undo, call=recorded) for undo, recorded in rows]
