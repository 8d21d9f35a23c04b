"""The activities that count a day of the shop, for the first time or again."""

from collections.abc import Sequence
from datetime import timedelta
from zoneinfo import ZoneInfo

from temporalio import activity

from commerce import analytics, ledger
from commerce.database import Database
from commerce.messages.analytics import CountDay, CountedDay, RecountDay, RecountedDay
from commerce.messages.steps import Call


class AnalyticsActivities:
    """Count a day and queue its report, or count a day again that has changed."""

    def __init__(self, database: Database, zone: ZoneInfo, currency: str, admins: Sequence[str]) -> None:
        self._database = database
        self._zone = zone
        self._currency = currency
        self._admins = admins

    @activity.defn(name="collect-day")
    async def collect(self, call: Call[CountDay]) -> CountedDay:
        """Count the requested day, or the shop's calendar day before the scheduled time, and queue its report (J5)."""
        request = call.input
        day = request.day or request.nominal.astimezone(self._zone).date() - timedelta(days=1)
        async with self._database.transaction() as tx:

            async def count() -> CountedDay:
                counted = await analytics.count_day(tx, day, self._zone, self._currency, request.top)
                await analytics.queue_report(tx, counted, self._admins)
                return counted

            return await ledger.once(tx, call, CountedDay, count)

    @activity.defn(name="recount-day")
    async def recount(self, call: Call[RecountDay]) -> RecountedDay:
        """Count the first day again that late orders or refunds have changed; its report is not sent again (J7)."""
        async with self._database.transaction() as tx:

            async def count() -> RecountedDay:
                return RecountedDay(day=await analytics.recount_next(tx, self._zone, self._currency, call.input.top))

            return await ledger.once(tx, call, RecountedDay, count)
