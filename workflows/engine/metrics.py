"""Counts runs, undone steps and job items, once per event of a run; see commerce/telemetry/metrics.py."""

from temporalio import workflow
from temporalio.exceptions import is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from commerce.messages.jobs import Counts
    from commerce.messages.orders import OrderResult
    from commerce.telemetry.metrics import JOB_ITEMS, RUNS, Metric


def count(metric: Metric, by: int = 1, **labels: str) -> None:
    """Count something; the run's type and task queue come with it."""
    workflow.metric_meter().create_counter(metric.name, metric.help).add(by, labels)


def count_result(result: object) -> None:
    """Count a run that ended well, and what it did if it is a job's."""
    count(RUNS, outcome=result.status if isinstance(result, OrderResult) else "completed")
    if isinstance(result, Counts):
        for name, value in result:
            if type(value) is int:  # a flag is an int as well
                count(JOB_ITEMS, value, result=name)


def count_failure(failure: BaseException) -> None:
    """Count a run that fails, or that ends because somebody cancelled it."""
    cancelled = workflow.cancellation_reason() is not None and is_cancelled_exception(failure)
    count(RUNS, outcome="cancelled" if cancelled else "failed")
