"""Turns of jobs: which run of a job may work, whatever the ids of its runs.

A turn is kept like the generation of a process, under a business key that no process has.
"""

from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from commerce import generations
from commerce.messages.steps import StepKey

KEY_PREFIX = "job/"


class Turn(NamedTuple):
    """The turn of a run: its process id, and its generation, which it keeps when it continues as a new run."""

    process: str
    generation: str


async def take(tx: AsyncSession, job: str, turn: Turn, *, ended: Turn | None = None) -> Turn | None:
    """Take a job's turn if it is free, or is that of the run `ended`. Return None, or the turn that prevents it."""
    key = StepKey(business_key=f"{KEY_PREFIX}{job}", step="", generation=_to_text(turn))
    if await generations.begin(tx, key, replaced=_to_text(ended) if ended else None):
        return None
    current = await generations.current_generation(tx, key.business_key)
    assert current is not None  # or the turn would have been free; upkeep does not delete turns
    process, _, generation = current.rpartition(" ")
    return Turn(process, generation)


def _to_text(turn: Turn) -> str:
    return f"{turn.process} {turn.generation}"
