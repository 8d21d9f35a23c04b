"""Inputs and results of `cleanup-expired-carts` and its batches."""

from pydantic import AwareDatetime, Field

from commerce.messages.base import Message, count_of
from commerce.messages.jobs import Counts, JobInput, JobState

MAX_BATCH = 5_000  # carts


class CartCursor(Message):
    """A cart's position among the open carts, sorted by their last activity, oldest first."""

    updated_at: AwareDatetime
    id: str


class ExpiryRequest(Message):
    """One batch of open carts to check."""

    before: AwareDatetime  # carts without activity since then have expired
    after: CartCursor | None = None  # None: start with the first one
    limit: int = Field(default=1_000, ge=1, le=MAX_BATCH)


class ExpiryResult(Counts):
    """The result of one batch of open carts whose own `updated_at` is old enough.

    Skipped: carts with a newer line, and carts that another transaction has locked.
    """

    next: CartCursor | None = None  # where the next batch continues; None: this was the last one

    def summary(self) -> str:
        """Return the number of deleted carts."""
        return f"{count_of(self.changed, 'cart')} deleted"


class CartsExpired(Counts):
    """The result of `cleanup-expired-carts`; `changed` counts deleted carts."""


class CleanUpState(JobState):
    """Where `cleanup-expired-carts` continues in a new run."""

    after: CartCursor | None = None
    counts: CartsExpired = CartsExpired()


class CleanUpCarts(JobInput):
    """The input of `cleanup-expired-carts`."""

    days: int = Field(7, ge=1, le=3_650)  # without activity
    batch: int = Field(1_000, ge=1, le=MAX_BATCH)  # carts in one transaction
    resume: CleanUpState | None = None  # set by the job itself when it continues in a new run
