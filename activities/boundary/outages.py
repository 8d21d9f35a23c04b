"""Alert the admins once when a service is down that all steps of a kind need, and once when it works again."""

import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from temporalio import activity

from activities.boundary.failures import count_try, tries_so_far
from commerce.errors import CommerceError, TransientError
from commerce.mail.notifier import Notifier

ALL_ALIKE = 5  # processes in a row whose tries failed, without any answer in between: the service is down
ALERT_AFTER = 5  # tries of one step in a row at which the service was down: about eight seconds
RECHECK_AFTER = 600  # seconds for which a worker trusts what it knows of an outage: other workers report, too

log = structlog.stdlib.get_logger("commerce.outages")


class OutageAlerts:
    """Watches the steps of a worker that call a service."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._failing: defaultdict[str, set[str]] = defaultdict(set)  # by service: processes since its last answer
        self._known: dict[str, tuple[bool, float]] = {}  # by service: whether it is down, and when we last stored that

    @asynccontextmanager
    async def watch(self, service: str) -> AsyncIterator[None]:
        """Watch one try of a step that calls this service. An error of the alert itself never fails the step.

        An error about the item becomes one about the service when different processes in a row meet it: what fails
        every item alike must not use up the tries of each.
        """
        try:
            yield
        except TransientError as error:
            of_service = self._of_service(error, self._failing[service])
            if of_service.counts:
                await self._answered()
            elif of_service.service and count_try(of_service).outages >= ALERT_AFTER:
                await self._report(of_service.service, of_service)
            if of_service is not error:
                raise of_service from error
            raise
        except Exception:
            self._failing[service].clear()
            await self._answered()
            raise
        else:
            self._failing[service].clear()
            await self._answered()

    def _of_service(self, error: TransientError, failing: set[str]) -> TransientError:
        if error.counts and len(failing) < ALL_ALIKE:
            failing.add(activity.info().workflow_id or "")
        return error.for_all() if error.counts and len(failing) == ALL_ALIKE else error

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
