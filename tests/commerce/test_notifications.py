"""Notifications are sent once per key despite crashes and errors (N1, N2, V8, V9), alerts by mail and webhook (N6)."""

import asyncio
import email.policy
import json
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import notifications, outbox
from commerce.database import Database
from commerce.errors import AlertUnavailable, MailRefused, MailServerDown, MailUnavailable, StepInProgress
from commerce.integrations.alerts import AlertWebhook
from commerce.mail.notifier import LEASE, Notifier
from commerce.mail.smtp import SEND_TIMEOUT, MailServer
from commerce.messages.events import OrderShort
from commerce.messages.notifications import Alert, SendOutcome
from commerce.messages.orders import InsufficientItem
from commerce.notifications import Notification
from commerce.outbox import NewEvent
from starter.devstack import mail as catcher
from tests.conftest import free_port

KEY = "order-shipped/1001"
SENDER = "The Shop <shop@shop.example>"
ADMINS = ("admin@shop.example", "boss@shop.example")
SENT, SKIPPED = SendOutcome(status="sent"), SendOutcome(status="skipped")
ALERT = Alert(kind="order-failed", key="order-failed/1001/run", message="It failed", order_id="1001", error="Oops")


def caught(mail_dir: Path) -> list[EmailMessage]:
    files = sorted(mail_dir.glob("*.eml"))
    return [message_from_bytes(file.read_bytes(), policy=email.policy.default) for file in files]


def html(message: EmailMessage) -> str:
    body = message.get_body(("html",))
    assert body is not None
    content: str = body.get_content()
    return content


@pytest.fixture
async def mail_server(tmp_path: Path) -> AsyncIterator[MailServer]:
    async with catcher.running(tmp_path, 0) as url:
        yield MailServer(SecretStr(url), SENDER)


@pytest.fixture
def notifier(database: Database, mail_server: MailServer) -> Notifier:
    return Notifier(database, mail_server, admins=ADMINS)


