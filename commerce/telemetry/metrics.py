"""Every metric of ours as Prometheus sees it: name, kind, labels, what it tells; docs/metrics.md shows the same."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One metric; Temporal's SDK gives it labels besides: where it counts in a process, its type and task queue."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str  # the exporter adds `_total` to a counter's
    help: str
    labels: tuple[str, ...] = ()

    @property
    def exported(self) -> str:
        """The name as it is asked for."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


RUNS = Metric(
    "counter",
    "commerce_runs",
    "Processes that ended, by how; orders: fulfilled or insufficient_inventory where others are completed",
    ("workflow_type", "outcome"),
)
STEPS_UNDONE = Metric("counter", "commerce_steps_undone", "Steps that were undone", ("workflow_type", "step"))
UNDO_FAILURES = Metric(
    "counter", "commerce_undo_failures", "Steps that could not be undone, for good", ("workflow_type", "step")
)
STOCK_OUTS = Metric("counter", "commerce_stock_outs", "Variants that were short when an order was refused for stock")
JOB_ITEMS = Metric(
    "counter",
    "commerce_job_items",
    "What jobs that completed have done, by the names of their counts",
    ("workflow_type", "result"),
)
MAILS = Metric(
    "counter", "commerce_mails", "Mails and alerts by what became of them: sent, skipped, failed", ("kind", "status")
)
EVENTS_PUBLISHED = Metric("counter", "commerce_events_published", "Events that everybody has taken", ("type",))
HTTP_DURATION = Metric(
    "histogram",
    "commerce_http_request_duration_seconds",
    "Time from a request to the end of its answer",
    ("method", "route", "status"),
)
DATABASE_UP = Metric("gauge", "commerce_database_up", "Whether the shop's database answers: 1 or 0")
TEMPORAL_UP = Metric("gauge", "commerce_temporal_up", "Whether Temporal answers: 1 or 0")
WORKER_POLLING = Metric("gauge", "commerce_worker_polling", "Whether any worker polls the task queue: 1 or 0")
STUCK_RUNS = Metric("gauge", "commerce_stuck_runs", "Open runs whose own code fails again and again")
PENDING_ORDERS = Metric(
    "gauge", "commerce_pending_orders", "Orders that are paid, open, not on hold and not waiting for stock"
)
OLDEST_PENDING = Metric(
    "gauge", "commerce_oldest_pending_order_age_seconds", "Age of the oldest of them; 0 when there is none"
)
HELD_ORDERS = Metric("gauge", "commerce_held_orders", "Paid, open orders on hold: they wait for a person")
OUTBOX_EVENTS = Metric("gauge", "commerce_outbox_events", "Events that are not published yet")
OUTBOX_LAG = Metric("gauge", "commerce_outbox_lag_seconds", "Age of the oldest of them; 0 when there is none")
UNSENT_NOTIFICATIONS = Metric(
    "gauge",
    "commerce_unsent_notifications",
    "Mails and alerts not sent: queued for more than ten minutes, or failed and less than a day old",
    ("status",),
)

GAUGES = (
    *(DATABASE_UP, TEMPORAL_UP, WORKER_POLLING, STUCK_RUNS, PENDING_ORDERS, OLDEST_PENDING),
    *(HELD_ORDERS, OUTBOX_EVENTS, OUTBOX_LAG, UNSENT_NOTIFICATIONS),
)
COUNTERS = (RUNS, STEPS_UNDONE, UNDO_FAILURES, STOCK_OUTS, JOB_ITEMS, MAILS, EVENTS_PUBLISHED)
METRICS = (*COUNTERS, HTTP_DURATION, *GAUGES)
