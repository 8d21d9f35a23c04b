"""Orders that wait until a person has reviewed them (V16)."""

import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.worker import (
    ExecuteWorkflowInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

from commerce.errors import HighRisk, Unanswered
from commerce.messages.orders import OrderChange, order_process_id
from commerce.messages.waits import Answer
from starter.operate.answers import answer, deliver_answers
from tests.polling import until
from tests.running_shop import Handle, RunningShop, running_shop, wait_for_end

KEY = "a-key-for-links-of-at-least-32-characters"
REVIEWS = {
    "COMMERCE_REVIEW_ABOVE": "GBP=5",
    "COMMERCE_REVIEW_RISK": "high",
    "COMMERCE_REVIEW_COUNTRIES": "differ",
    "COMMERCE_LINK_KEYS": KEY,
    "COMMERCE_LINK_URL": "https://shop.example/api",
}
STEP = "review-order"
YES, NO = Answer(answer="success"), Answer(answer="failure", reason="Ann Jones is not known there")
LINK = re.compile(r"https://shop\.example/api/answers/(\S+)")


class ShortReviews(Interceptor):
    """Lets orders wait for a review for half a second only."""

    def workflow_interceptor_class(self, _input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        return _ShortReviews


class _ShortReviews(WorkflowInboundInterceptor):
    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002
        # The sandbox gives every run its own copy of this module; only that one is changed.
        sys.modules["workflows.order_processing"].REVIEW_TIME = timedelta(seconds=0.5)  # type: ignore[attr-defined]
        return await super().execute_workflow(input)


@pytest.fixture
def order_id() -> str:
    return uuid4().hex


@asynccontextmanager
async def reviewing_shop(folder: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    async with running_shop(folder, database_url, client, **REVIEWS) as shop:
        await shop.data.stock("MUG", main=9)
        yield shop


@pytest.fixture
async def idle_shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    async with reviewing_shop(tmp_path, database_url, client) as shop:
        yield shop


@pytest.fixture
async def shop(idle_shop: RunningShop) -> AsyncIterator[RunningShop]:
    async with idle_shop.worker():
        yield idle_shop


async def until_waiting(shop: RunningShop, order_id: str) -> None:
    async def waiting() -> bool | None:
        return (await shop.states(order_id)).get(STEP) == "waiting" or None

    await until(waiting)


async def start_review(shop: RunningShop, order_id: str, units: int = 3, **columns: Any) -> Handle:
    await shop.data.order(order_id, MUG=units, columns=columns)
    handle = await shop.start(order_id)
    await until_waiting(shop, order_id)
    return handle


async def send(shop: RunningShop, order_id: str, given: Answer = YES) -> str:
    process = order_process_id(order_id)
    return (await answer(shop.client, shop.database, process, STEP, given, by="test", idempotency_key="k")).status


async def test_v16_an_approved_order_is_fulfilled(shop: RunningShop, order_id: str) -> None:
    handle = await start_review(shop, order_id)
    assert await shop.data.levels("MUG") == {"main": (9, 3)}
    assert await send(shop, order_id) == "taken"
    assert (await handle.result()).status == "fulfilled"
    assert await send(shop, order_id) == "taken"  # the same answer again
    assert list(await shop.states(order_id))[2:4] == ["reserve-inventory", STEP]
    assert await shop.findings() == []


async def test_v16_a_rejected_order_is_undone_and_on_hold(shop: RunningShop, order_id: str) -> None:
    handle = await start_review(shop, order_id)
    await send(shop, order_id, NO)
    result = await handle.result()
    assert result.status == "rejected"
    assert await shop.data.order_columns(order_id, "hold_reason", "fulfillment_status") == ("rejected", "not_fulfilled")
    assert await shop.data.levels("MUG") == {"main": (9, 0)}
    assert (await shop.progress(order_id)).state == "compensated"
    assert shop.mails("order-failed", order_id) == []
    assert await shop.findings() == []


async def test_v16_admins_get_a_mail_with_what_matters_and_two_links(shop: RunningShop, order_id: str) -> None:
    await start_review(shop, order_id, billing_country="FR", risk_level="high")
    [mail] = shop.mails("order-review", order_id)
    body = mail.get_body(("plain",))
    assert body is not None
    content = body.get_content()
    assert "£7.50" in content and "Billing country: FR" in content and "Risk: high" in content
    assert "because of its total and its risk and its two countries" in content
    links = LINK.findall(content)
    assert [link.split(".")[1] for link in links] == ["success", "failure"]
    assert "customer.example" not in content and order_id not in "".join(links)
    await shop.handle(order_id).terminate()


async def test_v16_an_order_without_an_answer_is_undone_and_the_admins_are_alerted(
    idle_shop: RunningShop, order_id: str
) -> None:
    shop = idle_shop
    await shop.data.order(order_id, MUG=3)
    async with shop.worker([ShortReviews()]):
        assert isinstance(await shop.expect_failure(order_id), Unanswered)
    assert await shop.data.order_columns(order_id, "hold_reason") == ("failed: Unanswered",)
    assert await shop.data.levels("MUG") == {"main": (9, 0)}
    assert len(shop.mails("order-failed", order_id)) == 1
    assert len(shop.mails("review-missing", order_id)) == 2


@pytest.mark.parametrize(
    "columns", [{"risk_level": "high"}, {"billing_country": "FR"}, {"billing_country": "France", "total": 1}]
)
async def test_v16_each_rule_lets_an_order_wait(shop: RunningShop, order_id: str, columns: dict[str, Any]) -> None:
    handle = await start_review(shop, order_id, units=1, **columns)
    await handle.cancel()
    await wait_for_end(handle)
    assert await shop.status(order_id) == WorkflowExecutionStatus.CANCELED
    assert await shop.data.levels("MUG") == {"main": (9, 0)}


@pytest.mark.parametrize("columns", [{"billing_country": "United Kingdom"}, {"total": 500}, {"currency": "USD"}])
async def test_v16_other_orders_do_not_wait(shop: RunningShop, order_id: str, columns: dict[str, Any]) -> None:
    await shop.data.order(order_id, MUG=1, columns=columns)
    assert (await shop.process(order_id)).status == "fulfilled"
    assert STEP not in await shop.states(order_id)


async def test_v16_the_rules_are_off_by_default(
    tmp_path: Path, database_url: str, client: Client, order_id: str
) -> None:
    async with running_shop(tmp_path, database_url, client) as shop, shop.worker():
        await shop.data.stock("MUG", main=9)
        await shop.data.order(order_id, MUG=9, columns={"billing_country": "FR"})
        assert (await shop.process(order_id)).status == "fulfilled"
        await shop.data.order(f"{order_id}-risky", MUG=1, columns={"risk_level": "high"})
        assert isinstance(await shop.expect_failure(f"{order_id}-risky"), HighRisk)


async def test_v16_an_order_that_changes_meanwhile_is_reviewed_anew(shop: RunningShop, order_id: str) -> None:
    handle = await start_review(shop, order_id)
    first = (await handle.describe()).run_id
    await shop.data.sql(
        "UPDATE orders SET total = 900, revision = 2, decisive_revision = 2 WHERE id = :id", id=order_id
    )
    await handle.signal("order-changed", OrderChange(revision=2))

    async def asked_anew() -> bool | None:
        return len(shop.mails("order-review", order_id)) == 2 or None

    await until(asked_anew)
    await until_waiting(shop, order_id)
    assert (await shop.handle(order_id).describe()).run_id != first
    kinds = "SELECT kind FROM step_waits WHERE business_key = :key ORDER BY asked_at"
    assert await shop.data.sql(kinds, key=handle.id) == ["withdrawn", None]
    await send(shop, order_id)
    assert (await shop.handle(order_id).result()).status == "fulfilled"


async def test_w2_an_answer_without_a_worker_is_delivered_later(idle_shop: RunningShop, order_id: str) -> None:
    shop = idle_shop
    async with shop.worker():
        handle = await start_review(shop, order_id)
    assert await send(shop, order_id) == "recorded"
    assert await send(shop, order_id) == "recorded"
    await shop.data.sql("UPDATE step_waits SET answered_at = answered_at - interval '1 hour'")
    async with shop.worker():
        assert await deliver_answers(shop.client, shop.database) == 1
        assert (await handle.result()).status == "fulfilled"
        assert await deliver_answers(shop.client, shop.database) == 0


async def test_w2_an_answer_whose_run_has_ended_is_given_up(shop: RunningShop, order_id: str) -> None:
    handle = await start_review(shop, order_id)
    async with shop.database.transaction() as tx:
        await tx.execute(
            text("""UPDATE step_waits SET kind = 'success', digest = 'd', reason = '',
                    answered_at = now() - interval '1 hour' WHERE business_key = :key"""),
            {"key": handle.id},
        )
    await handle.terminate()
    assert await deliver_answers(shop.client, shop.database) == 0
    assert await shop.data.sql("SELECT delivered_at IS NULL FROM step_waits") == [False]
