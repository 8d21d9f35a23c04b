"""The worker: runs all workflows and activities, relays events, and stops cleanly on SIGTERM."""

import asyncio
import inspect
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
from temporalio.runtime import Runtime
from temporalio.worker import Interceptor, PollerBehaviorAutoscaling, Worker

from activities.analytics import AnalyticsActivities
from activities.auth import AuthActivities
from activities.boundary.former_names import under_former_names
from activities.boundary.outages import OutageAlerts
from activities.cancellations import CancellationActivities
from activities.captures import CaptureActivities
from activities.carts import CartActivities
from activities.confirmations import ConfirmationActivities
from activities.customers import CustomerActivities
from activities.forgetting import ForgettingActivities
from activities.fulfillment import FulfillmentActivities
from activities.hello import HelloActivities
from activities.inventory import InventoryActivities
from activities.jobs import JobActivities
from activities.notifications import NotificationActivities
from activities.orders import OrderActivities
from activities.payments import PaymentActivities
from activities.picks import PickActivities
from activities.products import ProductActivities
from activities.returns import ReturnActivities
from activities.reviews import ReviewActivities
from activities.sagas import SagaActivities
from activities.stock_sync import StockSyncActivities
from activities.upkeep import Retention, UpkeepActivities
from activities.waits import WaitActivities
from activities.webhooks import WebhookActivities
from commerce import open_orders
from commerce.database import Database
from commerce.errors import DatabaseUnavailable, SettingsError, Unreachable
from commerce.integrations.alerts import AlertWebhook
from commerce.integrations.carriers import open_carriers
from commerce.integrations.payment_providers import open_providers
from commerce.integrations.picking import Picking
from commerce.integrations.warehouse import Warehouse
from commerce.integrations.webhooks import WebhookPoster
from commerce.mail.notifier import Notifier
from commerce.settings import Settings, load_environment, load_settings
from commerce.telemetry import logs
from starter.background_work import background_tasks
from starter.client import connect
from starter.connection.encryption import Encryption
from starter.operate.background import run_until
from starter.operate.ledger_retention import check_retention
from starter.processes import TASK_QUEUE
from starter.schedules.apply import apply_schedules
from starter.subscribers import SUBSCRIBERS, Subscriber
from starter.telemetry import tracing
from starter.telemetry.exit import exit_process
from starter.telemetry.metrics import create_runtime
from workflows.cancel_order import CancelOrderWorkflow
from workflows.cleanup_expired_carts import CleanUpExpiredCartsWorkflow
from workflows.collect_analytics_data import CollectAnalyticsDataWorkflow
from workflows.customer_registration import CustomerRegistrationWorkflow
from workflows.deliver_webhook import DeliverWebhookWorkflow
from workflows.forget_customer import ForgetCustomerWorkflow
from workflows.hello_world import HelloWorldWorkflow
from workflows.order_processing import OrderProcessingWorkflow
from workflows.process_pending_orders import ProcessPendingOrdersWorkflow
from workflows.product_count import ProductCountWorkflow
from workflows.return_order import ReturnOrderWorkflow
from workflows.sync_inventory import SyncInventoryWorkflow
from workflows.upkeep import UpkeepWorkflow

SERVICE = "commerce-worker"  # in traces
GRACEFUL_SHUTDOWN = timedelta(seconds=20)  # for running activities to end
MIN_WORKFLOW_TASKS = 2  # at once; with fewer, the SDK could not poll for runs in the cache and for others
# Runs that wait for days need no memory: what is not among the last ones is replayed from history when it goes on. The
# runs at work at the same time should fit in.
CACHED_RUNS, CACHED_RUNS_PER_ACTIVITY = 100, 5
HARD_EXIT_SECONDS = 28  # after the signal: the process exits even if something hangs
WORKFLOWS: Sequence[type] = (
    OrderProcessingWorkflow,
    CancelOrderWorkflow,
    ReturnOrderWorkflow,
    CustomerRegistrationWorkflow,
    ForgetCustomerWorkflow,
    CleanUpExpiredCartsWorkflow,
    SyncInventoryWorkflow,
    ProcessPendingOrdersWorkflow,
    CollectAnalyticsDataWorkflow,
    UpkeepWorkflow,
    DeliverWebhookWorkflow,
    HelloWorldWorkflow,
    ProductCountWorkflow,
)

log = structlog.stdlib.get_logger("commerce.worker")


@asynccontextmanager
async def open_activities(settings: Settings) -> AsyncIterator[list[Callable[..., Any]]]:
    """Yield all activities, with the database and external services they use; raises DatabaseUnavailable."""
    database = Database.of(settings, pool_size=settings.worker_activities + 2)
    carriers = open_carriers(settings)
    providers = open_providers(settings)
    warehouse = Warehouse(settings.warehouse_url)
    poster = WebhookPoster.of(settings)
    picking = Picking(settings.warehouse_url, settings.pick_answer_url)
    webhook = AlertWebhook.of(settings)
    notifier = Notifier.of(settings, database, webhook)
    outages = OutageAlerts(notifier)
    try:
        await database.ping()
        async with database.transaction() as tx:
            await open_orders.set_unpaid_methods(tx, settings.ship_unpaid_methods)
            captured = providers.values() if settings.capture == "on_fulfillment" else ()
            await open_orders.set_capturable(tx, [provider.references for provider in captured])
        yield activities_of(
            OrderActivities(
                database,
                settings.zone,
                settings.shipping_rules,
                settings.review_rules,
                picks=settings.fulfillment == "confirmed",
            ),
            PickActivities(database, picking, outages, ships_parts=settings.part_shipments == "on"),
            InventoryActivities(database),
            FulfillmentActivities(database, carriers, settings.carrier, outages),
            CancellationActivities(database, carriers, settings.carrier, notifier, outages),
            PaymentActivities(database, providers, notifier, outages),
            ReturnActivities(database, carriers, settings.carrier, notifier, settings.return_days, outages),
            CaptureActivities(database, providers, outages),
            CustomerActivities(database, confirms=settings.confirm_address == "on"),
            ConfirmationActivities(database, notifier, outages),
            AuthActivities(database),
            ForgettingActivities(database, settings.keep_invoices_days),
            NotificationActivities(notifier, outages),
            JobActivities(database),
            CartActivities(database),
            StockSyncActivities(database, warehouse),
            AnalyticsActivities(database, settings.zone, settings.currency, settings.admin_emails),
            UpkeepActivities(database, Retention.of(settings)),
            WebhookActivities(database, poster),
            WaitActivities(database),
            ReviewActivities(database, notifier, outages),
            HelloActivities(),
            ProductActivities(database),
            SagaActivities(database),
        )
    finally:
        for carrier in carriers.values():
            await carrier.close()
        for provider in providers.values():
            await provider.close()
        await warehouse.close()
        await picking.close()
        await poster.close()
        if webhook:
            await webhook.close()
        await database.close()


