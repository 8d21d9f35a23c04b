"""The metrics of a program, those of Temporal's SDK and our own, served at one address for Prometheus."""

import logging
from collections.abc import Callable, Mapping

from temporalio.common import MetricCounter, MetricGaugeFloat, MetricHistogramFloat, MetricMeter
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)

from commerce.errors import SettingsError
from commerce.outbox import EVENT_NAMES
from commerce.telemetry.metrics import EVENTS_PUBLISHED, HTTP_DURATION, RUNS, STOCK_OUTS, Metric
from starter.processes import PROCESS_TYPES, TASK_QUEUE

# Seconds. Tasks wait for milliseconds, or for minutes if there are too few workers.
LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
BUCKETS: Mapping[str, tuple[float, ...]] = {
    "temporal_workflow_task_schedule_to_start_latency": LATENCY_BUCKETS,
    "temporal_activity_schedule_to_start_latency": LATENCY_BUCKETS,
    HTTP_DURATION.name: LATENCY_BUCKETS,
}
OUTCOMES = ("completed", "failed", "cancelled")
ORDER_OUTCOMES = ("fulfilled", "insufficient_inventory", "fulfilled_elsewhere", "failed", "cancelled")


def create_runtime(address: str = "") -> Runtime:
    """Create the runtime of Temporal's SDK. It logs through our logging and serves metrics at `address`.

    An address is like 127.0.0.1:9464; without one there are no metrics. Raises SettingsError if it cannot be used.
    """
    core = logging.getLogger("temporalio.core")
    logs = LoggingConfig(
        filter=TelemetryFilter(core_level="WARN", other_level="ERROR"),
        forwarding=LogForwardingConfig(logger=core, append_target_to_name=False),
    )
    prometheus = PrometheusConfig(
        bind_address=address,
        counters_total_suffix=True,
        unit_suffix=True,
        durations_as_seconds=True,
        histogram_bucket_overrides=BUCKETS,
    )
    metrics = prometheus if address else None
    try:  # no service name: the labels `job` and `instance` identify the program
        return Runtime(telemetry=TelemetryConfig(logging=logs, metrics=metrics, attach_service_name=False))
    except ValueError as error:
        reason = str(error).removeprefix("Failed starting Prometheus exporter: ")
        raise SettingsError(f"COMMERCE_METRICS_ADDRESS: cannot listen on {address}: {reason}") from None


def create_counter(meter: MetricMeter, metric: Metric) -> MetricCounter:
    """Create the counter of a metric."""
    return meter.create_counter(metric.name, metric.help)


def create_gauge(meter: MetricMeter, metric: Metric) -> MetricGaugeFloat:
    """Create the gauge of a metric."""
    return meter.create_gauge_float(metric.name, metric.help)


def create_histogram(meter: MetricMeter, metric: Metric) -> MetricHistogramFloat:
    """Create the histogram of a metric, in seconds."""
    return meter.create_histogram_float(metric.name, metric.help)


def zero_counters(meter: MetricMeter, namespace: str) -> None:
    """Set the counters of processes to zero: Prometheus misses the first increase of a counter it has not seen."""
    where = {"namespace": namespace, "task_queue": TASK_QUEUE}
    for kind, process_type in PROCESS_TYPES.items():
        refused = ("refused",) if process_type.is_job else ()
        for outcome in ORDER_OUTCOMES if kind == "order-processing" else (*OUTCOMES, *refused):
            create_counter(meter, RUNS).add(0, where | {"workflow_type": kind, "outcome": outcome})
    create_counter(meter, STOCK_OUTS).add(0, where | {"workflow_type": "order-processing"})


def event_counter(meter: MetricMeter) -> Callable[[Mapping[str, int]], None]:
    """Return a function that counts published events by type, and set the counters to zero."""
    events = create_counter(meter, EVENTS_PUBLISHED)

    def count(published: Mapping[str, int]) -> None:
        for kind, number in published.items():
            events.add(number, {"type": kind})

    count(dict.fromkeys(EVENT_NAMES, 0))
    return count
