"""The command `commerce doctor` as a whole: its report, its JSON, its exit codes, and its time limit."""

import asyncio
import json
import os
import re
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
from fastapi import FastAPI
from temporalio.client import Client

from commerce.settings import load_settings
from starter.api import health
from starter.cli.app import run
from starter.devstack import mail
from starter.devstack.carrier import server as carrier
from starter.devstack.serving import serving
from starter.devstack.warehouse import server as warehouse
from starter.doctor.checks import CHECKS
from starter.doctor.findings import CheckResult, exit_code
from starter.doctor.report import WIDTH
from starter.doctor.runner import CHECK_SECONDS, Check, CheckContext, run_checks
from starter.operate.worker_presence import is_worker_polling
from starter.processes import TASK_QUEUE
from starter.schedules.apply import apply_schedules
from tests.keys import KEY
from tests.polling import until
from worker import make_worker, open_activities


class Ended(NamedTuple):
    code: int
    out: str
    err: str


Doctor = Callable[..., Awaitable[Ended]]


@pytest.fixture
def doctor(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Doctor:
    """Run `commerce doctor` with additional variables, as if from the command line."""
    monkeypatch.chdir(tmp_path)

    async def call(*arguments: str, **more: str) -> Ended:
        for name, value in (environment | more).items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        code = await asyncio.to_thread(run, ["doctor", *arguments])
        return Ended(code, *capsys.readouterr())

    return call


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
async def shop(
    environment: dict[str, str], shop_client: Client, tmp_path: Path, database_url: str
) -> AsyncIterator[dict[str, str]]:
    """A complete running shop; yields the variables of its services."""
    async with AsyncExitStack() as stack:
        more = {
            "COMMERCE_SMTP_URL": await stack.enter_async_context(mail.running(tmp_path / "mail", 0)),
            "COMMERCE_CARRIER_URL": f"{await stack.enter_async_context(carrier.running(tmp_path / 'c', 0))}/v2",
            "COMMERCE_WAREHOUSE_URL": await stack.enter_async_context(warehouse.running(tmp_path, 0, database_url)),
        }
        settings = load_settings(environment | more)
        api = FastAPI()
        api.include_router(health.routes)  # without the request log, which would mix with the command's output
        url = await stack.enter_async_context(serving(api, 0))
        await apply_schedules(shop_client, settings)
        steps = await stack.enter_async_context(open_activities(settings))
        await stack.enter_async_context(make_worker(shop_client, steps, settings))

        async def polls() -> bool | None:
            return await is_worker_polling(shop_client, TASK_QUEUE) or None

        await until(polls)
        yield more | {"COMMERCE_API_PORT": url.rpartition(":")[2]}


def unreachable(port: int) -> dict[str, str]:
    """Return the variables of a shop whose servers are all at this port."""
    return {
        "COMMERCE_DATABASE_URL": f"postgresql://ann:hunter2@127.0.0.1:{port}/shop",
        "COMMERCE_SMTP_URL": f"smtp://ann:hunter3@127.0.0.1:{port}",
        "COMMERCE_CARRIER_URL": f"http://ann:hunter4@127.0.0.1:{port}",
        "COMMERCE_CARRIER_API_KEY": "hunter5",
        "COMMERCE_WAREHOUSE_URL": f"http://ann:hunter6@127.0.0.1:{port}",
        "COMMERCE_API_TOKENS": "hunter7-hunter7-hunter7",
        "COMMERCE_API_PORT": str(port),
        "TEMPORAL_ADDRESS": f"127.0.0.1:{port}",
        "TEMPORAL_API_KEY": "hunter8",
        "TEMPORAL_TLS": "false",
    }


async def test_a_healthy_shop_passes_all_checks(doctor: Doctor, shop: dict[str, str]) -> None:
    ended = await doctor(**shop)
    assert (ended.code, ended.err) == (0, ""), ended.out
    assert ended.out.splitlines()[-1] == f"{len(CHECKS)} ok", ended.out
    groups = [line.strip() for line in ended.out.splitlines() if line[:1].strip() and "ok" not in line]
    assert groups == ["Settings", "Database", "Temporal", "Keys", "Schedules", "Services", "Backlog"]
    warned = await doctor(**shop, COMMERCE_ADMIN_EMAILS="", COMMERCE_DATABSE_URL="x")
    assert warned.code == 0 and warned.out.splitlines()[-1] == f"{len(CHECKS) - 2} ok, 2 warning"


async def test_json_is_the_list_of_findings(doctor: Doctor, shop: dict[str, str]) -> None:
    ended = await doctor("--json", **shop | {"COMMERCE_SMTP_URL": "smtp://127.0.0.1:1"})
    found = json.loads(ended.out)
    assert [(line["group"], line["check"]) for line in found] == [(check.group, check.name) for check in CHECKS]
    assert ended.code == 1 and [line for line in found if line["code"]] == [
        {
            "group": "Services",
            "check": "mail",
            "state": "failed",
            "found": "no mail server answers at 127.0.0.1:1 (SMTPConnectError)",
            "cure": "Start it, or correct scheme, host and port in COMMERCE_SMTP_URL",
            "code": 1,
        }
    ]


@pytest.mark.parametrize("silent", [False, True], ids=["closed", "silent"])
async def test_unreachable_servers_are_reported_in_time_and_without_secrets(
    doctor: Doctor, silent_port: int, *, silent: bool
) -> None:
    started = time.monotonic()
    ended = await doctor(**unreachable(silent_port if silent else 1))
    assert time.monotonic() - started < 2 * CHECK_SECONDS, "the checks do not run concurrently"
    assert ended.code == 3 and ended.err == ""
    assert "hunter" not in ended.out and KEY not in ended.out
    assert ended.out.splitlines()[-1].endswith("21 skipped")
    assert re.search(r"✗ failed +connection +(PostgreSQL|no server listens) at ", ended.out)
    assert re.search(r"– skipped +stuck runs +needs Temporal: connection", ended.out)
    assert max(map(len, ended.out.splitlines())) <= WIDTH


async def test_an_invalid_setting_skips_only_checks_that_need_settings(doctor: Doctor) -> None:
    ended = await doctor(COMMERCE_CURRENCY="hunter2")
    assert ended.code == 2 and "hunter2" not in ended.out
    assert re.match("  ✗ failed +values", ended.out.splitlines()[1])
    assert re.search(r"✓ ok +search attributes", ended.out)
    assert re.search(r"– skipped +pending orders +needs Settings: values", ended.out)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (".env", b"\xff", ".env cannot be read: it is not text"),
        ("stack.json", b"3", "stack.json cannot be read"),
        ("data", b"", "data is not a folder"),
    ],
)
async def test_without_readable_settings_nothing_is_checked(
    doctor: Doctor, tmp_path: Path, file: str, content: bytes, message: str
) -> None:
    (tmp_path / file).write_bytes(content)
    ended = await doctor("--data-dir", file if file == "data" else ".")
    assert (ended.code, ended.out, len(ended.err.splitlines())) == (2, "", 1)
    assert message in ended.err


async def test_an_unexpected_error_hides_no_other_finding() -> None:
    async def fail(_context: CheckContext) -> CheckResult:
        raise ValueError("postgresql://ann:hunter2@host")

    async def succeed(_context: CheckContext) -> CheckResult:
        return CheckResult("ok", "all well")

    broken = Check("Services", "broken", fail)
    found = await run_checks(
        CheckContext(dict(os.environ)),
        [broken, Check("Services", "rest", succeed), Check("Backlog", "x", succeed, (broken,))],
    )
    assert [line.state for line in found] == ["failed", "ok", "skipped"]
    assert found[0].found == "the check failed (ValueError)" and found[2].found == "needs Services: broken"
    assert exit_code(found) == 1
