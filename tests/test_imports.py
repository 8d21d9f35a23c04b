"""The layers import one way only, and every contract about imports finds an import that breaks it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

pytestmark = pytest.mark.programs

PACKAGES = ("activities", "commerce", "starter", "workflows")
LINT = "from importlinter.cli import lint_imports_command as check; check()"
# For each contract an import that breaks it alone: file, imported module.
WRONG_IMPORTS = {
    "Imports go one way": ("activities/orders.py", "workflows.engine.policies"),
    "The shop knows nothing of Temporal": ("commerce/orders.py", "temporalio"),
    "Rules know no adapter": ("commerce/carts.py", "commerce.integrations.tls"),
    "Workflows decide": ("workflows/engine/saga.py", "commerce.database"),
    "The engine knows no process": ("workflows/engine/job.py", "workflows.hello_world"),
    "No activity knows another": ("activities/carts.py", "activities.hello"),
    "Starters know processes, not their steps": ("starter/entries.py", "activities.hello"),
    "Only the API knows the console": ("starter/operate/gauges.py", "starter.console.charts"),
    "Nobody imports worker.py": ("starter/client.py", "worker"),
}
CONTRACT = re.compile(r"^(.+) (KEPT|BROKEN)$", re.MULTILINE)
BREACHES = re.compile(r"^(.+)\n-+\n\n.*:\n\n((?:-? .*\n)+)", re.MULTILINE)
BREACH = re.compile(r"([\w.]+) -> ([\w.]+) \(")


def lint(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Check the code in a folder against the contracts in its pyproject.toml."""
    command, wide = [sys.executable, "-c", LINT, *options], os.environ | {"COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=wide, capture_output=True, text=True, check=False)


def test_the_layers_import_one_way() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def report_of_wrong_imports(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the linter reports of a copy of the code with all wrong imports in it."""
    folder = tmp_path_factory.mktemp("copy")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "worker.py"):
        shutil.copy(ROOT / name, folder)
    for file, module in WRONG_IMPORTS.values():
        with (folder / file).open("a") as source:
            source.write(f"\nimport {module}\n")
    done = lint(folder, "--no-cache")
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def test_every_contract_finds_its_wrong_import_and_no_other(report_of_wrong_imports: str) -> None:
    broken = {title: BREACH.findall(breaches) for title, breaches in BREACHES.findall(report_of_wrong_imports)}
    found = {(name, *breach) for title, breaches in broken.items() for breach in breaches for name in names(title)}
    wrong = {
        (name, file.removesuffix(".py").replace("/", "."), module) for name, (file, module) in WRONG_IMPORTS.items()
    }
    assert found == wrong, report_of_wrong_imports


def test_every_contract_has_a_wrong_import(report_of_wrong_imports: str) -> None:
    contracts = [title for title, _ in CONTRACT.findall(report_of_wrong_imports)]
    assert sorted(name for title in contracts for name in names(title)) == sorted(WRONG_IMPORTS)


def names(title: str) -> list[str]:
    """Return the key of WRONG_IMPORTS with which the title of a contract starts."""
    return [name for name in WRONG_IMPORTS if title.startswith(name)] or [title]
