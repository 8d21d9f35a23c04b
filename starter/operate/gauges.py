"""Gauges for Prometheus, updated every few seconds: whether database and Temporal answer, and the backlog."""

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
from commerce.settings import Settings
from commerce.telemetry import metrics
from commerce.telemetry.metrics import Metric
from starter.connection.rpc import FORBIDDEN, KEY
from starter.operate.process_list import count_stuck_runs
from starter.operate.worker_presence import is_worker_polling
from starter.processes import TASK_QUEUE
from starter.telemetry.metrics import create_gauge

INTERVAL_SECONDS = 15.0  # Prometheus usually scrapes as often
TIMEOUT_SECONDS = 5.0
EXPECTED_ERRORS = (CommerceError, RPCError, TimeoutError)  # logged without a stack trace
UNKNOWN = Backlog(*[nan] * len(Backlog._fields))

T = TypeVar("T")

log = structlog.stdlib.get_logger("commerce.backlog")


class Gauges:
    """Measures the shop and sets the gauges; a value that cannot be measured is NaN, which triggers no alert."""

    def __init__(self, meter: MetricMeter, database: Database, client: Callable[[], Awaitable[Client]]) -> None:
        """Create the gauges; `client` returns the client of Temporal, and connects first if necessary."""
        self._gauges = {metric: create_gauge(meter, metric) for metric in metrics.GAUGES}
        self._database, self._client = database, client
        self._failing: set[str] = set()

    async def run(self) -> NoReturn:
        """Update the gauges forever, even while database or Temporal is unreachable."""
        while True:
            await self.update()
            await asyncio.sleep(INTERVAL_SECONDS)

    async def update(self) -> None:
        """Update all gauges once, within a few seconds."""
        await asyncio.gather(self._update_shop(), self._update_temporal())

    async def _update_shop(self) -> None:
        is_up = await self._try("the database", self._ping())
        found = (await self._try("the shop's tables", self._backlog()) if is_up else None) or UNKNOWN
        self._set(metrics.DATABASE_UP, is_up is not None)
        self._set(metrics.PENDING_ORDERS, found.pending_orders)
        self._set(metrics.OLDEST_PENDING, found.oldest_pending_order_age)
        self._set(metrics.HELD_ORDERS, found.held_orders)
        self._set(metrics.WAITING_FOR_PRODUCT, found.orders_waiting_for_product)
        self._set(metrics.OPEN_WAITS, found.open_waits)
        self._set(metrics.OLDEST_WAIT, found.oldest_wait_age)
        self._set(metrics.LATE_WAITS, found.late_waits)
        self._set(metrics.OUTBOX_EVENTS, found.outbox_events)
        self._set(metrics.OUTBOX_LAG, found.outbox_lag)
        self._set(metrics.UNSENT_NOTIFICATIONS, found.queued_notifications, status="queued")
        self._set(metrics.UNSENT_NOTIFICATIONS, found.failed_notifications, status="failed")

    async def _update_temporal(self) -> None:
        polling = await self._try("Temporal", self._is_worker_polling())
        stuck_runs = None if polling is None else await self._try("Temporal's list of runs", self._stuck_runs())
        self._set(metrics.TEMPORAL_UP, polling is not None)
        self._set(metrics.WORKER_POLLING, nan if polling is None else polling)
        self._set(metrics.STUCK_RUNS, nan if stuck_runs is None else stuck_runs)

    async def _ping(self) -> bool:
        await self._database.ping()
        return True

    async def _backlog(self) -> Backlog:
        async with self._database.transaction() as tx:
            return await backlog.measure(tx)

    async def _is_worker_polling(self) -> bool:
        return await is_worker_polling(await self._client(), TASK_QUEUE)

    async def _stuck_runs(self) -> int:
        return await count_stuck_runs(await self._client())

    async def _try(self, source: str, measurement: Awaitable[T]) -> T | None:
        """Return the measurement, or None if it fails or times out; log when a source fails and when it recovers."""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                answer = await measurement
        except Exception as error:  # no error may stop the gauges: the next update may succeed
            if source not in self._failing:
                trace = None if isinstance(error, EXPECTED_ERRORS) else error
                log.warning(f"{source} does not answer", error=_name(error), exc_info=trace)
                self._failing.add(source)
            return None
        if source in self._failing:
            log.info(f"{source} answers again")
            self._failing.remove(source)
        return answer

    def _set(self, metric: Metric, value: float, **labels: str) -> None:
        self._gauges[metric].set(float(value), labels)


async def publish_gauges(settings: Settings, client: Callable[[], Awaitable[Client]], meter: MetricMeter) -> NoReturn:
    """Update the gauges until cancelled, over a separate connection to the settings' database.

    A shared pool could be exhausted, and the database would look unreachable.
    """
    database = Database.of(settings, pool_size=1)
    try:
        await Gauges(meter, database, client).run()
    finally:
        await database.close()


def _name(error: Exception) -> str:
    """Return the type of an error, and which setting to check if Temporal refuses our calls."""
    refused = isinstance(error, RPCError) and error.status in FORBIDDEN
    return f"{type(error).__name__}: check the permissions of {KEY}" if refused else type(error).__name__
