"""Pages of stock, jobs, reports, mails, webhooks and customers: what they show, who may do what, and hostile input."""

import re
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import Mount
from temporalio.client import Client

from commerce import notifications
from commerce.api_tokens import Role
from commerce.settings import load_settings
from starter.api.app import create_app
from starter.console.sessions import PATH
from starter.schedules.apply import apply_jobs
from tests.keys import ENCRYPTION_ENV
from tests.polling import until
from tests.running_shop import RunningShop, running_shop
from tests.starter.api.api_client import create_api, in_process_client, offline_client
from tests.starter.api.test_callers import SECRET, TOKENS
from tests.starter.console.test_frame import form_key, sign_in
from tests.starter.sample_jobs import NIGHTLY, delete_schedules, worker
from tests.webhook_receiver import webhook_receiver

HOSTILE = "<script>alert(1)</script>\"'{{7*7}}"
LISTS = ("stock", "jobs", "reports", "mails", "webhooks", "customers")
UNKNOWN = "0199a1b2-6f4e-7c3d-9a10-5b7e2f0c4d11"


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    async with running_shop(tmp_path, database_url, client) as running:
        yield running


@pytest.fixture
async def http(shop: RunningShop) -> AsyncIterator[httpx.AsyncClient]:
    async with in_process_client(create_api(shop, COMMERCE_API_TOKENS=TOKENS)) as made:
        yield made


async def be(http: httpx.AsyncClient, role: Role) -> None:
    """Sign in with the token of a role."""
    http.cookies.clear()
    assert (await sign_in(http, f"{role}-{SECRET}")).status_code == 303


async def get(http: httpx.AsyncClient, path: str, status: int = 200) -> str:
    response = await http.get(f"{PATH}/{path}")
    assert response.status_code == status, path
    return response.text


async def post(http: httpx.AsyncClient, path: str, **fields: str) -> httpx.Response:
    """Send a form as the page of all lists would."""
    key = form_key(await http.get(f"{PATH}/reports"))
    return await http.post(f"{PATH}/{path}", data={"form_key": key, **fields})


def notice(response: httpx.Response) -> str:
    """Return what the next page will say."""
    assert response.status_code == 303
    found = re.search(r"notice=([^;]*)", response.headers["set-cookie"])
    return httpx.URL(f"http://x/?n={found[1]}").params["n"] if found else ""


def written(path: str) -> str:
    """Return a path with something in the place of each parameter."""
    return re.sub(r"\{(\w+)\}", lambda found: UNKNOWN if found[1].endswith("_id") else "x", path)


async def test_h1_on_no_page_a_viewer_can_change_something() -> None:
    app = create_app(load_settings(ENCRYPTION_ENV), ENCRYPTION_ENV)
    [console] = [route.app for route in app.routes if isinstance(route, Mount) and route.path == PATH]
    posts = {
        found.path
        for found in iter_route_contexts(console.routes)  # type: ignore[attr-defined]
        if isinstance(found.original_route, APIRoute) and "POST" in (found.methods or ())
    }
    posts -= {"/sign-in", "/sign-out"}
    assert len(posts) >= 10
    async with offline_client(COMMERCE_API_TOKENS=TOKENS) as http:
        page = await sign_in(http, f"viewer-{SECRET}")
        key = form_key(await http.get(f"{PATH}/nothing"))
        for path in posts:
            page = await http.post(f"{PATH}{written(path)}", data={"form_key": key})
            assert (page.status_code, "This requires the role" in page.text) == (403, True), path


@pytest.mark.parametrize("role", [Role.viewer, Role.admin])
async def test_every_list_is_a_page_also_of_an_empty_shop(http: httpx.AsyncClient, role: Role) -> None:
    await be(http, role)
    for page in LISTS:
        shown = await get(http, page)
        assert f'href="/console/{page}" aria-current="page"' in shown
        forms = [form for form in re.findall(r'<form method="post" action="([^"]+)"', shown) if "sign-out" not in form]
        assert role == Role.admin or forms == []
    for wrong in (
        "stock/item?sku=%00",
        "mails/mail?key=%00",
        f"stock/item?sku=x&cursor={2**63}",
        "mails?status=new",
        "mails?cursor=x",
        "reports?since=March",
        "customers?cursor=x",
    ):
        assert 'role="alert"' in await get(http, wrong, 422)
    for strange in (
        "stock?search=%00&cursor=%00",
        "mails?order=%00",
        "customers?search=%F0%28",
        "reports?currency=%00",
    ):
        await get(http, strange)
    for unknown in ("stock/item?sku=x", "mails/mail?key=x", f"webhooks/{UNKNOWN}", f"customers/{UNKNOWN}"):
        await get(http, unknown, 404)


