"""The demo's output: plain lines in a file, a progress bar on a terminal, and the right numbers in its table."""

import re
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from commerce.audit import Finding
from starter.demo import screen as demo_screen
from starter.demo.orders import Ending, Summary, unexpected_endings
from starter.demo.outcomes import OrderOutcomes
from starter.demo.sample_orders import Outcome
from starter.demo.screen import Screen

NOTHING = OrderOutcomes(
    fulfilled=0,
    taken_back=0,
    returned=0,
    refused=0,
    undone=0,
    waiting=0,
    unpaid=1,
    cancelled=1,
    fulfilled_elsewhere=1,
    units=0,
    labels=0,
    mails={},
    unsent=0,
)
DONE = NOTHING.model_copy(
    update={"fulfilled": 2, "refused": 1, "undone": 1, "units": 7, "labels": 2, "mails": {"order-shipped": 2}}
)
ENDINGS = (
    *(Ending("1", "fulfilled", 0.1), Ending("2", "fulfilled", 0.3), Ending("3", "refused", 0.2)),
    Ending("4", "undone", 0.4, "CarrierRefused: no"),
)
FINDING = Finding(rule="stocked-is-sum-of-movements", subject="MUG [x] at main", detail="stocked is 2", count=3)
FIRST = Summary(before=NOTHING, after=DONE, endings=ENDINGS, seconds=2.0, unexpected=[], findings=[])


def shown(show: Callable[[Screen], None], **options: Any) -> str:
    """Return the output on a console of 100 columns, by default a file."""
    file = StringIO()
    show(Screen(Console(file=file, width=100, **options)))
    return file.getvalue()


def row(text: str, name: str) -> list[str]:
    """Return the cells of a row of the table."""
    [line] = [line for line in text.splitlines() if line.strip().startswith(name)]
    return re.split(r"\s{2,}", line.strip())


def test_the_first_run_shows_one_column_of_numbers() -> None:
    text = shown(lambda screen: screen.summary(FIRST))
    assert row(text, "Fulfilled") == ["Fulfilled", "2"]
    assert row(text, "Refused") == ["Refused for stock", "1"]
    assert row(text, "Undone") == ["Undone", "1", "4: CarrierRefused: no"]
    assert row(text, "Not started") == ["Not started", "3", "1 unpaid, 1 cancelled, 1 fulfilled elsewhere"]
    assert row(text, "Units") == ["Units shipped", "7"]
    assert row(text, "Mails sent") == ["Mails sent", "2", "2 order-shipped"]
    assert row(text, "Orders per second") == ["Orders per second", "2.0"]
    assert row(text, "Median") == ["Median time", "0.25 s", "30 orders at once"]
    assert row(text, "Audit") == ["Audit", "clean"]
    assert "this run" not in text
    assert "Mails not sent" not in text


def test_a_second_run_shows_its_own_numbers_in_a_second_column() -> None:
    text = shown(lambda screen: screen.summary(replace(FIRST, before=DONE, endings=ENDINGS[2:])))
    assert "this run" in text
    assert row(text, "Fulfilled") == ["Fulfilled", "2", "0"]
    assert row(text, "Refused") == ["Refused for stock", "1", "1"]
    assert row(text, "Units") == ["Units shipped", "7", "0"]
    assert "Nothing new: an earlier demo had fulfilled all orders" in text


def test_everything_wrong_is_shown_even_with_markup_in_it() -> None:
    broken = replace(FIRST, unexpected=["4"], findings=[FINDING], after=DONE.model_copy(update={"unsent": 5}))
    text = shown(lambda screen: screen.summary(broken))
    assert not broken.good
    assert row(text, "Audit") == ["Audit", "broken", "3 stocked-is-sum-of-movements"]
    assert row(text, "Mails not sent") == ["Mails not sent", "5"]
    assert "stocked-is-sum-of-movements: MUG [x] at main stocked is 2" in text
    assert "Order 4 should not have been undone. CarrierRefused: no" in text


def test_a_run_without_orders_shows_no_rate() -> None:
    text = shown(lambda screen: screen.summary(replace(FIRST, endings=[])))
    assert row(text, "Orders per second") == ["Orders per second", "0.0"]
    assert row(text, "Median")[:2] == ["Median time", "0.00 s"]


def progress(screen: Screen) -> None:
    with screen.progress(len(ENDINGS)) as tell:
        for ending in ENDINGS:
            tell(ending)


def test_progress_in_a_file_is_an_occasional_line(monkeypatch: pytest.MonkeyPatch) -> None:
    [line] = shown(progress).splitlines()
    assert re.fullmatch(r"  4 of 4: 2 fulfilled, 1 refused, 1 undone \([0-9.]+ per second\)", line)
    monkeypatch.setattr(demo_screen, "LINE_SECONDS", 0.0)
    assert len(shown(progress).splitlines()) == len(ENDINGS)


def test_progress_on_a_terminal_stays_on_one_line() -> None:
    text = shown(progress, force_terminal=True, force_interactive=True)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
    assert "4/4 2 fulfilled · 1 refused · 1 undone · " in plain
    assert len(plain.splitlines()) < 2 * len(ENDINGS)


def test_a_narrow_terminal_cuts_the_bar_not_the_count() -> None:
    def process(screen: Screen) -> None:
        with screen.progress(len(ENDINGS) * 100) as tell:
            for ending in ENDINGS * 100:
                tell(ending)

    file = StringIO()
    process(Screen(Console(file=file, width=60, force_terminal=True)))
    assert "400/400" in file.getvalue()


def test_links_are_never_wrapped() -> None:
    place = "http://127.0.0.1:8233/" + "x" * 200
    text = shown(lambda screen: screen.links({"Here": place, "There": "[y]"}))
    assert f"  Here   {place}\n  There  [y]\n" in text


@pytest.mark.parametrize(
    ("expected", "outcome", "surprising"),
    [
        ("fulfilled", "fulfilled", False),
        ("fulfilled", "refused", True),
        ("undone", "undone", False),
        ("undone", "fulfilled", True),
        ("refused", "fulfilled", True),
        (None, "refused", False),
        (None, "fulfilled", False),
        (None, "undone", True),
    ],
)
def test_unexpected_endings(expected: Outcome | None, outcome: Outcome, surprising: bool) -> None:
    assert unexpected_endings([Ending("1", outcome, 0.1)], {"1": expected}) == (["1"] if surprising else [])
