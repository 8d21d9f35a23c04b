"""The daily report to the admins: the figures of a day as text and HTML, with a chart of table cells."""

import email.policy
import json
import re
from collections.abc import AsyncIterator, Mapping
from datetime import date, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from commerce.analytics import queue_report
from commerce.database import Database
from commerce.mail.charts import HEIGHT, LEAST_HEIGHT, LENGTH, Bar, bars
from commerce.mail.notifier import Notifier
from commerce.mail.smtp import MailServer
from commerce.mail.template_data import load_template_data
from commerce.messages.analytics import CountedDay, report_key
from starter.devstack import mail as catcher

DAY = date(2026, 11, 20)
DAY_BEFORE, WEEK_BEFORE = DAY - timedelta(days=1), DAY - timedelta(days=7)
MAX_HTML = 100_000  # bytes; Gmail cuts longer mails off
MONTH = [DAY - timedelta(days=back) for back in reversed(range(30))]
FIGURES = {"orders": 10, "revenue": 50_000, "average_order_value": 5_000, "new_customers": 4, "returning_customers": 5}
NOTHING = dict.fromkeys(FIGURES, 0)
EVIL = "<script>alert('Heart')</script> & " + "x" * 200
HEART = {"id": "p1", "title": EVIL, "units_sold": 1200, "revenue": 345_600}
OWL = {"id": "p2", "title": "", "units_sold": 1, "revenue": 100}

Rows = Mapping[tuple[date, str], Mapping[str, Any]]


@pytest.fixture
async def notifier(database: Database, tmp_path: Path) -> AsyncIterator[Notifier]:
    async with catcher.running(tmp_path, 0) as url:
        yield Notifier(database, MailServer(SecretStr(url), "The Shop <shop@shop.example>"))


async def store(database: Database, rows: Rows) -> None:
    """Insert these figures, per day and currency."""
    async with database.transaction() as tx:
        for (day, currency), row in rows.items():
            products = json.dumps(row.get("top_products", []))
            await tx.execute(
                text("""
                    INSERT INTO daily_metrics (day, currency, orders, revenue, average_order_value, new_customers,
                                               returning_customers, top_products, awaiting, refunded,
                                               reported_revenue, change)
                    VALUES (:day, :currency, :orders, :revenue, :average_order_value, :new_customers,
                            :returning_customers, CAST(:products AS jsonb), :awaiting, :refunded,
                            :reported_revenue, :change)
                """),
                {"day": day, "currency": currency, "products": products, "awaiting": 0, "refunded": 0}
                | {"reported_revenue": row["revenue"], "change": None}
                | {name: value for name, value in row.items() if name != "top_products"},
            )


async def report(database: Database, notifier: Notifier, mail_dir: Path, rows: Rows) -> EmailMessage:
    """Send the report of the day and return it as received."""
    await store(database, rows)
    async with database.transaction() as tx:
        await queue_report(tx, CountedDay(day=DAY, currencies=[], changed=True), ["admin@shop.example"])
    assert (await notifier.send(report_key(DAY))).status == "sent"
    (got,) = received(mail_dir)
    return got


def received(mail_dir: Path) -> list[EmailMessage]:
    files = sorted(mail_dir.glob("*.eml"))
    return [message_from_bytes(file.read_bytes(), policy=email.policy.default) for file in files]


def text_of(message: EmailMessage) -> str:
    body = message.get_body(("plain",))
    assert body is not None
    content: str = body.get_content()
    return content.replace("\r\n", "\n")


def html_of(message: EmailMessage) -> str:
    body = message.get_body(("html",))
    assert body is not None
    content: str = body.get_content()
    return content


def bar_heights(html: str) -> list[int]:
    """Return the heights of the bars; a day without a bar has none."""
    return [int(height) for height in re.findall(r'height="(\d+)" bgcolor=', html)]


