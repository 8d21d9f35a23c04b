"""Answers over HTTP: by programs, and by people who open signed links."""

import re
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import structlog
from temporalio.client import Client

from commerce.answer_links import AnswerLinks
from commerce.messages.orders import order_process_id
from tests.polling import until
from tests.running_shop import RunningShop, running_shop
from tests.starter.api.api_client import create_api, in_process_client, offline_client

KEY, OLD_KEY = "a-key-for-links-of-at-least-32-characters", "an-old-key-for-links-of-at-least-32-characters"
TOKEN = "a-token-that-people-with-links-do-not-have"
LINKS = {
    "COMMERCE_LINK_KEYS": f"{KEY},{OLD_KEY}",
    "COMMERCE_LINK_URL": "http://shop.example",
    "COMMERCE_API_TOKENS": TOKEN,
}
PERSON = {"Host": "shop.example", "Sec-Fetch-Site": "cross-site", "Origin": "null", "Authorization": ""}
LINK = re.compile(r"http://shop\.example(/answers/\S+)")
STEP = "review-order"


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    async with running_shop(tmp_path, database_url, client, COMMERCE_REVIEW_ABOVE="GBP=0", **LINKS) as made:
        await made.data.stock("MUG", main=9)
        yield made


@pytest.fixture
async def http(shop: RunningShop) -> AsyncIterator[httpx.AsyncClient]:
    async with in_process_client(create_api(shop, **LINKS)) as made:
        made.headers["Authorization"] = f"Bearer {TOKEN}"
        yield made


@pytest.fixture
async def order_id(shop: RunningShop) -> str:
    """An order that waits for its review, without a worker."""
    order_id = uuid4().hex
    await shop.data.order(order_id, MUG=1)
    async with shop.worker():
        await shop.start_until_waiting(order_id, STEP)
    return order_id


def path(order_id: str, answer: str = "success", step: str = STEP) -> str:
    return f"/workflows/{order_process_id(order_id)}/steps/{step}/{answer}"


def links(shop: RunningShop, order_id: str) -> list[str]:
    [mail] = shop.mails("order-review", order_id)
    body = mail.get_body(("plain",))
    assert body is not None
    return LINK.findall(body.get_content())


async def test_an_answer_is_taken_and_the_same_one_is_accepted_again(
    shop: RunningShop, http: httpx.AsyncClient, order_id: str
) -> None:  # (W2)
    async with shop.worker():
        key = {"Idempotency-Key": "k1"}
        first = await http.post(path(order_id), json={"reason": "Known customer"}, headers=key)
        assert (first.status_code, first.json()) == (
            200,
            {
                "transaction_id": order_process_id(order_id),
                "step": STEP,
                "answer": "success",
                "round": 1,
                "status": "taken",
            },
        )
        await shop.handle(order_id).result()
        again = await http.post(path(order_id), json={"reason": "Known customer"}, headers=key)
        assert (again.status_code, again.json()) == (200, first.json())
        other = await http.post(path(order_id, "failure"), headers=key)
        assert (other.status_code, other.json()["code"]) == (409, "AlreadyAnswered")
    assert await shop.data.sql("SELECT reason, answered_by FROM step_waits") == [("Known customer", "http")]


async def test_without_a_worker_an_answer_is_recorded(http: httpx.AsyncClient, order_id: str) -> None:  # (W2)
    answered = await http.post(path(order_id))
    assert (answered.status_code, answered.json()["status"]) == (202, "recorded")
    assert (await http.post(path(order_id, "failure"))).status_code == 409


@pytest.mark.parametrize(
    ("wanted", "body", "status", "code"),
    [
        ("success", {"data": {}, "reason": "x" * 1001}, 422, "BadInput"),
        ("failure", {"data": {"a": 1}}, 422, "BadInput"),
        ("maybe", {}, 422, "BadInput"),
    ],
)
async def test_wrong_answers_are_refused(
    http: httpx.AsyncClient, order_id: str, wanted: str, body: Any, status: int, code: str
) -> None:  # (W3)
    answered = await http.post(path(order_id, wanted), json=body)
    assert (answered.status_code, answered.json()["code"]) == (status, code)


async def test_an_unknown_step_or_process_is_not_found(http: httpx.AsyncClient, order_id: str) -> None:  # (W3)
    unknown_step = await http.post(path(order_id, step="pick"))
    assert (unknown_step.status_code, unknown_step.json()["code"]) == (404, "WaitNotFound")
    unknown = await http.post(path("no-such-order"))
    assert (unknown.status_code, unknown.json()["code"]) == (404, "ProcessNotFound")


async def test_a_process_that_has_ended_takes_no_answer(
    shop: RunningShop, http: httpx.AsyncClient, order_id: str
) -> None:  # (W6)
    await shop.handle(order_id).terminate()
    answered = await http.post(path(order_id))
    assert (answered.status_code, answered.json()["code"]) == (409, "WaitOver")
    assert await shop.data.sql("SELECT kind FROM step_waits") == [None]


