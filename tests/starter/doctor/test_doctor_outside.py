"""What the doctor finds at mail server, carrier, warehouse and API, and what it advises; nothing is sent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult
from fastapi import FastAPI

from starter.devstack import mail
from starter.devstack.carrier import server as carrier
from starter.devstack.serving import serving
from starter.devstack.warehouse import server as warehouse
from tests.starter.doctor.conftest import Find


@asynccontextmanager
async def closed_mail_server(password: bytes) -> AsyncIterator[int]:
    """A mail server that takes this password only; yields its port."""

    def authenticate(*asked: object) -> AuthResult:
        return AuthResult(success=getattr(asked[-1], "password", b"") == password, handled=False)

    loop = asyncio.get_running_loop()
    rules: dict[str, Any] = {"authenticator": authenticate, "auth_require_tls": False}
    server = await loop.create_server(lambda: SMTP(object(), hostname="mail", loop=loop, **rules), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_a_mail_server_that_is_away(find: Find) -> None:
    found = await find("Outside", "mail", COMMERCE_SMTP_URL="smtp://ann:hunter2@127.0.0.1:1")
    assert (found.state, found.found, found.code) == (
        "failed",
        "127.0.0.1:1 does not answer as a mail server does (SMTPConnectError)",
        1,
    )
    assert found.cure == "Start it, or correct scheme, host and port in COMMERCE_SMTP_URL"


async def test_a_mail_server_that_refuses_the_login(find: Find) -> None:
    async with closed_mail_server(b"right") as port:
        found = await find("Outside", "mail", COMMERCE_SMTP_URL=f"smtp://ann:hunter2@127.0.0.1:{port}")
        assert (found.state, found.found) == ("failed", f"127.0.0.1:{port} refuses our login (535)")
        assert found.cure == "Correct user and password in COMMERCE_SMTP_URL"
        assert (await find("Outside", "mail", COMMERCE_SMTP_URL=f"smtp://ann:right@127.0.0.1:{port}")).state == "ok"


async def test_a_mail_server_without_tls_that_gets_no_mail(find: Find, tmp_path: Path) -> None:
    async with mail.catching(tmp_path / "mail", 0) as url:
        assert (await find("Outside", "mail", COMMERCE_SMTP_URL=url)).state == "ok"
        found = await find("Outside", "mail", COMMERCE_SMTP_URL=url.replace("smtp:", "smtp+starttls:"))
        assert "STARTTLS" in found.found and "scheme" in found.cure
        found = await find("Outside", "mail", COMMERCE_SMTP_URL=url, COMMERCE_MAIL_FROM="nobody")
        assert "the sender must be an address" in found.found and "COMMERCE_MAIL_FROM" in found.cure
    assert list((tmp_path / "mail").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "variable"), [("carrier", "COMMERCE_CARRIER_URL"), ("warehouse", "COMMERCE_WAREHOUSE_URL")]
)
async def test_who_is_away_outside(find: Find, name: str, variable: str) -> None:
    found = await find("Outside", name, **{variable: "http://ann:hunter2@127.0.0.1:1"})
    assert (found.state, found.cure) == ("failed", f"Start it, or correct {variable}")
    assert found.found.startswith("127.0.0.1:1 is not there") and "hunter2" not in str(found)


async def test_carrier_and_warehouse_that_answer(find: Find, tmp_path: Path, database_url: str) -> None:
    async with carrier.running(tmp_path, 0) as carrier_url, warehouse.running(tmp_path, 0, database_url) as url:
        assert (await find("Outside", "carrier", COMMERCE_CARRIER_URL=f"{carrier_url}/v2")).state == "ok"
        assert (await find("Outside", "warehouse", COMMERCE_WAREHOUSE_URL=url)).state == "ok"
        found = await find("Outside", "warehouse", COMMERCE_WAREHOUSE_URL=carrier_url)
        assert "HTTP 404" in found.found and "something else answers there" in found.cure


async def test_a_carrier_that_refuses_our_key(find: Find) -> None:
    strict = FastAPI()

    @strict.get("/shipments/{shipment_id}", status_code=401)
    def refuse() -> None: ...

    async with serving(strict, 0) as url:
        found = await find("Outside", "carrier", COMMERCE_CARRIER_URL=url, COMMERCE_CARRIER_API_KEY="hunter2")
    assert found.found.endswith("refuses our key (401)") and found.cure == "Correct COMMERCE_CARRIER_API_KEY"


async def test_an_api_that_is_away_is_a_warning(find: Find) -> None:
    found = await find("Outside", "API", COMMERCE_API_PORT="1")
    assert (found.state, found.found) == ("warning", "none at 127.0.0.1:1") and found.cure.startswith("commerce api")


async def test_the_api_of_a_running_stack_is_looked_for_where_that_says(find: Find, tmp_path: Path) -> None:
    async with serving(FastAPI(), 0) as url:
        (tmp_path / "stack.json").write_text(f'{{"api_url": "{url}"}}')
        found = await find("Outside", "API")
    assert found.state == "warning" and found.found.startswith("something else answers at 127.0.0.1:")
