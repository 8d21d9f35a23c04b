"""The step that lets the warehouse pick an order, its undo, and the step that writes off what was not found."""

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession
from temporalio import activity

from commerce import ledger, orders, picks, short_picks
from commerce.database import Database
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
    """Ask the warehouse to pick orders. `ships_parts`: whether what was found ships if a pick is short."""

    def __init__(self, database: Database, picking: Picking, *, ships_parts: bool = False) -> None:
        self._database = database
        self._ships_parts = ships_parts
        self._picks = _Picks(database, picking)

    @activity.defn(name=STEP)
    async def request(self, call: Call[PickRequest]) -> Nothing:
        """Ask the warehouse to pick the goods of each fulfillment, once per wait (K1)."""
        async with self._database.transaction() as tx:  # before the warehouse can answer
            await picks.open_picks(tx, WaitKey.of(call.key), call.input.fulfillment_ids)
        return await self._picks.do(call)

    @activity.defn(name="withdraw-pick")
    async def withdraw(self, call: Call[PickRequest]) -> Nothing:
        """Withdraw the picks at the warehouse, which puts back what it has picked (K4)."""
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


class _PickNote(Message):
    """The ledger's note of picks: their ids at the warehouse. What they ask for is in their rows."""

    pick_ids: list[str]


class _Picks(ExternalEffect[PickRequest, list[Pick], _PickNote, Nothing]):
    def __init__(self, database: Database, picking: Picking) -> None:
        super().__init__(database, note=_PickNote, result=Nothing, lease=LEASE, max_delay=MAX_DELAY)
        self._picking = picking

    async def read(self, tx: AsyncSession, request: PickRequest) -> list[Pick]:
        """Return the picks, unless the order has changed."""
        await orders.raise_if_changed(tx, request)
        return await picks.newest(tx, request.fulfillment_ids)

    async def prepare(self, plan: list[Pick], reference: str) -> _PickNote:
        """Note the ids, which the shop has given."""
        return _PickNote(pick_ids=[pick.id for pick in plan])

    async def perform(self, note: _PickNote) -> Nothing:
        """Ask for the picks that are not answered or withdrawn; the warehouse takes each id once."""
        async with self._database.transaction() as tx:
            open_picks = await picks.load_open(tx, note.pick_ids)
        for pick in open_picks:
            await self._picking.request(pick)
        return Nothing()

    async def take_back(self, note: _PickNote) -> bool:
        """Withdraw the picks here, so that no answer counts, and then at the warehouse."""
        async with self._database.transaction() as tx:
            await picks.withdraw(tx, note.pick_ids)
        known = [await self._picking.cancel(pick_id) for pick_id in note.pick_ids]
        return all(known)
