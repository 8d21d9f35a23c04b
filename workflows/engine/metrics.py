"""Count runs, undone steps and job items, once per event of a run; the metrics are in commerce/telemetry/metrics.py."""

from temporalio import workflow
from temporalio.exceptions import is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.boundary.failures import cause
    from commerce.errors import JobInProgress
    from commerce.messages.jobs import Counts
    from commerce.messages.orders import OrderResult
    from commerce.telemetry.metrics import JOB_ITEMS, RUNS, Metric


def count(metric: Metric, by: int = 1, **labels: str) -> None:
    """Increase a counter. Temporal's SDK adds workflow type and task queue, and counts nothing during a replay."""
    workflow.metric_meter().create_counter(metric.name, metric.help).add(by, labels)


def count_result(result: object) -> None:
    """Count a completed run and, for a job, its items."""
    count(RUNS, outcome=result.status if isinstance(result, OrderResult) else "completed")
    if isinstance(result, Counts):
        for name, value in result:
            if type(value) is int:  # not isinstance: a bool is an int too
                count(JOB_ITEMS, value, result=name)


def count_failure(failure: BaseException) -> None:
    """Count a run that failed, was cancelled, or was refused because another run of its job was at work."""
    cancelled = workflow.cancellation_reason() is not None and is_cancelled_exception(failure)
    refused = cause(failure, JobInProgress)
    count(RUNS, outcome="cancelled" if cancelled else "refused" if refused else "failed")
