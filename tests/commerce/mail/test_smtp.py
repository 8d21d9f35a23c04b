"""Mails: what they look like on the wire, and what the mail server's answers mean (N2, N6)."""

import asyncio
import email.policy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from commerce.errors import MailRefused, MailUnavailable
from commerce.mail.render import Letter, money, render
from commerce.mail.smtp import WIRE, Mail, compose
from starter.devstack import mail as catcher

SENDER = "The Shop <shop@shop.example>"
LETTER = Letter("Hello", "Grüße\n", "<p>Grüße</p>")
OFFLINE = Mail(SecretStr("smtp://127.0.0.1:1"), SENDER)
ORDER: dict[str, Any] = {
    "shop": "The Shop",
    "key": "order-shipped/1001",
    "order_id": "1001",
    "name": "Zoë <script>alert(1)</script>",
    "currency": "GBP",
    "total": 123450,
    "shipping_total": 495,
    "tracking_number": "94001",
    "units": 5,
    "lines": [{"sku": "85123A", "title": "<b>Heart</b>", "quantity": 5, "unit_price": 255, "amount": 1275}],
    "more_lines": 2,
}


def message(
    recipient: str = "bob@example.com", key: str = "order-shipped/1001", letter: Letter = LETTER
) -> EmailMessage:
    return compose(letter, OFFLINE.sender, recipient, message_id="<1@shop.example>", kind="order-shipped", key=key)


def raw(mail_dir: Path) -> bytes:
    (file,) = mail_dir.glob("*.eml")
    return file.read_bytes()


def caught(mail_dir: Path) -> list[EmailMessage]:
    files = sorted(mail_dir.glob("*.eml"))
    return [message_from_bytes(file.read_bytes(), policy=email.policy.default) for file in files]


@pytest.fixture
async def mail(tmp_path: Path) -> AsyncIterator[Mail]:
    async with catcher.catching(tmp_path, 0) as url:
        yield Mail(SecretStr(url), SENDER)


