"""Picks: the warehouse takes the goods of a fulfillment off its shelves, and answers later what it has found (K1, K2).

A pick has a row before the warehouse is asked. Its lock decides between two answers, and between an answer and the
withdrawal. The answer of the last pick of an order answers the step that waits for them (W2).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import waits
from commerce.errors import AlreadyAnswered, BadInput, PickNotFound, WaitOver
from commerce.messages.base import FieldError
from commerce.messages.picks import STEP, Missing, PickLine
from commerce.messages.waits import Answer, WaitKey
from commerce.waits import Recorded

BY = "warehouse"  # through what the answer comes

OPEN = text("""
    INSERT INTO picks (fulfillment_id, round, business_key, generation)
    SELECT id, :round, :business_key, :generation FROM unnest(CAST(:fulfillment_ids AS uuid[])) AS id
    ON CONFLICT (fulfillment_id, round) DO NOTHING
""")
OF_WAIT = "business_key = :business_key AND generation = :generation AND round = :round"
LINES = """
    SELECT jsonb_agg(jsonb_build_object('sku', sku, 'quantity', quantity) ORDER BY sku)
    FROM (SELECT sku, sum(quantity) AS quantity
          FROM fulfillment_items JOIN inventory_items AS item ON item.id = inventory_item_id
          WHERE fulfillment_id = pick.fulfillment_id GROUP BY sku) AS line
"""
# What is asked for stays, whatever becomes of the fulfillment.
SAVE_LINES = text(f"""
    UPDATE picks AS pick SET lines = ({LINES})
    WHERE {OF_WAIT} AND fulfillment_id = ANY(CAST(:fulfillment_ids AS uuid[])) AND lines IS NULL
""")  # noqa: S608 - our own constants
PICK = "CAST(pick.id AS text) AS id, order_id, from_location_id, lines"
NEWEST = text(f"""
    SELECT DISTINCT ON (fulfillment_id) {PICK}
    FROM picks AS pick JOIN fulfillments ON fulfillments.id = pick.fulfillment_id
    WHERE fulfillment_id = ANY(CAST(:fulfillment_ids AS uuid[])) AND lines IS NOT NULL
    ORDER BY fulfillment_id, round DESC
""")  # noqa: S608 - our own constant
LOAD_OPEN = text(f"""
    SELECT {PICK} FROM picks AS pick JOIN fulfillments ON fulfillments.id = pick.fulfillment_id
    WHERE pick.id = ANY(CAST(:ids AS uuid[])) AND answered_at IS NULL AND withdrawn_at IS NULL ORDER BY pick.id
""")  # noqa: S608 - our own constant
REPLACED = text("""
    SELECT CAST(id AS text) FROM picks
    WHERE fulfillment_id = ANY(CAST(:fulfillment_ids AS uuid[])) AND lines IS NOT NULL
      AND id <> ALL(CAST(:newest AS uuid[]))
    ORDER BY id
""")
WAIT = text(f"""
    SELECT kind, data FROM step_waits WHERE {OF_WAIT} AND step = :step
""")  # noqa: S608 - our own constant
FIND = text("SELECT business_key, generation, round FROM picks WHERE id = CAST(:id AS uuid)")
LOCK = text(f"""
    SELECT CAST(id AS text) AS id, CAST(fulfillment_id AS text) AS fulfillment_id, lines, missing,
           withdrawn_at IS NOT NULL AS withdrawn
    FROM picks WHERE {OF_WAIT} ORDER BY id FOR UPDATE
""")  # noqa: S608 - our own constant
RECORD = text("""
    UPDATE picks SET missing = CAST(:missing AS jsonb), answered_at = clock_timestamp() WHERE id = CAST(:id AS uuid)
""")
WITHDRAW = text("""
    UPDATE picks SET withdrawn_at = coalesce(withdrawn_at, clock_timestamp())
    WHERE id = ANY(CAST(:ids AS uuid[]))
