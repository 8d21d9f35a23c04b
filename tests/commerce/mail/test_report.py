"""The daily report: what admins read of a day, in text and HTML, with a chart that travels within the mail."""

import asyncio
import email.policy
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from datetime import date, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Picture
from pydantic import SecretStr
from sqlalchemy import text

from commerce.analytics import queue_report
from commerce.database import Database
from commerce.mail import facts
from commerce.mail.charts import DENSITY, HEIGHT, WIDTH, revenue_chart, short_money
from commerce.mail.notifier import Notifier
from commerce.mail.render import change, weekday
from commerce.mail.smtp import Mail
from commerce.messages.analytics import Day, report_key
from starter.devstack import mail as catcher

DAY = date(2026, 11, 20)
DAY_BEFORE, WEEK_BEFORE = DAY - timedelta(days=1), DAY - timedelta(days=7)
MAX_IMAGE = 60_000  # bytes
STRONG = (0x25, 0x63, 0xEB)  # the color of the report's day
FIGURES = {"orders": 10, "revenue": 50_000, "average_order_value": 5_000, "new_customers": 4, "returning_customers": 5}
NOTHING = dict.fromkeys(FIGURES, 0)
EVIL = "<script>alert('Heart')</script> & " + "x" * 200
HEART = {"id": "p1", "title": EVIL, "units_sold": 1200, "revenue": 345_600}
OWL = {"id": "p2", "title": "", "units_sold": 1, "revenue": 100}

Rows = Mapping[tuple[date, str], Mapping[str, Any]]


@pytest.fixture
async def notifier(database: Database, tmp_path: Path) -> AsyncIterator[Notifier]:
    async with catcher.catching(tmp_path, 0) as url:
        yield Notifier(database, Mail(SecretStr(url), "The Shop <shop@shop.example>"))


async def counted(database: Database, rows: Rows) -> None:
    """Have these figures in the table, per day and currency."""
    async with database.transaction() as tx:
        for (day, currency), row in rows.items():
            products = json.dumps(row.get("top_products", []))
            await tx.execute(
                text("""
                    INSERT INTO daily_metrics (day, currency, orders, revenue, average_order_value, new_customers,
                                               returning_customers, top_products)
                    VALUES (:day, :currency, :orders, :revenue, :average_order_value, :new_customers,
                            :returning_customers, CAST(:products AS jsonb))
                """),
                {"day": day, "currency": currency, "products": products}
                | {name: value for name, value in row.items() if name != "top_products"},
            )


async def report(database: Database, notifier: Notifier, mail_dir: Path, rows: Rows) -> EmailMessage:
    """Return the report of the day as it arrives."""
    await counted(database, rows)
    async with database.transaction() as tx:
        await queue_report(tx, Day(day=DAY, currencies=[], changed=True), ["admin@shop.example"])
    assert (await notifier.deliver(report_key(DAY))).status == "sent"
    (got,) = caught(mail_dir)
    return got


def caught(mail_dir: Path) -> list[EmailMessage]:
    files = sorted(mail_dir.glob("*.eml"))
    return [message_from_bytes(file.read_bytes(), policy=email.policy.default) for file in files]


def words(message: EmailMessage) -> str:
    body = message.get_body(("plain",))
    assert body is not None
    content: str = body.get_content()
    return content.replace("\r\n", "\n")


def page(message: EmailMessage) -> str:
    body = message.get_body(("html",))
    assert body is not None
    content: str = body.get_content()
    return content


def pictures(message: EmailMessage) -> dict[str, bytes]:
    """Return the images of a mail by the ids that its HTML may use."""
    return {
        part["Content-ID"].strip("<>"): part.get_content()
        for part in message.walk()
        if part.get_content_type() == "image/png"
    }


def colors(png: bytes) -> set[Any]:
    image = Picture.open(BytesIO(png)).convert("RGB")
    return {color for _, color in image.getcolors(maxcolors=2**24) or []}


