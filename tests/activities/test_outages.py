"""A carrier that fails for every order alike is down: this uses up the tries of none (E3)."""

from dataclasses import replace
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities.boundary.outages import ALL_ALIKE, OutageAlerts
from commerce.errors import CarrierDown, CarrierRefused, CarrierUnavailable, MailUnavailable, TransientError

UNAVAILABLE = CarrierUnavailable("HTTP 500")


@pytest.fixture
def outages() -> OutageAlerts:
    nobody: Any = None  # fewer tries than an alert needs
    return OutageAlerts(nobody)


async def attempt(outages: OutageAlerts, order: int, error: Exception | None, service: str = "carrier") -> str | None:
    """Try a step of an order, and return the class of the error it ends with."""

    async def step() -> None:
        async with outages.watch(service):
            if error:
                raise error

    environment = ActivityEnvironment()
    environment.info = replace(environment.info, workflow_id=f"order-processing-{order}")
    try:
        await environment.run(step)
    except (TransientError, CarrierRefused) as raised:
        return type(raised).__name__
    return None


async def test_the_carrier_is_down_when_different_orders_in_a_row_fail(outages: OutageAlerts) -> None:
    ends = [await attempt(outages, order, UNAVAILABLE) for order in range(ALL_ALIKE + 1)]
    assert ends == ["CarrierUnavailable"] * (ALL_ALIKE - 1) + ["CarrierDown"] * 2


async def test_one_order_that_fails_again_and_again_says_nothing_of_the_carrier(outages: OutageAlerts) -> None:
    assert {await attempt(outages, 1, UNAVAILABLE) for _ in range(20)} == {"CarrierUnavailable"}


@pytest.mark.parametrize("answer", [None, CarrierRefused("NO_RATES", 422)], ids=["success", "refusal"])
async def test_an_answer_to_any_order_shows_that_the_carrier_works(
    outages: OutageAlerts, answer: Exception | None
) -> None:
    for order in range(ALL_ALIKE):
        await attempt(outages, order, UNAVAILABLE)
    await attempt(outages, 99, answer)
    assert await attempt(outages, 1, UNAVAILABLE) == "CarrierUnavailable"


async def test_a_mail_that_is_sent_says_nothing_of_the_carrier(outages: OutageAlerts) -> None:
    for order in range(ALL_ALIKE):
        await attempt(outages, order, UNAVAILABLE)
    await attempt(outages, 99, None, "mail server")
    assert await attempt(outages, 1, UNAVAILABLE) == "CarrierDown"


async def test_what_a_mail_server_answers_is_about_the_mail(outages: OutageAlerts) -> None:
    ends = {await attempt(outages, order, MailUnavailable("SMTP 451"), "mail server") for order in range(20)}
    assert ends == {"MailUnavailable"}


def test_the_error_about_all_orders_counts_as_a_try_of_none() -> None:
    assert isinstance(UNAVAILABLE.for_all(), CarrierDown)
    assert UNAVAILABLE.counts and not UNAVAILABLE.for_all().counts