@asynccontextmanager
async def scripted(answers: dict[str, str], said: list[str]) -> AsyncIterator[SecretStr]:
    """An SMTP server that answers each command as told, `hello` being the greeting and "" silence."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = "hello"
        while line:
            answer = answers.get(line.split()[0].upper() if line != "hello" else line, "250 OK")
            if answer:
                writer.write(f"{answer}\r\n".encode())
            if answer.startswith("354"):
                await reader.readuntil(b"\r\n.\r\n")
                writer.write(b"250 taken\r\n")
            line = (await reader.readline()).decode().strip()
            said.append(line)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield SecretStr(f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    finally:
        server.close()


class TestHeaders:
    async def test_they_arrive(self, mail: Mail, tmp_path: Path) -> None:  # (N6)
        await mail.send(message())
        (got,) = caught(tmp_path)
        assert got["From"] == SENDER
        assert got["To"] == "bob@example.com"
        assert got["Message-ID"] == "<1@shop.example>"
        assert got["X-Commerce-Kind"] == "order-shipped"
        assert got["X-Commerce-Key"] == "order-shipped/1001"
        assert got["Auto-Submitted"] == "auto-generated"
        assert got["Date"].datetime.tzinfo is not None
        assert [part.get_content_type() for part in got.iter_parts()] == ["text/plain", "text/html"]
        assert [part.get_content().strip() for part in got.iter_parts()] == ["Grüße", "<p>Grüße</p>"]

    async def test_a_long_key_stays_readable(self, mail: Mail, tmp_path: Path) -> None:
        key = f"order-shipped/{'x' * 150}"
        await mail.send(message(key=key))
        assert f"X-Commerce-Key: {key}\r\n".encode() in raw(tmp_path)

    def test_nothing_can_be_injected(self) -> None:
        evil = "1001\r\nBcc: eve@example.com\r\n\r\nbody"
        letter = render("alert", {"shop": evil, "key": evil, "message": evil, "severity": "high"})
        made = compose(letter, OFFLINE.sender, "bob@example.com", message_id="<1@x>", kind=evil, key=evil)
        assert "Bcc" not in message_from_bytes(made.as_bytes(policy=WIRE))

    @given(subject=st.text(), key=st.text(), recipient=st.text() | st.builds("{}@{}".format, st.text(), st.text()))
    def test_any_text_makes_a_sound_mail(self, subject: str, key: str, recipient: str) -> None:
        letter = render("alert", {"shop": "Shop", "key": key, "message": subject})
        try:
            made = compose(letter, OFFLINE.sender, recipient, message_id="<1@x>", kind="alert", key=key)
        except MailRefused as refused:
            assert refused.code == 553
            return
        names = set(message_from_bytes(made.as_bytes(policy=WIRE.clone(utf8=True))).keys())
        assert names == set(made.keys())
        assert made["To"].addresses


class TestRecipients:
    async def test_several_get_one_mail(self, mail: Mail, tmp_path: Path) -> None:
        await mail.send(message("ann@example.com, bob@example.com"))
        assert caught(tmp_path)[0]["To"] == "ann@example.com, bob@example.com"

    async def test_one_that_is_refused_does_not_stop_the_others(self, mail: Mail, tmp_path: Path) -> None:
        await mail.send(message("ann@refused.example, bob@example.com"))
        assert len(caught(tmp_path)) == 1

    async def test_a_domain_of_the_world_is_written_in_ascii(self, mail: Mail, tmp_path: Path) -> None:
        await mail.send(message("zoe@bücher.example"))
        assert caught(tmp_path)[0]["To"] == "zoe@xn--bcher-kva.example"

    async def test_a_name_of_the_world_needs_a_server_that_can(self, mail: Mail, tmp_path: Path) -> None:
        await mail.send(message("zoë@example.com"))
        assert b"To: zo\xc3\xab@example.com" in raw(tmp_path)
        async with scripted({"hello": "220 hi"}, []) as url:
            with pytest.raises(MailRefused):
                await Mail(url, SENDER).send(message("zoë@example.com"))

    @pytest.mark.parametrize(
        "address", ["", "bob", "bob@", "@example.com", "a b@example.com", "a@b, ", "a@b\nc@d", "a\0b@example.com"]
    )
    def test_what_is_no_address_is_refused(self, address: str) -> None:
        with pytest.raises(MailRefused):
            message(address)

    @pytest.mark.parametrize("local", ["=?utf-8?q?eve?=", "=?utf-8?b?ZXZlQGV2aWwuZXhhbXBsZQ==?="])
    def test_an_address_that_would_be_read_as_another_is_refused(self, local: str) -> None:
        with pytest.raises(MailRefused):
            message(f"{local}@example.com")


class TestAnswers:
    @pytest.mark.parametrize(
        ("recipient", "code"), [("bob@refused.example", 550), ("a@refused.example, b@refused.example", 550)]
    )
    async def test_5xx_is_final(self, mail: Mail, recipient: str, code: int) -> None:  # (N2)
        with pytest.raises(MailRefused) as refused:
            await mail.send(message(recipient))
        assert refused.value.code == code
        assert refused.value.__cause__ is None  # it would carry the recipient into histories

    @pytest.mark.parametrize("recipient", ["bob@busy.example", "a@refused.example, b@busy.example"])
    async def test_4xx_is_not(self, mail: Mail, recipient: str) -> None:  # (N2)
        with pytest.raises(MailUnavailable, match="SMTP 451"):
            await mail.send(message(recipient))

    async def test_nobody_listens(self) -> None:
        with pytest.raises(MailUnavailable, match="SMTPConnectError"):
            await OFFLINE.send(message())

    @pytest.mark.parametrize(
        ("answers", "error"),
        [
            ({"hello": "554 go away"}, MailRefused(554)),
            ({"hello": "421 too busy"}, MailUnavailable("SMTP 421")),
            ({"hello": "220 hi", "MAIL": "552 too much"}, MailRefused(552)),
            ({"hello": "220 hi", "DATA": "451 not now"}, MailUnavailable("SMTP 451")),
            ({"hello": ""}, MailUnavailable("SMTPConnectTimeoutError")),
            ({"hello": "220 hi", "EHLO": ""}, MailUnavailable("SMTPReadTimeoutError")),
        ],
        ids=["greeting 5xx", "greeting 4xx", "sender 5xx", "data 4xx", "silent", "silent later"],
    )
    async def test_at_any_time(self, answers: dict[str, str], error: MailRefused | MailUnavailable) -> None:
        async with scripted(answers, []) as url:
            with pytest.raises(type(error)) as raised:
                await Mail(url, SENDER, timeout=0.3).send(message())
        assert str(raised.value) == str(error)

    async def test_a_failing_good_bye_does_not_send_again(self) -> None:
        answers = {"hello": "220 hi", "DATA": "354 go on", "QUIT": "421 shutting down"}
        said: list[str] = []
        async with scripted(answers, said) as url:
            await Mail(url, SENDER).send(message())
        assert "QUIT" in said

    async def test_nothing_is_said_in_clear_when_tls_is_wanted(self) -> None:
        async with scripted({"hello": "220 hi"}, []) as url:
            with pytest.raises(MailUnavailable, match="STARTTLS"):
                await Mail(SecretStr(url.get_secret_value().replace("smtp:", "smtp+starttls:")), SENDER).send(message())

    async def test_it_logs_in(self) -> None:
        answers = {"hello": "220 hi", "EHLO": "250-hi\r\n250 AUTH PLAIN", "AUTH": "235 welcome", "DATA": "354 go on"}
        said: list[str] = []
        async with scripted(answers, said) as url:
            await Mail(SecretStr(url.get_secret_value().replace("//", "//us%40er:p%2Fw@")), SENDER).send(message())
        assert "AUTH PLAIN AHVzQGVyAHAvdw==" in said  # NUL us@er NUL p/w


@pytest.mark.parametrize("url", ["http://mail.example", "mail.example:25", "smtp://", ""])
def test_a_url_that_is_none_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="must start with smtp://"):
        Mail(SecretStr(url), SENDER)


def test_a_sender_must_be_an_address() -> None:
    with pytest.raises(ValueError, match="sender"):
        Mail(SecretStr("smtp://mail.example"), "The Shop")


class TestRendering:
    def test_html_is_escaped_and_text_is_not(self) -> None:
        letter = render("order-shipped", ORDER)
        assert "<script>" not in letter.html
        assert "&lt;b&gt;Heart&lt;/b&gt;" in letter.html
        assert "Hello Zoë <script>" in letter.text

    def test_an_order_is_told(self) -> None:
        letter = render("order-shipped", ORDER)
        assert letter.subject == "Your order 1001 is on its way"
        for told in ("The Shop", "85123A", "£12.75", "and 2 more lines", "£4.95", "£1,234.50", "94001"):
            assert told in letter.html
            assert told in letter.text

    def test_without_name_and_tracking_nothing_is_left_open(self) -> None:
        letter = render("order-shipped", ORDER | {"name": None, "tracking_number": None, "more_lines": 0})
        assert "Hello," in letter.text
        assert "racking" not in letter.text + letter.html
        assert "more line" not in letter.text + letter.html
        assert "None" not in letter.text + letter.html

    def test_shortages_are_listed(self) -> None:
        items = [{"variant_id": "v", "sku": "84<80", "requested": 7, "available": 2}]
        facts = {"shop": "Shop", "key": "k", "order_id": "1001", "message": "m", "items": items, "more_items": 9}
        letter = render("insufficient-inventory", facts)
        assert "84<80: 7 requested, 2 available\nand 9 more" in letter.text
        assert "84&lt;80" in letter.html

    @pytest.mark.parametrize(
        "kind", ["insufficient-inventory", "order-failed", "notification-failed", "compensation-failed", "job-failure"]
    )
    @pytest.mark.parametrize("order_id", ["1001", None])
    def test_every_alert_has_subject_facts_and_key(self, kind: str, order_id: str | None) -> None:
        facts = {"shop": "Shop", "key": f"{kind}/1", "message": "It broke", "error": "Oops & co", "order_id": order_id}
        letter = render(kind, facts)
        assert letter.subject
        assert "Oops & co" in letter.text
        assert "Oops &amp; co" in letter.html
        for told in ("It broke", f"{kind}/1"):
            assert told in letter.text
            assert told in letter.html
        assert "\n\n\n" not in letter.text

    @pytest.mark.parametrize(
        ("amount", "currency", "text"),
        [
            (123450, "GBP", "£1,234.50"),
            (-5, "GBP", "-£0.05"),
            (0, "EUR", "€0.00"),
            (1235, "JPY", "1,235 JPY"),
            (1235, "CHF", "12.35 CHF"),
            (-1, "KWD", "-0.001 KWD"),
            (9007199254740993, "USD", "$90,071,992,547,409.93"),
        ],
    )
    def test_money(self, amount: int, currency: str, text: str) -> None:
        assert money(amount, currency) == text