class TestMail:
    async def test_text_first_then_html_bound_to_its_image(
        self, database: Database, notifier: Notifier, tmp_path: Path
    ) -> None:
        got = await report(database, notifier, tmp_path, {(DAY, "GBP"): FIGURES})
        assert got.get_content_type() == "multipart/alternative"
        plain, related = got.iter_parts()
        assert (plain.get_content_type(), related.get_content_type()) == ("text/plain", "multipart/related")
        assert related.get_param("type") == "text/html"
        html, image = related.iter_parts()
        assert (html.get_content_type(), image.get_content_type()) == ("text/html", "image/png")
        assert (image.get_content_disposition(), image.get_filename()) == ("inline", "revenue-gbp.png")
        assert f'<img src="cid:{image["Content-ID"].strip("<>")}"' in html.get_content()
        assert 'alt="Chart of the revenue per day in GBP over 30 days; £500.00 on Fri 20 Nov"' in html.get_content()
        assert (got["X-Commerce-Kind"], got["X-Commerce-Key"]) == ("daily-report", "daily-report/2026-11-20")
        assert got["To"] == "admin@shop.example"

    async def test_the_image_is_a_small_png_of_double_density(
        self, database: Database, notifier: Notifier, tmp_path: Path
    ) -> None:
        days = {(DAY - timedelta(days=back), "GBP"): FIGURES | {"revenue": 99_999 * back} for back in range(40)}
        [png] = pictures(await report(database, notifier, tmp_path, days)).values()
        assert Picture.open(BytesIO(png)).format == "PNG"
        assert Picture.open(BytesIO(png)).size == (WIDTH * DENSITY, HEIGHT * DENSITY)
        assert len(png) < MAX_IMAGE

    async def test_figures_stand_beside_the_day_before_and_the_week_before(
        self, database: Database, notifier: Notifier, tmp_path: Path
    ) -> None:
        rows = {
            (DAY, "GBP"): FIGURES,
            (DAY_BEFORE, "GBP"): FIGURES | {"revenue": 40_000, "orders": 20},
            (WEEK_BEFORE, "GBP"): FIGURES | {"revenue": 51_000, "new_customers": 0},
        }
        got = await report(database, notifier, tmp_path, rows)
        assert got["Subject"] == "Fri 20 Nov: £500.00 from 10 orders"
        told = words(got)
        for line in (
            "Revenue: £500.00\n  Thu 19 Nov: £400.00 (+25%)\n  Fri 13 Nov: £510.00 (-2.0%)\n",
            "Orders: 10\n  Thu 19 Nov: 20 (-50%)\n  Fri 13 Nov: 10 (0%)\n",
            "New customers: 4\n  Thu 19 Nov: 4 (0%)\n  Fri 13 Nov: 0 (new)\n",
            "Average order: £50.00\n",
            "Returning customers: 5\n",
        ):
            assert line in told
        for part in ("£500.00", "£400.00", "+25%", "−2.0%", "vs Thu 19 Nov", "vs Fri 13 Nov"):
            assert part in page(got)

    async def test_products_are_listed_and_their_titles_escaped(
        self, database: Database, notifier: Notifier, tmp_path: Path
    ) -> None:
        rows = {(DAY, "GBP"): FIGURES | {"top_products": [HEART, OWL]}}
        got = await report(database, notifier, tmp_path, rows)
        assert f"1. {EVIL}: 1,200 units, £3,456.00\n2. p2: 1 unit, £1.00\n" in words(got)
        assert "&lt;script&gt;alert(&#39;Heart&#39;)&lt;/script&gt; &amp; xxx" in page(got)
        assert "<script" not in page(got)
        for part in ("1,200", "£3,456.00", "p2"):
            assert part in page(got)

    async def test_the_first_day_has_nothing_to_compare(
        self, database: Database, notifier: Notifier, tmp_path: Path
    ) -> None:
        got = await report(database, notifier, tmp_path, {(DAY, "GBP"): NOTHING})
        assert got["Subject"] == "Fri 20 Nov: no orders"
        assert "No orders on this day." in words(got)
        assert "No orders on this day." in page(got)
        assert "Revenue: £0.00\nAverage order: £0.00\n" in words(got)
        assert "%)" not in words(got)
        assert "Most sold" not in words(got) + page(got)
        assert len(pictures(got)) == 1

    async def test_a_day_without_orders_fell_from_all(
        self, database: Database, notifier: Notifier, tmp_path: Path
    ) -> None:
        got = await report(database, notifier, tmp_path, {(DAY, "GBP"): NOTHING, (DAY_BEFORE, "GBP"): FIGURES})
        assert "Revenue: £0.00\n  Thu 19 Nov: £500.00 (-100%)\n" in words(got)

    async def test_only_unknown_products(self, database: Database, notifier: Notifier, tmp_path: Path) -> None:
        got = await report(database, notifier, tmp_path, {(DAY, "GBP"): FIGURES})
        assert "None of the ordered products is known." in words(got)
        assert "None of the ordered products is known." in page(got)

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
        assert got["Subject"] == "Fri 20 Nov: £500.00 from 10 orders, 50,000 JPY from 1 order"
        headings = [line.strip("= ") for line in words(got).splitlines() if line.startswith("==")]
        assert headings == ["GBP", "JPY", "EUR"]  # euros came in the day before
        assert "Revenue: €0.00\n  Thu 19 Nov: €500.00 (-100%)\n  Fri 13 Nov: €0.00 (0%)\n" in words(got)
        assert "Revenue: 50,000 JPY\n  Thu 19 Nov: 0 JPY (new)\n" in words(got)
        assert len(pictures(got)) == 3
        assert all(f'src="cid:{cid}"' in page(got) for cid in pictures(got))

    async def test_the_day_again_sends_no_second_one(
        self, database: Database, notifier: Notifier, tmp_path: Path
    ) -> None:
        await report(database, notifier, tmp_path, {(DAY, "GBP"): FIGURES})
        async with database.transaction() as tx:
            await queue_report(tx, Day(day=DAY, currencies=[], changed=True), ["admin@shop.example"])
        await notifier.deliver(report_key(DAY))
        assert len(caught(tmp_path)) == 1


