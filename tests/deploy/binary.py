"""Inspect the Temporal binary that the tests run: its versions, variables and configuration keys."""

import mmap
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

INSTALLED = Path(sys.executable).parent / "temporal"
TEMPORAL = str(INSTALLED if INSTALLED.exists() else shutil.which("temporal"))
START, END = b"# enable-template", b"dynamicConfigClient:"  # of the embedded configuration


@cache
def versions() -> dict[str, str]:
    """Return the versions of its parts, such as `{"Server": "1.32.0", "UI": …}`."""
    output = subprocess.run([TEMPORAL, "--version"], capture_output=True, text=True, check=True).stdout
    return dict(re.findall(r"(Server|UI) ([\d.]+)", output))


@cache
def server_variables() -> set[str]:
    """Return the environment variables that the embedded configuration of the server reads."""
    with Path(TEMPORAL).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as binary:
        start = binary.find(START + b"\n")
        template = binary[start : binary.find(END, start) + 300]
    return {name.decode() for name in re.findall(rb'env "(\w+)"', template)}


def contains(name: str) -> bool:
    """Return whether the binary contains this name. The case is ignored, as in keys of dynamic configuration."""
    with Path(TEMPORAL).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as binary:
        return re.search(re.escape(name.encode()), binary, re.IGNORECASE) is not None
