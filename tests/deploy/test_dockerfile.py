"""The Dockerfile agrees with the project; tests/system/test_image.py builds and runs it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.compose import services
from tests.deploy.dockerfile import DockerIgnore
from tests.paths import ROOT


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_has_the_version_of_the_package_and_of_compose() -> None:
    (version,) = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert f"ARG VERSION={version}\n" in (ROOT / "Dockerfile").read_text()
    assert services()["worker"]["image"] == f"durable-commerce:{version}"


def test_the_image_never_has_code_of_an_earlier_build() -> None:
    """uv keeps the wheel of a folder in the cache, and builds it again only if pyproject.toml has another time."""
    syncs = re.findall(r"uv sync .*", (ROOT / "Dockerfile").read_text())
    (installs_project,) = [line for line in syncs if "--no-install-project" not in line]
    assert "--reinstall-package durable-commerce" in installs_project


@pytest.mark.parametrize(
    ("path", "excluded"),
    [
        ("secrets/api_tokens", True),
        (".env", True),
        (".git/config", True),
        (".commerce/encryption.keys", True),
        ("starter/__pycache__/cli.cpython-311.pyc", True),
        ("deploy/make-secrets", True),
        ("deploy/image/answers", False),
        ("uv.txt", False),
        ("commerce/templates/report.html", False),
        ("worker.py", False),
    ],
)
def test_only_code_is_copied_into_the_image(path: str, excluded: bool) -> None:
    assert DockerIgnore((ROOT / ".dockerignore").read_text()).excludes(Path(path)) == excluded
