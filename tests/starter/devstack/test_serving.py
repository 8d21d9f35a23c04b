"""The embedded servers: their socket and URL, on IPv4 and IPv6, and their stop."""

import asyncio
import socket
from email.utils import parsedate_to_datetime

import httpx
import pytest
from fastapi import FastAPI

from starter.devstack.serving import BrowserGuard, listen, serving

needs_ipv6 = pytest.mark.skipif(not socket.has_ipv6, reason="this machine knows no IPv6")


@needs_ipv6
@pytest.mark.parametrize(
    ("host", "reached"),
    [("0.0.0.0", ["127.0.0.1"]), ("::", ["127.0.0.1", "::1"]), ("::1", ["::1"])],
)
def test_a_server_listens_on_addresses_of_either_kind(host: str, reached: list[str]) -> None:
    with listen(0, host) as bound:
        bound.listen()
        for address in reached:
            socket.create_connection((address, bound.getsockname()[1]), timeout=5).close()


@needs_ipv6
async def test_a_server_on_ipv6_has_a_url_and_takes_no_foreign_host() -> None:
    app = FastAPI()
    app.add_middleware(BrowserGuard, host="::1")
    async with serving(app, 0, "::1") as url, httpx.AsyncClient(trust_env=False) as http:
        assert url.startswith("http://[::1]:")
        assert (await http.get(f"{url}/docs")).status_code == 200
        assert (await http.get(f"{url}/docs", headers={"Host": "evil.example"})).status_code == 403


async def test_a_request_under_way_is_answered_when_the_server_stops() -> None:
    app, arrived, released = FastAPI(), asyncio.Event(), asyncio.Event()

    @app.get("/")
    async def answer() -> str:
        arrived.set()
        await released.wait()
        return "done"

    async with httpx.AsyncClient(trust_env=False) as http:
        async with serving(app, 0) as url:
            request = asyncio.create_task(http.get(url))
            await arrived.wait()
            asyncio.get_running_loop().call_later(0.05, released.set)
        assert (await request).json() == "done"


async def test_a_connection_without_a_request_is_closed_when_the_server_stops() -> None:
    app, ended = FastAPI(), []
    app.router.add_event_handler("shutdown", lambda: ended.append(True))
    async with httpx.AsyncClient(trust_env=False) as http:
        async with serving(app, 0) as url:
            response = await http.get(url)
        with pytest.raises(httpx.ConnectError):
            await http.get(url)
    assert ended == [True]
    assert parsedate_to_datetime(response.headers["Date"]).tzinfo
