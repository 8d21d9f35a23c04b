"""The embedded stack as a user sees it: real servers, a folder with a blank in its path, kill -9 and restart."""

import base64
import json
import os
import signal
import smtplib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil
import pytest
from google.protobuf.json_format import MessageToDict
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client

from starter.client import connect
from starter.devstack import orphans
from starter.devstack.errors import FAILED, USAGE, StackError
from starter.devstack.server_process import RESTART_SECONDS
from starter.devstack.stack import Stack
from tests.paths import ROOT
from tests.scraping import scrape
from workflows.engine.search_attributes import SEARCH_ATTRIBUTES

pytestmark = pytest.mark.programs

RUN = """
import asyncio, sys
from pathlib import Path
from starter.devstack.errors import StackError
from starter.devstack.stack import Stack
from starter.telemetry.exit import exit_process
try:
    stack = Stack(Path(sys.argv[1]), port=0, echo=lambda line: print(line, flush=True))
    code = asyncio.run(stack.run())
except StackError as error:
    print(error, flush=True)
    code = error.code
exit_process(code)
"""
DEADLINE = 120  # seconds
CHILDREN = {"postgres", "temporal", "mail", "carrier", "warehouse", "worker", "api"}


def clean_environment() -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("COMMERCE_", "TEMPORAL_"))}
    return own | {"PYTHONPATH": str(ROOT)}


def quiet(_line: str) -> None:
    """Print nothing."""


class Up:
    """A stack in a process of its own, as `commerce up` runs it."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir, self.log = data_dir, data_dir.parent / "up.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", RUN, str(data_dir)],
                cwd=data_dir.parent,
                env=clean_environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def stack(self) -> dict[str, Any]:
        until(lambda: (self.data_dir / "stack.json").exists() or self.process.poll() is not None, DEADLINE, self.said)
        assert self.process.poll() is None, self.said()
        stack: dict[str, Any] = json.loads((self.data_dir / "stack.json").read_text())
        return stack

    def pids(self) -> dict[str, int]:
        return {name: entry["pid"] for name, entry in json.loads((self.data_dir / "pids.json").read_text()).items()}

    def said(self) -> str:
        return self.log.read_text()


def until(condition: Callable[[], bool], seconds: float, explain: Callable[[], str] = str) -> float:
    """Poll until the condition holds; return how long that took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"not within {seconds} s: {explain()}"
        time.sleep(0.02)
    return time.monotonic() - began


def is_ready(stack: dict[str, Any]) -> bool:
    try:
        return httpx.get(f"{stack['api_url']}/health/ready", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def gone(pids: dict[str, int]) -> bool:
    return all(not psutil.pid_exists(p) or psutil.Process(p).status() == psutil.STATUS_ZOMBIE for p in pids.values())


async def leave_traces(stack: dict[str, Any]) -> None:
    """Store something in each server that keeps data."""
    connection = await asyncpg.connect(stack["database_url"])
    await connection.execute("INSERT INTO locations (id, name) VALUES ('trace', 'Trace')")
    await connection.close()
    client = await Client.connect(stack["temporal_address"])
    await client.start_workflow("trace", id="trace", task_queue="nobody")
    host, _, port = stack["smtp_url"].removeprefix("smtp://").partition(":")
    with smtplib.SMTP(host, int(port)) as smtp:
        smtp.sendmail("a@shop.example", ["b@shop.example"], b"Subject: trace\r\n\r\nHello")


async def find_traces(stack: dict[str, Any]) -> None:
    connection = await asyncpg.connect(stack["database_url"])
    assert await connection.fetchval("SELECT name FROM locations WHERE id = 'trace'") == "Trace"
    await connection.close()
    client = await Client.connect(stack["temporal_address"])
    assert (await client.get_workflow_handle("trace").describe()).workflow_type == "trace"
    assert mails(stack) == 1


async def decrypt_as_the_ui_does(stack: dict[str, Any]) -> None:
    """Decrypt a payload as Temporal's UI does: at its codec endpoint, from its origin."""
    [payload] = await (await connect(stack["environment"])).data_converter.encode(["Hello"])
    async with httpx.AsyncClient(trust_env=False, headers={"Origin": stack["temporal_ui"]}) as browser:
        endpoint = (await browser.get(f"{stack['temporal_ui']}/api/v1/settings")).json()["Codec"]["Endpoint"]
        answer = await browser.post(f"{endpoint}/decode", json={"payloads": [MessageToDict(payload)]})
    assert answer.headers["access-control-allow-origin"] == stack["temporal_ui"]
    assert base64.b64decode(answer.json()["payloads"][0]["data"]) == b'"Hello"'


def can_be_read_by_others(path: Path) -> bool:
    try:
        return path.stat().st_mode & 0o077 != 0
    except FileNotFoundError:  # a temporary file
        return False


def mails(stack: dict[str, Any]) -> int:
    return len(list(Path(stack["mail_dir"]).glob("*.eml")))


async def check_namespace(stack: dict[str, Any]) -> None:
    client = await Client.connect(stack["temporal_address"])
    namespace = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace="default"))
    assert namespace.config.workflow_execution_retention_ttl.ToTimedelta() == timedelta(days=30)
    known = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace="default"))
    assert set(SEARCH_ATTRIBUTES) <= set(known.custom_attributes)


