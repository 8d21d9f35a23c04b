"""The embedded mail catcher: accepts every mail by SMTP and stores it as an `.eml` file; file names sort by time.

    python -m starter.devstack.mail --mail-dir D --port P

To try failures: recipients at refused.example are refused permanently (550), at busy.example temporarily (451). While
the mail folder has a file `refuse`, every recipient is refused with the line in it, such as `451 Try again later`.
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

from starter.devstack.serving import LOOPBACK, Arguments, listen, parse_arguments, run, wait_for_stop_signal

RULES = {"refused.example": "550 5.1.1 No such mailbox", "busy.example": "451 4.3.0 Try again later"}
REFUSE_FILE = "refuse"

log = logging.getLogger(__name__)


class Catcher:
    """Handles mails: aiosmtpd calls these methods and sends the return value as its reply."""

    def __init__(self, mail_dir: Path) -> None:
        self._mail_dir = mail_dir

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Accept the recipient unless a rule or the file refuses it."""
        refusal = RULES.get(address.rpartition("@")[2].lower()) or self._refusal_in_file()
        if refusal is None:
            envelope.rcpt_tos.append(address)
            envelope.rcpt_options.extend(options)
        return refusal or "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Reply 250 only after the mail is on disk."""
        try:
            name = await asyncio.to_thread(store, self._mail_dir, envelope.original_content or b"")
        except OSError as error:
            log.error("a mail could not be written: %s", error)
            return "452 4.3.1 Insufficient system storage"
        return f"250 OK: stored as {name}"

    def _refusal_in_file(self) -> str | None:
        try:
            return (self._mail_dir / REFUSE_FILE).read_text().strip() or RULES["busy.example"]
        except FileNotFoundError:
            return None


def store(mail_dir: Path, content: bytes) -> str:
    """Write one mail atomically, safe against a power cut, and return its file name."""
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
async def running(mail_dir: Path, port: int, host: str = LOOPBACK) -> AsyncIterator[str]:
    """Run the mail catcher during the block; yields its `smtp://` URL. Raises OSError."""
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
    """Run the mail catcher until a stop signal."""
    logging.getLogger("mail.log").setLevel(logging.WARNING)  # aiosmtpd logs every command, addresses too
    async with running(*given) as url:
        log.info("listening on %s, mails in %s", url, given.folder)
        await wait_for_stop_signal()


def main() -> None:
    """Run the mail catcher as a program."""
    given = parse_arguments("Store every mail as a file.", "--mail-dir")
    run("mail", lambda: serve(given))


if __name__ == "__main__":
    main()
