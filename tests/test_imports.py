"""The rooms of the house import one way only."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

ROOMS = ("activities", "commerce", "starter", "workflows")
LINT = "from importlinter.cli import lint_imports_command as check; check()"


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Hold the code in a folder to the contracts in its pyproject.toml."""
    command, wide = [sys.executable, "-c", LINT, "--no-cache"], os.environ | {"COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=wide, capture_output=True, text=True, check=False)


def test_the_rooms_import_one_way() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("commerce/orders.py", "import temporalio", "The shop knows nothing of Temporal"),
        ("activities/orders.py", "import workflows.engine.saga", "Imports go one way"),
        ("workflows/engine/saga.py", "import commerce.database", "Workflows decide"),
        ("starter/client.py", "import worker", "Nobody imports worker.py"),
    ],
)
def test_a_wrong_import_is_found(tmp_path: Path, file: str, line: str, contract: str) -> None:
    for room in ROOMS:
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "worker.py"):
        shutil.copy(ROOT / name, tmp_path)
    with (tmp_path / file).open("a") as wrong:
        wrong.write(f"\n{line}\n")
    done = lint(tmp_path)
    assert done.returncode == 1
    broken = [told for told in done.stdout.splitlines() if told.endswith("BROKEN")]
    assert len(broken) == 1 and broken[0].startswith(contract), done.stdout
