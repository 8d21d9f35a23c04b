"""The commands that a newcomer types; what they install is tried by `.ci/run` itself."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.paths import ROOT

CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *arguments], cwd=folder, env=CLEAN, capture_output=True, text=True, check=False)


def test_it_tells_its_commands() -> None:
    done = make(ROOT)
    assert done.returncode == 0
    assert all(
        f"make {name}" in done.stdout for name in ("install", "demo", "test", "quick", "up", "lint", "bench", "clean")
    )


def test_without_a_python_that_fits_it_says_so_and_touches_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "uv.lock", "uv.txt"):
        shutil.copy(ROOT / name, folder)
    done = make(folder, "install", "PYTHONS=no-such-python false")
    assert done.returncode == 2
    assert done.stderr.startswith("Python 3.11 or newer is required; found none among: no-such-python false\n")
    assert not (folder / ".venv").exists()


def test_tests_and_checks_belong_together() -> None:
    commands = make(ROOT, "-n", "test").stdout
    assert commands.index("ruff check") < commands.index("mypy") < commands.index("pytest")


def test_ci_runs_the_same_command() -> None:
    assert (ROOT / ".ci" / "run").read_text().endswith("\nmake test\n")
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
