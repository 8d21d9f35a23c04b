"""Nothing personal or secret is kept by Temporal, when it is encrypted, or told by logs and spans, whatever happens."""

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from commerce.database import Database
from commerce.settings import load_settings
from starter.client import connect
from starter.devstack import key_file
from starter.devstack.stack import Stack
from tests.commerce.shop import Shop
from tests.paths import ROOT
from tests.running_shop import RunningShop
from tests.system import leak_words as words
from tests.system.leak_scenarios import Stage, bother_the_api, play
from tests.system.leak_search import Words, files, found, kept_by_temporal, told
from tests.system.workers import WorkerProcess
from tests.trace_collector import trace_collector

SETTINGS = {
    "COMMERCE_LOG_LEVEL": "debug",
    "COMMERCE_ADMIN_EMAILS": words.ADMIN,
    "COMMERCE_API_TOKENS": words.TOKEN,
    "COMMERCE_CARRIER_API_KEY": words.CARRIER_KEY,
    "PYTHONPATH": str(ROOT),
}
TEMPORALS_LOG = "stack/logs/temporal.log"
HASHES = "SELECT split_part(password_hash, '$', 6) FROM auth_users"


@dataclass(frozen=True)
class Traces:
    """What is left when all has happened, by place, and the words that it must be searched for."""

    temporal: dict[str, bytes]  # histories, states of runs, schedules; the files of its database, and its own log
    logs: dict[str, bytes]
    passed_on: Words  # to processes
    kept_back: Words


@asynccontextmanager
async def shop_on(stack: Stack) -> AsyncIterator[RunningShop]:
    """The shop of an embedded stack."""
    database = Database(stack.environment["COMMERCE_DATABASE_URL"])
    client, settings = await connect(stack.environment), load_settings(stack.environment)
    yield RunningShop(
        settings, client, database, Shop(database), stack.data_dir / "mail", stack.description["carrier_url"]
    )
    await database.close()


@asynccontextmanager
async def leaky_worker(stage: Stage, stack: Stack, log_format: str) -> AsyncIterator[None]:
    """A worker that does what the stage wants it to do wrong, while the block runs."""
    mischief = {"MISCHIEF": json.dumps(stage.mischief), "MARKERS": str(stage.markers)}
    worker = WorkerProcess(
        [sys.executable, "-m", "tests.system.leak_worker"],
        os.environ | stack.environment | mischief | {"COMMERCE_LOG_FORMAT": log_format},
        stage.markers,
    )
    try:
        await worker.wait_until_started()
        yield
        code, _ = await worker.stop()
        assert code == 0, worker.log_tail()
    finally:
        if worker.process.poll() is None:
            await worker.kill()


async def played(folder: Path, *log_formats: str) -> Traces:
    """Let everything happen in a shop of its own, once with a worker of each of these formats."""
    async with Stack(folder / "stack", port=0, worker=False, echo=lambda _: None) as stack, shop_on(stack) as shop:
        await shop.data.stock("MUG", main=100)
        for log_format in log_formats:
            (folder / log_format).mkdir()
            stage = Stage(shop, log_format, folder / log_format)
            async with leaky_worker(stage, stack, log_format):
                await play(stage)
        await bother_the_api(stack.description["api_url"], stage.address("api"))
        temporal = await kept_by_temporal(shop.client)
        hashes = {"hash of a password": [*words.PASSED_ON["hash of a password"], *await shop.data.sql(HASHES)]}
    data_dir = stack.data_dir
    secrets = {
        "password of the database": lines(data_dir / "postgres.password"),
        "key": lines(data_dir / key_file.FILE),
    }
    return Traces(
        temporal | files(folder, "stack/temporal.db*", TEMPORALS_LOG),
        logs_of(folder),
        words.PASSED_ON | hashes,
        words.KEPT_BACK | secrets,
    )


def logs_of(folder: Path) -> dict[str, bytes]:
    """Return what our processes have logged; of bugs it is told by us, by the SDK and by its core."""
    workers, servers = files(folder, "*/worker.log"), files(folder, "stack/logs/*")
    assert workers and servers.pop(TEMPORALS_LOG)
    for content in workers.values():
        assert all(part in content for part in (b"step failed", b"Traceback", b"Failing workflow task", b"[redacted]"))
    return workers | servers


def lines(file: Path) -> list[str]:
    return file.read_text().split()


@pytest.fixture
def surroundings(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Settings of these tests alone, for every process."""
    for name in [name for name in os.environ if name.startswith(("COMMERCE_", "TEMPORAL_"))]:
        monkeypatch.delenv(name)
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.mark.timeout(400)
async def test_encrypted_nothing_personal_or_secret_is_left_anywhere(
    tmp_path: Path, surroundings: pytest.MonkeyPatch
) -> None:  # (A3)
    surroundings.setenv("COMMERCE_ENCRYPTION", "on")
    async with trace_collector() as collector:
        surroundings.setenv("COMMERCE_TRACES_URL", collector.url)
        surroundings.setenv("COMMERCE_TRACES_SAMPLED", "1")
        traces = await played(tmp_path, "json")
    assert {"commerce-api", "commerce-worker"} <= {span.service for span in collector.spans}
    assert any("[redacted]" in span.error for span in collector.spans if span.error)
    spans = {f"spans, batch {number}": body for number, body in enumerate(collector.bodies)}
    assert all(b"binary/encrypted" in content for place, content in traces.temporal.items() if "history" in place)
    leaks = found({**traces.passed_on, **traces.kept_back}, {**traces.temporal, **traces.logs, **spans})
    assert not leaks, told(leaks)


@pytest.mark.timeout(400)
async def test_in_clear_temporal_keeps_what_processes_are_given_and_no_more_and_no_log_of_ours_tells_it(
    tmp_path: Path, surroundings: pytest.MonkeyPatch
) -> None:
    surroundings.setenv("COMMERCE_ENCRYPTION", "off")
    traces = await played(tmp_path, "json", "console")
    kept = found(traces.passed_on, traces.temporal)
    for where in ("history of ", "stack/temporal.db"):
        assert {kind for place, kind in kept if place.startswith(where)} == set(words.PASSED_ON)
    leaks = found(traces.kept_back, traces.temporal) | found({**traces.passed_on, **traces.kept_back}, traces.logs)
    assert not leaks, told(leaks)
