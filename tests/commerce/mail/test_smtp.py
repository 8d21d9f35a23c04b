"""Mails on the wire (N6), how the mail server's replies are interpreted (N2), and rendered templates."""

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

from commerce.errors import MailRefused, MailServerDown, MailUnavailable
from commerce.mail.render import MailTemplates, RenderedMail
from commerce.mail.smtp import WIRE, MailServer, build_message
from starter.devstack import mail as catcher

SENDER = "The Shop <shop@shop.example>"
CONTENT = RenderedMail("Hello", "Grüße\n", "<p>Grüße</p>")
TEMPLATES = MailTemplates("en_GB")
AUTH = "250-hi\r\n250 AUTH PLAIN LOGIN"
OFFLINE = MailServer(SecretStr("smtp://127.0.0.1:1"), SENDER)
ORDER: dict[str, Any] = {
    "shop": "The Shop",
    "key": "order-shipped/1001",
    "order_id": "5551",
    "number": "#1001",
    "name": "Zoë <script>alert(1)</script>",
    "currency": "GBP",
    "total": 123450,
    "totals": [("Subtotal", 1275), ("Shipping", 495)],
    "included_tax": 0,
    "refunded_total": 0,
    "tracking_numbers": ["94001"],
    "shipping_method": "Standard",
    "state": "shipped",
    "units": 5,
    "lines": [
        {
            "sku": "85123A",
            "title": "<b>Heart</b>",
            "quantity": 5,
            "unit_price": 255,
            "amount": 1275,
            "requires_shipping": True,
            "refunded": 0,
        }
    ],
    "more_lines": 2,
}


def message(
    recipient: str = "bob@example.com", key: str = "order-shipped/1001", content: RenderedMail = CONTENT
) -> EmailMessage:
    headers = {"message_id": "<1@shop.example>", "kind": "order-shipped", "key": key}
    return build_message(content, OFFLINE.sender, recipient, **headers)


def raw(mail_dir: Path) -> bytes:
    (file,) = mail_dir.glob("*.eml")
    return file.read_bytes()


def caught(mail_dir: Path) -> list[EmailMessage]:
    files = sorted(mail_dir.glob("*.eml"))
    return [message_from_bytes(file.read_bytes(), policy=email.policy.default) for file in files]


@pytest.fixture
async def mail_server(tmp_path: Path) -> AsyncIterator[MailServer]:
    async with catcher.running(tmp_path, 0) as url:
        yield MailServer(SecretStr(url), SENDER)


