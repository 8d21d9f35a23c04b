"""The pages are true: links lead somewhere, pictures are there, and what they name (code, settings, metrics) exists."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from commerce.settings import FILE_SETTINGS, PREFIX, Settings
from tests.deploy.compose import compose
from tests.documents import PAGES, Block, blocks, broken_links, headings, links, pictures, prose
from tests.paths import ROOT

DOCS = ROOT / "docs"
PICTURES = DOCS / "pictures"
MOST_BYTES = 150_000  # of a picture
SETTINGS = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | {
    f"{PREFIX}{n.upper()}_FILE" for n in FILE_SETTINGS
}
NAMED = re.compile(rf"\b{PREFIX}[A-Z0-9_]+\b(?![…*])")
METRIC = re.compile(r"`(commerce_[a-z_]+)")
PATH = ["README.md", "docs/tutorial.md", "docs/deployment.md", "docs/operations.md"]  # for somebody new
CUT = [(page, block) for page in PAGES for block in blocks(page) if block.file and block.language == "python"]


def by_name(page: Path) -> str:
    return page.stem


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_a_page_has_one_title_and_its_parts_are_nested(page: Path) -> None:
    levels = [level for level, _ in headings(page)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(below <= above + 1 for above, below in pairwise(levels))


@pytest.mark.parametrize(("page", "block"), CUT, ids=[f"{page.stem}-{block.file}" for page, block in CUT])
def test_a_block_is_cut_from_the_file_it_names(page: Path, block: Block) -> None:
    assert block.file and block.text in (ROOT / block.file).read_text(), f"bring docs/{page.name} up to date"


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_every_setting_that_is_named_exists(page: Path) -> None:
    named = {name for name in NAMED.findall(page.read_text()) if not name.endswith("_")}
    of_scripts = {name for script in (ROOT / "deploy").rglob("*.sh") for name in NAMED.findall(script.read_text())}
    assert named - SETTINGS - of_scripts == set()


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_every_metric_that_is_named_is_described(page: Path) -> None:
    described = set(METRIC.findall((DOCS / "metrics.md").read_text()))
    secrets = set(compose()["secrets"])  # files with names of the same kind
    assert set(METRIC.findall(prose(page))) - described - secrets == set()


def test_every_page_is_on_the_map() -> None:
    on_the_map = {target.partition("#")[0] for target in links(ROOT / "README.md")}
    assert {f"docs/{page.name}" for page in DOCS.glob("*.md")} <= on_the_map


@pytest.mark.parametrize(("page", "following"), list(pairwise(PATH)))
def test_each_page_of_the_way_names_the_next(page: str, following: str) -> None:
    targets = {target.partition("#")[0] for target in links(ROOT / page)}
    assert str(Path(following).relative_to(Path(page).parent)) in targets


def test_every_picture_is_shown_described_and_small() -> None:
    shown = {(page.parent / str(p.attrGet("src"))).resolve(): p.content for page in PAGES for p in pictures(page)}
    assert {picture.resolve() for picture in PICTURES.glob("*.png")} == set(shown)
    assert all(shown.values()), "a picture says in words what it shows"
    assert all(picture.stat().st_size < MOST_BYTES for picture in shown)


def test_every_alert_has_its_entry_in_the_runbook() -> None:
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())
    alerts = [rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule]
    titles = headings(DOCS / "operations.md")
    runbook = titles[titles.index((2, "Runbook")) + 1 :]
    assert sorted(title for level, title in runbook if level == 3) == sorted(alerts)


def test_every_entry_of_the_runbook_says_what_to_check_how_to_fix_it_and_when_the_alert_ends() -> None:
    _, _, runbook = (DOCS / "operations.md").read_text().partition("\n## Runbook\n")
    for entry in runbook.split("\n### ")[1:]:
        assert all(f"\n- {part}: " in entry for part in ("Check", "Fix", "Ends")), entry.partition("\n")[0]
