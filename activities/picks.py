"""The step that lets the warehouse pick an order, its undo, and the step that writes off what was not found."""

from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession
from temporalio import activity

from activities.boundary.outages import OutageAlerts
from commerce import ledger, orders, picks, short_picks
from commerce.database import Database
from commerce.errors import WarehouseDown
from commerce.external_steps import ExternalEffect
from commerce.integrations.picking import Picking
from commerce.messages.base import Message, Nothing
from commerce.messages.picks import STEP, PickRequest, RecordedShortPick, ShortPick
from commerce.messages.steps import Call
from commerce.messages.waits import WaitKey
from commerce.picks import Pick

LEASE = timedelta(seconds=25)  # shorter than the start-to-close timeout of the step
MAX_DELAY = timedelta(seconds=30)  # the warehouse may still take a request for this long after we stopped waiting


class PickActivities:
    """Ask the warehouse to pick orders.

    `ships_parts`: whether what was found ships if a pick is short. `outages` alerts the admins when the warehouse is
    down.
    """

    def __init__(
        self,
        database: Database,
        picking: Picking,
        outages: OutageAlerts | None = None,
        *,
        ships_parts: bool = False,
    ) -> None:
        self._database = database
        self._outages = outages
        self._ships_parts = ships_parts
        self._picks = _Picks(database, picking)

    @activity.defn(name=STEP)
    async def request(self, call: Call[PickRequest]) -> Nothing:
        """Ask the warehouse to pick the goods of each fulfillment, once per wait (K1)."""
        async with self._database.transaction() as tx:  # before the warehouse can answer
            await picks.open_picks(tx, WaitKey.of(call.key), call.input.fulfillment_ids)
        async with self._watched():
            return await self._picks.do(call)

    @activity.defn(name="withdraw-pick")
    async def withdraw(self, call: Call[PickRequest]) -> Nothing:
        """Withdraw the picks at the warehouse, which puts back what it has picked (K4)."""
        async with self._watched():
            return await self._picks.undo(call)

    @activity.defn(name="record-short-pick")
    async def record_short(self, call: Call[ShortPick]) -> RecordedShortPick:
        """Write off what the warehouse has not found, and decide whether the rest ships (K3)."""
        async with self._database.transaction() as tx:
            return await ledger.once(
                tx,
                call,
                RecordedShortPick,
                lambda: short_picks.record(tx, call.input, ships_parts=self._ships_parts),
            )

    def _watched(self) -> AbstractAsyncContextManager[None]:
        return self._outages.watch(WarehouseDown.service) if self._outages else nullcontext()


class _PickNote(Message):
    """The ledger's note of picks: their ids at the warehouse. What they ask for is in their rows.

    `replaced`: the ids of the picks of earlier rounds, which are withdrawn first.
    """

    pick_ids: list[str]
    replaced: list[str]


@dataclass(frozen=True)
class _Plan:
    picks: list[Pick]
    replaced: list[str]


class _Picks(ExternalEffect[PickRequest, _Plan, _PickNote, Nothing]):
    def __init__(self, database: Database, picking: Picking) -> None:
        super().__init__(database, note=_PickNote, result=Nothing, lease=LEASE, max_delay=MAX_DELAY)
        self._picking = picking

    async def read(self, tx: AsyncSession, request: PickRequest) -> _Plan:
        """Return the picks, unless the order has changed."""
        await orders.raise_if_changed(tx, request)
        newest = await picks.newest(tx, request.fulfillment_ids)
        return _Plan(newest, await picks.replaced(tx, request.fulfillment_ids, [pick.id for pick in newest]))

    async def prepare(self, plan: _Plan, reference: str) -> _PickNote:
        """Note the ids, which the shop has given."""
        return _PickNote(pick_ids=[pick.id for pick in plan.picks], replaced=plan.replaced)

    async def perform(self, note: _PickNote) -> Nothing:
        """Ask for the picks that are not answered or withdrawn; the warehouse takes each id once."""
        await self._withdraw(note.replaced)
        async with self._database.transaction() as tx:
            open_picks = await picks.load_open(tx, note.pick_ids)
        for pick in open_picks:
            await self._picking.request(pick)
        return Nothing()

    async def take_back(self, note: _PickNote) -> bool:
        """Withdraw the picks here, so that no answer counts, and then at the warehouse."""
        return await self._withdraw(note.pick_ids)

    async def _withdraw(self, pick_ids: list[str]) -> bool:
        """Withdraw picks; return whether the warehouse knows all of them."""
        async with self._database.transaction() as tx:
            await picks.withdraw(tx, pick_ids)
        return all([await self._picking.cancel(pick_id) for pick_id in pick_ids])
