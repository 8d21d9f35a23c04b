"""What the job that works off pending orders is asked, and what it answers."""

from datetime import datetime

from pydantic import Field

from commerce.messages.base import Message
from commerce.messages.jobs import Counts, JobInput, JobState


class OrderPlace(Message):
    """An order's place among the pending ones, which are met in order of arrival."""

    created_at: datetime
    id: str


class PendingPage(Message):
    """Which pending orders to look up: so many behind a place."""

    after: OrderPlace | None = None
    limit: int


class PendingIds(Message):
    """Pending orders in order of arrival; `next`: where the next page goes on, None: there is no more."""

    order_ids: list[str]
    next: OrderPlace | None = None

    def summary(self) -> str:
        """Return how many were found."""
        return f"{len(self.order_ids)} pending"


class OrdersWorkedOff(Counts):
    """The result of `process-pending-orders`: changed are the fulfilled, skipped the refused and the joined ones."""

    insufficient_inventory: int = 0
    joined: int = 0  # a run was at work on it already
    still_running: int = 0  # not waited for any longer


class PendingState(JobState):
    """Where `process-pending-orders` goes on."""

    after: OrderPlace | None = None
    counts: OrdersWorkedOff = OrdersWorkedOff()


class PendingOrders(JobInput):
    """The input of `process-pending-orders`."""

    page: int = Field(200, ge=1, le=1_000)  # orders looked up at once
    at_once: int = Field(30, ge=1, le=200)  # orders in flight
    resume: PendingState | None = None  # set by the job itself when it goes on as a new run
