"""`commerce webhooks …`: its output as text and as JSON, and its exit codes."""

from functools import partial

import pytest

from commerce import webhooks as rules
from commerce.database import Database
from commerce.messages.webhooks import WebhookDelivery
from tests.starter.cli.conftest import Commerce

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
