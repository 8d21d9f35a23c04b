"""The pages of the console, without a browser: what they show to whom, and what their forms do (H5)."""

import re
from http import HTTPStatus

import httpx
import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import Mount

from commerce.settings import load_settings
from starter.api.app import create_app
from starter.client import connect, start_order
from starter.console.sessions import PATH
from starter.operate import actions
from tests.keys import ENCRYPTION_ENV
from tests.polling import until
from tests.running_shop import RunningShop
from tests.starter.api.api_client import in_process_client, shop_environment
from tests.starter.console.console_client import FORM_KEY, SECRETS, TOKENS, Console, text_of

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}\u202e"
ORDER = {
    "email": "ann@customer.example",
    "financial_status": "paid",
    "created_at": "2026-03-05T12:00:00Z",
    "shipping": "3.95",
    "shipping_method": "Standard",
    "shipping_name": "Ann Lee",
    "shipping_address1": "1 High Street",
    "shipping_city": "London",
    "shipping_zip": "N1 9GU",
    "shipping_country": "GB",
    "lines": [{"quantity": 1, "name": "Mug", "price": "19.00", "sku": "MUG"}],
}
PAGES = ("/", "/orders", "/returns", "/processes", "/stock", "/jobs", "/reports", "/mails", "/webhooks", "/customers")


async def place(http: httpx.AsyncClient, order_id: str, **fields: object) -> None:
    token = {"Authorization": f"Bearer {SECRETS['operator']}"}
    (await http.put(f"/orders/{order_id}", json=ORDER | fields, headers=token)).raise_for_status()


def console_routes() -> list[tuple[str, bool]]:
    """Return the paths of the console, and whether each takes a form."""
    environment = {"COMMERCE_API_TOKENS": TOKENS, **ENCRYPTION_ENV}
    api = create_app(load_settings(environment), environment)
    [console] = [route.app for route in api.routes if isinstance(route, Mount) and route.path == PATH]
    found = [
        (re.sub(r"\{[^}]*\}", "1001", str(route.path)), "POST" in (route.methods or ()))
        for route in iter_route_contexts(console.routes)  # type: ignore[attr-defined]
        if isinstance(route.original_route, APIRoute)
    ]
    assert len(found) > 40
    return found


async def test_every_page_needs_a_session_and_every_form_its_key() -> None:
    environment = {"COMMERCE_API_TOKENS": TOKENS, **ENCRYPTION_ENV}
    async with in_process_client(create_app(load_settings(environment), environment)) as http:
        pages = [found for found in console_routes() if not found[0].startswith(("/assets", "/sign-in"))]
        for path, takes_form in pages:
            response = await http.request("POST" if takes_form else "GET", f"{PATH}{path}")
            assert response.status_code == (HTTPStatus.FORBIDDEN if takes_form else HTTPStatus.SEE_OTHER), path
        admin = await Console(http).sign_in("admin")
        for path, takes_form in pages:
            if takes_form:
                response = await admin.http.post(f"{PATH}{path}", data={"form_key": "x", "reason": "x"})
                assert response.status_code == HTTPStatus.FORBIDDEN, path
                assert "out of date" in response.text


async def test_what_customers_write_is_text_and_no_html(operator: Console) -> None:
    text_fields = (
        *("shipping_name", "shipping_company", "shipping_address1", "shipping_address2", "shipping_city"),
        *("shipping_zip", "shipping_province", "shipping_phone", "billing_name", "notes", "tags", "shipping_method"),
    )
    hostile = dict.fromkeys(text_fields, HOSTILE)
    line = {"quantity": 1, "name": HOSTILE, "price": "1.00", "sku": HOSTILE[:40]}
    await place(operator.http, "1001", lines=[line], email="<b>@customer.example", name=f"#{HOSTILE[:20]}", **hostile)
    await operator.send("/orders/1001/hold", reason=HOSTILE)
    for path in ("/orders", "/orders/1001", f"/orders?search={HOSTILE[:30]}", f"/orders?hold_reason={HOSTILE}", "/"):
        page = await operator.open(path)
        assert page.status_code == HTTPStatus.OK, path
        assert "<script>alert" not in page.text, path
        assert "<img" not in page.text, path
        assert "\u202e" not in page.text, path
    shown = await operator.text("/orders/1001")
    assert shown.count("onerror=alert(2)>{{7*7}}") > 8, "it is shown as it was written"


