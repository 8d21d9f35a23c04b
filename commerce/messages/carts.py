"""What a batch of the clean-up of carts is asked and answers."""

from pydantic import AwareDatetime, Field

from commerce.messages.base import Message
from commerce.messages.jobs import Counts, JobInput, JobState

MAX_BATCH = 5_000  # carts


class CartPlace(Message):
    """A cart's place among the open ones, which are met from the longest untouched on."""

    updated_at: AwareDatetime
    id: str


class Expiry(Message):
    """Which carts have expired, and how many of them to look at from which place on."""

    before: AwareDatetime  # without activity since
    after: CartPlace | None = None  # None: from the beginning
    limit: int = Field(default=1_000, ge=1, le=MAX_BATCH)


class Expired(Counts):
    """What became of one batch of open carts that were not touched themselves.

    Skipped: those with a line that was touched, and those in somebody else's hands.
    """

    next: CartPlace | None = None  # where the next batch goes on; None: there is no more

    def summary(self) -> str:
        """Return how many carts went."""
        return f"{self.changed:,} carts deleted"


class CartsExpired(Counts):
    """The result of `cleanup-expired-carts`: changed are the deleted ones."""


class CleanUpState(JobState):
    """Where `cleanup-expired-carts` goes on."""

    after: CartPlace | None = None
    counts: CartsExpired = CartsExpired()


class CleanUpCarts(JobInput):
    """The input of `cleanup-expired-carts`."""

    days: int = Field(7, ge=1, le=3_650)  # without activity
    batch: int = Field(1_000, ge=1, le=MAX_BATCH)  # carts in one transaction
    resume: CleanUpState | None = None  # set by the job itself when it goes on as a new run
