"""Fixtures of the command line's tests: commands with their settings, and a running shop."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from temporalio.client import Client

from starter.cli.app import run
from tests.keys import ENCRYPTION_ENV
from tests.running_shop import RunningShop, running_shop


class Outcome(NamedTuple):
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Commerce = Callable[..., Awaitable[Outcome]]


@pytest.fixture
def commerce(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Commerce:
    """Run a command in an empty folder, on the test's database."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("COMMERCE_DATABASE_URL", database_url)

    async def call(*arguments: str) -> Outcome:
        capsys.readouterr()
        code = await asyncio.to_thread(run, list(arguments))
        return Outcome(code, *capsys.readouterr())

    return call


@pytest.fixture
async def errors_of_commands(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Errors that nothing handled in the event loops of commands, such as those of futures that nothing awaited."""
    gc.collect()  # futures that earlier tests left
    loop_of_tests = asyncio.get_running_loop()
    errors: list[str] = []

    def record(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if loop is not loop_of_tests:
            errors.append(str(context["message"]))

    monkeypatch.setattr(asyncio.BaseEventLoop, "default_exception_handler", record)
    return errors


@pytest.fixture
def temporal_settings(temporal_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make commands use the tests' Temporal server and encryption key."""
    for name, value in {"TEMPORAL_ADDRESS": temporal_server, **ENCRYPTION_ENV}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
async def shop(
    tmp_path: Path, database_url: str, client: Client, temporal_settings: None
) -> AsyncIterator[RunningShop]:
    """A shop without a worker, which the commands use."""
    async with running_shop(tmp_path, database_url, client) as running:
        yield running
