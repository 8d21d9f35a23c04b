"""Floods of starts and registrations: what is refused, what is dropped, and that others are still served."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from commerce import passwords
from starter.api.admission import MAX_WAITING
from starter.devstack.serving import serving
from tests.polling import until
from tests.running_shop import RunningShop
from tests.starter.api.api_client import create_api, in_process_client

ANN = {"email": "ann@customer.example", "password": "correct horse", "first_name": "Ann", "last_name": "Lee"}
FLOOD = 150
TOKENS = ("a-token-of-the-storefront", "a-token-of-the-back-office")


@pytest.fixture
def limited(shop: RunningShop) -> Callable[..., Any]:
    """Return a client of an API with these limits."""

    @asynccontextmanager
    async def client(**limits: str) -> AsyncIterator[httpx.AsyncClient]:
        variables = {f"COMMERCE_{name}": value for name, value in limits.items()}
        async with in_process_client(create_api(shop, **variables)) as http:
            yield http

    return client


def body(kind: str, entry: dict[str, Any]) -> dict[str, Any]:
    return {"workflow_id": kind, "input": entry, "wait_seconds": 0}


async def execute(http: httpx.AsyncClient, kind: str, entry: dict[str, Any], token: str = "") -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return await http.post("/workflows/execute", json=body(kind, entry), headers=headers)


async def register(http: httpx.AsyncClient, number: int, token: str = "") -> int:
    entry = ANN | {"email": f"customer-{number}@customer.example"}
    return (await execute(http, "customer-registration", entry, token)).status_code


async def test_starts_of_one_type_are_limited_and_others_go_on(shop: RunningShop, limited: Callable[..., Any]) -> None:
    await shop.data.order("admitted", MUG=1)
    async with limited(LIMIT_STARTS="1000/second;3/minute") as http:
        starts = [await execute(http, "hello-world", {"name": "Ann"}) for _ in range(4)]
        assert [response.status_code for response in starts] == [202, 202, 202, 429]
        assert starts[-1].json() == {"error": "Too many processes of this type were started", "code": "TooManyRequests"}
        assert 1 <= int(starts[-1].headers["retry-after"]) <= 60
        assert (await http.get("/workflow")).status_code == 429
        assert (await execute(http, "order-processing", {"order_id": "admitted"})).status_code == 202


async def test_limits_can_be_turned_off(limited: Callable[..., Any]) -> None:
    async with limited(LIMIT_STARTS="off") as http:
        starts = await asyncio.gather(*(execute(http, "hello-world", {"name": "Ann"}) for _ in range(50)))
    assert {response.status_code for response in starts} == {202}


async def test_registrations_are_limited_per_caller(limited: Callable[..., Any]) -> None:
    async with limited(LIMIT_REGISTRATIONS="2/minute", API_TOKENS=",".join(TOKENS)) as http:
        assert [await register(http, number, TOKENS[0]) for number in range(3)] == [202, 202, 429]
        assert await register(http, 4, TOKENS[1]) == 202
    async with limited(LIMIT_REGISTRATIONS="2/minute") as http:
        assert [await register(http, number) for number in (5, 6, 7)] == [202, 202, 429]


async def test_registrations_are_limited_per_address(limited: Callable[..., Any]) -> None:
    async with limited(LIMIT_REGISTRATIONS_PER_ADDRESS="2/minute") as http:
        entry = ANN | {"email": "limited@customer.example"}
        statuses = [(await execute(http, "customer-registration", entry)).status_code for _ in range(2)]
        entry["email"] = "LIMITED@Customer.example"
        assert [*statuses, (await execute(http, "customer-registration", entry)).status_code] == [202, 409, 429]
        assert await register(http, 8) == 202


async def test_callers_who_hang_up_are_dropped_and_the_queue_is_short(
    shop: RunningShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed, gate, real = [], asyncio.Event(), passwords.hash

    async def hash_behind_gate(password: str) -> str:
        hashed.append(password)
        await gate.wait()
        return await real(password)

    monkeypatch.setattr(passwords, "hash", hash_behind_gate)
    app = create_api(shop)
    async with serving(app, 0) as url, httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as http:
        callers = [await send_registration(url, number) for number in range(FLOOD)]
        refused = FLOOD - passwords.THREADS - MAX_WAITING
        answers = await first_answers([reader for reader, _ in callers], refused)
        assert all(answer.startswith(b"HTTP/1.1 503") for answer in answers)
        for _, writer in callers:
            writer.close()
        await until(lambda: is_queue_empty(app))
        honest = asyncio.create_task(register(http, FLOOD))
        gate.set()
        assert await honest == 202
    assert len(hashed) == passwords.THREADS + 1


async def test_a_full_queue_says_when_to_try_again(shop: RunningShop) -> None:
    app = create_api(shop)
    app.state.admission._waiting = MAX_WAITING
    async with in_process_client(app) as http:
        response = await execute(http, "customer-registration", ANN)
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert response.json() == {"error": "Too many registrations", "code": "TooManyRequests"}


async def is_queue_empty(app: FastAPI) -> bool | None:
    return app.state.admission._waiting == 0 or None


async def send_registration(url: str, number: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    entry = json.dumps(body("customer-registration", ANN | {"email": f"flood-{number}@customer.example"})).encode()
    head = f"POST /workflows/execute HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(entry)}\r\n\r\n".encode() + entry)
    await writer.drain()
    return reader, writer


async def first_answers(readers: list[asyncio.StreamReader], count: int) -> list[bytes]:
    """Return the first line of the first `count` responses."""
    waiting = {asyncio.create_task(reader.readline()) for reader in readers}
    answers: list[bytes] = []
    while len(answers) < count:
        done, waiting = await asyncio.wait(waiting, timeout=60, return_when=asyncio.FIRST_COMPLETED)
        assert done
        answers += [task.result() for task in done]
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    return answers