""")


@dataclass(frozen=True)
class Pick:
    """What the warehouse is asked for: units by SKU, at one location. `id` identifies the pick at the warehouse."""

    id: str
    order_id: str
    location_id: str | None
    lines: list[PickLine]


async def open_picks(tx: AsyncSession, key: WaitKey, fulfillment_ids: Sequence[str]) -> None:
    """Create the picks of a round of the step that waits, one per fulfillment; doing so again changes nothing."""
    values = key.model_dump(include={"business_key", "generation", "round"}) | {"fulfillment_ids": [*fulfillment_ids]}
    await tx.execute(OPEN, values)
    await tx.execute(SAVE_LINES, values)


async def newest(tx: AsyncSession, fulfillment_ids: Sequence[str]) -> list[Pick]:
    """Return the picks of the newest round, of fulfillments with goods."""
    return [_pick(row) for row in await tx.execute(NEWEST, {"fulfillment_ids": [*fulfillment_ids]})]


async def replaced(tx: AsyncSession, fulfillment_ids: Sequence[str], newest: Sequence[str]) -> list[str]:
    """Return the ids of the picks of earlier rounds."""
    values = {"fulfillment_ids": [*fulfillment_ids], "newest": [*newest]}
    return list(await tx.scalars(REPLACED, values))


async def load_open(tx: AsyncSession, ids: Sequence[str]) -> list[Pick]:
    """Return those of these picks that are neither answered nor withdrawn."""
    return [_pick(row) for row in await tx.execute(LOAD_OPEN, {"ids": [*ids]})]


async def withdraw(tx: AsyncSession, ids: Sequence[str]) -> None:
    """Let picks take no answer any more."""
    await tx.execute(WITHDRAW, {"ids": list(ids)})


async def answer(tx: AsyncSession, pick_id: str, picked: Sequence[PickLine]) -> Recorded | None:
    """Record what the warehouse has picked; SKUs that are left out were not found. The same answer is accepted again.

    Return the answer to the step that waits once its last pick is answered, else None. Raises PickNotFound, BadInput,
    AlreadyAnswered for another answer, and WaitOver if nobody waits any more: the order was undone, for example.
    """
    found = (await tx.execute(FIND, {"id": pick_id})).mappings().one_or_none()
    if found is None:
        raise PickNotFound(pick_id)
    key = WaitKey(step=STEP, **found)
    picks = (await tx.execute(LOCK, dict(found))).all()
    [pick] = [each for each in picks if each.id == pick_id]
    missing = _missing(pick.fulfillment_id, pick.lines or [], picked)
    dumped = [each.model_dump() for each in missing]
    if pick.missing is not None and pick.missing != dumped:
        raise AlreadyAnswered(key.business_key, f"pick {pick_id} was answered otherwise before")
    is_known = await _agrees(tx, key, pick.fulfillment_id, dumped)
    if pick.missing is None:
        if pick.withdrawn:
            raise WaitOver(key.business_key, f"pick {pick_id} is withdrawn")
        if not is_known:
            await waits.is_open(tx, key)
        await tx.execute(RECORD, {"id": pick_id, "missing": json.dumps(dumped)})
    if is_known:
        return Recorded(key, "")
    asked = [each for each in picks if each.lines is not None]
    if any(each.missing is None for each in asked if each.id != pick_id):
        return None
    everything = [*dumped, *(line for each in asked if each.id != pick_id for line in each.missing)]
    everything.sort(key=lambda line: (line["fulfillment_id"], line["sku"]))
    whole = Answer(answer="success", data={"missing": everything})
    return await waits.record(tx, key, whole, by=BY, idempotency_key=f"pick/{picks[0].id}")


async def _agrees(tx: AsyncSession, key: WaitKey, fulfillment_id: str, missing: list[dict[str, Any]]) -> bool:
    """Return whether the step is answered already, maybe by a person, and the same was said of this pick."""
    wait = (await tx.execute(WAIT, key.model_dump())).one_or_none()
    if wait is None or wait.kind != "success":
        return False
    said = [each for each in (wait.data or {}).get("missing", []) if each["fulfillment_id"] == fulfillment_id]
    return sorted(said, key=lambda line: str(line["sku"])) == sorted(missing, key=lambda line: str(line["sku"]))


def _pick(row: Row[Any]) -> Pick:
    return Pick(row.id, row.order_id, row.from_location_id, [PickLine.model_validate(line) for line in row.lines])


def _missing(fulfillment_id: str, asked: Sequence[dict[str, Any]], picked: Sequence[PickLine]) -> list[Missing]:
    """Return what was asked for but not picked. Raises BadInput if more was picked, or something else."""
    left = {line["sku"]: int(line["quantity"]) for line in asked}
    problems = []
    for number, line in enumerate(picked):
        if line.sku not in left:
            problems.append(FieldError(field=f"picked.{number}.sku", message="is not in the pick"))
        elif line.quantity > left[line.sku]:
            problems.append(FieldError(field=f"picked.{number}.quantity", message="is more than was asked for"))
        else:
            left[line.sku] -= line.quantity
    if problems:
        raise BadInput(problems)
    return [
        Missing(fulfillment_id=fulfillment_id, sku=sku, quantity=quantity) for sku, quantity in left.items() if quantity
    ]
