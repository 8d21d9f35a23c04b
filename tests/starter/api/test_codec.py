"""The codec routes as Temporal's UI and command line use them, and who else may use them."""

import base64
import json
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from temporalio.api.common.v1 import Payload, Payloads

from tests.keys import OTHER_KEY, codec
from tests.starter.api.api_client import offline_client

DECODE = "/codec/default/decode"
UI = "http://localhost:8233"
CLEAR = Payload(metadata={"encoding": b"json/plain"}, data='{"name": "Zoë"}'.encode())
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,x-namespace"}
MIB = 1024 * 1024


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with offline_client() as client:
        yield client


def as_json(*payloads: Payload) -> dict[str, object]:
    return {"payloads": [MessageToDict(payload) for payload in payloads]}


def allowed_origin(response: httpx.Response) -> str | None:
    """Return the origin whose pages may read the response."""
    return response.headers.get("access-control-allow-origin")


async def test_it_decrypts_and_leaves_unencrypted_payloads_unchanged(http: httpx.AsyncClient) -> None:
    encrypted = await codec().encode([CLEAR])
    response = await http.post(DECODE, json=as_json(*encrypted, CLEAR), headers={"X-Namespace": "default"})
    assert (response.status_code, response.json()) == (200, as_json(CLEAR, CLEAR))
    wanted = {"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": base64.b64encode(CLEAR.data).decode()}
    assert response.json()["payloads"][0] == wanted


async def test_it_encrypts_the_input_of_a_run(http: httpx.AsyncClient) -> None:
    response = await http.post("/codec/default/encode", json=as_json(CLEAR))
    encrypted = ParseDict(response.json(), Payloads()).payloads
    assert encrypted[0].metadata["encoding"] == b"binary/encrypted"
    assert await codec().decode(encrypted) == [CLEAR]


async def test_no_payloads_are_accepted(http: httpx.AsyncClient) -> None:
    assert (await http.post(DECODE, json={"payloads": []})).json() == {"payloads": []}


async def test_a_missing_key_is_named(http: httpx.AsyncClient) -> None:
    response = await http.post(DECODE, json=as_json(*await codec(OTHER_KEY).encode([CLEAR])))
    missing = f"Encryption key {codec(OTHER_KEY).key_ids[0]} is missing: add it to COMMERCE_ENCRYPTION_KEYS"
    assert (response.status_code, response.json()) == (422, {"error": missing, "code": "MissingKey"})


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
        b'{"payloads": [{"data": "!!!!"}]}',  # protobuf's parser skips what is not base64
        b'{"payloads": [{"data": "aGk$"}]}',
        b'{"payloads": [{"data": "aGk=x"}]}',
        b'{"payloads": [{"data": "aGk\\n"}]}',
        b'{"payloads": [{"metadata": {"x": "\xc3\xa9"}}]}',
        b'{"secret": "x"}',
        b"[" * 100_000,
    ],
)
async def test_a_body_that_is_not_payloads_is_refused(http: httpx.AsyncClient, body: bytes) -> None:
    response = await http.post(DECODE, content=body)
    assert (response.status_code, response.json()) == (
        400,
        {"error": "The body must be Temporal's Payloads as JSON", "code": "InvalidPayloads"},
    )


@pytest.mark.parametrize(("sent", "returned"), [("a+/b", "a+/b"), ("a-_b", "a+/b"), ("aGk", "aGk="), ("aGk=", "aGk=")])
async def test_both_alphabets_of_base64_are_accepted_with_and_without_padding(
    http: httpx.AsyncClient, sent: str, returned: str
) -> None:
    response = await http.post(DECODE, json={"payloads": [{"data": sent}]})
    assert (response.status_code, response.json()) == (200, {"payloads": [{"data": returned}]})


async def test_it_serves_its_own_namespace_only(http: httpx.AsyncClient) -> None:
    response = await http.post("/codec/another/decode", json=as_json(CLEAR))
    assert (response.status_code, response.json()) == (
        404,
        {"error": "This server has no such namespace", "code": "NamespaceNotFound"},
    )
    async with offline_client(TEMPORAL_NAMESPACE="another") as elsewhere:
        assert (await elsewhere.post("/codec/another/decode", json=as_json(CLEAR))).status_code == 200
        assert (await elsewhere.post(DECODE, json=as_json(CLEAR))).status_code == 404


