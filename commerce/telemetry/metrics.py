"""All our metrics: name, kind, labels and help text. docs/metrics.md lists the same."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One metric. Temporal's SDK adds its own labels, for metrics of processes also their type and task queue."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str  # without `_total`, which the exporter adds to a counter's name
    help: str
    labels: tuple[str, ...] = ()

    @property
    def exported(self) -> str:
        """The name that Prometheus sees."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


RUNS = Metric(
    "counter",
    "commerce_runs",
    "Ended processes by outcome; for orders, the result's status instead of completed; refused: a run of a job while "
    "another one works",
    ("workflow_type", "outcome"),
)
STEPS_UNDONE = Metric("counter", "commerce_steps_undone", "Undone steps", ("workflow_type", "step"))
UNDO_FAILURES = Metric(
    "counter", "commerce_undo_failures", "Steps whose undo failed permanently", ("workflow_type", "step")
)
STOCK_OUTS = Metric("counter", "commerce_stock_outs", "Variants that lacked stock when an order was refused")
JOB_ITEMS = Metric(
    "counter",
    "commerce_job_items",
    "Counts of completed jobs, by name",
    ("workflow_type", "result"),
)
MAILS = Metric(
    "counter", "commerce_mails", "Mails and alerts of steps by result: sent, skipped, failed", ("kind", "status")
)
EVENTS_PUBLISHED = Metric("counter", "commerce_events_published", "Published events", ("type",))
HTTP_DURATION = Metric(
    "histogram",
    "commerce_http_request_duration_seconds",
    "Time from a request to the end of its response",
    ("method", "route", "status"),
)
DATABASE_UP = Metric("gauge", "commerce_database_up", "Whether the shop's database responds: 1 or 0")
TEMPORAL_UP = Metric("gauge", "commerce_temporal_up", "Whether Temporal responds: 1 or 0")
WORKER_POLLING = Metric("gauge", "commerce_worker_polling", "Whether any worker polls the task queue: 1 or 0")
STUCK_RUNS = Metric("gauge", "commerce_stuck_runs", "Open runs whose workflow code fails repeatedly")
PENDING_ORDERS = Metric(
    "gauge",
    "commerce_pending_orders",
    "Paid, open orders that are not on hold and wait neither for stock nor a product",
)
OLDEST_PENDING = Metric(
    "gauge", "commerce_oldest_pending_order_age_seconds", "Age of the oldest pending order; 0 if there is none"
)
HELD_ORDERS = Metric("gauge", "commerce_held_orders", "Paid, open orders on hold, which need an operator")
WAITING_FOR_PRODUCT = Metric(
    "gauge", "commerce_orders_waiting_for_product", "Paid, open orders with a line that is not linked to a product"
)
OPEN_WAITS = Metric("gauge", "commerce_open_waits", "Steps that wait for an answer from outside")
OLDEST_WAIT = Metric(
    "gauge", "commerce_oldest_wait_age_seconds", "For how long the oldest of them has waited; 0 if there is none"
)
LATE_WAITS = Metric(
    "gauge",
    "commerce_late_waits",
    "Steps that have waited for more than half their time; neither proofs nor goods to come back",
)
OUTBOX_EVENTS = Metric("gauge", "commerce_outbox_events", "Unpublished events")
OUTBOX_LAG = Metric("gauge", "commerce_outbox_lag_seconds", "Age of the oldest unpublished event; 0 if there is none")
UNSENT_NOTIFICATIONS = Metric(
    "gauge",
    "commerce_unsent_notifications",
    "Unsent mails and alerts: queued for more than ten minutes, or failed and less than a day old",
    ("status",),
)

GAUGES = (
    *(DATABASE_UP, TEMPORAL_UP, WORKER_POLLING, STUCK_RUNS, PENDING_ORDERS, OLDEST_PENDING),
    *(
        HELD_ORDERS,
        WAITING_FOR_PRODUCT,
        OPEN_WAITS,
        OLDEST_WAIT,
        LATE_WAITS,
        OUTBOX_EVENTS,
        OUTBOX_LAG,
        UNSENT_NOTIFICATIONS,
    ),
)
COUNTERS = (RUNS, STEPS_UNDONE, UNDO_FAILURES, STOCK_OUTS, JOB_ITEMS, MAILS, EVENTS_PUBLISHED)
METRICS = (*COUNTERS, HTTP_DURATION, *GAUGES)
