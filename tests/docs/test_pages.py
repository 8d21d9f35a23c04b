"""The pages are true: links, pictures, and the code, settings, metrics and alerts that they name exist."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from commerce.settings import FILE_SETTINGS, PREFIX, Settings
from starter.devstack.postgres import MIGRATOR
from tests.deploy.compose import compose
from tests.documents import PAGES, Block, blocks, broken_links, headings, links, pictures, prose
from tests.paths import ROOT

DOCS = ROOT / "docs"
PICTURES = DOCS / "pictures"
MAX_PICTURE_BYTES = 150_000
SETTINGS = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | {
    f"{PREFIX}{n.upper()}_FILE" for n in FILE_SETTINGS
}
SETTING = re.compile(rf"\b{PREFIX}[A-Z0-9_]+\b(?![…*])")
METRIC = re.compile(r"`(commerce_[a-z_]+)")
READING_ORDER = ["README.md", "docs/tutorial.md", "docs/deployment.md", "docs/operations.md"]  # for newcomers
EXCERPTS = [(page, block) for page in PAGES for block in blocks(page) if block.file and block.language == "python"]


def by_name(page: Path) -> str:
    return page.stem


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_link_targets_exist(page: Path) -> None:
    assert broken_links(page) == []


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_a_page_has_one_title_and_nested_headings(page: Path) -> None:
    levels = [level for level, _ in headings(page)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(below <= above + 1 for above, below in pairwise(levels))


@pytest.mark.parametrize(("page", "block"), EXCERPTS, ids=[f"{page.stem}-{block.file}" for page, block in EXCERPTS])
def test_a_code_block_is_an_excerpt_of_the_file_it_names(page: Path, block: Block) -> None:
    assert block.file and block.text in (ROOT / block.file).read_text(), f"update {page.name}"


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_every_setting_on_a_page_exists(page: Path) -> None:
    names = {name for name in SETTING.findall(page.read_text()) if not name.endswith("_")}
    used_by_scripts = {
        name for script in (ROOT / "deploy").rglob("*.sh") for name in SETTING.findall(script.read_text())
    }
    assert names - SETTINGS - used_by_scripts == set()


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_every_metric_on_a_page_is_described(page: Path) -> None:
    described = set(METRIC.findall((DOCS / "metrics.md").read_text()))
    similar = {*compose()["secrets"], MIGRATOR}  # files and a role with similar names
    assert set(METRIC.findall(prose(page))) - described - similar == set()


def test_the_readme_links_every_page() -> None:
    linked = {target.partition("#")[0] for target in links(ROOT / "README.md")}
    assert {f"docs/{page.name}" for page in DOCS.glob("*.md")} <= linked


@pytest.mark.parametrize(("page", "following"), list(pairwise(READING_ORDER)))
def test_each_page_links_the_next_in_reading_order(page: str, following: str) -> None:
    targets = {target.partition("#")[0] for target in links(ROOT / page)}
    assert str(Path(following).relative_to(Path(page).parent)) in targets


def test_every_picture_is_shown_and_described_and_small() -> None:
    shown = {(page.parent / str(p.attrGet("src"))).resolve(): p.content for page in PAGES for p in pictures(page)}
    assert {picture.resolve() for picture in PICTURES.glob("*.png")} == set(shown)
    assert all(shown.values()), "describe the picture in its alternative text"
    assert all(picture.stat().st_size < MAX_PICTURE_BYTES for picture in shown)


def test_every_alert_has_a_runbook_entry() -> None:
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())
    alerts = [rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule]
    titles = headings(DOCS / "operations.md")
    runbook = titles[titles.index((2, "Runbook")) + 1 :]
    assert sorted(title for level, title in runbook if level == 3) == sorted(alerts)


def test_every_entry_of_the_runbook_says_what_to_check_how_to_fix_it_and_when_the_alert_ends() -> None:
    _, _, runbook = (DOCS / "operations.md").read_text().partition("\n## Runbook\n")
    for entry in runbook.split("\n### ")[1:]:
        assert all(f"\n- {part}: " in entry for part in ("Check", "Fix", "Ends")), entry.partition("\n")[0]