class TestBrowsers:
    @pytest.mark.parametrize("origin", [UI, "http://127.0.0.1:8233"])
    async def test_pages_of_the_ui_may_send_requests(self, http: httpx.AsyncClient, origin: str) -> None:
        preflight = await http.options(DECODE, headers={"Origin": origin, **PREFLIGHT})
        assert (preflight.status_code, allowed_origin(preflight)) == (200, origin)
        assert preflight.headers["access-control-allow-credentials"] == "true"
        assert "x-namespace" in preflight.headers["access-control-allow-headers"]
        response = await http.post(DECODE, json=as_json(CLEAR), headers={"Origin": origin})
        assert (response.status_code, allowed_origin(response)) == (200, origin)

    async def test_they_may_also_read_errors(self, http: httpx.AsyncClient) -> None:
        response = await http.post(DECODE, content=b"{", headers={"Origin": UI})
        assert (response.status_code, allowed_origin(response)) == (400, UI)

    @pytest.mark.parametrize("origin", ["http://localhost:9000", "https://localhost:8233", "http://a.example", "null"])
    async def test_other_pages_may_not(self, http: httpx.AsyncClient, origin: str) -> None:
        preflight = await http.options(DECODE, headers={"Origin": origin, **PREFLIGHT})
        response = await http.post(DECODE, json=as_json(CLEAR), headers={"Origin": origin})
        assert preflight.status_code == 405
        assert not [name for name in [*preflight.headers, *response.headers] if name.startswith("access-control")]

    async def test_pages_of_the_ui_may_use_no_other_route(self, http: httpx.AsyncClient) -> None:
        response = await http.get("/health/live", headers={"Origin": UI})
        assert response.status_code == 200 and allowed_origin(response) is None

    @pytest.mark.parametrize(
        ("url", "origin"),
        [
            ("https://Temporal.shop.example/ui/", "https://temporal.shop.example"),
            ("https://temporal.shop.example:443", "https://temporal.shop.example"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ],
    )
    async def test_the_origin_of_the_ui_follows_the_setting(self, url: str, origin: str) -> None:
        async with offline_client(COMMERCE_TEMPORAL_UI_URL=url) as http:
            assert allowed_origin(await http.options(DECODE, headers={"Origin": origin, **PREFLIGHT})) == origin
            assert allowed_origin(await http.options(DECODE, headers={"Origin": UI, **PREFLIGHT})) is None


class TestLargeBodies:
    @pytest.mark.parametrize("path", [DECODE, "/health/live", "/nowhere"])
    @pytest.mark.parametrize("in_parts", [False, True])
    async def test_one_above_a_mebibyte_is_refused_on_every_route(
        self, http: httpx.AsyncClient, path: str, *, in_parts: bool
    ) -> None:
        response = await http.post(path, content=in_chunks(b" " * (MIB + 1)) if in_parts else b" " * (MIB + 1))
        assert (response.status_code, response.json()) == (
            413,
            {"error": "The body is larger than 1 MiB", "code": "BodyTooLarge"},
        )

    @pytest.mark.parametrize("in_parts", [False, True])
    async def test_one_of_exactly_a_mebibyte_is_accepted(self, http: httpx.AsyncClient, *, in_parts: bool) -> None:
        body = json.dumps(as_json(CLEAR)).encode().ljust(MIB)
        response = await http.post(DECODE, content=in_chunks(body) if in_parts else body)
        assert (response.status_code, response.json()) == (200, as_json(CLEAR))

    async def test_an_endless_one_is_refused(self, http: httpx.AsyncClient) -> None:
        endless = iter(lambda: b" " * 65_536, None)
        assert (await http.post(DECODE, content=iterate(endless))).status_code == 413


def in_chunks(body: bytes) -> AsyncIterator[bytes]:
    """Send a body in parts, without declaring its length."""
    return iterate(body[start : start + 65_536] for start in range(0, len(body), 65_536))


async def iterate(values: Iterator[bytes]) -> AsyncIterator[bytes]:
    for value in values:
        yield value