def activities_of(*objects: object) -> list[Callable[..., Any]]:
    """Return every activity method of these objects, and those that have a former name also under that."""
    methods = [method for owner in objects for _, method in inspect.getmembers(owner, inspect.ismethod)]
    activities = [method for method in methods if hasattr(method, "__temporal_activity_definition")]
    return [*activities, *under_former_names(activities)]


def make_worker(
    client: Client,
    activities: Sequence[Callable[..., Any]],
    settings: Settings,
    interceptors: Sequence[Interceptor] = (),
) -> Worker:
    """Return the worker for our task queue; the client's plugin adds sandbox, converter and interceptors."""
    return Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=WORKFLOWS,
        activities=activities,
        interceptors=interceptors,
        max_concurrent_activities=settings.worker_activities,
        # A workflow task runs its local steps one by one. What waits for one waits at the server, by its priority.
        max_concurrent_workflow_tasks=max(settings.worker_activities, MIN_WORKFLOW_TASKS),
        max_concurrent_local_activities=settings.worker_activities,
        max_cached_workflows=max(CACHED_RUNS, CACHED_RUNS_PER_ACTIVITY * settings.worker_activities),
        workflow_task_poller_behavior=PollerBehaviorAutoscaling(),
        activity_task_poller_behavior=PollerBehaviorAutoscaling(),
        graceful_shutdown_timeout=GRACEFUL_SHUTDOWN,
    )


async def run(
    environment: Mapping[str, str],
    settings: Settings,
    interceptors: Sequence[Interceptor] = (),
    subscribers: Mapping[str, Sequence[Subscriber]] = SUBSCRIBERS,
) -> None:
    """Work until SIGTERM or SIGINT. Raises SettingsError, Unreachable or DatabaseUnavailable if it cannot start."""
    encryption = Encryption.from_settings(settings)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, _stop_soon, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # `commerce worker` has blocked it
    async with open_activities(settings) as activities:
        runtime = _runtime(settings)
        client = await connect(environment, runtime)
        _log_encryption(encryption)
        for warning in settings.warnings:
            log.warning(warning)
        await check_retention(client, settings)
        if settings.schedules == "on":
            applied = await apply_schedules(client, settings)
            log.info("schedules applied", **applied.model_dump())
            if applied.edited:
                log.warning(
                    "schedules were edited in Temporal and are left alone; see commerce schedules apply --force"
                )
        background = background_tasks(settings, client, runtime.metric_meter, subscribers)
        async with make_worker(client, activities, settings, interceptors):
            log.info("worker started", task_queue=TASK_QUEUE, pid=os.getpid())
            await run_until(stop, *background)
            log.info("worker stopping", graceful_seconds=GRACEFUL_SHUTDOWN.total_seconds())
        log.info("worker stopped")


def main(
    interceptors: Sequence[Interceptor] = (), subscribers: Mapping[str, Sequence[Subscriber]] = SUBSCRIBERS
) -> None:
    """Run the worker; exits with 0 after a stop, 2 for a wrong setting, 3 if a server is unreachable."""
    code = 0
    try:
        environment = load_environment()
        settings = load_settings(environment)
        logs.configure(settings)
        if traces := tracing.start(settings, SERVICE):
            traces.instrument_libraries()
        asyncio.run(run(environment, settings, interceptors, subscribers))
    except SettingsError as error:
        code = _print_error(error, 2)
    except (Unreachable, DatabaseUnavailable) as error:
        code = _print_error(error, 3)
    exit_process(code)


def _stop_soon(stop: asyncio.Event) -> None:
    """Set `stop` at the first signal. Whatever hangs from then on, the process ends after HARD_EXIT_SECONDS."""
    if not stop.is_set():
        threading.Timer(HARD_EXIT_SECONDS, os._exit, [0]).start()
        stop.set()


def _log_encryption(encryption: Encryption) -> None:
    if encryption.encrypts:
        log.info("payloads are encrypted", key_ids=encryption.key_ids)
    else:
        log.warning("encryption is off: payloads are stored in clear", key_ids=encryption.key_ids)


def _print_error(error: Exception, code: int) -> int:
    sys.stderr.write(f"{error}\n")
    return code


def _runtime(settings: Settings) -> Runtime:
    workflow.logger.workflow_info_on_message = False
    activity.logger.activity_info_on_message = False
    return create_runtime(settings.metrics_address)


if __name__ == "__main__":
    main()