async def test_a_viewer_sees_no_personal_data(viewer: Console) -> None:
    await place(viewer.http, "1001", notes="The key is under the mat")
    for path in ("/orders", "/orders/1001", "/orders?search=lee"):
        shown = await viewer.text(path)
        assert "A… L…" in shown
        assert not any(personal in shown for personal in ("Ann", "Lee", "ann@", "High Street", "mat"))
    assert "Hold" not in await viewer.text("/orders/1001")


async def test_orders_are_found_by_filters_that_are_the_address(operator: Console) -> None:
    for number in range(1, 54):
        await place(operator.http, f"{1000 + number}")
    await operator.send("/orders/1007/hold", reason="The customer called")
    first = await operator.open("/orders")
    following = re.search(r'href="([^"]*cursor=[^"]*)" class="button" rel="next"', first.text)
    assert following
    second = await operator.text(following[1].removeprefix("/console"))
    assert {number for number in range(1001, 1054) if f" {number} " in f"{text_of(first)} {second}"} == set(
        range(1001, 1054)
    )
    held = await operator.text("/orders?status=on_hold&search=&since=2026-03-05&until=2026-03-05")
    assert "1007" in held
    assert "1008" not in held
    assert "No order matches" in await operator.text("/orders?since=2026-03-06")
    assert "No order matches" in await operator.text("/orders?until=0001-01-01")


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("/orders?status=lost", "status: must be one of"),
        ("/orders?since=yesterday", "since: must be a day like"),
        ("/orders?since=2026-03-02&until=2026-03-01", "until: must be later"),
        ("/orders?status=open&hold_reason=x", "hold_reason: only orders on hold"),
        (f"/orders?search={'x' * 201}", "search: must have at most"),
        ("/orders?cursor=none", "cursor: must be"),
        ("/mails?status=lost", "status: must be one of"),
        ("/returns?state=lost", "state: must be one of"),
        ("/processes?status=lost", "status: must be one of"),
        ("/processes?type=lost", "type: must be one of"),
        ("/processes?search='", "search: must have"),
        ("/processes?cursor=x", "cursor: must be"),
    ],
)
async def test_a_wrong_filter_is_named(operator: Console, path: str, wrong: str) -> None:
    page = await operator.open(path)
    assert page.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert text_of(page).count(wrong) == 1


async def test_what_is_not_there_is_a_404(operator: Console) -> None:
    for path in ("/orders/none", "/orders/none/live", "/processes/none", "/nothing"):
        assert (await operator.open(path)).status_code == HTTPStatus.NOT_FOUND, path
    assert (await operator.send("/orders/none/hold", reason="x")).status_code == HTTPStatus.NOT_FOUND
    assert (await operator.send("/processes/none/retry", reason="x")).status_code == HTTPStatus.NOT_FOUND


async def test_an_order_has_one_address(operator: Console) -> None:
    await place(operator.http, "1001", name="#S1001")
    response = await operator.open("/orders/S1001")
    assert response.headers["location"] == "/console/orders/1001"


async def test_an_address_is_corrected(operator: Console, shop: RunningShop) -> None:
    await place(operator.http, "1001")
    wrong = await operator.send("/orders/1001/address", country="Nowhere", city="Leeds", reason="The customer called")
    assert wrong.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert 'value="Nowhere"' in wrong.text, "what was typed is still there"
    assert 'value="Leeds"' in wrong.text
    assert "data-open" in wrong.text
    again = await operator.send("/orders/1001/address", city="Leeds", name="Ann Lee", reason="The customer called")
    assert await operator.notice(again) == "The address is corrected."
    assert await shop.data.order_columns("1001", "shipping_city", "shipping_name") == ("Leeds", "Ann Lee")
    assert await shop.data.sql("SELECT action, reason, actor FROM operator_actions") == [
        ("edit", "The customer called", "ope")
    ]
    twice = await operator.send("/orders/1001/address", city="Leeds", reason="The customer called")
    assert await operator.notice(twice) == "The address is as it was."
    assert "ope corrected the order" in await operator.text("/orders/1001")


async def test_an_order_is_put_on_hold_and_released(operator: Console) -> None:
    await place(operator.http, "1001")
    assert (await operator.send("/orders/1001/hold", reason=" ")).status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert await operator.notice(await operator.send("/orders/1001/hold", reason="Wait")) == "The order is on hold."
    assert "on hold" in await operator.text("/orders/1001")
    await operator.notice(await operator.send("/orders/1001/release", reason="Go"))
    refused = await operator.send("/orders/1001/release", reason="Go")
    assert refused.status_code == HTTPStatus.CONFLICT
    assert "it is not on hold" in text_of(refused)


