"""What a worker does for what came in from outside and waits: webhooks of shops, and answers to steps."""

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

log = structlog.stdlib.get_logger("commerce.intake")


async def watch_inbox(settings: Settings, client: Client) -> None:
    """Do so for the settings' shop, with connections of its own, until cancelled."""
    database = Database.of(settings, pool_size=1)
    webhook = AlertWebhook.of(settings)
    try:
        await watch_intake(client, database, Notifier.of(settings, database, webhook))
    finally:
        if webhook:
            await webhook.close()
        await database.close()


async def watch_intake(client: Client, database: Database, notifier: Notifier, interval: float = INTERVAL) -> None:
    """Take waiting webhooks, alert the admins of unusable ones, and deliver answers, until cancelled.

    Several workers may do so; whatever fails is tried again.
    """
    while True:
        await _try("webhooks of the shop wait", take_waiting(database))
        await _try("the alert about webhooks of the shop waits", alert_of_unusable(database, notifier))
        await _try("answers to steps wait", deliver_answers(client, database))
        await asyncio.sleep(interval)


async def _try(failure: str, work: Awaitable[object]) -> None:
    try:
        await work
    except Exception as error:  # no error may stop the worker: the next try may succeed
        log.warning(failure, error=type(error).__name__, exc_info=None if isinstance(error, CommerceError) else error)
