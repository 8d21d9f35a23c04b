"""The console in a browser: what people do with it, on which screens, and what no page may do.

All tests share a browser and a shop, whose orders have ids of their own.
"""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import asyncpg
import httpx
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, async_playwright, expect
from temporalio.client import Client

from docs.pictures.browser import find_browser
from starter.client import connect
from starter.devstack.carrier.server import REFUSED_COUNTRY
from starter.devstack.serving import serving
from starter.schedules.apply import apply_jobs
from starter.schedules.table import scheduled_jobs
from tests.conftest import database_copy
from tests.keys import ENCRYPTION_ENV
from tests.polling import until
from tests.running_shop import RunningShop, relaying, running_shop
from tests.servers import PostgresServer
from tests.starter.api.api_client import create_api
from tests.starter.console.console_client import SECRETS, TOKENS
from tests.starter.console.test_order_pages import ORDER
from tests.starter.sample_jobs import delete_schedules

Screen = tuple[int, Literal["light", "dark"]]

pytestmark = [pytest.mark.programs, pytest.mark.waits]
expect.set_options(timeout=60_000)
SERIOUS = ("serious", "critical")
# Colours depend on the scheme alone, and places on the width alone: two screens show most faults. Today and an order,
# which have charts, a timeline and windows, are also looked at on the others.
SCREENS: Sequence[Screen] = ((1280, "light"), (390, "dark"))
OTHER_SCREENS: Sequence[Screen] = ((1280, "dark"), (390, "light"))
OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"
PAGES = ("/", "/orders", "/returns", "/processes", "/stock", "/jobs", "/reports", "/mails", "/webhooks", "/customers")


@dataclass
class Browsing:
    """A browser, the shop, and the address of its API; `problems`: what pages of the last window must not have done."""

    browser: Browser
    shop: RunningShop
    url: str
    problems: list[str] = field(default_factory=list)

    async def place(self, order_id: str, **fields: object) -> None:
        """Take an order in; the relay starts its process."""
        token = {"Authorization": f"Bearer {SECRETS['operator']}"}
        async with httpx.AsyncClient(base_url=self.url, headers=token, trust_env=False) as http:
            (await http.put(f"/orders/{order_id}", json=ORDER | fields)).raise_for_status()

    async def failed(self, order_id: str) -> None:
        """Take in an order whose address the carrier refuses, and wait until its process has failed."""
        await self.place(order_id, shipping_country=REFUSED_COUNTRY)

        async def has_failed() -> bool | None:
            found = await self.shop.data.sql("SELECT hold_reason FROM orders WHERE id = :id", id=order_id)
            return found == ["failed: CarrierRefused"] or None

        await until(has_failed)

    async def alert_about(self, order_id: str) -> str:
        """Return the key of the mail that told the admins of an order's failure, once it is sent."""

        async def was_sent() -> str | None:
            keys = await self.shop.data.sql(
                "SELECT key FROM notifications WHERE order_id = :id AND status = 'sent'", id=order_id
            )
            return str(keys[0]) if keys else None

        return await until(was_sent)

    async def open(self) -> Page:
        """Open a window, sign in, and note everything that pages must not do. Windows of earlier tests are closed."""
        for earlier in self.browser.contexts:  # its pages renew themselves
            await earlier.close()
        context = await self.browser.new_context(viewport={"width": 1280, "height": 900}, base_url=self.url)
        page = await context.new_page()
        self.problems.clear()
        ours = f"{self.url}/"
        context.on("request", lambda sent: self._note(not sent.url.startswith(ours), f"request to {sent.url}"))
        page.on("pageerror", lambda error: self._note(True, str(error)))
        page.on("console", lambda line: self._note(line.type in ("error", "warning"), line.text))
        await page.goto("/console/")
        await page.get_by_label("Token").fill(SECRETS["operator"])
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Today")
        return page

    def _note(self, is_wrong: bool, text: str) -> None:
        if is_wrong:
            self.problems.append(text)


@pytest.fixture(scope="module")
async def browsing(
    tmp_path_factory: pytest.TempPathFactory,
    postgres_server: PostgresServer,
    admin: asyncpg.Connection,
    template: str,
    temporal_server: str,
) -> AsyncIterator[Browsing]:
    if not (program := find_browser()):
        pytest.skip("Chromium (Debian: apt install chromium)")
    folder: Path = tmp_path_factory.mktemp("console")
    client: Client = await connect({"TEMPORAL_ADDRESS": temporal_server, **ENCRYPTION_ENV})
    async with AsyncExitStack() as stack:
        name = await stack.enter_async_context(database_copy(admin, template))
        shop = await stack.enter_async_context(
            running_shop(folder, postgres_server.url(name), client, COMMERCE_REVIEW_ABOVE="GBP=1000")
        )
        await shop.data.stock("MUG", main=100)
        await stack.enter_async_context(shop.worker())
        await stack.enter_async_context(relaying(shop))
        url = await stack.enter_async_context(serving(create_api(shop, COMMERCE_API_TOKENS=TOKENS), 0))
        playwright = await stack.enter_async_context(async_playwright())
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox", OFFLINE])
        stack.push_async_callback(browser.close)
        yield Browsing(browser, shop, url)


