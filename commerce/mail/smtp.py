"""Mails by SMTP: one message, one connection, and errors that say whether trying again can help (N2)."""

import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, EmailPolicy
from email.utils import parseaddr
from typing import Any
from urllib.parse import unquote, urlsplit

import aiosmtplib
from pydantic import SecretStr

from commerce.errors import MailRefused, MailUnavailable
from commerce.mail.render import Image, Letter, one_line

TIMEOUT = 5  # seconds
QUIT_TIMEOUT = 1  # seconds
PERMANENT = 500  # SMTP answers from here on are final
BAD_ADDRESS = 553  # SMTP: mailbox name not allowed
NOT_SUPPORTED = 504  # SMTP: command parameter not implemented
PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
ADDRESS = re.compile(r"[^\s@<>()\[\]\\,:;\"]+@[\w-]+(\.[\w-]+)*")
OWN_HEADERS = "x-commerce-"


class _WirePolicy(EmailPolicy):
    """SMTP's policy, but our own headers stay on one line as they are: a long key would be encoded otherwise (N6)."""

    def fold_binary(self, name: str, value: str) -> bytes:
        """Return a header as it is sent."""
        longest = None if name.lower().startswith(OWN_HEADERS) else self.max_line_length
        return SMTP.clone(max_line_length=longest, utf8=self.utf8).fold_binary(name, value)


WIRE = _WirePolicy(linesep="\r\n", cte_type="7bit")


class Mail:
    """The mail server that takes our mails.

    `url`: `smtp://` (no TLS), `smtp+starttls://` or `smtps://`, with `user:password@` where the server asks for them;
    `sender`: `Shop <shop@shop.example>`; `timeout`: seconds for the connection and for each command. Raises ValueError
    when URL or sender cannot be understood.
    """

    def __init__(self, url: SecretStr, sender: str, *, timeout: float = TIMEOUT) -> None:
        parts = urlsplit(url.get_secret_value())
        if parts.scheme not in PORTS or not parts.hostname:
            raise ValueError("the mail server's URL must start with smtp://, smtp+starttls:// or smtps:// and name it")
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

    async def send(self, message: EmailMessage) -> None:
        """Hand a message over; done when the server has taken it for at least one of its recipients.

        Raises MailRefused for an answer of 5xx, MailUnavailable for any other, no connection, or none in time.
        """
        recipients = [address.addr_spec for address in message["To"].addresses]
        async with self._connected() as server:
            await _hand_over(server, self.sender.addr_spec, recipients, message)

    async def greet(self) -> None:
        """Connect and log in, as for a mail, and send none; raises as `send` does."""
        async with self._connected() as server:
            await server.ehlo()
            with suppress(aiosmtplib.SMTPException):
                await server.quit(timeout=QUIT_TIMEOUT)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[aiosmtplib.SMTP]:
        server = aiosmtplib.SMTP(**self._options)
        try:
            await server.connect()
            yield server
        # `from None`: the server's own words may hold the recipient's address, and would go into workflow histories.
        except aiosmtplib.SMTPRecipientsRefused as error:
            raise _error(min(refused.code for refused in error.recipients)) from None
        except aiosmtplib.SMTPResponseException as error:
            raise _error(error.code) from None
        except aiosmtplib.SMTPNotSupported:
            raise MailRefused(NOT_SUPPORTED) from None
        except (aiosmtplib.SMTPException, OSError) as error:
            raise MailUnavailable(_reason(error)) from None
        finally:
            server.close()


async def _hand_over(server: aiosmtplib.SMTP, sender: str, recipients: list[str], message: EmailMessage) -> None:
    utf8 = not "".join(recipients).isascii()
    if utf8:
        await server.ehlo()
        if not server.supports_extension("smtputf8"):
            raise aiosmtplib.SMTPNotSupported("smtputf8")
    content = message.as_bytes(policy=WIRE.clone(utf8=utf8))
    await server.sendmail(sender, recipients, content, mail_options=["SMTPUTF8"] if utf8 else [])
    with suppress(aiosmtplib.SMTPException):  # the mail is taken: a failing good-bye must not send it again
        await server.quit(timeout=QUIT_TIMEOUT)


def _reason(error: aiosmtplib.SMTPException | OSError) -> str:
    """Name the error; one without a class of its own is aiosmtplib's own complaint (no STARTTLS, no AUTH)."""
    return str(error) if type(error) is aiosmtplib.SMTPException else type(error).__name__


def _error(code: int) -> MailRefused | MailUnavailable:
    return MailRefused(code) if code >= PERMANENT else MailUnavailable(f"SMTP {code}")


def compose(letter: Letter, sender: Address, recipient: str, *, message_id: str, kind: str, key: str) -> EmailMessage:
    """Return the message of a letter, with our headers (N6).

    `recipient`: one address or several separated by commas; raises MailRefused when one is no address.
    """
    message = EmailMessage()
    message["Subject"] = letter.subject
    message["From"] = sender
    message["To"] = ", ".join(_deliverable(address) for address in recipient.split(","))
    message["Date"] = datetime.now(UTC)
    message["Message-ID"] = message_id
    message["X-Commerce-Kind"] = one_line(kind)
    message["X-Commerce-Key"] = one_line(key)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.text, cte="quoted-printable")
    message.add_alternative(letter.html, subtype="html", cte="quoted-printable")
    if letter.images:
        _embed(message, letter.images)
    return message


def _embed(message: EmailMessage, images: Iterable[Image]) -> None:
    """Bind images to the HTML part, which becomes the root of a multipart/related (RFC 2387)."""
    html = message.get_body(("html",))
    assert html is not None
    for image in images:
        name = f"{image.cid.partition('@')[0]}.png"
        html.add_related(image.png, "image", "png", cid=f"<{image.cid}>", disposition="inline", filename=name)
    html.set_param("type", "text/html")


def _deliverable(address: str) -> str:
    """Return an address that a mail server can take: its domain in ASCII."""
    address = address.strip()
    # An encoded word would be decoded on its way, and the mail go to somebody else.
    if not ADDRESS.fullmatch(address) or not address.isprintable() or "=?" in address:
        raise MailRefused(BAD_ADDRESS)
    local, _, domain = address.rpartition("@")
    try:
        return f"{local}@{domain.encode('idna').decode()}"
    except UnicodeError:
        raise MailRefused(BAD_ADDRESS) from None
