"""The doctor's findings and advice for a real Temporal server."""

import pytest
from temporalio.client import Client

from activities.hello import HelloActivities
from commerce.settings import load_settings
from tests.polling import until
from tests.refusing_temporal import refusing_temporal
from tests.starter.doctor.conftest import RunCheck, register
from worker import activities_of, make_worker
from workflows.engine.search_attributes import SEARCH_ATTRIBUTES


async def test_an_unreachable_server(run_check: RunCheck) -> None:
    finding = await run_check("Temporal", "connection", TEMPORAL_ADDRESS="127.0.0.1:1")
    assert (finding.state, finding.code) == ("failed", 3)
    assert finding.found == "Temporal does not answer at 127.0.0.1:1"
    assert finding.advice == "Start it, or correct TEMPORAL_ADDRESS and the TEMPORAL_TLS… variables"


@pytest.mark.parametrize(
    ("variables", "what"),
    [({"TEMPORAL_API_KEY": "expired", "TEMPORAL_TLS": "false"}, ""), ({}, "calls without ")],
    ids=["with", "without"],
)
async def test_a_server_that_refuses_the_key(run_check: RunCheck, variables: dict[str, str], what: str) -> None:
    async with refusing_temporal(7, "Request unauthorized.") as address:
        finding = await run_check("Temporal", "connection", TEMPORAL_ADDRESS=address, **variables)
    assert (finding.state, finding.code) == ("failed", 3)
    assert finding.found == f"Temporal at {address} refuses {what}TEMPORAL_API_KEY: Request unauthorized"
    assert finding.advice == "Set TEMPORAL_API_KEY to a key that is valid and may write to the namespace"


async def test_a_missing_namespace(run_check: RunCheck, temporal_server: str) -> None:
    finding = await run_check("Temporal", "namespace", TEMPORAL_NAMESPACE="shopp")
    assert (finding.state, finding.found) == ("failed", "there is no namespace shopp")
    assert finding.advice == (
        f"Run: temporal operator namespace create --retention 30d --address {temporal_server} --namespace shopp; "
        "or correct TEMPORAL_NAMESPACE"
    )


async def test_a_namespace_without_search_attributes(
    run_check: RunCheck, temporal_server: str, bare_namespace: str
) -> None:
    assert (await run_check("Temporal", "search attributes")).found == f"{len(SEARCH_ATTRIBUTES)} registered"
    client = await Client.connect(temporal_server)
    await register(client, bare_namespace, "OrderId", "CustomerId", "SagaState")
    finding = await run_check("Temporal", "search attributes", TEMPORAL_NAMESPACE=bare_namespace)
    assert (finding.state, finding.found) == ("failed", "missing: FailedStep, Outcome, FailureType, WaitingFor")
    assert finding.advice == (
        f"Run: temporal operator search-attribute create --address {temporal_server} --namespace {bare_namespace} "
        "--type Keyword --name FailedStep --name Outcome --name FailureType --name WaitingFor"
    )
    await register(client, bare_namespace, "FailedStep", kind="TEXT")
    finding = await run_check("Temporal", "search attributes", TEMPORAL_NAMESPACE=bare_namespace)
    assert finding.found == "registered with a wrong type: FailedStep" and "search-attribute remove" in finding.advice


async def test_a_missing_and_a_running_worker(
    run_check: RunCheck, shop_client: Client, environment: dict[str, str]
) -> None:
    finding = await run_check("Temporal", "worker")
    assert (finding.state, finding.advice) == ("failed", "Run: commerce worker")
    assert finding.found == "no worker polls the task queue commerce"
    async with make_worker(shop_client, activities_of(HelloActivities()), load_settings(environment)):

        async def polls() -> bool | None:
            return (await run_check("Temporal", "worker")).state == "ok" or None

        assert await until(polls)


async def test_a_ledger_that_keeps_steps_for_too_few_days(run_check: RunCheck) -> None:
    assert (await run_check("Temporal", "retention")).state == "ok"
    finding = await run_check("Temporal", "retention", COMMERCE_KEEP_LEDGER_DAYS="31")
    assert (finding.state, finding.advice) == ("failed", "Set COMMERCE_KEEP_LEDGER_DAYS=37")


@pytest.mark.parametrize(
    ("ahead", "state", "message"),
    [(0, "ok", "same time as this machine"), (10, "warning", "s behind this"), (-60, "failed", "s ahead of this")],
)
async def test_a_clock_that_differs(run_check: RunCheck, ahead: float, state: str, message: str) -> None:
    finding = await run_check("Temporal", "clock", ahead=ahead)
    assert finding.state == state and message in finding.found
    assert ("timedatectl" in finding.advice) == (state != "ok")
