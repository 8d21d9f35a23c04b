"""Alert the admins once when a service is down that all steps of a kind need, and once when it works again."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from activities.boundary.failures import count_try, tries_so_far
from commerce.errors import CommerceError, TransientError
from commerce.mail.notifier import Notifier

ALERT_AFTER = 5  # tries of one step in a row at which the service was down: about eight seconds
RECHECK_AFTER = 600  # seconds for which a worker trusts what it knows of an outage: other workers report, too

log = structlog.stdlib.get_logger("commerce.outages")


class OutageAlerts:
    """Watches the steps of a worker that call a service."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._known: dict[str, tuple[bool, float]] = {}  # by service: whether it is down, and when we last stored that

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[None]:
        """Watch one try of a step. An error of the alert itself never fails the step."""
        try:
            yield
        except Exception as error:
            if not isinstance(error, TransientError) or error.counts:
                await self._answered()
            elif error.service and count_try(error).outages >= ALERT_AFTER:
                await self._report(error.service, error)
            raise
        else:
            await self._answered()

    async def _answered(self) -> None:
        """Report that the service works again, if this step has waited for it."""
        tries = tries_so_far()
        if tries.outages >= ALERT_AFTER:
            await self._report(tries.service, None)

    async def _report(self, service: str, error: TransientError | None) -> None:
        down, stored_at = self._known.get(service, (None, 0.0))
        if down == (error is not None) and time.monotonic() < stored_at + RECHECK_AFTER:
            return
        try:
            if error is not None:
                await self._notifier.report_outage(service, f"{type(error).__name__}: {error}")
            else:
                await self._notifier.report_recovery(service)
        except (CommerceError, TimeoutError) as failure:
            log.warning("the outage alert was not sent", service=service, error=type(failure).__name__)
        else:
            self._known[service] = error is not None, time.monotonic()
