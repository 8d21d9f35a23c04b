"""Every response from another system is read up to a limit, also if it expands while it is decompressed."""

import gzip
import re
import tomllib
from collections.abc import AsyncIterator

import httpx
import pytest
from pydantic import SecretStr

from commerce.errors import (
    AlertUnavailable,
    CarrierUnavailable,
    TransientError,
    WarehouseAnswerInvalid,
    WarehouseUnavailable,
)
from commerce.integrations import capped_http
from commerce.integrations.alerts import AlertWebhook
from commerce.integrations.easypost import EasyPost
from commerce.integrations.warehouse import Warehouse
from tests.commerce.integrations.carrier_contract import PARCEL, SENDER, SHIPMENT
from tests.paths import ROOT

URL = "https://other.example"
MEGABYTE = b" " * 1024 * 1024


class Endless(httpx.AsyncBaseTransport):
    """A server whose responses never end; `sent` counts their megabytes."""

    def __init__(self, status: int = 200) -> None:
        self.status, self.sent = status, 0

    async def handle_async_request(self, _request: httpx.Request) -> httpx.Response:
        return httpx.Response(self.status, content=self._body())

    async def _body(self) -> AsyncIterator[bytes]:
        while True:
            self.sent += 1
            yield MEGABYTE


class Bomb(httpx.AsyncBaseTransport):
    """A server that compresses its responses although we did not ask for it."""

    accepted = ""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.accepted = request.headers["Accept-Encoding"]

        async def body() -> AsyncIterator[bytes]:
            yield gzip.compress(MEGABYTE * 64)

        return httpx.Response(200, content=body(), headers={"Content-Encoding": "gzip"})


async def no_delay(_seconds: float) -> None:
    return


def carrier(transport: httpx.AsyncBaseTransport) -> EasyPost:
    return EasyPost(URL, SecretStr("key"), SENDER, PARCEL, transport=transport)


async def test_an_endless_response_of_the_carrier_is_not_read_to_its_end() -> None:
    endless = Endless()
    with pytest.raises(CarrierUnavailable, match="too large"):
        await carrier(endless).create(SHIPMENT, "ref")
    assert endless.sent == 2


@pytest.mark.parametrize("status", [200, 500])
async def test_the_response_of_the_alert_webhook_is_not_read(status: int) -> None:
    endless = Endless(status)
    webhook = AlertWebhook(URL, transport=endless)
    if status == 500:
        with pytest.raises(AlertUnavailable, match="500"):
            await webhook.post({})
    else:
        await webhook.post({})
    assert endless.sent == 0


async def test_an_endless_response_of_the_warehouse_is_not_read_to_its_end() -> None:
    endless = Endless()
    with pytest.raises(WarehouseAnswerInvalid, match="is larger than"):
        await Warehouse(URL, transport=endless).levels(["MUG"])
    assert endless.sent == 9


async def test_compressed_responses_are_neither_requested_nor_expanded() -> None:
    with pytest.raises(CarrierUnavailable, match="DecodingError"):
        await carrier(bomb := Bomb()).create(SHIPMENT, "ref")
    assert bomb.accepted == "identity"
    with pytest.raises(WarehouseUnavailable, match="DecodingError"):
        await Warehouse(URL, transport=Bomb(), sleep=no_delay).levels(["MUG"])


async def test_a_response_is_read_up_to_its_limit() -> None:
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(201, text="12345"))) as http:
        response = await capped_http.send(http, "GET", URL, max_bytes=5)
        assert (response.status, response.is_success, response.content) == (201, True, b"12345")
        with pytest.raises(capped_http.TooLarge):
            await capped_http.send(http, "GET", URL, max_bytes=4)


def test_no_other_module_reads_http_responses() -> None:
    call = re.compile(r"\b(?:http|\w*client)\.(?:get|post|put|patch|delete|head|request|send|stream)\(|urlopen\(")
    sources = [
        path for name in ("activities", "commerce", "starter", "workflows") for path in (ROOT / name).rglob("*.py")
    ]
    found = [path.name for path in sources if call.search(path.read_text())]
    assert found == ["capped_http.py"]


async def test_every_request_announces_our_name_and_version() -> None:
    received: list[str] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        received.append(request.headers["User-Agent"])
        return httpx.Response(503)

    for call in (
        carrier(httpx.MockTransport(answer)).buy("shp_1"),
        Warehouse(URL, transport=httpx.MockTransport(answer), sleep=no_delay).levels(["A"]),
        AlertWebhook(URL, transport=httpx.MockTransport(answer)).post({}),
    ):
        with pytest.raises(TransientError):
            await call
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert set(received) == {f"durable-commerce/{version}"}
