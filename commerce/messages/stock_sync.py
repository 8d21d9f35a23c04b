"""Messages of the job `sync-inventory`, which sets stock to the warehouse's levels."""

from pydantic import Field

from commerce.messages.base import Message
from commerce.messages.jobs import Counts, JobInput, JobState


class SkuPage(Message):
    """A page of SKUs to compare with the warehouse: at most `limit` after the SKU `after`, written in batches."""

    after: str = ""
    limit: int
    batch: int


class StockSynced(Counts):
    """The result of `sync-inventory`: seen are SKUs, changed are levels, skipped are SKUs unknown to the warehouse."""

    levels: int = 0  # that the warehouse returned
    unknown_locations: int = 0  # levels at locations that the shop does not have
    oversold: int = 0  # levels that this run set below the reserved quantity


class SyncedPage(StockSynced):
    """The result of one page; `next` is the last SKU of the page, None: there are no more pages."""

    next: str | None = None


class SyncState(JobState):
    """The state with which `sync-inventory` continues as new."""

    after: str = ""
    counts: StockSynced = StockSynced()


class SyncInventory(JobInput):
    """The input of `sync-inventory`."""

    page: int = Field(1_000, ge=1, le=1_000)  # SKUs per request to the warehouse
    batch: int = Field(50, ge=1, le=1_000)  # levels per transaction
    resume: SyncState | None = None  # set by the job itself when it continues as new