class Webhook(AlertWebhook):
    """An alert webhook that answers with these statuses, then always with 200."""

    def __init__(self, *statuses: int) -> None:
        self.got: list[dict[str, Any]] = []
        self._statuses = list(statuses)
        super().__init__("https://alerts.example/hook", transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.got.append(json.loads(request.content))
        return httpx.Response(self._statuses.pop(0) if self._statuses else 200)


async def order(database: Database, lines: int = 2) -> None:
    async with database.transaction() as tx:
        await tx.execute(
            text("""
                INSERT INTO orders (id, email, payment_status, currency, total, shipping_total, shipping_name,
                                    created_at, content_hash)
                VALUES (:id, 'zoe@example.com', 'captured', 'GBP', 123450, 495, 'Zoë <b>', now(), '')
            """),
            {"id": "1001"},
        )
        await tx.execute(
            text("""
                INSERT INTO order_lines (order_id, position, sku, title, quantity, unit_price)
                SELECT :id, n, 'SKU' || n, '<i>Heart</i> ' || n, 2, 255 FROM generate_series(1, :lines) AS n
            """),
            {"id": "1001", "lines": lines},
        )
        await tx.execute(
            text("""
                INSERT INTO fulfillments (order_id, tracking_number, cancelled_at)
                VALUES (:id, 'OLD', now()), (:id, '94001', NULL)
            """),
            {"id": "1001"},
        )


async def queue(database: Database, recipient: str = "zoe@example.com", **more: Any) -> None:
    values = {"key": KEY, "kind": "order-shipped", "recipient": recipient, "order_id": "1001"} | more
    async with database.transaction() as tx:
        await notifications.queue(tx, **values)


async def row(database: Database, key: str = KEY) -> Row[Any]:
    async with database.transaction() as tx:
        return (await tx.execute(text("SELECT * FROM notifications WHERE key = :key"), {"key": key})).one()


async def claim(database: Database) -> Notification | SendOutcome:
    async with database.transaction() as tx:
        return await notifications.claim(tx, KEY, lease=LEASE, domain="shop.example")


async def end_lease(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.execute(text("UPDATE notifications SET lease_until = now() - interval '1 ms'"))


async def make_older(database: Database, age: str) -> None:
    async with database.transaction() as tx:
        await tx.execute(text(f"UPDATE notifications SET created_at = created_at - interval '{age}'"))


class TestQueue:
    async def test_a_key_is_queued_once(self, database: Database) -> None:
        await queue(database, recipient="first@example.com", order_id=None, data={"a": 1})
        await queue(database, recipient="second@example.com", order_id=None)
        got = await row(database)
        assert (got.recipient, got.data, got.status, got.attempts) == ("first@example.com", {"a": 1}, "queued", 0)

    async def test_an_unknown_order_is_left_out(self, database: Database) -> None:
        await queue(database, order_id="nope")
        assert (await row(database)).order_id is None


class TestSend:
    async def test_a_notification_is_sent_once(
        self, database: Database, notifier: Notifier, tmp_path: Path
    ) -> None:  # (N1)
        await order(database)
        await queue(database)
        assert await notifier.send(KEY) == SENT
        assert await notifier.send(KEY) == SENT
        (got,) = caught(tmp_path)
        stored = await row(database)
        assert (got["X-Commerce-Kind"], got["X-Commerce-Key"]) == ("order-shipped", KEY)
        assert got["Message-ID"] == stored.message_id
        assert stored.message_id.endswith("@shop.example>")
        assert (stored.status, stored.attempts, stored.lease_until) == ("sent", 1, None)
        assert stored.sent_at is not None

    async def test_the_mail_shows_the_order_at_the_time_of_sending(
        self, database: Database, notifier: Notifier, tmp_path: Path
    ) -> None:
        await order(database, lines=32)
        await queue(database)
        await notifier.send(KEY)
        (got,) = caught(tmp_path)
        page = html(got)
        assert got["Subject"] == "Your order 1001 is on its way"
        for part in ("Zoë &lt;b&gt;", "&lt;i&gt;Heart&lt;/i&gt; 30", "and 2 more lines", "£5.10", "£1,234.50", "94001"):
            assert part in page
        for part in ("<b>,", "SKU31", "OLD"):
            assert part not in page

    async def test_amounts_follow_the_locale(self, database: Database, mail_server: MailServer, tmp_path: Path) -> None:
        await order(database)
        async with database.transaction() as tx:
            await tx.execute(text("UPDATE orders SET currency = 'USD'"))
        await queue(database)
        await Notifier(database, mail_server, locale="en_US").send(KEY)
        (got,) = caught(tmp_path)
        assert ">$1,234.50<" in html(got)

    async def test_an_unknown_key_is_skipped(self, notifier: Notifier) -> None:
        assert await notifier.send("nothing/1") == SKIPPED

    async def test_after_a_crash_following_the_claim_the_next_attempt_sends(
        self, database: Database, notifier: Notifier, tmp_path: Path
    ) -> None:  # (N1)
        await order(database)
        await queue(database)
        claimed = await claim(database)  # and the worker is killed here
        assert isinstance(claimed, Notification)
        with pytest.raises(StepInProgress):
            await notifier.send(KEY)
        await end_lease(database)
        assert await notifier.send(KEY) == SENT
        assert [got["Message-ID"] for got in caught(tmp_path)] == [claimed.message_id]
        assert (await row(database)).attempts == 2

    async def test_after_a_crash_following_the_send_the_same_message_id_is_sent_again(
        self, database: Database, notifier: Notifier, tmp_path: Path
    ) -> None:  # (N1)
        await order(database)
        await queue(database)
        await notifier.send(KEY)
        async with database.transaction() as tx:  # as if it had not been marked as sent
            await tx.execute(text("UPDATE notifications SET status = 'sending', lease_until = now()"))
        await notifier.send(KEY)
        first, second = caught(tmp_path)
        assert first["Message-ID"] == second["Message-ID"]

    async def test_concurrent_attempts_send_one_mail(
        self, database: Database, notifier: Notifier, tmp_path: Path
    ) -> None:  # (N1)
        await order(database)
        await queue(database)
        ends = await asyncio.gather(*(notifier.send(KEY) for _ in range(5)), return_exceptions=True)
        assert all(end == SENT or isinstance(end, StepInProgress) for end in ends)
        assert len(caught(tmp_path)) == 1

    async def test_a_failed_attempt_can_be_retried_at_once(
        self, database: Database, mail_server: MailServer, notifier: Notifier, tmp_path: Path
    ) -> None:  # (N2)
        await order(database)
        await queue(database, recipient="zoe@busy.example")
        for _ in range(2):
            with pytest.raises(MailUnavailable):
                await notifier.send(KEY)
        got = await row(database)
        assert (got.status, got.attempts, got.lease_until) == ("queued", 2, None)

    async def test_a_refused_notification_is_marked_failed_and_can_be_retried(
        self, database: Database, notifier: Notifier, tmp_path: Path
    ) -> None:  # (N2)
        await order(database)
        await queue(database, recipient="zoe@refused.example")
        with pytest.raises(MailRefused):
            await notifier.send(KEY)
        got = await row(database)
        assert got.status == "failed"
        assert "550" in got.error
        assert "zoe" not in got.error
        async with database.transaction() as tx:
            await tx.execute(text("UPDATE notifications SET recipient = 'zoe@example.com'"))
        assert await notifier.send(KEY) == SENT
        assert (await row(database)).error is None

    async def test_a_huge_order_gets_its_mail(self, database: Database, notifier: Notifier, tmp_path: Path) -> None:
        await order(database)
        async with database.transaction() as tx:
            await tx.execute(text("UPDATE order_lines SET quantity = 2147483647, unit_price = 9223372036854775807"))
        await queue(database)
        assert await notifier.send(KEY) == SENT
        assert "£198,070,406,193,427,123,593,837,281.29" in html(caught(tmp_path)[0]).replace("\xa0", "")

    async def test_an_invalid_address_is_refused(self, database: Database, notifier: Notifier) -> None:
        await order(database)
        await queue(database, recipient="zoe at example")
        with pytest.raises(MailRefused):
            await notifier.send(KEY)

    async def test_a_notification_can_be_marked_failed(self, database: Database, notifier: Notifier) -> None:
        await queue(database, order_id=None)
        await notifier.mark_failed(KEY, "MailUnavailable")
        got = await row(database)
        assert (got.status, got.error) == ("failed", "MailUnavailable")

    async def test_a_sent_notification_cannot_be_marked_failed(self, database: Database, notifier: Notifier) -> None:
        await order(database)
        await queue(database)
        await notifier.send(KEY)
        await notifier.mark_failed(KEY, "MailUnavailable")
        assert (await row(database)).status == "sent"

    async def test_a_late_attempt_does_not_end_the_lease_of_the_next_one(self, database: Database) -> None:
        await queue(database, order_id=None)
        late = await claim(database)
        assert isinstance(late, Notification)
        await end_lease(database)
        await claim(database)
        async with database.transaction() as tx:
            await notifications.release(tx, late)
        with pytest.raises(StepInProgress):
            await claim(database)

    async def test_a_cancelled_attempt_ends_its_lease(self, database: Database, tmp_path: Path) -> None:
        await order(database)
        await queue(database)
        reached = asyncio.Event()

        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 hi\r\n")
            await reader.readline()
            reached.set()
            await reader.read()
            writer.close()

        async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
            url = SecretStr(f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            attempt = asyncio.create_task(Notifier(database, MailServer(url, SENDER)).send(KEY))
            await reached.wait()
            attempt.cancel()
            with pytest.raises(asyncio.CancelledError):
                await attempt
        assert (await row(database)).status == "queued"


class TestLeftBehind:
    """A notification whose run was terminated or reset, or has handed it over, is sent by any worker (N1)."""

    async def test_it_is_sent_when_its_run_has_had_time(
        self, database: Database, notifier: Notifier, tmp_path: Path
    ) -> None:
        await order(database)
        await queue(database)
        await notifier.send_left_behind()
        assert caught(tmp_path) == []
        await make_older(database, "1 minute")
        await asyncio.gather(notifier.send_left_behind(), notifier.send_left_behind())
        assert len(caught(tmp_path)) == 1
        assert (await row(database)).status == "sent"

    async def test_it_is_sent_when_the_worker_that_was_sending_it_was_lost(
        self, database: Database, notifier: Notifier, tmp_path: Path
    ) -> None:
        await order(database)
        await queue(database)
        await claim(database)
        await make_older(database, "1 minute")
        await notifier.send_left_behind()
        assert caught(tmp_path) == []
        await end_lease(database)
        await notifier.send_left_behind()
        assert len(caught(tmp_path)) == 1

    async def test_one_that_is_refused_temporarily_waits_longer_and_longer_and_delays_no_other(
        self, database: Database, notifier: Notifier
    ) -> None:
        await order(database)
        await queue(database, recipient="zoe@busy.example")
        await queue(database, key="order-shipped/1002")
        await make_older(database, "8 hours")
        await notifier.send_left_behind()
        assert (await row(database, "order-shipped/1002")).status == "sent"
        got = await row(database)
        assert (got.status, got.attempts) == ("queued", 1)
        await notifier.send_left_behind()
        assert (await row(database)).attempts == 1
        assert timedelta(minutes=59) < got.lease_until - datetime.now(UTC) <= timedelta(hours=1)

    async def test_its_run_does_not_wait_with_it(self, database: Database, notifier: Notifier) -> None:
        await order(database)
        await queue(database, recipient="zoe@busy.example")
        await make_older(database, "1 minute")
        await notifier.send_left_behind()
        with pytest.raises(MailUnavailable):
            await notifier.send(KEY)

    async def test_one_that_cannot_be_rendered_is_reported_and_delays_no_other(
        self, database: Database, notifier: Notifier, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def load(tx: AsyncSession, kind: str, *more: object) -> dict[str, Any]:
            raise KeyError(kind)

        monkeypatch.setattr("commerce.mail.notifier.load_template_data", load)
        await queue(database)
        await queue(database, key="order-shipped/1002")
        await make_older(database, "1 minute")
        for _ in range(2):
            with pytest.raises(KeyError, match="order-shipped"):
                await notifier.send_left_behind()
        await notifier.send_left_behind()
        for key in (KEY, "order-shipped/1002"):
            assert (await row(database, key)).lease_until is not None

    async def test_one_that_is_refused_permanently_is_marked_failed(
        self, database: Database, notifier: Notifier
    ) -> None:
        await order(database)
        await queue(database, recipient="zoe@refused.example")
        await make_older(database, "1 minute")
        await notifier.send_left_behind()
        assert (await row(database)).status == "failed"

    async def test_after_four_days_it_is_marked_failed(self, database: Database, notifier: Notifier) -> None:
        await order(database)
        await queue(database)
        await make_older(database, "4 days")
        await notifier.send_left_behind()
        got = await row(database)
        assert (got.status, got.error, got.attempts) == ("failed", "NotDelivered", 0)

    async def test_while_the_mail_server_is_down_all_wait(self, database: Database) -> None:
        await order(database)
        await queue(database)
        await make_older(database, "1 minute")
        url = SecretStr(f"smtp://127.0.0.1:{free_port()}")
        with pytest.raises(MailServerDown):
            await Notifier(database, MailServer(url, SENDER)).send_left_behind()
        assert (await row(database)).lease_until is None

    async def test_an_alert_that_a_run_hands_over_is_sent(
        self, database: Database, mail_server: MailServer, tmp_path: Path
    ) -> None:
        webhook = Webhook()
        notifier = Notifier(database, mail_server, admins=ADMINS, webhook=webhook)
        down = MailServer(SecretStr(f"smtp://127.0.0.1:{free_port()}"), SENDER)
        assert not await Notifier(database, down, admins=ADMINS, webhook=Webhook(500)).alert_or_hand_over(ALERT)
        await make_older(database, "1 minute")
        await notifier.send_left_behind()
        assert (len(caught(tmp_path)), len(webhook.got)) == (1, 1)


class TestAlert:
    async def test_admins_get_one_mail_per_key(self, database: Database, notifier: Notifier, tmp_path: Path) -> None:
        assert await notifier.alert(ALERT) == SENT
        assert await notifier.alert(ALERT) == SENT
        (got,) = caught(tmp_path)
        assert got["To"] == "admin@shop.example, boss@shop.example"
        assert (got["X-Commerce-Kind"], got["X-Commerce-Key"]) == ("order-failed", ALERT.key)
        assert "Oops" in html(got)

    async def test_the_webhook_is_called_once_per_key(
        self, database: Database, mail_server: MailServer
    ) -> None:  # (N6)
        webhook = Webhook()
        alone = Notifier(database, mail_server, webhook=webhook)
        job = Alert(kind="job-failure", key="job-failure/1", message="It failed", job_name="sync-inventory")
        for alert in (ALERT, ALERT, job):
            assert await alone.alert(alert) == SENT
        assert webhook.got == [
            {
                "type": "order_failed",
                "severity": "high",
                "message": "It failed",
                "order_id": "1001",
                "error": "Oops",
                "key": ALERT.key,
            },
            {
                "type": "job_failure",
                "severity": "high",
                "message": "It failed",
                "job_name": "sync-inventory",
                "key": "job-failure/1",
            },
        ]

    async def test_the_webhook_gets_the_number_of_the_order(self, database: Database, mail_server: MailServer) -> None:
        await order(database)
        async with database.transaction() as tx:
            await tx.execute(text("UPDATE orders SET name = '#EN-7'"))
        webhook = Webhook()
        await Notifier(database, mail_server, webhook=webhook).alert(ALERT)
        assert [(got["order_id"], got["order_number"]) for got in webhook.got] == [("1001", "#EN-7")]

    @pytest.mark.parametrize(
        ("about", "page"),
        [({"order_id": "etsy~1001"}, "/orders/etsy~1001"), ({"job_name": "sync-inventory"}, "/jobs"), ({}, "/")],
    )
    async def test_alerts_lead_to_the_page_of_the_console(
        self, database: Database, mail_server: MailServer, tmp_path: Path, about: dict[str, str], page: str
    ) -> None:
        alert = Alert(kind="job-failed", key="job-failed/1", message="Something failed", **about)
        console = "https://office.example/console"
        webhook = Webhook()
        await Notifier(database, mail_server, admins=ADMINS, webhook=webhook, console=console).alert(alert)
        assert [got["console_url"] for got in webhook.got] == [f"{console}{page}"]
        [mail] = caught(tmp_path)
        for kind in ("plain", "html"):
            body = mail.get_body((kind,))
            assert body is not None
            assert f"{console}{page}" in body.get_content()

    async def test_the_mail_is_sent_even_if_the_webhook_fails(
        self, database: Database, mail_server: MailServer, tmp_path: Path
    ) -> None:
        webhook = Webhook(503, 404)
        both = Notifier(database, mail_server, admins=ADMINS, webhook=webhook)
        for status in (503, 404):
            with pytest.raises(AlertUnavailable, match=str(status)):
                await both.alert(ALERT)
        assert await both.alert(ALERT) == SENT
        assert await both.alert(ALERT) == SENT
        assert len(caught(tmp_path)) == 1
        assert len(webhook.got) == 3

    async def test_the_webhook_is_called_even_if_the_mail_is_refused(
        self, database: Database, mail_server: MailServer
    ) -> None:
        webhook = Webhook(503)
        both = Notifier(database, mail_server, admins=("admin@refused.example",), webhook=webhook)
        with pytest.raises(AlertUnavailable):  # not MailRefused: a retry helps the webhook
            await both.alert(ALERT)
        with pytest.raises(MailRefused):
            await both.alert(ALERT)
        assert len(webhook.got) == 2
        assert (await row(database, ALERT.key)).status == "failed"
        assert (await row(database, f"{ALERT.key}/webhook")).status == "sent"

    async def test_an_alert_without_recipients_is_skipped(self, database: Database, mail_server: MailServer) -> None:
        assert await Notifier(database, mail_server).alert(ALERT) == SKIPPED

    async def test_an_unreachable_webhook_is_transient(self, database: Database, mail_server: MailServer) -> None:
        closed = AlertWebhook("http://127.0.0.1:1/")
        with pytest.raises(AlertUnavailable, match="ConnectError"):
            await Notifier(database, mail_server, webhook=closed).alert(ALERT)
        await closed.close()

    @pytest.mark.parametrize(("count", "more"), [(2, 0), (105, 5)])
    async def test_the_stock_alert_lists_the_items_of_the_latest_event(
        self, database: Database, notifier: Notifier, tmp_path: Path, count: int, more: int
    ) -> None:
        await order(database)
        for day in ("2026-11-20", "2026-11-21"):
            await refuse(database, day, range(min(count, 100)), count)
        await notifier.alert(Alert(kind="insufficient-inventory", key="short/1001", message="Short", order_id="1001"))
        (got,) = caught(tmp_path)
        page = html(got)
        assert "2026-11-21/1" in page
        assert "2026-11-20/1" not in page
        assert (f"and {more} more" in page) == bool(more)


class TestOutages:
    async def test_admins_get_one_alert_per_outage_and_one_when_it_is_over(
        self, database: Database, mail_server: MailServer, tmp_path: Path
    ) -> None:
        ours = Notifier(database, mail_server, admins=ADMINS, webhook=(webhook := Webhook()))
        other_worker = Notifier(database, mail_server, admins=ADMINS, webhook=webhook)
        await asyncio.gather(*(each.report_outage("carrier", "HTTP 401") for each in (ours, other_worker, ours)))
        assert [(got["type"], got["error"]) for got in webhook.got] == [("service_unavailable", "HTTP 401")]
        await asyncio.gather(*(each.report_recovery("carrier") for each in (ours, other_worker)))
        assert [got["type"] for got in webhook.got] == ["service_unavailable", "service_recovered"]
        kinds = [mail["X-Commerce-Kind"] for mail in caught(tmp_path)]
        assert kinds == ["service-unavailable", "service-recovered"]

    async def test_a_service_that_comes_and_goes_is_reported_once_an_hour(
        self, database: Database, mail_server: MailServer
    ) -> None:
        notifier = Notifier(database, mail_server, webhook=(webhook := Webhook()))
        for _ in range(3):
            await notifier.report_outage("carrier", "HTTP 503")
            await notifier.report_recovery("carrier")
        assert len(webhook.got) == 2
        async with database.transaction() as tx:
            await tx.execute(text("UPDATE notifications SET created_at = created_at - interval '2 hours'"))
        await notifier.report_outage("carrier", "HTTP 503")
        await notifier.report_outage("mail server", "SMTP 535")  # another service
        assert len(webhook.got) == 4

    async def test_an_outage_of_the_mail_server_is_posted_at_once_and_mailed_afterwards(
        self, database: Database, mail_server: MailServer, tmp_path: Path
    ) -> None:
        offline = MailServer(SecretStr("smtp://127.0.0.1:1"), SENDER)
        webhook = Webhook(503)
        await Notifier(database, offline, admins=ADMINS, webhook=webhook).report_outage("mail server", "SMTP 535")
        await Notifier(database, offline, admins=ADMINS, webhook=webhook).report_outage("mail server", "SMTP 535")
        await Notifier(database, offline, admins=ADMINS, webhook=webhook).report_outage("mail server", "SMTP 535")
        assert len(webhook.got) == 2  # the first answer was 503
        await Notifier(database, mail_server, admins=ADMINS, webhook=webhook).report_recovery("mail server")
        kinds = [mail["X-Commerce-Kind"] for mail in caught(tmp_path)]
        assert kinds == ["service-unavailable", "service-recovered"]

    async def test_without_an_outage_there_is_no_recovery(self, database: Database, mail_server: MailServer) -> None:
        await Notifier(database, mail_server, webhook=(webhook := Webhook())).report_recovery("carrier")
        assert webhook.got == []


async def refuse(database: Database, day: str, numbers: Iterable[int], count: int) -> None:
    items = [InsufficientItem(variant_id="v", sku=f"{day}/{n}", requested=2, available=1) for n in numbers]
    async with database.transaction() as tx:
        fact = OrderShort(order_id="1001", count=count, items=items)
        await outbox.add(tx, NewEvent.from_data(fact, aggregate="order/1001", key=f"1001/{day}"))


def test_an_attempt_times_out_before_its_lease_ends() -> None:
    assert SEND_TIMEOUT + timedelta(seconds=2) < LEASE < timedelta(seconds=15)
