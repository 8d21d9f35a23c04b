"""The mail catcher: takes every mail by SMTP and keeps it as one `.eml` file; file names sort by time.

    python -m starter.devstack.mail --mail-dir D --port P

For trying failures: recipients at refused.example are refused for good (550), at busy.example for now (451); while the
mail folder has a file `refuse`, every recipient gets the line in it as the answer, such as `451 Try again later`.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from aiosmtpd.smtp import SMTP, Envelope, Session

from starter.devstack.serving import LOOPBACK, Arguments, arguments, listen, run, until_stopped

RULES = {"refused.example": "550 5.1.1 No such mailbox", "busy.example": "451 4.3.0 Try again later"}
SWITCH = "refuse"

log = logging.getLogger(__name__)


class Catcher:
    """What to do with a mail: aiosmtpd calls these methods, and sends what they return as the answer."""

    def __init__(self, mail_dir: Path) -> None:
        self._mail_dir = mail_dir

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take the recipient, unless a rule or the switch refuses it."""
        refusal = RULES.get(address.rpartition("@")[2].lower()) or self._switch()
        if refusal is None:
            envelope.rcpt_tos.append(address)
            envelope.rcpt_options.extend(options)
        return refusal or "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Answer 250 only when the mail is on the disk."""
        try:
            name = await asyncio.to_thread(keep, self._mail_dir, envelope.original_content or b"")
        except OSError as error:
            log.error("a mail could not be written: %s", error)
            return "452 4.3.1 Insufficient system storage"
        return f"250 OK: kept as {name}"

    def _switch(self) -> str | None:
        try:
            return (self._mail_dir / SWITCH).read_text().strip() or RULES["busy.example"]
        except FileNotFoundError:
            return None


def keep(mail_dir: Path, content: bytes) -> str:
    """Write one mail so that it is there whole or not at all, also after a power cut; returns its file's name."""
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}Z-{uuid4().hex[:8]}.eml"
    unfinished = mail_dir / f".{name}.tmp"
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(mail_dir / name)
    _sync_folder(mail_dir)
    return name


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@asynccontextmanager
async def catching(mail_dir: Path, port: int, host: str = LOOPBACK) -> AsyncIterator[str]:
    """Catch mails while the block runs; yields the `smtp://` URL. Raises OSError."""
    await asyncio.to_thread(mail_dir.mkdir, parents=True, exist_ok=True)
    loop, catcher = asyncio.get_running_loop(), Catcher(mail_dir)
    bound = listen(port, host)
    server = await loop.create_server(
        lambda: SMTP(catcher, enable_SMTPUTF8=True, hostname="localhost", ident="mail catcher", loop=loop), sock=bound
    )
    try:
        yield f"smtp://{host}:{bound.getsockname()[1]}"
    finally:
        server.close()  # not wait_closed: since Python 3.12 that waits for clients that stay connected


async def serve(given: Arguments) -> None:
    """Catch mails until told to stop."""
    logging.getLogger("mail.log").setLevel(logging.WARNING)  # aiosmtpd's: it tells every command, with addresses
    async with catching(*given) as url:
        log.info("listening on %s, mails in %s", url, given.folder)
        await until_stopped()


def main() -> None:
    """Run the mail catcher as a process of its own."""
    given = arguments("Catch every mail as a file.", "--mail-dir")
    run("mail", lambda: serve(given))


if __name__ == "__main__":
    main()
