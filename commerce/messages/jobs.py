"""The input, counts and state that all jobs share (J1)."""

from datetime import datetime
from typing import Self

from pydantic import Field

from commerce.messages.base import Message, ProcessInput

MAX_FAILURES = 100  # listed in a result; all are counted


class ItemFailure(Message):
    """One item that a job could not process, and a short reason without personal data."""

    id: str
    reason: str


class Counts(Message):
    """Items seen, changed, skipped and failed, with the first failures."""

    seen: int = 0
    changed: int = 0
    skipped: int = 0
    failed: int = 0
    failures: list[ItemFailure] = Field(default=[], max_length=MAX_FAILURES)

    def summary(self) -> str:
        """Return the job's counts so far."""
        shown = ("seen", "changed", "skipped", "failed")
        return ", ".join(f"{getattr(self, name):,} {name}" for name in shown)

    def plus(self, batch: "Counts") -> Self:
        """Return the sum of these counts and a batch's; the batch may have fewer fields than this model."""
        added = {
            name: value + getattr(self, name) for name, value in batch if name in type(self).model_fields and value
        }
        if "failures" in added:
            added["failures"] = (self.failures + batch.failures)[:MAX_FAILURES]
        return self.model_copy(update=added)


class JobRun(Message):
    """The state that a job hands on when it continues as new."""

    generation: str  # of the first Temporal run
    nominal: datetime  # the time the schedule set for it
    batches: int = 0
    errors: int = 0


class JobState(Message):
    """Where a job resumes when it continues as a new run; each job adds its position."""

    run: JobRun
    counts: Counts


class JobInput(ProcessInput):
    """The options of a job."""