async def test_an_order_is_found_and_watched_while_it_is_processed(browsing: Browsing) -> None:
    page = await browsing.open()
    await browsing.shop.data.order("browser-1", MUG=1, columns={"name": "#B1", "shipping_name": "Ann Lee"})
    await page.get_by_role("link", name="Orders", exact=True).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Orders")
    await page.wait_for_load_state("load")  # the scripts have run
    await page.keyboard.press("/")
    await expect(page.get_by_role("searchbox")).to_be_focused()
    await page.keyboard.type("browser-1")
    await expect(page).to_have_url(re.compile("search=browser-1"))
    await page.get_by_role("row", name="#B1").get_by_role("link", name="#B1").click()
    await expect(page.locator("#live .badge").first).to_have_text("open")
    await page.get_by_role("button", name="Process now").click()
    await expect(page.get_by_text("The order is being processed.")).to_be_visible()
    await expect(page.locator("#live .badge").first).to_have_text("fulfilled")
    story = page.locator(".timeline")
    await expect(story.get_by_text("create-shipping-label")).to_be_visible()
    await expect(story.get_by_text("Shipped with")).to_be_visible()
    for button in ("Process now", "Hold", "Stop the run"):  # the buttons follow
        await expect(page.get_by_role("button", name=button)).to_have_count(0)
    assert browsing.problems == []


async def test_a_refused_address_is_corrected_until_the_order_is_fulfilled(browsing: Browsing) -> None:
    await browsing.failed("browser-2")
    page = await browsing.open()
    await page.goto("/console/orders/browser-2")
    await expect(page.get_by_role("alert")).to_contain_text("CarrierRefused")
    await page.get_by_role("button", name="Correct address").click()
    window = page.get_by_role("dialog", name="Correct address")
    await window.get_by_label("Country").fill("Nowhere")
    await window.get_by_label("Why").fill("The customer called")
    await window.get_by_role("button", name="Correct address").click()
    await expect(window.get_by_text("must be")).to_be_visible()
    await window.get_by_label("Country").fill("GB")
    await window.get_by_label("Why").fill("The customer called")
    await window.get_by_role("button", name="Correct address").click()
    await expect(page.get_by_text("The address is corrected.")).to_be_visible()
    await expect(page.locator("#live .badge").first).to_have_text("fulfilled")
    await expect(page.get_by_text("“The customer called”")).to_be_visible()


async def test_a_question_about_an_order_is_answered(browsing: Browsing) -> None:
    expensive = {"quantity": 1, "name": "Mug", "price": "2000.00", "sku": "MUG"}
    await browsing.place("browser-6", lines=[expensive])
    page = await browsing.open()
    await page.goto("/console/orders/browser-6")
    question = page.get_by_role("region", name="A question")
    await question.get_by_label("Why").fill("They are known")
    await question.get_by_role("button").first.click()
    await expect(page.get_by_text("The process has the answer.")).to_be_visible()
    await expect(page.locator("#live .badge").first).to_have_text("fulfilled")
    await expect(page.get_by_text("They are known")).to_be_visible()


async def test_failed_orders_are_retried_together(browsing: Browsing) -> None:
    for order_id in ("together-1", "together-2"):
        await browsing.failed(order_id)
    page = await browsing.open()
    processes = [f"order-processing-together-{number}" for number in (1, 2)]

    async def are_listed() -> bool | None:
        await page.goto("/console/processes?status=failed&search=order-processing-together-")
        return await page.get_by_role("checkbox", name="Tick order-processing-together-").count() == 2 or None

    await until(are_listed)
    await page.get_by_role("checkbox", name="Tick all").check()
    await page.get_by_role("button", name="Retry ticked").click()
    await expect(page.get_by_text("Nothing has been done yet.")).to_be_visible()
    await page.get_by_label("Why").fill("The carrier delivers there now")
    await page.get_by_role("button", name="Retry all").click()
    await expect(page.get_by_text("2 of 2 done.")).to_be_visible()
    rows = await browsing.shop.data.sql(
        "SELECT process_id FROM operator_actions WHERE action = 'retry' ORDER BY process_id"
    )
    assert rows == processes
    assert browsing.problems == []