async def test_waiting_processes_are_listed_with_their_step(http: httpx.AsyncClient, order_id: str) -> None:  # (W1)
    async def listed() -> dict[str, Any] | None:
        runs = (await http.get("/workflows", params={"status": "waiting", "limit": 500})).json()["workflows"]
        return next((run for run in runs if run["transaction_id"] == order_process_id(order_id)), None)

    run = await until(listed)
    assert (run["status"], run["state"], run["waiting_for"]) == ("running", "waiting", STEP)


async def test_a_link_shows_the_question_and_answers_once(
    shop: RunningShop, http: httpx.AsyncClient, order_id: str
) -> None:  # (W7)
    approve, reject = links(shop, order_id)
    shown = await http.get(approve, headers=PERSON)
    assert (shown.status_code, shown.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "Approve the order" in shown.text and "<script" not in shown.text
    assert shown.headers["referrer-policy"] == "no-referrer" and shown.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in shown.headers["content-security-policy"]
    assert await shop.data.sql("SELECT kind FROM step_waits") == [None]  # opening it answers nothing
    crowded = await http.post(approve, headers=PERSON, data={f"field-{number}": "1" for number in range(11)})
    assert (crowded.status_code, "not valid" in crowded.text) == (422, True)
    assert await shop.data.sql("SELECT kind FROM step_waits") == [None]
    async with shop.worker():
        posted = await http.post(approve, headers=PERSON, data={"reason": "Fine \0 <b>"})
        assert (posted.status_code, "approve the order" in posted.text) == (200, True)
        assert (await shop.handle(order_id).result()).status == "fulfilled"
        assert (await http.post(approve, headers=PERSON, data={"reason": "Fine \0 <b>"})).status_code == 200
    for method, link in (("POST", reject), ("GET", reject), ("GET", approve)):
        answered = await http.request(method, link, headers=PERSON)
        assert (answered.status_code, "an answer already" in answered.text) == (409, True)
    assert await shop.data.sql("SELECT kind, reason, answered_by FROM step_waits") == [("success", "Fine  <b>", "link")]


async def test_only_links_that_we_have_signed_and_that_have_not_expired_are_valid(
    shop: RunningShop, http: httpx.AsyncClient, order_id: str
) -> None:  # (W7)
    approve, reject = links(shop, order_id)
    [wait_id] = await shop.data.sql("SELECT CAST(id AS text) FROM step_waits")
    soon, past = datetime.now(UTC) + timedelta(hours=1), datetime.now(UTC) - timedelta(seconds=1)
    wrong = [
        approve[:-1] + ("A" if approve[-1] != "A" else "B"),
        approve.replace("success", "failure"),
        reject.replace("failure", "retry"),
        AnswerLinks(["another key"], "").make(wait_id, "success", soon),
        AnswerLinks([KEY], "").make(wait_id, "success", past),
        AnswerLinks([KEY], "").make(wait_id, "retry", soon),  # nobody was asked that
        AnswerLinks([KEY], "").make(str(uuid4()), "success", soon),
        "/answers/nothing",
    ]
    for link in wrong:
        for method in ("GET", "POST"):
            assert (await http.request(method, link, headers=PERSON)).status_code == 404, link
    old = AnswerLinks([OLD_KEY], "").make(wait_id, "success", soon)
    assert (await http.get(old, headers=PERSON)).status_code == 200


async def test_without_a_key_there_are_no_links() -> None:  # (W7)
    link = AnswerLinks([KEY], "").make(str(uuid4()), "success", datetime.now(UTC) + timedelta(hours=1))
    async with offline_client() as http:
        assert (await http.get(link)).status_code == 404


async def test_the_log_does_not_hold_links(http: httpx.AsyncClient, shop: RunningShop, order_id: str) -> None:  # (W7)
    approve, _ = links(shop, order_id)
    with structlog.testing.capture_logs() as lines:
        await http.get(approve, headers=PERSON)
    [line] = [line for line in lines if line["event"] == "request"]
    assert line["path"] == "/answers/…" and approve.removeprefix("/answers/") not in repr(lines)


def test_a_link_holds_nothing_but_its_wait_and_its_answer() -> None:  # (W7)
    until_then = datetime.now(UTC) + timedelta(hours=1)
    made = AnswerLinks([KEY], "http://shop.example")
    token = made.make("0199a1b2-6f4e-7c3d-9a10-5b7e2f0c4d11", "failure", until_then).rpartition("/")[2]
    assert token.startswith(f"0199a1b26f4e7c3d9a105b7e2f0c4d11.failure.{int(until_then.timestamp())}.")
    link = made.read(token)
    assert (link.wait_id, link.answer) == ("0199a1b2-6f4e-7c3d-9a10-5b7e2f0c4d11", "failure")
    assert int(token.split(".")[2]) > time.time()