class TestMail:
    async def test_text_comes_first_then_html_without_images(
        self, database: Database, notifier: Notifier, tmp_path: Path
    ) -> None:
        got = await report(database, notifier, tmp_path, {(DAY, "GBP"): FIGURES})
        assert got.get_content_type() == "multipart/alternative"
        assert [part.get_content_type() for part in got.iter_parts()] == ["text/plain", "text/html"]
        assert "<img" not in html_of(got)
        assert (got["X-Commerce-Kind"], got["X-Commerce-Key"]) == ("daily-report", "daily-report/2026-11-20")
        assert got["To"] == "admin@shop.example"

    async def test_the_chart_shows_the_revenue_of_thirty_days(
        self, database: Database, notifier: Notifier, tmp_path: Path
    ) -> None:
        days = {(DAY - timedelta(days=back), "GBP"): FIGURES | {"revenue": 1_000 * back} for back in range(40)}
        got = await report(database, notifier, tmp_path, days)
        assert bar_heights(html_of(got)) == [
            max(round(HEIGHT * back / 29), LEAST_HEIGHT) for back in reversed(range(30))
        ]
        assert 'title="Thu 22 Oct: £290.00"' in html_of(got)
        label = "Bar chart of the revenue per day in GBP over 30 days; £0.00 on Fri 20 Nov"
        assert f'aria-label="{label}"' in html_of(got)
        assert "Highest: £290.00 on Thu 22 Oct" in html_of(got)
        assert re.findall(r">(\d+ (?:Oct|Nov))<", html_of(got)) == ["30 Oct", "6 Nov", "13 Nov", "20 Nov"]
        lines = text_of(got).partition("Revenue per day:\n")[2].split("\n\n")[0].splitlines()
        assert len(lines) == 30
        assert lines[0] == f"Thu 22 Oct  £290.00  {'█' * LENGTH}"
        assert lines[20:] == [
            "Wed 11 Nov   £90.00  ███████",
            "Thu 12 Nov   £80.00  ███████",
            "Fri 13 Nov   £70.00  ██████",
            "Sat 14 Nov   £60.00  █████",
            "Sun 15 Nov   £50.00  ████",
            "Mon 16 Nov   £40.00  ███",
            "Tue 17 Nov   £30.00  ██",
            "Wed 18 Nov   £20.00  ██",
            "Thu 19 Nov   £10.00  █",
            "Fri 20 Nov    £0.00",
        ]

    async def test_a_day_never_counted_is_a_gap_in_the_chart(
        self, database: Database, notifier: Notifier, tmp_path: Path
    ) -> None:
        got = await report(database, notifier, tmp_path, {(DAY, "GBP"): FIGURES, (WEEK_BEFORE, "GBP"): NOTHING})
        assert bar_heights(html_of(got)) == [LEAST_HEIGHT, HEIGHT]
        assert html_of(got).count(": not counted") == 28
        assert "Fri 13 Nov    £0.00\nSat 14 Nov        –\n" in text_of(got)

    async def test_three_currencies_stay_below_the_limit_of_mail_clients(
        self, database: Database, notifier: Notifier, tmp_path: Path
    ) -> None:
        figures = FIGURES | {"revenue": 10**12, "top_products": [HEART, OWL] * 5}
        got = await report(
            database,
            notifier,
            tmp_path,
            {(day, currency): figures for day in MONTH for currency in ("GBP", "KWD", "JPY")},
        )
        assert len(bar_heights(html_of(got))) == 90
        assert len(html_of(got).encode()) < MAX_HTML

    async def test_figures_are_compared_with_the_day_before_and_the_week_before(
        self, database: Database, notifier: Notifier, tmp_path: Path
    ) -> None:
        rows = {
            (DAY, "GBP"): FIGURES,
            (DAY_BEFORE, "GBP"): FIGURES | {"revenue": 40_000, "orders": 20},
            (WEEK_BEFORE, "GBP"): FIGURES | {"revenue": 51_000, "new_customers": 0},
        }
        got = await report(database, notifier, tmp_path, rows)
        assert got["Subject"] == "Fri 20 Nov: £500.00 from 10 orders"
        text = text_of(got)
        for line in (
            "Revenue: £500.00\n  Thu 19 Nov: £400.00 (+25%)\n  Fri 13 Nov: £510.00 (-2.0%)\n",
            "Orders: 10\n  Thu 19 Nov: 20 (-50%)\n  Fri 13 Nov: 10 (0%)\n",
            "New customers: 4\n  Thu 19 Nov: 4 (0%)\n  Fri 13 Nov: 0 (new)\n",
            "Average order: £50.00\n",
            "Returning customers: 5\n",
        ):
            assert line in text
        for part in ("£500.00", "£400.00", "+25%", "−2.0%", "vs Thu 19 Nov", "vs Fri 13 Nov"):
            assert part in html_of(got)

    async def test_products_are_listed_and_their_titles_escaped(
        self, database: Database, notifier: Notifier, tmp_path: Path
    ) -> None:
        rows = {(DAY, "GBP"): FIGURES | {"top_products": [HEART, OWL]}}
        got = await report(database, notifier, tmp_path, rows)
        assert f"1. {EVIL}: 1,200 units, £3,456.00\n2. p2: 1 unit, £1.00\n" in text_of(got)
        assert "&lt;script&gt;alert(&#39;Heart&#39;)&lt;/script&gt; &amp; xxx" in html_of(got)
        assert "<script" not in html_of(got)
        for part in ("1,200", "£3,456.00", "p2"):
            assert part in html_of(got)

    async def test_the_first_day_has_no_comparison_and_no_chart(
        self, database: Database, notifier: Notifier, tmp_path: Path
    ) -> None:
        got = await report(database, notifier, tmp_path, {(DAY, "GBP"): NOTHING})
        assert got["Subject"] == "Fri 20 Nov: no paid orders"
        assert "There were no paid orders on this day." in text_of(got)
        assert "There were no paid orders on this day." in html_of(got)
        assert "Revenue: £0.00\nRefunded: £0.00\nAwaiting payment: £0.00\nAverage order: £0.00\n" in text_of(got)
        assert "%)" not in text_of(got)
        assert "Best sellers" not in text_of(got) + html_of(got)
        assert "Revenue per day" not in text_of(got) + html_of(got)
        assert bar_heights(html_of(got)) == []

    async def test_a_day_without_orders_shows_a_fall_of_100_percent(
        self, database: Database, notifier: Notifier, tmp_path: Path
    ) -> None:
        got = await report(database, notifier, tmp_path, {(DAY, "GBP"): NOTHING, (DAY_BEFORE, "GBP"): FIGURES})
        assert "Revenue: £0.00\n  Thu 19 Nov: £500.00 (-100%)\n" in text_of(got)

    async def test_a_day_with_unknown_products_only_says_so(
        self, database: Database, notifier: Notifier, tmp_path: Path
    ) -> None:
        got = await report(database, notifier, tmp_path, {(DAY, "GBP"): FIGURES})
        assert "None of the products sold is in the catalogue." in text_of(got)
        assert "None of the products sold is in the catalogue." in html_of(got)

    async def test_each_currency_has_its_own_figures_and_chart(
        self, database: Database, notifier: Notifier, tmp_path: Path
    ) -> None:
        rows = {
            (DAY, "GBP"): FIGURES,
            (DAY, "JPY"): FIGURES | {"orders": 1},
            (DAY_BEFORE, "GBP"): FIGURES,
            (DAY_BEFORE, "EUR"): FIGURES,
            (WEEK_BEFORE, "USD"): NOTHING,
        }
        got = await report(database, notifier, tmp_path, rows)
        assert got["Subject"] == "Fri 20 Nov: £500.00 from 10 orders, JP¥50,000 from 1 order"
        headings = [line.strip("= ") for line in text_of(got).splitlines() if line.startswith("==")]
        assert headings == ["GBP", "JPY", "EUR"]  # euros came in the day before
        assert "Revenue: €0.00\n  Thu 19 Nov: €500.00 (-100%)\n  Fri 13 Nov: €0.00 (0%)\n" in text_of(got)
        assert "Revenue: JP¥50,000\n  Thu 19 Nov: JP¥0 (new)\n" in text_of(got)
        assert html_of(got).count(">Revenue per day<") == text_of(got).count("Revenue per day:") == 3

    async def test_refunds_and_unpaid_orders_have_lines_of_their_own(
        self, database: Database, notifier: Notifier, tmp_path: Path
    ) -> None:
        rows = {
            (DAY, "GBP"): NOTHING | {"revenue": -30_000, "refunded": 30_000, "awaiting": 1_250},
            (DAY_BEFORE, "GBP"): FIGURES | {"revenue": -10_000},
        }
        got = await report(database, notifier, tmp_path, rows)
        assert got["Subject"] == "Fri 20 Nov: -£300.00 from 0 orders"
        assert "Revenue: -£300.00\n  Thu 19 Nov: -£100.00 (-200%)\n" in text_of(got)
        assert "Refunded: £300.00\n  Thu 19 Nov: £0.00 (new)\nAwaiting payment: £12.50\n" in text_of(got)
        for part in ("-£300.00", "Refunded", "Awaiting payment", "£12.50"):
            assert part in html_of(got)
        assert bar_heights(html_of(got)) == [LEAST_HEIGHT, LEAST_HEIGHT]

    async def test_changed_days_are_marked_and_listed_with_what_was_reported(
        self, database: Database, notifier: Notifier, tmp_path: Path
    ) -> None:
        changed = {"change": "unlisted"}
        rows = {
            (DAY, "GBP"): FIGURES,
            (DAY_BEFORE, "GBP"): FIGURES | changed | {"reported_revenue": 40_000},
            (DAY_BEFORE, "EUR"): NOTHING | changed | {"reported_revenue": 700},
            (WEEK_BEFORE, "GBP"): FIGURES,
            (DAY - timedelta(days=90), "GBP"): FIGURES | changed,
            (DAY - timedelta(days=91), "GBP"): NOTHING | changed,
        }
        got = await report(database, notifier, tmp_path, rows)
        assert "Revenue: £500.00\n  Thu 19 Nov (changed): £500.00 (0%)\n  Fri 13 Nov: £500.00 (0%)\n" in text_of(got)
        listed = (
            "Late orders or refunds have changed these days since their own reports:\n"
            "Thu 19 Nov: £500.00 instead of £400.00, €0.00 instead of €7.00\n"
            "Sat 22 Aug: £500.00\n"
            "Fri 21 Aug: no paid orders\n"
        )
        assert listed in text_of(got)
        assert "vs Thu 19 Nov (changed)" in html_of(got) and "vs Fri 13 Nov<" in html_of(got)
        for line in listed.splitlines():
            assert line in html_of(got)
        assert "was counted again" not in text_of(got) + html_of(got)

    async def test_a_day_that_was_counted_again_before_its_report_was_sent_says_so(
        self, database: Database, notifier: Notifier, tmp_path: Path
    ) -> None:
        got = await report(database, notifier, tmp_path, {(DAY, "GBP"): FIGURES | {"change": "unlisted"}})
        for body in (text_of(got), html_of(got)):
            assert "This day was counted again: late orders or refunds have changed it." in body
            assert "these days" not in body

    async def test_counting_the_day_again_sends_no_second_report(
        self, database: Database, notifier: Notifier, tmp_path: Path
    ) -> None:
        await report(database, notifier, tmp_path, {(DAY, "GBP"): FIGURES})
        async with database.transaction() as tx:
            await queue_report(tx, CountedDay(day=DAY, currencies=[], changed=True), ["admin@shop.example"])
        await notifier.send(report_key(DAY))
        assert len(received(tmp_path)) == 1


