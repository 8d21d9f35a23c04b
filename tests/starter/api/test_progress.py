"""Server-Sent Events follow a process from its current status to its end."""

import asyncio
import json
import signal
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Message
from temporalio.client import Client

from starter.api import progress
from starter.operate import process_status
from tests.conftest import free_port
from tests.faults import Faults, Gate, Hold
from tests.forks import Program
from tests.paths import ROOT
from tests.polling import until
from tests.running_shop import RunningShop, running_shop
from tests.starter.api.api_client import create_api, network_client, shop_environment

Event = tuple[str, Any]


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    async with running_shop(tmp_path, database_url, client) as made:
        await made.data.stock("MUG", main=100)
        yield made


async def events(http: httpx.AsyncClient, order_id: str) -> AsyncGenerator[Event]:
    """Yield the name and data of each event until the stream ends."""
    async with http.stream("GET", f"/workflows/order-processing-{order_id}/events") as answer:
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
        name = ""
        async for line in answer.aiter_lines():
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                yield name, json.loads(value)


def states(data: Any) -> dict[str, str]:
    return {step["name"]: step["state"] for step in data["progress"]["steps"]}


async def all_of(http: httpx.AsyncClient, order_id: str) -> list[Event]:
    return [event async for event in events(http, order_id)]


async def test_three_clients_follow_an_order_to_its_end_with_one_watch(shop: RunningShop) -> None:
    await shop.data.order("sse-1", MUG=1)
    gate, app = Gate("create-fulfillment"), create_api(shop)
    async with shop.worker([gate]), network_client(app) as http:
        await shop.start("sse-1")
        await gate.reached.wait()
        streams = [events(http, "sse-1") for _ in range(3)]
        firsts = [await anext(stream) for stream in streams]
        assert {name for name, _ in firsts} == {"progress"}
        assert states(firsts[0][1])["reserve-inventory"] == "done"
        assert states(firsts[0][1])["create-fulfillment"] == "running"
        assert len(app.state.watches._open) == 1
        gate.opened.set()
        for stream in streams:
            *changes, (last, data) = [event async for event in stream]
            assert {name for name, _ in changes} == {"progress"} and last == "end"
            assert (data["status"], data["result"]["status"]) == ("completed", "fulfilled")
            assert changes[-1][1] == data
        assert app.state.watches._open == {}


async def test_a_process_that_has_ended_sends_progress_and_end(shop: RunningShop) -> None:  # (E14)
    await shop.data.order("sse-2", MUG=1)
    async with shop.worker([Faults({"create-fulfillment": "before"})]), network_client(create_api(shop)) as http:
        await shop.expect_failure("sse-2")
        [(first, data), (last, again)] = await all_of(http, "sse-2")
    assert (first, last, data) == ("progress", "end", again)
    assert (data["status"], data["state"], data["failed_step"]) == ("failed", "compensated", "create-fulfillment")
    assert states(data)["reserve-inventory"] == "undone"


async def test_a_process_without_a_worker_sends_its_status_without_progress_until_one_starts(shop: RunningShop) -> None:
    await shop.data.order("sse-3", MUG=1)
    await shop.start("sse-3")
    async with network_client(create_api(shop)) as http, aclosing(events(http, "sse-3")) as stream:
        _, data = await anext(stream)
        assert data["status"] == "running" and data["progress"] is None and data["progress_missing"]
        async with shop.worker():
            assert [name async for name, _ in stream][-1] == "end"


async def test_a_worker_that_is_busy_with_a_local_step_takes_no_progress_away(shop: RunningShop) -> None:
    await shop.data.order("sse-5", MUG=1)
    gate, hold = Gate("reserve-inventory"), Hold("create-fulfillment")
    async with shop.worker([gate, hold]), network_client(create_api(shop)) as http:
        await shop.start("sse-5")
        await gate.reached.wait()
        async with aclosing(events(http, "sse-5")) as stream:
            _, data = await anext(stream)
            assert states(data)["reserve-inventory"] == "running"
            gate.opened.set()
            await hold.reached.wait()
            await asyncio.sleep(3 * progress.POLL_SECONDS + process_status.QUERY_TIMEOUT.seconds)
            hold.opened.set()
            shown = [data["progress"] async for _, data in stream]
    assert shown and None not in shown


async def test_polling_stops_when_the_last_client_disconnects(shop: RunningShop) -> None:
    await shop.data.order("sse-4", MUG=1)
    app, gate = create_api(shop), Gate("validate-order")
    async with shop.worker([gate]), network_client(app) as http:
        await shop.start("sse-4")
        await gate.reached.wait()
        async with aclosing(events(http, "sse-4")) as stream:
            await anext(stream)
            assert len(app.state.watches._open) == 1

        async def left() -> bool | None:
            return True if not app.state.watches._open else None

        await until(left)
        gate.opened.set()
        assert (await shop.process("sse-4")).status == "fulfilled"


