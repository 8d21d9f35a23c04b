"""Test docs/tutorial.md: its code blocks are excerpts of the code, its commands are valid and its examples work."""

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
from commerce.pending_events import PendingEvent
from commerce.settings import load_settings
from starter.api.app import create_app
from starter.cli.app import app
from starter.schedules.actions import trigger
from starter.schedules.apply import apply_jobs
from starter.schedules.table import ScheduledJob
from starter.subscribers import process_starter, start_once
from tests.documents import Block, blocks, broken_links, commands
from tests.keys import ENCRYPTION_ENV
from tests.paths import ROOT
from tests.polling import until
from tests.replay.scenarios import SCENARIOS
from tests.running_shop import running_shop
from tests.starter.sample_jobs import delete_schedules

PAGE = ROOT / "docs" / "tutorial.md"
PYTHON_BLOCKS = [block for block in blocks(PAGE) if block.language == "python"]

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


@pytest.mark.parametrize("block", PYTHON_BLOCKS, ids=lambda block: block.text.strip().split("\n")[0])
def test_a_code_block_is_an_excerpt_of_the_file_it_names(block: Block) -> None:
    assert block.file, "code block without a file: add its path after ```python"
    assert block.text in (ROOT / block.file).read_text(), (
        f"{block.file} has changed: update the block in docs/tutorial.md"
    )


def test_every_link_has_a_target() -> None:
    assert broken_links(PAGE) == []


@pytest.mark.parametrize("line", commands(PAGE))
def test_a_command_is_valid(line: str) -> None:
    program, *arguments = shlex.split(line)
    {"commerce": check_commerce, "curl": check_curl, "python": check_python}[program](arguments)


def check_commerce(arguments: list[str]) -> None:
    command = typer.main.get_command(app)
    while isinstance(command, TyperGroup):
        command = command.commands[arguments.pop(0)]
    command.make_context(command.name, arguments)  # raises an error for unknown arguments


def check_curl(arguments: list[str]) -> None:
    [url] = arguments
    assert urlsplit(url).path in create_app(load_settings(ENCRYPTION_ENV), ENCRYPTION_ENV).openapi()["paths"]


def check_python(arguments: list[str]) -> None:
    option, module, *rest = arguments
    assert option == "-m" and importlib.util.find_spec(module)
    assert all((ROOT / argument).exists() if "/" in argument else argument in SCENARIOS for argument in rest)


async def test_an_event_that_arrives_twice_counts_the_products_once(
    tmp_path: Path, database_url: str, client: Client
) -> None:
    event = PendingEvent(uuid4(), "inventory.updated", "MUG", {})
    async with running_shop(tmp_path, database_url, client) as shop, shop.worker():
        publish = process_starter(client, SUBSCRIBERS)
        await publish(event)
        handle = client.get_workflow_handle(f"product-count-{event.id}")
        assert await handle.result() == {"count": 0}
        await shop.data.variant("MUG")
        await publish(event)
        assert await handle.result() == {"count": 0}


async def test_the_schedule_counts_the_products(
    tmp_path: Path, database_url: str, client: Client, clean_schedules: None
) -> None:
    async with running_shop(tmp_path, database_url, client) as shop, shop.worker():
        await shop.data.variant("MUG")
        assert EVERY_MORNING.id in (await apply_jobs(client, [EVERY_MORNING], key_id="")).created
        process = await until(lambda: trigger(client, EVERY_MORNING.id))
        assert await client.get_workflow_handle(process).result() == {"count": 1}


@pytest.fixture
async def clean_schedules(client: Client) -> AsyncIterator[None]:
    """Delete the schedule after the test, because all tests share a Temporal server."""
    yield
    await delete_schedules(client, EVERY_MORNING.id)