async def test_stock_is_shown_and_set(shop: RunningShop, http: httpx.AsyncClient) -> None:
    await shop.data.stock("MUG/1", main=3)
    await shop.data.stock(f"M{HOSTILE}", main=1)
    await shop.data.sql("UPDATE inventory_levels SET oversold = true WHERE inventory_item_id = 'MUG/1'")
    await be(http, Role.operator)
    for page in ("stock", "stock?oversold=yes", "stock?search=MUG"):
        assert 'href="/console/stock/item?sku=MUG/1"' in (shown := await get(http, page))
        assert "<script>alert" not in shown
    item = await get(http, f"stock/item?sku={quote(f'M{HOSTILE}')}")
    assert "<script>alert" not in item and HOSTILE in unescape(item)
    done = await post(http, "stock/set", sku="MUG/1", location="main", units="5", reason="Counted")
    assert (notice(done), done.headers["location"]) == (
        "main: 5 instead of 3 units.", "/console/stock/item?sku=MUG%2F1"
    )  # fmt: skip
    assert "+2" in await get(http, "stock/item?sku=MUG/1")
    assert await shop.data.sql("SELECT actor FROM operator_actions") == ["operator-ann"]
    for wrong in ({"units": "-1"}, {"units": "1.5"}, {"units": "٣"}, {"location": "x"}, {"reason": ""}):
        fields = {"sku": "MUG/1", "location": "main", "units": "5", "reason": "Counted"} | wrong
        assert (await post(http, "stock/set", **fields)).status_code == 422


async def test_mails_look_as_they_are_sent_and_are_sent_again(shop: RunningShop, http: httpx.AsyncClient) -> None:
    await shop.data.order("1")
    data = {"message": HOSTILE, "severity": "error", "link": "x"}
    await shop.data.call(
        notifications.queue, key="alert/a b", kind="alert", recipient="ann@shop.example", order_id="1", data=data
    )
    await shop.data.call(notifications.queue, key="gone", kind="welcome", recipient="a@b.example", data={})
    await shop.data.sql("UPDATE notifications SET status = 'failed', error = :error", error=HOSTILE)
    page, preview = "mails/mail?key=alert/a%20b", f"{PATH}/mails/preview?key=alert/a%20b"
    await be(http, Role.viewer)
    shown = await get(http, page)
    assert "ann@shop.example" not in shown and "iframe" not in shown and "a…@shop.example" in shown
    assert (await http.get(preview)).status_code == 403
    await be(http, Role.operator)
    for path in ("mails", "mails?status=failed&order=1", page):
        assert "<script>alert" not in (shown := await get(http, path)) and "alert" in shown
    assert "ann@shop.example" in shown and "<iframe" in shown
    mail = await http.get(preview)
    assert "<script>" not in mail.text and "alert(1)" in mail.text
    policy = mail.headers["content-security-policy"]
    assert "sandbox" in policy and "script-src" not in policy and mail.headers["x-frame-options"] == "SAMEORIGIN"
    assert "not known any more" in await get(http, "mails/mail?key=gone")
    again = await post(http, "mails/resend", key="alert/a b", reason="It works again")
    assert again.headers["location"] == "/console/mails/mail?key=alert%2Fa+b"
    assert (await post(http, "mails/resend", key="alert/a b", reason="twice")).status_code == 409


async def test_webhooks_are_added_tested_and_removed(shop: RunningShop, http: httpx.AsyncClient) -> None:
    await be(http, Role.admin)
    url = "https://receiver.example/<hook>"
    added = await post(http, "webhooks", url=url, types="order.placed")
    assert "whsec_" in added.text and "whsec_" not in await get(http, "webhooks")
    for refused in (url, "http://localhost/x", "ftp://x"):
        again = await post(http, "webhooks", url=refused)
        assert again.status_code == 422 and "<hook>" not in again.text and "data-open" in again.text
    [endpoint] = await shop.data.sql("SELECT CAST(id AS text) FROM webhook_endpoints")
    assert "Nothing was delivered yet" in await get(http, f"webhooks/{endpoint}")
    async with webhook_receiver() as receiver:
        await shop.data.sql("UPDATE webhook_endpoints SET url = :url", url=receiver.url)
        tested = await post(http, f"webhooks/{endpoint}/test")
        assert notice(tested) == "The receiver has accepted the test event." and len(receiver.received) == 1
    assert notice(await post(http, f"webhooks/{endpoint}/test")).startswith("The receiver has not accepted")
    assert notice(await post(http, f"webhooks/{endpoint}/remove")) == "The webhook is removed."
    assert (await post(http, f"webhooks/{endpoint}/remove")).status_code == 404


