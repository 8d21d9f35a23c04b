"""What every scheduled job is asked, counts and answers (J1)."""

from datetime import datetime
from typing import Self

from pydantic import Field

from commerce.messages.base import Message, ProcessInput

MAX_FAILURES = 100  # told in a result; all are counted


class ItemFailure(Message):
    """One item that a job could not handle, and why: a short text, nothing personal."""

    id: str
    reason: str


class Counts(Message):
    """Items seen, changed, skipped and failed, with the first failures."""

    seen: int = 0
    changed: int = 0
    skipped: int = 0
    failed: int = 0
    failures: list[ItemFailure] = Field(default=[], max_length=MAX_FAILURES)

    def note(self) -> str:
        """Return how far the job has come."""
        shown = ("seen", "changed", "skipped", "failed")
        return ", ".join(f"{getattr(self, name):,} {name}" for name in shown)

    def plus(self, batch: "Counts") -> Self:
        """Return these counts with those of one more batch, which may count less than this model does."""
        added = {
            name: value + getattr(self, name) for name, value in batch if name in type(self).model_fields and value
        }
        if "failures" in added:
            added["failures"] = (self.failures + batch.failures)[:MAX_FAILURES]
        return self.model_copy(update=added)


class JobRun(Message):
    """One run of a job, over however many runs of Temporal's it goes on: what the next one has to know."""

    generation: str  # of the first one
    nominal: datetime  # when it was to run, by its schedule
    batches: int = 0
    errors: int = 0


class JobState(Message):
    """Where a job resumes when it continues as a new run; each job adds its position."""

    run: JobRun
    counts: Counts


class JobInput(ProcessInput):
    """The options of a job."""
