"""Whatever is downloaded to install the shop has the hash that this repository names."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from tests.paths import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK: dict[str, Any] = tomllib.loads((ROOT / "uv.lock").read_text())
PACKAGES = {package["name"]: package for package in LOCK["package"]}
OURS = PROJECT["project"]["name"]
INSTALLS = re.compile(r"pip install .*")
REMEDY = "uv export --only-group {} --no-emit-project --no-header --no-annotate"


def locked_group(name: str) -> dict[str, set[str]]:
    """Return the packages of a dependency group of uv.lock with everything they need, each with all its hashes."""
    hashes: dict[str, set[str]] = {}
    waiting = [needed["name"] for needed in PACKAGES[OURS]["dev-dependencies"][name]]
    while waiting:
        package = PACKAGES[waiting.pop()]
        files = [*package.get("wheels", []), *filter(None, [package.get("sdist")])]
        hashes[f"{package['name']}=={package['version']}"] = {file["hash"] for file in files}
        waiting += [needed["name"] for needed in package.get("dependencies", [])]
    return hashes


def test_every_locked_package_has_hashes() -> None:
    for package in LOCK["package"]:
        if package["name"] == OURS:
            continue
        files = [*package.get("wheels", []), *filter(None, [package.get("sdist")])]
        assert files, package["name"]
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", file["hash"]) for file in files), package["name"]
        assert package["source"] == {"registry": "https://pypi.org/simple"}


def test_uv_is_pinned_with_the_hash_of_each_of_its_files() -> None:
    lines = [line for line in (ROOT / "uv.txt").read_text().splitlines() if not line.startswith("#")]
    (requirement, *hashes) = " ".join(lines).replace("\\", "").split()
    assert {requirement: {word.removeprefix("--hash=") for word in hashes}} == locked_group("uv"), REMEDY.format("uv")


def test_whatever_builds_our_package_is_pinned_with_all_hashes() -> None:
    pinned = {
        each["requirement"]: set(each["hashes"]) for each in PROJECT["tool"]["uv"]["build-constraint-dependencies"]
    }
    assert pinned == locked_group("build"), REMEDY.format("build")
    assert PROJECT["tool"]["uv"]["require-build-hashes"] is True  # also for what the backend asks for in addition
    assert {name.split("==")[0] for name in pinned} >= set(PROJECT["build-system"]["requires"])


@pytest.mark.parametrize("file", ["Makefile", "Dockerfile", "docs/deployment.md"])
def test_uv_is_installed_with_its_hash_and_the_rest_from_the_lock(file: str) -> None:
    text = (ROOT / file).read_text()
    installs = INSTALLS.findall(text)
    assert all("--require-hashes" in install for install in installs)  # also of the benchmark's other engines
    (_,) = [install for install in installs if re.search(r"--require-hashes --only-binary :all: -r /?uv\.txt", install)]
    syncs = re.findall(r"uv sync .*|\$\(UV\) sync .*", text)
    assert syncs and all("--locked" in sync for sync in syncs)
    assert "UV_PYTHON_DOWNLOADS" in text or file.startswith("docs/")


def test_pip_refuses_another_file_in_place_of_uv(tmp_path: Path) -> None:
    pip = next((python for python in (sys.executable, sys._base_executable) if _has_pip(python)), None)
    if pip is None:
        pytest.skip("pip")
    version = PACKAGES["uv"]["version"]
    with ZipFile(tmp_path / f"uv-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"uv-{version}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: uv\nVersion: {version}\n")
    where = ["--no-index", "--find-links", tmp_path, "--target", tmp_path / "installed"]
    command = [pip, "-m", "pip", "install", *where, "--require-hashes", "--only-binary", ":all:", "-r", ROOT / "uv.txt"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PIP_CONFIG_FILE": os.devnull})
    assert done.returncode != 0 and "DO NOT MATCH THE HASHES" in done.stderr
    assert not (tmp_path / "installed").exists()


def _has_pip(python: str) -> bool:
    return subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0
