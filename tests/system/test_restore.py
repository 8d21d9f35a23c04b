"""A backup taken under load is restored into a new stack: interrupted orders resume, and nothing in it is lost."""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from commerce.messages.orders import order_process_id
from commerce.settings import read_stack
from starter.client import process_order, start_order
from starter.devstack import postgres
from tests.system.stacks import TIMEOUT, ExternalServices, Stack, external_services, running_stack

pytestmark = pytest.mark.waits(60)

ORDERS = [f"started-{number}" for number in range(50)]
DELAYED = ORDERS[::5]  # still in progress whenever the backup is taken
PENDING = [f"pending-{number}" for number in range(3)]  # paid, but not started
MORE_FULFILLED = 5  # orders that must be fulfilled before, between and after the backups
FULFILLED = "SELECT id FROM orders WHERE fulfillment_status = 'fulfilled'"
LABELLED = "SELECT order_id FROM fulfillments WHERE tracking_number IS NOT NULL AND cancelled_at IS NULL"
SENT = "SELECT key FROM notifications WHERE status = 'sent'"
UNSENT = "SELECT order_id FROM notifications WHERE kind = 'order-shipped' AND status <> 'sent'"


@dataclass(frozen=True)
class BackedUp:
    """The labels and mails that the backup is certain to contain."""

    labelled: set[str]  # ids of orders
    sent: set[str]  # keys of mails


async def start_orders(stack: Stack, external: ExternalServices) -> None:
    """Start the orders and wait until the first ones are fulfilled."""
    await external.fail_label_purchases(DELAYED)
    await stack.data.stock("MUG", main=len(ORDERS + PENDING))
    for order_id in ORDERS + PENDING:
        await stack.data.order(order_id, MUG=1)
    await asyncio.gather(*(start_order(stack.client, order_id) for order_id in ORDERS))
    await wait_for_progress(stack)


async def wait_for_progress(stack: Stack) -> None:
    """Wait for the mails of MORE_FULFILLED more orders, or of all orders that are not delayed."""
    wanted = min(len(await stack.data.sql(SENT)) + MORE_FULFILLED, len(ORDERS) - len(DELAYED))
    async with asyncio.timeout(TIMEOUT):
        while len(await stack.data.sql(SENT)) < wanted:  # noqa: ASYNC110 - polls for the work of a worker
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
        *(program, "--dbname", read_stack(stack.data_dir)["superuser_url"], "--pgdata", target / "postgres"),
        *("--checkpoint", "fast", "--wal-method", "stream", "--no-sync"),
    )
    assert await process.wait() == 0
    await asyncio.to_thread(complete_shop_backup, stack.data_dir, target)


def complete_shop_backup(source: Path, target: Path) -> None:
    """Give the files the owner of the server's files, and add the password and the keys that the stack needs."""
    owner = (source / "postgres").stat()
    for path in (target / "postgres", *(target / "postgres").rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)
    for name in ("postgres.password", "encryption.keys", "addresses.keys"):
        shutil.copy2(source / name, target / name)


async def back_up(stack: Stack, target: Path) -> BackedUp:
    """Back up Temporal first, then the shop, while both are working; then wait for more orders."""
    await asyncio.to_thread(back_up_temporal, stack, target)
    await wait_for_progress(stack)
    backed_up = BackedUp(labelled=set(await stack.data.sql(LABELLED)), sent=set(await stack.data.sql(SENT)))
    await back_up_shop(stack, target)
    await wait_for_progress(stack)
    return backed_up


async def check(stack: Stack, backed_up: BackedUp, external: ExternalServices) -> None:
    """Check that every order is fulfilled and that only work done after the backup was repeated."""
    assert set(await stack.data.sql(FULFILLED)) == {*ORDERS, *PENDING}
    await stack.run_command("audit")
    labels, mails = await external.labels(), external.mails()
    assert set(labels) == {*ORDERS, *PENDING}
    assert backed_up.labelled and all(labels[order_id] == 1 for order_id in backed_up.labelled)
    assert max(labels.values()) <= 2
    assert set(mails) == {f"order-shipped/{order_id}" for order_id in ORDERS + PENDING}
    assert backed_up.sent and all(mails[key] == 1 for key in backed_up.sent)


@asynccontextmanager
async def restored(folder: Path, backup: Path, *, temporal: bool) -> AsyncIterator[tuple[Stack, ExternalServices]]:
    """Run a new stack on a copy of the backup, next to a copy of the external services as they were in the end."""
    for part in ("carrier", "mail"):
        shutil.copytree(backup.parent / part, folder / part)
    shutil.copytree(backup, folder / "stack")
    complete_shop_backup(backup, folder / "stack")
    if not temporal:
        (folder / "stack" / "temporal.db").unlink()
    async with external_services(folder) as external, running_stack(external, folder / "stack") as stack:
        yield stack, external


@pytest.mark.timeout(1200)  # starts three stacks and processes many orders
async def test_a_backup_taken_under_load_is_restored_with_and_without_temporals_part(tmp_path: Path) -> None:
    before = tmp_path / "before"
    before.mkdir()
    async with external_services(before) as external, running_stack(external, before / "stack") as stack:
        await start_orders(stack, external)
        backed_up = await back_up(stack, before / "backup")

    async with restored(tmp_path / "with temporal", before / "backup", temporal=True) as (stack, external):
        for order_id in ORDERS:  # they resume
            await stack.client.get_workflow_handle(order_process_id(order_id)).result()
        await stack.run_command("start", "process-pending-orders")
        await check(stack, backed_up, external)

    async with restored(tmp_path / "without temporal", before / "backup", temporal=False) as (stack, external):
        await stack.run_command("start", "process-pending-orders")  # they start anew
        unsent = await stack.data.sql(UNSENT)
        await asyncio.gather(*(process_order(stack.client, order_id) for order_id in unsent))
        await check(stack, backed_up, external)
