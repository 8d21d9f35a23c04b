"""The frame of the console: sign-in, forms, headers and errors, which need neither database nor Temporal (H5)."""

import json
import re
from collections.abc import AsyncIterator
from hashlib import sha256
from importlib.resources import files

import httpx
import pytest

from commerce.settings import load_settings
from starter.api.app import create_app
from starter.console import frame, today
from starter.console.sessions import Sessions
from tests.keys import ENCRYPTION_ENV
from tests.starter.api.api_client import in_process_client, offline_client

TOKEN = "a-token-of-the-shop"
COOKIE = "commerce-console-9000"
ASSETS = files("starter.console") / "assets"


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """A client of an API with one token."""
    async with offline_client(COMMERCE_API_TOKENS=TOKEN) as client:
        yield client


def form_key(page: httpx.Response) -> str:
    found = re.search(r'name="form_key" value="([^"]+)"', page.text)
    assert found
    return found[1]


async def sign_in(http: httpx.AsyncClient, token: str = TOKEN, target: str = "/console/") -> httpx.Response:
    page = await http.get("/console/sign-in")
    return await http.post("/console/sign-in", data={"form_key": form_key(page), "token": token, "next": target})


async def test_who_is_not_signed_in_is_led_to_the_sign_in_page(http: httpx.AsyncClient) -> None:
    for path in ("/console/", "/console/no/such/page", "/console/?x=1"):
        response = await http.get(path)
        assert response.status_code == 303
        assert httpx.URL(response.headers["location"]).params["next"] == path
    assert (await http.get("/console")).headers["location"] == "/console/"


async def test_a_part_of_a_page_leads_the_whole_page_to_the_sign_in(http: httpx.AsyncClient) -> None:
    response = await http.get("/console/", headers={"HX-Request": "true"})
    assert response.headers["hx-redirect"].startswith("/console/sign-in")


