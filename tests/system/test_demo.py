"""The demo as a newcomer sees it: cut off by Ctrl-C, started again, all numbers those of the database and the mails."""

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

STARTED = 297  # orders; three more are not to be processed
SECONDS = 200  # for one demo, on a machine that is busy with other tests
INTERRUPTED = 130


@asynccontextmanager
async def begun(data_dir: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start a demo; at the end of the block none runs."""
    foreign = ("COMMERCE_", "TEMPORAL_")
    demo = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "starter", "demo", "--data-dir", str(data_dir), "--port", "0"),
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith(foreign)},
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


async def said_until(demo: asyncio.subprocess.Process, pattern: str) -> str:
    """Read what it says up to the line that has this in it, or to its end."""
    assert demo.stdout
    said = ""
    async with asyncio.timeout(SECONDS):
        while line := (await demo.stdout.readline()).decode():
            said += line
            if re.search(pattern, line):
                return said
    return said


@asynccontextmanager
async def shop_of(data_dir: Path) -> AsyncIterator[Shop]:
    """Look into the database of a stack that has stopped."""
    port, log = free_port(), data_dir / "looking.log"
    with log.open("w") as stream:
        server = await asyncio.create_subprocess_exec(*postgres.command(data_dir, port), stdout=stream, stderr=stream)
    database = Database(postgres.url(data_dir, port))
    try:
        await wait_until(lambda: "ready to accept connections" in log.read_text(), SECONDS, log.read_text)
        yield Shop(database)
    finally:
        await database.close()
        server.send_signal(signal.SIGINT)
        await server.wait()


def numbers(said: str, row: str) -> list[int]:
    """Return the numbers of a row of the table: the total and this run."""
    found = re.search(rf"^ *{row} +(\d+) +(\d+)", said, re.MULTILINE)
    assert found, said
    return [int(number) for number in found.groups()]


async def test_a_demo_that_is_cut_off_goes_on_and_tells_the_truth(tmp_path: Path) -> None:
    data_dir = tmp_path / "a small shop"
    async with begun(data_dir) as first:
        said = await said_until(first, rf"[1-9]\d* of {STARTED}: [1-9]\d* fulfilled")
        first.send_signal(signal.SIGINT)
        said += await said_until(first, "no such line")
        assert await first.wait() == INTERRUPTED, said
    assert "Interrupted; started again, the demo goes on" in said
    assert "Results" not in said

    async with begun(data_dir) as second:
        said = await said_until(second, "no such line")
        assert await second.wait() == 0, said
    assert "\x1b" not in said
    assert "Traceback" not in said
    assert re.search(r"Audit +clean", said)

    fulfilled, refused, undone = (numbers(said, row) for row in ("Fulfilled", "Refused for stock", "Undone"))
    assert fulfilled[0] + refused[0] + undone[0] == STARTED
    assert 0 < fulfilled[1] < fulfilled[0]
    assert 20 <= refused[0] <= 45
    assert undone[0] == 1
    async with shop_of(data_dir) as shop:
        await compare(shop, data_dir, said)


async def compare(shop: Shop, data_dir: Path, said: str) -> None:
    """See that the table says what the database and the mail folder say."""

    async def count(what: str) -> list[int]:
        return list(await shop.sql(f"SELECT {what}"))

    in_all = {row: [numbers(said, row)[0]] for row in ("Fulfilled", "Units shipped", "Labels bought", "Mails sent")}
    fulfilled = "orders WHERE fulfillment_status = 'fulfilled'"
    assert in_all["Fulfilled"] == await count(f"count(*) FROM {fulfilled}")
    lines = f"order_lines WHERE order_id IN (SELECT id FROM {fulfilled})"
    assert in_all["Units shipped"] == await count(f"sum(quantity) FROM {lines}")
    assert in_all["Labels bought"] == await count("count(*) FROM fulfillments WHERE label_url IS NOT NULL")
    about_orders = "notifications WHERE status = 'sent' AND order_id IS NOT NULL"
    assert in_all["Mails sent"] == await count(f"count(*) FROM {about_orders}")
    mails = [email.message_from_bytes(file.read_bytes()) for file in (data_dir / "mail").glob("*.eml")]
    kinds = Counter(mail["X-Commerce-Kind"] for mail in mails)
    assert [len(mails)] == await count("count(*) FROM notifications WHERE status = 'sent'")
    assert kinds["welcome"] == 24 and kinds["daily-report"] == 3
    assert await count("count(*) FROM customers WHERE has_account") == [24]
    assert "24 accounts were created" in said and "password must have at least 8 characters" in said
    assert "40 abandoned carts deleted" in said and "5 levels corrected" in said
    assert [kinds["order-shipped"]] == await count(f"count(email) FROM {fulfilled}")
    assert [kinds["insufficient-inventory"]] == [numbers(said, "Refused for stock")[0]]
    assert await shop.audit() == []