class TestTemplateData:
    async def test_a_day_never_counted_has_no_amount(self, database: Database) -> None:
        await store(database, {(DAY, "GBP"): FIGURES, (DAY_BEFORE, "EUR"): NOTHING})
        async with database.transaction() as tx:
            data = await load_template_data(tx, "daily-report", None, {"day": DAY.isoformat()})
        [part] = data["parts"]
        assert [bar.day for bar in part["bars"]] == MONTH
        assert [bar.amount for bar in part["bars"]] == [*[None] * 28, 0, 50_000]


class TestBars:
    @pytest.mark.parametrize(
        "amounts",
        [
            [12_345],
            [0],
            [-500, 20],
            [-500, -20],
            [0] * 30,
            [None] * 29 + [0],
            [10**9 + 10**7 * n for n in range(30)],
            [1, 2, 3] * 20,
            [2**62],
        ],
        ids=[
            "one",
            "one zero",
            "a refund",
            "refunds",
            "zeros",
            "the first",
            "millions",
            "pennies of two months",
            "huge",
        ],
    )
    def test_every_counted_day_has_a_visible_bar_within_the_chart(self, amounts: list[int | None]) -> None:
        made = bars([(DAY + timedelta(days=n), amount) for n, amount in enumerate(amounts)])
        assert [bar.amount for bar in made] == amounts
        for bar in made:
            assert (LEAST_HEIGHT <= bar.height <= HEIGHT) == (bar.amount is not None)
            assert 0 <= bar.length <= LENGTH

    def test_bars_are_scaled_to_the_highest_amount(self) -> None:
        points = list(zip(MONTH[:4], [50, None, 0, 100], strict=True))
        assert bars(points) == [
            Bar(MONTH[0], 50, HEIGHT // 2, LENGTH // 2),
            Bar(MONTH[1], None),
            Bar(MONTH[2], 0, LEAST_HEIGHT, 0),
            Bar(MONTH[3], 100, HEIGHT, LENGTH),
        ]