async def test_only_an_admin_cancels_by_force(operator: Console) -> None:
    await place(operator.http, "1001")
    refused = await operator.send("/orders/1001/cancel", reason="x", force="yes")
    assert refused.status_code == HTTPStatus.FORBIDDEN


async def test_processes_are_cancelled_together_after_a_look(operator: Console, shop: RunningShop) -> None:
    ids = ["console-1", "console-2"]
    for each in ids:
        await shop.data.order(each, MUG=1)
        await shop.start(each)
    processes = [f"order-processing-{each}" for each in ids]
    look = await operator.send("/processes/many", action="cancel", id=[*processes, "none"])
    assert "Nothing has been done yet" in text_of(look)
    assert "There is no process none" in text_of(look)
    assert (await shop.status(ids[0])).name == "RUNNING"
    without_reason = await operator.send("/processes/many", action="cancel", id=processes, confirmed="yes")
    assert without_reason.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    done = await operator.send("/processes/many", action="cancel", id=processes, confirmed="yes", reason="A mistake")
    assert "2 of 2 done" in text_of(done)
    everything = await operator.send("/processes/many", action="retry", all="yes")
    assert everything.status_code == HTTPStatus.UNPROCESSABLE_ENTITY

    async def are_found() -> bool | None:
        found = await operator.send("/processes/many", action="retry", all="yes", search="order-processing-console-")
        return all(process in text_of(found) for process in processes) or None

    await until(are_found)
    actors = await shop.data.sql("SELECT DISTINCT action, reason, actor FROM operator_actions")
    assert actors == [("cancel", "A mistake", "ope")]
    refused = await operator.send("/processes/many", action="retry", id=processes, confirmed="yes", reason="Again")
    assert "2 refused" in text_of(refused)
    none = await operator.send("/processes/many", action="retry")
    assert none.status_code == HTTPStatus.UNPROCESSABLE_ENTITY


async def test_the_input_of_a_process_is_shown_to_operators_only(operator: Console, shop: RunningShop) -> None:
    await shop.data.order("console-3", MUG=1)
    await shop.start("console-3")
    assert '"order_id": "console-3"' in await operator.text("/processes/order-processing-console-3")
    viewer = await operator.sign_in("viewer")
    shown = await viewer.text("/processes/order-processing-console-3")
    assert "Only operators see it" in shown
    assert '"order_id"' not in shown
    await shop.handle("console-3").terminate()


async def test_a_run_leads_back_to_the_console_also_after_a_retry(shop: RunningShop) -> None:
    console = {"COMMERCE_CONSOLE_URL": "https://office.example/console"}
    client = await connect(shop_environment(shop) | console)
    process = "order-processing-console-4"
    await shop.data.order("console-4", MUG=1)
    handle = await start_order(client, "console-4")
    await handle.terminate()
    await actions.retry(client, shop.database, process, reason="Again")
    for run in (handle, client.get_workflow_handle(process)):
        details = await (await run.describe()).static_details()
        assert details == f"[Open it in the console](https://office.example/console/processes/{process})"
    await client.get_workflow_handle(process).terminate()


async def test_the_audit_runs_when_somebody_asks_for_it(operator: Console) -> None:
    assert "It has not been run" in await operator.text("/")
    assert await operator.notice(await operator.send("/checks/audit")) == "The audit runs."

    async def is_well() -> bool | None:
        return "all well" in await operator.text("/") or None

    await until(is_well)


async def test_without_temporal_the_pages_say_so(shop: RunningShop) -> None:
    environment = {
        "COMMERCE_DATABASE_URL": shop.settings.database_url.get_secret_value(),
        "TEMPORAL_ADDRESS": "127.0.0.1:1",
        **ENCRYPTION_ENV,
    }
    await shop.data.order("1001", MUG=1)
    async with in_process_client(create_app(load_settings(environment), environment)) as http:
        console = Console(http)
        assert "What Temporal knows is not shown" in await console.text("/")
        assert "The runs of this order are not shown" in await console.text("/orders/1001")
        assert (await console.open("/processes")).status_code == HTTPStatus.SERVICE_UNAVAILABLE


async def test_every_page_opens_in_an_empty_shop(operator: Console) -> None:
    for path in PAGES:
        page = await operator.open(path)
        assert page.status_code == HTTPStatus.OK, path
        assert FORM_KEY.search(page.text)
        assert not re.search(r"<style|\son\w+=|\sstyle=|<script(?![^>]* src=)", page.text), path
