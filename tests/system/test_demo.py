"""The demo resumes after Ctrl-C, and its numbers agree with the database and the mails.

It has a third of the orders and every special case; tests/starter/demo/test_sample_shop.py is about the whole shop.
"""

import asyncio
import email
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from commerce.database import Database
from starter.devstack import postgres
from tests.commerce.shop import Shop
from tests.conftest import free_port
from tests.paths import ROOT
from tests.system.workers import wait_until

ORDERS = 97  # the orders that are processed; three more are not ready for it
TIMEOUT = 200  # seconds for one demo, on a machine that runs other tests too
EXIT_CODE_INTERRUPTED = 130


@asynccontextmanager
async def running_demo(data_dir: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start a demo; stop it at the end of the block if it still runs."""
    excluded = ("COMMERCE_", "TEMPORAL_")
    demo = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.system.small_demo", "demo", "--data-dir", str(data_dir), "--port", "0"),
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith(excluded)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield demo
    finally:
        if demo.returncode is None:
            demo.terminate()
            await demo.wait()


async def read_output_until(demo: asyncio.subprocess.Process, pattern: str) -> str:
    """Read the output up to and including a line that matches the pattern, or to its end."""
    assert demo.stdout
    output = ""
    async with asyncio.timeout(TIMEOUT):
        while line := (await demo.stdout.readline()).decode():
            output += line
            if re.search(pattern, line):
                return output
    return output


@asynccontextmanager
async def database_of(data_dir: Path) -> AsyncIterator[Shop]:
    """Start the PostgreSQL server of a stopped stack, to query its database."""
    port, log = free_port(), data_dir / "postgres-check.log"
    with log.open("w") as stream:
        server = await asyncio.create_subprocess_exec(*postgres.command(data_dir, port), stdout=stream, stderr=stream)
    database = Database(postgres.url(data_dir, port))
    try:
        await wait_until(lambda: "ready to accept connections" in log.read_text(), TIMEOUT, log.read_text)
        yield Shop(database)
    finally:
        await database.close()
        server.send_signal(signal.SIGINT)
        await server.wait()


def row_numbers(output: str, row: str) -> list[int]:
    """Return the two numbers of a row of the results: in total and in this run."""
    found = re.search(rf"^ *{row} +(\d+) +(\d+)", output, re.MULTILINE)
    assert found, output
    return [int(number) for number in found.groups()]


async def test_an_interrupted_demo_resumes_and_shows_correct_numbers(tmp_path: Path) -> None:
    data_dir = tmp_path / "a small shop"
    async with running_demo(data_dir) as first:
        output = await read_output_until(first, rf"[1-9]\d* of {ORDERS}: [1-9]\d* fulfilled")
        first.send_signal(signal.SIGINT)
        output += await read_output_until(first, "no such line")
        assert await first.wait() == EXIT_CODE_INTERRUPTED, output
    assert "Interrupted. Run the demo again to continue" in output
    assert "Results" not in output

    async with running_demo(data_dir) as second:
        output = await read_output_until(second, "no such line")
        assert await second.wait() == 0, output
    assert "\x1b" not in output
    assert "Traceback" not in output
    assert re.search(r"Audit +clean", output)

    fulfilled, refused, undone = (row_numbers(output, row) for row in ("Fulfilled", "Refused for stock", "Undone"))
    cancelled = row_numbers(output, "Cancelled")
    assert fulfilled[0] + refused[0] + undone[0] + cancelled[0] + row_numbers(output, "Waits for a review")[0] == ORDERS
    assert cancelled == row_numbers(output, "Returned") == [1, 1]
    assert row_numbers(output, "Waits for a review") == [1, 1]
    assert 0 < fulfilled[1] < fulfilled[0]
    assert 6 <= refused[0] <= 15
    assert undone[0] == 1
    async with database_of(data_dir) as shop:
        await check_results(shop, data_dir, output)


async def check_results(shop: Shop, data_dir: Path, output: str) -> None:
    """Check that the results agree with the database and the mail folder."""

    async def count(expression: str) -> list[int]:
        return list(await shop.sql(f"SELECT {expression}"))

    totals = {
        row: [row_numbers(output, row)[0]] for row in ("Fulfilled", "Units shipped", "Labels bought", "Mails sent")
    }
    fulfilled = "orders WHERE fulfillment_status = 'fulfilled'"
    assert totals["Fulfilled"] == await count(f"count(*) FROM {fulfilled}")
    lines = f"order_lines WHERE order_id IN (SELECT id FROM {fulfilled})"
    assert totals["Units shipped"] == await count(f"sum(quantity) FROM {lines}")
    assert totals["Labels bought"] == await count(
        "count(*) FROM fulfillments WHERE label_url IS NOT NULL AND cancelled_at IS NULL"
    )
    about_orders = "notifications WHERE status = 'sent' AND order_id IS NOT NULL"
    assert totals["Mails sent"] == await count(f"count(*) FROM {about_orders}")
    mails = [email.message_from_bytes(file.read_bytes()) for file in (data_dir / "mail").glob("*.eml")]
    kinds = Counter(mail["X-Commerce-Kind"] for mail in mails)
    assert [len(mails)] == await count("count(*) FROM notifications WHERE status = 'sent'")
    assert kinds["welcome"] == 24 and kinds["daily-report"] == 3
    assert await count("count(*) FROM customers WHERE has_account") == [24]
    assert "24 accounts were created" in output and "password must have at least 8 characters" in output
    assert "40 abandoned carts deleted" in output and "5 levels corrected" in output
    assert [kinds["order-shipped"] - kinds["order-cancelled"]] == await count(f"count(email) FROM {fulfilled}")
    assert kinds["order-cancelled"] == kinds["return-label"] == kinds["order-returned"] == 1
    assert kinds["refund-at-shop"] == 2  # of both
    assert [kinds["insufficient-inventory"]] == [row_numbers(output, "Refused for stock")[0]]
    waiting = await shop.sql("SELECT business_key FROM step_waits WHERE kind IS NULL")
    assert len(waiting) == 1 and {finding.business_key for finding in await shop.audit()} == set(waiting)
