"""`commerce webhooks …`: its output as text and as JSON, and its exit codes."""

import asyncio
from functools import partial
from uuid import uuid4

import httpx
import pytest

from commerce import webhooks as rules
from commerce.database import Database
from commerce.messages.webhooks import WebhookDelivery
from starter.cli.webhook_listener import PATH, check_secret, listen, listener_app
from starter.devstack.serving import listen as bind
from starter.processes import TASK_QUEUE
from tests.polling import until
from tests.running_shop import RunningShop
from tests.starter.cli.conftest import Commerce
from tests.webhook_receiver import webhook_receiver

URL = "https://receiver.example/hook"
UNKNOWN = "0198d5a4-0000-7000-8000-000000000001"


@pytest.fixture
def webhooks(commerce: Commerce) -> Commerce:
    """Run `commerce webhooks …`."""
    return partial(commerce, "webhooks")


async def test_a_webhook_is_added_listed_and_removed(webhooks: Commerce) -> None:
    output = (await webhooks("add", URL, "--types", "order.placed, order.fulfilled")).out
    added, secret = output.splitlines()
    endpoint_id = added.split()[0]
    assert added == f"{endpoint_id} receives order.placed, order.fulfilled"
    assert secret.startswith("Its secret, which is not shown again: whsec_")
    listed = await webhooks("list")
    assert listed == (0, f"{endpoint_id}  {URL}\n{'':36}  order.placed, order.fulfilled\n", "")
    assert await webhooks("remove", endpoint_id) == (0, f"{endpoint_id} is removed\n", "")
    assert (await webhooks("list")).out == "There are no webhooks yet: add one with `commerce webhooks add URL`\n"


async def test_every_command_prints_json(webhooks: Commerce, database: Database) -> None:
    added = (await webhooks("add", URL, "--json")).json
    assert added["event_types"] == ["*"] and added["secret"].startswith("whsec_")
    async with database.transaction() as tx:
        await rules.disable(tx, WebhookDelivery(endpoint_id=added["id"], event_id=added["id"]))
    [listed] = (await webhooks("list", "--json")).json
    assert listed.pop("disabled_at") is not None
    assert listed == {name: added[name] for name in ("id", "url", "event_types", "created_at")}
    assert "all events; disabled since 20" in (await webhooks("list")).out
    assert (await webhooks("remove", added["id"], "--json")).json == {"id": added["id"], "removed": True}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["add", "http://receiver.example"], 2, "url: must be a URL like https://receiver.example/events"),
        (["add", URL, "--types", "order.lost"], 2, "types: must be some of order.placed, order.updated"),
        (["add", URL, "--types", ""], 2, "types: must be some of order.placed, order.updated"),
        (["remove", UNKNOWN], 1, f"There is no webhook {UNKNOWN}."),
        (["remove", "hook"], 1, "There is no webhook hook."),
    ],
)
async def test_every_error_is_one_line(webhooks: Commerce, arguments: list[str], code: int, message: str) -> None:
    ended = await webhooks(*arguments)
    assert ended.code == code and message in ended.err and len(ended.err.splitlines()) == 1


async def test_a_url_is_added_once(webhooks: Commerce) -> None:
    await webhooks("add", URL)
    assert await webhooks("add", URL) == (1, "", "A webhook with this URL already exists.\n")


async def test_an_unreachable_database_is_exit_code_3(webhooks: Commerce, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMMERCE_DATABASE_URL", "postgresql://ann:secret@127.0.0.1:1/shop")
    ended = await webhooks("list")
    assert ended.code == 3 and "no connection to 127.0.0.1:1" in ended.err


async def test_a_test_event_is_posted_once_and_its_answer_printed(webhooks: Commerce) -> None:
    async with webhook_receiver() as receiver:
        added = (await webhooks("add", receiver.url, "--json")).json
        receiver.secret = added["secret"]
        assert await webhooks("test", added["id"]) == (0, "The receiver has accepted the test event\n", "")
        assert [event["type"] for event in receiver.accepted] == ["com.shop.webhook.test"]
        receiver.status = 410
        gone = await webhooks("test", added["id"])
        assert (gone.code, "it wants no more events (410)" in gone.out) == (1, True)
    ended = await webhooks("test", added["id"], "--json")
    assert (ended.code, ended.json["status"]) == (1, "failed")
    unknown = await webhooks("test", UNKNOWN)
    assert unknown == (1, "", f"There is no webhook {UNKNOWN}. To see all: commerce webhooks list\n")


async def test_deliveries_of_a_webhook(shop: RunningShop, webhooks: Commerce) -> None:
    added = (await webhooks("add", URL, "--json")).json
    assert await webhooks("deliveries", added["id"]) == (0, "No deliveries found\n", "")
    delivery = WebhookDelivery(endpoint_id=added["id"], event_id=uuid4())
    handle = await shop.client.start_workflow(
        "deliver-webhook", delivery, id=delivery.process_id, task_queue=TASK_QUEUE
    )
    try:

        async def listed() -> list[str]:
            page = (await webhooks("deliveries", added["id"], "--json")).json
            return [run["transaction_id"] for run in page["workflows"]]

        assert await until(listed) == [delivery.process_id]  # Temporal lists a new run after a second
        table = (await webhooks("deliveries", added["id"])).out.splitlines()
        assert table[1].split()[:2] == [str(delivery.event_id), "running"]
    finally:
        await handle.terminate()
    assert (await webhooks("deliveries", UNKNOWN)).code == 1


async def test_the_listener_prints_signed_events_and_refuses_others(webhooks: Commerce, database: Database) -> None:
    """It is a webhook while it listens, also if a run that was killed has left one, and no longer afterwards."""
    printed: list[str] = []
    with bind(0) as free:
        port = free.getsockname()[1]
    await webhooks("add", f"http://127.0.0.1:{port}{PATH}")
    listening = asyncio.create_task(listen(database, port, ["*"], printed.append))

    async def is_listening() -> bool | None:
        return any("Listening" in line for line in printed) or None

    await until(is_listening)
    [endpoint] = (await webhooks("list", "--json")).json
    assert (await webhooks("test", endpoint["id"])).code == 0
    signed, data = printed[2:4]
    assert "signed  com.shop.webhook.test" in signed and endpoint["id"] in data
    app = listener_app(check_secret(f"whsec_{'A' * 43}="), printed.append)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
        assert (await http.post(PATH, json={"type": "order.placed"})).status_code == 401
        assert (await http.post(PATH, content=b"x" * 1_000_001)).status_code == 413
    assert "NOT SIGNED" in printed[4]
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    assert (await webhooks("list", "--json")).json == []
    for secret in ("mine", "whsec_", "whsec_!", "whsec_é"):
        wrong = await webhooks("listen", "--secret", secret, "--port", str(port))
        assert (wrong.code, "secret: must be the secret of a webhook" in wrong.err) == (2, True)
