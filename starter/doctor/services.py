"""The services that the shop uses (mail server, carrier, warehouse), and its own API. The checks change nothing."""

import asyncio
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from commerce.errors import (
    CarrierDown,
    CarrierRefused,
    CarrierUnavailable,
    MailServerDown,
    SettingsError,
    WarehouseAnswerInvalid,
    WarehouseRefused,
    WarehouseUnavailable,
)
from commerce.integrations import capped_http
from commerce.integrations.carriers import open_carriers
from commerce.integrations.tls import tls_context
from commerce.integrations.warehouse import Warehouse
from commerce.mail.smtp import PERMANENT, UNTRUSTED, MailServer
from commerce.settings import read_stack
from starter.doctor.findings import CheckResult, failed, ok, warning
from starter.doctor.runner import CheckContext

TIMEOUT = 4  # seconds
LOGIN_ERRORS = {530, 534, 535, 538}  # SMTP replies about authentication
UNKNOWN_ID = "doctor"  # no shipment and no SKU has it


async def check_mail(context: CheckContext) -> CheckResult:
    """Check that the mail server accepts our login; no mail is sent."""
    url, variable = context.settings.smtp_url, context.variable("SMTP_URL")
    address = _address(url.get_secret_value())
    try:
        await MailServer(url, context.settings.mail_from, timeout=TIMEOUT).check_login()
    except ValueError as error:
        return failed(str(error), f"Correct {variable} or COMMERCE_MAIL_FROM")
    except MailServerDown as error:
        if error.code in LOGIN_ERRORS:
            return failed(f"{address} rejected the login ({error.code})", f"Correct user and password in {variable}")
        if error.code >= PERMANENT:
            return failed(
                f"{address} rejected the connection ({error.code})",
                f"Correct {variable}: the server may require smtp+starttls://",
            )
        if error.reason.startswith(UNTRUSTED):
            return failed(
                f"{address}: {error.reason.rstrip('.')}",
                f"Use the name in its certificate in {variable}, or set SSL_CERT_FILE to the file of its authority",
            )
        return failed(
            f"no mail server answers at {address} ({error.reason.rstrip('.')})",
            f"Start it, or correct scheme, host and port in {variable}",
        )
    return ok(address)


async def check_carrier(context: CheckContext) -> CheckResult:
    """Check that the carrier for new labels answers and accepts our key, by refunding an unknown shipment."""
    try:
        carriers = open_carriers(context.settings)
    except SettingsError as error:
        return failed(str(error), "Correct COMMERCE_CARRIER")
    name = context.settings.carrier
    where, url, key = name, "its URL", "its key"
    if name == "easypost":
        where = _address(context.settings.carrier_url)
        url, key = "COMMERCE_CARRIER_URL", context.variable("CARRIER_API_KEY")
    try:
        async with asyncio.timeout(TIMEOUT):
            await carriers[name].refund(UNKNOWN_ID)
    except (CarrierUnavailable, TimeoutError) as error:
        if isinstance(error, CarrierDown) and error.status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            return failed(f"{where} rejected our API key ({error.status})", f"Correct {key}")
        reason = getattr(error, "reason", f"no response within {TIMEOUT} s")
        return failed(f"no carrier answers at {where} ({reason})", f"Start it, or correct {url}")
    except CarrierRefused:
        pass  # it answers, and does not know the shipment
    finally:
        for carrier in carriers.values():
            await carrier.close()
    return ok(where)


async def check_warehouse(context: CheckContext) -> CheckResult:
    """Check that the warehouse answers a question correctly."""
    address = _address(context.settings.warehouse_url)
    warehouse = Warehouse(context.settings.warehouse_url, timeout=TIMEOUT)
    try:
        await warehouse.levels([UNKNOWN_ID])
    except WarehouseUnavailable as error:
        return failed(
            f"no warehouse answers at {address}: {error.reason}", "Start it, or correct COMMERCE_WAREHOUSE_URL"
        )
    except (WarehouseRefused, WarehouseAnswerInvalid) as error:
        return failed(f"{address}: {error}", "Correct COMMERCE_WAREHOUSE_URL: another service answers there")
    finally:
        await warehouse.close()
    return ok(address)


async def check_api(context: CheckContext) -> CheckResult:
    """Check that our own API answers."""
    stack = await asyncio.to_thread(read_stack, Path(context.environment["COMMERCE_DATA_DIR"]))
    url = stack.get("api_url") or _local_url(context.settings.api_host, context.settings.api_port)
    address = _address(url)
    try:
        status = await _get_status(f"{url}/health/live")
    except httpx.HTTPError:
        return warning(
            f"no API answers at {address}", "Run: commerce api; or correct COMMERCE_API_HOST and COMMERCE_API_PORT"
        )
    if not httpx.codes.is_success(status):
        return warning(f"another service answers at {address} ({status})", "Choose another COMMERCE_API_PORT")
    return ok(address)


async def _get_status(url: str) -> int:
    """Return the HTTP status of a GET request. Raises httpx.HTTPError."""
    async with (
        httpx.AsyncClient(timeout=TIMEOUT, verify=tls_context()) as http,
        capped_http.unread(http, "GET", url) as response,
    ):
        return response.status_code


def _local_url(host: str, port: int) -> str:
    """Return the URL of an API that listens on this host and port."""
    try:
        address = ip_address(host)
    except ValueError:
        return f"http://{host}:{port}"
    reachable = "127.0.0.1" if address.is_unspecified else str(address)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def _address(url: str) -> str:
    """Return host and port of a URL, without the user and password that it may contain."""
    return urlsplit(url).netloc.rpartition("@")[2]
