"""The one worker process: runs every process and every step, and stops without leaving anything half-done."""

import asyncio
import inspect
import logging
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import structlog
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.runtime import LogForwardingConfig, LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter
from temporalio.worker import Interceptor, PollerBehaviorAutoscaling, Worker

from activities.fulfillment import FulfillmentActivities
from activities.inventory import InventoryActivities
from activities.notifications import NotificationActivities
from activities.orders import OrderActivities
from commerce import logs
from commerce.database import Database
from commerce.errors import DatabaseUnavailable, Unreachable
from commerce.integrations.alerts import AlertWebhook
from commerce.integrations.carrier import Address, Carrier, Parcel
from commerce.integrations.email import Mail
from commerce.notifications import Notifier
from commerce.settings import Settings, SettingsError, load_environment, load_settings
from starter.client import TASK_QUEUE, connect
from starter.process import end
from workflows.order_processing import OrderProcessingWorkflow

GRACEFUL = timedelta(seconds=20)  # what steps under way get to end well
HARD_EXIT = 28  # seconds after the signal the process is gone whatever happens
WORKFLOWS: Sequence[type] = (OrderProcessingWorkflow,)

log = structlog.stdlib.get_logger("commerce.worker")


@asynccontextmanager
async def wired(settings: Settings) -> AsyncIterator[list[Callable[..., Any]]]:
    """Give every step what it needs, for as long as the block lasts; raises DatabaseUnavailable at once."""
    database = Database(settings.database_url.get_secret_value(), pool_size=settings.worker_activities + 2)
    carrier = carrier_for(settings)
    webhook = AlertWebhook(settings.alert_webhook_url) if settings.alert_webhook_url else None
    try:
        mail = Mail(settings.smtp_url, settings.mail_from)
    except ValueError as error:
        raise SettingsError(f"COMMERCE_SMTP_URL or COMMERCE_MAIL_FROM: {error}") from None
    notifier = Notifier(database, mail, admins=settings.admin_emails, webhook=webhook)
    try:
        await database.ping()
        yield steps_of(
            OrderActivities(database, settings.zone),
            InventoryActivities(database),
            FulfillmentActivities(database, carrier),
            NotificationActivities(notifier),
        )
    finally:
        await carrier.close()
        if webhook:
            await webhook.close()
        await database.close()


def steps_of(*nouns: object) -> list[Callable[..., Any]]:
    """Return every activity of these objects."""
    methods = [method for noun in nouns for _, method in inspect.getmembers(noun, inspect.ismethod)]
    return [method for method in methods if hasattr(method, "__temporal_activity_definition")]


def make_worker(
    client: Client, steps: Sequence[Callable[..., Any]], settings: Settings, interceptors: Sequence[Interceptor] = ()
) -> Worker:
    """Make the worker of our one task queue; the client's plugin brings sandbox, converter and our interceptors."""
    return Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=WORKFLOWS,
        activities=steps,
        interceptors=interceptors,
        max_concurrent_activities=settings.worker_activities,
        workflow_task_poller_behavior=PollerBehaviorAutoscaling(),
        activity_task_poller_behavior=PollerBehaviorAutoscaling(),
        graceful_shutdown_timeout=GRACEFUL,
    )


async def run(environment: Mapping[str, str], settings: Settings, interceptors: Sequence[Interceptor] = ()) -> None:
    """Work until SIGTERM or SIGINT; raises Unreachable and DatabaseUnavailable at the start."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with wired(settings) as steps:
        client = await connect(environment, _runtime(settings))
        async with make_worker(client, steps, settings, interceptors):
            log.info("worker started", task_queue=TASK_QUEUE, pid=os.getpid())
            await stop.wait()
            threading.Timer(HARD_EXIT, os._exit, [0]).start()
            log.info("worker stopping", graceful_seconds=GRACEFUL.total_seconds())
        log.info("worker stopped")


def main(interceptors: Sequence[Interceptor] = ()) -> None:
    """Run the worker as a process of its own: exit code 0 after a stop, 2 for settings, 3 when something is away."""
    code = 0
    try:
        environment = load_environment()
        settings = load_settings(environment)
        logs.configure(settings)
        asyncio.run(run(environment, settings, interceptors))
    except SettingsError as error:
        code = _say(error, 2)
    except (Unreachable, DatabaseUnavailable) as error:
        code = _say(error, 3)
    end(code)


def _say(error: Exception, code: int) -> int:
    sys.stderr.write(f"{error}\n")
    return code


def _runtime(settings: Settings) -> Runtime:
    workflow.logger.workflow_info_on_message = False
    activity.logger.activity_info_on_message = False
    core = logging.getLogger("temporalio.core")
    return Runtime(
        telemetry=TelemetryConfig(
            logging=LoggingConfig(
                filter=TelemetryFilter(core_level="WARN", other_level="ERROR"),
                forwarding=LogForwardingConfig(logger=core, append_target_to_name=False),
            )
        )
    )


def carrier_for(settings: Settings) -> Carrier:
    """Make the client of the carrier that the settings name."""
    sender = Address(
        name=settings.ship_from_name,
        street1=settings.ship_from_street1,
        city=settings.ship_from_city,
        zip=settings.ship_from_zip,
        state=settings.ship_from_state,
        country=settings.ship_from_country,
        phone=settings.ship_from_phone,
    )
    parcel = Parcel(
        length=settings.parcel_length,
        width=settings.parcel_width,
        height=settings.parcel_height,
        weight=settings.parcel_weight,
    )
    return Carrier(settings.carrier_url, settings.carrier_api_key, sender, parcel)


if __name__ == "__main__":
    main()