class TestFacts:
    async def test_a_day_never_counted_is_a_gap_and_no_zero(self, database: Database) -> None:
        await counted(database, {(DAY, "GBP"): FIGURES, (DAY_BEFORE, "EUR"): NOTHING})
        async with database.transaction() as tx:
            told = await facts.facts(tx, "daily-report", None, {"day": DAY.isoformat()})
        [part] = told["parts"]
        days, revenues = zip(*part["points"], strict=True)
        assert days == tuple(DAY - timedelta(days=back) for back in reversed(range(30)))
        assert revenues == (*[None] * 28, 0, 50_000)

    async def test_other_mails_have_no_images(self) -> None:
        assert await facts.images("order-shipped", {}) == ()


class TestChart:
    @pytest.mark.parametrize(
        "amounts",
        [[12_345], [0], [0] * 30, [None] * 29 + [0], [10**9 + 10**7 * n for n in range(30)], [1, 2, 3] * 20, [2**62]],
        ids=["one", "one zero", "zeros", "the first", "millions", "pennies of two months", "beyond reason"],
    )
    @pytest.mark.parametrize("currency", ["GBP", "JPY", "KWD"])
    def test_it_can_be_drawn(self, amounts: list[int | None], currency: str) -> None:
        png = revenue_chart([(DAY + timedelta(days=n), amount) for n, amount in enumerate(amounts)], currency)
        assert Picture.open(BytesIO(png)).size == (WIDTH * DENSITY, HEIGHT * DENSITY)
        assert len(png) < MAX_IMAGE
        assert STRONG in colors(png)  # the last day is there, even when it is zero

    async def test_several_can_be_drawn_at_once(self) -> None:
        points = [(DAY, 100)]
        drawn = await asyncio.gather(*(asyncio.to_thread(revenue_chart, points, "GBP") for _ in range(4)))
        assert len(set(drawn)) == 1

    def test_nothing_heavy_is_loaded_before_and_no_home_is_needed(self) -> None:
        program = """
import sys
from datetime import date
import commerce.notifications
from commerce.mail.charts import revenue_chart
assert "matplotlib" not in sys.modules
assert revenue_chart([(date(2026, 11, 20), 100)], "GBP").startswith(b"\\x89PNG")
assert "matplotlib.pyplot" not in sys.modules
"""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MPL", "XDG_"))}
        subprocess.run(
            [sys.executable, "-W", "error", "-c", program], env=kept | {"HOME": "/dev/null"}, check=True, timeout=120
        )

    @pytest.mark.parametrize(
        ("amount", "currency", "shown"),
        [
            (0, "GBP", "£0"),
            (0.5, "GBP", "£0.50"),
            (250, "USD", "$250"),
            (2500, "EUR", "€2.5k"),
            (1_500_000, "GBP", "£1.5m"),
            (2e9, "JPY", "2bn JPY"),
            (75_000e12, "GBP", "£75,000tn"),
        ],
    )
    def test_amounts_on_the_axis_are_short(self, amount: float, currency: str, shown: str) -> None:
        assert short_money(amount, currency) == shown


class TestWording:
    @pytest.mark.parametrize(
        ("now", "before", "told"),
        [
            (112, 100, "+12%"),
            (90, 100, "-10%"),
            (965, 1000, "-3.5%"),
            (0, 9, "-100%"),
            (5, 0, "new"),
            (0, 0, "0%"),
            (99_999, 100_000, "0%"),
            (1_000_000, 7, "+14,285,614%"),
        ],
    )
    def test_changes(self, now: int, before: int, told: str) -> None:
        assert change(now, before) == told

    def test_days(self) -> None:
        assert weekday(DAY) == "Fri 20 Nov"
