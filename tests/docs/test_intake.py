"""docs/intake.md names every topic, status, answer and problem that there is."""

from typing import get_args

import pytest

from commerce.intake import shopify, woocommerce
from commerce.intake.deliveries import Status
from commerce.settings import Settings
from starter.api.limits import MAX_SIGNED_MEBIBYTES
from starter.api.tokens import SIGNED_PATHS
from tests.documents import broken_links, tables
from tests.paths import ROOT

PAGE = ROOT / "docs" / "intake.md"
TEXT = PAGE.read_text()
CELLS = {row[0] for rows in tables(PAGE) for row in rows}


def test_links_lead_somewhere() -> None:
    assert broken_links(PAGE) == []


@pytest.mark.parametrize("answer", [*get_args(Status), "ping"])
def test_every_answer_is_explained(answer: str) -> None:
    assert f"200 `{answer}`" in CELLS


def test_every_topic_and_status_is_listed() -> None:
    assert [topic for topic in shopify.TOPICS if f"`{topic}`" not in TEXT] == []
    assert [status for status in woocommerce.PAYMENTS if f"`{status}`" not in TEXT] == []


@pytest.mark.parametrize("problem", ["UnknownTopic", "OddContent", "BadOrder", "OrderDiffers"])
def test_every_kind_of_problem_is_explained(problem: str) -> None:
    assert f"`{problem}`" in CELLS


def test_urls_and_numbers_are_those_of_the_code() -> None:
    assert all(f"https://YOUR-HOST{path}`" in TEXT for path in SIGNED_PATHS if path != "/intake/warehouse")
    assert f"larger than {MAX_SIGNED_MEBIBYTES} MiB" in TEXT
    assert f"`COMMERCE_KEEP_INTAKE_DAYS` ({Settings().keep_intake_days})" in TEXT