def without_pids(stack: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in stack.items() if not name.endswith("_pid")}


@pytest.fixture
def ups(tmp_path: Path) -> Iterator[Callable[[], Up]]:
    """Start stacks on one folder; at the end nothing is left running."""
    started: list[Up] = []

    def start() -> Up:
        started.append(Up(tmp_path / "a folder" / "da ta"))
        return started[-1]

    (tmp_path / "a folder").mkdir()
    yield start
    for up in started:
        up.process.kill()
        up.process.wait()
        orphans.terminate(up.data_dir)


async def test_it_survives_kill_9_of_everything(ups: Callable[[], Up]) -> None:
    up = ups()
    first = up.stack
    assert set(up.pids()) == CHILDREN
    assert is_ready(first)
    assert "commerce_runs_total" in (await scrape(first["metrics_url"])).names
    assert (up.data_dir / "stack.json").stat().st_mode & 0o777 == 0o600
    assert [path for path in up.data_dir.rglob("*") if can_be_read_by_others(path)] == []
    await leave_traces(first)
    await decrypt_as_the_ui_does(first)

    with pytest.raises(StackError, match=f"already running in .* \\(process {up.process.pid}\\)"):
        await Stack(up.data_dir, port=0, echo=quiet).start()
    assert up.stack == first

    for name, pid in up.pids().items():
        os.kill(pid, signal.SIGKILL)
        until(lambda name=name, pid=pid: up.pids().get(name, pid) != pid, DEADLINE, up.said)  # type: ignore[misc]
    assert up.said().count(f"Restarting in {RESTART_SECONDS[0]:g} s") == len(CHILDREN)  # each the first time
    until(lambda: is_ready(first), DEADLINE, up.said)
    second = up.stack
    assert second["worker_pid"] == up.pids()["worker"] != first["worker_pid"]
    assert without_pids(second) == without_pids(first)
    await find_traces(second)

    until(
        lambda: all(psutil.pid_exists(pid) for pid in up.pids().values()), DEADLINE, up.said
    )  # none waits to start again
    orphans = up.pids()
    up.process.kill()
    up.process.wait()
    assert not gone(orphans)
    up = ups()
    until(lambda: gone(orphans), DEADLINE, up.said)
    third = up.stack
    assert "Terminated 7 processes" in up.said()
    await find_traces(third)
    await check_namespace(third)
    await decrypt_as_the_ui_does(third)
    assert without_pids(third) == without_pids(first)

    children = up.pids()
    up.process.send_signal(signal.SIGTERM)
    assert up.process.wait(timeout=DEADLINE) == 0, up.said()
    assert gone(children)
    assert not (up.data_dir / "stack.json").exists()
    assert not (up.data_dir / "pids.json").exists()


def test_ctrl_c_while_it_starts_leaves_nothing(ups: Callable[[], Up]) -> None:
    up = ups()
    until(lambda: "PostgreSQL is ready" in up.said(), DEADLINE, up.said)
    children = up.pids()
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(timeout=DEADLINE) == 130, up.said()
    assert gone(children)
    assert not (up.data_dir / "stack.json").exists()


async def test_a_wrong_setting_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMMERCE_TIMEZONE", "Mars/Olympus")
    with pytest.raises(StackError, match="COMMERCE_TIMEZONE: is not an IANA time zone") as refused:
        await Stack(tmp_path, port=0, echo=quiet).start()
    assert refused.value.code == USAGE


async def test_a_data_folder_that_is_a_file_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StackError, match=r"The data folder .*file cannot be used: File exists") as refused:
        await Stack(tmp_path / "file", port=0, echo=quiet).start()
    assert refused.value.code == FAILED
