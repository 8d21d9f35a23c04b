"""A backup taken under load comes up as a fresh stack: interrupted orders go on, and nothing that it knows is lost."""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from commerce.messages.orders import order_process_id
from starter.client import process_order, start_order
from starter.devstack import postgres
from tests.system.stacks import SECONDS, Stack, World, up, world

ORDERS = [f"begun-{number}" for number in range(50)]
HELD_UP = ORDERS[::5]  # under way whenever the backup is taken
LATER = [f"later-{number}" for number in range(3)]  # paid, but begun by nobody
MEANWHILE = 5  # orders fulfilled before, between and after the backups
FULFILLED = "SELECT id FROM orders WHERE fulfillment_status = 'fulfilled'"
LABELLED = "SELECT order_id FROM fulfillments WHERE tracking_number IS NOT NULL AND cancelled_at IS NULL"
SENT = "SELECT key FROM notifications WHERE status = 'sent'"
UNSENT = "SELECT order_id FROM notifications WHERE kind = 'order-shipped' AND status <> 'sent'"


@pytest.fixture
async def outside(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


@dataclass(frozen=True)
class Known:
    """What a backup is sure to know of what was done to the world outside."""

    labelled: set[str]  # orders
    sent: set[str]  # keys of mails


async def work(stack: Stack, outside: World) -> None:
    """Begin many orders, and see the first ones fulfilled."""
    await outside.sell_nothing(HELD_UP)
    await stack.data.stock("MUG", main=len(ORDERS + LATER))
    for order_id in ORDERS + LATER:
        await stack.data.order(order_id, MUG=1)
    await asyncio.gather(*(start_order(stack.client, order_id) for order_id in ORDERS))
    await go_on(stack)


async def go_on(stack: Stack) -> None:
    """Wait until some orders more are fulfilled and their customers told, or all that can be."""
    wanted = min(len(await stack.data.sql(SENT)) + MEANWHILE, len(ORDERS) - len(HELD_UP))
    async with asyncio.timeout(SECONDS):
        while len(await stack.data.sql(SENT)) < wanted:  # noqa: ASYNC110 - it looks at what a worker did
            await asyncio.sleep(0.05)


def back_up_temporal(stack: Stack, target: Path) -> None:
    target.mkdir()
    with (
        closing(sqlite3.connect(stack.data_dir / "temporal.db")) as source,
        closing(sqlite3.connect(target / "temporal.db")) as copy,
    ):
        source.backup(copy)


async def back_up_shop(stack: Stack, target: Path) -> None:
    server = next(part for part in postgres.command(stack.data_dir, 0) if part.endswith("/bin/postgres"))
    program = Path(server).with_name("pg_basebackup")
    process = await asyncio.create_subprocess_exec(
        *(program, "--dbname", stack.database_url, "--pgdata", target / "postgres"),
        *("--checkpoint", "fast", "--wal-method", "stream", "--no-sync"),
    )
    assert await process.wait() == 0
    await asyncio.to_thread(complete, stack.data_dir, target)


def complete(source: Path, target: Path) -> None:
    """Give the backup its server's owner, and what else the stack needs to read it."""
    owner = (source / "postgres").stat()
    for path in (target / "postgres", *(target / "postgres").rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)
    for name in ("postgres.password", "encryption.keys"):
        shutil.copy2(source / name, target / name)


async def back_up(stack: Stack, target: Path, *, temporal: bool) -> Known:
    """Back up Temporal first, then the shop, while both go on; then go on some more."""
    if temporal:
        await asyncio.to_thread(back_up_temporal, stack, target)
        await go_on(stack)
    known = Known(labelled=set(await stack.data.sql(LABELLED)), sent=set(await stack.data.sql(SENT)))
    await back_up_shop(stack, target)
    await go_on(stack)
    return known


async def check(stack: Stack, known: Known, outside: World) -> None:
    """Every order ended well, and only what happened after the backup happened again."""
    assert set(await stack.data.sql(FULFILLED)) == {*ORDERS, *LATER}
    await stack.command("audit")
    labels, mails = await outside.labels(), outside.mails()
    assert set(labels) == {*ORDERS, *LATER}
    assert known.labelled and all(labels[order_id] == 1 for order_id in known.labelled)
    assert max(labels.values()) <= 2
    assert set(mails) == {f"order-shipped/{order_id}" for order_id in ORDERS + LATER}
    assert known.sent and all(mails[key] == 1 for key in known.sent)


@pytest.mark.timeout(600)  # two whole stacks, and many orders
async def test_interrupted_orders_go_on_from_a_backup_taken_under_load(outside: World, tmp_path: Path) -> None:
    async with up(outside, tmp_path / "first") as first:
        await work(first, outside)
        known = await back_up(first, tmp_path / "second", temporal=True)
    await outside.sell_again()
    async with up(outside, tmp_path / "second") as second:
        for order_id in ORDERS:
            await second.client.get_workflow_handle(order_process_id(order_id)).result()
        await second.command("start", "process-pending-orders")
        await check(second, known, outside)


@pytest.mark.timeout(600)
async def test_without_temporals_part_orders_are_begun_anew(outside: World, tmp_path: Path) -> None:
    async with up(outside, tmp_path / "first") as first:
        await work(first, outside)
        known = await back_up(first, tmp_path / "second", temporal=False)
    await outside.sell_again()
    async with up(outside, tmp_path / "second") as second:
        await second.command("start", "process-pending-orders")
        unsent = await second.data.sql(UNSENT)
        await asyncio.gather(*(process_order(second.client, order_id) for order_id in unsent))
        await check(second, known, outside)