async def messages(http: httpx.AsyncClient, order_id: str, last_event_id: str = "") -> list[tuple[str, str]]:
    """Return the name and the id of each event until the stream ends; none if there is no stream (204)."""
    headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
    found, name = [], ""
    async with http.stream("GET", f"/workflows/order-processing-{order_id}/events", headers=headers) as answer:
        if answer.status_code == httpx.codes.NO_CONTENT:
            return []
        async for line in answer.aiter_lines():
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "id":
                found.append((name, value))
    return found


async def test_a_client_that_reconnects_gets_only_what_it_has_not_received(shop: RunningShop) -> None:
    await shop.data.order("sse-8", MUG=1)
    other_app, gate = create_api(shop), Gate("create-fulfillment")
    async with shop.worker([gate]), network_client(create_api(shop)) as http, network_client(other_app) as other_api:
        await shop.start("sse-8")
        await gate.reached.wait()
        async with http.stream("GET", "/workflows/order-processing-sse-8/events") as answer:
            before = await anext(line async for line in answer.aiter_lines() if line.startswith("id: "))
        reconnected = asyncio.create_task(messages(other_api, "sse-8", before.removeprefix("id: ")))
        fresh = asyncio.create_task(messages(other_api, "sse-8"))
        await until(lambda: _has_followers(other_app, 2))
        gate.opened.set()
        everything, rest = await fresh, await reconnected
        assert f"id: {everything[0][1]}" == before and rest == everything[1:]
        assert [name for name, _ in rest] == ["progress"] * (len(rest) - 1) + ["end"]
        assert len({event_id for _, event_id in everything}) == len(everything)
        (_, last_change), (_, end) = everything[-2:]
        assert await messages(http, "sse-8", last_change) == [("end", end)]
        assert await messages(http, "sse-8", "of another run") == everything[-2:]


async def test_a_client_that_has_received_the_end_is_told_not_to_reconnect_until_another_run(shop: RunningShop) -> None:
    await shop.data.order("sse-9", MUG=1)
    faults = Faults({"create-fulfillment": "before"})
    async with shop.worker([faults]), network_client(create_api(shop)) as http:
        await shop.expect_failure("sse-9")
        *_, (name, end) = await messages(http, "sse-9")
        assert name == "end" and await messages(http, "sse-9", end) == []
        faults.steps.clear()
        await shop.process("sse-9")
        assert [name for name, _ in await messages(http, "sse-9", end)] == ["progress", "end"]


async def test_an_idle_stream_sends_heartbeat_comments(shop: RunningShop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "HEARTBEAT", 0.05)
    await shop.data.order("sse-5", MUG=1)
    gate = Gate("validate-order")
    async with shop.worker([gate]), network_client(create_api(shop)) as http:
        await shop.start("sse-5")
        await gate.reached.wait()
        async with http.stream("GET", "/workflows/order-processing-sse-5/events") as answer:
            lines = answer.aiter_lines()
            assert (await _comment(lines)).startswith(": ping")
        gate.opened.set()
        await shop.process("sse-5")


async def test_a_client_that_stops_reading_is_dropped(shop: RunningShop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SEND_SECONDS", 0.05)
    await shop.data.order("sse-7", MUG=1)
    await shop.start("sse-7")
    app, path = create_api(shop), "/workflows/order-processing-sse-7/events"
    request = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> Message:
        return next(request, None) or await asyncio.Future()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Future()  # as a server waits whose buffer is full

    async with app.router.lifespan_context(app):
        scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": [], "root_path": ""}
        with pytest.raises(TimeoutError):
            await app(scope, receive, send)
        assert app.state.watches._open == {}
    async with shop.worker():
        assert (await shop.process("sse-7")).status == "fulfilled"


async def test_a_stopping_server_ends_its_streams_and_waiting_requests(shop: RunningShop, tmp_path: Path) -> None:
    await shop.data.order("sse-6", MUG=1)
    port, gate = free_port(), Gate("validate-order")
    environment = shop_environment(shop) | {"PYTHONPATH": str(ROOT), "COMMERCE_API_PORT": str(port)}
    server = Program("starter.api", environment, tmp_path, tmp_path / "api.log")
    async with (
        shop.worker([gate]),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as http,
    ):
        await until(lambda: _lives(http))
        await shop.start("sse-6")
        await gate.reached.wait()
        body = {"workflow_id": "order-processing", "input": {"order_id": "sse-6"}, "wait_seconds": 900}
        waiting = asyncio.create_task(http.post("/workflows/execute", json=body))
        async with aclosing(events(http, "sse-6")) as stream:
            await anext(stream)
            server.send_signal(signal.SIGTERM)
            assert [name async for name, _ in stream] == []
        assert (await waiting).status_code == 202
        assert await asyncio.to_thread(server.wait, 30) == 0
        gate.opened.set()
        await shop.process("sse-6")


async def _has_followers(app: FastAPI, number: int) -> bool | None:
    return sum(watch.followers for watch in app.state.watches._open.values()) == number or None


async def _comment(lines: AsyncIterator[str]) -> str:
    return await anext(line async for line in lines if line.startswith(":"))


async def _lives(http: httpx.AsyncClient) -> bool | None:
    try:
        return True if (await http.get("/health/live")).is_success else None
    except httpx.TransportError:
        return None