async def test_customers_are_masked_exported_and_forgotten_by_their_address(
    shop: RunningShop, http: httpx.AsyncClient
) -> None:
    [found] = await shop.data.sql(
        """INSERT INTO customers (email, first_name) VALUES ('ann@customer.example', :name)
           RETURNING CAST(id AS text)""",
        name=HOSTILE,
    )
    await shop.data.order("1", columns={"customer_id": found, "hold_reason": HOSTILE})
    await be(http, Role.viewer)
    for page in ("customers", f"customers/{found}"):
        shown = await get(http, page)
        assert "checked" not in shown
        assert "ann@customer.example" not in shown and "a…@customer.example" in shown and "<script>a" not in shown
    await get(http, "customers?unmasked=yes", 403)
    await get(http, f"customers/{found}/export", 403)
    await be(http, Role.admin)
    for page in ("customers?unmasked=yes&search=ann", f"customers/{found}"):
        shown = await get(http, page)
        assert "ann@customer.example" in shown and "<script>a" not in shown
    exported = await http.get(f"{PATH}/customers/{found}/export")
    assert exported.json()["email"] == "ann@customer.example" and exported.headers["cache-control"] == "no-store"
    refused = await post(http, f"customers/{found}/forget", email="bob@customer.example")
    assert refused.status_code == 422 and "nobody is erased by mistake" in refused.text
    assert await shop.data.sql("SELECT email FROM customers") == ["ann@customer.example"]


async def test_reports_are_shown_and_exported(shop: RunningShop, http: httpx.AsyncClient) -> None:
    await shop.data.sql(
        """INSERT INTO daily_metrics (day, currency, orders, revenue, average_order_value, new_customers,
                                      returning_customers, top_products)
           SELECT day, 'GBP', 2, 12345, 50, 1, 0,
                  jsonb_build_array(jsonb_build_object('id', 'x', 'title', CAST(:title AS text), 'units_sold', 3,
                                                       'revenue', 9))
           FROM (VALUES (date '2026-03-01'), (date '2026-03-03')) AS days (day)""",
        title=f"={HOSTILE}",
    )
    await be(http, Role.viewer)
    shown = await get(http, "reports?since=2026-03-01&until=2026-03-03&currency=gbp")
    assert "£123.45" in shown and "2026-03-02: not counted" in shown and "<script>a" not in shown
    assert '/console/reports.csv?since=2026-03-01&amp;until=2026-03-03&amp;currency=gbp"' in shown
    exported = await http.get(f"{PATH}/reports.csv?currency=gbp")
    assert exported.text.splitlines()[1].startswith("2026-03-03,GBP,2,123.45,0.50,1,0,0.00,0.00,\"'=<script>")
    assert "No day was counted" in await get(http, "reports?since=2026-04-01")


async def test_jobs_are_run_paused_and_resumed(shop: RunningShop, http: httpx.AsyncClient, client: Client) -> None:
    await apply_jobs(client, [NIGHTLY], key_id="a")
    try:
        await be(http, Role.operator)

        async def is_listed() -> bool | None:
            return NIGHTLY.id in await get(http, "jobs") or None

        await until(is_listed)
        paused = await post(http, f"jobs/{NIGHTLY.id}/pause", reason=HOSTILE)
        assert notice(paused) == f"{NIGHTLY.id} is paused."
        assert "<script>a" not in (shown := await get(http, "jobs")) and HOSTILE in unescape(shown)
        await be(http, Role.viewer)
        assert "alert(1)" not in await get(http, "jobs")
        await be(http, Role.operator)
        assert notice(await post(http, f"jobs/{NIGHTLY.id}/resume", reason="again")).endswith("runs on schedule again.")
        async with worker(client):
            run = await post(http, f"jobs/{NIGHTLY.id}/backfill", first="2026-03-01", last="2026-03-03")
            assert notice(run) == f"2 runs of {NIGHTLY.id}, one after the other."

            async def has_run() -> bool | None:
                return ">completed</span>" in await get(http, "jobs") or None

            await until(has_run)
        recorded = await shop.data.sql("SELECT action, actor FROM operator_actions ORDER BY created_at")
        assert recorded == [(action, "operator-ann") for action in ("pause", "resume", "backfill")]
        for wrong in ({"first": "", "last": ""}, {"first": "2026-03-03", "last": "2026-03-01"}):
            assert (await post(http, f"jobs/{NIGHTLY.id}/backfill", **wrong)).status_code == 422
        assert (await post(http, "jobs/collect-analytics-data/backfill", first="x", last="y")).status_code == 422
        assert (await post(http, f"jobs/{NIGHTLY.id}/pause")).status_code == 422
        assert (await post(http, "jobs/none/trigger")).status_code == 404
    finally:
        await delete_schedules(client, NIGHTLY.id)
