"""Send mails by SMTP: one connection per message, and errors that say whether a retry can help (N2).

They also say whether the mail or the mail server is the cause. Before the server has accepted our sender, it has not
seen the mail, so nothing that it does until then is about this mail.
"""

import asyncio
import re
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, EmailPolicy
from email.utils import parseaddr
from typing import Any
from urllib.parse import unquote, urlsplit

import aiosmtplib
from pydantic import SecretStr

from commerce.errors import MailRefused, MailServerDown, MailUnavailable
from commerce.mail.render import RenderedMail, one_line

TIMEOUT = 5  # seconds
QUIT_TIMEOUT = 1  # seconds
SEND_TIMEOUT = timedelta(seconds=10)  # for one attempt to send
QUIET_PERIOD = 30  # seconds without attempts after a server did not respond, so that it cannot occupy the worker
PERMANENT = 500  # SMTP reply codes from here on are permanent
SERVER_CODES = {421, 454, 530, 534, 535, 538}  # the service is closing, or wants another login; at any command
MAIL_CODES = {452, 552, 555}  # replies to our sender that are about this mail: its size, its encoding
BAD_ADDRESS = 553  # SMTP: mailbox name not allowed
NOT_SUPPORTED = 504  # SMTP: command parameter not implemented
UNTRUSTED = "its certificate is not trusted"
PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
ADDRESS = re.compile(r"[^\s@<>()\[\]\\,:;\"]+@[\w-]+(\.[\w-]+)*")
OWN_HEADERS = "x-commerce-"


class _WirePolicy(EmailPolicy):
    """The SMTP policy without folding for our own headers: a long key would otherwise be encoded (N6)."""

    def fold_binary(self, name: str, value: str) -> bytes:
        """Return a header as bytes to send."""
        longest = None if name.lower().startswith(OWN_HEADERS) else self.max_line_length
        return SMTP.clone(max_line_length=longest, utf8=self.utf8).fold_binary(name, value)


WIRE = _WirePolicy(linesep="\r\n", cte_type="7bit")


class MailServer:
    """The SMTP server that sends our mails.

    `url`: `smtp://` (no TLS), `smtp+starttls://` or `smtps://`, with `user:password@` if the server requires a login;
    `sender`: like `Shop <shop@shop.example>`; `timeout`: seconds for connecting and for each command; `quiet_period`:
    seconds. Raises ValueError if the URL or the sender is invalid.
    """

    def __init__(
        self, url: SecretStr, sender: str, *, timeout: float = TIMEOUT, quiet_period: float = QUIET_PERIOD
    ) -> None:
        parts = urlsplit(url.get_secret_value())
        if parts.scheme not in PORTS or not parts.hostname:
            raise ValueError("the mail server's URL must start with smtp://, smtp+starttls:// or smtps://, then a host")
        name, address = parseaddr(sender)
        if not ADDRESS.fullmatch(address):
            raise ValueError("the sender must be an address, like Shop <shop@shop.example>")
        self.sender = Address(display_name=one_line(name), addr_spec=address)
        self._options: dict[str, Any] = {
            "hostname": parts.hostname,
            "port": parts.port or PORTS[parts.scheme],
            "username": unquote(parts.username) if parts.username else None,
            "password": unquote(parts.password) if parts.password else None,
            "use_tls": parts.scheme == "smtps",
            "start_tls": parts.scheme == "smtp+starttls",
            "local_hostname": self.sender.domain,
            "timeout": timeout,
        }
        self._quiet_period = quiet_period
        self._quiet_until = 0.0  # on the monotonic clock

    async def send(self, message: EmailMessage) -> None:
        """Send a message; it counts as sent when the server accepts it for at least one recipient.

        Raises MailRefused or MailUnavailable if the server does not accept this mail: with a 5xx reply, or otherwise.
        Raises MailServerDown if it accepts no mail at all: it does not respond, or refuses the connection, the login or
        our sender.
        """
        self._raise_if_quiet()
        recipients = [address.addr_spec for address in message["To"].addresses]
        async with self._connected() as server:
            await _send(server, self.sender.addr_spec, recipients, message)

    async def check_login(self) -> None:
        """Connect and log in without sending a mail; raises what `send` raises."""
        async with self._connected() as server:
            await server.ehlo()
            with suppress(aiosmtplib.SMTPException):
                await server.quit(timeout=QUIT_TIMEOUT)

    def _raise_if_quiet(self) -> None:
        """Raise MailServerDown during a quiet period. After it, one mail tries while the others still wait."""
        if (now := time.monotonic()) < self._quiet_until:
            raise MailServerDown(f"no response in the last {self._quiet_period:g} s")
        if self._quiet_until:
            self._quiet_until = now + self._quiet_period

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator["_Connection"]:
        server = _Connection(**self._options)
        try:
            async with asyncio.timeout(SEND_TIMEOUT.total_seconds()):
                await server.connect()
                server.logged_in = True
                self._quiet_until = 0.0
                yield server
        # `from None`: the server's reply may contain the recipient's address and would end up in workflow histories.
        except aiosmtplib.SMTPRecipientsRefused as error:
            raise _error(server, min(refused.code for refused in error.recipients)) from None
        except aiosmtplib.SMTPResponseException as error:
            raise _error(server, error.code) from None
        except aiosmtplib.SMTPNotSupported as error:
            raise (MailRefused(NOT_SUPPORTED) if server.logged_in else MailServerDown(_reason(error))) from None
        except (aiosmtplib.SMTPException, OSError) as error:
            if isinstance(error, TimeoutError) and not server.logged_in:
                self._quiet_until = time.monotonic() + self._quiet_period
            # After the sender, the server may have accepted the mail without telling us: further tries are limited.
            raise (MailUnavailable if server.sender_accepted else MailServerDown)(_reason(error)) from None
        finally:
            server.close()


