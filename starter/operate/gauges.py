"""Shows every few seconds how the shop stands: whether database and Temporal answer, and what waits in them."""

import asyncio
from collections.abc import Awaitable, Callable
from math import nan
from typing import NoReturn, TypeVar

import structlog
from temporalio.client import Client
from temporalio.common import MetricMeter
from temporalio.service import RPCError

from commerce import backlog
from commerce.backlog import Backlog
from commerce.database import Database
from commerce.errors import CommerceError
from commerce.telemetry import metrics
from commerce.telemetry.metrics import Metric
from starter.operate.monitor import count_stuck_runs
from starter.operate.worker_presence import is_worker_polling
from starter.processes import TASK_QUEUE
from starter.telemetry.metrics import create_gauge

EVERY = 15.0  # seconds; as often as Prometheus usually asks
ANSWER_SECONDS = 5.0
EXPECTED = (CommerceError, RPCError, TimeoutError)
UNKNOWN = Backlog(*[nan] * len(Backlog._fields))

T = TypeVar("T")

log = structlog.stdlib.get_logger("commerce.backlog")


class Gauges:
    """Looks, and shows what it saw as gauges; what cannot be seen is NaN, which no alert takes for a number."""

    def __init__(self, meter: MetricMeter, database: Database, client: Callable[[], Awaitable[Client]]) -> None:
        """Take where to show it, and what is looked at; `client` connects to Temporal when that is not done yet."""
        self._gauges = {metric: create_gauge(meter, metric) for metric in metrics.GAUGES}
        self._database, self._client = database, client
        self._missing: set[str] = set()

    async def run(self) -> NoReturn:
        """Look again and again, whatever is away."""
        while True:
            await self.look()
            await asyncio.sleep(EVERY)

    async def look(self) -> None:
        """Look once; it takes no longer than seconds."""
        await asyncio.gather(self._look_at_shop(), self._look_at_temporal())

    async def _look_at_shop(self) -> None:
        there = await self._ask("the database", self._pinged())
        shop = (await self._ask("the shop's tables", self._shop()) if there else None) or UNKNOWN
        self._show(metrics.DATABASE_UP, there is not None)
        self._show(metrics.PENDING_ORDERS, shop.pending_orders)
        self._show(metrics.OLDEST_PENDING, shop.oldest_pending_order_age)
        self._show(metrics.HELD_ORDERS, shop.held_orders)
        self._show(metrics.OUTBOX_EVENTS, shop.outbox_events)
        self._show(metrics.OUTBOX_LAG, shop.outbox_lag)
        self._show(metrics.UNSENT_NOTIFICATIONS, shop.queued_notifications, status="queued")
        self._show(metrics.UNSENT_NOTIFICATIONS, shop.failed_notifications, status="failed")

    async def _look_at_temporal(self) -> None:
        at_work = await self._ask("Temporal", self._polled())
        stuck_runs = None if at_work is None else await self._ask("Temporal's list of runs", self._stuck())
        self._show(metrics.TEMPORAL_UP, at_work is not None)
        self._show(metrics.WORKER_POLLING, nan if at_work is None else at_work)
        self._show(metrics.STUCK_RUNS, nan if stuck_runs is None else stuck_runs)

    async def _pinged(self) -> bool:
        await self._database.ping()
        return True

    async def _shop(self) -> Backlog:
        async with self._database.transaction() as tx:
            return await backlog.measure(tx)

    async def _polled(self) -> bool:
        return await is_worker_polling(await self._client(), TASK_QUEUE)

    async def _stuck(self) -> int:
        return await count_stuck_runs(await self._client())

    async def _ask(self, whom: str, question: Awaitable[T]) -> T | None:
        """Return the answer; None when there is none in time, which is told once."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await question
        except Exception as error:  # whatever it is, work goes on, and the next look may be better
            if whom not in self._missing:
                trace = None if isinstance(error, EXPECTED) else error
                log.warning(f"{whom} does not answer", error=type(error).__name__, exc_info=trace)
                self._missing.add(whom)
            return None
        if whom in self._missing:
            log.info(f"{whom} answers again")
            self._missing.remove(whom)
        return answer

    def _show(self, metric: Metric, value: float, **labels: str) -> None:
        self._gauges[metric].set(float(value), labels)


async def publish_gauges(url: str, client: Callable[[], Awaitable[Client]], meter: MetricMeter) -> NoReturn:
    """Show how the shop stands by a connection of its own to the database at this URL, until cancelled.

    It waits for none that others use: a busy pool is no database that is away.
    """
    database = Database(url, pool_size=1)
    try:
        await Gauges(meter, database, client).run()
    finally:
        await database.close()
