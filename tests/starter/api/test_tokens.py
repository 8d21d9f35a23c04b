"""Tokens: which routes require one, how it may be sent, and that without any token all routes are open."""

import base64
import hmac
import re
from collections.abc import AsyncIterator

import httpx
import pytest

from commerce.errors import SettingsError
from commerce.settings import load_settings
from tests.starter.api.api_client import offline_client

TOKENS = ("first-token-of-the-shop", "a-second-token-für-all")
DECODE = "/codec/default/decode"
PUBLIC = ["/health/live", "/metrics", "/docs", "/docs/files/swagger-ui-bundle.js", "/openapi.json"]
PROTECTED = ["/nowhere", "/redoc", "/health", "/healthy", "/docs/", "/docs/files", "/metrics/x", "/openapi.json/x"]


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """An API with two tokens."""
    async with offline_client(COMMERCE_API_TOKENS=", ".join(TOKENS)) as client:
        yield client


def bearer(token: str) -> dict[bytes, bytes]:
    return {b"Authorization": f"Bearer {token}".encode()}


def basic(password: str, user: str = "any user") -> dict[bytes, bytes]:
    return {b"Authorization": b"Basic " + base64.b64encode(f"{user}:{password}".encode())}


@pytest.mark.parametrize("path", PUBLIC)
async def test_health_metrics_and_docs_require_none(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.get(path)).status_code == 200


async def test_the_docs_page_loads_nothing_from_other_hosts(http: httpx.AsyncClient) -> None:
    loaded = re.findall(r'(?:src|href)="([^"]+)"', (await http.get("/docs")).text)
    assert loaded and all(url.startswith("/docs/files/") for url in loaded)
    assert {(await http.get(url)).status_code for url in loaded} == {200}


@pytest.mark.parametrize("path", PROTECTED)
async def test_every_other_path_requires_one_even_if_it_does_not_exist(http: httpx.AsyncClient, path: str) -> None:
    response = await http.get(path)
    assert (response.status_code, response.json()) == (
        401,
        {"error": "A valid token is required", "code": "Unauthorized"},
    )
    assert response.headers["www-authenticate"] == "Bearer"
    assert (await http.get(path, headers=bearer(TOKENS[0]))).status_code != 401


@pytest.mark.parametrize("token", TOKENS)
async def test_each_token_is_accepted(http: httpx.AsyncClient, token: str) -> None:
    assert (await http.post(DECODE, json={}, headers=bearer(token))).status_code == 200
    assert (await http.post(DECODE, json={}, headers=basic(token))).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer(""),
        bearer(TOKENS[0][:-1]),
        bearer(", ".join(TOKENS)),
        basic(""),
        basic("", user=TOKENS[0]),
        {b"Authorization": b"Basic \xff"},
        {b"Authorization": b"Basic !"},
        {b"Authorization": TOKENS[0].encode()},
        {b"Authorization": f"Token {TOKENS[0]}".encode()},
    ],
)
async def test_nothing_else_is_accepted(http: httpx.AsyncClient, headers: dict[bytes, bytes]) -> None:
    response = await http.post(DECODE, json={}, headers=headers)
    assert response.status_code == 401
    assert response.headers.get_list("www-authenticate") == ["Bearer", 'Basic realm="codec"']


async def test_only_the_codec_accepts_basic_authentication(http: httpx.AsyncClient) -> None:
    assert (await http.get("/nowhere", headers=basic(TOKENS[0]))).status_code == 401


async def test_pages_of_the_ui_may_send_preflights_and_read_the_401(http: httpx.AsyncClient) -> None:
    origin = {"Origin": "http://localhost:8233"}
    preflight = await http.options(DECODE, headers={**origin, "Access-Control-Request-Method": "POST"})
    assert preflight.status_code == 200
    response = await http.post(DECODE, json={}, headers=origin)
    assert (response.status_code, response.headers["access-control-allow-origin"]) == (401, origin["Origin"])


async def test_without_tokens_every_route_is_open() -> None:
    async with offline_client() as http:
        assert (await http.get("/nowhere")).status_code == 404
        assert (await http.post(DECODE, json={})).status_code == 200


def test_a_short_token_is_refused_and_not_shown() -> None:
    with pytest.raises(SettingsError) as error:
        load_settings({"COMMERCE_API_TOKENS": f"{TOKENS[0]},hunter2"})
    assert str(error.value) == "COMMERCE_API_TOKENS: each must have at least 16 characters"


async def test_a_token_is_compared_with_each_in_constant_time(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[bytes] = []
    real = hmac.compare_digest

    def compare(presented: bytes, token: bytes) -> bool:
        compared.append(token)
        return real(presented, token)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert (await http.get("/nowhere", headers=bearer(TOKENS[0]))).status_code == 404
    assert compared == [token.encode() for token in TOKENS]  # also after one that matches
