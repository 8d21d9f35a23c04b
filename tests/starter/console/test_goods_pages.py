"""Picks, payments and returns in the console: what pages show of them, and how operators answer and start them (H5)."""

import re
from collections.abc import AsyncIterator
from html import unescape
from http import HTTPStatus
from pathlib import Path

import httpx
import pytest
from temporalio.client import Client

from tests.polling import until
from tests.running_shop import RunningShop
from tests.starter.console.console_client import Console, text_of
from tests.workflows.test_picks import begin, picking_shop

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    """A shop that asks its warehouse, and ships what it has found."""
    async with picking_shop(tmp_path, database_url, client, COMMERCE_PART_SHIPMENTS="on") as running:
        yield running


def fields_of(html: str) -> dict[str, str]:
    """Return the fields with numbers of units on a page, as they are filled in."""
    fields = re.findall(r'class="units" name="([^"]+)" value="([^"]+)"', html)
    return {unescape(name): value for name, value in fields}


def of(fields: dict[str, str], part: str, value: str) -> dict[str, str]:
    """Return these fields with another value in those of a part."""
    return {name: value if name.startswith(f"{part}/") else known for name, known in fields.items()}


async def html_with(console: Console, path: str, text: str) -> str:
    """Return a page as soon as it shows a text."""

    async def shown() -> str | None:
        html = (await console.open(path)).text
        return html if text in html else None

    return await until(shown)


async def test_an_order_is_picked_returned_and_refunded_by_hand(shop: RunningShop, http: httpx.AsyncClient) -> None:
    order, page = "console-goods-1", "/orders/console-goods-1"
    await shop.data.sql("UPDATE products SET title = :title", title=HOSTILE)
    await shop.data.order(order, MUG=3, columns={"payment_reference": "c1", "shipping_name": "Ann Lee"})
    await shop.data.sql("UPDATE order_lines SET title = :title", title=HOSTILE)
    operator = await Console(http).sign_in("operator")
    async with shop.worker():
        handle = await shop.start_until_waiting(order, "await-pick")
        fields = fields_of((await operator.open(page)).text)
        assert list(fields.values()) == ["0"]
        assert fields == fields_of((await operator.open(f"/processes/{handle.id}")).text)
        answer = f"/processes/{handle.id}/answer"
        for wrong in ({}, of(fields, "missing", "4"), of(fields, "missing", "-1"), of(fields, "missing", "½")):
            refused = await operator.send(answer, step="await-pick", answer="success", **wrong)
            assert refused.status_code == HTTPStatus.UNPROCESSABLE_ENTITY, wrong
        done = await operator.send(answer, step="await-pick", answer="success", **of(fields, "missing", "1"))
        assert await operator.notice(done) == "The process has the answer."
        again = await operator.send(answer, step="await-pick", answer="success", **of(fields, "missing", "1"))
        assert again.status_code == HTTPStatus.UNPROCESSABLE_ENTITY and "reload the page" in text_of(again)
        assert (await handle.result()).status == "fulfilled"
        shown = await operator.text(page)
        assert "1 × MUG missing" in shown and "Picked, but not everything was found" in shown and "short" in shown
        movements = await operator.text("/stock/item?sku=MUG")
        assert "pick short" in movements

        form = fields_of((await operator.open(page)).text)
        assert form == {"units/1": "2"}
        once = {"once": "a-key", "reason": "Too large", "refund": "yes", "label": "yes"}
        for wrong in ({"units/1": "3"}, {"units/1": "x"}, {"units/2": "1"}, {"units/1": "0"}, {"units/9x": "1"}):
            refused = await operator.send(f"{page}/returns", **once | wrong)
            assert refused.status_code == HTTPStatus.UNPROCESSABLE_ENTITY, wrong
        refused = await operator.send(f"{page}/returns", **form)
        assert "Say why" in text_of(refused)
        for _ in range(2):  # by somebody who presses the button twice
            started = await operator.send(f"{page}/returns", **once | form)
            assert await operator.notice(started) == "The return is started."
        html = await html_with(operator, page, 'name="back/1"')
        assert "<script>alert" not in html and HOSTILE in unescape(html)
        assert await shop.data.sql("SELECT count(*) FROM order_returns") == [1]
        [(return_id, number)] = await shop.data.sql("SELECT id, tracking_number FROM order_returns")
        process = f"return-order-{return_id}"
        assert number in text_of(await operator.open(page)) and "2 to come back" in text_of(await operator.open(page))
        assert "1 returns under way" in await operator.text("/")
        assert process not in await operator.text("/")
        for search in (return_id, number, order, ""):
            listed = (await operator.open(f"/returns?state=open&search={search}")).text
            assert f"/console/processes/{process}" in listed and number in listed
        assert "No return matches" in await operator.text("/returns?state=closed")
        assert (await operator.open("/returns?state=lost")).status_code == HTTPStatus.UNPROCESSABLE_ENTITY

        viewer = await Console(http).sign_in("viewer")
        for path in (page, "/returns", f"/processes/{process}"):  # (H2)
            html = (await viewer.open(path)).text
            assert number not in html and not fields_of(html) and "Ann" not in html, path
        await operator.sign_in("operator")

        fields = fields_of((await operator.open(f"/processes/{process}")).text)
        assert fields == {"back/1": "2", "unsellable/1": "0"}
        answer = f"/processes/{process}/answer"
        for wrong in ({}, of(fields, "back", "3"), of(fields, "back", "0"), fields | {"unsellable/1": "3"}):
            refused = await operator.send(answer, step="await-return", answer="success", **wrong)
            assert refused.status_code == HTTPStatus.UNPROCESSABLE_ENTITY, wrong
        came = await operator.send(answer, step="await-return", answer="success", **fields | {"unsellable/1": "1"})
        assert came.headers["location"] == f"/console{page}"
        html = await html_with(operator, page, "To refund: <strong>£5.00</strong>")
        assert "Refund of £5.00 is due" in text_of(await operator.open(page))
        assert "To refund" in (await operator.open(f"/processes/{process}")).text
        refunded = await operator.send(answer, step="refund-at-shop", answer="success")
        assert await operator.notice(refunded) == "The process has the answer."
        await shop.client.get_workflow_handle(process).result()
        shown = await operator.text(page)
        for part in ("2 units came back", "1 sellable", "Refund of £5.00 made", "refund made", "Return completed"):
            assert part in shown, part
        assert "Start a return" not in shown, "nothing is left to come back"
        assert f">{order}</a>" in (await operator.open("/stock/item?sku=MUG")).text
        for kind in ("return-label", "order-returned"):
            [key] = await shop.data.sql("SELECT key FROM notifications WHERE kind = :kind", kind=kind)
            assert (await operator.open(f"/mails/preview?key={key}")).text != "", kind
    assert await shop.findings() == []


