"""The mail catcher: an accepted mail is a complete file that survives a crash."""

import asyncio
import os
import shutil
import signal
import smtplib
from collections.abc import AsyncIterator, Iterator
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
import pytest

from starter.devstack import mail
from tests.forks import Program


def message(number: int = 1, to: str = "bob@example.com") -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "shop@shop.example", to, f"Mail {number}"
    made.set_content("Grüße\n.\n..dots\n")
    return made


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    async with mail.running(tmp_path, 0) as url:
        yield int(url.rpartition(":")[2])


@pytest.fixture
def process(tmp_path: Path) -> Iterator[tuple[Program, int]]:
    """The mail catcher as a program, and its port."""
    arguments = ("--mail-dir", str(tmp_path / "mails"), "--port", "0")
    process = Program("starter.devstack.mail", os.environ, tmp_path, tmp_path / "mail.log", arguments)
    line = process.first_line()
    assert line.startswith("mail: listening on smtp://127.0.0.1:")
    yield process, int(line.split(",")[0].rpartition(":")[2])
    process.kill()


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


async def test_files_sort_by_time_and_hold_the_mail(port: int, tmp_path: Path) -> None:
    for number in range(3):
        await aiosmtplib.send(message(number), hostname="127.0.0.1", port=port)
    files = [(tmp_path / name).read_bytes() for name in names(tmp_path)]
    assert len(files) == 3
    for number, file in enumerate(files):
        assert f"Subject: Mail {number}\r\n".encode() in file
        assert b"\r\n.\r\n..dots\r\n" in file


async def test_many_at_once(port: int, tmp_path: Path) -> None:
    await asyncio.gather(*(aiosmtplib.send(message(n), hostname="127.0.0.1", port=port) for n in range(20)))
    assert len(names(tmp_path)) == 20
    assert all(name.endswith(".eml") for name in names(tmp_path))


@pytest.mark.parametrize(("to", "code"), [("bob@refused.example", 550), ("bob@BUSY.example", 451)])
async def test_refused_recipients(port: int, tmp_path: Path, to: str, code: int) -> None:
    with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as refused:
        await aiosmtplib.send(message(to=to), hostname="127.0.0.1", port=port)
    assert refused.value.recipients[0].code == code
    assert names(tmp_path) == []


async def test_the_refuse_file_refuses_every_recipient(port: int, tmp_path: Path) -> None:
    refuse_file = tmp_path / mail.REFUSE_FILE
    for line, code in (("", 451), ("554 No service", 554)):
        refuse_file.write_text(line)
        with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as refused:
            await aiosmtplib.send(message(), hostname="127.0.0.1", port=port)
        assert refused.value.recipients[0].code == code
    refuse_file.unlink()
    await aiosmtplib.send(message(), hostname="127.0.0.1", port=port)
    assert len(names(tmp_path)) == 1


async def test_a_mail_that_cannot_be_stored_is_not_accepted(port: int, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path)
    with pytest.raises(aiosmtplib.SMTPDataError) as refused:
        await aiosmtplib.send(message(), hostname="127.0.0.1", port=port)
    assert refused.value.code == 452


@pytest.mark.programs
def test_an_accepted_mail_survives_a_kill(process: tuple[Program, int], tmp_path: Path) -> None:
    running, port = process
    with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
        client.send_message(message())
        running.kill()
        running.wait()
        client.close()
    assert len(names(tmp_path / "mails")) == 1


@pytest.mark.programs
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_cleanly(process: tuple[Program, int], number: signal.Signals) -> None:
    running, port = process
    client = smtplib.SMTP("127.0.0.1", port, timeout=10)  # a connection that stays open
    running.send_signal(number)
    assert running.wait() == 0
    client.close()
    assert running.log.read_text().count("\n") == 1  # where it listened
