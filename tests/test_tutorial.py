"""The tutorial says what is: its blocks are the code, its commands can be typed, and its examples work."""

import importlib.util
import shlex
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import typer
from temporalio.client import Client
from typer.core import TyperGroup

from commerce.messages.tutorial import CountProducts
from commerce.relay import PendingEvent
from commerce.settings import load_settings
from starter.api.app import create_app
from starter.cli.app import app
from starter.schedules.actions import trigger
from starter.schedules.apply import apply_jobs
from starter.schedules.table import ScheduledJob
from starter.subscribers import event_publisher, start_once
from tests.documents import Block, blocks, broken_links, commands
from tests.keys import ENCRYPTION_ENV
from tests.paths import ROOT
from tests.polling import until
from tests.replay.scenarios import SCENARIOS
from tests.running_shop import running_shop
from tests.starter.sample_jobs import delete_schedules

PAGE = ROOT / "docs" / "tutorial.md"
MARKED = [block for block in blocks(PAGE) if block.language == "python"]

EVERY_MORNING = ScheduledJob(
    "product-count",  # the process type and the id of the schedule
    "0 6 * * *",
    "Europe/London",
    catch_up=timedelta(hours=1),  # how late a missed run may still start
    note="Counts the products",
)


async def count_after_update(client: Client, event: PendingEvent) -> None:
    """Count the products once per event."""
    await start_once(client, "product-count", CountProducts(), process_id=f"product-count-{event.id}")


SUBSCRIBERS = {"inventory.updated": [count_after_update]}


@pytest.mark.parametrize("block", MARKED, ids=lambda block: block.text.strip().split("\n")[0])
def test_a_block_is_cut_from_the_file_it_names(block: Block) -> None:
    assert block.file, "a block without a file: write its path behind ```python"
    assert block.text in (ROOT / block.file).read_text(), f"{block.file} has changed: bring the tutorial up to date"


def test_links_lead_somewhere() -> None:
    assert broken_links(PAGE) == []


@pytest.mark.parametrize("line", commands(PAGE))
def test_a_command_can_be_typed(line: str) -> None:
    program, *arguments = shlex.split(line)
    {"commerce": can_be_run, "curl": can_be_asked, "python": can_be_loaded}[program](arguments)


def can_be_run(arguments: list[str]) -> None:
    command = typer.main.get_command(app)
    while isinstance(command, TyperGroup):
        command = command.commands[arguments.pop(0)]
    command.make_context(command.name, arguments)  # reads them, and complains of what it does not know


def can_be_asked(arguments: list[str]) -> None:
    [url] = arguments
    assert urlsplit(url).path in create_app(load_settings(ENCRYPTION_ENV), ENCRYPTION_ENV).openapi()["paths"]


def can_be_loaded(arguments: list[str]) -> None:
    option, module, *rest = arguments
    assert option == "-m" and importlib.util.find_spec(module)
    assert all((ROOT / argument).exists() if "/" in argument else argument in SCENARIOS for argument in rest)


async def test_an_event_that_comes_twice_has_its_products_counted_once(
    tmp_path: Path, database_url: str, client: Client
) -> None:
    event = PendingEvent(uuid4(), "inventory.updated", "MUG", {})
    async with running_shop(tmp_path, database_url, client) as shop, shop.worker():
        give = event_publisher(client, SUBSCRIBERS)
        await give(event)
        handle = client.get_workflow_handle(f"product-count-{event.id}")
        assert await handle.result() == {"count": 0}
        await shop.data.variant("MUG")
        await give(event)
        assert await handle.result() == {"count": 0}


async def test_the_schedule_counts_the_products(
    tmp_path: Path, database_url: str, client: Client, forgotten: None
) -> None:
    async with running_shop(tmp_path, database_url, client) as shop, shop.worker():
        await shop.data.variant("MUG")
        assert EVERY_MORNING.id in (await apply_jobs(client, [EVERY_MORNING], key_id="")).created
        process = await until(lambda: trigger(client, EVERY_MORNING.id))
        assert await client.get_workflow_handle(process).result() == {"count": 1}


@pytest.fixture
async def forgotten(client: Client) -> AsyncIterator[None]:
    """No schedule is left for other tests, which share the server."""
    yield
    await delete_schedules(client, EVERY_MORNING.id)
