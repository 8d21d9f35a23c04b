"""Whoever waits for a process learns why it does not move."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import WorkflowHandle

from starter.cli import follow
from starter.cli.follow import NO_WORKER, warn_while_stuck
from starter.processes import TASK_QUEUE
from tests.polling import until
from tests.running_shop import RunningShop


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "PATIENCE", 0.1)


@asynccontextmanager
async def unknown_process(shop: RunningShop) -> AsyncIterator[WorkflowHandle[Any, Any]]:
    """Start a process that no worker knows; terminate it at the end of the block."""
    handle = await shop.client.start_workflow("no-such-process", id=f"unknown-{uuid4()}", task_queue=TASK_QUEUE)
    try:
        yield handle
    finally:
        await handle.terminate()


async def first_warning(shop: RunningShop, handle: WorkflowHandle[Any, Any]) -> str:
    warnings: list[str] = []
    warning = asyncio.create_task(warn_while_stuck(shop.client, handle, warnings.append))

    async def printed() -> str | None:
        return warnings[0] if warnings else None

    try:
        found = await until(printed)
        await asyncio.sleep(0.5)  # more of them would come
        assert warnings == [found]
        return found
    finally:
        warning.cancel()


async def test_a_process_without_a_worker_waits_for_one(shop: RunningShop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "TASK_QUEUE", "a queue that no worker polls")
    async with unknown_process(shop) as handle:
        assert await first_warning(shop, handle) == NO_WORKER


async def test_a_process_whose_code_fails_says_how(shop: RunningShop) -> None:
    async with shop.worker(), unknown_process(shop) as handle:
        warning = await first_warning(shop, handle)
        assert warning.startswith(f"{handle.id} waits, because its code fails: ")
        assert "no-such-process is not registered" in warning
