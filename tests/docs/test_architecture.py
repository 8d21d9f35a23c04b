"""The picture of the rooms is the one that the import contracts hold."""

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


def drawn() -> set[tuple[str, str]]:
    """Return the arrows of the first diagram, which shows who imports whom."""
    picture = next(block.text for block in blocks(PAGE) if block.language == "mermaid")
    rows = [re.split(r"\s*-->\s*", line.strip()) for line in picture.splitlines() if "-->" in line]
    return {arrow for row in rows for arrow in pairwise(row)}


def test_the_arrows_are_the_layers() -> None:
    whole = [contract for contract in CONTRACTS if contract["type"] == "layers" and "containers" not in contract]
    [layers] = [contract["layers"] for contract in whole]
    rooms = ["worker", *layers]
    assert drawn() == set(pairwise(rooms))


def test_nobody_imports_the_worker() -> None:
    [alone] = [contract for contract in FORBIDDEN.values() if contract["forbidden_modules"] == ["worker"]]
    assert set(alone["source_modules"]) == {room for arrow in drawn() for room in arrow} - {"worker"}


@pytest.mark.parametrize("module", ["temporalio", "typer", "rich", "fastapi"])
def test_what_the_shop_may_not_know_is_forbidden(module: str) -> None:
    [shop] = [contract for contract in FORBIDDEN.values() if contract["source_modules"] == ["commerce"]]
    assert module in shop["forbidden_modules"] and f"`{module}`" in prose(PAGE)


def test_every_contract_is_told() -> None:
    told = " ".join(prose(PAGE).split())
    for rule in ("`workflows` know no database", "No activity knows another", "`starter` knows processes, not"):
        assert rule in told
    assert len(CONTRACTS) == 8, "a new contract: tell it in docs/architecture.md"


def test_every_room_is_on_the_list() -> None:
    listed = next(block.text for block in blocks(PAGE) if block.language == "text")
    names = {line.split()[0].rstrip("/") for line in listed.splitlines()}
    assert {name for name in names if (ROOT / name).exists()} == names
    assert {room for arrow in drawn() for room in arrow} <= {name.removesuffix(".py") for name in names}
