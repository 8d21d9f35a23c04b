"""Processes over HTTP: every answer of the contract's table, each from a real process."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs
from temporalio.client import Client

from commerce.messages.customers import registration_process_id
from starter.api.errors import NOT_JSON
from tests.faults import Faults, Gate
from tests.polling import until
from tests.running_shop import RunningShop, running_shop
from tests.starter.api.calling import api, calling, dialling

UNKNOWN = "order-processing-that-nobody-placed"
ANN = {"email": "ann@customer.example", "password": "correct horse", "first_name": "Ann", "last_name": "Lee"}
JSON = {"Content-Type": "application/json"}
TOKEN = "a-token-that-is-long-enough"


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    """A shop that nobody works in yet."""
    async with running_shop(tmp_path, database_url, client) as made:
        await made.data.stock("MUG", main=100)
        yield made


@pytest.fixture
async def http(shop: RunningShop) -> AsyncIterator[httpx.AsyncClient]:
    async with calling(api(shop)) as made:
        yield made


async def execute(http: httpx.AsyncClient, kind: str, given: dict[str, Any], **more: Any) -> tuple[int, Any]:
    answer = await http.post("/workflows/execute", json={"workflow_id": kind, "input": given, **more})
    return answer.status_code, answer.json()


async def process(http: httpx.AsyncClient, order_id: str, **more: Any) -> tuple[int, Any]:
    return await execute(http, "order-processing", {"order_id": order_id}, **more)


async def test_an_order_is_executed_and_then_told_of(shop: RunningShop, http: httpx.AsyncClient) -> None:
    await shop.data.order("http-1", MUG=5)
    async with shop.worker():
        status, body = await process(http, "http-1")
        assert status == 200 and body.keys() == {"success", "result", "transaction_id"}
        assert body["success"] is True and body["transaction_id"] == "order-processing-http-1"
        assert body["result"]["status"] == "fulfilled" and body["result"]["order_id"] == "http-1"
        told = (await http.get("/workflows/order-processing-http-1")).json()
    assert told.keys() >= {
        *("transaction_id", "run_id", "type", "status", "state", "started_at", "ended_at", "progress", "result"),
        *("error", "failed_step", "ui_url"),
    }
    assert (told["type"], told["status"], told["state"]) == ("order-processing", "completed", "completed")
    assert told["result"] == body["result"] and told["error"] is None
    assert told["progress"]["steps"][0]["name"] == "validate-order"
    assert told["ui_url"].startswith("http://localhost:8233/")


async def test_a_process_that_takes_longer_is_joined_by_who_asks_again(
    shop: RunningShop, http: httpx.AsyncClient
) -> None:
    await shop.data.order("http-2", MUG=1)
    running = {"success": True, "status": "running", "transaction_id": "order-processing-http-2"}
    gate = Gate("reserve-inventory")
    async with shop.worker([gate]):
        assert await process(http, "http-2", wait_seconds=0) == (202, running)
        await gate.reached.wait()
        assert await process(http, "http-2", wait_seconds=0.2) == (202, running)
        gate.opened.set()
        assert (await process(http, "http-2"))[0] == 200
    assert (await shop.labels("http-2"))["bought"] == 1


async def test_an_unknown_type_is_refused_in_the_words_of_old(http: httpx.AsyncClient) -> None:
    assert await execute(http, "order-procesing", {}) == (400, {"error": "Unknown workflow: order-procesing"})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"input": {}}, "body.workflow_id"),
        ({"workflow_id": "order-processing", "input": {}}, "body.input.order_id"),
        ({"workflow_id": "order-processing", "input": {"order_id": "a b"}}, "body.input.order_id"),
        ({"workflow_id": "order-processing", "input": ["1"]}, "body.input"),
        ({"workflow_id": "order-processing", "input": {"order_id": "1"}, "wait_seconds": 901}, "body.wait_seconds"),
        ({"workflow_id": "order-processing", "input": {"order_id": "1"}, "wait_seconds": -1}, "body.wait_seconds"),
        (
            {"workflow_id": "order-processing", "input": {"order_id": "1"}, "transaction_id": "order-processing-2"},
            "body.transaction_id",
        ),
        ({"workflow_id": "sync-inventory", "transaction_id": "mine"}, "body.transaction_id"),
        ({"workflow_id": "hello-world", "input": {"name": "J"}, "transaction_id": "a/b"}, "body.transaction_id"),
        ({"workflow_id": "customer-registration", "input": ANN | {"password": "hunter2"}}, "body.input.password"),
        ({"workflow_id": "customer-registration", "input": ANN | {"email": "ann"}}, "body.input.email"),
        ({"workflow_id": "\ud800"}, "body.workflow_id"),
        ({"workflow_id": "order-processing", "input": {"order_id": "1", "\ud800": 1}}, "body.input.input"),
    ],
)
async def test_what_does_not_fit_is_named(http: httpx.AsyncClient, body: dict[str, Any], field: str) -> None:
    answer = await http.post("/workflows/execute", content=json.dumps(body), headers=JSON)
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"] == "Invalid input"
    assert [found["field"] for found in answer.json()["fields"]] == [field]
    assert "hunter2" not in answer.text


async def test_a_process_that_fails_says_where_and_why(shop: RunningShop, http: httpx.AsyncClient) -> None:
    await shop.data.order("http-3", MUG=1)
    async with shop.worker([Faults({"create-fulfillment": "before"})]):
        status, body = await process(http, "http-3")
        assert (status, body) == (
            500,
            {
                "error": "Workflow execution failed",
                "details": "Refused: create-fulfillment is refused by the test",
                "transaction_id": "order-processing-http-3",
                "failed_step": "create-fulfillment",
            },
        )
        told = (await http.get("/workflows/order-processing-http-3")).json()
    assert (told["status"], told["state"], told["failed_step"]) == ("failed", "compensated", "create-fulfillment")


async def test_a_customer_registers_once_and_the_password_goes_no_further(
    shop: RunningShop, http: httpx.AsyncClient
) -> None:  # (A3)
    gate = Gate("create-customer")
    async with shop.worker([gate]):
        assert (await execute(http, "customer-registration", ANN, wait_seconds=0))[0] == 202
        await gate.reached.wait()
        status, body = await execute(http, "customer-registration", ANN)
        assert (status, body) == (
            409,
            {"error": "This e-mail address is already being registered; wait until that ends."},
        )
        gate.opened.set()
        transaction_id = registration_process_id(ANN["email"])
        await shop.client.get_workflow_handle(transaction_id).result()
        assert await execute(http, "customer-registration", ANN) == (
            409,
            {"error": "This e-mail address already has an account.", "transaction_id": transaction_id},
        )
    history = str(await shop.client.get_workflow_handle(transaction_id).fetch_history())
    assert ANN["password"] not in history and ANN["password"].replace(" ", "") not in history


async def test_a_job_runs_once_at_a_time(shop: RunningShop, http: httpx.AsyncClient) -> None:  # (J3)
    async with shop.worker([gate := Gate("delete-expired-carts")]):
        assert (await execute(http, "cleanup-expired-carts", {}, wait_seconds=0))[0] == 202
        status, body = await execute(http, "cleanup-expired-carts", {})
        assert status == 409 and body["error"].startswith("cleanup-expired-carts is already running")
        gate.opened.set()
        await shop.client.get_workflow_handle("cleanup-expired-carts").result()
        status, body = await execute(http, "cleanup-expired-carts", {}, transaction_id="cleanup-expired-carts")
    assert status == 200 and body["result"]["seen"] == 0


async def test_the_tutorials_processes_take_any_id(shop: RunningShop, http: httpx.AsyncClient) -> None:
    async with shop.worker():
        status, body = await execute(http, "hello-world", {"name": "John"}, transaction_id="greeting-7")
    assert (status, body["transaction_id"]) == (200, "greeting-7")
    assert body["result"] == {"message": "Hello John from step two!"}


async def test_failed_processes_are_listed_until_a_retry_goes_well(shop: RunningShop, http: httpx.AsyncClient) -> None:
    await shop.data.order("http-4", MUG=1)
    transaction_id = "order-processing-http-4"
    faults = Faults({"create-fulfillment": "before"})

    async def failed() -> list[str]:
        answer = await http.get("/workflows", params={"status": "failed", "limit": 500, "type": "order-processing"})
        assert answer.status_code == 200 and answer.json().keys() == {"workflows", "next_cursor"}
        return [run["transaction_id"] for run in answer.json()["workflows"]]

    async with shop.worker([faults]):
        assert (await process(http, "http-4"))[0] == 500
        await until(lambda: _when(failed, lambda ids: transaction_id in ids))
        faults.steps.clear()
        answer = await http.post(f"/workflows/{transaction_id}/retry", json={"reason": "Ann says it works again"})
        assert answer.status_code == 202
        assert (answer.json()["transaction_id"], answer.json()["action"]) == (transaction_id, "retry")
        handle = shop.client.get_workflow_handle(transaction_id, run_id=answer.json()["run_id"])
        assert (await handle.result())["status"] == "fulfilled"
        await until(lambda: _when(failed, lambda ids: transaction_id not in ids))
        again = await http.post(f"/workflows/{transaction_id}/retry")
        assert again.status_code == 409 and transaction_id in again.json()["error"]
        ended = await http.post(f"/workflows/{transaction_id}/cancel", json={})
        assert ended.status_code == 409
    kept = "SELECT action, reason, actor FROM operator_actions"
    assert await shop.data.sql(kept) == [("retry", "Ann says it works again", "http")]
    assert "Ann says" not in str(await handle.fetch_history())


async def test_a_cancelled_order_is_undone(shop: RunningShop, http: httpx.AsyncClient) -> None:
    await shop.data.order("http-5", MUG=1)
    gate = Gate("create-fulfillment")
    async with shop.worker([gate]):
        assert (await process(http, "http-5", wait_seconds=0))[0] == 202
        await gate.reached.wait()
        answer = await http.post("/workflows/order-processing-http-5/cancel", json={"reason": "Changed their mind"})
        assert (answer.status_code, answer.json()["action"]) == (202, "cancel")
        gate.opened.set()
        status, body = await process(http, "http-5")
        assert status == 500 and body["error"] == "Workflow execution failed"
    told = (await http.get("/workflows/order-processing-http-5")).json()
    assert told["status"] == "cancelled"
    assert (await shop.data.levels("MUG"))["main"] == (100, 0)


async def test_who_hangs_up_stops_nothing(shop: RunningShop) -> None:
    await shop.data.order("http-6", MUG=1)
    gate = Gate("reserve-inventory")
    async with shop.worker([gate]):
        async with dialling(api(shop)) as http:
            waiting = asyncio.create_task(process(http, "http-6", wait_seconds=900))
            await gate.reached.wait()
            waiting.cancel()
        gate.opened.set()
        assert (await shop.process("http-6")).status == "fulfilled"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"status": "odd"}, "query.status"),
        ({"type": "odd"}, "query.type"),
        ({"limit": "0"}, "query.limit"),
        ({"limit": "501"}, "query.limit"),
        ({"cursor": "!"}, "query.cursor"),
    ],
)
async def test_a_list_that_cannot_be_is_refused(http: httpx.AsyncClient, query: dict[str, str], field: str) -> None:
    answer = await http.get("/workflows", params=query)
    assert answer.status_code == 422
    assert [found["field"] for found in answer.json()["fields"]] == [field]


async def test_every_status_can_be_listed(http: httpx.AsyncClient) -> None:
    for status in ("running", "completed", "cancelled", "failed", "stuck"):
        assert (await http.get("/workflows", params={"status": status, "limit": 1})).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/workflows/{UNKNOWN}"),
        ("GET", f"/workflows/{UNKNOWN}/events"),
        ("POST", f"/workflows/{UNKNOWN}/retry"),
        ("POST", f"/workflows/{UNKNOWN}/cancel"),
        ("GET", "/workflows/%00"),
        ("GET", "/workflows/%FF%FE"),
        ("GET", "/workflows/%F0%9F%91%BB%20'%22;--%0A"),
        ("GET", "/workflows/" + "%F0%9F%91%BB" * 200),
        ("GET", "/workflows/a%2Fb"),
    ],
)
async def test_what_there_is_none_of_is_not_found(http: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await http.request(method, path)
    assert answer.status_code == 404 and answer.json().keys() <= {"error"}


async def test_an_id_without_end_is_refused(http: httpx.AsyncClient) -> None:
    assert (await http.get("/workflows/" + "x" * 201)).status_code == 422


@pytest.mark.parametrize("reason", ["x" * 1001, "nul \0", 5])
async def test_a_reason_that_cannot_be_kept_is_refused(http: httpx.AsyncClient, reason: object) -> None:
    answer = await http.post(f"/workflows/{UNKNOWN}/cancel", json={"reason": reason})
    assert [found["field"] for found in answer.json()["fields"]] == ["body.reason"]


@pytest.mark.parametrize(
    ("content", "kind", "status", "details"),
    [
        (b"{", "application/json", 422, None),
        (b"workflow_id=order-processing", "application/x-www-form-urlencoded", 422, NOT_JSON),
        (b"<workflow/>", "application/xml", 422, NOT_JSON),
        (b"\xff\xfe", "application/json", 422, None),
        (b'{"\xfc": 1}', "application/json", 422, "The body is not UTF-8 text"),
        (b'{"workflow_id": "' + b"x" * 1024 * 1024 + b'"}', "application/json", 413, None),
        (b"[" * 100_000, "application/json", 422, "The body is nested too deeply"),
    ],
)
async def test_bodies_of_another_kind_are_refused(
    http: httpx.AsyncClient, content: bytes, kind: str, status: int, details: str | None
) -> None:
    answer = await http.post("/workflows/execute", content=content, headers={"Content-Type": kind})
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]
    assert answer.json().get("details") == details


async def test_without_temporal_everything_says_so(shop: RunningShop) -> None:
    async with calling(api(shop, TEMPORAL_ADDRESS="127.0.0.1:1")) as http:
        assert (await process(http, "1"))[0] == 503
        for path in ("/workflows", "/workflows/x", "/workflows/x/events", "/schedules"):
            answer = await http.get(path)
            assert (answer.status_code, answer.json()["error"]) == (
                503,
                "Temporal does not answer at 127.0.0.1:1.",
            )
        assert await execute(http, "x", {}) == (400, {"error": "Unknown workflow: x"})


async def test_a_connection_is_tried_again_when_temporal_is_back(shop: RunningShop) -> None:
    app = api(shop)
    backends = app.state.backends
    there, backends._environment = backends._environment, {**backends._environment, "TEMPORAL_ADDRESS": "127.0.0.1:1"}
    async with calling(app) as http:
        assert (await http.get(f"/workflows/{UNKNOWN}")).status_code == 503
        backends._environment = there
        assert (await http.get(f"/workflows/{UNKNOWN}")).status_code == 404


async def test_tokens_guard_every_route(shop: RunningShop) -> None:
    async with calling(api(shop, COMMERCE_API_TOKENS=TOKEN)) as http:
        for method, path in (("POST", "/workflows/execute"), ("GET", "/workflows"), ("PUT", "/orders/1")):
            for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
                answer = await http.request(method, path, headers=given)
                assert (answer.status_code, answer.json()) == (401, {"error": "A valid token is needed"})
        answer = await http.get(f"/workflows/{UNKNOWN}", headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == 404


async def test_a_request_keeps_its_sane_id_and_has_one_line_in_the_log(http: httpx.AsyncClient) -> None:
    with capture_logs() as lines:
        answer = await http.get("/health/live", headers={"X-Request-ID": "call-7"})
        assert answer.headers["x-request-id"] == "call-7"
        answer = await http.get(
            "/workflows", params={"status": "ann@customer.example"}, headers={"X-Request-ID": "a b\n"}
        )
    assert len(answer.headers["x-request-id"]) == 32
    last = lines[-1]
    assert (last["method"], last["path"], last["query"], last["status"]) == ("GET", "/workflows", ["status"], 422)
    assert [line["event"] for line in lines] == ["request", "request"]
    assert "ann" not in str(lines)


async def _when(ask: Any, holds: Any) -> bool | None:
    return True if holds(await ask()) else None