@asynccontextmanager
async def scripted(replies: dict[str, str], commands: list[str]) -> AsyncIterator[SecretStr]:
    """Run an SMTP server that replies to each command from a script; `hello` is the greeting, "" is silence."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = "hello"
        while line:
            reply = replies.get(line.split()[0].upper() if line != "hello" else line, "250 OK")
            if reply:
                writer.write(f"{reply}\r\n".encode())
            if reply.startswith("354"):
                await reader.readuntil(b"\r\n.\r\n")
                writer.write(b"250 taken\r\n")
            line = (await reader.readline()).decode().strip()
            commands.append(line)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield SecretStr(f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    finally:
        server.close()


class TestHeaders:
    async def test_a_sent_mail_has_all_headers_and_both_parts(
        self, mail_server: MailServer, tmp_path: Path
    ) -> None:  # (N6)
        await mail_server.send(message())
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

    async def test_a_long_key_is_not_folded_or_encoded(self, mail_server: MailServer, tmp_path: Path) -> None:
        key = f"order-shipped/{'x' * 150}"
        await mail_server.send(message(key=key))
        assert f"X-Commerce-Key: {key}\r\n".encode() in raw(tmp_path)

    def test_no_header_can_be_injected(self) -> None:
        evil = "1001\r\nBcc: eve@example.com\r\n\r\nbody"
        mail = TEMPLATES.render("alert", {"shop": evil, "key": evil, "message": evil, "severity": "high"})
        made = build_message(mail, OFFLINE.sender, "bob@example.com", message_id="<1@x>", kind=evil, key=evil)
        assert "Bcc" not in message_from_bytes(made.as_bytes(policy=WIRE))

    @given(subject=st.text(), key=st.text(), recipient=st.text() | st.builds("{}@{}".format, st.text(), st.text()))
    def test_any_text_makes_a_valid_message(self, subject: str, key: str, recipient: str) -> None:
        mail = TEMPLATES.render("alert", {"shop": "Shop", "key": key, "message": subject})
        try:
            made = build_message(mail, OFFLINE.sender, recipient, message_id="<1@x>", kind="alert", key=key)
        except MailRefused as refused:
            assert refused.code == 553
            return
        names = set(message_from_bytes(made.as_bytes(policy=WIRE.clone(utf8=True))).keys())
        assert names == set(made.keys())
        assert made["To"].addresses


class TestRecipients:
    async def test_several_recipients_get_one_mail(self, mail_server: MailServer, tmp_path: Path) -> None:
        await mail_server.send(message("ann@example.com, bob@example.com"))
        assert caught(tmp_path)[0]["To"] == "ann@example.com, bob@example.com"

    async def test_a_refused_recipient_does_not_stop_the_others(self, mail_server: MailServer, tmp_path: Path) -> None:
        await mail_server.send(message("ann@refused.example, bob@example.com"))
        assert len(caught(tmp_path)) == 1

    async def test_an_international_domain_is_sent_in_ascii(self, mail_server: MailServer, tmp_path: Path) -> None:
        await mail_server.send(message("zoe@bücher.example"))
        assert caught(tmp_path)[0]["To"] == "zoe@xn--bcher-kva.example"

    async def test_an_international_local_part_needs_a_server_with_smtputf8(
        self, mail_server: MailServer, tmp_path: Path
    ) -> None:
        await mail_server.send(message("zoë@example.com"))
        assert b"To: zo\xc3\xab@example.com" in raw(tmp_path)
        async with scripted({"hello": "220 hi"}, []) as url:
            with pytest.raises(MailRefused):
                await MailServer(url, SENDER).send(message("zoë@example.com"))

    @pytest.mark.parametrize(
        "address", ["", "bob", "bob@", "@example.com", "a b@example.com", "a@b, ", "a@b\nc@d", "a\0b@example.com"]
    )
    def test_an_invalid_address_is_refused(self, address: str) -> None:
        with pytest.raises(MailRefused):
            message(address)

    @pytest.mark.parametrize("local", ["=?utf-8?q?eve?=", "=?utf-8?b?ZXZlQGV2aWwuZXhhbXBsZQ==?="])
    def test_an_address_with_an_encoded_word_is_refused(self, local: str) -> None:
        with pytest.raises(MailRefused):
            message(f"{local}@example.com")


class TestReplies:
    @pytest.mark.parametrize(
        ("recipient", "code"), [("bob@refused.example", 550), ("a@refused.example, b@refused.example", 550)]
    )
    async def test_5xx_is_permanent(self, mail_server: MailServer, recipient: str, code: int) -> None:  # (N2)
        with pytest.raises(MailRefused) as refused:
            await mail_server.send(message(recipient))
        assert refused.value.code == code
        assert refused.value.__cause__ is None  # it would put the recipient into histories

    @pytest.mark.parametrize("recipient", ["bob@busy.example", "a@refused.example, b@busy.example"])
    async def test_4xx_is_transient(self, mail_server: MailServer, recipient: str) -> None:  # (N2)
        with pytest.raises(MailUnavailable, match="SMTP 451") as raised:
            await mail_server.send(message(recipient))
        assert raised.value.counts

    async def test_a_refused_connection_is_transient(self) -> None:
        with pytest.raises(MailServerDown, match="SMTPConnectError"):
            await OFFLINE.send(message())

    @pytest.mark.parametrize(
        ("replies", "error"),
        [
            ({"hello": "554 go away"}, MailServerDown("SMTP 554")),
            ({"hello": "421 too busy"}, MailServerDown("SMTP 421")),
            ({"hello": "220 hi", "EHLO": "550 no", "HELO": "550 no"}, MailServerDown("SMTP 550")),
            ({"hello": "220 hi", "EHLO": AUTH, "AUTH": "535 wrong password"}, MailServerDown("SMTP 535")),
            ({"hello": "220 hi", "EHLO": AUTH, "AUTH": "454 later"}, MailServerDown("SMTP 454")),
            ({"hello": "220 hi", "MAIL": "530 log in"}, MailServerDown("SMTP 530")),
            ({"hello": "220 hi", "MAIL": "550 not your address"}, MailServerDown("SMTP 550")),
            ({"hello": "220 hi", "MAIL": "552 too much"}, MailRefused(552)),
            ({"hello": "220 hi", "RCPT": "530 log in"}, MailServerDown("SMTP 530")),
            ({"hello": "220 hi", "RCPT": "550 unknown"}, MailRefused(550)),
            ({"hello": "220 hi", "DATA": "451 not now"}, MailUnavailable("SMTP 451")),
            ({"hello": "220 hi", "DATA": "421 going down"}, MailServerDown("SMTP 421")),
            ({"hello": ""}, MailServerDown("SMTPConnectTimeoutError")),
            ({"hello": "220 hi", "EHLO": ""}, MailServerDown("SMTPReadTimeoutError")),
            ({"hello": "220 hi", "MAIL": ""}, MailServerDown("SMTPReadTimeoutError")),
            # It may have accepted the mail: such tries are limited, or the customer would get it again and again.
            ({"hello": "220 hi", "DATA": ""}, MailUnavailable("SMTPReadTimeoutError")),
        ],
        ids=lambda case: ", ".join(case.values())[:40] if isinstance(case, dict) else type(case).__name__,
    )
    async def test_replies_and_silence_at_every_stage(
        self, replies: dict[str, str], error: MailRefused | MailUnavailable
    ) -> None:  # (N2)
        async with scripted(replies, []) as url:
            if "AUTH" in replies:
                url = SecretStr(url.get_secret_value().replace("//", "//user:pw@"))
            with pytest.raises(type(error)) as raised:
                await MailServer(url, SENDER, timeout=0.3).send(message())
        assert type(raised.value) is type(error)
        assert str(raised.value) == str(error)

    async def test_a_silent_server_is_left_alone_for_a_while(self) -> None:
        async with scripted({"hello": ""}, []) as url:
            server = MailServer(url, SENDER, timeout=0.3, quiet_period=3600)
            for reason in ("SMTPConnectTimeoutError", "no response in the last 3600 s"):
                with pytest.raises(MailServerDown, match=reason):
                    await server.send(message())

    async def test_after_the_quiet_period_a_mail_is_sent_again(self) -> None:
        replies = {"hello": "", "DATA": "354 go on"}
        async with scripted(replies, []) as url:
            server = MailServer(url, SENDER, timeout=0.3, quiet_period=0)
            with pytest.raises(MailServerDown):
                await server.send(message())
            replies["hello"] = "220 hi"
            await server.send(message())
            await server.send(message())

    async def test_a_failing_quit_does_not_send_the_mail_again(self) -> None:
        replies = {"hello": "220 hi", "DATA": "354 go on", "QUIT": "421 shutting down"}
        commands: list[str] = []
        async with scripted(replies, commands) as url:
            await MailServer(url, SENDER).send(message())
        assert "QUIT" in commands

    async def test_nothing_is_sent_in_clear_text_if_tls_is_configured(self) -> None:
        async with scripted({"hello": "220 hi"}, []) as url:
            with pytest.raises(MailUnavailable, match="STARTTLS"):
                await MailServer(SecretStr(url.get_secret_value().replace("smtp:", "smtp+starttls:")), SENDER).send(
                    message()
                )

    async def test_the_server_logs_in_with_the_credentials_of_the_url(self) -> None:
        replies = {"hello": "220 hi", "EHLO": "250-hi\r\n250 AUTH PLAIN", "AUTH": "235 welcome", "DATA": "354 go on"}
        commands: list[str] = []
        async with scripted(replies, commands) as url:
            await MailServer(SecretStr(url.get_secret_value().replace("//", "//us%40er:p%2Fw@")), SENDER).send(
                message()
            )
        assert "AUTH PLAIN AHVzQGVyAHAvdw==" in commands  # NUL us@er NUL p/w


@pytest.mark.parametrize("url", ["http://mail.example", "mail.example:25", "smtp://", ""])
def test_an_invalid_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="must start with smtp://"):
        MailServer(SecretStr(url), SENDER)


def test_a_sender_must_be_an_address() -> None:
    with pytest.raises(ValueError, match="sender"):
        MailServer(SecretStr("smtp://mail.example"), "The Shop")


class TestRendering:
    def test_html_is_escaped_and_text_is_not(self) -> None:
        mail = TEMPLATES.render("order-shipped", ORDER)
        assert "<script>" not in mail.html
        assert "&lt;b&gt;Heart&lt;/b&gt;" in mail.html
        assert "Hello Zoë <script>" in mail.text

    def test_the_order_shipped_mail_lists_the_order(self) -> None:
        mail = TEMPLATES.render("order-shipped", ORDER)
        assert mail.subject == "Your order #1001 is on its way"
        for part in ("The Shop", "85123A", "£12.75", "and 2 more lines", "£4.95", "£1,234.50", "94001"):
            assert part in mail.html
            assert part in mail.text

    def test_an_alert_names_the_order_as_customers_do_and_the_command_by_its_id(self) -> None:
        facts = {"shop": "Shop", "key": "k", "order_id": "5551", "number": "#1001", "message": "It broke"}
        mail = TEMPLATES.render("order-failed", facts)
        assert mail.subject == "Order #1001 could not be processed"
        assert "Order: #1001\nOur id: 5551\n" in mail.text
        assert "runs retry order-processing-5551" in mail.text and "runs retry order-processing-5551" in mail.html
        assert "Our id" not in TEMPLATES.render("order-failed", facts | {"order_id": "1001"}).text

    def test_name_and_tracking_number_are_optional(self) -> None:
        mail = TEMPLATES.render("order-shipped", ORDER | {"name": None, "tracking_numbers": [], "more_lines": 0})
        assert "Hello," in mail.text
        assert "racking" not in mail.text + mail.html
        assert "more line" not in mail.text + mail.html
        assert "None" not in mail.text + mail.html

    def test_all_parcels_of_an_order_are_listed(self) -> None:
        mail = TEMPLATES.render("order-shipped", ORDER | {"tracking_numbers": ["94001", "94002"]})
        assert "It comes in 2 parcels.\n\nTracking number: 94001\nTracking number: 94002\n" in mail.text
        for words in ("2 parcels", ">94001<", ">94002<", "94001, 94002"):
            assert words in mail.html
        one = TEMPLATES.render("order-shipped", ORDER)
        assert "parcels" not in one.text + one.html

    @pytest.mark.parametrize(
        ("state", "words"),
        [
            ("shipped", "Your order #1001 has been shipped."),
            ("fulfilled", "Your order #1001 has been fulfilled."),
            ("ready", "Your order #1001 is ready: you can pick it up now (Pick-up)."),
        ],
    )
    def test_the_mail_says_shipped_only_of_what_is_shipped(self, state: str, words: str) -> None:
        numbers = ["94001"] if state == "shipped" else []
        card = {"sku": "", "title": "Gift card", "quantity": 1, "unit_price": 500, "amount": 500}
        lines = [*ORDER["lines"], card | {"requires_shipping": False, "refunded": 0}]
        facts = {"state": state, "tracking_numbers": numbers, "shipping_method": "Pick-up", "lines": lines}
        mail = TEMPLATES.render("order-shipped", ORDER | facts)
        assert words in mail.text
        for text in (mail.subject, mail.html):
            assert ("on its way" in text) == (state == "shipped")
            assert ("ready for pick-up" in text) == (state == "ready")
        assert ("has been shipped" in mail.html) == (state == "shipped")
        assert "1 x Gift card" in mail.text and ("not in the parcel" in mail.text) == (state == "shipped")

    def test_missing_items_are_listed(self) -> None:
        items = [{"variant_id": "v", "sku": "84<80", "requested": 7, "available": 2}]
        facts = {"shop": "Shop", "key": "k", "order_id": "1001", "message": "m", "items": items, "more_items": 9}
        mail = TEMPLATES.render("insufficient-inventory", facts)
        assert "84<80: 7 ordered, 2 available\nand 9 more" in mail.text
        assert "84&lt;80" in mail.html

    def test_a_message_ends_with_one_full_stop(self) -> None:
        facts = {"shop": "Shop", "key": "k", "order_id": "1001", "message": "Not enough stock of 1 variant."}
        for kind in ("insufficient-inventory", "job-failure"):
            mail = TEMPLATES.render(kind, facts)
            assert "Not enough stock of 1 variant.\n" in mail.text and "variant.." not in mail.text + mail.html

    @pytest.mark.parametrize(
        "kind", ["insufficient-inventory", "order-failed", "notification-failed", "compensation-failed", "job-failure"]
    )
    @pytest.mark.parametrize("order_id", ["1001", None])
    def test_every_alert_has_subject_facts_and_key(self, kind: str, order_id: str | None) -> None:
        facts = {"shop": "Shop", "key": f"{kind}/1", "message": "It broke", "error": "Oops & co", "order_id": order_id}
        mail = TEMPLATES.render(kind, facts)
        assert mail.subject
        assert "Oops & co" in mail.text
        assert "Oops &amp; co" in mail.html
        for part in ("It broke", f"{kind}/1"):
            assert part in mail.text
            assert part in mail.html
        assert "\n\n\n" not in mail.text


def test_what_outsiders_wrote_becomes_no_link_and_no_control() -> None:
    hostile = "You won, claim at https://evil.example/x\x1b[0m\u202e\r\nBcc: ann"
    line = ORDER["lines"][0] | {"title": hostile, "sku": "www.evil.com"}
    for mail in (
        TEMPLATES.render("welcome", {"shop": "The Shop", "key": "welcome/1", "first_name": hostile}),
        TEMPLATES.render("order-shipped", ORDER | {"name": hostile, "lines": [line]}),
        TEMPLATES.render("some-alert", {"shop": "The Shop", "key": "k", "message": "failed", "error": "\x1b[0m\u202e"}),
    ):
        for content in (mail.subject, mail.text, mail.html):
            assert "https://evil" not in content and "www.evil" not in content and "evil.example" not in content
            assert not set("\x1b\u202e\r") & set(content)
            assert "\nBcc" not in content
