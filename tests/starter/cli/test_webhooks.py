"""`commerce webhooks …`: what it prints, for people and for programs, and its exit codes."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from commerce import webhooks as rules
from commerce.database import Database
from commerce.messages.webhooks import WebhookDelivery
from starter.cli.app import run

URL = "https://receiver.example/hook"
NOBODY = "0198d5a4-0000-7000-8000-000000000001"


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


Webhooks = Callable[..., Awaitable[Outcome]]


@pytest.fixture
def webhooks(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Webhooks:
    """Run a command as a program of its own would."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COMMERCE_DATABASE_URL", database_url)

    async def call(*arguments: str) -> Outcome:
        capsys.readouterr()
        code = await asyncio.to_thread(run, ["webhooks", *arguments])
        return Outcome(code, *capsys.readouterr())

    return call


async def test_a_webhook_is_added_listed_and_removed(webhooks: Webhooks) -> None:
    told = (await webhooks("add", URL, "--types", "order.placed, order.fulfilled")).out
    added, secret = told.splitlines()
    endpoint_id = added.split()[0]
    assert added == f"{endpoint_id} gets order.placed, order.fulfilled"
    assert secret.startswith("Its secret, which is not shown again: whsec_")
    listed = await webhooks("list")
    assert listed == (0, f"{endpoint_id}  {URL}\n{'':36}  order.placed, order.fulfilled\n", "")
    assert await webhooks("remove", endpoint_id) == (0, f"{endpoint_id} is removed\n", "")
    assert (await webhooks("list")).out == "There are no webhooks yet: `commerce webhooks add URL`\n"


async def test_programs_read_json(webhooks: Webhooks, database: Database) -> None:
    added = json.loads((await webhooks("add", URL, "--json")).out)
    assert added["event_types"] == ["*"] and added["secret"].startswith("whsec_")
    async with database.transaction() as tx:
        await rules.disable(tx, WebhookDelivery(endpoint_id=added["id"], event_id=added["id"]))
    [listed] = json.loads((await webhooks("list", "--json")).out)
    assert listed.pop("disabled_at") is not None
    assert listed == {name: added[name] for name in ("id", "url", "event_types", "created_at")}
    assert "all events; disabled since 20" in (await webhooks("list")).out
    assert json.loads((await webhooks("remove", added["id"], "--json")).out) == {"id": added["id"], "removed": True}


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["add", "http://receiver.example"], 2, "url: must be a URL like https://receiver.example/events"),
        (["add", URL, "--types", "order.lost"], 2, "types: must be some of order.placed, order.fulfilled"),
        (["add", URL, "--types", ""], 2, "types: must be some of order.placed, order.fulfilled"),
        (["remove", NOBODY], 1, f"There is no webhook {NOBODY}."),
        (["remove", "hook"], 1, "There is no webhook hook."),
    ],
)
async def test_what_cannot_be_done_is_one_line(webhooks: Webhooks, arguments: list[str], code: int, says: str) -> None:
    ended = await webhooks(*arguments)
    assert ended.code == code and says in ended.err and len(ended.err.splitlines()) == 1


async def test_a_url_is_added_once(webhooks: Webhooks) -> None:
    await webhooks("add", URL)
    assert await webhooks("add", URL) == (1, "", "A webhook with this URL already exists.\n")


async def test_a_database_that_is_away_is_exit_code_3(webhooks: Webhooks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMMERCE_DATABASE_URL", "postgresql://ann:secret@127.0.0.1:1/shop")
    ended = await webhooks("list")
    assert ended.code == 3 and "no connection to 127.0.0.1:1" in ended.err
