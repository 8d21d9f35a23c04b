"""Packages of other toolchains that tests need: installed once per machine, as a lock file in this repository says.

Tests that need them are skipped where the tool or its registry is missing.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.servers import once_per_run

NPM = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries", "1"]
UV = ROOT / ".venv" / "uv" / "bin" / "uv"


def node_modules(run_folder: Path, lock: Path) -> Path:
    """Return a folder with the npm packages that `package-lock.json` in the folder `lock` names."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm (Debian: apt install npm)")
    return _installed(run_folder, "node", lock, lock / "package-lock.json", NPM, "an npm registry") / "node_modules"


def python_environment(run_folder: Path, lock: Path) -> Path:
    """Return the folder `bin` of an environment with the packages that `uv.lock` in the folder `lock` names."""
    if not UV.exists():
        pytest.skip("uv in .venv (make install)")
    command = [str(UV), "sync", "--quiet", "--locked", "--no-install-project", "--python", sys.executable]
    return _installed(run_folder, "python", lock, lock / "uv.lock", command, "a Python package index") / ".venv" / "bin"


def _installed(run_folder: Path, kind: str, source: Path, lock: Path, command: Sequence[str], registry: str) -> Path:
    """Return a folder of this machine's cache with a copy of `source`, in which the command was run."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = sha256(lock.read_bytes() + sys.executable.encode() * (kind == "python")).hexdigest()[:12]
    folder = caches / "durable-commerce" / f"{kind}-{digest}"
    environment = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    with once_per_run(run_folder, f"{kind}-{digest}"):
        if not (folder / "complete").exists():
            shutil.copytree(source, folder, dirs_exist_ok=True)
            done = subprocess.run(
                command,
                cwd=folder,
                env=environment | {"UV_PROJECT_ENVIRONMENT": ".venv", "UV_PYTHON_DOWNLOADS": "never"},
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                pytest.skip(f"a connection to {registry}")
            (folder / "complete").touch()
    return folder
