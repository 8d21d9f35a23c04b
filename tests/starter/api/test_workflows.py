"""Processes over HTTP: every response that the contract lists, each from a real process."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import httpx
import pytest
from structlog.testing import capture_logs
from temporalio.client import Client, WorkflowFailureError

from commerce.messages.customers import registration_process_id
from starter.api.errors import NOT_JSON
from starter.processes import PROCESS_TYPES, TASK_QUEUE
from tests.faults import Faults, Gate
from tests.polling import until
from tests.running_shop import RunningShop, running_shop
from tests.starter.api.api_client import create_api, in_process_client, network_client

UNKNOWN = "order-processing-missing"
ANN = {"email": "ann@customer.example", "password": "correct horse", "first_name": "Ann", "last_name": "Lee"}
JSON = {"Content-Type": "application/json"}
RESUME = {"run": {"generation": "x", "nominal": "2026-03-02T12:00:00Z"}}
TOKEN = "a-token-that-is-long-enough"


async def execute(http: httpx.AsyncClient, kind: str, entry: dict[str, Any], **fields: Any) -> tuple[int, Any]:
    response = await http.post("/workflows/execute", json={"workflow_id": kind, "input": entry, **fields})
    return response.status_code, response.json()


async def process(http: httpx.AsyncClient, order_id: str, **fields: Any) -> tuple[int, Any]:
    return await execute(http, "order-processing", {"order_id": order_id}, **fields)


async def test_an_executed_order_is_shown(shop: RunningShop, http: httpx.AsyncClient) -> None:
    await shop.data.order("http-1", MUG=5)
    async with shop.worker():
        status, body = await process(http, "http-1")
        assert status == 200 and body.keys() == {"success", "result", "transaction_id"}
        assert body["success"] is True and body["transaction_id"] == "order-processing-http-1"
        assert body["result"]["status"] == "fulfilled" and body["result"]["order_id"] == "http-1"
        shown = (await http.get("/workflows/order-processing-http-1")).json()
    assert shown.keys() >= {
        *("transaction_id", "run_id", "type", "status", "state", "started_at", "ended_at", "progress", "result"),
        *("error", "failed_step", "ui_url"),
    }
    assert (shown["type"], shown["status"], shown["state"]) == ("order-processing", "completed", "completed")
    assert shown["result"] == body["result"] and shown["error"] is None
    assert shown["progress"]["steps"][0]["name"] == "validate-order"
    assert shown["ui_url"].startswith("http://localhost:8233/")


async def test_a_second_request_joins_a_running_process(shop: RunningShop, http: httpx.AsyncClient) -> None:
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


async def test_a_process_whose_input_is_invalid_is_not_retried(shop: RunningShop, http: httpx.AsyncClient) -> None:
    process_id = f"order-processing-{uuid4()}"
    async with shop.worker():
        unfit = await shop.client.start_workflow("order-processing", [1], id=process_id, task_queue=TASK_QUEUE)
        with pytest.raises(WorkflowFailureError):
            await unfit.result()
    response = await http.post(f"/workflows/{process_id}/retry", json={"reason": "a mistake"})
    assert (response.status_code, response.json()["code"]) == (422, "BadInput")
    assert await shop.data.sql("SELECT count(*) FROM operator_actions") == [0]


async def test_an_unknown_type_is_refused(http: httpx.AsyncClient) -> None:
    assert await execute(http, "order-procesing", {}) == (
        400,
        {"error": "Unknown workflow: order-procesing", "code": "UnknownWorkflow"},
    )


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
        ({"workflow_id": "sync-inventory", "input": {"resume": RESUME}}, "body.input.resume"),
        ({"workflow_id": "hello-world", "input": {"name": "J"}, "transaction_id": "a/b"}, "body.transaction_id"),
        ({"workflow_id": "customer-registration", "input": ANN | {"password": "hunter2"}}, "body.input.password"),
        ({"workflow_id": "customer-registration", "input": ANN | {"email": "ann"}}, "body.input.email"),
        ({"workflow_id": "\ud800"}, "body.workflow_id"),
        ({"workflow_id": "order-processing", "input": {"order_id": "1", "\ud800": 1}}, "body.input.input"),
    ],
)
async def test_invalid_fields_are_named(http: httpx.AsyncClient, body: dict[str, Any], field: str) -> None:
    response = await http.post("/workflows/execute", content=json.dumps(body), headers=JSON)
    assert response.status_code == 422, response.text
    assert response.json()["error"] == "Invalid input"
    assert [found["field"] for found in response.json()["fields"]] == [field]
    assert "hunter2" not in response.text


async def test_a_failed_process_names_its_step_and_reason(shop: RunningShop, http: httpx.AsyncClient) -> None:
    await shop.data.order("http-3", MUG=1)
    async with shop.worker([Faults({"create-fulfillment": "before"})]):
        status, body = await process(http, "http-3")
        assert (status, body) == (
            500,
            {
                "error": "Workflow execution failed",
                "code": "ProcessFailed",
                "details": "Refused: create-fulfillment is refused by the test",
                "transaction_id": "order-processing-http-3",
                "failed_step": "create-fulfillment",
            },
        )
        shown = (await http.get("/workflows/order-processing-http-3")).json()
    assert (shown["status"], shown["state"], shown["failed_step"]) == ("failed", "compensated", "create-fulfillment")


async def test_a_failed_process_has_the_code_of_its_error(shop: RunningShop, http: httpx.AsyncClient) -> None:
    await shop.data.order("http-7", MUG=1, columns={"payment_status": "authorized"})
    async with shop.worker():
        status, body = await process(http, "http-7")
    assert (status, body["code"], body["failed_step"]) == (500, "PaymentNotCaptured", "validate-order")
    assert body["details"].startswith("PaymentNotCaptured: ")


async def test_a_customer_registers_once_and_temporal_never_gets_the_password(
    shop: RunningShop, http: httpx.AsyncClient
) -> None:  # (A3)
    gate = Gate("create-customer")
    async with shop.worker([gate]):
        assert (await execute(http, "customer-registration", ANN, wait_seconds=0))[0] == 202
        await gate.reached.wait()
        status, body = await execute(http, "customer-registration", ANN)
        assert (status, body) == (
            409,
            {
                "error": "This e-mail address is already being registered; wait until that ends.",
                "code": "RegistrationInProgress",
            },
        )
        gate.opened.set()
        transaction_id = registration_process_id(ANN["email"])
        await shop.client.get_workflow_handle(transaction_id).result()
        assert await execute(http, "customer-registration", ANN) == (
            409,
            {
                "error": "This e-mail address already has an account.",
                "code": "CustomerAlreadyExists",
                "transaction_id": transaction_id,
            },
        )
    history = str(await shop.client.get_workflow_handle(transaction_id).fetch_history())
    assert ANN["password"] not in history and ANN["password"].replace(" ", "") not in history


async def test_a_job_runs_once_at_a_time(shop: RunningShop, http: httpx.AsyncClient) -> None:  # (J3)
    async with shop.worker([gate := Gate("delete-expired-carts")]):
        assert (await execute(http, "cleanup-expired-carts", {}, wait_seconds=0))[0] == 202
        status, body = await execute(http, "cleanup-expired-carts", {})
        assert (status, body["code"]) == (409, "JobInProgress")
        assert body["error"].startswith("cleanup-expired-carts is already running")
        gate.opened.set()
        await shop.client.get_workflow_handle("cleanup-expired-carts").result()
        status, body = await execute(http, "cleanup-expired-carts", {}, transaction_id="cleanup-expired-carts")
    assert status == 200 and body["result"]["seen"] == 0


@pytest.mark.parametrize("wait_seconds", [0, 60])
async def test_a_day_that_has_begun_nowhere_is_refused_without_a_run(
    http: httpx.AsyncClient, wait_seconds: float
) -> None:
    day = (datetime.now(UTC) + timedelta(days=2)).date().isoformat()
    status, body = await execute(http, "collect-analytics-data", {"date": day}, wait_seconds=wait_seconds)
    assert (status, body["code"]) == (422, "BadInput")
    assert body["fields"] == [{"field": "body.input.date", "message": "must not be in the future"}]
    assert (await http.get("/workflows/collect-analytics-data")).status_code == 404


async def test_a_day_that_has_not_begun_in_the_shops_zone_is_refused_without_an_alert(
    tmp_path: Path, database_url: str, client: Client
) -> None:
    tomorrow = (datetime.now(ZoneInfo("Etc/GMT+12")) + timedelta(days=1)).date().isoformat()  # somewhere it is today
    async with (
        running_shop(tmp_path, database_url, client, COMMERCE_TIMEZONE="Etc/GMT+12") as shop,
        shop.worker(),
        in_process_client(create_api(shop)) as http,
    ):
        status, body = await execute(http, "collect-analytics-data", {"date": tomorrow})
        assert (status, body) == (
            422,
            {
                "error": "Invalid input",
                "code": "BadInput",
                "fields": [{"field": "body.input.date", "message": "must not be in the future"}],
                "transaction_id": "collect-analytics-data",
            },
        )
        assert await shop.data.sql("SELECT kind FROM notifications") == []
        shown = (await http.get("/workflows/collect-analytics-data")).json()
    assert (shown["status"], shown["failed_step"]) == ("failed", "collect-day")


@pytest.mark.parametrize("kind", [name for name, kind in PROCESS_TYPES.items() if kind.is_job] + ["product-count"])
async def test_what_has_no_required_option_starts_without_input(
    shop: RunningShop, http: httpx.AsyncClient, kind: str
) -> None:
    async with shop.worker():
        response = await http.post("/workflows/execute", json={"workflow_id": kind})
    assert response.status_code == 200, response.text


async def test_the_tutorials_processes_accept_any_id(shop: RunningShop, http: httpx.AsyncClient) -> None:
    async with shop.worker():
        status, body = await execute(http, "hello-world", {"name": "John"}, transaction_id="greeting-7")
    assert (status, body["transaction_id"]) == (200, "greeting-7")
    assert body["result"] == {"message": "Hello John from step two!"}


async def test_failed_processes_are_listed_until_a_retry_succeeds(shop: RunningShop, http: httpx.AsyncClient) -> None:
    await shop.data.order("http-4", MUG=1)
    transaction_id = "order-processing-http-4"
    faults = Faults({"create-fulfillment": "before"})

    async def failed() -> list[str]:
        response = await http.get("/workflows", params={"status": "failed", "limit": 500, "type": "order-processing"})
        assert response.status_code == 200 and response.json().keys() == {"workflows", "next_cursor"}
        return [run["transaction_id"] for run in response.json()["workflows"]]

    async def is_listed_as_failed(expected: bool) -> bool | None:
        return (transaction_id in await failed()) == expected or None

    async with shop.worker([faults]):
        assert (await process(http, "http-4"))[0] == 500
        await until(lambda: is_listed_as_failed(True))
        faults.steps.clear()
        response = await http.post(f"/workflows/{transaction_id}/retry", json={"reason": "Ann says it works again"})
        assert response.status_code == 202
        assert (response.json()["transaction_id"], response.json()["action"]) == (transaction_id, "retry")
        handle = shop.client.get_workflow_handle(transaction_id, run_id=response.json()["run_id"])
        assert (await handle.result())["status"] == "fulfilled"
        await until(lambda: is_listed_as_failed(False))
        again = await http.post(f"/workflows/{transaction_id}/retry")
        assert (again.status_code, again.json()["code"]) == (409, "RetryRefused")
        assert transaction_id in again.json()["error"]
        ended = await http.post(f"/workflows/{transaction_id}/cancel", json={})
        assert (ended.status_code, ended.json()["code"]) == (409, "CancelRefused")
    recorded = await shop.data.sql("SELECT action, reason, actor FROM operator_actions")
    assert recorded == [("retry", "Ann says it works again", "local")]
    assert "Ann says" not in str(await handle.fetch_history())


async def test_many_failed_processes_are_retried(shop: RunningShop, http: httpx.AsyncClient) -> None:
    await shop.data.order("http-9", MUG=1)
    unfit, since = f"order-processing-{uuid4()}", datetime.now(UTC).isoformat()
    carrier = {"failed_with": "CarrierRefused", "type": "order-processing", "since": since}
    async with shop.worker():
        await shop.inject_carrier_fault(operation="buy", fault="422")
        assert (await process(http, "http-9"))[0] == 500
        await shop.clear_carrier_faults()
        # The input cannot be read, so no code of the process names the type of its failure.
        handle = await shop.client.start_workflow("order-processing", [1], id=unfit, task_queue=TASK_QUEUE)
        with pytest.raises(WorkflowFailureError):
            await handle.result()

        async def found(**selection: object) -> dict[str, Any] | None:
            response = await http.post("/workflows/retry", json=selection)
            assert response.status_code == 200
            answer: dict[str, Any] = response.json()
            return answer if answer["workflows"] else None

        first = await until(lambda: found(**carrier))
        [selected] = first["workflows"]
        assert (selected["transaction_id"], selected["failure_type"]) == ("order-processing-http-9", "CarrierRefused")
        assert (first["dry_run"], first["more"], first["retried"], first["refused"]) == (True, False, [], [])
        done = await found(**carrier, dry_run=False, reason="It works again") or {}
        [retried] = done["retried"]
        again = shop.client.get_workflow_handle("order-processing-http-9", run_id=retried["run_id"])
        assert (await again.result())["status"] == "fulfilled"
        assert await found(**carrier) is None

        await until(lambda: found(failed_with="BadInput", since=since))
        done = await found(failed_with="BadInput", since=since, dry_run=False) or {}
        assert [(each["transaction_id"], each["code"]) for each in done["refused"]] == [(unfit, "BadInput")]
    recorded = await shop.data.sql("SELECT action, reason, actor FROM operator_actions")
    assert recorded == [("retry", "It works again", "local")]


@pytest.mark.parametrize(
    ("selection", "field"),
    [
        ({}, "body"),
        ({"dry_run": False}, "body"),
        ({"failed_wiht": "X"}, "body.failed_wiht"),
        ({"failed_with": "X' OR 'a' = 'a"}, "body.failed_with"),
        ({"failed_with": "X", "status": "cancelled"}, "body.failed_with"),
        ({"failed_step": "x y"}, "body.failed_step"),
        ({"type": "odd"}, "body.type"),
        ({"status": "running"}, "body.status"),
        ({"since": "2026-03-01T00:00:00"}, "body.since"),
        ({"since": "2026-03-02T00:00:00Z", "until": "2026-03-01T00:00:00Z"}, "body.until"),
        ({"failed_with": "X", "limit": 1_001}, "body.limit"),
    ],
)
async def test_a_selection_that_does_not_fit_retries_nothing(
    http: httpx.AsyncClient, selection: dict[str, object], field: str
) -> None:
    response = await http.post("/workflows/retry", json=selection)
    assert (response.status_code, response.json()["code"]) == (422, "BadInput")
    assert [found["field"] for found in response.json()["fields"]] == [field]


async def test_a_cancelled_order_is_undone(shop: RunningShop, http: httpx.AsyncClient) -> None:
    await shop.data.order("http-5", MUG=1)
    gate = Gate("create-fulfillment")
    async with shop.worker([gate]):
        assert (await process(http, "http-5", wait_seconds=0))[0] == 202
        await gate.reached.wait()
        response = await http.post("/workflows/order-processing-http-5/cancel", json={"reason": "Changed their mind"})
        assert (response.status_code, response.json()["action"]) == (202, "cancel")
        gate.opened.set()
        status, body = await process(http, "http-5")
        assert (status, body["error"], body["code"]) == (500, "Workflow execution failed", "ProcessFailed")
    shown = (await http.get("/workflows/order-processing-http-5")).json()
    assert shown["status"] == "cancelled"
    assert (await shop.data.levels("MUG"))["main"] == (100, 0)


async def test_a_process_continues_after_the_caller_disconnects(shop: RunningShop) -> None:
    await shop.data.order("http-6", MUG=1)
    gate = Gate("reserve-inventory")
    async with shop.worker([gate]):
        async with network_client(create_api(shop)) as http:
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
async def test_invalid_list_parameters_are_refused(http: httpx.AsyncClient, query: dict[str, str], field: str) -> None:
    response = await http.get("/workflows", params=query)
    assert response.status_code == 422
    assert [found["field"] for found in response.json()["fields"]] == [field]


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
async def test_an_unknown_id_is_not_found(http: httpx.AsyncClient, method: str, path: str) -> None:
    response = await http.request(method, path)
    assert response.status_code == 404 and response.json().keys() <= {"error", "code"}


async def test_a_too_long_id_is_refused(http: httpx.AsyncClient) -> None:
    assert (await http.get("/workflows/" + "x" * 201)).status_code == 422


@pytest.mark.parametrize("reason", ["x" * 1001, "nul \0", 5])
async def test_a_reason_that_cannot_be_stored_is_refused(http: httpx.AsyncClient, reason: object) -> None:
    response = await http.post(f"/workflows/{UNKNOWN}/cancel", json={"reason": reason})
    assert [found["field"] for found in response.json()["fields"]] == ["body.reason"]


@pytest.mark.parametrize(
    ("content", "content_type", "status", "details"),
    [
        (b"{", "application/json", 422, None),
        (b"workflow_id=order-processing", "application/x-www-form-urlencoded", 422, NOT_JSON),
        (b"<workflow/>", "application/xml", 422, NOT_JSON),
        (b"\xff\xfe", "application/json", 422, None),
        (b'{"\xfc": 1}', "application/json", 422, "The body is not UTF-8 text"),
        (b'{"workflow_id": "' + b"x" * 1024 * 1024 + b'"}', "application/json", 413, None),
        (
            b'{"wait_seconds": ' + b"9" * 5_000 + b"}",
            "application/json",
            422,
            "The body contains a number with too many digits",
        ),
        (b"[" * 100_000, "application/json", 422, "The body is nested too deeply"),
    ],
)
async def test_unreadable_bodies_are_refused(
    http: httpx.AsyncClient, content: bytes, content_type: str, status: int, details: str | None
) -> None:
    response = await http.post("/workflows/execute", content=content, headers={"Content-Type": content_type})
    assert response.status_code == status, response.text
    assert response.json()["error"]
    assert response.json()["code"] == ("BodyTooLarge" if status == 413 else "BadInput")
    assert response.json().get("details") == details


async def test_every_route_reports_that_temporal_is_unreachable(shop: RunningShop) -> None:
    async with in_process_client(create_api(shop, TEMPORAL_ADDRESS="127.0.0.1:1")) as http:
        assert (await process(http, "1"))[0] == 503
        for path in ("/workflows", "/workflows/x", "/workflows/x/events", "/schedules"):
            response = await http.get(path)
            assert (response.status_code, response.json()) == (
                503,
                {"error": "Temporal does not answer at 127.0.0.1:1.", "code": "Unreachable"},
            )
        assert await execute(http, "x", {}) == (400, {"error": "Unknown workflow: x", "code": "UnknownWorkflow"})


async def test_a_failed_connection_is_tried_again(shop: RunningShop) -> None:
    app = create_api(shop)
    backends = app.state.backends
    reachable, backends.environment = (
        backends.environment,
        {**backends.environment, "TEMPORAL_ADDRESS": "127.0.0.1:1"},
    )
    async with in_process_client(app) as http:
        assert (await http.get(f"/workflows/{UNKNOWN}")).status_code == 503
        backends.environment = reachable
        assert (await http.get(f"/workflows/{UNKNOWN}")).status_code == 404


async def test_every_route_requires_a_token(shop: RunningShop) -> None:
    async with in_process_client(create_api(shop, COMMERCE_API_TOKENS=TOKEN)) as http:
        for method, path in (("POST", "/workflows/execute"), ("GET", "/workflows"), ("PUT", "/orders/1")):
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
                response = await http.request(method, path, headers=headers)
                assert (response.status_code, response.json()) == (
                    401,
                    {"error": "A valid token is required", "code": "Unauthorized"},
                )
        response = await http.get(f"/workflows/{UNKNOWN}", headers={"Authorization": f"Bearer {TOKEN}"})
        assert response.status_code == 404


async def test_a_request_keeps_its_valid_id_and_has_one_log_line(http: httpx.AsyncClient) -> None:
    with capture_logs() as lines:
        response = await http.get("/health/live", headers={"X-Request-ID": "call-7"})
        assert response.headers["x-request-id"] == "call-7"
        response = await http.get(
            "/workflows", params={"status": "ann@customer.example"}, headers={"X-Request-ID": "a b\n"}
        )
    assert len(response.headers["x-request-id"]) == 32
    last = lines[-1]
    assert (last["method"], last["path"], last["query"], last["status"]) == ("GET", "/workflows", ["status"], 422)
    assert [line["event"] for line in lines] == ["request", "request"]
    assert "ann" not in str(lines)
