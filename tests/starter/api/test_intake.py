"""Webhooks of shops: signed ones are taken once, forged ones do nothing, and those that cannot be used are a 200."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from temporalio.client import Client

from commerce import order_intake, upkeep
from commerce.errors import OrderDiffers, SettingsError
from commerce.imports.new_order import NewOrder
from commerce.intake import deliveries
from commerce.integrations.alerts import AlertWebhook
from commerce.mail.intake_alerts import alert_of_unusable
from commerce.mail.notifier import Notifier
from commerce.settings import Settings, load_settings
from starter.background_work import repeat_background_work
from tests.commerce.intake.webhooks import (
    SECRET,
    encoded,
    shopify_headers,
    shopify_line,
    shopify_order,
    woo_headers,
    woo_order,
)
from tests.commerce.migrations.old_shop import check_schema
from tests.polling import until
from tests.running_shop import RunningShop, relaying, running_shop
from tests.starter.api.api_client import create_api, in_process_client, network_client, offline_client

OLD_SECRET = "the-old-secret-of-the-shop"
TOKEN = "a-token-that-webhooks-do-not-have"
SECRETS = {
    "COMMERCE_SHOPIFY_SECRETS": f"{SECRET}, {OLD_SECRET}",
    "COMMERCE_WOOCOMMERCE_SECRETS": f"{SECRET}\n{OLD_SECRET}",
    "COMMERCE_API_TOKENS": TOKEN,
}
ORDER_ID = "5678901234567"
ORDERS = "SELECT id, payment_status, fulfillment_status, total FROM orders"
DELIVERIES = "SELECT status, problem FROM intake_deliveries ORDER BY received_at"


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    async with running_shop(tmp_path, database_url, client) as made:
        await made.data.stock("MUG", main=5)
        yield made


@pytest.fixture
async def http(shop: RunningShop) -> AsyncIterator[httpx.AsyncClient]:
    """An API that has tokens, which no webhook knows."""
    async with in_process_client(create_api(shop, **SECRETS)) as made:
        yield made


async def post_shopify(http: httpx.AsyncClient, order: Any = None, **headers: str) -> tuple[int, Any]:
    body = encoded(shopify_order() if order is None else order)
    answer = await http.post("/intake/shopify", content=body, headers=shopify_headers(body, **headers))
    return answer.status_code, answer.json()


async def post_woo(http: httpx.AsyncClient, order: Any = None, **headers: str) -> tuple[int, Any]:
    body = encoded(woo_order() if order is None else order)
    answer = await http.post("/intake/woocommerce", content=body, headers=woo_headers(body, **headers))
    return answer.status_code, answer.json()


def answer(status: str, order_id: str | None = ORDER_ID, reason: str | None = None) -> tuple[int, Any]:
    return 200, {"status": status, "order_id": order_id, "reason": reason}


async def event_types(shop: RunningShop) -> list[str]:
    return [kind for kind, _, _ in await shop.data.events()]


async def alert(shop: RunningShop) -> list[Any]:
    """Alert the admins as a worker does, and return the alerts that they have."""
    webhook = AlertWebhook.of(shop.settings)
    await alert_of_unusable(shop.database, Notifier.of(shop.settings, shop.database, webhook))
    return shop.mails("intake-unusable")


async def test_the_table_is_that_of_the_migration(database_url: str) -> None:
    await check_schema(database_url)


async def test_a_signed_order_is_stored_and_published(shop: RunningShop, http: httpx.AsyncClient) -> None:
    assert await post_shopify(http) == answer("stored")
    assert await shop.data.sql(ORDERS) == [(ORDER_ID, "captured", "not_fulfilled", 2645)]
    assert await event_types(shop) == ["order.placed"]
    assert await post_woo(http) == answer("stored", "727")
    assert await event_types(shop) == ["order.placed", "order.placed"]
    assert await shop.data.sql("SELECT status, body IS NULL FROM intake_deliveries") == [("stored", True)] * 2


async def test_a_repeated_webhook_does_nothing_even_concurrently(shop: RunningShop, http: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(post_shopify(http) for _ in range(8)))
    assert sorted(body["status"] for _, body in answers) == ["repeated"] * 7 + ["stored"]
    assert {status for status, _ in answers} == {200}
    assert await post_shopify(http, webhook_id="another") == answer("known")
    assert await event_types(shop) == ["order.placed"]
    assert await shop.data.sql("SELECT count(*) FROM orders") == [1]


async def test_webhooks_of_one_second_with_the_same_id_are_two_orders(
    shop: RunningShop, http: httpx.AsyncClient
) -> None:
    """WooCommerce makes the id of a delivery from its webhook and the second."""
    assert await post_woo(http) == answer("stored", "727")
    assert await post_woo(http, woo_order(id=728, number="728")) == answer("stored", "728")
    assert await shop.data.sql("SELECT count(*) FROM orders") == [2]


@pytest.mark.parametrize("path", ["/intake/shopify", "/intake/woocommerce"])
async def test_a_forged_webhook_does_nothing(shop: RunningShop, http: httpx.AsyncClient, path: str) -> None:
    body = encoded(shopify_order() if "shopify" in path else woo_order())
    signed = (shopify_headers if "shopify" in path else woo_headers)(body)
    [name] = [name for name in signed if name in ("X-Shopify-Hmac-Sha256", "X-WC-Webhook-Signature")]
    others = shopify_headers(body, secret="a-secret-of-someone-else")["X-Shopify-Hmac-Sha256"]
    for signature in (others, "", "é", signed[name][:-1], signed[name].lower()):
        headers = {key: value for key, value in signed.items() if key != name}
        forged = headers | ({name: signature.encode()} if signature else {})
        response = await http.post(path, content=body, headers=forged)
        assert (response.status_code, response.json()["code"]) == (401, "Unauthorized")
    changed = await http.post(path, content=body + b" ", headers=signed)
    token = await http.post(path, content=body, headers={"Authorization": f"Bearer {TOKEN}"})
    assert (changed.status_code, token.status_code) == (401, 401)
    assert await shop.data.sql("SELECT count(*) FROM orders") == [0]
    assert await shop.data.sql("SELECT count(*) FROM intake_deliveries") == [0]


async def test_old_and_new_secrets_are_accepted_at_once(shop: RunningShop, http: httpx.AsyncClient) -> None:
    assert await post_shopify(http, secret=OLD_SECRET) == answer("stored")
    assert await post_woo(http, secret=OLD_SECRET) == answer("stored", "727")


async def test_without_a_secret_the_route_is_off() -> None:
    async with offline_client() as http:
        for path in ("/intake/shopify", "/intake/woocommerce"):
            body = b"webhook_id=3" if "woo" in path else encoded(shopify_order())
            response = await http.post(path, content=body, headers=shopify_headers(body))
            assert (response.status_code, response.json()["code"]) == (404, "NotFound")


async def test_the_signature_stands_in_for_origin_and_host(shop: RunningShop) -> None:
    secrets = {"COMMERCE_SHOPIFY_SECRETS": SECRET}  # without tokens
    async with in_process_client(create_api(shop, **secrets)) as http:
        body = encoded(shopify_order())
        headers = shopify_headers(body) | {
            "Host": "shop.example",
            "Origin": "https://a-shop.example",
            "Sec-Fetch-Site": "cross-site",
        }
        assert (await http.post("/intake/shopify", content=body, headers=headers)).status_code == 200
        assert (await http.get("/workflows", headers={"Host": "shop.example"})).status_code == 403
        assert (await http.post("/intake/shopify/x", content=body, headers=headers)).status_code == 403


async def test_bodies_have_a_limit_of_their_own(http: httpx.AsyncClient, shop: RunningShop) -> None:
    order = shopify_order(client_details={"user_agent": "x" * 2_000_000})
    assert await post_shopify(http, order) == answer("stored")
    too_large = shopify_order(client_details={"user_agent": "x" * 5 * 2**20})
    status, body = await post_shopify(http, too_large)
    assert (status, body) == (413, {"error": "The body is larger than 5 MiB", "code": "BodyTooLarge"})


async def test_the_server_passes_on_bodies_of_this_size_and_no_larger_ones_elsewhere(shop: RunningShop) -> None:
    async with network_client(create_api(shop, COMMERCE_SHOPIFY_SECRETS=SECRET)) as http:
        order = shopify_order(client_details={"user_agent": "x" * 4_500_000})
        assert await post_shopify(http, order) == answer("stored")
        body = encoded(order)
        chunked = await http.post("/intake/shopify", content=_parts(body), headers=shopify_headers(body))
        assert (chunked.status_code, chunked.json()["status"]) == (200, "repeated")
        assert (await http.put("/orders/1001", content=body)).status_code == 413


async def _parts(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 2**16):
        yield body[start : start + 2**16]


async def test_too_many_webhooks_are_refused_but_forged_ones_do_not_count(shop: RunningShop) -> None:
    api = create_api(shop, **SECRETS, COMMERCE_LIMIT_INTAKE="2/hour")
    async with in_process_client(api) as http:
        for _ in range(3):
            assert (await post_shopify(http, secret="a-secret-of-someone-else"))[0] == 401
        assert [(await post_shopify(http))[0] for _ in range(3)] == [200, 200, 429]
        assert (await post_woo(http))[0] == 200


async def test_an_older_update_that_comes_later_changes_nothing(shop: RunningShop, http: httpx.AsyncClient) -> None:
    pending = shopify_order(financial_status="pending", updated_at="2026-03-02T12:00:00Z")
    paid = shopify_order(updated_at="2026-03-02T12:00:09Z")
    assert await post_shopify(http, paid, topic="orders/paid") == answer("stored")
    assert await post_shopify(http, pending, webhook_id="w-2") == answer("known")
    assert await shop.data.sql("SELECT payment_status FROM orders") == ["captured"]


async def test_of_two_updates_of_one_second_the_one_that_goes_forward_counts(
    shop: RunningShop, http: httpx.AsyncClient
) -> None:
    for number, order in enumerate((shopify_order(), shopify_order(financial_status="pending"))):
        assert (await post_shopify(http, order, webhook_id=f"w-{number}"))[0] == 200
    assert await shop.data.sql("SELECT payment_status FROM orders") == ["captured"]
    assert await event_types(shop) == ["order.placed"]


async def test_an_order_is_paid_and_then_cancelled(shop: RunningShop, http: httpx.AsyncClient) -> None:
    pending = shopify_order(financial_status="pending")
    assert await post_shopify(http, pending) == answer("stored")
    assert await event_types(shop) == []
    paid = shopify_order(updated_at="2026-03-02T12:05:00Z")
    assert await post_shopify(http, paid, topic="orders/paid", webhook_id="w-2") == answer("stored")
    assert await event_types(shop) == ["order.updated"]
    gone = shopify_order(
        line_items=[shopify_line(current_quantity=0)],
        cancelled_at="2026-03-02T12:06:00Z",
        updated_at="2026-03-02T12:06:00Z",
    )
    assert await post_shopify(http, gone, topic="orders/cancelled", webhook_id="w-3") == answer("stored")
    assert await event_types(shop) == ["order.updated", "order.updated", "order.cancelled"]
    assert await shop.data.sql("SELECT cancelled_at IS NULL FROM orders") == [False]
    assert await shop.data.sql("SELECT quantity FROM order_lines") == [2]


async def test_test_orders_are_not_stored(shop: RunningShop, http: httpx.AsyncClient) -> None:
    assert await post_shopify(http, shopify_order(test=True)) == answer("ignored", None, "a test order")
    assert await shop.data.sql("SELECT count(*) FROM orders") == [0]
    assert await alert(shop) == []


async def test_the_ping_of_woocommerce_is_a_200(shop: RunningShop, http: httpx.AsyncClient) -> None:
    response = await http.post("/intake/woocommerce", data={"webhook_id": "3"})
    assert (response.status_code, response.json()["status"]) == (200, "ping")
    assert (await http.post("/intake/woocommerce", data={"webhook_id": "3", "more": "x"})).status_code == 401
    assert await shop.data.sql("SELECT count(*) FROM intake_deliveries") == [0]


async def test_what_cannot_be_used_is_kept_and_alerted_once_per_kind_and_day(
    shop: RunningShop, http: httpx.AsyncClient, capfd: pytest.CaptureFixture[str]
) -> None:
    odd = shopify_order(financial_status="mystery")
    for number in range(3):
        status, body = await post_shopify(http, odd, webhook_id=f"odd-{number}")
        assert (status, body["status"], body["order_id"]) == (200, "unusable", None)
        assert "financial_status" in body["reason"]
    assert (await post_shopify(http, b"{", webhook_id="broken"))[1]["status"] == "unusable"
    assert (await post_shopify(http, topic="products/update", webhook_id="topic"))[1]["status"] == "unusable"
    assert (await post_shopify(http, odd, webhook_id="odd-0"))[1]["status"] == "repeated"
    kept = await shop.data.sql("SELECT problem, body IS NOT NULL FROM intake_deliveries ORDER BY received_at")
    assert kept == [("BadOrder", True)] * 3 + [("OddContent", True), ("UnknownTopic", False)]
    mails = await alert(shop)
    assert sorted(mail["Subject"].strip() for mail in mails) == [
        "A webhook of Shopify cannot be read: its order is not processed",
        "A webhook of Shopify has an order that cannot be taken: it is not processed",
        "Shopify sends webhooks of a kind that is not used here: remove them at Shopify",
    ]
    assert not any("ann@customer" in mail.as_string() for mail in mails)
    await post_shopify(http, odd, webhook_id="odd-9")
    assert len(await alert(shop)) == 3
    assert await shop.data.sql("SELECT count(*) FROM intake_deliveries WHERE alerted_at IS NULL") == [0]
    printed = "".join(capfd.readouterr())
    assert "ann@customer" not in printed and "mystery" not in printed


async def test_an_order_that_the_database_refuses_is_kept(
    shop: RunningShop, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_tx: object, order: NewOrder) -> None:
        raise OrderDiffers(order.id, ["name"])

    monkeypatch.setattr(order_intake, "store_order", refuse)
    assert (await post_shopify(http))[1]["status"] == "unusable"
    assert await shop.data.sql("SELECT problem, body IS NOT NULL FROM intake_deliveries") == [("OrderDiffers", True)]
    waiting = deliveries.Delivery("shopify", "orders/paid", "w-2", encoded(shopify_order()), "shop")
    await deliveries._take_later(shop.database, waiting)
    assert await deliveries.take_waiting(shop.database) == 1
    assert await shop.data.sql(DELIVERIES) == [("unusable", "OrderDiffers")] * 2
    assert len(await alert(shop)) == 1


async def test_while_the_database_is_unavailable_the_platform_is_to_repeat() -> None:
    environment = SECRETS | {"COMMERCE_DATABASE_URL": "postgresql://commerce@127.0.0.1:1/commerce"}
    async with offline_client(**environment) as http:
        assert (await post_shopify(http))[0] == 503
        assert (await post_woo(http))[0] == 503


async def test_while_an_order_is_locked_its_webhook_waits_and_is_taken_later(
    shop: RunningShop, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "SAVE_SECONDS", 30)
    assert (await post_shopify(http, shopify_order(financial_status="pending")))[1]["status"] == "stored"
    monkeypatch.setattr(deliveries, "STORE_SECONDS", 0.3)
    paid = shopify_order(updated_at="2026-03-02T12:05:00Z")
    async with shop.database.transaction() as tx:
        await tx.execute(text("SELECT FROM orders FOR UPDATE"))
        assert await post_shopify(http, paid, webhook_id="w-2") == answer("waiting", None)
        assert (await post_shopify(http, paid, webhook_id="w-2"))[1]["status"] == "repeated"
    assert await deliveries.take_waiting(shop.database) == 1
    assert await deliveries.take_waiting(shop.database) == 0
    assert await shop.data.sql("SELECT payment_status FROM orders") == ["captured"]
    assert await shop.data.sql("SELECT count(*) FROM intake_deliveries WHERE body IS NOT NULL") == [0]
    assert await event_types(shop) == ["order.updated"]


async def test_a_worker_takes_what_waits_and_alerts(shop: RunningShop) -> None:
    for order, number in ((shopify_order(), 1), ({"id": 1}, 2)):
        delivery = deliveries.Delivery("shopify", "orders/create", f"w-{number}", encoded(order), "shop")
        await deliveries._take_later(shop.database, delivery)
    notifier = Notifier.of(shop.settings, shop.database, None)
    watching = asyncio.create_task(repeat_background_work(shop.client, shop.database, notifier, {}, interval=0.05))

    async def alerted() -> bool | None:
        return bool(shop.mails("intake-unusable")) or None

    await until(alerted)
    watching.cancel()
    assert await shop.data.sql(DELIVERIES) == [("stored", None), ("unusable", "OddContent")]


async def test_upkeep_deletes_old_webhooks_but_none_that_wait(shop: RunningShop, http: httpx.AsyncClient) -> None:
    await post_shopify(http)
    waiting = deliveries.Delivery("shopify", "orders/create", "w-2", encoded(shopify_order()), "shop")
    await deliveries._take_later(shop.database, waiting)
    now = datetime.now(UTC)
    assert await shop.data.call(upkeep.prune_intake, now - timedelta(hours=1), 10) == 0
    assert await shop.data.call(upkeep.prune_intake, now + timedelta(hours=1), 10) == 1
    assert await shop.data.sql("SELECT status FROM intake_deliveries") == ["waiting"]


async def test_orders_of_a_platform_can_have_their_own_source(shop: RunningShop) -> None:
    api = create_api(shop, **SECRETS, COMMERCE_WOOCOMMERCE_SOURCE="woo", COMMERCE_ORDER_SOURCE="main")
    async with in_process_client(api) as http:
        assert await post_woo(http) == answer("stored", "woo~727")
        assert await post_shopify(http) == answer("stored", f"main~{ORDER_ID}")


async def test_a_webhook_of_the_shop_ends_as_a_fulfilled_order(shop: RunningShop, http: httpx.AsyncClient) -> None:
    async with shop.worker(), relaying(shop):
        assert (await post_shopify(http))[0] == 200

        async def fulfilled() -> bool | None:
            return await shop.data.sql("SELECT fulfillment_status FROM orders") == ["fulfilled"] or None

        await until(fulfilled)
        assert (await post_shopify(http))[1]["status"] == "repeated"
        sent = shopify_order(fulfillment_status="fulfilled", updated_at="2026-03-02T13:00:00Z")
        assert (await post_shopify(http, sent, topic="orders/fulfilled", webhook_id="w-2"))[0] == 200
    assert await shop.data.sql("SELECT fulfillment_status FROM orders") == ["fulfilled"]
    assert (await shop.labels("#1001"))["live"] == 1
    assert await shop.findings() == []


def test_secrets_of_woocommerce_may_contain_commas() -> None:
    made_by_woocommerce = "aB,c d;e&f-0123456789"
    settings = load_settings({"COMMERCE_WOOCOMMERCE_SECRETS": f"{made_by_woocommerce}\n{OLD_SECRET}\n"})
    assert [secret.get_secret_value() for secret in settings.woocommerce_secrets] == [made_by_woocommerce, OLD_SECRET]


def test_secrets_can_be_in_files_and_must_be_long(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text(f"{SECRET}\n{OLD_SECRET}\n")
    names = ("shopify_secrets", "woocommerce_secrets")
    settings = load_settings({f"COMMERCE_{name.upper()}_FILE": str(file) for name in names})
    assert all(len(getattr(settings, name)) == 2 for name in names)
    assert Settings().shopify_secrets == ()
    with pytest.raises(SettingsError, match="COMMERCE_SHOPIFY_SECRETS"):
        load_settings({"COMMERCE_SHOPIFY_SECRETS": "short"})
