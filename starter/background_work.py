"""What each worker does besides its tasks, for whatever waits in the database.

It takes webhooks of shops, sends notifications that no run sends, and delivers answers to steps.
"""

import asyncio
from collections.abc import Awaitable

import structlog
from temporalio.client import Client

from commerce.database import Database
from commerce.errors import CommerceError
from commerce.intake.deliveries import take_waiting
from commerce.integrations.alerts import AlertWebhook
from commerce.mail.intake_alerts import alert_of_unusable
from commerce.mail.notifier import Notifier
from commerce.settings import Settings
from starter.operate.answers import deliver_answers

INTERVAL = 10  # seconds

log = structlog.stdlib.get_logger("commerce.background")


async def work_in_background(settings: Settings, client: Client) -> None:
    """Work for the settings' shop, with connections of its own, until cancelled."""
    database = Database.of(settings, pool_size=1)
    webhook = AlertWebhook.of(settings)
    try:
        await repeat_background_work(client, database, Notifier.of(settings, database, webhook))
    finally:
        if webhook:
            await webhook.close()
        await database.close()


async def repeat_background_work(
    client: Client, database: Database, notifier: Notifier, interval: float = INTERVAL
) -> None:
    """Do all work that waits, again and again, until cancelled.

    Several workers may do so at once; whatever fails is tried again.
    """
    while True:
        await _try("webhooks of the shop wait", take_waiting(database))
        await _try("the alert about webhooks of the shop waits", alert_of_unusable(database, notifier))
        await _try("answers to steps wait", deliver_answers(client, database))
        await _try("notifications wait", notifier.send_left_behind())
        await asyncio.sleep(interval)


async def _try(failure: str, work: Awaitable[object]) -> None:
    try:
        await work
    except Exception as error:  # no error may stop the worker: the next try may succeed
        log.warning(failure, error=type(error).__name__, exc_info=None if isinstance(error, CommerceError) else error)