async def test_a_link_from_another_site_is_followed_once_more_by_our_own_page(http: httpx.AsyncClient) -> None:
    response = await http.get("/console/", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"})
    assert response.status_code == 200
    assert 'http-equiv="refresh"' in response.text


async def test_a_session_is_kept_from_scripts_and_other_sites(http: httpx.AsyncClient) -> None:
    response = await sign_in(http, target="/console/nothing?x=1")
    assert response.status_code == 303
    assert response.headers["location"] == "/console/nothing?x=1"
    cookie = response.headers["set-cookie"].lower()
    assert all(part in cookie for part in ("httponly", "samesite=strict", "path=/console", "max-age=43200"))
    assert "secure" not in cookie
    page = await http.get("/console/nothing")
    assert page.status_code == 404
    assert "Sign out" in page.text


async def test_over_tls_the_session_is_never_sent_without(http: httpx.AsyncClient) -> None:
    http.base_url = httpx.URL("https://shop.example")
    assert "secure" in (await sign_in(http)).headers["set-cookie"].lower()


async def test_signing_in_makes_a_new_session(http: httpx.AsyncClient) -> None:
    await http.get("/console/sign-in")
    before = http.cookies[COOKIE]
    await sign_in(http)
    assert http.cookies[COOKIE] != before


async def test_a_wrong_token_does_not_sign_in(http: httpx.AsyncClient) -> None:
    response = await sign_in(http, "a-token-of-another-shop")
    assert response.status_code == 403
    assert "not a token of this shop" in response.text
    assert (await http.get("/console/")).status_code == 303


@pytest.mark.parametrize(
    "target", ["https://evil.example", "//evil.example", "/orders", "/console/sign-in", "/console\n"]
)
async def test_signing_in_leads_to_no_other_site(http: httpx.AsyncClient, target: str) -> None:
    assert (await sign_in(http, target=target)).headers["location"] == "/console/"


async def test_signing_out_ends_the_session(http: httpx.AsyncClient) -> None:
    await sign_in(http)
    key = form_key(await http.get("/console/nothing"))
    await http.post("/console/sign-out", data={"form_key": key})
    assert COOKIE not in http.cookies
    assert (await http.get("/console/")).status_code == 303


async def test_a_token_in_a_header_is_no_session(http: httpx.AsyncClient) -> None:
    assert (await http.get("/console/", headers={"Authorization": f"Bearer {TOKEN}"})).status_code == 303


async def test_a_session_is_no_token_of_the_api(http: httpx.AsyncClient) -> None:
    await sign_in(http)
    assert (await http.get("/orders")).status_code == 401


@pytest.mark.parametrize("key", [None, "", "x", "ü"])
async def test_a_form_without_the_key_of_the_session_is_refused(http: httpx.AsyncClient, key: str | None) -> None:
    await sign_in(http)
    fields = {} if key is None else {"form_key": key}
    response = await http.post("/console/sign-out", data=fields)
    assert response.status_code == 403
    assert "out of date" in response.text
    assert (await http.get("/console/nothing")).status_code == 404, "still signed in"


async def test_the_form_key_of_another_session_is_refused(http: httpx.AsyncClient) -> None:  # (H5)
    other = Sessions(load_settings({"COMMERCE_API_TOKENS": TOKEN})).sign_in(TOKEN)
    assert other
    await sign_in(http)
    assert (await http.post("/console/sign-out", data={"form_key": other.form_key})).status_code == 403


async def test_a_page_of_another_site_can_send_no_form(http: httpx.AsyncClient) -> None:
    await sign_in(http)
    key = form_key(await http.get("/console/nothing"))
    response = await http.post("/console/sign-out", data={"form_key": key}, headers={"Sec-Fetch-Site": "cross-site"})
    assert response.status_code == 403
    assert COOKIE in http.cookies


async def test_a_form_with_too_many_fields_is_refused(http: httpx.AsyncClient) -> None:
    body = "&".join(f"a{n}=1" for n in range(3_000))
    response = await http.post(
        "/console/sign-in", content=body, headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert response.status_code == 422


async def test_a_page_may_load_nothing_but_the_files_of_this_package(http: httpx.AsyncClient) -> None:
    page = await http.get("/console/sign-in")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["cache-control"] == "no-store"
    loaded = re.findall(r'(?:src|href)="([^"#]+)"', page.text)
    assert len(loaded) == 5
    for path in loaded:
        asset = await http.get(path)
        assert asset.status_code == 200
        assert "immutable" in asset.headers["cache-control"]
    assert "immutable" not in (await http.get("/console/assets/console.css?v=old")).headers["cache-control"]
    assert not re.search(r"<(script|style)(?![^>]*src)[^>]*>|\son\w+=|\sstyle=", page.text)


async def test_the_files_of_others_are_those_that_were_published() -> None:
    sources = json.loads((ASSETS / "sources.json").read_text())
    known = {"console.css", "console.js", "icon.svg", "sources.json"}
    assert {file.name for file in ASSETS.iterdir()} == known | {
        name for file in sources for name in (file, f"{file.removesuffix('.min.js')}.LICENSE")
    }
    for name, source in sources.items():
        assert sha256((ASSETS / name).read_bytes()).hexdigest() == source["sha256"], name


async def test_without_tokens_the_console_just_opens_and_forms_are_still_checked() -> None:
    async with offline_client() as http:
        page = await http.get("/console/nothing")
        assert page.status_code == 404
        assert "Sign out" not in page.text
        assert (await http.post("/console/sign-out")).status_code == 403


async def test_what_an_address_contains_is_no_html_of_the_page() -> None:
    async with offline_client() as http:
        page = await http.get("/console/<script>alert(1)</script>")
        assert page.status_code == 404
        assert "<script>alert" not in page.text


async def test_a_bug_of_ours_is_a_page_without_its_details(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a secret")

    environment = ENCRYPTION_ENV | {"COMMERCE_API_TOKENS": TOKEN}
    async with in_process_client(create_app(load_settings(environment), environment)) as http:
        await sign_in(http)
        key = form_key(await http.get("/console/nothing"))
        monkeypatch.setattr(today.Snapshots, "get", fail)
        monkeypatch.setattr(frame, "_own_page", fail)
        for page in (await http.get("/console/"), await http.post("/console/sign-in", data={"form_key": key})):
            assert page.status_code == 500
            assert "Something went wrong" in page.text
            assert "a secret" not in page.text


async def test_without_the_database_a_page_says_so() -> None:
    async with offline_client(COMMERCE_DATABASE_URL="postgresql://commerce@127.0.0.1:1/none") as http:
        page = await http.get("/console/")
    assert page.status_code == 503
    assert "database is unavailable" in page.text
