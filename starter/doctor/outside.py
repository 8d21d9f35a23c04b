"""What the shop talks to outside: mail server, carrier and warehouse, and its own API. Nothing is changed there."""

import asyncio
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from commerce.errors import MailRefused, MailUnavailable, WarehouseAnswerInvalid, WarehouseRefused, WarehouseUnavailable
from commerce.integrations.warehouse import Warehouse
from commerce.mail.smtp import MailServer
from commerce.settings import read_stack
from starter.doctor.examination import Installation
from starter.doctor.findings import CheckResult, failed, ok, warning

TIMEOUT = 4  # seconds
NO_LOGIN = {530, 534, 535, 538}  # SMTP answers that are about who we are
NOBODY = "doctor"  # a shipment and a SKU that nobody has


async def mail(installation: Installation) -> CheckResult:
    """The mail server takes us; it is sent no mail."""
    assert installation.settings
    url, variable = installation.settings.smtp_url, installation.named("SMTP_URL")
    where = _where(url.get_secret_value())
    try:
        await MailServer(url, installation.settings.mail_from, timeout=TIMEOUT).check_login()
    except ValueError as error:
        return failed(str(error), f"Correct {variable} or COMMERCE_MAIL_FROM")
    except MailRefused as error:
        if error.code in NO_LOGIN:
            return failed(f"{where} refuses our login ({error.code})", f"Correct user and password in {variable}")
        return failed(
            f"{where} refuses us ({error.code})", f"Correct {variable}: what it wants may be smtp+starttls://"
        )
    except MailUnavailable as error:
        said = f"{where} does not answer as a mail server does ({error.reason.rstrip('.')})"
        return failed(said, f"Start it, or correct scheme, host and port in {variable}")
    return ok(where)


async def carrier(installation: Installation) -> CheckResult:
    """The carrier answers, and takes our key."""
    assert installation.settings
    url, key = installation.settings.carrier_url, installation.settings.carrier_api_key
    where = _where(url)
    try:
        status = await _status(f"{url}/shipments/{NOBODY}", auth=(key.get_secret_value(), ""))
    except httpx.HTTPError as error:
        return failed(f"{where} is not there ({type(error).__name__})", "Start it, or correct COMMERCE_CARRIER_URL")
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return failed(f"{where} refuses our key ({status})", f"Correct {installation.named('CARRIER_API_KEY')}")
    if httpx.codes.is_server_error(status):
        return failed(f"{where} answers {status}", "Ask the carrier; orders with a label wait")
    return ok(where)


async def warehouse(installation: Installation) -> CheckResult:
    """The warehouse answers a question as it should."""
    assert installation.settings
    where = _where(installation.settings.warehouse_url)
    asked = Warehouse(installation.settings.warehouse_url, timeout=TIMEOUT)
    try:
        await asked.levels([NOBODY])
    except WarehouseUnavailable as error:
        return failed(f"{where} is not there: {error.reason}", "Start it, or correct COMMERCE_WAREHOUSE_URL")
    except (WarehouseRefused, WarehouseAnswerInvalid) as error:
        return failed(f"{where}: {error}", "Correct COMMERCE_WAREHOUSE_URL: something else answers there")
    finally:
        await asked.close()
    return ok(where)


async def api(installation: Installation) -> CheckResult:
    """Our own API answers."""
    assert installation.settings
    stack = await asyncio.to_thread(read_stack, Path(installation.environment["COMMERCE_DATA_DIR"]))
    url = stack.get("api_url") or _local(installation.settings.api_host, installation.settings.api_port)
    try:
        status = await _status(f"{url}/health/live")
    except httpx.HTTPError:
        return warning(f"none at {_where(url)}", "commerce api; or correct COMMERCE_API_HOST and COMMERCE_API_PORT")
    if not httpx.codes.is_success(status):
        return warning(f"something else answers at {_where(url)} ({status})", "Choose another COMMERCE_API_PORT")
    return ok(_where(url))


async def _status(url: str, auth: tuple[str, str] | None = None) -> int:
    """Return the status that a GET is answered with; raises httpx.HTTPError."""
    async with httpx.AsyncClient(timeout=TIMEOUT, auth=auth) as http:
        return (await http.get(url)).status_code


def _local(host: str, port: int) -> str:
    """Return where an API on this machine is reached."""
    try:
        address = ip_address(host)
    except ValueError:
        return f"http://{host}:{port}"
    reached = "127.0.0.1" if address.is_unspecified else str(address)
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"


def _where(url: str) -> str:
    """Return host and port of a URL, without the user and password that may be in it."""
    return urlsplit(url).netloc.rpartition("@")[2]
