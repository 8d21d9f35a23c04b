"""The doctor's findings and advice for mail server, carrier, warehouse and API; no mail is sent."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiosmtpd.smtp import SMTP, AuthResult
from fastapi import FastAPI

from commerce.integrations.carriers import CARRIERS, parcel_of
from starter.devstack import mail
from starter.devstack.carrier import server as carrier
from starter.devstack.serving import serving
from starter.devstack.warehouse import server as warehouse
from tests.certificates import create_certificate
from tests.commerce.integrations.parcel_post import ParcelPost
from tests.starter.doctor.conftest import RunCheck


@asynccontextmanager
async def mail_server_with_login(password: bytes) -> AsyncIterator[int]:
    """Run a mail server that accepts only this password; yields its port."""

    def authenticate(*arguments: object) -> AuthResult:
        return AuthResult(success=getattr(arguments[-1], "password", b"") == password, handled=False)

    loop = asyncio.get_running_loop()
    rules: dict[str, Any] = {"authenticator": authenticate, "auth_require_tls": False}
    server = await loop.create_server(lambda: SMTP(object(), hostname="mail", loop=loop, **rules), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_an_unreachable_mail_server(run_check: RunCheck) -> None:
    finding = await run_check("Services", "mail", COMMERCE_SMTP_URL="smtp://ann:hunter2@127.0.0.1:1")
    assert (finding.state, finding.found, finding.code) == (
        "failed",
        "no mail server answers at 127.0.0.1:1 (SMTPConnectError)",
        1,
    )
    assert finding.advice == "Start it, or correct scheme, host and port in COMMERCE_SMTP_URL"


async def test_a_mail_server_that_rejects_the_login(run_check: RunCheck) -> None:
    async with mail_server_with_login(b"right") as port:
        finding = await run_check("Services", "mail", COMMERCE_SMTP_URL=f"smtp://ann:hunter2@127.0.0.1:{port}")
        assert (finding.state, finding.found) == ("failed", f"127.0.0.1:{port} rejected the login (535)")
        assert finding.advice == "Correct user and password in COMMERCE_SMTP_URL"
        assert (
            await run_check("Services", "mail", COMMERCE_SMTP_URL=f"smtp://ann:right@127.0.0.1:{port}")
        ).state == "ok"


@pytest.mark.parametrize("scheme", ["smtps", "smtp+starttls"])
async def test_a_mail_server_whose_certificate_is_not_trusted(run_check: RunCheck, tmp_path: Path, scheme: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*create_certificate(tmp_path, "localhost"))
    loop = asyncio.get_running_loop()
    at_once = {"ssl": context} if scheme == "smtps" else {}
    later = {} if at_once else {"tls_context": context}
    server = await loop.create_server(
        lambda: SMTP(object(), hostname="mail", loop=loop, **later), "127.0.0.1", 0, **at_once
    )
    try:
        address = f"localhost:{server.sockets[0].getsockname()[1]}"
        finding = await run_check("Services", "mail", COMMERCE_SMTP_URL=f"{scheme}://{address}")
    finally:
        server.close()
    assert finding.state == "failed"
    assert finding.found.startswith(f"{address}: its certificate is not trusted: ")
    assert finding.advice is not None and "SSL_CERT_FILE" in finding.advice


async def test_a_mail_server_without_tls(run_check: RunCheck, tmp_path: Path) -> None:
    async with mail.running(tmp_path / "mail", 0) as url:
        assert (await run_check("Services", "mail", COMMERCE_SMTP_URL=url)).state == "ok"
        finding = await run_check("Services", "mail", COMMERCE_SMTP_URL=url.replace("smtp:", "smtp+starttls:"))
        assert "STARTTLS" in finding.found and "scheme" in finding.advice
        finding = await run_check("Services", "mail", COMMERCE_SMTP_URL=url, COMMERCE_MAIL_FROM="no address")
        assert "the sender must be an address" in finding.found and "COMMERCE_MAIL_FROM" in finding.advice
    assert list((tmp_path / "mail").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "variable"), [("carrier", "COMMERCE_CARRIER_URL"), ("warehouse", "COMMERCE_WAREHOUSE_URL")]
)
async def test_an_unreachable_carrier_and_warehouse(run_check: RunCheck, name: str, variable: str) -> None:
    finding = await run_check("Services", name, **{variable: "http://ann:hunter2@127.0.0.1:1"})
    assert (finding.state, finding.advice) == ("failed", f"Start it, or correct {variable}")
    assert finding.found.startswith(f"no {name} answers at 127.0.0.1:1") and "hunter2" not in str(finding)


async def test_a_carrier_and_a_warehouse_that_answer(run_check: RunCheck, tmp_path: Path, database_url: str) -> None:
    async with carrier.running(tmp_path, 0) as carrier_url, warehouse.running(tmp_path, 0, database_url) as url:
        assert (await run_check("Services", "carrier", COMMERCE_CARRIER_URL=f"{carrier_url}/v2")).state == "ok"
        assert (await run_check("Services", "warehouse", COMMERCE_WAREHOUSE_URL=url)).state == "ok"
        finding = await run_check("Services", "warehouse", COMMERCE_WAREHOUSE_URL=carrier_url)
        assert "HTTP 404" in finding.found and "another service answers there" in finding.advice


async def test_a_carrier_that_rejects_our_key(run_check: RunCheck) -> None:
    strict = FastAPI()

    @strict.get("/shipments/{shipment_id}", status_code=401)
    def refuse() -> None: ...

    async with serving(strict, 0) as url:
        finding = await run_check("Services", "carrier", COMMERCE_CARRIER_URL=url, COMMERCE_CARRIER_API_KEY="hunter2")
    assert finding.found.endswith("rejected our API key (401)") and finding.advice == "Correct COMMERCE_CARRIER_API_KEY"


async def test_an_unknown_carrier(run_check: RunCheck) -> None:
    finding = await run_check("Services", "carrier", COMMERCE_CARRIER="pigeon")
    assert (finding.state, finding.advice) == ("failed", "Correct COMMERCE_CARRIER")
    assert finding.found.endswith("only easypost")


async def test_another_carrier_than_easypost(run_check: RunCheck, monkeypatch: pytest.MonkeyPatch) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(503))
    monkeypatch.setitem(
        CARRIERS, "parcel-post", lambda settings: ParcelPost("https://x", "t", parcel_of(settings), transport=transport)
    )
    finding = await run_check("Services", "carrier", COMMERCE_CARRIER="parcel-post")
    assert (finding.state, finding.found) == ("failed", "no carrier answers at parcel-post (HTTP 503)")


async def test_an_unreachable_api_is_a_warning(run_check: RunCheck) -> None:
    finding = await run_check("Services", "API", COMMERCE_API_PORT="1")
    assert (finding.state, finding.found) == ("warning", "no API answers at 127.0.0.1:1") and finding.advice.startswith(
        "Run: commerce api"
    )


async def test_the_api_of_a_running_stack_is_checked_at_its_own_address(run_check: RunCheck, tmp_path: Path) -> None:
    async with serving(FastAPI(), 0) as url:
        (tmp_path / "stack.json").write_text(f'{{"api_url": "{url}"}}')
        finding = await run_check("Services", "API")
    assert finding.state == "warning" and finding.found.startswith("another service answers at 127.0.0.1:")
