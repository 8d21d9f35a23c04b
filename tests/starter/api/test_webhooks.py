"""Webhooks, customers, reports and stock over HTTP: who may do what, what is shown, and what is recorded."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from standardwebhooks import Webhook
from temporalio.client import Client

from commerce.api_tokens import Role
from tests.running_shop import RunningShop, running_shop
from tests.starter.api.api_client import create_api, in_process_client
from tests.starter.api.test_callers import TOKENS, bearer
from tests.webhook_receiver import webhook_receiver

URL = "https://receiver.example/hook?token=s3cret"
UNKNOWN = "0199a1b2-6f4e-7c3d-9a10-5b7e2f0c4d11"
ADMIN, OPERATOR, VIEWER = (bearer(role) for role in (Role.admin, Role.operator, Role.viewer))


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    async with running_shop(tmp_path, database_url, client) as running:
        yield running


@pytest.fixture
async def http(shop: RunningShop) -> AsyncIterator[httpx.AsyncClient]:
    async with in_process_client(create_api(shop, COMMERCE_API_TOKENS=TOKENS)) as made:
        yield made


async def test_an_admin_adds_and_removes_webhooks(shop: RunningShop, http: httpx.AsyncClient) -> None:
    added = await http.post("/webhooks", json={"url": URL, "types": ["order.placed"]}, headers=ADMIN)
    assert (added.status_code, added.headers["cache-control"]) == (201, "no-store")
    assert added.json()["secret"].startswith("whsec_")
    again = await http.post("/webhooks", json={"url": URL}, headers=ADMIN)
    assert (again.status_code, again.json()["code"]) == (409, "WebhookExists")
    for role, url in ((OPERATOR, URL), (VIEWER, "https://receiver.example/…")):
        [listed] = (await http.get("/webhooks", headers=role)).json()["webhooks"]
        assert (listed["url"], "secret" in listed) == (url, False)
    path = f"/webhooks/{added.json()['id']}"
    deliveries = await http.get(f"{path}/deliveries", headers=VIEWER)
    assert (deliveries.status_code, deliveries.json()["workflows"]) == (200, [])
    assert (await http.delete(path, headers=ADMIN)).status_code == 200
    for missing in (await http.delete(path, headers=ADMIN), await http.get(f"{path}/deliveries", headers=VIEWER)):
        assert (missing.status_code, missing.json()["code"]) == (404, "WebhookNotFound")
    recorded = await shop.data.sql("SELECT action, actor FROM operator_actions ORDER BY created_at")
    assert recorded == [("add-webhook", "admin-ann"), ("remove-webhook", "admin-ann")]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"url": "http://localhost:9000/hook"}, "body.url"),
        ({"url": "https://127.0.0.1/hook"}, "body.url"),
        ({"url": "ftp://receiver.example"}, "body.url"),
        ({"url": URL, "types": ["order.lost"]}, "body.types"),
        ({"url": URL, "types": []}, "body.types"),
        ({"url": URL, "secret": "mine"}, "body.secret"),
    ],
)
async def test_a_wrong_webhook_is_refused(http: httpx.AsyncClient, body: dict[str, object], field: str) -> None:
    response = await http.post("/webhooks", json=body, headers=ADMIN)
    assert (response.status_code, response.json()["fields"][0]["field"]) == (422, field)


async def test_a_test_event_is_signed_and_its_answer_is_returned(shop: RunningShop, http: httpx.AsyncClient) -> None:
    async with webhook_receiver() as receiver, in_process_client(create_api(shop)) as local:
        added = (await local.post("/webhooks", json={"url": receiver.url})).json()  # without tokens, so from here
        receiver.secret = added["secret"]
        path = f"/webhooks/{added['id']}/test"
        tested = (await http.post(path, headers=ADMIN)).json()
        [event] = receiver.accepted
        assert (tested["status"], tested["event_id"]) == ("delivered", event["id"])
        assert (event["type"].endswith("webhook.test"), event["subject"]) == (True, f"webhook/{added['id']}")
        receiver.status = 410
        assert (await http.post(path, headers=ADMIN)).json()["status"] == "gone"
        receiver.status = 503
        assert (await http.post(path, headers=ADMIN)).json()["error"].endswith("HTTP 503.")
    failed = (await http.post(path, headers=ADMIN)).json()
    assert (failed["status"], bool(failed["error"])) == ("failed", True)
    assert await shop.data.sql("SELECT disabled_at FROM webhook_endpoints") == [None]
    assert await shop.data.sql("SELECT count(*) FROM operator_actions WHERE action = 'test-webhook'") == [4]
    assert (await http.post(f"/webhooks/{UNKNOWN}/test", headers=ADMIN)).status_code == 404
    assert Webhook(added["secret"])


async def test_customers_are_masked_unless_an_operator_asks(shop: RunningShop, http: httpx.AsyncClient) -> None:
    [found] = await shop.data.sql(
        "INSERT INTO customers (email, first_name) VALUES ('ann@customer.example', 'Ann') RETURNING CAST(id AS text)"
    )
    listed = await http.get("/customers", headers=OPERATOR)
    assert listed.json()["customers"][0]["email"] == "a…@customer.example"
    assert listed.headers["cache-control"] == "no-store"
    clear = {"clear": "true", "search": "ann"}
    assert (await http.get("/customers", params=clear, headers=OPERATOR)).json()["customers"][0]["name"] == "Ann"
    assert (await http.get("/customers", params=clear, headers=VIEWER)).json()["code"] == "RoleRequired"
    for role, email in ((OPERATOR, "ann@customer.example"), (VIEWER, "a…@customer.example")):
        assert (await http.get(f"/customers/{found}", headers=role)).json()["email"] == email
    missing = await http.get(f"/customers/{UNKNOWN}", headers=VIEWER)
    assert (missing.status_code, missing.json()["code"]) == (404, "CustomerNotFound")


async def test_stock_mails_and_reports_over_http(shop: RunningShop, http: httpx.AsyncClient) -> None:
    await shop.data.stock("MUG", main=3)
    counted = {"sku": "MUG", "location": "main", "units": 5, "reason": "Counted"}
    done = await http.post("/stock/set", json=counted, headers=OPERATOR)
    assert done.json() == {"sku": "MUG", "location": "main", "units": 5, "before": 3, "oversold": False}
    [level] = (await http.get("/stock/item", params={"sku": "MUG"}, headers=VIEWER)).json()["levels"]
    assert level["stocked"] == 5
    assert (await http.post("/stock/set", json=counted | {"sku": "x"}, headers=OPERATOR)).status_code == 404
    nowhere = await http.post("/stock/set", json=counted | {"location": "x"}, headers=OPERATOR)
    assert nowhere.json()["fields"][0]["field"] == "body.location"
    await shop.data.sql(
        """INSERT INTO notifications (key, kind, recipient, message_id)
           VALUES ('welcome/1', 'welcome', 'ann@customer.example, bob@customer.example', 'm')"""
    )
    for role, recipient in (
        (OPERATOR, "ann@customer.example, bob@customer.example"),
        (VIEWER, "a…@customer.example, b…@customer.example"),
    ):
        assert (await http.get("/notifications/welcome/1", headers=role)).json()["recipient"] == recipient
    assert (await http.get("/notifications/none", headers=VIEWER)).status_code == 404
    assert (await http.get("/reports", headers=VIEWER)).json() == {"reports": [], "next_cursor": None}
    exported = await http.get("/reports.csv", params={"since": "2026-03-01"}, headers=VIEWER)
    assert (exported.headers["content-type"], exported.text.split(",")[0]) == ("text/csv; charset=utf-8", "Day")
    wrong = await http.get("/reports", params={"cursor": "x"}, headers=VIEWER)
    assert wrong.json()["fields"][0]["field"] == "query.cursor"


async def test_locations_products_and_unusable_webhooks(shop: RunningShop, http: httpx.AsyncClient) -> None:
    await shop.data.stock("MUG", main=3)
    await shop.data.order("1", ("White mug", 1))
    await shop.data.sql("UPDATE order_lines SET sku = '', title = 'White mug'")
    await shop.data.sql(
        """INSERT INTO intake_deliveries
               (platform, delivery_id, content_hash, topic, source, status, problem, reason, body)
           VALUES ('shopify', 'd', 'h', 'orders/create', 'shopify', 'unusable', 'invalid', 'no lines', '')"""
    )
    [location] = (await http.get("/locations", headers=VIEWER)).json()["locations"]
    assert (location["name"], location["city"]) == ("main", None)
    address = {"street1": "2 Quay", "city": "Hull", "country": "United Kingdom", "priority": None}
    changed = await http.patch("/locations/main", json=address, headers=ADMIN)
    assert (changed.json()["country"], changed.json()["priority"]) == ("GB", 0)
    for path, body, field in [
        ("/locations/none", {}, "path.location"),
        ("/locations/main", {"city": None}, "body.city"),
        ("/locations/main", {"priority": 2**31}, "body.priority"),
        ("/locations/main", {"name": "x"}, "body.name"),
    ]:
        refused = await http.patch(path, json=body, headers=ADMIN)
        assert (refused.status_code, refused.json()["fields"][0]["field"]) == (422, field)
    assert (await http.patch("/locations/main", json={}, headers=OPERATOR)).json()["code"] == "RoleRequired"
    [line] = (await http.get("/products/unlinked", headers=VIEWER)).json()["lines"]
    assert (line["text"], line["orders"]) == ("White mug", 1)
    unknown = await http.post("/products/link", json={"text": "White mug", "sku": "x"}, headers=OPERATOR)
    assert unknown.json()["fields"][0]["field"] == "body.sku"
    linked = await http.post("/products/link", json={"text": "White mug", "sku": "MUG"}, headers=OPERATOR)
    assert linked.json() == {"lines": 1}
    [delivery] = (await http.get("/intake/unusable", headers=VIEWER)).json()["deliveries"]
    assert (delivery["delivery_id"], delivery["reason"]) == ("d", "no lines")
    for retried in (1, 0):
        again = await http.post("/intake/unusable/retry", json={}, headers=OPERATOR)
        assert (again.status_code, again.json()) == (202, {"retried": retried})
    recorded = await shop.data.sql("SELECT action, actor FROM operator_actions ORDER BY created_at")
    assert recorded == [
        ("set-location", "admin-ann"),
        ("link-product", "operator-ann"),
        ("retry-intake", "operator-ann"),
        ("retry-intake", "operator-ann"),
    ]