async def test_goods_come_back_and_what_is_typed_outlives_renewals(browsing: Browsing) -> None:
    await browsing.shop.data.order("browser-8", MUG=2, columns={"total": 0})
    await browsing.shop.process("browser-8")
    page = await browsing.open()
    await page.goto("/console/orders/browser-8")
    await page.get_by_role("button", name="Start a return").click()
    window = page.get_by_role("dialog", name="Start a return")
    await window.get_by_label("Why").fill("Too large")
    await window.get_by_role("button", name="Start a return").click()
    await expect(page.get_by_label("Came back of MUG")).to_have_value("2")
    await page.get_by_role("region", name="Return", exact=True).get_by_role("link").first.click()
    came = page.get_by_label("Came back of MUG")
    await came.fill("1")
    await page.get_by_role("heading", level=1).click()
    for _ in range(2):  # the page renews itself
        async with page.expect_response(lambda response: "/processes/" in response.url):
            pass
    await expect(came).to_have_value("1")
    await page.get_by_role("button", name="Record what came back").click()
    await expect(page.get_by_text("1 unit came back")).to_be_visible()
    assert browsing.problems == []


async def test_a_job_is_paused_resumed_and_run_and_its_run_looked_at(browsing: Browsing) -> None:
    job = next(each for each in scheduled_jobs(browsing.shop.settings) if each.id == "cleanup-expired-carts")
    await apply_jobs(browsing.shop.client, [job], key_id="a")
    page = await browsing.open()
    card = page.get_by_role("region", name=job.id)

    async def opened() -> bool | None:
        await page.goto("/console/jobs")
        return await card.count() == 1 or None

    async def has_run() -> bool | None:
        await page.goto("/console/jobs")
        return await card.get_by_role("row").get_by_text("completed").count() == 1 or None

    try:
        await until(opened)  # Temporal lists a new schedule a moment later
        await expect(card.get_by_text("It has not run yet.")).to_be_visible()
        for button, told in (("Pause", f"{job.id} is paused."), ("Resume", f"{job.id} runs on schedule again.")):
            await card.get_by_role("button", name=button).click()
            window = page.get_by_role("dialog", name=button)
            await window.get_by_label("Why").fill(f"{button}d for the sale")
            await window.get_by_role("button", name=button).click()
            await expect(page.get_by_text(told)).to_be_visible()
            await expect(card.get_by_text("Paused for the sale")).to_have_count(int(button == "Pause"))
        await card.get_by_role("button", name=f"Run {job.id} now").click()
        await expect(page.get_by_text(f"{job.id} runs.")).to_be_visible()
        await until(has_run)
        await card.get_by_role("row").get_by_role("link").click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text(job.id)
        steps = page.get_by_role("region", name="Steps", exact=True)
        await expect(steps.get_by_role("row", name="delete-expired-carts").get_by_text("done")).to_be_visible()
    finally:
        await delete_schedules(browsing.shop.client, job.id)
    recorded = await browsing.shop.data.sql(
        "SELECT action, reason, actor FROM operator_actions WHERE process_id = :id ORDER BY created_at", id=job.id
    )
    operator = recorded[0][2]
    assert recorded == [
        ("pause", "Paused for the sale", operator),
        ("resume", "Resumed for the sale", operator),
        ("trigger", "", operator),
    ]
    assert browsing.problems == []


async def test_windows_open_and_close_by_keyboard(browsing: Browsing) -> None:
    await browsing.shop.data.order("browser-5", MUG=1)
    page = await browsing.open()
    await page.goto("/console/orders/browser-5")
    button = page.get_by_role("button", name="Hold")
    await button.focus()
    await page.keyboard.press("Enter")
    window = page.get_by_role("dialog", name="Hold")
    await expect(window).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(window).to_be_hidden()


async def test_a_link_from_another_site_finds_the_session(browsing: Browsing) -> None:
    page = await browsing.open()
    other = browsing.url.replace("127.0.0.1", "localhost")
    browsing.problems.clear()
    await page.goto(f"{other}/docs/files/nothing")
    await page.evaluate("url => { location.href = url }", f"{browsing.url}/console/orders")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Orders")


async def test_every_page_fits_and_is_accessible(browsing: Browsing) -> None:
    order = "browser-7"
    await browsing.failed(order)
    page = await browsing.open()
    mail = quote(await browsing.alert_about(order), safe="")
    details = (f"/processes/order-processing-{order}", f"/mails/mail?key={mail}", "/stock/item?sku=MUG", "/nothing")
    rich = ("/", f"/orders/{order}")
    wrong = []
    for path in (*PAGES, *rich[1:], *details):
        await page.goto(f"/console{path}")
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        for width, scheme in (*SCREENS, *(OTHER_SCREENS if path in rich else ())):
            await page.set_viewport_size({"width": width, "height": 900})
            await page.emulate_media(color_scheme=scheme)
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (path, width)
            found = (await Axe().run(page)).response["violations"]
            wrong += [
                (path, width, scheme, each["id"], [node["target"] for node in each["nodes"]])
                for each in found
                if each["impact"] in SERIOUS
            ]
    assert wrong == []
    # axe cannot ask the frame of a mail, which has no origin and runs no script, and the browser says so.
    not_ours = ("404", "recipient window's origin ('null')")
    assert [problem for problem in browsing.problems if not any(part in problem for part in not_ours)] == []
