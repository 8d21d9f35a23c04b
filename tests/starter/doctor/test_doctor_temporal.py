"""What the doctor finds at a real Temporal server, and what it advises."""

import pytest
from temporalio.client import Client

from activities.hello import HelloActivities
from commerce.settings import load_settings
from tests.polling import until
from tests.starter.doctor.conftest import Find, register
from worker import activities_of, make_worker
from workflows.engine.search_attributes import SEARCH_ATTRIBUTES


async def test_a_server_that_is_away(find: Find) -> None:
    found = await find("Temporal", "connection", TEMPORAL_ADDRESS="127.0.0.1:1")
    assert (found.state, found.code) == ("failed", 3)
    assert found.found == "Temporal does not answer at 127.0.0.1:1"
    assert found.cure == "Start it, or correct TEMPORAL_ADDRESS and TEMPORAL_TLS…"


async def test_a_namespace_that_is_not_there(find: Find, temporal_server: str) -> None:
    found = await find("Temporal", "namespace", TEMPORAL_NAMESPACE="shopp")
    assert (found.state, found.found) == ("failed", "there is no namespace shopp")
    assert found.cure == (
        f"temporal operator namespace create --retention 30d --address {temporal_server} --namespace shopp; "
        "or correct TEMPORAL_NAMESPACE"
    )


async def test_a_namespace_without_search_attributes(find: Find, temporal_server: str, bare_namespace: str) -> None:
    assert (await find("Temporal", "search attributes")).found == f"{len(SEARCH_ATTRIBUTES)} registered"
    client = await Client.connect(temporal_server)
    await register(client, bare_namespace, "OrderId", "CustomerId", "SagaState")
    found = await find("Temporal", "search attributes", TEMPORAL_NAMESPACE=bare_namespace)
    assert (found.state, found.found) == ("failed", "missing: FailedStep, Outcome")
    assert found.cure == (
        f"temporal operator search-attribute create --address {temporal_server} --namespace {bare_namespace} "
        "--type Keyword --name FailedStep --name Outcome"
    )
    await register(client, bare_namespace, "FailedStep", kind="TEXT")
    found = await find("Temporal", "search attributes", TEMPORAL_NAMESPACE=bare_namespace)
    assert found.found == "of another type: FailedStep" and "search-attribute remove" in found.cure


async def test_whether_a_worker_polls(find: Find, here: Client, environment: dict[str, str]) -> None:
    found = await find("Temporal", "worker")
    assert (found.state, found.cure) == ("failed", "commerce worker")
    assert found.found == "none polls the task queue commerce"
    async with make_worker(here, activities_of(HelloActivities()), load_settings(environment)):

        async def seen() -> bool | None:
            return (await find("Temporal", "worker")).state == "ok" or None

        assert await until(seen)


async def test_steps_that_are_kept_for_too_short(find: Find) -> None:
    assert (await find("Temporal", "retention")).state == "ok"
    found = await find("Temporal", "retention", COMMERCE_KEEP_LEDGER_DAYS="31")
    assert (found.state, found.cure) == ("failed", "Set COMMERCE_KEEP_LEDGER_DAYS=37")


@pytest.mark.parametrize(
    ("ahead", "state", "says"),
    [(0, "ok", "as this machine's"), (10, "warning", "s behind this"), (-60, "failed", "s ahead of this")],
)
async def test_a_clock_that_differs(find: Find, ahead: float, state: str, says: str) -> None:
    found = await find("Temporal", "clock", ahead=ahead)
    assert found.state == state and says in found.found
    assert ("timedatectl" in found.cure) == (state != "ok")
