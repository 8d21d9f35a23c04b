"""Inputs and results of `process-pending-orders` and its steps."""

from datetime import date, datetime

from pydantic import Field

from commerce.messages.base import Message
from commerce.messages.jobs import Counts, JobInput, JobState


class OrderCursor(Message):
    """An order's position among the pending orders, sorted by creation time."""

    created_at: datetime
    id: str


class PendingPageRequest(Message):
    """The next `limit` pending orders after a position."""

    after: OrderCursor | None = None
    limit: int


class PendingIds(Message):
    """One page of pending orders, oldest first. `next`: where the next page continues; None: this was the last one.

    The first page has the number of orders that wait for products, and the shop's calendar day.
    """

    order_ids: list[str]
    next: OrderCursor | None = None
    waiting_for_product: int = 0
    day: date | None = None

    def summary(self) -> str:
        """Return the number of orders on the page."""
        return f"{len(self.order_ids)} pending"


class PendingOrdersResult(Counts):
    """The result of `process-pending-orders`: `changed` counts fulfilled orders, `skipped` refused and joined ones."""

    insufficient_inventory: int = 0
    waiting_for_product: int = 0  # when the job began; the job does not start these, so `seen` has none of them
    joined: int = 0  # another run was already processing the order
    still_running: int = 0  # the job stopped waiting for the order


class PendingState(JobState):
    """Where `process-pending-orders` continues in a new run."""

    after: OrderCursor | None = None
    counts: PendingOrdersResult = PendingOrdersResult()


class PendingOrders(JobInput):
    """The input of `process-pending-orders`."""

    page: int = Field(200, ge=1, le=1_000)  # orders read in one step
    at_once: int = Field(30, ge=1, le=200)  # orders processed at the same time
    resume: PendingState | None = None  # set by the job itself when it continues in a new run
