"""Which failed tries of a step count, and how long it waits for the infrastructure (E3, E6, V8)."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from activities.boundary.failures import FailureInterceptor
from commerce.errors import (
    CarrierDown,
    CarrierUnavailable,
    CarrierUnknown,
    DatabaseUnavailable,
    InvalidData,
    MailServerDown,
    MailUnavailable,
    StepInProgress,
)
from commerce.messages.base import Nothing
from commerce.messages.steps import Call, StepKey
from workflows.engine.policies import MAIL, OUTSIDE_STEP, UNDO, Policy

INFRASTRUCTURE = [
    DatabaseUnavailable("no connection"),
    StepInProgress("a"),
    MailServerDown("SMTP 535", 535),
    CarrierDown("HTTP 401", 401),
    CarrierUnknown("gone"),
]


class Failing(ActivityInboundInterceptor):
    """An activity whose tries fail; between them it hands on its heartbeat details, as Temporal does."""

    def __init__(self, policy: Policy) -> None:
        self.tries = policy.tries
        self.environment = ActivityEnvironment()
        self.environment.on_heartbeat = lambda *details: setattr(self, "details", details)
        self.details: Any = ()
        self.attempt = 0

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 - the SDK's own name
        raise self.error

    async def fail(self, error: Exception) -> Exception:
        """Return the failure of the next try, which ends with `error`."""
        self.attempt, self.error = self.attempt + 1, error
        details = [detail.model_dump() for detail in self.details]
        self.environment.info = replace(self.environment.info, attempt=self.attempt, heartbeat_details=details)
        key = StepKey(business_key="b", step="s", generation="g")
        call = Call(key=key, input=Nothing(), tries=self.tries)
        step = FailureInterceptor().intercept_activity(self)
        try:
            await self.environment.run(
                step.execute_activity, ExecuteActivityInput(fn=self.fail, args=[call], executor=None, headers={})
            )
        except Exception as failure:  # noqa: BLE001 - any
            return failure
        raise AssertionError("the try did not fail")

    async def ends_with(self, error: Exception) -> bool:
        failure = await self.fail(error)
        return isinstance(failure, ApplicationError) and failure.non_retryable


@pytest.mark.parametrize("policy", [MAIL, OUTSIDE_STEP, UNDO], ids=["mail", "outside step", "undo"])
@pytest.mark.parametrize("outage", INFRASTRUCTURE, ids=lambda error: type(error).__name__)
async def test_only_errors_about_the_item_use_up_the_tries(policy: Policy, outage: Exception) -> None:
    step = Failing(policy)
    assert policy.tries is not None and not policy.retry.maximum_attempts
    for _ in range(policy.tries - 1):
        assert not await step.ends_with(outage)
        assert not await step.ends_with(CarrierUnavailable("HTTP 500"))
    for _ in range(100):
        assert not await step.ends_with(outage)
    failure = await step.fail(MailUnavailable("SMTP 451"))
    assert isinstance(failure, ApplicationError) and failure.non_retryable
    assert (failure.type, failure.message) == ("MailUnavailable", "The mail server is unavailable: SMTP 451.")


async def test_an_unknown_error_counts() -> None:
    step = Failing(replace(UNDO, tries=2))
    assert not await step.ends_with(ValueError("a bug"))
    assert await step.ends_with(ValueError("a bug"))


async def test_a_permanent_error_ends_the_step_at_once() -> None:
    assert await Failing(UNDO).ends_with(InvalidData("NumericValueOutOfRangeError, SQLSTATE 22003"))


@pytest.mark.parametrize(
    ("outage", "longest"), [(INFRASTRUCTURE[0], timedelta(seconds=30)), (INFRASTRUCTURE[2], timedelta(minutes=5))]
)
async def test_a_step_waits_longer_and_longer_for_the_infrastructure(outage: Exception, longest: timedelta) -> None:
    step = Failing(MAIL)
    failures = [await step.fail(outage) for _ in range(40)]
    delays = [failure.next_retry_delay for failure in failures if isinstance(failure, ApplicationError)]
    assert delays[:4] == [timedelta(seconds=seconds) for seconds in (0.5, 1, 2, 4)]
    assert delays[-1] == longest
