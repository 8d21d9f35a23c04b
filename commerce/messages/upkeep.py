"""What the job that throws away old records is asked, and what it answers."""

from datetime import datetime

from pydantic import Field

from commerce.messages.base import Message
from commerce.messages.jobs import Counts, JobInput, JobState


class Prune(Message):
    """Which records to throw away: those older than their retention at this time, so many at once."""

    now: datetime
    limit: int
    after: str = ""  # where the last batch ended, for records that are met in order


class Pruned(Counts):
    """What one batch threw away; `next`: where the next batch goes on, None: there is no more."""

    next: str | None = None


class UpkeepResult(Counts):
    """The result of `upkeep`: changed are the records thrown away, keys of the ledger among them."""


class UpkeepState(JobState):
    """Where `upkeep` goes on: with which kind of record, and behind which place."""

    kind: int = 0
    after: str = ""
    counts: UpkeepResult = UpkeepResult()


class Upkeep(JobInput):
    """The input of `upkeep`."""

    batch: int = Field(2_000, ge=1, le=10_000)  # records, or keys of the step ledger, in one transaction
    resume: UpkeepState | None = None  # set by the job itself when it goes on as a new run
