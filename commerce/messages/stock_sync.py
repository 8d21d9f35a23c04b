"""What the job that sets stock to what the warehouse has is asked, and what it answers."""

from pydantic import Field

from commerce.messages.base import Message
from commerce.messages.jobs import Counts, JobInput, JobState


class SkuPage(Message):
    """So many SKUs behind one, to be compared with the warehouse, and how many levels to write at once."""

    after: str = ""
    limit: int
    batch: int


class StockSynced(Counts):
    """The result of `sync-inventory`: seen are SKUs, changed are levels, skipped SKUs that the warehouse lacks."""

    levels: int = 0  # that the warehouse told
    unknown_locations: int = 0  # levels at places that the shop does not have
    oversold: int = 0  # levels set below what is reserved for orders by this run


class SyncedPage(StockSynced):
    """What became of one page of SKUs; `next`: where the next page goes on, None: there is no more."""

    next: str | None = None


class SyncState(JobState):
    """Where `sync-inventory` goes on."""

    after: str = ""
    counts: StockSynced = StockSynced()


class SyncInventory(JobInput):
    """The input of `sync-inventory`."""

    page: int = Field(1_000, ge=1, le=1_000)  # SKUs asked for at once
    batch: int = Field(50, ge=1, le=1_000)  # levels in one transaction
    resume: SyncState | None = None  # set by the job itself when it goes on as a new run
