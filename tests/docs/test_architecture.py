"""docs/architecture.md shows the packages that exist and the imports that the import contracts allow."""

import re
import tomllib
from itertools import pairwise
from typing import Any

import pytest

from tests.documents import blocks, prose
from tests.paths import ROOT

PAGE = ROOT / "docs" / "architecture.md"
CONTRACTS: list[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]
FORBIDDEN = {contract["name"]: contract for contract in CONTRACTS if contract["type"] == "forbidden"}
MAX_LINES = 300  # of a module
# Modules that may be longer: one table, error, setting or statement after the other, which nobody reads as a whole.
DECLARATIONS = {
    "commerce/tables.py",
    "commerce/errors.py",
    "commerce/settings.py",
    "commerce/migrations/versions/0001_initial_tables.py",
}
NESTED = ("workflows", "activities", "starter", "commerce")


def arrows() -> set[tuple[str, str]]:
    """Return the arrows of the first diagram: importing and imported package."""
    diagram = next(block.text for block in blocks(PAGE) if block.language == "mermaid")
    rows = [re.split(r"\s*-->\s*", line.strip()) for line in diagram.splitlines() if "-->" in line]
    return {arrow for row in rows for arrow in pairwise(row)}


def tree() -> list[str]:
    """Return the paths of the tree on the page."""
    paths: list[str] = []
    parent = ""
    for line in next(block.text for block in blocks(PAGE) if block.language == "text").splitlines():
        name = line.split()[0]
        parent = parent if line.startswith(" ") else name
        paths.append(f"{parent}{name}" if line.startswith(" ") else name)
    return paths


def test_the_arrows_are_the_layers() -> None:
    whole = [contract for contract in CONTRACTS if contract["type"] == "layers" and "containers" not in contract]
    [layers] = [contract["layers"] for contract in whole]
    assert arrows() == set(pairwise(["worker", *layers]))


def test_nothing_imports_the_worker() -> None:
    [alone] = [contract for contract in FORBIDDEN.values() if contract["forbidden_modules"] == ["worker"]]
    assert set(alone["source_modules"]) == {package for arrow in arrows() for package in arrow} - {"worker"}


@pytest.mark.parametrize("module", ["temporalio", "typer", "rich", "fastapi"])
def test_the_page_names_what_commerce_must_not_import(module: str) -> None:
    [shop] = [contract for contract in FORBIDDEN.values() if contract["source_modules"] == ["commerce"]]
    assert module in shop["forbidden_modules"] and f"`{module}`" in prose(PAGE)


def test_every_contract_is_described() -> None:
    text = " ".join(prose(PAGE).split())
    for rule in (
        "Imports go one way",
        "`commerce` does not import",
        "rules do not import adapters",
        "`workflows` import no database",
        "`workflows/engine` does not import the processes",
        "Activities do not import each other",
        "`starter` imports processes, not activities",
        "only the API imports `starter/console`",
        "Nothing imports `worker`",
    ):
        assert rule in text
    assert len(CONTRACTS) == 9, "a contract was added or removed: update docs/architecture.md and this test"


def test_the_tree_lists_every_package_and_nothing_else() -> None:
    listed = tree()
    assert [path for path in listed if not (ROOT / path).exists()] == []
    assert {package for arrow in arrows() for package in arrow} <= {
        path.strip("/").removesuffix(".py") for path in listed
    }
    packages = {
        f"{parent}/{folder.name}/"
        for parent in NESTED
        for folder in (ROOT / parent).iterdir()
        if any(folder.glob("*.py"))
    }
    assert packages == {path for path in listed if path.count("/") == 2}


def test_only_declarations_are_longer_than_a_module_may_be() -> None:
    folders = [ROOT / name for name in (*NESTED, "benchmarks", "deploy", "docs")]
    modules = [*ROOT.glob("*.py"), *(module for folder in folders for module in folder.rglob("*.py"))]
    lines = {str(module.relative_to(ROOT)): len(module.read_text().splitlines()) for module in modules}
    assert {name for name, number in lines.items() if number > MAX_LINES} == DECLARATIONS
    assert f"at most {MAX_LINES} lines" in " ".join(prose(PAGE).split())
