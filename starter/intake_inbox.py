"""What a worker does for the webhooks of shops: take those that wait, and alert the admins of unusable ones."""

import asyncio
from collections.abc import Awaitable

import structlog

from commerce.database import Database
from commerce.errors import CommerceError
from commerce.intake.deliveries import take_waiting
from commerce.mail.intake_alerts import alert_of_unusable
from commerce.mail.notifier import Notifier

INTERVAL = 10  # seconds

log = structlog.stdlib.get_logger("commerce.intake")


async def watch_intake(database: Database, notifier: Notifier, interval: float = INTERVAL) -> None:
    """Look for such webhooks until cancelled. Several workers may do so; whatever fails is tried again."""
    while True:
        await _try("webhooks of the shop wait", take_waiting(database))
        await _try("the alert about webhooks of the shop waits", alert_of_unusable(database, notifier))
        await asyncio.sleep(interval)


async def _try(failure: str, work: Awaitable[object]) -> None:
    try:
        await work
    except Exception as error:  # no error may stop the worker: the next try may succeed
        log.warning(failure, error=type(error).__name__, exc_info=None if isinstance(error, CommerceError) else error)
