"""What web pages may do: with the headers of browsers, which routes write, and in a real browser."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from google.protobuf.json_format import MessageToDict
from temporalio.api.common.v1 import Payload
from temporalio.client import Client

from commerce.settings import load_settings
from docs.pictures.browser import Browser
from starter.api.app import create_app
from starter.api.browser_guard import WRITING_GETS, BrowserGuard
from starter.devstack.carrier import server as carrier
from starter.devstack.serving import serving
from starter.devstack.warehouse import server as warehouse
from tests.browser import FOREIGN_SITE
from tests.keys import ENCRYPTION_ENV, codec
from tests.polling import until
from tests.running_shop import RunningShop
from tests.starter.api.api_client import create_api, offline_client

DECODE = "/codec/default/decode"
TOKEN = "a-token-of-the-shop"
FOREIGN_PAGES = [
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:3000"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Origin": "https://evil.example"},
    {"Origin": "http://localhost:3000"},
    {"Origin": "null"},
    {"Origin": "http://["},
    {"Origin": ""},
]
OWN_PAGES = [
    {},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"},
    {"Origin": "http://localhost"},
]
WRITES = [
    ("POST", "/workflows/execute"),
    ("POST", "/workflows/order-processing-1001/cancel"),
    ("POST", "/workflows/order-processing-1001/retry"),
    ("POST", "/schedules/upkeep/trigger"),
    ("POST", "/schedules/upkeep/pause"),
    ("POST", "/schedules/upkeep/resume"),
    ("POST", "/schedules/upkeep/backfill"),
    ("PUT", "/orders/1001"),
    ("POST", "/webhooks"),
    ("DELETE", "/webhooks/0199a1b2-6f4e-7c3d-9a10-5b7e2f0c4d11"),
    ("POST", "/codec/default/decode"),
    ("POST", "/codec/default/encode"),
    ("GET", "/workflow"),
    ("DELETE", "/nowhere"),
]


def routes(app: FastAPI) -> set[tuple[str, str]]:
    return {(method.upper(), path) for path, item in app.openapi()["paths"].items() for method in item}


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with offline_client() as client:
        yield client


class TestForeignPages:
    @pytest.mark.parametrize("headers", FOREIGN_PAGES)
    @pytest.mark.parametrize(("method", "path"), WRITES)
    async def test_they_cannot_write(
        self, http: httpx.AsyncClient, method: str, path: str, headers: dict[str, str]
    ) -> None:
        response = await http.request(method, path, headers=headers)
        assert (response.status_code, response.json()) == (
            403,
            {"error": "A page of another site may not do this", "code": "ForeignPage"},
        )
        assert not [name for name in response.headers if name.startswith("access-control")]

    async def test_a_token_does_not_help_them(self) -> None:
        async with offline_client(COMMERCE_API_TOKENS=TOKEN) as http:
            headers = {"Authorization": f"Bearer {TOKEN}"}
            assert (await http.post(DECODE, json={}, headers=headers)).status_code == 200
            assert (await http.post(DECODE, json={}, headers=headers | FOREIGN_PAGES[0])).status_code == 403

    @pytest.mark.parametrize("path", ["/health/live", "/docs", "/openapi.json"])
    async def test_they_may_link_to_what_only_reads(self, http: httpx.AsyncClient, path: str) -> None:
        assert (await http.get(path, headers=FOREIGN_PAGES[0])).status_code == 200

    async def test_of_two_headers_the_foreign_one_counts(self, http: httpx.AsyncClient) -> None:
        for name, own, foreign in [
            ("Origin", "http://localhost", "https://evil.example"),
            ("Sec-Fetch-Site", "same-origin", "cross-site"),
        ]:
            for values in [(own, foreign), (foreign, own)]:
                response = await http.post(DECODE, json={}, headers=[(name, value) for value in values])
                assert response.status_code == 403

    @pytest.mark.parametrize("headers", OWN_PAGES)
    async def test_programs_and_pages_of_the_api_can_write(
        self, http: httpx.AsyncClient, headers: dict[str, str]
    ) -> None:
        assert (await http.post(DECODE, json={}, headers=headers)).status_code == 200
        assert (await http.delete("/nowhere", headers=headers)).status_code == 404

    async def test_behind_a_proxy_the_browsers_word_counts(self, http: httpx.AsyncClient) -> None:
        """A proxy may change Host, so that it no longer equals the origin."""
        headers = {"Sec-Fetch-Site": "same-origin", "Origin": "https://api.shop.example"}
        assert (await http.post(DECODE, json={}, headers=headers)).status_code == 200

    async def test_pages_of_the_ui_can_use_the_codec_only(self, http: httpx.AsyncClient) -> None:
        headers = {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:8233"}
        assert (await http.post(DECODE, json={}, headers=headers)).status_code == 200
        assert (await http.post("/workflows/execute", json={}, headers=headers)).status_code == 403

    async def test_every_route_that_writes_is_known(self) -> None:
        known = routes(create_app(load_settings(ENCRYPTION_ENV), ENCRYPTION_ENV))
        reading = {
            "/workflows",
            "/workflows/{transaction_id}",
            "/workflows/{transaction_id}/events",
            "/schedules",
            "/orders",
            "/orders/{order_id}",
            "/orders/{order_id}/returns",
            "/returns",
            "/returns/{return_id}",
            "/stock",
            "/stock/movements",
            "/notifications",
            "/events",
            "/stock/item",
            "/locations",
            "/products/unlinked",
            "/intake/unusable",
            "/notifications/{key}",
            "/customers",
            "/customers/{customer_id}",
            "/reports",
            "/reports.csv",
            "/webhooks",
            "/webhooks/{webhook_id}/deliveries",
            "/exports/fulfillments",
            "/health/live",
            "/health/ready",
            "/metrics",
        }
        assert {path for method, path in known if method == "GET"} - WRITING_GETS == reading


class TestHostNames:
    @pytest.mark.parametrize(
        "host",
        ["localhost", "localhost:9000", "LOCALHOST:9000", "127.0.0.1", "127.0.0.1:9000", "[::1]", "[::1]:9000"],
    )
    async def test_this_machine_is_accepted(self, http: httpx.AsyncClient, host: str) -> None:
        assert (await http.get("/health/live", headers={"Host": host})).status_code == 200

    @pytest.mark.parametrize(
        "host",
        [
            *("evil.example", "evil.example:9000", "localhost.evil.example", "127.0.0.1.nip.example", "10.0.0.1"),
            *("localhost@evil.example", "[::1", "", "127.0.0.2", "xlocalhost", "[::2]:9000"),
        ],
    )
    async def test_without_tokens_no_other_is(self, http: httpx.AsyncClient, host: str) -> None:
        for response in [
            await http.post(DECODE, json={}, headers={"Host": host}),
            await http.get("/health/live", headers={"Host": host}),
        ]:
            assert (response.status_code, response.json()["code"]) == (403, "HostNotAllowed")

    async def test_the_address_that_the_api_listens_on_is_accepted(self) -> None:
        async with offline_client(COMMERCE_API_HOST="127.0.0.2") as http:
            assert (await http.get("/health/live", headers={"Host": "127.0.0.2:9000"})).status_code == 200

    async def test_with_tokens_any_host_name_is_accepted(self) -> None:
        async with offline_client(COMMERCE_API_TOKENS=TOKEN) as http:
            assert (await http.get("/health/live", headers={"Host": "api.shop.example"})).status_code == 200

    @pytest.mark.parametrize("path", ["/health/live/", "/workflow/", "/workflows/"])
    async def test_no_path_is_redirected_to_the_host_of_the_request(self, path: str) -> None:
        async with offline_client(COMMERCE_API_TOKENS=TOKEN) as http:
            headers = {"Host": "evil.example", "Authorization": f"Bearer {TOKEN}"}
            response = await http.get(path, headers=headers)
            assert (response.status_code, response.json()["code"]) == (404, "NotFound")
            assert "location" not in response.headers


class TestEmbeddedServers:
    """The embedded carrier and warehouse can be controlled over HTTP, and require no key for it."""

    @pytest.fixture
    async def urls(self, tmp_path: Path, database_url: str) -> AsyncIterator[Sequence[str]]:
        async with (
            carrier.running(tmp_path / "c", 0) as first,
            warehouse.running(tmp_path / "w", 0, database_url) as second,
        ):
            yield [first, second]

    @pytest.mark.parametrize("headers", [*FOREIGN_PAGES, {"Host": "evil.example"}])
    async def test_pages_cannot_control_them(self, urls: Sequence[str], headers: dict[str, str]) -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            for url in urls:
                assert (await http.delete(f"{url}/trial/faults", headers=headers)).status_code == 403
                assert (await http.delete(f"{url}/trial/faults")).status_code == 204


@dataclass
class Browsing:
    """A browser with a page of a foreign site, and the API on the same machine."""

    browser: Browser
    api: str  # as this machine calls it
    rebound: str  # the API under the host name of the foreign site
    page: str  # a page of the foreign site
    ui: str  # a page of Temporal's UI

    async def run(self, page: str, script: str) -> Any:
        """Open a page and return the value of a script in it."""
        await asyncio.to_thread(self.browser.open, page, width=400, height=300)
        await asyncio.to_thread(self.browser.wait, f"location.href === {page!r} && document.readyState === 'complete'")
        return await asyncio.to_thread(self.browser.evaluate, script)

    async def status(self, page: str, url: str, payload: Payload) -> str:
        """Return the status of a request that a page sends to the codec, or `unreadable`."""
        body = {"payloads": [MessageToDict(payload)]}
        return str(
            await self.run(
                page,
                f"fetch('{url}{DECODE}', {{method: 'POST', body: JSON.stringify({body})}})"
                ".then(response => String(response.status), () => 'unreadable')",
            )
        )


@pytest.mark.programs
@pytest.mark.parametrize("guarded", [False, True], ids=["before", "after"])
class TestInABrowser:
    """Each attack works without the guard, which shows that a browser carries it out, and fails with it."""

    @pytest.fixture
    async def browsing(self, shop: RunningShop, browser: Browser, *, guarded: bool) -> AsyncIterator[Browsing]:
        async with AsyncExitStack() as stack:
            page = await stack.enter_async_context(serving(blank_page(), 0))
            ui = await stack.enter_async_context(serving(blank_page(), 0))
            app = create_api(shop, COMMERCE_TEMPORAL_UI_URL=ui)
            if not guarded:
                app.user_middleware[:] = [used for used in app.user_middleware if used.cls is not BrowserGuard]
            api = await stack.enter_async_context(serving(app, 0))
            rebound = api.replace("127.0.0.1", FOREIGN_SITE)
            yield Browsing(browser, api, rebound, page.replace("127.0.0.1", FOREIGN_SITE) + "/", f"{ui}/")

    async def test_a_foreign_page_cancels_an_order(
        self, shop: RunningShop, browsing: Browsing, *, guarded: bool
    ) -> None:
        order_id = f"browser-{uuid4()}"
        await shop.data.order(order_id, MUG=1)
        handle = await shop.start(order_id)
        url = f"{browsing.api}/workflows/{handle.id}/cancel"
        await browsing.run(browsing.page, f"fetch('{url}', {{method: 'POST', mode: 'no-cors'}}).then(() => 1)")
        history = await handle.fetch_history()
        cancelled = any(e.HasField("workflow_execution_cancel_requested_event_attributes") for e in history.events)
        assert cancelled is not guarded

    async def test_an_image_of_a_foreign_page_starts_a_process(
        self, client: Client, browsing: Browsing, *, guarded: bool
    ) -> None:
        name = f"image {browsing.api}"
        script = (
            "new Promise(done => {const image = new Image(); image.onerror = image.onload = () => done(1);"
            f" image.src = '{browsing.api}/workflow?name=' + encodeURIComponent('{name}'); setTimeout(done, 3000)}})"
        )
        before = await count_greetings(client)
        await browsing.run(browsing.page, script)
        if not guarded:
            assert await until(lambda: has_more_greetings(client, before))
        else:
            assert await count_greetings(client) == before

    async def test_a_rebound_host_name_reads_decrypted_payloads(self, browsing: Browsing, *, guarded: bool) -> None:
        [encrypted] = await codec().encode([Payload(metadata={"encoding": b"json/plain"}, data=b'"Ann"')])
        status = await browsing.status(f"{browsing.rebound}/health/live", browsing.rebound, encrypted)
        assert status == ("403" if guarded else "200")

    async def test_the_ui_and_the_docs_page_still_work(self, browsing: Browsing, *, guarded: bool) -> None:
        del guarded
        [encrypted] = await codec().encode([Payload(metadata={"encoding": b"json/plain"}, data=b'"Ann"')])
        assert await browsing.status(browsing.ui, browsing.api, encrypted) == "200"
        assert await browsing.status(f"{browsing.api}/docs", browsing.api, encrypted) == "200"
        assert await browsing.status(browsing.page, browsing.api, encrypted) == "unreadable"


async def count_greetings(client: Client) -> int:
    return (await client.count_workflows("WorkflowType = 'hello-world'")).count


async def has_more_greetings(client: Client, before: int) -> bool | None:
    return await count_greetings(client) > before or None


def blank_page() -> FastAPI:
    app = FastAPI()
    app.get("/", response_class=HTMLResponse)(lambda: "<title>A page</title>")
    return app