class _Connection(aiosmtplib.SMTP):
    """A connection that knows how far it has come."""

    logged_in = False
    sender_accepted = False

    async def mail(self, *args: Any, **options: Any) -> aiosmtplib.SMTPResponse:
        """Send the command MAIL, which names our sender."""
        response = await super().mail(*args, **options)
        self.sender_accepted = True
        return response


async def _send(server: aiosmtplib.SMTP, sender: str, recipients: list[str], message: EmailMessage) -> None:
    utf8 = not "".join(recipients).isascii()
    if utf8:
        await server.ehlo()
        if not server.supports_extension("smtputf8"):
            raise aiosmtplib.SMTPNotSupported("smtputf8")
    content = message.as_bytes(policy=WIRE.clone(utf8=utf8))
    await server.sendmail(sender, recipients, content, mail_options=["SMTPUTF8"] if utf8 else [])
    with suppress(aiosmtplib.SMTPException):  # the mail is accepted: a failing QUIT must not make a retry send it again
        await server.quit(timeout=QUIT_TIMEOUT)


def _reason(error: aiosmtplib.SMTPException | OSError) -> str:
    """Return the name of the error's class, or aiosmtplib's own message for its base class (no STARTTLS, no AUTH).

    For a certificate that is not trusted, return `UNTRUSTED` and why.
    """
    for cause in (error, error.__cause__):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"{UNTRUSTED}: {cause.verify_message}"
    if type(error) is TimeoutError:
        return f"not sent within {SEND_TIMEOUT.seconds} s"
    return str(error) if type(error) is aiosmtplib.SMTPException else type(error).__name__


def _error(server: _Connection, code: int) -> MailRefused | MailUnavailable:
    about_this_mail = server.sender_accepted or (server.logged_in and code in MAIL_CODES)
    if code in SERVER_CODES or not about_this_mail:
        return MailServerDown(f"SMTP {code}", code)
    return MailRefused(code) if code >= PERMANENT else MailUnavailable(f"SMTP {code}")


def build_message(
    mail: RenderedMail, sender: Address, recipient: str, *, message_id: str, kind: str, key: str
) -> EmailMessage:
    """Return the message to send, with our headers (N6).

    `recipient`: one address or several separated by commas. Raises MailRefused if one of them is invalid.
    """
    message = EmailMessage()
    message["Subject"] = mail.subject
    message["From"] = sender
    message["To"] = ", ".join(_deliverable(address) for address in recipient.split(","))
    message["Date"] = datetime.now(UTC)
    message["Message-ID"] = message_id
    message["X-Commerce-Kind"] = one_line(kind)
    message["X-Commerce-Key"] = one_line(key)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.text, cte="quoted-printable")
    message.add_alternative(mail.html, subtype="html", cte="quoted-printable")
    return message


def _deliverable(address: str) -> str:
    """Return an address that mail servers accept, with its domain in ASCII."""
    address = address.strip()
    # A mail server may decode an encoded word, and the mail would go to another address.
    if not ADDRESS.fullmatch(address) or not address.isprintable() or "=?" in address:
        raise MailRefused(BAD_ADDRESS)
    local, _, domain = address.rpartition("@")
    try:
        return f"{local}@{domain.encode('idna').decode()}"
    except UnicodeError:
        raise MailRefused(BAD_ADDRESS) from None
