"""The codec's routes: what Temporal's UI and its command line ask them, and whom else they answer."""

import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from temporalio.api.common.v1 import Payload, Payloads

from commerce.settings import load_settings
from starter.api.app import create_app
from tests.keys import ENCRYPTION_ENV, OTHER_KEY, codec

DECODE = "/codec/default/decode"
UI = "http://localhost:8233"
CLEAR = Payload(metadata={"encoding": b"json/plain"}, data='{"name": "Zoë"}'.encode())
ASKED = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,x-namespace"}
MIB = 1024 * 1024


@asynccontextmanager
async def api(**environment: str) -> AsyncIterator[httpx.AsyncClient]:
    """Serve with the tests' key and these variables; database and Temporal are not asked."""
    variables = ENCRYPTION_ENV | environment
    transport = httpx.ASGITransport(create_app(load_settings(variables), variables))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as http:
        yield http


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with api() as made:
        yield made


def as_json(*payloads: Payload) -> dict[str, object]:
    return {"payloads": [MessageToDict(payload) for payload in payloads]}


def allowed(answer: httpx.Response) -> str | None:
    """Return the origin whose pages may read the answer."""
    return answer.headers.get("access-control-allow-origin")


async def test_it_decrypts_and_leaves_alone_what_is_in_clear(http: httpx.AsyncClient) -> None:
    encrypted = await codec().encode([CLEAR])
    answer = await http.post(DECODE, json=as_json(*encrypted, CLEAR), headers={"X-Namespace": "default"})
    assert (answer.status_code, answer.json()) == (200, as_json(CLEAR, CLEAR))
    wanted = {"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": base64.b64encode(CLEAR.data).decode()}
    assert answer.json()["payloads"][0] == wanted


async def test_it_encrypts_what_somebody_wants_to_start_a_run_with(http: httpx.AsyncClient) -> None:
    answer = await http.post("/codec/default/encode", json=as_json(CLEAR))
    encrypted = ParseDict(answer.json(), Payloads()).payloads
    assert encrypted[0].metadata["encoding"] == b"binary/encrypted"
    assert await codec().decode(encrypted) == [CLEAR]


async def test_no_payloads_are_no_payloads(http: httpx.AsyncClient) -> None:
    assert (await http.post(DECODE, json={"payloads": []})).json() == {"payloads": []}


async def test_a_missing_key_is_named(http: httpx.AsyncClient) -> None:
    answer = await http.post(DECODE, json=as_json(*await codec(OTHER_KEY).encode([CLEAR])))
    missing = f"Encryption key {codec(OTHER_KEY).key_ids[0]} is missing: add it to COMMERCE_ENCRYPTION_KEYS"
    assert (answer.status_code, answer.json()) == (422, {"error": missing})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"1",
        b"\xff\xfe{}",
        b'{"payloads": 1}',
        b'{"payloads": ["x"]}',
        b'{"payloads": [{"data": 1}]}',
        b'{"payloads": [{"data": "x"}]}',
        b'{"payloads": [{"metadata": {"encoding": 1}}]}',
        b'{"secret": "x"}',
        b"[" * 100_000,
    ],
)
async def test_a_body_that_is_no_payloads_is_refused(http: httpx.AsyncClient, body: bytes) -> None:
    answer = await http.post(DECODE, content=body)
    assert (answer.status_code, answer.json()) == (400, {"error": "The body is not Payloads as JSON"})


async def test_it_knows_its_own_namespace_only(http: httpx.AsyncClient) -> None:
    answer = await http.post("/codec/another/decode", json=as_json(CLEAR))
    assert (answer.status_code, answer.json()) == (404, {"error": "No such namespace here"})
    async with api(TEMPORAL_NAMESPACE="another") as elsewhere:
        assert (await elsewhere.post("/codec/another/decode", json=as_json(CLEAR))).status_code == 200
        assert (await elsewhere.post(DECODE, json=as_json(CLEAR))).status_code == 404


