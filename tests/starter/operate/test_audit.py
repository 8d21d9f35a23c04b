"""The audit reports no violation of a process that is running, or that starts or ends during the audit."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from commerce.database import Database
from commerce.errors import Unreachable
from commerce.messages.orders import OrderProcessing, order_process_id
from starter.operate import audit as operate_audit
from starter.operate.audit import audit
from tests.commerce.shop import Shop

KEY = order_process_id("1")
INSERT_FULFILLMENT = "INSERT INTO fulfillments (order_id) VALUES (:order_id)"


@pytest.fixture
async def shop(database: Database) -> AsyncIterator[Shop]:
    """A shop whose open order 1 has a fulfillment, which is allowed only while its process is running."""
    shop = Shop(database)
    await shop.stock("MUG", main=10)
    await shop.order("1", MUG=1)
    await shop.sql(INSERT_FULFILLMENT, order_id="1")
    yield shop


class ScriptedClient:
    """A client that gives scripted answers, in order, each time the process is described."""

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


class NoRuns:
    """A client of a Temporal server that knows no process."""

    def get_workflow_handle(self, _key: str) -> "NoRuns":
        return self

    async def describe(self, **_options: Any) -> Any:
        raise rpc_error(RPCStatusCode.NOT_FOUND)


def running(run_id: str = "a") -> Any:
    return SimpleNamespace(run_id=run_id, close_time=None)


def ended(run_id: str = "a") -> Any:
    return SimpleNamespace(run_id=run_id, close_time="12:00", status=WorkflowExecutionStatus.COMPLETED)


def rpc_error(status: RPCStatusCode) -> RPCError:
    return RPCError("no", status, b"")


async def violated_rules(shop: Shop, *answers: Any) -> list[str]:
    script = ScriptedClient(*answers)
    findings = await audit(shop.database, cast(Client, script))
    assert script.answers == []
    return [finding.rule for finding in findings]


async def test_a_running_process_is_not_reported(shop: Shop) -> None:
    assert await violated_rules(shop, running()) == []


async def test_a_violation_left_by_an_ended_process_is_reported(shop: Shop) -> None:
    assert await violated_rules(shop, ended(), ended()) == ["open-order-holds-nothing"]


async def test_a_violation_without_any_process_is_reported(shop: Shop) -> None:
    never = rpc_error(RPCStatusCode.NOT_FOUND)
    assert await violated_rules(shop, never, never) == ["open-order-holds-nothing"]


@pytest.mark.parametrize("later", [running("b"), ended("b")])
async def test_a_process_restarted_during_the_audit_is_not_reported(shop: Shop, later: Any) -> None:
    assert await violated_rules(shop, ended("a"), later) == []


async def test_a_violation_that_no_process_excuses_is_reported_without_asking_temporal(shop: Shop) -> None:
    await shop.sql("DELETE FROM fulfillments")
    await shop.sql("UPDATE inventory_levels SET stocked_quantity = 11")
    assert await violated_rules(shop) == ["stocked-is-sum-of-movements"]


async def test_an_unavailable_server_is_a_one_line_error(shop: Shop) -> None:
    with pytest.raises(Unreachable, match=f"could not describe {KEY}: no"):
        await violated_rules(shop, rpc_error(RPCStatusCode.UNAVAILABLE))


async def test_with_a_real_process(shop: Shop, client: Client) -> None:
    order_id = f"real-{uuid4()}"
    await shop.sql("DELETE FROM fulfillments")
    await shop.order(order_id, MUG=1)
    await shop.sql(INSERT_FULFILLMENT, order_id=order_id)
    handle = await client.start_workflow(
        "order-processing",
        OrderProcessing(order_id=order_id),
        id=order_process_id(order_id),
        task_queue="no-worker",
    )
    assert await audit(shop.database, client) == []
    await handle.terminate()
    [finding] = await audit(shop.database, client)
    assert (finding.subject, finding.business_key, finding.count) == (f"order {order_id}", handle.id, 1)
    assert finding.cure == f"commerce runs retry {handle.id} --reason …"


@pytest.mark.parametrize(
    ("answer", "cure"),
    [
        (ended(), None),
        (rpc_error(RPCStatusCode.NOT_FOUND), """commerce start order-processing --input '{"order_id":"1"}'"""),
    ],
)
async def test_a_finding_names_its_cure_if_there_is_one(shop: Shop, answer: Any, cure: str | None) -> None:
    [finding] = await audit(shop.database, cast(Client, ScriptedClient(answer, answer)))
    assert finding.cure == cure


async def test_a_shop_of_many_pages(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """All pages are audited: their findings are joined, of each rule the first ones with the count of all."""
    monkeypatch.setattr(operate_audit, "FIRST_PAGE", 1)
    shop = Shop(database)
    for number in range(9):
        await shop.stock(f"MUG-{number}", main=10)
        await shop.order(f"{number}", columns={"fulfillment_status": "fulfilled"})
    await shop.sql("UPDATE inventory_levels SET stocked_quantity = 11")
    monkeypatch.setattr("commerce.audit.MAX_FINDINGS", 4)
    progress: list[dict[str, int]] = []
    findings = await audit(database, cast(Client, NoRuns()), lambda checked: progress.append(dict(checked)))
    rule = "stocked-is-sum-of-movements"
    assert [(f.subject, f.count) for f in findings if f.rule == rule] == [(f"MUG-{n} at main", 9) for n in range(4)]
    assert progress[0] == {"items": 1} and progress[-1] == {"items": 9, "orders": 9}
    assert {(f.rule, f.count) for f in findings} == {(rule, 9), ("fulfilled-order-has-one-fulfillment", 9)}
