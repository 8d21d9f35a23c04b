"""Messages of the job `upkeep`, which deletes old records."""

from datetime import datetime

from pydantic import Field

from commerce.messages.base import Message
from commerce.messages.jobs import Counts, JobInput, JobState


class Prune(Message):
    """A batch of records to delete: at most `limit` whose retention had ended at `now`."""

    now: datetime
    limit: int
    after: str = ""  # where the previous batch ended, for records that may have to stay


class Pruned(Counts):
    """The result of one batch; `next` is its last key, None: there are no more records."""

    next: str | None = None


class UpkeepResult(Counts):
    """The result of `upkeep`: changed are the deleted records; for the ledger, deleted business keys."""


class UpkeepState(JobState):
    """The state with which `upkeep` continues as new: the kind of record, and the last key done."""

    kind: int = 0
    after: str = ""
    counts: UpkeepResult = UpkeepResult()


class Upkeep(JobInput):
    """The input of `upkeep`."""

    batch: int = Field(2_000, ge=1, le=10_000)  # records, or business keys of the ledger, per transaction
    resume: UpkeepState | None = None  # set by the job itself when it continues as new
