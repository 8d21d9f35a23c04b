"""A release states its version, its packages and their licences; `make release` builds it."""

import importlib.util
import re
import tomllib
from types import ModuleType
from typing import Any

import pytest

from commerce.version import NAME, VERSION
from tests.paths import ROOT

PACKAGES = {package["name"]: package for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
BILL: dict[str, Any] = {
    "serialNumber": "urn:uuid:1",
    "metadata": {"timestamp": "now", "component": {"name": NAME}},
    "components": [{"name": "certifi", "version": "1"}, {"name": "structlog", "version": "2"}],
}


def _sbom() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sbom", ROOT / "deploy" / "release" / "sbom.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sbom = _sbom()


def shipped() -> set[str]:
    """Return the packages of uv.lock that the shop and its extra `devstack` install, on any platform."""
    found: set[str] = set()
    waiting = [NAME, *(needed["name"] for needed in PACKAGES[NAME]["optional-dependencies"]["devstack"])]
    while waiting:
        package = PACKAGES[waiting.pop()]
        if package["name"] not in found:
            found.add(package["name"])
            waiting += [needed["name"] for needed in package.get("dependencies", [])]
            extras = {e for p in PACKAGES.values() for d in p.get("dependencies", []) for e in d.get("extra", [])}
            for extra in extras & set(package.get("optional-dependencies", {})):
                waiting += [needed["name"] for needed in package["optional-dependencies"][extra]]
    return found - {NAME}


def test_the_changelog_starts_with_the_version_of_the_package() -> None:
    newest = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0]
    assert newest in (VERSION, "Unreleased")
    assert re.search(
        rf"^## {re.escape(VERSION)} - \d{{4}}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )


def test_the_licences_of_all_packages_are_listed_and_fit() -> None:
    names = shipped()
    assert sbom.page(names) == (ROOT / "docs" / "licenses.md").read_text(), "make licenses"
    assert [(name, sbom.licence(name)) for name in sorted(names) if not sbom.is_fit(sbom.licence(name))] == []


@pytest.mark.parametrize(
    ("expression", "fits"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("GPL-3.0-only OR MIT", True),
        ("MIT AND GPL-3.0-only", False),
        ("(MIT AND PSF-2.0) OR GPL-2.0-only", True),
    ],
)
def test_one_fitting_choice_is_enough_and_all_parts_of_it_must_fit(expression: str, fits: bool) -> None:
    assert sbom.is_fit(expression) == fits


def test_a_bill_of_materials_has_licences_and_is_the_same_for_the_same_packages() -> None:
    first, second = (sbom.complete(copy_of(BILL) | {"serialNumber": f"urn:uuid:{run}"}) for run in "12")
    assert first == second
    assert "timestamp" not in first["metadata"]
    assert [component["licenses"] for component in first["components"]] == [
        [{"expression": "MPL-2.0"}],
        [{"expression": "MIT OR Apache-2.0"}],
    ]


def copy_of(bill: dict[str, Any]) -> dict[str, Any]:
    return bill | {"metadata": dict(bill["metadata"]), "components": [dict(each) for each in bill["components"]]}
