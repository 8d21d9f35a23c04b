"""The socket and the URL of the embedded servers, on IPv4 and IPv6."""

import socket

import httpx
import pytest
from fastapi import FastAPI

from starter.devstack.serving import BrowserGuard, listen, serving

pytestmark = pytest.mark.skipif(not socket.has_ipv6, reason="this machine knows no IPv6")


@pytest.mark.parametrize(
    ("host", "reached"),
    [("0.0.0.0", ["127.0.0.1"]), ("::", ["127.0.0.1", "::1"]), ("::1", ["::1"])],
)
def test_a_server_listens_on_addresses_of_either_kind(host: str, reached: list[str]) -> None:
    with listen(0, host) as bound:
        bound.listen()
        for address in reached:
            socket.create_connection((address, bound.getsockname()[1]), timeout=5).close()


async def test_a_server_on_ipv6_has_a_url_and_takes_no_foreign_host() -> None:
    app = FastAPI()
    app.add_middleware(BrowserGuard, host="::1")
    async with serving(app, 0, "::1") as url, httpx.AsyncClient(trust_env=False) as http:
        assert url.startswith("http://[::1]:")
        assert (await http.get(f"{url}/docs")).status_code == 200
        assert (await http.get(f"{url}/docs", headers={"Host": "evil.example"})).status_code == 403
