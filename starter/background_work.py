"""What each worker does besides its tasks: relay events, publish gauges, and work off what waits in the database.

What waits: webhooks of shops to take, notifications that no run sends, answers to deliver to steps, and pending refunds
to look up.
"""

import asyncio
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from typing import Any

import structlog
from temporalio.client import Client
from temporalio.common import MetricMeter

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
from starter.operate.gauges import publish_gauges
from starter.operate.pending_refunds import check_pending_refunds
from starter.subscribers import Subscriber, create_relay
from starter.telemetry.metrics import event_counter, zero_counters

INTERVAL = 10  # seconds

log = structlog.stdlib.get_logger("commerce.background")


def background_tasks(
    settings: Settings, client: Client, meter: MetricMeter, subscribers: Mapping[str, Sequence[Subscriber]]
) -> list[Coroutine[Any, Any, Any]]:
    """Return what a worker does besides its tasks.

    It relays events, works off what waits in the database and, if metrics are on, publishes gauges.
    """
    # The relay holds a lock and listens for notifications on its connection, which a pooler would give to others.
    url = settings.direct_database_url or settings.database_url
    relay = create_relay(client, url.get_secret_value(), subscribers, on_published=event_counter(meter))
    always = [relay.run(), work_in_background(settings, client)]
    if not settings.metrics_address:
        return always
    zero_counters(meter, client.namespace)

    async def connected() -> Client:
        return client

    return [*always, publish_gauges(settings, connected, meter)]


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
