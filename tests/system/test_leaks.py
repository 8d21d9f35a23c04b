"""Encrypted histories, logs and spans contain no personal or secret data, whatever goes wrong."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from commerce.database import Database
from commerce.settings import load_settings
from starter.client import connect
from starter.devstack import key_file
from starter.devstack.stack import Stack
from tests.commerce.shop import Shop
from tests.paths import ROOT
from tests.payment_provider import embedded_payments
from tests.running_shop import RunningShop
from tests.system import leak_words as words
from tests.system.leak_answers import ASKING, Asking, run_asking
from tests.system.leak_scenarios import Setup, run_scenarios, send_personal_data_to_the_api
from tests.system.leak_search import Words, describe, dump_temporal, find_words, read_files
from tests.system.workers import WorkerProcess
from tests.trace_collector import trace_collector

SETTINGS = {
    "COMMERCE_LOG_LEVEL": "debug",
    "COMMERCE_ADMIN_EMAILS": words.ADMIN,
    "COMMERCE_API_TOKENS": words.TOKEN,
    "COMMERCE_CARRIER_API_KEY": words.CARRIER_KEY,
    "COMMERCE_LINK_KEYS": words.LINK_KEY,
    "COMMERCE_WAREHOUSE_SECRETS": words.WAREHOUSE_SECRET,
    "COMMERCE_REVIEW_RISK": "high",
    "PYTHONPATH": str(ROOT),
}
TEMPORAL_LOG = "stack/logs/temporal.log"
PASSWORD_HASHES = "SELECT split_part(password_hash, '$', 6) FROM auth_users"


@dataclass(frozen=True)
class Recorded:
    """Everything that was stored and logged during the scenarios, by place, and the words to search it for."""

    temporal: dict[str, bytes]  # histories, states of runs, schedules, database files, its own log
    logs: dict[str, bytes]
    process_input: Words
    never_in_temporal: Words


@asynccontextmanager
async def open_shop(stack: Stack, **more: str) -> AsyncIterator[RunningShop]:
    """Open the shop of an embedded stack, with `more` settings."""
    environment = stack.environment | more
    database = Database(environment["COMMERCE_DATABASE_URL"])
    client, settings = await connect(environment), load_settings(environment)
    yield RunningShop(
        settings, client, database, Shop(database), stack.data_dir / "mail", stack.description["carrier_url"]
    )
    await database.close()


@asynccontextmanager
async def faulty_worker(stack: Stack, folder: Path, faults: dict[str, str], **more: str) -> AsyncIterator[None]:
    """Run a worker with these faults and `more` settings while the block runs."""
    environment = os.environ | stack.environment | {"FAULTS": json.dumps(faults), "MARKERS": str(folder)} | more
    worker = WorkerProcess("tests.system.leak_worker", environment, folder)
    try:
        await worker.wait_until_started()
        yield
        code, _ = await worker.stop()
        assert code == 0, worker.log_tail()
    finally:
        if worker.process.poll() is None:
            await worker.kill()


async def run_and_record(folder: Path, *log_formats: str) -> Recorded:
    """Run all scenarios in a new shop, once per log format; return everything that was stored and logged."""
    async with Stack(folder / "stack", port=0, worker=False, echo=lambda _: None) as stack, open_shop(stack) as shop:
        await shop.data.stock("MUG", main=100)
        for log_format in log_formats:
            (folder / log_format).mkdir()
            setup = Setup(shop, log_format, folder / log_format)
            async with faulty_worker(stack, setup.markers, setup.faults, COMMERCE_LOG_FORMAT=log_format):
                await run_scenarios(setup)
        await run_asking_shop(stack, folder, log_formats[-1])
        await send_personal_data_to_the_api(stack.description["api_url"], setup.address("api"))
        temporal = await dump_temporal(shop.client)
        hashes = {"password hash": [*words.PROCESS_INPUT["password hash"], *await shop.data.sql(PASSWORD_HASHES)]}
    data_dir = stack.data_dir
    secrets = {
        "database passwords": [word for file in data_dir.glob("*.password") for word in read_words(file)],
        "encryption key": read_words(data_dir / key_file.FILE),
    }
    return Recorded(
        temporal | read_files(folder, "stack/temporal.db*", TEMPORAL_LOG),
        read_logs(folder, *log_formats),
        words.PROCESS_INPUT | hashes,
        words.NEVER_IN_TEMPORAL | secrets,
    )


async def run_asking_shop(stack: Stack, folder: Path, log_format: str) -> None:
    """Let the same shop ask the warehouse, the payment provider and customers, with a worker of its own."""
    markers = folder / "asking"
    markers.mkdir()
    async with embedded_payments(folder / "payments") as payments:
        settings = ASKING | {"COMMERCE_PAYMENTS_URL": payments.api, "COMMERCE_LOG_FORMAT": log_format}
        async with (
            open_shop(stack, **settings) as shop,
            httpx.AsyncClient(base_url=stack.description["api_url"], verify=False) as http,
        ):
            asking = Asking(Setup(shop, "asking", markers), payments, http)
            async with faulty_worker(stack, markers, asking.faults, **settings):
                await run_asking(asking)


def read_logs(folder: Path, *log_formats: str) -> dict[str, bytes]:
    """Return the logs of our programs; check that bugs are logged by us, by the SDK and by its core."""
    workers, servers = read_files(folder, "*/worker.log"), read_files(folder, "stack/logs/*")
    assert servers.pop(TEMPORAL_LOG)
    for content in [workers[f"{log_format}/worker.log"] for log_format in log_formats]:
        assert all(part in content for part in (b"step failed", b"Traceback", b"Failing workflow task", b"[redacted]"))
    return workers | servers


def read_words(file: Path) -> list[str]:
    return file.read_text().split()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Set the environment variables of these tests, and no others of the shop or Temporal, for every program."""
    for name in [name for name in os.environ if name.startswith(("COMMERCE_", "TEMPORAL_"))]:
        monkeypatch.delenv(name)
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.mark.timeout(1200)
async def test_with_encryption_no_personal_or_secret_data_is_stored_or_logged(
    tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:  # (A3)
    environment.setenv("COMMERCE_ENCRYPTION", "on")
    async with trace_collector() as collector:
        environment.setenv("COMMERCE_TRACES_URL", collector.url)
        environment.setenv("COMMERCE_TRACES_SAMPLED", "1")
        recorded = await run_and_record(tmp_path, "json")
    assert {"commerce-api", "commerce-worker"} <= {span.service for span in collector.spans}
    assert any("[redacted]" in span.error for span in collector.spans if span.error)
    spans = {f"spans, batch {number}": body for number, body in enumerate(collector.bodies)}
    assert all(b"binary/encrypted" in content for place, content in recorded.temporal.items() if "history" in place)
    leaks = find_words(
        {**recorded.process_input, **recorded.never_in_temporal}, {**recorded.temporal, **recorded.logs, **spans}
    )
    assert not leaks, describe(leaks)


@pytest.mark.timeout(1200)
async def test_without_encryption_temporal_stores_process_inputs_only_and_our_logs_contain_none(
    tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("COMMERCE_ENCRYPTION", "off")
    recorded = await run_and_record(tmp_path, "json", "console")
    kept = find_words(recorded.process_input, recorded.temporal)
    for where in ("history of ", "stack/temporal.db"):
        assert {kind for place, kind in kept if place.startswith(where)} == set(words.PROCESS_INPUT)
    leaks = find_words(recorded.never_in_temporal, recorded.temporal) | find_words(
        {**recorded.process_input, **recorded.never_in_temporal}, recorded.logs
    )
    assert not leaks, describe(leaks)