class TestBrowsers:
    @pytest.mark.parametrize("origin", [UI, "http://127.0.0.1:8233"])
    async def test_pages_of_the_ui_may_ask(self, http: httpx.AsyncClient, origin: str) -> None:
        asked = await http.options(DECODE, headers={"Origin": origin, **ASKED})
        assert (asked.status_code, allowed(asked)) == (200, origin)
        assert asked.headers["access-control-allow-credentials"] == "true"
        assert "x-namespace" in asked.headers["access-control-allow-headers"]
        answer = await http.post(DECODE, json=as_json(CLEAR), headers={"Origin": origin})
        assert (answer.status_code, allowed(answer)) == (200, origin)

    async def test_they_may_also_read_why_not(self, http: httpx.AsyncClient) -> None:
        answer = await http.post(DECODE, content=b"{", headers={"Origin": UI})
        assert (answer.status_code, allowed(answer)) == (400, UI)

    @pytest.mark.parametrize("origin", ["http://localhost:9000", "https://localhost:8233", "http://a.example", "null"])
    async def test_pages_of_others_may_not(self, http: httpx.AsyncClient, origin: str) -> None:
        asked = await http.options(DECODE, headers={"Origin": origin, **ASKED})
        answer = await http.post(DECODE, json=as_json(CLEAR), headers={"Origin": origin})
        assert asked.status_code == 405
        assert not [name for name in [*asked.headers, *answer.headers] if name.startswith("access-control")]

    async def test_no_other_route_is_for_pages_of_the_ui(self, http: httpx.AsyncClient) -> None:
        answer = await http.get("/health/live", headers={"Origin": UI})
        assert answer.status_code == 200 and allowed(answer) is None

    @pytest.mark.parametrize(
        ("url", "origin"),
        [
            ("https://Temporal.shop.example/ui/", "https://temporal.shop.example"),
            ("https://temporal.shop.example:443", "https://temporal.shop.example"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ],
    )
    async def test_where_the_ui_is_can_be_set(self, url: str, origin: str) -> None:
        async with api(COMMERCE_TEMPORAL_UI_URL=url) as http:
            assert allowed(await http.options(DECODE, headers={"Origin": origin, **ASKED})) == origin
            assert allowed(await http.options(DECODE, headers={"Origin": UI, **ASKED})) is None


class TestLargeBodies:
    @pytest.mark.parametrize("path", [DECODE, "/health/live", "/nowhere"])
    @pytest.mark.parametrize("in_parts", [False, True])
    async def test_one_above_a_mebibyte_is_refused_everywhere(
        self, http: httpx.AsyncClient, path: str, *, in_parts: bool
    ) -> None:
        answer = await http.post(path, content=parts(MIB + 1) if in_parts else b" " * (MIB + 1))
        assert (answer.status_code, answer.json()) == (413, {"error": "The body is larger than 1 MiB"})

    @pytest.mark.parametrize("in_parts", [False, True])
    async def test_one_of_a_mebibyte_is_read_to_its_end(self, http: httpx.AsyncClient, *, in_parts: bool) -> None:
        body = json.dumps(as_json(CLEAR)).encode().ljust(MIB)
        answer = await http.post(DECODE, content=cut(body) if in_parts else body)
        assert (answer.status_code, answer.json()) == (200, as_json(CLEAR))

    async def test_one_without_an_end_is_not_waited_for(self, http: httpx.AsyncClient) -> None:
        endless = iter(lambda: b" " * 65_536, None)
        assert (await http.post(DECODE, content=asynchronous(endless))).status_code == 413


def parts(size: int) -> AsyncIterator[bytes]:
    return cut(b" " * size)


def cut(body: bytes) -> AsyncIterator[bytes]:
    """Send a body in parts, without saying how large it is."""
    return asynchronous(body[start : start + 65_536] for start in range(0, len(body), 65_536))


async def asynchronous(values: Iterator[bytes]) -> AsyncIterator[bytes]:
    for value in values:
        yield value
