"""Registrations that wait for a proof of their address end once, although the worker is killed inside any step."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.client import WorkflowHandle

from commerce.messages.waits import Answer
from starter.client import connect, start
from starter.entries import Registration
from starter.operate.answers import answer
from tests.keys import ENCRYPTION_ENV
from tests.polling import until
from tests.running_shop import RunningShop, running_shop, wait_for_end
from tests.system.workers import worker_processes

pytestmark = pytest.mark.waits(40)

SETTINGS = {
    "COMMERCE_CONFIRM_ADDRESS": "on",
    "COMMERCE_LINK_KEYS": "a-key-for-links-of-at-least-32-characters",
    "COMMERCE_ADDRESS_KEYS": "a-key-of-addresses-of-at-least-32-characters",
}
STEP = "confirm-address"
POINTS = (
    *("open-wait before", "open-wait after"),
    *(f"{STEP} before", f"{STEP} before-send", f"{STEP} after-send", f"{STEP} after"),
)
ANSWERED = ("record-answer before", "record-answer after", "create-customer after", "withdraw-confirmation before")
DEADLINE = 120  # seconds
MAILED_AND_WAITING = """
    SELECT count(*) FROM step_waits AS wait JOIN notifications AS mail ON mail.data ->> 'wait_id' = CAST(id AS text)
    WHERE business_key = ANY(:ids) AND mail.status = 'sent' AND wait.kind IS NULL
"""


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, temporal_server: str) -> AsyncIterator[RunningShop]:
    client = await connect({"TEMPORAL_ADDRESS": temporal_server, **ENCRYPTION_ENV, **SETTINGS})
    async with running_shop(tmp_path, database_url, client, **SETTINGS) as running:
        yield running


async def test_registrations_end_once_after_a_kill_inside_each_step(
    shop: RunningShop, tmp_path: Path
) -> None:  # (E11, A9)
    runs: dict[str, WorkflowHandle[object, object]] = {}
    for point in (*POINTS, *ANSWERED):
        person = {"email": f"{uuid4().hex}@customer.example", "password": "correct horse"}
        request = Registration.model_validate(person | {"first_name": "Ann", "last_name": "Lee"})
        runs[point] = await start(shop.client, "customer-registration", request)

    async def answer_all(points: tuple[str, ...]) -> None:
        for point in points:
            given = Answer(answer="failure" if point.startswith("withdraw") else "success")
            await answer(shop.client, shop.database, runs[point].id, STEP, given, by="test")

    async def waiting(points: tuple[str, ...]) -> bool | None:
        ids = [runs[point].id for point in points]
        found = await shop.data.sql(MAILED_AND_WAITING, ids=ids)
        return found == [len(points)] or None

    async with worker_processes(shop, tmp_path / "workers", **SETTINGS) as workers:
        first = await workers.start_pausing({run.id: point for point, run in runs.items()})
        await workers.wait_until_hanging(*(runs[point].id for point in POINTS))
        await until(lambda: waiting(ANSWERED), DEADLINE)
        await answer_all(ANSWERED)
        await workers.wait_until_hanging(*(runs[point].id for point in ANSWERED))
        await first.kill()
        await workers.start()
        await until(lambda: waiting(POINTS), DEADLINE)
        await answer_all(POINTS)
        async with asyncio.timeout(DEADLINE):
            await asyncio.gather(*(wait_for_end(run) for run in runs.values()))
    assert await shop.data.sql("SELECT count(*) FROM customers WHERE has_account") == [len(runs) - 1]
    assert await shop.data.sql("SELECT count(*) FROM auth_users") == [len(runs) - 1]
    assert await shop.data.sql("SELECT count(*) FROM pending_registrations") == [0]
    assert await shop.findings() == []
