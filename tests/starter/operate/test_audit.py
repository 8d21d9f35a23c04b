"""The audit of a shop at work raises no alarm about processes that run, began or ended meanwhile."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from commerce.database import Database
from commerce.errors import Unreachable
from commerce.messages.orders import OrderProcessing, order_process_id
from starter.operate.audit import audit
from tests.commerce.shop import Shop

KEY = order_process_id("1")
LIVE = "INSERT INTO fulfillments (order_id) VALUES (:order_id)"


@pytest.fixture
async def shop(database: Database) -> AsyncIterator[Shop]:
    """A shop whose order 1 has a fulfillment before its time: fine as long as its process runs."""
    shop = Shop(database)
    await shop.stock("MUG", main=10)
    await shop.order("1", MUG=1)
    await shop.sql(LIVE, order_id="1")
    yield shop


class ScriptedClient:
    """Stands in for Temporal: what it says of a process, question by question."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    def get_workflow_handle(self, key: str) -> "ScriptedClient":
        assert key == KEY
        return self

    async def describe(self, **_options: Any) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def runs(run_id: str = "a") -> Any:
    return SimpleNamespace(run_id=run_id, close_time=None)


def ended(run_id: str = "a") -> Any:
    return SimpleNamespace(run_id=run_id, close_time="12:00")


def failure(status: RPCStatusCode) -> RPCError:
    return RPCError("no", status, b"")


async def rules(shop: Shop, *answers: Any) -> list[str]:
    script = ScriptedClient(*answers)
    findings = await audit(shop.database, cast(Client, script))
    assert script.answers == []
    return [finding.rule for finding in findings]


async def test_a_process_that_runs_is_left_alone(shop: Shop) -> None:
    assert await rules(shop, runs()) == []


async def test_what_an_ended_process_left_is_found(shop: Shop) -> None:
    assert await rules(shop, ended(), ended()) == ["open-order-holds-nothing"]


async def test_what_never_had_a_process_is_found(shop: Shop) -> None:
    never = failure(RPCStatusCode.NOT_FOUND)
    assert await rules(shop, never, never) == ["open-order-holds-nothing"]


@pytest.mark.parametrize("later", [runs("b"), ended("b")])
async def test_a_process_that_began_anew_meanwhile_is_left_alone(shop: Shop, later: Any) -> None:
    assert await rules(shop, ended("a"), later) == []


async def test_what_breaks_a_rule_at_any_time_is_found_without_asking(shop: Shop) -> None:
    await shop.sql("DELETE FROM fulfillments")
    await shop.sql("UPDATE inventory_levels SET stocked_quantity = 11")
    assert await rules(shop) == ["stocked-is-sum-of-movements"]


async def test_a_server_that_does_not_answer_is_told_in_one_line(shop: Shop) -> None:
    with pytest.raises(Unreachable, match=f"does not say whether {KEY} runs: no"):
        await rules(shop, failure(RPCStatusCode.UNAVAILABLE))


async def test_with_a_real_process(shop: Shop, client: Client) -> None:
    order_id = f"real-{uuid4()}"
    await shop.sql("DELETE FROM fulfillments")
    await shop.order(order_id, MUG=1)
    await shop.sql(LIVE, order_id=order_id)
    handle = await client.start_workflow(
        "order-processing",
        OrderProcessing(order_id=order_id),
        id=order_process_id(order_id),
        task_queue="nobody-works-here",
    )
    assert await audit(shop.database, client) == []
    await handle.terminate()
    [finding] = await audit(shop.database, client)
    assert (finding.subject, finding.business_key, finding.count) == (f"order {order_id}", handle.id, 1)