async def test_an_old_form_does_not_answer_a_pick_that_is_asked_anew(
    shop: RunningShop, http: httpx.AsyncClient
) -> None:
    operator = await Console(http).sign_in("operator")
    async with shop.worker():
        handle, _ = await begin(shop, "console-goods-2", MUG=1)
        page, answer = "/orders/console-goods-2", f"/processes/{handle.id}/answer"
        before = fields_of((await operator.open(page)).text)
        await operator.notice(await operator.send(answer, step="await-pick", answer="retry"))

        async def asked_anew() -> dict[str, str] | None:
            fields = fields_of((await operator.open(page)).text)
            return fields if fields and fields != before else None

        now = await until(asked_anew)
        old = await operator.send(answer, step="await-pick/2", answer="success", **before)
        assert old.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
        await operator.notice(await operator.send(answer, step="await-pick/2", answer="success", **now))
        assert (await handle.result()).status == "fulfilled"
    assert "Everything was picked" in await operator.text(page)


async def test_captures_and_refunds_are_shown(shop: RunningShop, http: httpx.AsyncClient) -> None:
    await shop.data.order("1001", MUG=1)
    await shop.data.sql("INSERT INTO order_payments (order_id, captured, refunded) VALUES ('1001', 250, 250)")
    await shop.data.sql(
        """INSERT INTO order_captures (order_id, payment_id, provider, amount, ours)
           VALUES ('1001', 'pi_1', 'pay', 250, true)"""
    )
    await shop.data.sql(
        """INSERT INTO order_refunds (order_id, purpose, amount, state, provider, payment_id)
           VALUES ('1001', 'refund-capture/pi_1', 250, 'pending', 'pay', 'pi_1')"""
    )
    operator = await Console(http).sign_in("operator")
    shown = await operator.text("/orders/1001")
    for part in ("£2.50 captured", "Refund of £2.50 is pending", "refund pending"):
        assert part in shown, part
    token = {"Authorization": f"Bearer operator-{'0' * 16}"}
    [refund] = (await http.get("/orders/1001", headers=token)).json()["refunds"]
    assert (refund["purpose"], refund["state"]) == ("refund-capture", "pending")
