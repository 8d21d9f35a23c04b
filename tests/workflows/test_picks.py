"""Orders that wait until the warehouse has picked them (K1 to K4)."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.worker import (
    ExecuteWorkflowInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

from commerce.errors import PermanentError, Unanswered, WaitOver
from commerce.intake.signatures import sign
from commerce.messages.cancellations import CancelOrder
from commerce.messages.orders import OrderChange, order_process_id
from commerce.messages.picks import STEP, PickLine
from commerce.messages.waits import Answer
from starter.client import start
from starter.operate.answers import answer
from starter.operate.picks import answer_pick
from tests.polling import until
from tests.running_shop import Handle, RunningShop, running_shop, wait_for_end
from tests.starter.api.api_client import create_api, in_process_client, network_client

SECRET = "the-secret-of-the-warehouse"
CONFIRMED = {"COMMERCE_FULFILLMENT": "confirmed", "COMMERCE_WAREHOUSE_SECRETS": SECRET}
PICKS = "SELECT CAST(id AS text) FROM picks WHERE business_key = :key AND withdrawn_at IS NULL ORDER BY id"
FREE = {"total": 0}  # nothing is to be refunded
HOLD = ("hold_reason", "fulfillment_status")


class ShortPicks(Interceptor):
    """Lets orders wait for the warehouse for half a second only."""

    def workflow_interceptor_class(self, _input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        return _ShortPicks


class _ShortPicks(WorkflowInboundInterceptor):
    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002
        # The sandbox gives every run its own copy of this module; only that one is changed.
        sys.modules["workflows.order_processing"].PICK_TIME = timedelta(seconds=0.5)  # type: ignore[attr-defined]
        return await super().execute_workflow(input)


@asynccontextmanager
async def picking_shop(folder: Path, database_url: str, client: Client, **more: str) -> AsyncIterator[RunningShop]:
    """A shop with nine mugs whose warehouse does not answer by itself."""
    async with running_shop(folder, database_url, client, **CONFIRMED, **more) as shop:
        await shop.data.stock("MUG", main=9)
        await warehouse(shop, silent=True)
        yield shop


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    async with picking_shop(tmp_path, database_url, client) as shop:
        yield shop


@pytest.fixture
def order_id() -> str:
    return uuid4().hex


async def warehouse(shop: RunningShop, **picker: Any) -> None:
    """Set how the warehouse picks."""
    async with httpx.AsyncClient(base_url=shop.settings.warehouse_url, verify=False) as http:
        (await http.put("/trial/picks", json=picker)).raise_for_status()


async def picks_of(shop: RunningShop, order_id: str) -> list[dict[str, Any]]:
    """Return the picks that the warehouse has of an order."""
    async with httpx.AsyncClient(base_url=shop.settings.warehouse_url, verify=False) as http:
        found: list[dict[str, Any]] = (await http.get("/trial/picks", params={"order": order_id})).json()
    return found


async def begin(shop: RunningShop, order_id: str, **units: int) -> tuple[Handle, str]:
    """Start an order, and wait until it waits for the warehouse; return its handle and its pick."""
    await shop.data.order(order_id, columns=FREE, **(units or {"MUG": 3}))
    handle = await shop.start(order_id)
    return handle, await until_asked(shop, order_id)


async def until_asked(shop: RunningShop, order_id: str) -> str:
    async def waiting() -> bool | None:
        return (await shop.states(order_id)).get(STEP) == "waiting" or None

    await until(waiting)
    [pick_id] = await shop.data.sql(PICKS, key=order_process_id(order_id))
    return str(pick_id)


async def found(shop: RunningShop, pick_id: str, units: int) -> str:
    lines = [PickLine(sku="MUG", quantity=units)]
    return await answer_pick(shop.client, shop.database, pick_id, lines)


async def assert_undone(shop: RunningShop, order_id: str, stock: int = 9) -> None:
    assert await shop.data.levels("MUG") == {"main": (stock, 0)}
    assert {pick["state"] for pick in await picks_of(shop, order_id)} == {"cancelled"}
    assert (await shop.labels(order_id))["live"] == 0
    assert await shop.findings() == []


async def test_the_embedded_warehouse_answers_and_the_order_goes_on(
    tmp_path: Path, database_url: str, client: Client, order_id: str
) -> None:  # (K1, K2)
    # The API is at an address that the shop's settings name.
    async with (
        running_shop(tmp_path / "1", database_url, client) as first,
        network_client(create_api(first, **CONFIRMED)) as http,
    ):
        url = str(http.base_url).rstrip("/")
        async with picking_shop(tmp_path / "2", database_url, client, COMMERCE_LINK_URL=url) as shop, shop.worker():
            await warehouse(shop, seconds=0)
            await shop.data.order(order_id, MUG=3, columns=FREE)
            assert (await shop.process(order_id)).status == "fulfilled"
            assert list(await shop.states(order_id))[3:6] == ["create-fulfillment", STEP, "create-shipping-label"]
            [pick] = await picks_of(shop, order_id)
            assert pick["body"]["lines"] == [{"sku": "MUG", "quantity": 3}]
            assert (pick["body"]["location"], pick["requests"]) == ("main", 1)

            async def is_answered() -> bool | None:
                [pick] = await picks_of(shop, order_id)
                return (pick["state"], pick["response"]) == ("answered", 200) or None

            await until(is_answered)
            assert await shop.findings() == []

            # The parcel has not left: taking the order back withdraws the pick, too.
            await (await start(client, "cancel-order", CancelOrder(order_id=order_id))).result()
            await assert_undone(shop, order_id)


async def test_only_signed_answers_count(shop: RunningShop, order_id: str) -> None:  # (K2)
    async with shop.worker():
        handle, pick_id = await begin(shop, order_id)
        body = b'{"id": "%s", "picked": [{"sku": "MUG", "quantity": 3}]}' % pick_id.encode()
        other = body.replace(b"3}", b"2}")

        async with in_process_client(create_api(shop, COMMERCE_API_TOKENS="a-token-it-has-not", **CONFIRMED)) as http:

            async def post(content: bytes, signature: str) -> tuple[int, Any]:
                headers = {"X-Warehouse-Signature": signature}
                response = await http.post("/intake/warehouse", content=content, headers=headers)
                return response.status_code, response.json().get("code") or response.json().get("status")

            for signature in ("", "x", sign(body, "the-secret-of-somebody-else"), sign(other, SECRET)):
                assert await post(body, signature) == (401, "Unauthorized")
            for bad in (b"{", b'{"id": "1", "picked": []}', body.replace(b"3}", b"4}"), body.replace(b"MUG", b"BOX")):
                assert await post(bad, sign(bad, SECRET)) == (422, "BadInput")
            unknown = body.replace(pick_id.encode(), b"0199c2a4-7d1e-7c3a-9a55-0d4a6d6a3f10")
            assert await post(unknown, sign(unknown, SECRET)) == (404, "PickNotFound")
            assert await post(body, sign(body, SECRET)) == (200, "taken")
            assert (await handle.result()).status == "fulfilled"
            assert await post(body, sign(body, SECRET)) == (200, "taken")
            assert await post(other, sign(other, SECRET)) == (409, "AlreadyAnswered")


async def test_a_short_pick_undoes_the_order_which_then_waits_for_stock(shop: RunningShop, order_id: str) -> None:
    """It is refused, as for any shortage (K3, V2)."""
    await shop.data.add_stock("MUG", main=-6)
    async with shop.worker():
        handle, pick_id = await begin(shop, order_id)
        assert await found(shop, pick_id, 1) == "taken"
        result = await handle.result()
        assert (result.status, result.insufficient_items[0].available) == ("insufficient_inventory", 1)
        await assert_undone(shop, order_id, stock=1)
        assert len(shop.mails("insufficient-inventory")) == 1
        assert await shop.data.order_columns(order_id, *HOLD) == (None, "not_fulfilled")
        with pytest.raises(PermanentError):
            await found(shop, pick_id, 3)


async def test_a_short_pick_ships_in_part_if_the_setting_allows(
    tmp_path: Path, database_url: str, client: Client, order_id: str
) -> None:  # (K3)
    async with picking_shop(tmp_path, database_url, client, COMMERCE_PART_SHIPMENTS="on") as shop, shop.worker():
        handle, pick_id = await begin(shop, order_id)
        await found(shop, pick_id, 2)
        assert (await handle.result()).status == "fulfilled"
        assert await shop.data.levels("MUG") == {"main": (6, 0)}
        lines = "SELECT quantity, refunded_quantity FROM order_lines WHERE order_id = :id"
        assert await shop.data.sql(lines, id=order_id) == [(2, 1)]
        [units] = [data["units"] for kind, _, data in await shop.data.events() if kind == "order.fulfilled"]
        assert units == 2
        [mail] = shop.mails("pick-short", order_id)
        body: Any = mail.get_body(("plain",))
        assert "MUG: 2 of 3" in body.get_content()
        assert (await shop.process(order_id)).status == "fulfilled"
        assert await shop.findings() == []


@pytest.mark.parametrize("how", ["cancel", "failure", "changed", "cancel-order"])
async def test_what_ends_the_order_while_it_waits_withdraws_the_pick(
    shop: RunningShop, order_id: str, how: str
) -> None:  # (K4, W6)
    async with shop.worker():
        handle, pick_id = await begin(shop, order_id)
        if how == "cancel":
            await handle.cancel()
        elif how == "failure":
            await answer(shop.client, shop.database, handle.id, STEP, Answer(answer="failure"), by="test")
        elif how == "cancel-order":
            await (await start(shop.client, "cancel-order", CancelOrder(order_id=order_id))).result()
        else:
            await shop.data.sql("UPDATE orders SET revision = 2, decisive_revision = 2")
            await handle.signal("order-changed", OrderChange(revision=2))

            async def asked_anew() -> bool | None:
                return len(await picks_of(shop, order_id)) == 2 or None

            await until(asked_anew)
            second = await until_asked(shop, order_id)
            with pytest.raises(WaitOver):
                await found(shop, pick_id, 3)
            await found(shop, second, 3)
            assert (await shop.handle(order_id).result()).status == "fulfilled"
            assert [pick["state"] for pick in await picks_of(shop, order_id)].count("cancelled") == 1
            assert await shop.findings() == []
            return
        await wait_for_end(handle)
        await assert_undone(shop, order_id)
        if how == "failure":
            assert await shop.data.order_columns(order_id, "hold_reason") == ("failed: AnsweredWithFailure",)
            assert len(shop.mails("order-failed", order_id)) == 1
        with pytest.raises(WaitOver):
            await found(shop, pick_id, 3)


async def test_a_pick_without_an_answer_is_undone_and_alerted(shop: RunningShop, order_id: str) -> None:  # (K4, W5)
    await shop.data.order(order_id, MUG=3, columns=FREE)
    async with shop.worker([ShortPicks()]):
        assert isinstance(await shop.expect_failure(order_id), Unanswered)
    await assert_undone(shop, order_id)
    assert await shop.data.order_columns(order_id, *HOLD) == ("failed: Unanswered", "not_fulfilled")
    assert len(shop.mails("pick-missing", order_id)) == 2
    assert len(shop.mails("order-failed", order_id)) == 1


async def test_a_refused_label_withdraws_an_answered_pick(shop: RunningShop, order_id: str) -> None:  # (K4)
    await shop.inject_carrier_fault(operation="buy", fault="422", order_id=order_id)
    async with shop.worker():
        handle, pick_id = await begin(shop, order_id)
        await found(shop, pick_id, 3)
        await wait_for_end(handle)
        assert await shop.status(order_id) == WorkflowExecutionStatus.FAILED
    await assert_undone(shop, order_id)


async def test_a_terminated_order_asks_anew_and_withdraws_the_first_pick(shop: RunningShop, order_id: str) -> None:
    """The leftovers of the first run are undone first (K4, E12)."""
    async with shop.worker():
        handle, pick_id = await begin(shop, order_id)
        await handle.terminate()
        again = await shop.start(order_id)

        async def asked_anew() -> bool | None:
            return len(await picks_of(shop, order_id)) == 2 or None

        await until(asked_anew)
        second = await until_asked(shop, order_id)
        with pytest.raises(WaitOver):
            await found(shop, pick_id, 3)
        await found(shop, second, 3)
        assert (await again.result()).status == "fulfilled"
        assert [pick["state"] for pick in await picks_of(shop, order_id)].count("cancelled") == 1
        assert await shop.findings() == []
