"""What the build of the image takes out of packages; tests/system/test_image.py measures and runs the rest."""

import importlib.util
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from tests.paths import ROOT

PACKAGES = Path(sysconfig.get_path("purelib"))
LIBRARY = Path(importlib.util.find_spec("asyncpg.pgproto.pgproto").origin)  # type: ignore[union-attr, arg-type]
LOAD = "import importlib.util as u, sys; u.module_from_spec(u.spec_from_file_location('asyncpg.pgproto.pgproto', {!r}))"


def _lighten() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lighten", ROOT / "deploy" / "image" / "lighten.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


lighten = _lighten()


@pytest.mark.skipif(sys.platform != "linux", reason="shared libraries of Linux")
def test_a_library_without_debug_information_is_smaller_and_loads(tmp_path: Path) -> None:
    whole = LIBRARY.read_bytes()
    light = lighten.without_debug_information(whole)
    assert len(light) < len(whole) / 2
    assert lighten.without_debug_information(light) == light
    (tmp_path / LIBRARY.name).write_bytes(light)
    subprocess.run([sys.executable, "-c", LOAD.format(str(tmp_path / LIBRARY.name))], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="shared libraries of Linux")
def test_everything_that_is_loaded_stays() -> None:
    for library in PACKAGES.rglob("*.so"):
        whole, light = library.read_bytes(), lighten.without_debug_information(library.read_bytes())
        # The first 64 bytes are the header: it says where the list of sections was.
        assert light[64:] == whole[64 : len(light)], library
        assert light[:40] + light[48:60] == whole[:40] + whole[48:60], library


@pytest.mark.parametrize(
    "other", [b"", b"INPUT(libfirst.so.1)", b"\x7fELF\x01\x01" + bytes(100), b"\x7fELF\x02\x02" + bytes(100)]
)
def test_other_files_and_machines_stay_as_they_are(other: bytes) -> None:
    assert lighten.without_debug_information(other) == other


def test_the_packages_are_those_of_the_wheel() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert [*lighten.OURS, "worker.py"] == wheel["only-include"]
