"""What each worker does besides its tasks, for whatever waits in the database.

It takes webhooks of shops, sends notifications that no run sends, delivers answers to steps, and looks up refunds that
are pending.
"""

import asyncio
from collections.abc import Awaitable, Mapping

import structlog
from temporalio.client import Client

from commerce.database import Database
from commerce.errors import CommerceError
from commerce.intake.deliveries import take_waiting
from commerce.integrations.alerts import AlertWebhook
from commerce.integrations.payment_provider import PaymentProvider
from commerce.integrations.payment_providers import open_providers
from commerce.mail.intake_alerts import alert_of_unusable
from commerce.mail.notifier import Notifier
from commerce.settings import Settings
from starter.operate.answers import deliver_answers
from starter.operate.pending_refunds import check_pending_refunds

INTERVAL = 10  # seconds

log = structlog.stdlib.get_logger("commerce.background")


async def work_in_background(settings: Settings, client: Client) -> None:
    """Work for the settings' shop, with connections of its own, until cancelled."""
    database = Database.of(settings, pool_size=1)
    webhook = AlertWebhook.of(settings)
    providers = open_providers(settings)
    try:
        await repeat_background_work(client, database, Notifier.of(settings, database, webhook), providers)
    finally:
        for provider in providers.values():
            await provider.close()
        if webhook:
            await webhook.close()
        await database.close()


async def repeat_background_work(
    client: Client,
    database: Database,
    notifier: Notifier,
    providers: Mapping[str, PaymentProvider],
    interval: float = INTERVAL,
) -> None:
    """Do all work that waits, again and again, until cancelled.

    Several workers may do so at once; whatever fails is tried again.
    """
    while True:
        await _try("webhooks of the shop wait", take_waiting(database))
        await _try("the alert about webhooks of the shop waits", alert_of_unusable(database, notifier))
        await _try("answers to steps wait", deliver_answers(client, database))
        await _try("notifications wait", notifier.send_left_behind())
        await _try("refunds are pending", check_pending_refunds(database, providers, notifier))
        await asyncio.sleep(interval)


async def _try(failure: str, work: Awaitable[object]) -> None:
    try:
        await work
    except Exception as error:  # no error may stop the worker: the next try may succeed
        log.warning(failure, error=type(error).__name__, exc_info=None if isinstance(error, CommerceError) else error)
